//! A stand-in for a Zoho organization, for the demo and for tests: it speaks the wire format that the Zoho provider
//! speaks, keeps users in memory (and in a file), counts every call and fails on request.
//!
//! It proves nothing about Zoho's servers, and guards nothing: its passwords are public and its control interface under
//! `/sandbox` is open to whoever reaches it.
mod chaos;
mod connection;
mod control;
mod fault;
mod page;
mod seed;
mod state;
mod user;
mod wire;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{ConnectInfo, DefaultBodyLimit, State},
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::{
    connection::{CuttableListener, Cutter},
    state::{Logged, Store},
    wire::{Answer, Request},
};
pub use seed::{
    ADMIN_PASSWORD, CLIENT_ID, CLIENT_SECRET, ORGANIZATION, ORGANIZATION_NAME, REFRESH_TOKEN, SCOPES, ZOID,
};

/// How long running calls may take to end after the shutdown.
const GRACE: Duration = Duration::from_secs(1);
/// Bytes of a request; the control interface takes whole lists of users.
const BODY_LIMIT: usize = 64 << 20;

/// What a sandbox starts with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where the state is kept; in memory only if absent.
    pub state: Option<PathBuf>,
    /// Ordinary confirmed users beyond the seed: `user0001@zylker.biz` and so on.
    pub users: usize,
    /// Whether look-ups tell when password and factors changed last.
    pub change_times: bool,
    /// Scopes of the tokens, separated by blanks or commas; absent: those of the state file, at first [`SCOPES`].
    pub scopes: Option<String>,
}

/// Why the sandbox does not start or ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state file is there and cannot be read.
    #[error("cannot read the state file {}: {source}; check its permissions", file.display())]
    Read {
        /// The state file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The state file is not one that a sandbox of this version wrote.
    #[error("the state file {} is not understood at line {line}, column {column}; remove it to start afresh", file.display())]
    Parse {
        /// The state file.
        file: PathBuf,
        /// Line of the first fault.
        line: usize,
        /// Column of the first fault.
        column: usize,
    },
    /// The state file cannot be written.
    #[error("cannot write the state file {}: {source}; check that its folder exists and is writable", file.display())]
    Write {
        /// The state file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The listener failed.
    #[error("the sandbox cannot listen: {0}")]
    Listen(#[from] io::Error),
}

struct Server {
    store: Mutex<Store>,
    base_url: String,
    shutdown: CancellationToken,
}

/// Serves until `shutdown`.
///
/// # Errors
/// If the state file cannot be read or written, or the listener has no address.
pub async fn serve(options: Options, listener: TcpListener, shutdown: CancellationToken) -> Result<(), Error> {
    let server = Arc::new(Server {
        store: Mutex::new(Store::open(options)?),
        base_url: format!("http://{}", listener.local_addr()?),
        shutdown: shutdown.clone(),
    });
    let router = Router::new()
        .route("/", get(page::page))
        .nest("/sandbox", control::routes())
        .fallback(call)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(server)
        .into_make_service_with_connect_info::<Cutter>();
    let serving =
        axum::serve(CuttableListener(listener), router).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    tokio::select! {
        result = serving => result?,
        // A client that keeps its connection busy does not keep the server.
        () = async { shutdown.cancelled().await; tokio::time::sleep(GRACE).await } => {}
    }
    Ok(())
}

impl Server {
    /// A panic of one handler leaves nothing half done that the next would mind.
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries a request out, saves and logs. `told`: the status that the client will see instead of the true one.
    fn answer(&self, request: &Request, fault: Option<&fault::Kind>, told: impl FnOnce(u16) -> Option<u16>) -> Answer {
        let mut store = self.store();
        let change_times = store.change_times;
        let answer = wire::answer(&mut store.state, request, &self.base_url, change_times);
        store.state.log(logged(request, fault, told(answer.status), answer.applied));
        if answer.applied {
            store.save_or_report();
        }
        answer
    }

    /// Logs a request that a fault keeps from being carried out.
    fn skip(&self, request: &Request, fault: &fault::Kind, status: Option<u16>) {
        self.store().state.log(logged(request, Some(fault), status, false));
    }
}

fn logged(request: &Request, fault: Option<&fault::Kind>, status: Option<u16>, applied: bool) -> Logged {
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

/// Any call that the directory itself would get.
async fn call(
    State(server): State<Arc<Server>>,
    ConnectInfo(cutter): ConnectInfo<Cutter>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request = Request::new(method, &uri, &headers, &body);
    let fault = server.store().receive(&request);
    match fault {
        None => respond(server.answer(&request, None, Some)),
        Some(fault) => with_fault(server, request, fault).await.unwrap_or_else(|| {
            cutter.cut();
            // Never seen: writing it fails.
            StatusCode::NO_CONTENT.into_response()
        }),
    }
}

/// `None`: the connection is to be closed without an answer.
async fn with_fault(server: Arc<Server>, request: Request, fault: fault::Kind) -> Option<Response> {
    use fault::Kind;
    let skip = |response: Response| {
        server.skip(&request, &fault, Some(response.status().as_u16()));
        Some(response)
    };
    match &fault {
        Kind::Refuse { status, body } => skip(refusal(*status, body)),
        Kind::Throttle { retry_after, shape } => skip(fault::throttle(*retry_after, *shape)),
        Kind::Html {} => skip(fault::page()),
        Kind::Huge { bytes } => skip(fault::huge(*bytes)),
        Kind::Redirect { location } => skip(fault::redirect(location)),
        Kind::DropBefore {} => {
            server.skip(&request, &fault, None);
            None
        }
        Kind::Hang {} => {
            server.skip(&request, &fault, None);
            // The server drops this future when the client goes.
            server.shutdown.cancelled().await;
            None
        }
        Kind::ApplyThenDrop {} => {
            server.answer(&request, Some(&fault), |_| None);
            None
        }
        Kind::ApplyThenRefuse { status, body } => {
            server.answer(&request, Some(&fault), |_| Some(*status));
            Some(refusal(*status, body))
        }
        Kind::ApplyThen502 {} => {
            server.answer(&request, Some(&fault), |_| Some(502));
            Some(fault::bad_gateway())
        }
        Kind::Slow { milliseconds_per_byte } => {
            let Answer { status, body, applied: _ } = server.answer(&request, Some(&fault), Some);
            Some(fault::slow(status_code(status), &body, Duration::from_millis(*milliseconds_per_byte)))
        }
        Kind::Delay { milliseconds, apply_late, backdated } => {
            let (pause, apply_late, backdated) = (Duration::from_millis(*milliseconds), *apply_late, *backdated);
            let mut request = request;
            // A task of its own, for it goes on when the client has gone.
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
    (status_code(status), Json(body)).into_response()
}

/// A text stands for itself, anything else for its JSON.
fn refusal(status: u16, body: &Value) -> Response {
    match body {
        Value::String(text) => (status_code(status), text.clone()).into_response(),
        body => (status_code(status), Json(body)).into_response(),
    }
}

fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
