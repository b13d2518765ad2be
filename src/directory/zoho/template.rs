//! Calls that the Directory object defines: a method, a path and a JSON body with placeholders.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    api::directory::{Method, Template},
    core::text,
};

/// Placeholders that a body may use.
pub const IN_BODY: [&str; 11] = [
    "organization",
    "zoid",
    "user.id",
    "user.zuid",
    "user.email",
    "password",
    "forceChangeOnLogin",
    "clearMobileSessionsAndApiTokens",
    "emailToUser",
    "adminPassword",
    UNCHANGED_SINCE,
];
/// The time of the last change that the attempt saw, RFC 3339, or null if there was none. With a service in front of Zoho that answers 409
/// or 412 if that time has changed, the operator can send the call again after a lost reply.
pub const UNCHANGED_SINCE: &str = "unchangedSince";
/// Placeholders that a path may use. Their values are digits.
const IN_PATH: [&str; 4] = ["organization", "zoid", "user.id", "user.zuid"];
/// Placeholders that are invalid in a template for MFA.
const PASSWORD_ONLY: [&str; 4] = ["password", "forceChangeOnLogin", "clearMobileSessionsAndApiTokens", "emailToUser"];

/// A validated template.
#[derive(Clone, Debug)]
pub struct CheckedTemplate {
    /// The request's method.
    pub method: reqwest::Method,
    path: String,
    body: Value,
    used: BTreeSet<String>,
}

impl CheckedTemplate {
    /// Validates a template. `field` names it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(field: &str, template: &Template, with_password: bool) -> Result<Self, String> {
        let Template { method, path, body } = template;
        let allowed: Vec<&str> =
            IN_BODY.into_iter().filter(|name| with_password || !PASSWORD_ONLY.contains(name)).collect();
        let in_path = check(&format!("{field}.path"), path, &IN_PATH)?;
        if !path.starts_with('/') {
            return Err(format!("{field}.path must begin with a slash"));
        }
        // The URL parser would drop, resolve or escape anything else.
        let plain = path.bytes().all(|b| b.is_ascii_graphic() && !b"?#\\%".contains(&b));
        if !plain || path.contains("..") || path.split('/').any(|segment| segment == ".") {
            return Err(format!(
                "{field}.path must be a plain path, without query, fragment, blanks, escapes, . and .."
            ));
        }
        if !(body.is_object() || body.is_null()) {
            return Err(format!("{field}.body must be a JSON object"));
        }
        let mut used = BTreeSet::new();
        each_string(body, &mut |text| {
            used.extend(check("a value", text, &allowed)?);
            Ok(())
        })
        .map_err(|wrong| format!("{field}.body: {wrong}"))?;
        if with_password && !used.contains("password") {
            return Err(format!("{field}.body never uses ${{password}}: the new password would not be sent"));
        }
        if !in_path.iter().chain(&used).any(|name| name.starts_with("user.")) {
            return Err(format!(
                "{field} never says which user: it must use ${{user.id}}, ${{user.zuid}} or ${{user.email}}"
            ));
        }
        let method = match method {
            Method::PUT => reqwest::Method::PUT,
            Method::POST => reqwest::Method::POST,
            Method::PATCH => reqwest::Method::PATCH,
        };
        Ok(Self { method, path: path.clone(), body: body.clone(), used })
    }

    /// Whether the body uses a placeholder.
    #[must_use]
    pub fn uses(&self, placeholder: &str) -> bool {
        self.used.contains(placeholder)
    }

    /// Whether the path is one of Directory's own API.
    #[must_use]
    pub fn is_of_directory(&self) -> bool {
        self.path.starts_with("/directory/")
    }

    /// The path and the body with `values` in place of the placeholders.
    #[must_use]
    pub fn fill(&self, values: &BTreeMap<&str, Value>) -> (String, Value) {
        let path = replace(&self.path, values);
        (path.as_str().map(str::to_owned).unwrap_or_default(), fill(&self.body, values))
    }
}

/// The placeholders in `text`. An error if one is not `known`.
fn check(field: &str, text: &str, known: &[&str]) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("${") {
        let Some((name, after)) = after.split_once('}') else {
            return Err(format!("{field}: a placeholder is not closed with }}"));
        };
        if !known.contains(&name) {
            let known: Vec<String> = known.iter().map(|k| format!("${{{k}}}")).collect();
            let name = text::printable(name, text::NAME);
            return Err(format!("{field}: unknown placeholder ${{{name}}}. Known here: {}", known.join(", ")));
        }
        found.push(name.to_owned());
        rest = after;
    }
    Ok(found)
}

/// Calls `f` for each text in `value`.
fn each_string(value: &Value, f: &mut impl FnMut(&str) -> Result<(), String>) -> Result<(), String> {
    match value {
        Value::String(text) => f(text),
        Value::Array(values) => values.iter().try_for_each(|value| each_string(value, f)),
        Value::Object(map) => map.iter().try_for_each(|(name, value)| {
            if name.contains("${") {
                let name = text::printable(name, text::NAME);
                return Err(format!("the name \"{name}\" holds a placeholder: only values are filled in"));
            }
            each_string(value, f)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

fn fill(value: &Value, values: &BTreeMap<&str, Value>) -> Value {
    match value {
        Value::String(text) => replace(text, values),
        Value::Array(items) => items.iter().map(|item| fill(item, values)).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), fill(value, values))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// A text that is exactly one placeholder becomes the value, with its type. Within a longer text the value is written as text. Inserted
/// values are not searched for placeholders: a password may contain `${`.
fn replace(text: &str, values: &BTreeMap<&str, Value>) -> Value {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, after)) = after.split_once('}') else { break };
        let value = values.get(name).cloned().unwrap_or_default();
        if before.is_empty() && after.is_empty() && out.is_empty() {
            return value;
        }
        out.push_str(before);
        match value {
            Value::String(text) => out.push_str(&text),
            other => out.push_str(&other.to_string()),
        }
        rest = after;
    }
    out.push_str(rest);
    Value::String(out)
}
