//! What an answer amounts to. Zoho's products fail in different shapes, some with status 200 (docs/zoho.md).
use jiff::{SignedDuration, Timestamp};
use reqwest::{Response, StatusCode};
use serde_json::Value;

use crate::{
    core::{ledger::Reply, world::Why},
    directory::http,
};

/// The access token lacks a scope: another token of the same grant would, too.
const SCOPE: [&str; 2] = ["INVALID_OAUTHSCOPE", "OAUTH_SCOPE_MISMATCH"];
/// The token itself, an address that is wrong or that its scopes do not open, or what a template sends of the administrator's.
const OURS: [&str; 6] = [
    "INVALID_OAUTHTOKEN",
    "INVALID_TOKEN",
    "INVALID_TICKET",
    "URL_RULE_NOT_CONFIGURED",
    "INVALID_URL_PATTERN",
    "ADMIN_PASSWORD_MISMATCH",
];
/// Directory's and Mail's words for a user whom they do not know.
const NO_USER: [&str; 2] = ["USER_NOT_FOUND", "INVALID_ACCOUNT"];

/// An answer whose status line came.
pub(super) struct Answer {
    line: StatusCode,
    after: Option<u32>,
    body: Result<Value, NoBody>,
    /// The body says "too many requests".
    says_too_many: bool,
}

/// Why there is no JSON object.
#[derive(Clone, Copy)]
enum NoBody {
    Failed(http::Failed),
    Other,
}

impl Answer {
    pub(super) async fn read(response: Response) -> Self {
        let line = response.status();
        let after = http::retry_after(&response);
        let bytes = match http::body(response).await {
            Ok(bytes) => bytes,
            Err(error) => return Self { line, after, body: Err(NoBody::Failed(error)), says_too_many: false },
        };
        let says_too_many = bytes.windows(18).take(2000).any(|w| w.eq_ignore_ascii_case(b"too many requests "));
        let body = serde_json::from_slice(&bytes).ok().filter(Value::is_object).ok_or(NoBody::Other);
        Self { line, after, body, says_too_many }
    }

    /// The status that counts: where the status line says success and the body does not, the body's own number, or 400 if
    /// it names an error only. A number that is no refusal is as unclear as a server's failure.
    pub(super) fn status(&self) -> u16 {
        match self.said() {
            _ if !self.line.is_success() => self.line.as_u16(),
            Some(said @ 400..=499) => u16::try_from(said).unwrap_or(400),
            Some(_) => 500,
            None if self.has_error() && self.named().is_some() => 400,
            None => self.line.as_u16(),
        }
    }

    /// The code of an error, if the answer is one.
    pub(super) fn failure(&self) -> Option<String> {
        if self.line.is_success() && self.said().is_none() && !self.has_error() {
            return None;
        }
        let number = || format!("HTTP_{}", self.said().unwrap_or_else(|| i64::from(self.line.as_u16())));
        Some(self.named().and_then(code).unwrap_or_else(number))
    }

    /// The scopes of the token do not reach this far.
    pub(super) fn lacks_scope(&self) -> bool {
        self.failure().is_some_and(|code| SCOPE.contains(&code.as_str()))
    }

    pub(super) fn is_throttle(&self) -> bool {
        let named = self.failure().is_some_and(|code| {
            code == "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED" || code.eq_ignore_ascii_case("request_limit_exceeded")
        });
        self.status() == 429 || named || (self.status() == 400 && self.says_too_many)
    }

    /// The body of a successful read.
    pub(super) fn into_read(self, what: &str) -> Result<Value, Why> {
        if self.is_throttle() {
            let seconds = SignedDuration::from_secs(i64::from(self.after.unwrap_or(60)));
            let until = Timestamp::now().saturating_add(seconds).unwrap_or(Timestamp::MAX);
            return Err(Why {
                message: format!("the directory asks to be left alone until {until}."),
                not_before: Some(until),
            });
        }
        match (self.failure(), self.body) {
            (None, Ok(body)) => Ok(body),
            (None, Err(NoBody::Other)) => {
                Err(Why::new(format!("the directory answered {what} with something that is no JSON.")))
            }
            (None, Err(NoBody::Failed(error))) => {
                Err(Why::new(format!("the directory gave no answer that could be read to {what}: {error}.")))
            }
            (Some(code), _) => Err(Why::new(format!("the directory answered {what} with {code}."))),
        }
    }

    /// What an answer to the call amounts to (protocol, section 6). A code that repeats one of `secrets` is not shown.
    pub(super) fn reply(&self, secrets: &[&str]) -> Reply {
        if self.is_throttle() {
            return Reply::Throttled { after: self.after };
        }
        let status = self.status();
        let Some(code) = self.failure() else {
            // A success without a body that could be read is no clear one.
            return if self.body.is_ok() || status == 204 { Reply::Done } else { Reply::Unsure };
        };
        let is = |known: &[&str]| known.contains(&code.as_str());
        match status {
            // An error without a name or number may be none; a server's failure may come after the change; 408 is a
            // time-out; and what a redirect leads to may be the result of what was done (RFC 9110, section 15.4.4).
            200..=399 | 408 | 500..=599 => Reply::Unsure,
            _ if is(&SCOPE) || is(&OURS) => Reply::Denied { code },
            _ if is(&NO_USER) => Reply::NoSuchUser,
            _ if code == "PATTERN_NOT_MATCHED" || code.starts_with("PASSWORD_") => {
                Reply::PasswordRefused { code: self.unquoted(code, secrets) }
            }
            403 if code.starts_with("USER_") => Reply::Rejected { code: self.unquoted(code, secrets) },
            // The look-up has just shown the user, so a 404 without such a word is a path that is not there.
            401 | 403 | 404 => Reply::Denied { code: self.unquoted(code, secrets) },
            // The directory's own word, with a number of refusal beside it. An error beside a success may be about the mail that
            // follows the change, and an answer without a word is perhaps not the directory's.
            _ if self.named().is_some() && (self.said().is_some() || !self.line.is_success()) => {
                Reply::Rejected { code: self.unquoted(code, secrets) }
            }
            _ => Reply::Unsure,
        }
    }

    /// Blanks count as underscores, since a sentence in place of a code may quote the password.
    fn unquoted(&self, code: String, secrets: &[&str]) -> String {
        let lower = code.to_lowercase();
        let quotes = secrets.iter().any(|secret| lower.contains(&secret.trim().replace(' ', "_").to_lowercase()));
        if quotes { format!("HTTP_{}", self.line.as_u16()) } else { code }
    }

    /// The body's own number, if it is not one of success.
    fn said(&self) -> Option<i64> {
        let number = |pointer: &str| {
            let value = self.body.as_ref().ok()?.pointer(pointer)?;
            value.as_i64().or_else(|| value.as_str()?.parse().ok())
        };
        let said = number("/status_code").or_else(|| number("/status/code"))?;
        (!(200..300).contains(&said)).then_some(said)
    }

    fn has_error(&self) -> bool {
        let Ok(body) = &self.body else { return false };
        ["/error", "/errorCode", "/data/errorCode"].iter().any(|p| body.pointer(p).is_some_and(|v| !v.is_null()))
            || body.pointer("/status").and_then(Value::as_str).is_some_and(|s| matches!(s, "error" | "failure"))
    }

    /// What the body calls the error.
    fn named(&self) -> Option<&str> {
        let body = self.body.as_ref().ok()?;
        ["/error", "/error/title", "/errorCode", "/data/errorCode", "/code"]
            .iter()
            .find_map(|pointer| body.pointer(pointer).and_then(Value::as_str))
    }
}

/// An error code as it may be shown. A text of any other form is none.
fn code(text: &str) -> Option<String> {
    let code = text.trim().replace(' ', "_");
    let fits = (1..=64).contains(&code.len())
        && code.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    fits.then_some(code)
}
