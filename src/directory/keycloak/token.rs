//! Access tokens by the client credentials grant (RFC 6749, section 4.4), as Keycloak issues them to a service account.
use std::{fmt, time::Duration};

use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use crate::{
    directory::rest::token::{Issuer, NoToken, Token},
    http::{self, Http},
};

/// A token is not used in this last part of its lifetime.
const SAFETY: Duration = Duration::from_secs(30);
/// Keycloak's default.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// A client of the realm and its secret.
#[derive(Debug)]
pub(super) struct OAuthClient {
    pub id: String,
    /// `None`: it is a public client.
    pub secret: Option<SecretString>,
}

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

    /// Requests a grant for `client`. A body that is not JSON is null.
    ///
    /// # Errors
    /// If there was no answer.
    pub(super) async fn grant(
        &self,
        http: &Http,
        client: &OAuthClient,
        form: &[(&str, &str)],
    ) -> Result<(StatusCode, Value), http::Failed> {
        let mut all = vec![("client_id", client.id.as_str())];
        all.extend(client.secret.as_ref().map(|secret| ("client_secret", secret.expose_secret())));
        all.extend(form);
        let request = http.ask(http.request(Method::POST, self.url.clone()).form(&all)).await?;
        let answered = http.send(request).await?;
        Ok((answered.status, serde_json::from_slice(&answered.body?).unwrap_or_default()))
    }
}

impl Issuer for TokenEndpoint {
    async fn request(&self, http: &Http) -> Result<Token, NoToken> {
        let requested_at = Instant::now();
        let (status, reply) =
            self.grant(http, &self.client, &[("grant_type", "client_credentials")]).await.map_err(unreachable)?;
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
            return Err(refused(meaning(&reply)));
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
