//! The provider against small servers that answer as each test defines.
mod access;
mod answers;
mod arbitrary_input;
mod by_address;
mod conditional;
mod mfa;
mod reading;
mod setup;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::{
    core::{
        call::{Call, Reply},
        directory::{Feature, Guarantee},
        finding::Finding,
        record::{Evidence, Record},
        request::{Mode, UserRef},
        seen::{Seen, Why},
        user::{LookUp, User},
    },
    directory::tests::{Answered, SET, Server, fenced, fenced_by, fenced_call, ok, record},
};

const SCOPES: &str = "ZohoDirectory.users.ALL,ZohoDirectory.Groups.READ,ZohoMail.organization.accounts.ALL";

fn token() -> Value {
    json!({"access_token": "1000.token", "expires_in": 3600, "scope": SCOPES})
}

fn person(id: &Value, email: &str) -> Value {
    json!({"user_id": id, "zuid": "88", "user_status": "active", "user_type": "confirmed", "primary_email": email, "emails": [{"email_id": email}]})
}

/// Answers requests for a token, for one user and for the role of that user. `write` answers the call.
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

/// A new refresh token each time, since connections with the same one share its access tokens.
fn credentials() -> Credentials {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let refresh_token = format!("the-refresh-token-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    [
        ("client-id", "the-client-id"),
        ("client-secret", "the-client-secret"),
        ("refresh-token", refresh_token.as_str()),
        ("admin-password", "the-admin-password"),
    ]
    .map(|(key, value)| (key.to_owned(), SecretString::from(value.to_owned())))
    .into()
}

fn settings(spec: &mut DirectorySpec) -> &mut directory::Zoho {
    let directory::ProviderSpec::Zoho(zoho) = &mut spec.provider else { panic!("no Zoho") };
    zoho
}

fn connect(spec: &DirectorySpec, credentials: &Credentials) -> Result<Zoho, NotReady> {
    Zoho::connect(spec, settings(&mut spec.clone()), credentials)
}

fn zoho(url: &str) -> Zoho {
    connect(&spec(url, json!({})), &credentials()).unwrap()
}

/// A connection of a Directory that protects a group.
fn with_groups(url: &str) -> Zoho {
    let mut spec = spec(url, json!({}));
    spec.protect.groups = vec!["Board".to_owned()];
    connect(&spec, &credentials()).unwrap()
}

async fn annette(zoho: &Zoho) -> User {
    seen_for(zoho, Mode::Password).await
}

async fn annette_for_mfa(zoho: &Zoho) -> User {
    seen_for(zoho, Mode::MFA).await
}

async fn seen_for(zoho: &Zoho, mode: Mode) -> User {
    match zoho.look_up(&UserRef::Id("7".to_owned()), mode).await {
        Ok(Some(LookUp::One(user))) => *user,
        other => panic!("{other:?}"),
    }
}

async fn perform(zoho: &Zoho, may_send: bool) -> Reply {
    let user = annette(zoho).await;
    zoho.perform(fenced(may_send), &user, Some(&SecretString::from("New-pass"))).await
}
