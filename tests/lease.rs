//! The lease in virtual time, against a Lease behind a network that loses, delays and refuses: never two leaders.
#![cfg(test)]
use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI32, AtomicU32, Ordering},
    },
    time::Duration,
};

use credreset::k8s::{
    clock::Clock,
    lease::{Config, Elector},
};
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimePrinter};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, client::Body};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// One Lease with resourceVersions.
#[derive(Default)]
struct Store {
    lease: Option<Value>,
    version: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Network {
    Up,
    Down,
    Hangs,
    Random,
}

#[derive(Clone)]
struct Server {
    store: Arc<Mutex<Store>>,
    network: Arc<Mutex<Network>>,
    /// How far its clock is behind.
    behind: SignedDuration,
}

impl Server {
    fn new() -> Self {
        Self { store: Arc::default(), network: Arc::new(Mutex::new(Network::Up)), behind: SignedDuration::ZERO }
    }

    /// Another way to the same Lease.
    fn other_way(&self, network: Network) -> Self {
        Self { store: Arc::clone(&self.store), network: Arc::new(Mutex::new(network)), behind: self.behind }
    }

    fn client(&self, clock: &Clock) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let (status, answer) = server.handle(parts.method.as_str(), &body).await;
                let answer = Body::from(serde_json::to_vec(&answer).unwrap());
                let date = Timestamp::now() - server.behind;
                let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&date).unwrap();
                Ok::<_, Infallible>(http::Response::builder().status(status).header("date", date).body(answer).unwrap())
            }
        });
        Client::new(clock.watching(service), "default")
    }

    async fn handle(&self, method: &str, body: &[u8]) -> (u16, Value) {
        let network = *self.network.lock().unwrap();
        let mut lose_answer = false;
        match network {
            Network::Up => {}
            Network::Down => return failure(500, "InternalError"),
            Network::Hangs => std::future::pending().await,
            Network::Random => match rand::random_range(0..100) {
                0..10 => return failure(503, "ServiceUnavailable"),
                10..15 => std::future::pending().await,
                // Slow, and then it takes effect, long after its sender has given up.
                15..25 => sleep(Duration::from_millis(rand::random_range(500..8000))).await,
                25..30 => lose_answer = true,
                _ => sleep(Duration::from_millis(rand::random_range(1..200))).await,
            },
        }
        let answer = self.apply(method, body);
        if lose_answer {
            std::future::pending::<()>().await;
        }
        answer
    }

    fn apply(&self, method: &str, body: &[u8]) -> (u16, Value) {
        let mut store = self.store.lock().unwrap();
        let mut new: Value = serde_json::from_slice(body).unwrap_or_default();
        match (method, &store.lease) {
            ("GET", Some(lease)) => return (200, lease.clone()),
            ("GET" | "PUT", None) => return failure(404, "NotFound"),
            ("POST", Some(_)) => return failure(409, "AlreadyExists"),
            ("PUT", Some(lease)) if new["metadata"]["resourceVersion"] != lease["metadata"]["resourceVersion"] => {
                return failure(409, "Conflict");
            }
            ("POST" | "PUT", _) => {}
            (method, _) => panic!("{method}"),
        }
        store.version += 1;
        new["metadata"]["resourceVersion"] = json!(store.version.to_string());
        store.lease = Some(new.clone());
        (200, new)
    }
}

fn failure(code: u16, reason: &str) -> (u16, Value) {
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason}),
    )
}

fn candidate(server: &Server, name: &str) -> Elector {
    let clock = Clock::default();
    let api: Api<Lease> = Api::namespaced(server.client(&clock), "default");
    Elector::new(api, Config::new("credreset", name, 90), clock)
}

#[tokio::test(start_paused = true)]
async fn steps_down_before_another_may_take_over() {
    for network in [Network::Down, Network::Hangs] {
        let server = Server::new();
        let (first, _task) = candidate(&server, "a").acquire(CancellationToken::new()).await.unwrap();
        let began = Instant::now();
        *server.network.lock().unwrap() = network;
        let other = server.other_way(Network::Up);
        let second =
            tokio::spawn(async move { candidate(&other, "b").acquire(CancellationToken::new()).await.unwrap().0 });
        first.lost.cancelled().await;
        assert!(!first.is_held());
        assert!(began.elapsed() <= Duration::from_secs(10));
        let second = second.await.unwrap();
        assert!(began.elapsed() >= Duration::from_secs(15));
        assert_eq!(second.epoch, first.epoch + 1);
    }
}

/// A process that was paused wakes up: it knows at once that it no longer leads, before any timer of its own has run.
#[tokio::test(start_paused = true)]
async fn a_paused_leader_knows_at_once() {
    let server = Server::new();
    let (leader, _task) = candidate(&server, "a").acquire(CancellationToken::new()).await.unwrap();
    assert!(leader.is_held());
    // Time passes without any task being run.
    tokio::time::advance(Duration::from_secs(11)).await;
    assert!(!leader.is_held());
}

/// Neither ahead nor behind: no process leads by a clock that the API server's does not agree with.
#[tokio::test(start_paused = true)]
async fn a_wrong_clock_leads_nobody() {
    for behind in [-3600, 3600] {
        let server = Server { behind: SignedDuration::from_secs(behind), ..Server::new() };
        let stop = CancellationToken::new();
        let wrong = tokio::spawn(candidate(&server, "a").acquire(stop.clone()));
        sleep(Duration::from_secs(60)).await;
        let right = Server { behind: SignedDuration::ZERO, ..server };
        let (leader, _task) = candidate(&right, "b").acquire(CancellationToken::new()).await.unwrap();
        assert!(leader.is_held() && !wrong.is_finished());
        stop.cancel();
        assert!(wrong.await.unwrap().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn release_hands_over_at_once() {
    let server = Server::new();
    let (first, task) = candidate(&server, "a").acquire(CancellationToken::new()).await.unwrap();
    let other = server.clone();
    let second = tokio::spawn(async move { candidate(&other, "b").acquire(CancellationToken::new()).await.unwrap().0 });
    sleep(Duration::from_secs(5)).await;
    assert!(first.is_held() && !second.is_finished());
    let began = Instant::now();
    first.release.cancel();
    task.await.unwrap();
    assert!(!first.is_held());
    assert!(second.await.unwrap().is_held());
    assert!(began.elapsed() < Duration::from_secs(4));
}

/// Three candidates, a bad network, six hours.
#[tokio::test(start_paused = true)]
async fn never_two_leaders() {
    let server = Server::new();
    let leading = Arc::new(AtomicU32::new(0));
    let highest = Arc::new(AtomicI32::new(-1));
    let terms = Arc::new(AtomicU32::new(0));
    let mut candidates = Vec::new();
    for name in ["a", "b", "c"] {
        let way = server.other_way(Network::Random);
        let (leading, highest, terms) = (Arc::clone(&leading), Arc::clone(&highest), Arc::clone(&terms));
        candidates.push(tokio::spawn(async move {
            loop {
                let (term, task) = candidate(&way, name).acquire(CancellationToken::new()).await.unwrap();
                assert_eq!(leading.fetch_add(1, Ordering::SeqCst), 0, "two leaders");
                assert!(highest.swap(term.epoch, Ordering::SeqCst) < term.epoch, "a term's number was used twice");
                terms.fetch_add(1, Ordering::SeqCst);
                if rand::random_range(0..3) == 0 {
                    let stay = Duration::from_secs(rand::random_range(1..60));
                    tokio::select! { () = term.lost.cancelled() => {} () = sleep(stay) => {} }
                } else {
                    term.lost.cancelled().await;
                }
                leading.fetch_sub(1, Ordering::SeqCst);
                term.release.cancel();
                task.await.unwrap();
            }
        }));
    }
    sleep(Duration::from_secs(6 * 3600)).await;
    for candidate in candidates {
        assert!(!candidate.is_finished(), "a candidate died");
        candidate.abort();
    }
    assert!(terms.load(Ordering::SeqCst) > 20);
}
