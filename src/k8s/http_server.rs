//! The HTTP server of `/livez`, `/readyz` and `/metrics`.
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router, extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{liveness::Life, metrics::Metrics};
use crate::api::API_VERSION;

/// What the server reports.
#[derive(Clone, Debug)]
pub struct Admin {
    /// For `/metrics`.
    pub metrics: Metrics,
    /// Whether the API server was reached and serves the operator's kinds.
    pub ready: Arc<AtomicBool>,
    /// For `/livez`.
    pub life: Life,
}

/// Serves HTTP until `stop`.
///
/// # Errors
/// If the listener fails.
pub async fn serve(listener: TcpListener, admin: Admin, stop: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(admin);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn livez(extract::State(admin): extract::State<Admin>) -> (StatusCode, String) {
    match admin.life.stuck() {
        None => (StatusCode::OK, "ok".to_owned()),
        Some(what) => {
            tracing::error!(what, "not alive: a defect of this program");
            (StatusCode::SERVICE_UNAVAILABLE, what)
        }
    }
}

async fn readyz(extract::State(admin): extract::State<Admin>) -> (StatusCode, String) {
    if admin.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("the API server was not reached yet, or does not know {API_VERSION}"))
    }
}

async fn metrics(extract::State(admin): extract::State<Admin>) -> Response {
    match admin.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn shows_life_readiness_and_metrics() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (metrics, ready, stop) = (Metrics::default(), Arc::new(AtomicBool::new(false)), CancellationToken::new());
        let life = Life::default();
        let admin = Admin { metrics: metrics.clone(), ready: Arc::clone(&ready), life: life.clone() };
        let server = tokio::spawn(serve(listener, admin, stop.clone()));
        let http = crate::http::client(None, Duration::from_secs(10), true).unwrap();
        let get = async |path: &str| {
            let answer = http.get(format!("{base}{path}")).send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        };

        assert_eq!((get("/livez").await.0, get("/readyz").await.0), (200, 503));
        ready.store(true, Ordering::Relaxed);
        assert_eq!(get("/readyz").await.0, 200);
        metrics.set_leading(true);
        let (status, text) = get("/metrics").await;
        assert!(status == 200 && text.contains("credreset_leader 1\n") && text.ends_with("# EOF\n"), "{text}");

        let work = life.start_work();
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(3600)).await;
        tokio::time::resume();
        let stuck = "the work on a request, a record or a Directory has made no progress for 60 minutes".to_owned();
        assert_eq!(get("/livez").await, (503, stuck));
        drop(work);
        assert_eq!(get("/livez").await.0, 200);

        stop.cancel();
        server.await.unwrap().unwrap();
    }
}
