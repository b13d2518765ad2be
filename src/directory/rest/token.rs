//! Access tokens (RFC 6749).
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::{sync::Mutex, time::Instant};

use crate::{
    core::{call::Reply, seen::Why},
    directory::NotReady,
    http::{self, Http},
};

/// A longer lifetime is not believed.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// An access token.
#[derive(Clone, Debug)]
pub struct Token {
    /// The token itself.
    pub value: SecretString,
    /// The scopes it was granted, in lower case. `None`: the answer did not say.
    pub scopes: Option<Vec<String>>,
    /// Where the API for the account is, as Zoho's answer names it.
    pub api_domain: Option<String>,
    /// When to stop using it.
    until: Instant,
}

impl Token {
    /// The token in an answer of the token endpoint, which was asked at `requested_at`. `default_lifetime`: if the answer names none.
    /// `safety`: the token is not used in this last part of its lifetime, or in the second half if its lifetime is short. `None`: the
    /// answer holds no token that can be used.
    pub fn of(reply: &Value, requested_at: Instant, default_lifetime: Duration, safety: Duration) -> Option<Self> {
        let text = |name: &str| reply.get(name).and_then(Value::as_str);
        let value = text("access_token").filter(|token| http::is_token(token))?;
        let lifetime = reply.get("expires_in").and_then(Value::as_u64).map_or(default_lifetime, Duration::from_secs);
        let lifetime = lifetime.min(MAX_LIFETIME);
        Some(Self {
            value: SecretString::from(value),
            scopes: text("scope").map(|scopes| {
                let each = scopes.split(|c: char| c == ',' || c.is_whitespace()).filter(|scope| !scope.is_empty());
                each.map(str::to_lowercase).collect()
            }),
            api_domain: text("api_domain").map(str::to_owned),
            until: requested_at + lifetime.saturating_sub(safety).max(lifetime / 2),
        })
    }
}

/// Why there is no token. The directory's API was not called then. The texts have fixed words only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoToken {
    /// The token endpoint could not be reached, or gave an answer that is not understood.
    #[error("{0}")]
    Unreachable(String),
    /// The token endpoint issues no token until this time.
    #[error("{0}")]
    Throttled(String, Timestamp),
    /// The token endpoint refuses the credentials.
    #[error("{0}")]
    Refused(String),
    /// There is no such token endpoint: an address in the Directory is wrong.
    #[error("{0}")]
    WrongAddress(String),
}

impl NoToken {
    /// Why a fact could not be read.
    pub fn why(&self) -> Why {
        match self {
            Self::Throttled(message, until) => Why::until(message.clone(), *until),
            Self::Unreachable(message) | Self::Refused(message) | Self::WrongAddress(message) => {
                Why::new(message.clone())
            }
        }
    }

    /// What it means for the call that needed the token. Nothing of the call was sent.
    pub fn reply(&self) -> Reply {
        match self {
            Self::Throttled(_, until) => {
                let seconds = until.duration_since(Timestamp::now()).as_secs();
                Reply::Throttled { after: u32::try_from(seconds).ok() }
            }
            Self::Refused(_) => Reply::Denied { code: "NO_TOKEN".to_owned() },
            Self::Unreachable(_) | Self::WrongAddress(_) => Reply::NotSent,
        }
    }

    /// Why the Directory is not ready.
    pub fn not_ready(&self) -> NotReady {
        let message = self.why().message;
        match self {
            Self::Refused(_) => NotReady::CredentialsRefused(message),
            Self::WrongAddress(_) => NotReady::InvalidConfiguration(message),
            Self::Unreachable(_) => NotReady::Unreachable(message),
            Self::Throttled(..) => NotReady::Throttled(message),
        }
    }
}

/// Issues tokens.
pub trait Issuer {
    /// Requests a token.
    ///
    /// # Errors
    /// Why there is none.
    async fn request(&self, http: &Http) -> Result<Token, NoToken>;
}

/// Keeps one token, and requests the next when it is needed, one at a time.
#[derive(Debug)]
pub struct Tokens<I> {
    /// Where they come from.
    pub issuer: I,
    cached: Mutex<Option<Token>>,
}

impl<I: Issuer> Tokens<I> {
    /// No token yet.
    pub fn new(issuer: I) -> Self {
        Self { issuer, cached: Mutex::default() }
    }

    /// A token that can be used for a while.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn get(&self, http: &Http) -> Result<Token, NoToken> {
        let mut cached = self.cached.lock().await;
        if let Some(token) = cached.as_ref().filter(|token| Instant::now() < token.until) {
            return Ok(token.clone());
        }
        let token = self.issuer.request(http).await?;
        *cached = Some(token.clone());
        Ok(token)
    }

    /// Drops a token that the directory rejected: the next call requests another.
    pub async fn forget(&self, rejected: &Token) {
        let mut cached = self.cached.lock().await;
        if cached.as_ref().is_some_and(|token| token.value.expose_secret() == rejected.value.expose_secret()) {
            *cached = None;
        }
    }

    /// When the cached token ends. `None`: there is none, or one is being requested.
    pub fn cached_until(&self) -> Option<Instant> {
        self.cached.try_lock().ok()?.as_ref().map(|token| token.until)
    }
}
