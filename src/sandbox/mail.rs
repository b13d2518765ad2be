//! Zoho Mail's administration: the look-up of an account, and the two changes that Zoho documents.
use serde_json::{Value, json};

use super::{
    call::Flags,
    options::Page,
    organization::Organization,
    request::{Answer, Request, applied, authorize, mail_error, read},
    seed,
    user::{Person, Status, UserType},
};

/// The account with this zuid or e-mail address.
pub(super) fn account(state: &Organization, request: &Request) -> Result<Answer, Answer> {
    authorize(state, request, "ZohoMail.organization.accounts.READ")?;
    let user = known_account(state, request)?;
    let shared = state.shared_addresses();
    let address = |(index, address): (usize, &String)| {
        let (alias, confirmed) = (index != 0, !shared.contains(&address.to_lowercase()));
        json!({"mailId": address, "isPrimary": !alias, "isAlias": alias, "isConfirmed": confirmed})
    };
    Ok(read(json!({
        "status": {"code": 200, "description": "success"},
        "data": {
            "zuid": user.zuid,
            "accountId": format!("{}000", user.zuid),
            "role": user.role,
            "isCustomAdmin": false,
            "tfaEnabled": user.mfa_enabled,
            "displayName": user.full_name(),
            "mailboxAddress": user.emails.first(),
            "emailAddress": user.emails.iter().enumerate().map(address).collect::<Vec<_>>(),
        },
    })))
}

/// Zoho Mail refuses a field that a call does not have, with 404: observed with other calls of its API. So each copy of the page accepts
/// only its own fields.
fn only(request: &Request, fields: &[&str]) -> Result<(), Answer> {
    if request.body.keys().all(|field| fields.contains(&field.as_str())) {
        return Ok(());
    }
    Err(mail_error(404, "EXTRA_KEY_FOUND_IN_JSON", "Invalid Input"))
}

pub(super) fn change_account(state: &mut Organization, request: &Request, page: Page) -> Result<Answer, Answer> {
    authorize(state, request, "ZohoMail.organization.accounts.UPDATE")?;
    let user = known_account(state, request)?;
    let (user_id, invalid) = (user.user_id.clone(), |what| mail_error(400, "INVALID_INPUT", what));
    match user {
        Person { user_type: UserType::Pending | UserType::External, .. } => {
            return Err(mail_error(400, "USER_NOT_CONFIRMED", "The user is not confirmed"));
        }
        Person { user_status: Status::Inactive, .. } => {
            return Err(mail_error(400, "USER_INACTIVE", "The user is inactive"));
        }
        _ => {}
    }
    match request.text("mode") {
        Some("resetPassword") => {
            only(request, page.fields())?;
            let flags = flags(request, user, page)?;
            let password = request.text("password").ok_or_else(|| invalid("password must be a string"))?;
            if let Some(objection) = user.objection_to(password) {
                return Err(mail_error(400, "PASSWORD_POLICY", objection));
            }
            state.reset_password(&user_id, password, flags, request.time);
        }
        Some("updateTFAStatus") => {
            only(request, &["mode", "tfaEnabled"])?;
            match request.body.get("tfaEnabled") {
                Some(Value::Bool(false)) => state.reset_mfa(&user_id, true, request.time),
                _ => return Err(invalid("the sandbox accepts only tfaEnabled false")),
            }
        }
        _ => return Err(invalid("mode must be resetPassword or updateTFAStatus")),
    }
    Ok(applied(json!({"status": {"code": 200, "description": "success"}})))
}

/// The flags in the fields of a superseded copy of the page.
fn flags(request: &Request, user: &Person, page: Page) -> Result<Flags, Answer> {
    if page == Page::Today {
        return Ok(Flags::default());
    }
    if request.body.get("zuid").map(Value::to_string).as_ref() != Some(&user.zuid) {
        return Err(mail_error(400, "INVALID_INPUT", "zuid must be that of the user"));
    }
    if page == Page::Oldest && request.text("adminPassword") != Some(seed::ADMIN_PASSWORD) {
        return Err(mail_error(400, "INVALID_ADMIN_PASSWORD", "The administrator's password is wrong"));
    }
    let flag = |name: &str| match request.body.get(name) {
        None => Ok(page == Page::Older),
        Some(Value::Bool(value)) => Ok(*value),
        Some(_) => Err(mail_error(400, "INVALID_INPUT", &format!("{name} must be true or false"))),
    };
    Ok(Flags {
        must_change: flag("oneTimePassword")?,
        clear_mobile_sessions_and_api_tokens: flag("resetAuthtoken")?,
        email_user: false,
    })
}

fn known_account<'a>(state: &'a Organization, request: &Request) -> Result<&'a Person, Answer> {
    let known = request.organization.as_deref() == Some(seed::ZOID);
    let user = request.user.as_deref().filter(|_| known).and_then(|name| state.account_of(name));
    user.filter(|user| user.role.is_some())
        .ok_or_else(|| mail_error(404, "INVALID_ACCOUNT", "There is no such account"))
}
