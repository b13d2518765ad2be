//! A stand-in for a Zoho organization, for the demo and for tests: it speaks the wire format that the Zoho provider
//! speaks, keeps users in memory (and in a file), counts every call and fails on request.
//!
//! It proves nothing about Zoho's servers, and protects nothing: its passwords are public, and its control interface under `/sandbox` is
//! open to every client that reaches it.
mod call;
mod chaos;
mod connection;
mod control;
mod deviation;
mod fault;
mod mail;
mod options;
mod organization;
mod page;
mod request;
mod seed;
mod server;
mod store;
mod user;
mod wire;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::{
    connection::{CuttableListener, Cutter},
    server::{Server, call},
    store::Store,
};
pub use options::{Error, Options, Page};
pub use seed::{
    ADMIN_PASSWORD, CLIENT_ID, CLIENT_SECRET, ORGANIZATION, ORGANIZATION_NAME, REFRESH_TOKEN, SCOPES, ZOID,
};

/// How long running calls may take to end after the shutdown.
const GRACE: Duration = Duration::from_secs(1);
/// Bytes of a request; the control interface takes whole lists of users.
const BODY_LIMIT: usize = 64 << 20;

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
        .route("/faults", post(page::add_fault))
        .nest("/sandbox", control::routes())
        .fallback(call)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(server)
        .into_make_service_with_connect_info::<Cutter>();
    let serving =
        axum::serve(CuttableListener(listener), router).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    tokio::select! {
        result = serving => result?,
        // A client that keeps its connection busy does not keep the server running.
        () = async { shutdown.cancelled().await; tokio::time::sleep(GRACE).await } => {}
    }
    Ok(())
}
