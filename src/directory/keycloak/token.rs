//! Access tokens by the client credentials grant (RFC 6749, section 4.4), as Keycloak issues them to a service account.
use std::{fmt, sync::Arc, time::Duration};

use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::trust;
use crate::{
    directory::{
        identity::{Assertion, Identity},
        rest::{
            Unread,
            oauth::{ClientAuth, OAuthClient, exposed},
            token::{Issuer, NoToken, Token},
        },
    },
    http::Http,
};

/// A token is not used in this last part of its lifetime.
const SAFETY: Duration = Duration::from_secs(30);
/// Keycloak's default.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// The token endpoint of a realm, and the operator's client.
#[derive(Debug)]
pub(super) struct TokenEndpoint {
    url: Url,
    client: OAuthClient,
}

impl TokenEndpoint {
    /// The endpoint at `url`.
    pub(super) fn new(url: Url, client: OAuthClient) -> Self {
        Self { url, client }
    }

    /// The name of the client's service account user (Keycloak, Server Administration, "Service account").
    pub(super) fn service_account(&self) -> String {
        format!("service-account-{}", self.client.id.to_lowercase())
    }

    /// Has its client sign in with tokens of `identity`, if it signs in so at all.
    pub(super) fn identify(&mut self, own: Arc<dyn Identity>) {
        if let ClientAuth::ServiceAccount { identity, .. } = &mut self.client.auth {
            *identity = Some(own);
        }
    }

    /// Requests a grant for `client`. A body that is not JSON is null. Of a client that signs in with a token of the `ServiceAccount`, the
    /// result has what that says.
    ///
    /// # Errors
    /// If there was no answer.
    pub(super) async fn grant(
        &self,
        http: &Http,
        client: &OAuthClient,
        form: &[(&str, &str)],
    ) -> Result<(StatusCode, Value, Option<Assertion>), Unread> {
        let (fields, assertion) = client.sign_in().await.map_err(Unread::Token)?;
        let all = [&exposed(&fields)[..], form].concat();
        let request = http.request(Method::POST, self.url.clone()).form(&all);
        let answered = http.send(http.ask(request).await.map_err(Unread::Failed)?).await.map_err(Unread::Failed)?;
        let body = answered.body.map_err(Unread::Failed)?;
        Ok((answered.status, serde_json::from_slice(&body).unwrap_or_default(), assertion))
    }
}

impl Issuer for TokenEndpoint {
    async fn request(&self, http: &Http) -> Result<Token, NoToken> {
        let requested_at = Instant::now();
        let granted = self.grant(http, &self.client, &[("grant_type", "client_credentials")]).await;
        let (status, reply, assertion) = granted.map_err(|unread| match unread {
            Unread::Token(no_token) => no_token,
            Unread::Failed(failed) => unreachable(failed),
        })?;
        if status == StatusCode::NOT_FOUND {
            // Keycloak answers with JSON, any other server most likely does not.
            return Err(NoToken::WrongAddress(if reply.is_null() {
                "there is no Keycloak at spec.provider.keycloak.url: is the path missing under which it is served?"
                    .to_owned()
            } else {
                "Keycloak knows no such realm: look at spec.provider.keycloak.url and realm".to_owned()
            }));
        }
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::BAD_REQUEST {
            return Err(match assertion {
                None => refused(meaning(&reply)),
                Some(assertion) => {
                    NoToken::Refused(trust::missing(&self.client.id, &assertion, trust::Error::of(&reply)))
                }
            });
        }
        if status == StatusCode::FORBIDDEN {
            return Err(refused("it answers 403: the realm is disabled, or asks for https"));
        }
        Token::of(&reply, requested_at, DEFAULT_LIFETIME, SAFETY)
            .filter(|_| status.is_success())
            .ok_or_else(|| unreachable(format!("it answered {} without a token", status.as_u16())))
    }
}

fn unreachable(why: impl fmt::Display) -> NoToken {
    NoToken::Unreachable(format!("Keycloak gave no token: {why}"))
}

fn refused(why: &str) -> NoToken {
    NoToken::Refused(format!("Keycloak refuses the client's credentials: {why}"))
}

/// What an error of the token endpoint means. The texts are fixed: an answer may quote what was sent.
fn meaning(reply: &Value) -> &'static str {
    let text = |name: &str| reply.get(name).and_then(Value::as_str).unwrap_or_default();
    match (text("error"), text("error_description")) {
        (_, described) if described.contains("not enabled to retrieve service account") => {
            "the client has no service account: switch it on (serviceAccountsEnabled)"
        }
        (_, described) if described.contains("disabled") => "the client or its service account's user is disabled",
        ("unauthorized_client", _) => "client-secret is not the client's (unauthorized_client)",
        ("invalid_client", _) => {
            "the realm has no such client-id, or it is disabled, or it signs in another way than by a secret (invalid_client)"
        }
        _ => "it gives a reason that is not known here: look at client-id and client-secret",
    }
}
