//! Access tokens by the refresh-token grant (RFC 6749, section 6), with Zoho's limits and errors.
use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use crate::{
    directory::{
        lock,
        rest::token::{Issuer, NoToken, Token, Tokens},
    },
    http::{self, Failed, Http},
};

/// Zoho issues ten access tokens for a refresh token within ten minutes, then none for the rest of them
/// (zoho.com/accounts/protocol/oauth/web-apps/access-token-expiry.html).
const TOKENS_PER_WINDOW: usize = 10;
const WINDOW: Duration = Duration::from_secs(600);
/// A token is not used in the last minute of its lifetime.
const SAFETY: Duration = Duration::from_secs(60);
/// Zoho's tokens live an hour.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);
/// Bytes of an answer with a token, which is kept as long as the token.
const MAX_ANSWER: usize = 64 * 1024;

/// The client that Zoho issues tokens to.
#[derive(Debug)]
pub struct OAuthClient {
    /// The client's id.
    pub id: SecretString,
    /// The client's secret.
    pub secret: SecretString,
    /// The refresh token of an administrator.
    pub refresh_token: SecretString,
}

impl PartialEq for OAuthClient {
    fn eq(&self, other: &Self) -> bool {
        let same = |one: &SecretString, two: &SecretString| one.expose_secret() == two.expose_secret();
        same(&self.id, &other.id)
            && same(&self.secret, &other.secret)
            && same(&self.refresh_token, &other.refresh_token)
    }
}

/// What an error of the token endpoint means. The texts are fixed: an answer may quote what was sent.
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

/// The requests that Zoho counts.
#[derive(Debug, Default)]
struct Budget {
    requested_at: VecDeque<Instant>,
    /// The accounts server refuses requests until then.
    closed_until: Option<Instant>,
}

impl Budget {
    /// When the next token may be requested, if that is not now.
    fn opens(&mut self, now: Instant) -> Option<Instant> {
        self.requested_at.retain(|at| now < *at + WINDOW);
        let full = self.requested_at.front().filter(|_| self.requested_at.len() >= TOKENS_PER_WINDOW);
        self.closed_until.max(full.map(|first| *first + WINDOW)).filter(|opens| now < *opens)
    }
}

/// Zoho's accounts server, for one client.
#[derive(Debug)]
pub struct Accounts {
    url: Url,
    client: OAuthClient,
    budget: Mutex<Budget>,
}

/// All tokens of this process. A Directory that is connected again, as in each term of leadership, and another Directory with the same
/// credentials, use the cached token: Zoho counts the tokens issued for a refresh token, from whatever process the requests come.
static ALL: Mutex<Vec<Arc<Tokens<Accounts>>>> = Mutex::new(Vec::new());

/// The tokens of `client` from the accounts server at `accounts`, shared by all connections with the same credentials.
#[must_use]
pub fn tokens_of(accounts: &Url, client: OAuthClient) -> Arc<Tokens<Accounts>> {
    let url = http::join(accounts, "/oauth/v2/token");
    let mut all = lock(&ALL);
    let now = Instant::now();
    // Drops those of a Secret that has been rotated.
    all.retain(|known| Arc::strong_count(known) > 1 || is_needed(known, now));
    let same = |known: &&Arc<Tokens<Accounts>>| known.issuer.url == url && known.issuer.client == client;
    if let Some(known) = all.iter().find(same) {
        return Arc::clone(known);
    }
    let new = Arc::new(Tokens::new(Accounts { url, client, budget: Mutex::default() }));
    all.push(Arc::clone(&new));
    new
}

/// Whether a later connection has to know these: a token that can be used, or a request that Zoho still counts.
fn is_needed(tokens: &Tokens<Accounts>, now: Instant) -> bool {
    let budget = lock(&tokens.issuer.budget);
    let counted = budget.requested_at.back().map(|at| *at + WINDOW);
    tokens.cached_until().max(budget.closed_until).max(counted).is_some_and(|until| now < until)
}

impl Issuer for Accounts {
    async fn request(&self, http: &Http) -> Result<Token, NoToken> {
        let now = Instant::now();
        {
            let mut budget = lock(&self.budget);
            if let Some(opens) = budget.opens(now) {
                return Err(throttled(opens));
            }
            budget.requested_at.push_back(now);
        }
        match self.send(http).await {
            Ok(token) => Ok(token),
            Err(Failure::NotSent(error)) => {
                // Zoho has counted nothing: an outage must not use up the budget for the time after it.
                lock(&self.budget).requested_at.pop_back();
                Err(error)
            }
            Err(Failure::TooMany(after)) => {
                let wait = after.map_or(WINDOW, |seconds| Duration::from_secs(u64::from(seconds)));
                let opens = Instant::now().checked_add(wait).unwrap_or(now + WINDOW);
                lock(&self.budget).closed_until = Some(opens);
                Err(throttled(opens))
            }
            Err(Failure::Other(error)) => Err(error),
        }
    }
}

impl Accounts {
    async fn send(&self, http: &Http) -> Result<Token, Failure> {
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", self.client.id.expose_secret()),
            ("client_secret", self.client.secret.expose_secret()),
            ("refresh_token", self.client.refresh_token.expose_secret()),
        ];
        let requested_at = Instant::now();
        let sent = async { http.send(http.ask(http.request(Method::POST, self.url.clone()).form(&form)).await?).await };
        let answered = sent.await.map_err(|error| match error {
            Failed::NotSent => Failure::NotSent(no_token(error)),
            Failed::Broken | Failed::TooLarge | Failed::TooMany => unreachable(error),
        })?;
        let status = answered.status;
        let after = http::retry_after(&answered.headers);
        let body = answered.body.map_err(unreachable)?;
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(Failure::TooMany(after));
        }
        if body.len() > MAX_ANSWER {
            return Err(unreachable(format!("its answer is larger than {} KiB", MAX_ANSWER / 1024)));
        }
        let Ok(reply) = serde_json::from_slice::<Value>(&body) else {
            return Err(unreachable(format!("it answered {} with something that is not JSON", status.as_u16())));
        };
        if status.is_server_error() {
            return Err(unreachable(format!("it answered {}", status.as_u16())));
        }
        // Zoho reports errors with status 200, too.
        if let Some(error) = reply.get("error").and_then(Value::as_str) {
            let described = reply.get("error_description").and_then(Value::as_str).unwrap_or_default();
            return Err(if error.eq_ignore_ascii_case("access denied") || described.contains("too many requests") {
                Failure::TooMany(after)
            } else {
                let why = meaning(error);
                Failure::Other(NoToken::Refused(format!("the accounts server refuses the credentials: {why}")))
            });
        }
        if !status.is_success() {
            return Err(unreachable(format!("it answered {}", status.as_u16())));
        }
        Token::of(&reply, requested_at, DEFAULT_LIFETIME, SAFETY)
            .ok_or_else(|| unreachable("its answer holds no access_token that could be used"))
    }
}

/// Why a request gave no token, with what it means for the budget.
enum Failure {
    /// Zoho does not count it.
    NotSent(NoToken),
    /// Zoho refuses further requests. Seconds to wait, if it says so.
    TooMany(Option<u32>),
    /// Zoho counts it like any other.
    Other(NoToken),
}

fn no_token(why: impl fmt::Display) -> NoToken {
    NoToken::Unreachable(format!("the accounts server gave no token: {why}"))
}

fn unreachable(why: impl fmt::Display) -> Failure {
    Failure::Other(no_token(why))
}

fn throttled(opens: Instant) -> NoToken {
    let wait = SignedDuration::try_from(opens.saturating_duration_since(Instant::now())).unwrap_or(SignedDuration::MAX);
    let until = Timestamp::now().saturating_add(wait).unwrap_or(Timestamp::MAX);
    NoToken::Throttled(format!("the accounts server issues no further token until {until:.0}"), until)
}
