//! Answers of the Admin REST API.
use jiff::Timestamp;
use reqwest::{StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::{
    core::seen::Why,
    directory::rest::answer::{NoBody, into_body, is_code, throttled},
    http,
};

/// An answer, of which at least the status line was received.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Seconds of `Retry-After`.
    pub(super) after: Option<u32>,
    /// The server's clock, in whole seconds.
    pub(super) date: Option<Timestamp>,
    /// Null if it is not JSON.
    pub(super) body: Result<Value, http::Failed>,
}

impl Answer {
    pub(super) fn read(http::Answered { status, headers, body }: http::Answered) -> Self {
        let date = headers.get(header::DATE).and_then(|value| value.to_str().ok());
        Self {
            status,
            after: http::retry_after(&headers),
            date: date.and_then(|text| Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp())),
            body: body.map(|bytes| serde_json::from_slice(&bytes).unwrap_or_default()),
        }
    }

    /// The first error, and how many there are.
    fn error(&self) -> Option<(&Value, usize)> {
        let body = self.body.as_ref().ok()?;
        match body.get("errors").and_then(Value::as_array) {
            Some(all) => Some((all.first()?, all.len())),
            None => Some((body, 1)),
        }
    }

    /// Keycloak's name for the error.
    pub(super) fn error_name(&self) -> Option<&str> {
        self.error().and_then(|(error, _)| error.get("error").or_else(|| error.get("errorMessage"))?.as_str())
    }

    /// A code that is safe to show: Keycloak's name for the error, with the attribute that it is about, or the status. A name that
    /// contains `secret` is left out.
    pub(super) fn code(&self, secret: Option<&SecretString>) -> String {
        let is_safe = |name: &&str| {
            is_code(name)
                && secret.is_none_or(|secret| !name.to_lowercase().contains(&secret.expose_secret().to_lowercase()))
        };
        let Some(name) = self.error_name().filter(is_safe) else { return format!("HTTP_{}", self.status.as_u16()) };
        let (field, several) = self.error().map_or((None, 1), |(error, n)| (error.get("field"), n));
        let field = field.and_then(Value::as_str).filter(is_safe).map(|field| format!(" of {field}"));
        let first = (several > 1).then(|| format!(", the first of {several}"));
        [Some(name.to_owned()), field, first].into_iter().flatten().collect()
    }

    /// Whether Keycloak has no such user. For a realm or an address that does not exist, this is false.
    pub(super) fn is_no_user(&self) -> bool {
        let says = |body: &Value| body.get("error").and_then(Value::as_str) == Some("User not found");
        self.status == StatusCode::NOT_FOUND && self.body.as_ref().is_ok_and(says)
    }

    /// The body of a successful read of `what`.
    pub(super) fn into_read(self, what: &str) -> Result<Value, Why> {
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            return Err(throttled(self.after));
        }
        let error = (!self.status.is_success()).then(|| self.status.as_u16().to_string());
        let body = self.body.map_err(NoBody::Failed);
        into_body(what, error, body.and_then(|body| if body.is_null() { Err(NoBody::NotJson) } else { Ok(body) }))
    }

    /// The list that a successful read of `what` returned.
    pub(super) fn into_list(self, what: &str) -> Result<Vec<Value>, Why> {
        match self.into_read(what)? {
            Value::Array(all) => Ok(all),
            _ => Err(Why::new(format!("the directory answered {what} without a list."))),
        }
    }
}
