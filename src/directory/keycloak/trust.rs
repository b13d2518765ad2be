//! What a realm needs in order to take tokens of the operator's `ServiceAccount` in the place of a secret (Server Administration, *Federated
//! client authentication*), and which part of it an answer shows to be missing.
use serde_json::Value;

use crate::directory::identity::Assertion;

/// What an answer of the token endpoint says about an assertion. The texts are Keycloak's own, as 26.7 answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Error {
    /// The token is for another audience than the realm's issuer.
    Audience,
    /// The token has not begun to be valid, or is over.
    Time,
    /// A token was used before.
    Reuse,
    /// The client has no service account.
    NoServiceAccount,
    /// Any other: no trust, or none in this subject.
    NoTrust,
}

impl Error {
    pub(super) fn of(reply: &Value) -> Self {
        let described = reply.get("error_description").and_then(Value::as_str).unwrap_or_default();
        match described {
            text if text.contains("audience") => Self::Audience,
            text if text.contains("not active") || text.contains("expired") => Self::Time,
            text if text.contains("reuse") => Self::Reuse,
            text if text.contains("service account") => Self::NoServiceAccount,
            _ => Self::NoTrust,
        }
    }
}

/// A sentence that says what is missing, in words that can be copied into the realm.
pub(super) fn missing(client: &str, assertion: &Assertion, error: Error) -> String {
    let Assertion { issuer, subject, audiences, .. } = assertion;
    let audience = audiences.join(", ");
    match error {
        Error::Audience => format!(
            "Keycloak takes no token for the audience {audience}: set spec.provider.keycloak.workloadIdentity.audience to the issuer of \
             the realm, as its .well-known/openid-configuration names it, if that is right"
        ),
        Error::Time => "Keycloak takes the operator's token for one of another time: compare the clocks of the cluster and of Keycloak"
            .to_owned(),
        Error::Reuse => "Keycloak has seen the operator's token before, which it never sends twice: file a bug".to_owned(),
        Error::NoServiceAccount => format!("client {client} has no service account: switch it on (serviceAccountsEnabled)"),
        Error::NoTrust => format!(
            "Keycloak does not trust the operator's token. The realm needs an identity provider (OpenID Connect v1.0, enabled) with issuer \
             {issuer}, with keys that Keycloak can fetch, and with supportsClientAssertions; and client {client}, enabled, with \
             clientAuthenticatorType federated-jwt, attribute jwt.credential.issuer the alias of that identity provider, and attribute \
             jwt.credential.sub {subject}"
        ),
    }
}
