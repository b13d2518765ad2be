//! The operator's own identity in its cluster: tokens of its `ServiceAccount`, which a directory that trusts the cluster takes in the place of
//! a secret (RFC 7523, section 2.2).
use std::{fmt, sync::Arc};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use futures::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// Issues tokens of the operator's `ServiceAccount`.
pub trait Identity: fmt::Debug + Send + Sync {
    /// A new token for this audience, which lives for minutes.
    ///
    /// # Errors
    /// Why there is none.
    fn token<'a>(&'a self, audience: &'a str) -> BoxFuture<'a, Result<Assertion, NoAssertion>>;
}

/// Why there is no token, as a sentence without a full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAssertion {
    /// The API server issues none, or none that may be given away.
    Refused(String),
    /// The API server did not answer as it should: it may later.
    Unreachable(String),
}

/// The identity of whoever uses a Directory; `None`: there is no cluster that could issue tokens.
pub type Identified = Option<Arc<dyn Identity>>;

/// A token of a `ServiceAccount`, and what it says. A directory trusts the issuer to name the subject.
#[derive(Debug)]
pub struct Assertion {
    /// The token itself, a signed JWT.
    pub token: SecretString,
    /// The issuer of the cluster's tokens.
    pub issuer: String,
    /// `system:serviceaccount:NAMESPACE:NAME`.
    pub subject: String,
    /// Whom the token is for.
    pub audiences: Vec<String>,
}

/// The claims of a token that matter here (RFC 7519, section 4.1). Kubernetes writes the audience as a list.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Vec<String>,
}

impl Assertion {
    /// Reads what a token says. Its signature is for the directory to check. `None`: it is not a token of Kubernetes.
    #[must_use]
    pub fn of(token: SecretString) -> Option<Self> {
        let payload = token.expose_secret().split('.').nth(1)?;
        let Claims { iss, sub, aud } = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        Some(Self { token, issuer: iss, subject: sub, audiences: aud })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_who_it_is_for() {
        let token = |claims: &str| SecretString::from(format!("e30.{}.x", BASE64_URL_SAFE_NO_PAD.encode(claims)));
        let of = |claims: &str| Assertion::of(token(claims));
        let found =
            of(r#"{"iss":"https://kubernetes.default.svc","sub":"system:serviceaccount:a:b","aud":["c"],"exp":1}"#)
                .unwrap();
        assert_eq!(found.issuer, "https://kubernetes.default.svc");
        assert_eq!((found.subject.as_str(), found.audiences), ("system:serviceaccount:a:b", vec!["c".to_owned()]));
        for none in ["", "{}", r#"{"iss":"a","sub":"b"}"#, "\u{fffd}"] {
            assert!(of(none).is_none(), "{none}");
        }
        assert!(Assertion::of(SecretString::from("opaque")).is_none());
    }
}
