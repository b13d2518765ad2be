//! The watcher, which approves each request to a directory before it is sent and is shown the response: a person, with `credreset try`. The
//! operator runs without one.
//!
//! The watcher is shown the form of a message, never its contents: names, types, and values that say of which kind something is.
use std::{fmt::Debug, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use serde_json::{Map, Value};

use crate::core::text;

/// A request before it is sent.
#[derive(Clone, Debug)]
pub struct Request {
    /// The HTTP method, or the LDAP operation.
    pub verb: String,
    /// The whole address, or the entry and its server.
    pub target: String,
    /// Names of the fields that are sent with it, with the values of flags.
    pub fields: Vec<String>,
    /// Whether it changes nothing.
    pub is_read: bool,
}

/// The response to a request.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status or result code, or why there is none.
    pub summary: String,
    /// The form of its body: see [`form`].
    pub form: Value,
}

/// Approves requests and is shown the responses.
pub trait Watch: Debug + Send + Sync {
    /// Whether the request may be sent. This may take as long as a person needs.
    fn allow(&self, request: Request) -> BoxFuture<'_, bool>;

    /// Takes the response to a request. Several requests may be under way.
    fn answered(&self, request: &Request, response: Response);
}

/// Longer than any person takes to approve a request.
pub(super) const NO_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

/// The watcher, if there is one.
pub type Watched = Option<Arc<dyn Watch>>;

/// Texts under these names are shown: they say of which kind something is, or are the id of a user.
const SHOWN: [&str; 13] = [
    "user_id",
    "zuid",
    "id",
    "username",
    "user_status",
    "user_type",
    "role",
    "mode",
    "type",
    "grant_type",
    "entryUUID",
    "sAMAccountName",
    "requiredActions",
];
/// Numbers under these names are shown: they are not times, ids or counts that belong to a user.
const NUMBERS: [&str; 3] = ["code", "status_code", "expires_in"];
/// Texts in capitals under these names are shown: they are codes, and no generated password has that form.
const CODES: [&str; 4] = ["error", "errorCode", "code", "title"];
/// Replaces a text.
pub const TEXT: &str = "text";
/// Replaces a number.
pub const NUMBER: &str = "number";

/// `value` with its texts and numbers replaced by [`TEXT`] and [`NUMBER`], except those that are listed in `SHOWN`, `NUMBERS` or `CODES`.
#[must_use]
pub fn form(value: &Value) -> Value {
    of("", value)
}

fn of(name: &str, value: &Value) -> Value {
    match value {
        Value::Null | Value::Bool(_) => value.clone(),
        Value::String(text) if SHOWN.contains(&name) => Value::String(text::printable(text, text::NAME)),
        Value::String(text) if CODES.contains(&name) && is_code(text) => value.clone(),
        Value::Number(_) if SHOWN.contains(&name) || NUMBERS.contains(&name) => value.clone(),
        Value::String(_) => TEXT.into(),
        Value::Number(_) => NUMBER.into(),
        Value::Array(all) => all.iter().map(|one| of(name, one)).collect(),
        Value::Object(map) => {
            let map: Map<String, Value> =
                map.iter().map(|(name, value)| (text::printable(name, text::NAME), of(name, value))).collect();
            map.into()
        }
    }
}

fn is_code(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    (2..=64).contains(&text.len()) && text.bytes().all(fits)
}

/// The names in a form, down to the second level, with the values of flags and codes. Of a list, the names in its first element.
#[must_use]
pub fn names(form: &Value) -> Vec<String> {
    let mut all = Vec::new();
    list("", form.get(0).unwrap_or(form), &mut all);
    all
}

fn list(within: &str, form: &Value, all: &mut Vec<String>) {
    for (name, value) in form.as_object().into_iter().flatten() {
        let path = format!("{within}{name}");
        let shown = ["mode", "type", "grant_type"].contains(&name.as_str()) || CODES.contains(&name.as_str());
        match (value, value.get(0)) {
            (Value::Object(_), _) if within.is_empty() => list(&format!("{path}."), value, all),
            (_, Some(first @ Value::Object(_))) if within.is_empty() => list(&format!("{path}[]."), first, all),
            // The first element of a list may belong to any user.
            (Value::Bool(flag), _) if !within.ends_with("[].") => all.push(format!("{path}: {flag}")),
            (Value::String(text), _) if shown && text != TEXT => all.push(format!("{path}: {text}")),
            (Value::Number(number), _) if NUMBERS.contains(&name.as_str()) => all.push(format!("{path}: {number}")),
            _ => all.push(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_form_holds_no_contents() {
        let body = json!({
            "access_token": "1000.secret", "expires_in": 3600, "users": [{"user_id": 7, "primary_email": "a@b.example", "active": true, "at": 1}],
            "password": "New-pass", "mode": "resetPassword",
        });
        let form = form(&body);
        assert_eq!(
            form,
            json!({
                "access_token": "text", "expires_in": 3600, "users": [{"user_id": 7, "primary_email": "text", "active": true, "at": "number"}],
                "password": "text", "mode": "resetPassword",
            })
        );
        assert_eq!(
            names(&form),
            [
                "access_token",
                "expires_in: 3600",
                "mode: resetPassword",
                "password",
                "users[].active",
                "users[].at",
                "users[].primary_email",
                "users[].user_id"
            ]
        );
        let refusal = super::form(
            &json!({"data": {"errorCode": "PASSWORD_POLICY"}, "error": "New-pass", "status": {"code": 400}}),
        );
        assert_eq!(names(&refusal), ["data.errorCode: PASSWORD_POLICY", "error", "status.code: 400"]);
    }
}
