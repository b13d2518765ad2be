//! How a client proves to a token endpoint that it is itself (RFC 6749, section 2.3; RFC 7521, section 4.2).
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use super::token::NoToken;
use crate::{
    directory::identity::{Assertion, Identified},
    http::{self, Http},
};

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
        /// Whom the token is for. `None`: the issuer that the server calls itself, as it publishes it (RFC 8414).
        audience: Option<String>,
        /// Where the server publishes that.
        discovery: Url,
        /// Who issues the token.
        identity: Identified,
    },
}

impl OAuthClient {
    /// The form fields that sign the client in. A token of the `ServiceAccount` is a new one each time, and comes with what it says.
    ///
    /// # Errors
    /// Why there is no token of the `ServiceAccount`.
    pub async fn sign_in(
        &self,
        http: &Http,
    ) -> Result<(Vec<(&'static str, SecretString)>, Option<Assertion>), NoToken> {
        let mut fields = vec![("client_id", SecretString::from(self.id.as_str()))];
        let ClientAuth::ServiceAccount { audience, discovery, identity } = &self.auth else {
            if let ClientAuth::Secret(secret) = &self.auth {
                fields.push(("client_secret", secret.clone()));
            }
            return Ok((fields, None));
        };
        let audience = match audience {
            Some(audience) => audience.clone(),
            None => issuer(http, discovery).await?,
        };
        let Some(identity) = identity else {
            return Err(NoToken::Refused(
                "workloadIdentity takes tokens from the cluster of the operator, and there is none here".to_owned(),
            ));
        };
        let assertion = identity.token(&audience).await.map_err(NoToken::NoIdentity)?;
        fields.push(("client_assertion_type", SecretString::from(JWT_BEARER)));
        fields.push(("client_assertion", assertion.token.clone()));
        Ok((fields, Some(assertion)))
    }
}

/// The issuer that an authorization server calls itself.
async fn issuer(http: &Http, discovery: &Url) -> Result<String, NoToken> {
    let unreachable =
        |why: String| NoToken::Unreachable(format!("the directory does not say which issuer it is: {why}"));
    let asked = http.ask(http.request(Method::GET, discovery.clone())).await;
    let answered = match asked {
        Ok(request) => http.send(request).await,
        Err(failed) => Err(failed),
    };
    let answered = answered.map_err(|failed| unreachable(failed.to_string()))?;
    let body: Value = match &answered.body {
        Ok(body) => serde_json::from_slice(body).unwrap_or_default(),
        Err(failed) => return Err(unreachable(failed.to_string())),
    };
    let issuer = body.get("issuer").and_then(Value::as_str).filter(|issuer| http::is_token(issuer));
    match issuer.filter(|_| answered.status.is_success()) {
        Some(issuer) => Ok(issuer.to_owned()),
        None if answered.status == 404 => Err(NoToken::WrongAddress(format!(
            "there is nothing at {}, which should name the issuer: look at the Directory's url and realm",
            discovery.path()
        ))),
        None => Err(unreachable(format!("it answered {} without an issuer", answered.status.as_u16()))),
    }
}

/// The fields of a form as the client sends them.
pub(in crate::directory) fn exposed<'a>(fields: &'a [(&'static str, SecretString)]) -> Vec<(&'a str, &'a str)> {
    fields.iter().map(|(name, value)| (*name, value.expose_secret())).collect()
}
