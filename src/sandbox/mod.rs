//! A stand-in for a directory: it speaks Zoho's wire format for a made-up organization, so that demos and tests drive the real
//! provider unchanged. It proves nothing about Zoho's servers.
mod control;
mod faults;
mod page;
mod state;
mod wire;

use std::{
    convert::Infallible,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    extract::Request,
    response::Response,
    routing::{get, post},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use faults::DropConnection;
use state::State;

/// How the sandbox behaves.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where its state is kept; in memory only, if not given.
    pub state: Option<PathBuf>,
    /// This many ordinary users besides the organization's own.
    pub users: usize,
    /// Look-ups show when password and MFA were last changed.
    pub change_times: bool,
    /// What tokens may be used for; everything, if not given.
    pub scopes: Option<String>,
}

/// What all handlers share.
#[derive(Clone, Debug)]
struct Sandbox {
    state: Arc<Mutex<State>>,
    file: Option<PathBuf>,
    change_times: bool,
    /// Its own address, as it says in tokens.
    url: String,
}

impl Sandbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and keeps it.
    fn change<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let result = f(&mut state);
        if let Some(file) = &self.file
            && let Err(error) = state.save(file)
        {
            tracing::error!(file = %file.display(), error = %error, "the state could not be kept");
        }
        result
    }
}

/// Serves until `stop`.
///
/// # Errors
/// If the state file cannot be read, or the listener breaks.
pub async fn serve(options: Options, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
    let state = match &options.state {
        Some(file) if file.exists() => State::load(file)?,
        _ => State::seed(options.users, options.scopes.as_deref()),
    };
    let sandbox = Sandbox {
        state: Arc::new(Mutex::new(state)),
        file: options.state,
        change_times: options.change_times,
        url: format!("http://{}", listener.local_addr()?),
    };
    sandbox.change(|_| ()); // so that a file that cannot be written is told at once
    let app = Router::new()
        .route("/", get(page::page))
        .route("/sandbox/users", get(control::users).post(control::add_users))
        .route("/sandbox/users/{id}", get(control::user).patch(control::change_user))
        .route("/sandbox/sign-in", post(control::sign_in))
        .route("/sandbox/calls", get(control::calls))
        .route("/sandbox/counts", get(control::counts))
        .route("/sandbox/mail", get(control::mail))
        .route("/sandbox/faults", post(control::add_faults).delete(control::clear_faults))
        .route("/sandbox/scopes", post(control::set_scopes))
        .route("/oauth/v2/token", post(wire::token))
        .route("/directory/api/v2/orgs/{org}/users", get(wire::users))
        .route("/directory/api/v2/orgs/{org}/users/{id}/groups", get(wire::groups))
        .route("/directory/api/v2/orgs/{org}/users/{id}/password", post(wire::reset_password))
        .route("/directory/api/v2/orgs/{org}/users/{id}/mfa/reset", post(wire::reset_mfa))
        .route("/api/organization/{zoid}/accounts/{zuid}", get(wire::account).put(wire::change_account))
        .fallback(wire::unknown)
        .with_state(sandbox);
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            () = stop.cancelled() => return Ok(()),
        };
        let app = app.clone();
        let stop = stop.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let app = app.clone();
                async move { answer(app, request.map(axum::body::Body::new)).await }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ = connection => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed on request")]
struct Closed;

/// hyper closes a connection whose service fails, without a status line: what a fault asks for.
async fn answer(app: Router, request: Request) -> Result<Response, Closed> {
    let response: Result<Response, Infallible> = app.oneshot(request).await;
    match response {
        Ok(response) if response.extensions().get::<DropConnection>().is_some() => Err(Closed),
        Ok(response) => Ok(response),
        Err(never) => match never {},
    }
}
