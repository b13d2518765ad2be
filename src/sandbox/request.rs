//! A request to the directory, parsed, and the shapes of its answers.
use std::collections::BTreeMap;

use axum::{
    body::Bytes,
    http::{HeaderMap, Method, Uri, header},
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{call::Call, organization::Organization};

/// The longest page of a list, as at Zoho.
const PAGE_LIMIT: usize = 200;

/// The modes of the Mail API's call.
const MODES: [&str; 2] = ["resetPassword", "updateTFAStatus"];

/// The names of fields that the log may show.
const FIELDS: [&str; 16] = [
    "grant_type",
    "client_id",
    "client_secret",
    "refresh_token",
    "mode",
    "password",
    "force_change",
    "clear_mobile_sessions_and_api_tokens",
    "email_user",
    "admin_password",
    "tfaEnabled",
    "unchanged_since",
    "zuid",
    "resetAuthtoken",
    "oneTimePassword",
    "adminPassword",
];

/// A parsed request.
pub(super) struct Request {
    pub(super) time: Timestamp,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) call: Call,
    /// `user_id`, `zuid` or e-mail address, as in the path.
    pub(super) user: Option<String>,
    /// The organization of Directory or of Mail, as in the path.
    pub(super) organization: Option<String>,
    pub(super) target: Target,
    pub(super) query: BTreeMap<String, String>,
    token: Option<String>,
    pub(super) body: Map<String, Value>,
}

#[derive(Clone, Copy)]
pub(super) enum Target {
    Token,
    Users,
    Groups,
    Account,
    ChangeAccount,
    Password,
    Mfa,
    Unknown,
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
    pub(super) applied: bool,
}

impl Request {
    pub(super) fn new(method: Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Self {
        let (target, organization, user) = target(&method, uri.path());
        let pairs = |text: &[u8]| url::form_urlencoded::parse(text).into_owned().collect::<BTreeMap<_, _>>();
        let body: Map<String, Value> = match target {
            Target::Token => pairs(body).into_iter().map(|(name, value)| (name, value.into())).collect(),
            _ => serde_json::from_slice(body).unwrap_or_default(),
        };
        let call = match target {
            Target::Token => Call::Token,
            Target::Users => Call::LookUp,
            Target::Groups => Call::Groups,
            Target::Account => Call::Role,
            Target::ChangeAccount => match body.get("mode").and_then(Value::as_str) {
                Some("resetPassword") => Call::ResetPassword,
                Some("updateTFAStatus") => Call::ResetMfa,
                _ => Call::Other,
            },
            Target::Password => Call::ResetPassword,
            Target::Mfa => Call::ResetMfa,
            Target::Unknown => Call::Other,
        };
        let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        Self {
            time: Timestamp::now(),
            method,
            path: uri.path().to_owned(),
            call,
            user,
            organization: organization.map(str::to_owned),
            query: pairs(uri.query().unwrap_or_default().as_bytes()),
            token: token.and_then(|value| value.strip_prefix("Zoho-oauthtoken ")).map(str::to_owned),
            target,
            body,
        }
    }

    /// The path for the log. An unknown path may hold anything and is not shown.
    pub(super) fn logged_path(&self) -> String {
        match self.target {
            Target::Unknown => "(unknown)".to_owned(),
            _ => self.path.clone(),
        }
    }

    /// The fields of the request that any call has: another one may be a misplaced value. Flags have their values, all other values may be
    /// secrets.
    pub(super) fn fields(&self) -> BTreeMap<String, Value> {
        let known = self.body.iter().filter(|(name, _)| FIELDS.contains(&name.as_str()));
        known
            .map(|(name, value)| match value {
                Value::Bool(_) => (name.clone(), value.clone()),
                Value::String(mode) if name == "mode" && MODES.contains(&mode.as_str()) => {
                    (name.clone(), value.clone())
                }
                _ => (name.clone(), json!("(given)")),
            })
            .collect()
    }

    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.body.get(field).and_then(Value::as_str)
    }

    /// The requested page of a list, and whether more follow.
    pub(super) fn page<T>(&self, all: impl Iterator<Item = T>) -> (Vec<T>, bool) {
        let number = |name: &str, default: usize| {
            self.query.get(name).and_then(|value| value.parse().ok()).unwrap_or(default).max(1)
        };
        let size = number("per_page", PAGE_LIMIT).min(PAGE_LIMIT);
        let mut rest = all.skip((number("page", 1) - 1).saturating_mul(size));
        let page = rest.by_ref().take(size).collect();
        (page, rest.next().is_some())
    }
}

/// The call that a method and a path name, with the organization and the user.
fn target<'a>(method: &Method, path: &'a str) -> (Target, Option<&'a str>, Option<String>) {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let found: (_, Option<&str>, Option<&str>) = match (method.as_str(), segments.as_slice()) {
        ("POST", ["oauth", "v2", "token"]) => (Target::Token, None, None),
        ("GET", ["directory", "api", "v2", "orgs", org, "users"]) => (Target::Users, Some(org), None),
        ("GET", ["directory", "api", "v2", "orgs", org, "users", user, "groups"]) => {
            (Target::Groups, Some(org), Some(user))
        }
        ("POST", ["directory", "api", "v2", "orgs", org, "users", user, "password"]) => {
            (Target::Password, Some(org), Some(user))
        }
        ("POST", ["directory", "api", "v2", "orgs", org, "users", user, "mfa", "reset"]) => {
            (Target::Mfa, Some(org), Some(user))
        }
        ("GET", ["api", "organization", org, "accounts", user]) => (Target::Account, Some(org), Some(user)),
        ("PUT", ["api", "organization", org, "accounts", user]) => (Target::ChangeAccount, Some(org), Some(user)),
        _ => (Target::Unknown, None, None),
    };
    // Ids go into the log: a text that is not an id may be anything.
    let is_id = |id: &str| (1..=20).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit());
    match found {
        (target, org, None) if org.is_none_or(is_id) => (target, org, None),
        (target, org, Some(user)) if org.is_none_or(is_id) && is_id(user) => (target, org, Some(user.to_owned())),
        // The only call that also names a user by address.
        (Target::Account, org, Some(user)) if org.is_none_or(is_id) => {
            address(user).map_or((Target::Unknown, None, None), |address| (Target::Account, org, Some(address)))
        }
        _ => (Target::Unknown, None, None),
    }
}

/// An e-mail address as a segment of a path.
fn address(segment: &str) -> Option<String> {
    // Decoded as in a form, except that + is not a blank and & does not begin a second field.
    let field = format!("address={}", segment.replace('+', "%2B").replace('&', "%26"));
    let (_, address) = url::form_urlencoded::parse(field.as_bytes()).next()?;
    let is_word = address.len() <= 320 && !address.chars().any(|c| c.is_whitespace() || c.is_control());
    (is_word && address.contains('@')).then(|| address.into_owned())
}

/// Checks that the token has the scope, or `ALL` of its kind.
pub(super) fn authorize(state: &Organization, request: &Request, scope: &str) -> Result<(), Answer> {
    let known = request.token.as_deref().is_some_and(|token| state.knows_token(token, request.time));
    if !known {
        return Err(mail_error(401, "INVALID_OAUTHTOKEN", "Invalid Access"));
    }
    let every = scope.rsplit_once('.').map(|(kind, _)| format!("{kind}.ALL"));
    let allows = |granted: &String| granted == scope || Some(granted) == every.as_ref();
    if !state.scopes.iter().any(allows) {
        return Err(mail_error(401, "INVALID_OAUTHSCOPE", "Invalid Access"));
    }
    Ok(())
}

pub(super) fn applied(body: Value) -> Answer {
    Answer { status: 200, body, applied: true }
}

pub(super) fn read(body: Value) -> Answer {
    Answer { status: 200, body, applied: false }
}

pub(super) fn refused(status: u16, body: Value) -> Answer {
    Answer { status, body, applied: false }
}

/// An error in the shape of the Directory API.
pub(super) fn directory_error(status: u16, code: &str, message: &str) -> Answer {
    refused(status, json!({"status_code": status, "error": code, "message": message}))
}

/// An error in the shape of the Mail API and of OAuth.
pub(super) fn mail_error(status: u16, code: &str, description: &str) -> Answer {
    refused(status, json!({"data": {"errorCode": code}, "status": {"code": status, "description": description}}))
}
