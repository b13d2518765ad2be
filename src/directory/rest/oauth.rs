//! How a client proves to a token endpoint that it is itself (RFC 6749, section 2.3; RFC 7521, section 4.2).
use secrecy::{ExposeSecret, SecretString};

use super::token::NoToken;
use crate::directory::identity::{Assertion, Identified, NoAssertion};

/// The type of a client assertion that is a JWT (RFC 7523, section 2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A client of an authorization server.
#[derive(Debug)]
pub(in crate::directory) struct OAuthClient {
    /// Its id.
    pub id: String,
    /// What it signs in with.
    pub auth: ClientAuth,
}

/// What a client signs in with.
#[derive(Debug)]
pub(in crate::directory) enum ClientAuth {
    /// Nothing: it is a public client.
    Public,
    /// A secret that the server knows, too.
    Secret(SecretString),
    /// A token of the operator's `ServiceAccount`, by an issuer that the server trusts.
    ServiceAccount {
        /// Whom the token is for. The Directory says it, never the server that gets the token: it could name another server.
        audience: String,
        /// Who issues the token.
        identity: Identified,
    },
}

impl OAuthClient {
    /// The form fields that sign the client in. A token of the `ServiceAccount` is a new one each time, and comes with what it says.
    ///
    /// # Errors
    /// Why there is no token of the `ServiceAccount`.
    pub async fn sign_in(&self) -> Result<(Vec<(&'static str, SecretString)>, Option<Assertion>), NoToken> {
        let mut fields = vec![("client_id", SecretString::from(self.id.as_str()))];
        let (audience, identity) = match &self.auth {
            ClientAuth::Public => return Ok((fields, None)),
            ClientAuth::Secret(secret) => {
                fields.push(("client_secret", secret.clone()));
                return Ok((fields, None));
            }
            ClientAuth::ServiceAccount { audience, identity } => (audience, identity),
        };
        let Some(identity) = identity else {
            return Err(NoToken::Refused(
                "workloadIdentity takes tokens from the cluster of the operator, and there is none here".to_owned(),
            ));
        };
        let assertion = identity.token(audience).await.map_err(|none| match none {
            NoAssertion::Refused(why) => NoToken::Refused(why),
            NoAssertion::Unreachable(why) => NoToken::Unreachable(why),
        })?;
        fields.push(("client_assertion_type", SecretString::from(JWT_BEARER)));
        fields.push(("client_assertion", assertion.token.clone()));
        Ok((fields, Some(assertion)))
    }
}

/// The fields of a form as the client sends them.
pub(in crate::directory) fn exposed<'a>(fields: &'a [(&'static str, SecretString)]) -> Vec<(&'a str, &'a str)> {
    fields.iter().map(|(name, value)| (*name, value.expose_secret())).collect()
}
