//! The provider against small servers that answer as each test says.
mod access;
mod answers;
mod conditional;
mod hostile;
mod reading;
mod setup;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::{
    core::{
        ledger::Evidence,
        request::UserRef,
        world::{Found, Seen},
    },
    directory::tests::{Answered, SET, Server, fenced, fenced_by, ok, record},
};

const SCOPES: &str = "ZohoDirectory.users.ALL,ZohoDirectory.Groups.READ,ZohoMail.organization.accounts.ALL";

fn token() -> Value {
    json!({"access_token": "1000.token", "expires_in": 3600, "scope": SCOPES})
}

fn person(id: &Value, email: &str) -> Value {
    json!({"user_id": id, "zuid": "88", "user_status": "active", "user_type": "confirmed", "primary_email": email, "emails": [{"email_id": email}]})
}

/// Answers tokens, one user and his role; `write` answers the call.
fn usual(write: Answered) -> impl Fn(&str, &str) -> Answered + Send + Sync {
    move |method, path| match (method, path) {
        (_, path) if path.starts_with("/oauth") => ok(&token()),
        ("GET", path) if path.contains("/users?") => {
            ok(&json!({"status_code": 200, "users": [person(&json!("7"), "annette.c@zylker.biz")], "has_more": false}))
        }
        ("GET", _) => ok(&json!({"status": {"code": 200}, "data": {"role": "member"}})),
        _ => write.clone(),
    }
}

fn spec(url: &str, patch: Value) -> DirectorySpec {
    let mut zoho = json!({
        "urls": {"accounts": url, "api": url, "mail": url}, "organization": "70", "zoid": "80", "credentials": {"secret": "zylker-zoho"},
    });
    if let (Value::Object(all), Value::Object(new)) = (&mut zoho, patch) {
        all.extend(new);
    }
    serde_json::from_value(json!({"provider": {"zoho": zoho}, "limits": {"requestTimeout": "2s"}})).unwrap()
}

fn credentials() -> Credentials {
    [
        ("client-id", "the-client-id"),
        ("client-secret", "the-client-secret"),
        ("refresh-token", "the-refresh-token"),
        ("admin-password", "the-admin-password"),
    ]
    .map(|(key, value)| (key.to_owned(), SecretString::from(value)))
    .into()
}

fn settings(spec: &mut DirectorySpec) -> &mut directory::Zoho {
    let directory::Provider::Zoho(zoho) = &mut spec.provider else { panic!("no Zoho") };
    zoho
}

fn connect(spec: &DirectorySpec, credentials: &Credentials) -> Result<Zoho, NotReady> {
    Zoho::connect(spec, settings(&mut spec.clone()), credentials)
}

fn zoho(url: &str) -> Zoho {
    connect(&spec(url, json!({})), &credentials()).unwrap()
}

/// Of a Directory that protects a group.
fn with_groups(url: &str) -> Zoho {
    let mut spec = spec(url, json!({}));
    spec.protect.groups = vec!["Board".to_owned()];
    connect(&spec, &credentials()).unwrap()
}

async fn annette(zoho: &Zoho) -> User {
    match zoho.look_up(&UserRef::Id("7".to_owned()), Mode::Password).await {
        Ok(Some(Found::One(user))) => *user,
        other => panic!("{other:?}"),
    }
}

async fn perform(zoho: &Zoho, still: bool) -> Reply {
    let user = annette(zoho).await;
    zoho.perform(fenced(still), &SET, &user, Some(&SecretString::from("New-pass"))).await
}
