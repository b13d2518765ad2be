//! The fields of answers that the providers read, and their types. The comments of the providers name the sources.
use serde_json::Value;

use super::{person::Exchange, report::Finding};
use crate::{api::directory::ProviderSpec, core::user::User, directory::watch};

/// The name of a value's type, from its form.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a flag",
        Value::Number(_) => "a number",
        Value::String(form) if form == watch::NUMBER => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

const ID: &[&str] = &["text", "a number"];
const TEXT: &[&str] = &["text"];
const NUMBER: &[&str] = &["a number"];
const FLAG: &[&str] = &["a flag"];
const LIST: &[&str] = &["a list"];

type Fields<'a> = &'a [(&'a str, &'a [&'a str])];

/// Checks that `what` shows these fields, with these types.
fn check_fields(what: &str, form: Option<&Value>, wanted: Fields) -> Finding {
    let names: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
    let expected = format!("{what} shows {}.", names.join(", "));
    let Some(fields) = form.and_then(Value::as_object) else {
        return Finding::new(expected, Err("there was no such answer.".to_owned()));
    };
    let wrong: Vec<String> = wanted
        .iter()
        .filter_map(|(name, kinds)| match fields.get(*name) {
            None => Some(format!("{name} is missing")),
            Some(value) if !kinds.contains(&type_name(value)) => Some(format!("{name} is {}", type_name(value))),
            Some(_) => None,
        })
        .collect();
    let more: Vec<&str> = fields.keys().map(String::as_str).filter(|name| !names.contains(name)).collect();
    let more = (!more.is_empty()).then(|| format!("also: {}.", more.join(", ")));
    if wrong.is_empty() {
        return Finding::new(expected, Ok(more));
    }
    let seen: Vec<String> = [Some(wrong.join(", ") + "."), more].into_iter().flatten().collect();
    Finding::new(expected, Err(seen.join(" ")))
}

/// Checks the sign-in of the operator's account.
pub(super) fn sign_in(spec: &ProviderSpec, exchanges: &[Exchange]) -> Option<Finding> {
    let token = |grant: &str| {
        let asked = |one: &&Exchange| one.call.fields.iter().any(|field| field == &format!("grant_type: {grant}"));
        exchanges.iter().find(asked).map(|one| &one.answer.form)
    };
    match spec {
        ProviderSpec::Zoho(_) => {
            let wanted: Fields =
                &[("access_token", TEXT), ("expires_in", NUMBER), ("scope", TEXT), ("api_domain", TEXT)];
            Some(check_fields("The answer with the token", token("refresh_token"), wanted))
        }
        ProviderSpec::Keycloak(_) => {
            let wanted: Fields = &[("access_token", TEXT), ("expires_in", NUMBER)];
            Some(check_fields("The answer with the token", token("client_credentials"), wanted))
        }
        ProviderSpec::OpenLdap(_) | ProviderSpec::ActiveDirectory(_) => None,
    }
}

/// Checks the look-up of this user.
pub(super) fn look_up(spec: &ProviderSpec, exchanges: &[Exchange], user: &User) -> Vec<Finding> {
    let is_it = |object: &&Value, name: &str| match object.get(name) {
        Some(Value::String(id)) => *id == user.id.id,
        Some(Value::Number(id)) => id.to_string() == user.id.id,
        _ => false,
    };
    let asked_for = |attribute: &str| {
        let has = |one: &&Exchange| one.call.is_read && one.call.fields.iter().any(|field| field == attribute);
        exchanges.iter().filter(has).find_map(|one| one.answer.form.get(0))
    };
    match spec {
        ProviderSpec::Zoho(zoho) => {
            let users = exchanges.iter().filter_map(|one| one.answer.form.get("users")?.as_array()).flatten();
            let entry = { users }.find(|user| is_it(user, "user_id"));
            let changed = [&zoho.look_up.password_changed_at, &zoho.look_up.mfa_changed_at];
            let changed: Vec<(&str, &[&str])> = changed
                .into_iter()
                .flatten()
                .map(|name| (name.as_str(), ["text", "a number", "null"].as_slice()))
                .collect();
            let usual: Fields = &[
                ("user_id", ID),
                ("zuid", ID),
                ("user_status", TEXT),
                ("user_type", TEXT),
                ("primary_email", TEXT),
                ("emails", LIST),
                ("is_federated", FLAG),
            ];
            let account = mail_account(exchanges, user);
            vec![
                check_fields("The look-up", entry, &[usual, &changed].concat()),
                check_fields(
                    "The account in Zoho Mail",
                    account,
                    &[
                        ("zuid", ID),
                        ("role", TEXT),
                        ("isCustomAdmin", FLAG),
                        ("tfaEnabled", FLAG),
                        ("emailAddress", LIST),
                    ],
                ),
            ]
        }
        ProviderSpec::Keycloak(_) => {
            // Users come in a list or as single objects.
            let forms = exchanges.iter().map(|one| &one.answer.form);
            let mut users = forms.flat_map(|form| form.as_array().map_or(std::slice::from_ref(form), Vec::as_slice));
            let entry = users.find(|object| is_it(object, "id") && object.get("emailVerified").is_some());
            let wanted: Fields = &[
                ("id", TEXT),
                ("username", TEXT),
                ("enabled", FLAG),
                ("emailVerified", FLAG),
                ("requiredActions", LIST),
            ];
            let credentials = exchanges.iter().find(|one| one.call.target.ends_with("/credentials"));
            let mut all = vec![check_fields("The look-up", entry, wanted)];
            if let Some(credential) = credentials.and_then(|one| one.answer.form.get(0)) {
                let wanted: Fields = &[("id", TEXT), ("type", TEXT), ("createdDate", NUMBER)];
                all.push(check_fields("Each of the user's credentials", Some(credential), wanted));
            }
            all
        }
        ProviderSpec::OpenLdap(_) => {
            let wanted: Fields = &[("entryUUID", TEXT), ("objectClass", TEXT), ("entryCSN", TEXT)];
            vec![check_fields("The look-up", asked_for("entryCSN"), wanted)]
        }
        ProviderSpec::ActiveDirectory(_) => {
            let wanted: Fields =
                &[("objectGUID", TEXT), ("sAMAccountName", TEXT), ("pwdLastSet", TEXT), ("userAccountControl", TEXT)];
            vec![check_fields("The look-up", asked_for("pwdLastSet"), wanted)]
        }
    }
}

/// The last answer of Zoho Mail's administration about the user, whether looked up by zuid or by address.
fn mail_account<'a>(exchanges: &'a [Exchange], user: &User) -> Option<&'a Value> {
    let zuid = user.handle.get("zuid")?;
    let path = format!("/accounts/{zuid}");
    let accounts = exchanges.iter().rev().filter(|one| one.call.is_read);
    let of_user = |one: &'a Exchange| {
        let data = one.answer.form.get("data")?;
        let is = match data.get("zuid") {
            Some(Value::String(id)) => id == zuid,
            Some(Value::Number(id)) => id.to_string() == *zuid,
            _ => one.call.target.ends_with(&path),
        };
        is.then_some(data)
    };
    { accounts }.find_map(of_user)
}

/// Whether MFA is on, where Zoho Mail shows it.
pub(super) fn tfa_enabled(exchanges: &[Exchange], user: &User) -> Option<bool> {
    mail_account(exchanges, user)?.get("tfaEnabled")?.as_bool()
}

/// Whether the last answer of Keycloak shows an authenticator among the user's credentials.
pub(super) fn has_authenticator(exchanges: &[Exchange]) -> Option<bool> {
    let credentials =
        exchanges.iter().rev().find(|one| one.call.is_read && one.call.target.ends_with("/credentials"))?;
    let all = credentials.answer.form.as_array()?;
    Some(all.iter().any(|one| one.get("type").is_some_and(|kind| kind == "otp")))
}
