//! What an answer means. Zoho's products report errors in different forms, some with status 200 (docs/zoho.md).
use reqwest::StatusCode;
use serde_json::Value;

use crate::{
    core::{call::Reply, seen::Why},
    directory::rest::answer::{NoBody, into_body, is_code, throttled},
    http,
};

/// The access token lacks a scope: another token of the same grant would, too.
const SCOPE_ERRORS: [&str; 2] = ["INVALID_OAUTHSCOPE", "OAUTH_SCOPE_MISMATCH"];
/// Errors about what the operator sends of its own: the token, an address that is wrong or needs another scope, a field that the call does
/// not have (Zoho Mail's code for it, observed with status 404), or the administrator's password.
const OPERATOR_ERRORS: [&str; 7] = [
    "INVALID_OAUTHTOKEN",
    "INVALID_TOKEN",
    "INVALID_TICKET",
    "URL_RULE_NOT_CONFIGURED",
    "INVALID_URL_PATTERN",
    "EXTRA_KEY_FOUND_IN_JSON",
    "ADMIN_PASSWORD_MISMATCH",
];
/// The codes of Directory and Mail for a user whom they do not know.
const NO_USER: [&str; 2] = ["USER_NOT_FOUND", "INVALID_ACCOUNT"];

/// An answer, of which at least the status line was received.
pub(super) struct Answer {
    /// Of the status line.
    line: StatusCode,
    /// Seconds of `Retry-After`.
    after: Option<u32>,
    body: Result<Value, NoBody>,
    /// The body contains "too many requests".
    has_throttle_text: bool,
}

impl Answer {
    pub(super) fn read(answered: http::Answered) -> Self {
        let line = answered.status;
        let after = http::retry_after(&answered.headers);
        let bytes = match answered.body {
            Ok(bytes) => bytes,
            Err(error) => return Self { line, after, body: Err(NoBody::Failed(error)), has_throttle_text: false },
        };
        let has_throttle_text = bytes.windows(18).take(2000).any(|w| w.eq_ignore_ascii_case(b"too many requests "));
        let body = serde_json::from_slice(&bytes).ok().filter(Value::is_object).ok_or(NoBody::NotJson);
        Self { line, after, body, has_throttle_text }
    }

    /// The effective status. If the status line is a success and the body is an error, it is the number in the body, or 400 if the body has
    /// only a name. A number outside 4xx counts as 500, since it does not show that nothing was done.
    pub(super) fn status(&self) -> u16 {
        match self.body_status() {
            _ if !self.line.is_success() => self.line.as_u16(),
            Some(status @ 400..=499) => u16::try_from(status).unwrap_or(400),
            Some(_) => 500,
            None if self.has_error() && self.error_name().is_some() => 400,
            None => self.line.as_u16(),
        }
    }

    /// The code of the error. `None`: the answer is a success.
    pub(super) fn failure(&self) -> Option<String> {
        if self.line.is_success() && self.body_status().is_none() && !self.has_error() {
            return None;
        }
        let number = || format!("HTTP_{}", self.body_status().unwrap_or_else(|| i64::from(self.line.as_u16())));
        Some(self.error_name().and_then(code).unwrap_or_else(number))
    }

    /// Whether the token lacks a scope for the request.
    pub(super) fn lacks_scope(&self) -> bool {
        self.failure().is_some_and(|code| SCOPE_ERRORS.contains(&code.as_str()))
    }

    /// Whether Zoho throttles the operator.
    pub(super) fn is_throttle(&self) -> bool {
        let named = self.failure().is_some_and(|code| {
            code == "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED" || code.eq_ignore_ascii_case("request_limit_exceeded")
        });
        self.status() == 429 || named || (self.status() == 400 && self.has_throttle_text)
    }

    /// The body of a successful read of `what`.
    pub(super) fn into_read(self, what: &str) -> Result<Value, Why> {
        if self.is_throttle() {
            return Err(throttled(self.after));
        }
        into_body(what, self.failure(), self.body)
    }

    /// What the answer means for the call. A code that contains one of `secrets` is not shown.
    pub(super) fn reply(&self, secrets: &[&str]) -> Reply {
        if self.is_throttle() {
            return Reply::Throttled { after: self.after };
        }
        let status = self.status();
        let Some(code) = self.failure() else {
            // A success without a readable body is not clear.
            return if self.body.is_ok() || status == 204 { Reply::Done } else { Reply::Unsure };
        };
        let is = |known: &[&str]| known.contains(&code.as_str());
        match status {
            // An error without a name or number may not be one. A server error may come after the change, and 408 is a timeout. A
            // redirect may lead to the result of the change (RFC 9110, section 15.4.4).
            200..=399 | 408 | 500..=599 => Reply::Unsure,
            _ if is(&SCOPE_ERRORS) || is(&OPERATOR_ERRORS) => Reply::Denied { code },
            _ if is(&NO_USER) => Reply::NoSuchUser,
            _ if code == "PATTERN_NOT_MATCHED" || code.starts_with("PASSWORD_") => {
                Reply::PasswordRefused { code: self.unquoted(code, secrets) }
            }
            403 if code.starts_with("USER_") => Reply::Rejected { code: self.unquoted(code, secrets) },
            // The look-up has just shown the user, so a 404 without such a code means that the path does not exist.
            401 | 403 | 404 => Reply::Denied { code: self.unquoted(code, secrets) },
            // An error that the directory names, with a 4xx status. An error with a success status may be about the mail that follows
            // the change, and an answer without a name may not be the directory's.
            _ if self.error_name().is_some() && (self.body_status().is_some() || !self.line.is_success()) => {
                Reply::Rejected { code: self.unquoted(code, secrets) }
            }
            _ => Reply::Unsure,
        }
    }

    /// `code`, unless it contains one of `secrets`. Blanks count as underscores, since Zoho may send a sentence that quotes the password
    /// instead of a code.
    fn unquoted(&self, code: String, secrets: &[&str]) -> String {
        let lower = code.to_lowercase();
        let quotes = secrets.iter().any(|secret| lower.contains(&secret.trim().replace(' ', "_").to_lowercase()));
        if quotes { format!("HTTP_{}", self.line.as_u16()) } else { code }
    }

    /// The status in the body, if it is not a success.
    fn body_status(&self) -> Option<i64> {
        let number = |pointer: &str| {
            let value = self.body.as_ref().ok()?.pointer(pointer)?;
            value.as_i64().or_else(|| value.as_str()?.parse().ok())
        };
        let status = number("/status_code").or_else(|| number("/status/code"))?;
        (!(200..300).contains(&status)).then_some(status)
    }

    /// Whether the body has an error.
    fn has_error(&self) -> bool {
        let Ok(body) = &self.body else { return false };
        ["/error", "/errorCode", "/data/errorCode"].iter().any(|p| body.pointer(p).is_some_and(|v| !v.is_null()))
            || body.pointer("/status").and_then(Value::as_str).is_some_and(|s| matches!(s, "error" | "failure"))
    }

    /// The name of the error in the body.
    fn error_name(&self) -> Option<&str> {
        let body = self.body.as_ref().ok()?;
        ["/error", "/error/title", "/errorCode", "/data/errorCode", "/code"]
            .iter()
            .find_map(|pointer| body.pointer(pointer).and_then(Value::as_str))
    }
}

/// An error code that is safe to show. `None`: the text has another form.
fn code(text: &str) -> Option<String> {
    let code = text.trim().replace(' ', "_");
    is_code(&code).then_some(code)
}
