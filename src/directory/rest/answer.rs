//! The answer to a read: its JSON body, or why it has none.
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{core::seen::Why, http};

/// How long the operator waits if the directory does not say so.
const DEFAULT_PAUSE: u32 = 60;

/// Why an answer has no usable body.
#[derive(Clone, Copy)]
pub enum NoBody {
    /// It could not be read.
    Failed(http::Failed),
    /// It is not the JSON that the API documents.
    NotJson,
}

/// The error for a directory that throttles the operator. `after`: seconds of its `Retry-After`.
pub fn throttled(after: Option<u32>) -> Why {
    let seconds = SignedDuration::from_secs(i64::from(after.unwrap_or(DEFAULT_PAUSE)));
    let until = Timestamp::now().saturating_add(seconds).unwrap_or(Timestamp::MAX);
    Why::until(format!("the directory asks to be left alone until {until:.0}"), until)
}

/// The body of an answer. `what`: what was read. `error`: the code of the answer, if it is an error.
///
/// # Errors
/// If the answer is an error, or has no usable body.
pub fn into_body(what: &str, error: Option<String>, body: Result<Value, NoBody>) -> Result<Value, Why> {
    match (error, body) {
        (Some(code), _) => Err(Why::new(format!("the directory answered {what} with {code}."))),
        (None, Ok(body)) => Ok(body),
        (None, Err(NoBody::NotJson)) => {
            Err(Why::new(format!("the directory answered {what} with something that is not JSON.")))
        }
        (None, Err(NoBody::Failed(error))) => {
            Err(Why::new(format!("the directory gave no answer that could be read to {what}: {error}.")))
        }
    }
}

/// Whether `text` has the form of an error code, and so is safe to show.
pub fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}
