//! `/livez`, `/readyz`, `/metrics`.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router, extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::core::ledger::{Record, State};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Settled {
    outcome: &'static str,
    mode: &'static str,
    directory: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Called {
    directory: String,
    call: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Of {
    directory: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// What is counted. Clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    leader: Gauge,
    open: Gauge,
    ready: Family<Of, Gauge>,
    settled: Family<Settled, Counter>,
    calls: Family<Called, Counter>,
    errors: Family<Kind, Counter>,
    panics: Counter,
    reconcile: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("credreset");
        let mut new = Self {
            registry: Arc::default(),
            leader: Gauge::default(),
            open: Gauge::default(),
            ready: Family::default(),
            settled: Family::default(),
            calls: Family::default(),
            errors: Family::default(),
            panics: Counter::default(),
            reconcile: Histogram::new(exponential_buckets(0.002, 2.0, 14)),
        };
        registry.register("leader", "1 while this process leads", new.leader.clone());
        registry.register("open_requests", "Requests without an outcome", new.open.clone());
        registry.register("directory_ready", "1 while the Directory is Ready", new.ready.clone());
        registry.register("records_settled", "Records that got their outcome", new.settled.clone());
        registry.register("calls", "Calls to directories", new.calls.clone());
        registry.register("reconcile_errors", "Reconciles that stopped short and are tried again", new.errors.clone());
        registry.register("reconcile_panics", "Reconciles that ended in a panic", new.panics.clone());
        registry.register_with_unit("reconcile_duration", "Time of a reconcile", Unit::Seconds, new.reconcile.clone());
        new.registry = Arc::new(registry);
        new
    }
}

impl Metrics {
    /// Whether this process leads. What only a leader watches is forgotten with the lead: a sum over all processes would count
    /// it twice, and it would stay for ever as it was.
    pub fn leading(&self, leading: bool) {
        self.leader.set(leading.into());
        if !leading {
            self.open.set(0);
            self.ready.clear();
        }
    }

    /// How many requests are open.
    pub fn open_requests(&self, count: usize) {
        self.open.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// What a Directory's check found.
    pub fn directory_ready(&self, directory: &str, ready: bool) {
        self.ready.get_or_create(&Of { directory: directory.to_owned() }).set(ready.into());
    }

    /// A Directory was deleted.
    pub fn directory_gone(&self, directory: &str) {
        self.ready.remove(&Of { directory: directory.to_owned() });
    }

    /// A record got its outcome.
    pub fn settled(&self, record: &Record) {
        let outcome = match record.state {
            State::Applied => "Applied",
            State::NotApplied => "NotApplied",
            State::Unknown => "Unknown",
            State::Superseded => "Superseded",
            State::Sent | State::Released | State::Changed => return,
        };
        let mode = match record.mode {
            crate::core::Mode::Password => "Password",
            crate::core::Mode::MFA => "MFA",
        };
        self.settled.get_or_create(&Settled { outcome, mode, directory: record.directory.clone() }).inc();
    }

    /// A directory was called.
    pub fn call(&self, directory: &str, call: &'static str, result: &'static str) {
        self.calls.get_or_create(&Called { directory: directory.to_owned(), call, result }).inc();
    }

    /// A reconcile stopped short.
    pub fn failed(&self, kind: &'static str) {
        self.errors.get_or_create(&Kind { kind }).inc();
    }

    /// A reconcile ended in a panic.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// A reconcile took this long.
    pub fn reconciled(&self, took: Duration) {
        self.reconcile.observe(took.as_secs_f64());
    }
}

/// What the server shows.
#[derive(Clone, Debug)]
pub struct Admin {
    /// For `/metrics`.
    pub metrics: Metrics,
    /// The API server was reached and knows our kinds.
    pub ready: Arc<AtomicBool>,
}

/// Serves until `stop`.
///
/// # Errors
/// If the listener breaks.
pub async fn serve(listener: TcpListener, admin: Admin, stop: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(admin);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn readyz(extract::State(admin): extract::State<Admin>) -> (StatusCode, &'static str) {
    if admin.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the API server was not reached yet, or does not know credreset.dev/v1alpha1")
    }
}

async fn metrics(extract::State(admin): extract::State<Admin>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &admin.metrics.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shows_readiness_and_what_only_a_leader_knows() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (metrics, ready, stop) = (Metrics::default(), Arc::new(AtomicBool::new(false)), CancellationToken::new());
        let admin = Admin { metrics: metrics.clone(), ready: Arc::clone(&ready) };
        let server = tokio::spawn(serve(listener, admin, stop.clone()));
        let http = crate::directory::http::client(None, Duration::from_secs(10), true).unwrap();
        let get = async |path: &str| {
            let answer = http.get(format!("{base}{path}")).send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        };

        assert_eq!((get("/livez").await.0, get("/readyz").await.0), (200, 503));
        ready.store(true, Ordering::Relaxed);
        assert_eq!(get("/readyz").await.0, 200);

        metrics.leading(true);
        metrics.open_requests(3);
        metrics.directory_ready("zylker", true);
        metrics.call("zylker", "look-up", "ok");
        let text = get("/metrics").await.1;
        for line in [
            "credreset_leader 1",
            "credreset_open_requests 3",
            r#"credreset_directory_ready{directory="zylker"} 1"#,
            r#"credreset_calls_total{directory="zylker",call="look-up",result="ok"} 1"#,
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        metrics.leading(false);
        let text = get("/metrics").await.1;
        assert!(text.contains("credreset_open_requests 0") && !text.contains("credreset_directory_ready{"), "{text}");

        stop.cancel();
        server.await.unwrap().unwrap();
    }
}
