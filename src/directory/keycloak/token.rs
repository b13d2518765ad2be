//! Access tokens by the client credentials grant (RFC 6749, section 4.4), as Keycloak gives them to a service account.
use std::time::Duration;

use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::{sync::Mutex, time::Instant};
use url::Url;

use crate::directory::http;

/// A token is not used in the last part of its life: this, or half of it if it is short.
const SPARE: Duration = Duration::from_secs(30);
/// An answer that promises more than this is not believed.
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// A client of the realm and its secret.
#[derive(Debug)]
pub(super) struct OAuthClient {
    pub id: String,
    pub secret: Option<SecretString>,
}

/// An access token.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub value: SecretString,
    until: Instant,
}

/// Why there is no token. Nothing was asked of the directory then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoToken {
    /// It was not reached, or gave no answer that makes sense.
    #[error("Keycloak gave no token: {0}")]
    Unreachable(String),
    /// It refuses the credentials.
    #[error("Keycloak refuses the client's credentials: {0}")]
    Refused(&'static str),
    /// It has no such realm.
    #[error("Keycloak knows no such realm: look at spec.provider.keycloak.url and realm")]
    NoRealm,
    /// Something else answers there.
    #[error("there is no Keycloak at spec.provider.keycloak.url: is the path missing under which it is served?")]
    NoServer,
}

/// Keeps one token, and asks for the next when it is needed, one at a time.
#[derive(Debug)]
pub(super) struct Tokens {
    url: Url,
    client: OAuthClient,
    token: Mutex<Option<Token>>,
}

impl Tokens {
    /// From the token endpoint at `url`.
    pub(super) fn new(url: Url, client: OAuthClient) -> Self {
        Self { url, client, token: Mutex::default() }
    }

    /// The name of the user that stands for the client (Keycloak, Server Administration, "Service account").
    pub(super) fn service_account(&self) -> String {
        format!("service-account-{}", self.client.id.to_lowercase())
    }

    /// A token that is good for a while.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn get(&self, http: &Client) -> Result<Token, NoToken> {
        let mut held = self.token.lock().await;
        if let Some(token) = held.as_ref().filter(|token| Instant::now() < token.until) {
            return Ok(token.clone());
        }
        let token = self.ask(http).await?;
        *held = Some(token.clone());
        Ok(token)
    }

    /// Keycloak does not take this token: the next call asks for another.
    pub(super) async fn forget(&self, refused: &Token) {
        let mut held = self.token.lock().await;
        if held.as_ref().is_some_and(|now| now.value.expose_secret() == refused.value.expose_secret()) {
            *held = None;
        }
    }

    async fn ask(&self, http: &Client) -> Result<Token, NoToken> {
        let asked = Instant::now();
        let (status, reply) = self
            .grant(http, &self.client, &[("grant_type", "client_credentials")])
            .await
            .map_err(|error| NoToken::Unreachable(error.to_string()))?;
        let unreachable = |what: &str| NoToken::Unreachable(format!("it answered {} {what}", status.as_u16()));
        if status == StatusCode::NOT_FOUND {
            return Err(if reply.is_null() { NoToken::NoServer } else { NoToken::NoRealm });
        }
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::BAD_REQUEST {
            return Err(NoToken::Refused(meaning(&reply)));
        }
        if status == StatusCode::FORBIDDEN {
            return Err(NoToken::Refused("it answers 403: the realm is disabled, or asks for https"));
        }
        let value = reply.get("access_token").and_then(Value::as_str).filter(|token| http::is_token(token));
        let (true, Some(value)) = (status.is_success(), value) else { return Err(unreachable("without a token")) };
        let life = Duration::from_secs(reply.get("expires_in").and_then(Value::as_u64).unwrap_or(60)).min(LIFE);
        Ok(Token { value: SecretString::from(value), until: asked + life.saturating_sub(SPARE).max(life / 2) })
    }

    /// Asks for a grant to `client`.
    ///
    /// # Errors
    /// If there was no answer. One that is no JSON is null here.
    pub(super) async fn grant(
        &self,
        http: &Client,
        client: &OAuthClient,
        form: &[(&str, &str)],
    ) -> Result<(StatusCode, Value), http::Failed> {
        let mut all = vec![("client_id", client.id.as_str())];
        all.extend(client.secret.as_ref().map(|secret| ("client_secret", secret.expose_secret())));
        all.extend(form);
        let response = http.post(self.url.clone()).form(&all).send().await?;
        let status = response.status();
        let body = http::body(response).await?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }
}

/// What an error of the token endpoint means. The words are ours: an answer may quote what was sent.
fn meaning(reply: &Value) -> &'static str {
    let text = |name: &str| reply.get(name).and_then(Value::as_str).unwrap_or_default();
    match (text("error"), text("error_description")) {
        (_, said) if said.contains("not enabled to retrieve service account") => {
            "the client has no service account: switch it on (serviceAccountsEnabled)"
        }
        (_, said) if said.contains("disabled") => "the client or its service account's user is disabled",
        ("unauthorized_client", _) => "client-secret is not the client's (unauthorized_client)",
        ("invalid_client", _) => {
            "the realm has no such client-id, or it is disabled, or it signs in another way than by a secret (invalid_client)"
        }
        _ => "it gives a reason that is not known here: look at client-id and client-secret",
    }
}
