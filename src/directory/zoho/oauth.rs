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

/// Tokens live an hour; an answer that promises more than this is not believed.
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// An answer with a token is smaller: it is kept as long as the token.
const MOST: usize = 64 * 1024;

/// Who signs in.
#[derive(Debug)]
pub struct OAuthClient {
    /// The client's id.
    pub id: SecretString,
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
    #[error("the accounts server refuses the credentials: {0}")]
    Refused(&'static str),
}

/// What Zoho's error of the token endpoint means. The words are ours: an answer may quote what was sent.
fn meaning(error: &str) -> &'static str {
    match error {
        "invalid_client" => "it knows no such client-id in this data center (invalid_client)",
        "invalid_client_secret" => "client-secret is not the client's (invalid_client_secret)",
        "invalid_code" => {
            "refresh-token is revoked, or belongs to another client or data center (invalid_code): grant a new one"
        }
        _ => "it gives a reason that is not known here: look at client-id, client-secret and refresh-token",
    }
}

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    asked: VecDeque<Instant>,
    /// The accounts server has asked to be left alone until then.
    closed: Option<Instant>,
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
        let full = state.asked.front().filter(|_| state.asked.len() >= TOKENS).map(|first| *first + WINDOW);
        if let Some(opens) = state.closed.max(full).filter(|opens| now < *opens) {
            return Err(throttled(opens));
        }
        state.asked.push_back(now);
        match self.ask(http).await {
            Ok(token) => {
                state.token = Some(token.clone());
                Ok(token)
            }
            Err(Failure::NotSent(error)) => {
                // Zoho has counted nothing: an outage must not use up what may be asked after it.
                state.asked.pop_back();
                Err(error)
            }
            Err(Failure::TooMany(after)) => {
                let wait = after.map_or(WINDOW, |seconds| Duration::from_secs(u64::from(seconds)));
                let opens = Instant::now().checked_add(wait).unwrap_or(now + WINDOW);
                state.closed = Some(opens);
                Err(throttled(opens))
            }
            Err(Failure::Other(error)) => Err(error),
        }
    }

    /// The directory does not take this token: the next call asks for another.
    pub async fn forget(&self, refused: &Token) {
        let mut state = self.state.lock().await;
        if state.token.as_ref().is_some_and(|now| now.value.expose_secret() == refused.value.expose_secret()) {
            state.token = None;
        }
    }

    async fn ask(&self, http: &Client) -> Result<Token, Failure> {
        let unreachable = |what: String| Failure::Other(NoToken::Unreachable(what));
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", self.client.id.expose_secret()),
            ("client_secret", self.client.secret.expose_secret()),
            ("refresh_token", self.client.refresh_token.expose_secret()),
        ];
        let asked = Instant::now();
        let response =
            http.post(self.url.clone()).form(&form).send().await.map_err(http::Failed::from).map_err(|error| {
                match error {
                    http::Failed::NotSent => Failure::NotSent(NoToken::Unreachable(error.to_string())),
                    http::Failed::Broken | http::Failed::TooLarge | http::Failed::TooMany => {
                        unreachable(error.to_string())
                    }
                }
            })?;
        let status = response.status();
        let after = http::retry_after(&response);
        let body = http::body(response).await.map_err(|error| unreachable(error.to_string()))?;
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(Failure::TooMany(after));
        }
        if body.len() > MOST {
            return Err(unreachable(format!("its answer is larger than {} KiB", MOST / 1024)));
        }
        let Ok(reply) = serde_json::from_slice::<Value>(&body) else {
            return Err(unreachable(format!("it answered {} with something that is no JSON", status.as_u16())));
        };
        if status.is_server_error() {
            return Err(unreachable(format!("it answered {}", status.as_u16())));
        }
        // Errors come as 200, too.
        if let Some(error) = reply.get("error").and_then(Value::as_str) {
            let described = reply.get("error_description").and_then(Value::as_str).unwrap_or_default();
            return Err(if error.eq_ignore_ascii_case("access denied") || described.contains("too many requests") {
                Failure::TooMany(after)
            } else {
                Failure::Other(NoToken::Refused(meaning(error)))
            });
        }
        if !status.is_success() {
            return Err(unreachable(format!("it answered {}", status.as_u16())));
        }
        let Some(value) = reply.get("access_token").and_then(Value::as_str).filter(|token| http::is_token(token))
        else {
            return Err(unreachable("its answer holds no access_token that could be used".to_owned()));
        };
        let life = Duration::from_secs(reply.get("expires_in").and_then(Value::as_u64).unwrap_or(3600)).min(LIFE);
        Ok(Token {
            value: SecretString::from(value),
            scopes: reply.get("scope").and_then(Value::as_str).map(|scopes| {
                let each = scopes.split(|c: char| c == ',' || c.is_whitespace()).filter(|scope| !scope.is_empty());
                each.map(str::to_lowercase).collect()
            }),
            api_domain: reply.get("api_domain").and_then(Value::as_str).map(str::to_owned),
            until: asked + life.saturating_sub(SPARE).max(life / 2),
        })
    }
}

/// What did not give a token, as far as the count of tokens is concerned.
enum Failure {
    NotSent(NoToken),
    /// Seconds to wait, if it said so.
    TooMany(Option<u32>),
    Other(NoToken),
}

fn throttled(opens: Instant) -> NoToken {
    let wait = SignedDuration::try_from(opens.saturating_duration_since(Instant::now())).unwrap_or(SignedDuration::MAX);
    NoToken::Throttled(Timestamp::now().saturating_add(wait).unwrap_or(Timestamp::MAX))
}
