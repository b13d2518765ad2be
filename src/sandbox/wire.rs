//! The directory's own calls: which call a request is, and what is answered, in the shapes that Zoho documents for
//! OAuth, Directory v2 and the Mail administration API. The reset calls of Directory are no published API: they are
//! the templates of the project's example.
use std::collections::BTreeMap;

use axum::{
    body::Bytes,
    http::{HeaderMap, Method, Uri, header},
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    fault::CONTINUOUS,
    seed,
    state::{Call, Flags, State},
    user::{Kind, Person, Status},
};

/// The longest page of a list, as at Zoho.
const PAGE_LIMIT: usize = 200;
/// What the Mail API is asked to do.
const MODES: [&str; 2] = ["resetPassword", "updateTFAStatus"];
/// The names that the log may show.
const FIELDS: [&str; 12] = [
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
];

/// A request, read once.
pub(super) struct Request {
    pub(super) time: Timestamp,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) call: Call,
    /// `user_id` or `zuid` as the path has it.
    pub(super) user: Option<String>,
    /// The organization of Directory or of Mail, as the path has it.
    organization: Option<String>,
    target: Target,
    query: BTreeMap<String, String>,
    token: Option<String>,
    body: Map<String, Value>,
}

#[derive(Clone, Copy)]
enum Target {
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
            user: user.map(str::to_owned),
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

    /// The fields that came, of those that some call has: any other may be a value gone astray. Flags are shown, all
    /// else may be a secret.
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

    fn text(&self, field: &str) -> Option<&str> {
        self.body.get(field).and_then(Value::as_str)
    }

    /// The part of a list that was asked for, and whether more follows.
    fn page<T>(&self, all: impl Iterator<Item = T>) -> (Vec<T>, bool) {
        let number = |name: &str, default: usize| {
            self.query.get(name).and_then(|value| value.parse().ok()).unwrap_or(default).max(1)
        };
        let size = number("per_page", PAGE_LIMIT).min(PAGE_LIMIT);
        let mut rest = all.skip((number("page", 1) - 1).saturating_mul(size));
        let page = rest.by_ref().take(size).collect();
        (page, rest.next().is_some())
    }
}

/// The call that a method and a path name, the organization and the user.
fn target<'a>(method: &Method, path: &'a str) -> (Target, Option<&'a str>, Option<&'a str>) {
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
    // Ids go into the log: what is none may be anything.
    let is_id = |id: &str| (1..=20).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit());
    if found.1.is_none_or(is_id) && found.2.is_none_or(is_id) { found } else { (Target::Unknown, None, None) }
}

/// Carries the request out on the state.
pub(super) fn answer(state: &mut State, request: &Request, base_url: &str, change_times: bool) -> Answer {
    let outcome = match request.target {
        Target::Token => token(state, request, base_url),
        Target::Users => users(state, request, change_times),
        Target::Groups => groups(state, request),
        Target::Account => account(state, request),
        Target::ChangeAccount => change_account(state, request),
        Target::Password => password(state, request),
        Target::Mfa => mfa(state, request),
        Target::Unknown => Err(mail_error(404, "URL_RULE_NOT_CONFIGURED", "No such call")),
    };
    outcome.unwrap_or_else(|refusal| refusal)
}

fn token(state: &mut State, request: &Request, base_url: &str) -> Result<Answer, Answer> {
    let given = |field, expected: &str| request.text(field) == Some(expected);
    let refuse = |error: &str| Err(refused(200, json!({"error": error})));
    if !given("grant_type", "refresh_token") {
        return refuse("unsupported_grant_type");
    }
    if !given("client_id", seed::CLIENT_ID) {
        return refuse("invalid_client");
    }
    if !given("client_secret", seed::CLIENT_SECRET) {
        return refuse("invalid_client_secret");
    }
    if !given("refresh_token", seed::REFRESH_TOKEN) {
        return refuse("invalid_code");
    }
    let Some(token) = state.issue_token(request.time) else {
        let body = json!({"error_description": CONTINUOUS, "error": "Access Denied", "status": "failure"});
        return Err(refused(400, body));
    };
    Ok(applied(json!({
        "access_token": token,
        "api_domain": base_url,
        "token_type": "Bearer",
        "expires_in": 3600,
        "scope": state.scopes.join(" "),
    })))
}

fn users(state: &State, request: &Request, change_times: bool) -> Result<Answer, Answer> {
    authorize(state, request, "ZohoDirectory.Users.READ")?;
    known_organization(request)?;
    let with_emails = request.query.get("include").is_some_and(|parts| parts.split(',').any(|part| part == "emails"));
    let (page, has_more) = request.page(state.users());
    let users: Vec<Value> = page.into_iter().map(|user| listed(user, with_emails, change_times)).collect();
    Ok(read(json!({
        "status_code": 200,
        "resource_name": "users",
        "message": "Users fetched successfully",
        "users": users,
        "has_more": has_more,
    })))
}

fn listed(user: &Person, with_emails: bool, change_times: bool) -> Value {
    let mut json = json!({
        "user_id": user.user_id,
        "zuid": user.zuid,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "full_name": user.full_name(),
        "display_name": user.display_name,
        "user_status": user.user_status,
        "user_type": user.user_type,
        "primary_email": user.emails.first(),
    });
    if let Some(name) = &user.user_name {
        json["user_name"] = json!(name);
    }
    if let Some(federated) = user.is_federated {
        json["is_federated"] = json!(federated);
    }
    if with_emails {
        let email = |(index, email)| json!({"email_id": email, "is_primary": index == 0, "is_verified": true});
        json["emails"] = user.emails.iter().enumerate().map(email).collect();
    }
    if change_times {
        json["password_changed_time"] = json!(user.password_changed_time);
        json["mfa_changed_time"] = json!(user.mfa_changed_time);
    }
    json
}

fn groups(state: &State, request: &Request) -> Result<Answer, Answer> {
    authorize(state, request, "ZohoDirectory.Groups.READ")?;
    known_organization(request)?;
    let user = known_user(state, request)?;
    let (page, has_more) = request.page(user.groups.iter());
    Ok(read(json!({"status_code": 200, "resource_name": "groups", "groups": page, "has_more": has_more})))
}

fn account(state: &State, request: &Request) -> Result<Answer, Answer> {
    authorize(state, request, "ZohoMail.organization.accounts.READ")?;
    let user = known_account(state, request)?;
    Ok(read(json!({
        "status": {"code": 200, "description": "success"},
        "data": {
            "zuid": user.zuid,
            "accountId": format!("{}000", user.zuid),
            "role": user.role,
            "tfaEnabled": user.mfa_enabled,
            "displayName": user.full_name(),
        },
    })))
}

fn change_account(state: &mut State, request: &Request) -> Result<Answer, Answer> {
    authorize(state, request, "ZohoMail.organization.accounts.UPDATE")?;
    let user = known_account(state, request)?;
    let (user_id, invalid) = (user.user_id.clone(), |what| mail_error(400, "INVALID_INPUT", what));
    match user {
        Person { user_type: Kind::Pending | Kind::External, .. } => {
            return Err(mail_error(400, "USER_NOT_CONFIRMED", "The user is not confirmed"));
        }
        Person { user_status: Status::Inactive, .. } => {
            return Err(mail_error(400, "USER_INACTIVE", "The user is inactive"));
        }
        _ => {}
    }
    match request.text("mode") {
        Some("resetPassword") => {
            let password = request.text("password").ok_or_else(|| invalid("password must be a string"))?;
            if let Some(objection) = user.objection_to(password) {
                return Err(mail_error(400, "PASSWORD_POLICY", objection));
            }
            state.reset_password(&user_id, password, Flags::default(), request.time);
        }
        Some("updateTFAStatus") => match request.body.get("tfaEnabled") {
            Some(Value::Bool(false)) => state.reset_mfa(&user_id, true, request.time),
            _ => return Err(invalid("the sandbox takes tfaEnabled false only")),
        },
        _ => return Err(invalid("mode must be resetPassword or updateTFAStatus")),
    }
    Ok(applied(json!({"status": {"code": 200, "description": "success"}})))
}

fn password(state: &mut State, request: &Request) -> Result<Answer, Answer> {
    let user = resettable(state, request)?;
    unchanged(request, user.password_changed_time)?;
    let user_id = user.user_id.clone();
    let flag = |name: &str| match request.body.get(name) {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(_) => Err(directory_error(400, "INVALID_INPUT", &format!("{name} must be true or false."))),
    };
    let flags = Flags {
        must_change: flag("force_change")?,
        clear_mobile_sessions_and_api_tokens: flag("clear_mobile_sessions_and_api_tokens")?,
        email_user: flag("email_user")?,
    };
    let Some(password) = request.text("password") else {
        return Err(directory_error(400, "INVALID_INPUT", "password must be a string."));
    };
    if let Some(objection) = user.objection_to(password) {
        return Err(directory_error(400, "PASSWORD_POLICY", objection));
    }
    if flags.email_user && user.emails.is_empty() {
        return Err(directory_error(400, "USER_HAS_NO_EMAIL", "The user has no e-mail address."));
    }
    state.reset_password(&user_id, password, flags, request.time);
    Ok(applied(json!({"status_code": 200, "resource_name": "password", "message": "Password reset successfully"})))
}

fn mfa(state: &mut State, request: &Request) -> Result<Answer, Answer> {
    let user = resettable(state, request)?;
    unchanged(request, user.mfa_changed_time)?;
    let user_id = user.user_id.clone();
    state.reset_mfa(&user_id, false, request.time);
    Ok(applied(json!({"status_code": 200, "resource_name": "mfa", "message": "MFA reset successfully"})))
}

/// What both of the example's reset calls ask for.
fn resettable<'a>(state: &'a State, request: &Request) -> Result<&'a Person, Answer> {
    authorize(state, request, "ZohoDirectory.Users.UPDATE")?;
    known_organization(request)?;
    let user = known_user(state, request)?;
    if request.text("admin_password") != Some(seed::ADMIN_PASSWORD) {
        return Err(directory_error(403, "ADMIN_PASSWORD_MISMATCH", "The administrator's password is wrong."));
    }
    match user {
        Person { user_type: Kind::Pending | Kind::External, .. } => {
            Err(directory_error(400, "USER_NOT_CONFIRMED", "The user is not confirmed."))
        }
        Person { user_status: Status::Inactive, .. } => {
            Err(directory_error(400, "USER_INACTIVE", "The user is inactive."))
        }
        user => Ok(user),
    }
}

/// A call may name the time of the last change (RFC 3339, null: never): it is carried out only if that is still so.
fn unchanged(request: &Request, changed: Option<i64>) -> Result<(), Answer> {
    let since = match request.body.get("unchanged_since") {
        None => return Ok(()),
        Some(Value::Null) => None,
        Some(value) => {
            let at = value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
            let wrong = || directory_error(400, "INVALID_INPUT", "unchanged_since must be a time or null.");
            Some(at.ok_or_else(wrong)?.as_millisecond())
        }
    };
    if since == changed {
        return Ok(());
    }
    Err(directory_error(412, "CHANGED_SINCE", "The credentials have been changed since."))
}

/// The scope is enough, and so is `ALL` of its kind.
fn authorize(state: &State, request: &Request, scope: &str) -> Result<(), Answer> {
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

fn known_organization(request: &Request) -> Result<(), Answer> {
    if request.organization.as_deref() == Some(seed::ORGANIZATION) {
        return Ok(());
    }
    Err(directory_error(404, "ORGANIZATION_NOT_FOUND", "There is no such organization."))
}

fn known_user<'a>(state: &'a State, request: &Request) -> Result<&'a Person, Answer> {
    let account = request.user.as_ref().and_then(|user_id| state.accounts.get(user_id));
    account.map(|account| &account.user).ok_or_else(|| directory_error(404, "USER_NOT_FOUND", "There is no such user."))
}

fn known_account<'a>(state: &'a State, request: &Request) -> Result<&'a Person, Answer> {
    let known = request.organization.as_deref() == Some(seed::ZOID);
    let user = request.user.as_deref().filter(|_| known).and_then(|zuid| state.user_by_zuid(zuid));
    user.filter(|user| user.role.is_some())
        .ok_or_else(|| mail_error(404, "INVALID_ACCOUNT", "There is no such account"))
}

fn applied(body: Value) -> Answer {
    Answer { status: 200, body, applied: true }
}

fn read(body: Value) -> Answer {
    Answer { status: 200, body, applied: false }
}

fn refused(status: u16, body: Value) -> Answer {
    Answer { status, body, applied: false }
}

/// An error in the shape of the Directory API.
fn directory_error(status: u16, code: &str, message: &str) -> Answer {
    refused(status, json!({"status_code": status, "error": code, "message": message}))
}

/// An error in the shape of the Mail API and of OAuth.
fn mail_error(status: u16, code: &str, description: &str) -> Answer {
    refused(status, json!({"data": {"errorCode": code}, "status": {"code": status, "description": description}}))
}
