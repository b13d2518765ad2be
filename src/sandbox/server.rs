//! Requests: each is answered with or without a fault, saved and logged.
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json,
    body::Bytes,
    extract::{ConnectInfo, State},
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    call::Logged,
    connection::Cutter,
    fault::{self, FaultKind},
    request::{Answer, Request},
    store::Store,
    wire,
};

pub(super) struct Server {
    pub(super) store: Mutex<Store>,
    pub(super) base_url: String,
    pub(super) shutdown: CancellationToken,
}

impl Server {
    /// Ignores poisoning: a panic of one handler leaves no state that harms the next.
    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries a request out, saves and logs. `logged_status`: from the true status, the one that the client gets. `None`: no answer.
    fn answer(
        &self,
        request: &Request,
        fault: Option<&FaultKind>,
        logged_status: impl FnOnce(u16) -> Option<u16>,
    ) -> Answer {
        let mut guard = self.store();
        let store = &mut *guard;
        let manner = store.manner;
        let without_deviations = |state: &mut _| wire::answer(state, request, &self.base_url, manner);
        let answer = store.deviations.answer(&mut store.organization, request, without_deviations);
        store.organization.log(logged(request, fault, logged_status(answer.status), answer.applied));
        if answer.applied {
            store.save_or_report();
        }
        answer
    }

    /// Logs a request that a fault keeps from being carried out.
    fn skip(&self, request: &Request, fault: &FaultKind, status: Option<u16>) {
        self.store().organization.log(logged(request, Some(fault), status, false));
    }
}

fn logged(request: &Request, fault: Option<&FaultKind>, status: Option<u16>, applied: bool) -> Logged {
    Logged {
        time: request.time,
        kind: request.call,
        method: request.method.to_string(),
        path: request.logged_path(),
        user: request.user.clone(),
        fields: request.fields(),
        status,
        fault: fault.map(|fault| fault.name().to_owned()),
        applied,
    }
}

/// Answers any call to the directory itself.
pub(super) async fn call(
    State(server): State<Arc<Server>>,
    ConnectInfo(cutter): ConnectInfo<Cutter>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request = Request::new(method, &uri, &headers, &body);
    let fault = server.store().receive(request.call, request.user.as_deref());
    match fault {
        None => respond(server.answer(&request, None, Some)),
        Some(fault) => with_fault(server, request, fault).await.unwrap_or_else(|| {
            cutter.cut();
            // Never sent: writing it fails.
            StatusCode::NO_CONTENT.into_response()
        }),
    }
}

/// Carries out a request with a fault. `None`: the connection is to be closed without an answer.
async fn with_fault(server: Arc<Server>, request: Request, fault: FaultKind) -> Option<Response> {
    let skip = |response: Response| {
        server.skip(&request, &fault, Some(response.status().as_u16()));
        Some(response)
    };
    match &fault {
        FaultKind::Refuse { status, body } => skip(refusal(*status, body)),
        FaultKind::Throttle { retry_after, shape } => skip(fault::throttle(*retry_after, *shape)),
        FaultKind::Html {} => skip(fault::page()),
        FaultKind::Huge { bytes } => skip(fault::huge(*bytes)),
        FaultKind::Redirect { location } => skip(fault::redirect(location)),
        FaultKind::DropBefore {} => {
            server.skip(&request, &fault, None);
            None
        }
        FaultKind::Hang {} => {
            server.skip(&request, &fault, None);
            // The server drops this future when the client disconnects.
            server.shutdown.cancelled().await;
            None
        }
        FaultKind::ApplyThenDrop {} => {
            server.answer(&request, Some(&fault), |_| None);
            None
        }
        FaultKind::ApplyThenRefuse { status, body } => {
            server.answer(&request, Some(&fault), |_| Some(*status));
            Some(refusal(*status, body))
        }
        FaultKind::ApplyThen502 {} => {
            server.answer(&request, Some(&fault), |_| Some(502));
            Some(fault::bad_gateway())
        }
        FaultKind::Slow { milliseconds_per_byte } => {
            let Answer { status, body, applied: _ } = server.answer(&request, Some(&fault), Some);
            Some(fault::slow(status_code(status), &body, Duration::from_millis(*milliseconds_per_byte)))
        }
        FaultKind::Delay { milliseconds, apply_late, backdated } => {
            let (pause, apply_late, backdated) = (Duration::from_millis(*milliseconds), *apply_late, *backdated);
            let mut request = request;
            // A separate task, since it goes on when the client has disconnected.
            let late = tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                if !backdated {
                    request.time = Timestamp::now();
                }
                server.answer(&request, Some(&fault), |status| (!apply_late).then_some(status))
            });
            if apply_late { None } else { late.await.ok().map(respond) }
        }
    }
}

fn respond(Answer { status, body, applied: _ }: Answer) -> Response {
    if body.is_null() {
        return status_code(status).into_response();
    }
    (status_code(status), Json(body)).into_response()
}

/// A string is sent as it is, any other value as JSON.
fn refusal(status: u16, body: &Value) -> Response {
    match body {
        Value::String(text) => (status_code(status), text.clone()).into_response(),
        body => (status_code(status), Json(body)).into_response(),
    }
}

fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
