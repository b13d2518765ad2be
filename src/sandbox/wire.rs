//! The directory's own calls, with answers in the shapes that Zoho documents for OAuth, Directory v2 and the Mail administration API. The
//! reset calls of Directory are not a published API: they follow the templates of the project's example.
use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    call::{CONTINUOUS, Flags},
    mail,
    options::Manner,
    organization::Organization,
    request::{Answer, Request, Target, applied, authorize, directory_error, mail_error, read, refused},
    seed,
    user::{Person, Status, UserType},
};

/// Carries the request out on the organization.
pub(super) fn answer(state: &mut Organization, request: &Request, base_url: &str, manner: Manner) -> Answer {
    let outcome = match request.target {
        Target::Token => token(state, request, base_url, manner.token_limit),
        Target::Users => users(state, request, manner.change_times),
        Target::Groups => groups(state, request),
        Target::Account => mail::account(state, request),
        Target::ChangeAccount => mail::change_account(state, request, manner.page),
        Target::Password => password(state, request),
        Target::Mfa => mfa(state, request),
        Target::Unknown => Err(mail_error(404, "URL_RULE_NOT_CONFIGURED", "No such call")),
    };
    outcome.unwrap_or_else(|refusal| refusal)
}

fn token(state: &mut Organization, request: &Request, base_url: &str, limit: Option<usize>) -> Result<Answer, Answer> {
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
    let Some(token) = state.issue_token(request.time, limit) else {
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

fn users(state: &Organization, request: &Request, change_times: bool) -> Result<Answer, Answer> {
    authorize(state, request, "ZohoDirectory.Users.READ")?;
    known_organization(request)?;
    let with_emails = request.query.get("include").is_some_and(|parts| parts.split(',').any(|part| part == "emails"));
    let (page, has_more) = request.page(state.users());
    let shared = if with_emails { state.shared_addresses() } else { HashSet::new() };
    let emails = with_emails.then_some(&shared);
    let users: Vec<Value> = page.into_iter().map(|user| listed(user, emails, change_times)).collect();
    Ok(read(json!({
        "status_code": 200,
        "resource_name": "users",
        "message": "Users fetched successfully",
        "users": users,
        "has_more": has_more,
    })))
}

/// A user in the list. `shared`: includes e-mail addresses; these are the ones that several users have.
fn listed(user: &Person, shared: Option<&HashSet<String>>, change_times: bool) -> Value {
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
    if let Some(shared) = shared {
        let email = |(index, email): (usize, &String)| {
            let verified = !shared.contains(&email.to_lowercase());
            json!({"email_id": email, "is_primary": index == 0, "is_verified": verified})
        };
        json["emails"] = user.emails.iter().enumerate().map(email).collect();
    }
    if change_times {
        json["password_changed_time"] = json!(user.password_changed_time);
        json["mfa_changed_time"] = json!(user.mfa_changed_time);
    }
    json
}

fn groups(state: &Organization, request: &Request) -> Result<Answer, Answer> {
    authorize(state, request, "ZohoDirectory.Groups.READ")?;
    known_organization(request)?;
    let user = known_user(state, request)?;
    let (page, has_more) = request.page(user.groups.iter());
    Ok(read(json!({"status_code": 200, "resource_name": "groups", "groups": page, "has_more": has_more})))
}

fn password(state: &mut Organization, request: &Request) -> Result<Answer, Answer> {
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

fn mfa(state: &mut Organization, request: &Request) -> Result<Answer, Answer> {
    let user = resettable(state, request)?;
    unchanged(request, user.mfa_changed_time)?;
    let user_id = user.user_id.clone();
    state.reset_mfa(&user_id, false, request.time);
    Ok(applied(json!({"status_code": 200, "resource_name": "mfa", "message": "MFA reset successfully"})))
}

/// Checks what both of the example's reset calls require.
fn resettable<'a>(state: &'a Organization, request: &Request) -> Result<&'a Person, Answer> {
    authorize(state, request, "ZohoDirectory.Users.UPDATE")?;
    known_organization(request)?;
    let user = known_user(state, request)?;
    if request.text("admin_password") != Some(seed::ADMIN_PASSWORD) {
        return Err(directory_error(403, "ADMIN_PASSWORD_MISMATCH", "The administrator's password is wrong."));
    }
    match user {
        Person { user_type: UserType::Pending | UserType::External, .. } => {
            Err(directory_error(400, "USER_NOT_CONFIRMED", "The user is not confirmed."))
        }
        Person { user_status: Status::Inactive, .. } => {
            Err(directory_error(400, "USER_INACTIVE", "The user is inactive."))
        }
        user => Ok(user),
    }
}

/// A call may name the time of the last change (RFC 3339, null: never). It is carried out only if that time still holds.
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

fn known_organization(request: &Request) -> Result<(), Answer> {
    if request.organization.as_deref() == Some(seed::ORGANIZATION) {
        return Ok(());
    }
    Err(directory_error(404, "ORGANIZATION_NOT_FOUND", "There is no such organization."))
}

fn known_user<'a>(state: &'a Organization, request: &Request) -> Result<&'a Person, Answer> {
    let account = request.user.as_ref().and_then(|user_id| state.accounts.get(user_id));
    account.map(|account| &account.user).ok_or_else(|| directory_error(404, "USER_NOT_FOUND", "There is no such user."))
}
