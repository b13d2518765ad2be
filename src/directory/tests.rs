//! What the tests of providers share: small servers that answer as each test defines. They are here and not in tests/, since only the
//! crate can make a [`Fenced`].
use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::net::TcpListener;

use super::Fenced;
use crate::core::{
    call::{Call, FollowUp},
    record::{Attempt, Origin, Record, State as RecordState},
    request::Mode,
    user::UserId,
};

/// What a server answers: status, headers, body.
pub(super) type Answered = (u16, Vec<(&'static str, String)>, String);
pub(super) type Script = Arc<dyn Fn(&str, &str) -> Answered + Send + Sync>;

/// A server on loopback, which records the requests it gets.
pub(super) struct Server {
    pub url: String,
    pub seen: Arc<Mutex<Vec<(String, String, String)>>>,
}

#[derive(Clone)]
struct Shared {
    script: Script,
    pub seen: Arc<Mutex<Vec<(String, String, String)>>>,
}

impl Server {
    pub(super) async fn start(script: impl Fn(&str, &str) -> Answered + Send + Sync + 'static) -> Self {
        let shared = Shared { script: Arc::new(script), seen: Arc::default() };
        let seen = Arc::clone(&shared.seen);
        let app = Router::new().fallback(handle).with_state(shared);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, app).into_future());
        Self { url, seen }
    }

    pub(super) fn seen(&self, path: &str) -> Vec<(String, String, String)> {
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

pub(super) fn ok(body: &Value) -> Answered {
    (200, Vec::new(), body.to_string())
}

pub(super) fn record() -> Record {
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
            requested_by: None,
            filed_by: None,
            reason: None,
        },
        call: SET,
        follow_up: FollowUp::default(),
        attempt: Attempt {
            id: "a1".to_owned(),
            number: 1,
            holder: "h".to_owned(),
            started_at: at,
            deadline: at.saturating_add(SignedDuration::from_secs(25)).unwrap(),
            secret: None,
            baseline: Some("never".to_owned()),
            conditional: false,
            approved_by: Vec::new(),
            regenerated: 0,
        },
        repeated_by: None,
        gave_up_at: None,
        sign_in_by: None,
        state: RecordState::Sent,
        evidence: None,
        refusal: None,
        retry_at: None,
        note: None,
        undelivered: false,
        settled_at: None,
        settled_by: None,
    }
}

pub(super) const SET: Call = Call::SetPassword {
    force_change_on_login: false,
    clear_mobile_sessions_and_api_tokens: false,
    email_to_user: false,
};

/// The right to send [`SET`]. `may_send`: nothing has ended it.
pub(super) fn fenced(may_send: bool) -> Fenced {
    fenced_by(record(), may_send)
}

/// The right to send `call`.
pub(super) fn fenced_call(call: Call, may_send: bool) -> Fenced {
    fenced_by(Record { call, ..record() }, may_send)
}

pub(super) fn fenced_by(record: Record, may_send: bool) -> Fenced {
    Fenced::by_write(record, move || may_send)
}
