//! The provider against small servers that answer as each test says. Here and not in tests/, since only the crate can make the
//! right to send.
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

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use jiff::SignedDuration;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::core::{
    ledger::{Attempt, Evidence, Finish, Origin, State as RecordState, UserId},
    request::UserRef,
    world::{Found, Seen},
};

/// What a server answers: status, headers, body.
type Answered = (u16, Vec<(&'static str, String)>, String);
type Script = Arc<dyn Fn(&str, &str) -> Answered + Send + Sync>;

/// A server on loopback, with what it was asked.
struct Server {
    url: String,
    seen: Arc<Mutex<Vec<(String, String, String)>>>,
}

#[derive(Clone)]
struct Shared {
    script: Script,
    seen: Arc<Mutex<Vec<(String, String, String)>>>,
}

impl Server {
    async fn start(script: impl Fn(&str, &str) -> Answered + Send + Sync + 'static) -> Self {
        let shared = Shared { script: Arc::new(script), seen: Arc::default() };
        let seen = Arc::clone(&shared.seen);
        let app = Router::new().fallback(handle).with_state(shared);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, app).into_future());
        Self { url, seen }
    }

    fn seen(&self, path: &str) -> Vec<(String, String, String)> {
        self.seen.lock().unwrap().iter().filter(|(_, p, _)| p.starts_with(path)).cloned().collect()
    }
}

async fn handle(State(shared): State<Shared>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let path = uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let authorization = headers.get("authorization").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    shared.seen.lock().unwrap().push((
        method.to_string(),
        path.clone(),
        format!("{authorization} {}", String::from_utf8_lossy(&body)),
    ));
    let (status, headers, body) = (shared.script)(method.as_str(), &path);
    let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

fn ok(body: &Value) -> Answered {
    (200, Vec::new(), body.to_string())
}

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
    match &mut spec.provider {
        directory::Provider::Zoho(zoho) => zoho,
        other => panic!("{other:?}"),
    }
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

fn record() -> Record {
    let at: Timestamp = "2026-11-24T09:00:00Z".parse().unwrap();
    Record {
        name: "r-1".to_owned(),
        directory: "zylker".to_owned(),
        directory_identity: "x".to_owned(),
        user: UserId { id: "7".to_owned(), name: "annette.c@zylker.biz".to_owned() },
        mode: Mode::Password,
        requested_at: at,
        expires_at: at,
        keep_until: at,
        request: Origin {
            namespace: String::new(),
            name: String::new(),
            uid: String::new(),
            key: String::new(),
            digest: String::new(),
        },
        call: SET,
        finish: Finish::default(),
        attempt: Attempt {
            id: "a1".to_owned(),
            number: 1,
            holder: "h".to_owned(),
            started_at: at,
            deadline: at.saturating_add(SignedDuration::from_secs(25)).unwrap(),
            secret: None,
            baseline: Some("never".to_owned()),
            conditional: false,
            redrawn: false,
        },
        adopted_by: None,
        gave_up_at: None,
        sign_in_by: None,
        state: RecordState::Sent,
        evidence: None,
        verdict: None,
        retry_at: None,
        note: None,
        settled_at: None,
    }
}

async fn annette(zoho: &Zoho) -> User {
    match zoho.look_up(&UserRef::Id("7".to_owned()), Mode::Password).await {
        Ok(Some(Found::One(user))) => *user,
        other => panic!("{other:?}"),
    }
}

const SET: Once = Once::SetPassword {
    force_change_on_login: false,
    clear_mobile_sessions_and_api_tokens: false,
    email_to_user: false,
};

/// The right to send, as long as `still`.
fn fenced(still: bool) -> Fenced {
    fenced_by(record(), still)
}

fn fenced_by(record: Record, still: bool) -> Fenced {
    Fenced::by_write(record, move || still)
}

async fn perform(zoho: &Zoho, still: bool) -> Reply {
    let user = annette(zoho).await;
    zoho.perform(fenced(still), &SET, &user, Some(&SecretString::from("New-pass"))).await
}
