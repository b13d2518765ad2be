//! Access tokens by the refresh-token grant (RFC 6749, section 6), with Zoho's own ways of failing.
use std::{collections::VecDeque, time::Duration};

use jiff::{SignedDuration, Timestamp};
use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::{sync::Mutex, time::Instant};
use url::Url;

use crate::directory::http;

/// Zoho gives ten access tokens for a refresh token within ten minutes, then none for the rest of them
/// (zoho.com/accounts/protocol/oauth/web-apps/access-token-expiry.html).
const TOKENS: usize = 10;
const WINDOW: Duration = Duration::from_secs(600);
/// A token is not used in the last minute of its life.
const SPARE: Duration = Duration::from_secs(60);

/// Who signs in.
#[derive(Debug)]
pub struct OAuthClient {
    /// The client's id.
    pub id: String,
    /// The client's secret.
    pub secret: SecretString,
    /// The refresh token of an administrator.
    pub refresh_token: SecretString,
}

/// An access token.
#[derive(Clone, Debug)]
pub struct Token {
    /// Itself.
    pub value: SecretString,
    /// What it may be used for, in lower case; none if the answer did not say.
    pub scopes: Option<Vec<String>>,
    /// Where the account's data are, if the answer said so.
    pub api_domain: Option<String>,
    until: Instant,
}

/// Why there is no token. Nothing was asked of the directory then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoToken {
    /// The accounts server was not reached, or gave no answer that makes sense.
    #[error("the accounts server gave no token: {0}")]
    Unreachable(String),
    /// It wants to be left alone.
    #[error("the accounts server gives no more tokens until {0}")]
    Throttled(Timestamp),
    /// It refuses the credentials.
    #[error("the accounts server refused the credentials ({0})")]
    Refused(String),
}

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    asked: VecDeque<Instant>,
}

/// Keeps one token, and asks for the next when it is needed.
#[derive(Debug)]
pub struct Tokens {
    url: Url,
    client: OAuthClient,
    state: Mutex<State>,
}

impl Tokens {
    /// From the accounts server at `accounts`.
    #[must_use]
    pub fn new(accounts: &Url, client: OAuthClient) -> Self {
        Self { url: http::join(accounts, "/oauth/v2/token"), client, state: Mutex::default() }
    }

    /// A token that is good for a while. One is asked for at a time.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn get(&self, http: &Client) -> Result<Token, NoToken> {
        let mut state = self.state.lock().await;
        let now = Instant::now();
        if let Some(token) = state.token.as_ref().filter(|token| now < token.until) {
            return Ok(token.clone());
        }
        state.asked.retain(|at| now < *at + WINDOW);
        if let (Some(first), true) = (state.asked.front(), state.asked.len() >= TOKENS) {
            let wait = (*first + WINDOW).saturating_duration_since(now);
            let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::from_mins(10));
            return Err(NoToken::Throttled(in_future(wait)));
        }
        state.asked.push_back(now);
        let token = self.ask(http).await?;
        state.token = Some(token.clone());
        Ok(token)
    }

    /// The directory does not take this token: the next call asks for another.
    pub async fn forget(&self, refused: &Token) {
        let mut state = self.state.lock().await;
        if state.token.as_ref().is_some_and(|now| now.value.expose_secret() == refused.value.expose_secret()) {
            state.token = None;
        }
    }

    async fn ask(&self, http: &Client) -> Result<Token, NoToken> {
        let unreachable = |what: String| NoToken::Unreachable(what);
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", self.client.id.as_str()),
            ("client_secret", self.client.secret.expose_secret()),
            ("refresh_token", self.client.refresh_token.expose_secret()),
        ];
        let asked = Instant::now();
        let response = http
            .post(self.url.clone())
            .form(&form)
            .send()
            .await
            .map_err(|error| unreachable(http::Failed::from(error).to_string()))?;
        let status = response.status();
        let after = http::retry_after(&response);
        let body = http::body(response).await.map_err(|error| unreachable(error.to_string()))?;
        let throttled = |seconds: Option<u32>| {
            NoToken::Throttled(in_future(SignedDuration::from_secs(i64::from(seconds.unwrap_or(600)))))
        };
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(throttled(after));
        }
        let Ok(reply) = serde_json::from_slice::<Value>(&body) else {
            return Err(unreachable(format!("it answered {} with something that is no JSON", status.as_u16())));
        };
        // Errors come as 200, too.
        if let Some(error) = reply.get("error").and_then(Value::as_str) {
            let described = reply.get("error_description").and_then(Value::as_str).unwrap_or_default();
            return Err(if error.eq_ignore_ascii_case("access denied") || described.contains("too many requests") {
                throttled(after)
            } else {
                NoToken::Refused(super::code(error))
            });
        }
        if !status.is_success() {
            return Err(unreachable(format!("it answered {}", status.as_u16())));
        }
        let Some(value) = reply.get("access_token").and_then(Value::as_str).filter(|token| !token.is_empty()) else {
            return Err(unreachable("its answer holds no access_token".to_owned()));
        };
        let life = Duration::from_secs(reply.get("expires_in").and_then(Value::as_u64).unwrap_or(3600));
        Ok(Token {
            value: SecretString::from(value),
            scopes: reply.get("scope").and_then(Value::as_str).map(|scopes| {
                let each = scopes.split([' ', ',']).filter(|scope| !scope.is_empty());
                each.map(str::to_lowercase).collect()
            }),
            api_domain: reply.get("api_domain").and_then(Value::as_str).map(str::to_owned),
            until: asked + life.saturating_sub(SPARE).max(life / 2),
        })
    }
}

fn in_future(by: SignedDuration) -> Timestamp {
    Timestamp::now().saturating_add(by).unwrap_or(Timestamp::MAX)
}
