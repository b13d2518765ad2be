//! What is counted, for `/metrics`. Labels are of few values: nothing in them is typed by whoever files a request.
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::FutureExt;
use jiff::Timestamp;
use kube::{ResourceExt, runtime::reflector::Store};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text::encode},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use super::{clock::Clock, lean::Lean, lock};
use crate::{
    api::{CredentialReset, CredentialResetRecord},
    core::{Reason, ledger::State},
    telemetry,
};

/// Kinds of [`Metrics::failed`].
const ERRORS: [&str; 4] = ["api", "random", "restless", "watch"];

/// Names of labels with their values.
type Labels<const N: usize> = [(&'static str, String); N];

/// What is counted. Clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    leader: Gauge,
    watched: Arc<Watched>,
    ready: Family<Labels<1>, Gauge>,
    limits: Family<Labels<1>, Counter>,
    requests: Family<Labels<2>, Counter>,
    calls: Family<Labels<3>, Histogram>,
    errors: Family<Labels<1>, Counter>,
    reconcile: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("credreset");
        let mut new = Self {
            registry: Arc::default(),
            leader: Gauge::default(),
            watched: Arc::default(),
            ready: Family::default(),
            limits: Family::default(),
            requests: Family::default(),
            calls: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.01, 2.5, 10))),
            errors: Family::default(),
            reconcile: Histogram::new(exponential_buckets(0.002, 2.0, 14)),
        };
        registry.register("leader", "1 while this process leads", new.leader.clone());
        registry.register_collector(Box::new(Arc::clone(&new.watched)));
        registry.register("directory_ready", "1 while the Directory is Ready", new.ready.clone());
        registry.register(
            "limit_reached",
            "Requests that had to wait since the Directory's resetsPerHour was used up",
            new.limits.clone(),
        );
        registry.register(
            "requests",
            "Requests that got an outcome; one that was Unknown may get another later",
            new.requests.clone(),
        );
        registry.register_with_unit(
            "directory_call_duration",
            "Time of a call to a directory, by what came of it",
            Unit::Seconds,
            new.calls.clone(),
        );
        registry.register("errors", "What stopped short and is tried again", new.errors.clone());
        registry.register("panics", "Panics: defects of this program", telemetry::PANICS.clone());
        registry.register_with_unit("reconcile_duration", "Time of a reconcile", Unit::Seconds, new.reconcile.clone());
        new.registry = Arc::new(registry);
        // A counter that begins with its first event hides that event from increase().
        for labels in Reason::ALL.into_iter().filter_map(ended) {
            new.requests.get_or_create(&labels).inc_by(0);
        }
        for kind in ERRORS {
            new.errors.get_or_create(&[("kind", kind.to_owned())]).inc_by(0);
        }
        new
    }
}

fn of(directory: &str) -> Labels<1> {
    [("directory", directory.to_owned())]
}

fn ended(reason: Reason) -> Option<Labels<2>> {
    reason.outcome().map(|outcome| [("outcome", format!("{outcome:?}")), ("reason", reason.to_string())])
}

impl Metrics {
    /// Everything, as Prometheus reads it.
    ///
    /// # Errors
    /// Never, as far as texts go.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Whether this process leads. What only a leader watches is forgotten with the lead: a sum over all processes would count
    /// it twice, and it would stay for ever as it was.
    pub fn leading(&self, leading: bool) {
        self.leader.set(leading.into());
        if !leading {
            self.ready.clear();
            *lock(&self.watched.requests) = None;
            *lock(&self.watched.records) = None;
        }
    }

    /// This machine's clock, as it compares.
    pub fn watch_clock(&self, clock: Clock) {
        *lock(&self.watched.clock) = Some(clock);
    }

    /// The open requests, as they are watched.
    pub fn watch_requests(&self, open: Store<Lean<CredentialReset>>) {
        *lock(&self.watched.requests) = Some(open);
    }

    /// The records that still move, as they are watched.
    pub fn watch_records(&self, open: Store<CredentialResetRecord>) {
        *lock(&self.watched.records) = Some(open);
    }

    /// What a Directory's check found.
    pub fn directory_ready(&self, directory: &str, ready: bool) {
        self.ready.get_or_create(&of(directory)).set(ready.into());
        self.limits.get_or_create(&of(directory)).inc_by(0); // as above
    }

    /// A Directory was deleted.
    pub fn directory_gone(&self, directory: &str) {
        self.ready.remove(&of(directory));
    }

    /// A Directory's limit keeps a request waiting.
    pub fn limit_reached(&self, directory: &str) {
        self.limits.get_or_create(&of(directory)).inc();
    }

    /// A request is where `reason` says.
    pub fn told(&self, reason: Reason) {
        if let Some(labels) = ended(reason) {
            self.requests.get_or_create(&labels).inc();
        }
    }

    /// `calling`, a call to a directory that is about to be made; `class` says what kind of result it has.
    pub fn timed<T>(
        &self,
        directory: &str,
        call: &'static str,
        calling: impl Future<Output = T>,
        class: impl FnOnce(&T) -> &'static str,
    ) -> impl Future<Output = T> {
        let began = tokio::time::Instant::now();
        calling.inspect(move |result| {
            let labels =
                [("directory", directory.to_owned()), ("call", call.to_owned()), ("result", class(result).to_owned())];
            self.calls.get_or_create(&labels).observe(began.elapsed().as_secs_f64());
        })
    }

    /// Something stopped short.
    pub fn failed(&self, kind: &'static str) {
        self.errors.get_or_create(&[("kind", kind.to_owned())]).inc();
    }

    /// A reconcile took this long.
    pub fn reconciled(&self, took: Duration) {
        self.reconcile.observe(took.as_secs_f64());
    }
}

/// The class of a call that ends well or not.
pub(super) fn ok<T, E>(result: &Result<T, E>) -> &'static str {
    if result.is_ok() { "ok" } else { "error" }
}

/// What is watched, most of it by a leader alone. Counted when somebody asks.
#[derive(Debug, Default)]
struct Watched {
    clock: Mutex<Option<Clock>>,
    requests: Mutex<Option<Store<Lean<CredentialReset>>>>,
    records: Mutex<Option<Store<CredentialResetRecord>>>,
}

impl Collector for Watched {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        if let Some(ahead) = lock(&self.clock).as_ref().and_then(Clock::ahead) {
            let help = "How far this process's clock is ahead of the API server's, to about a second";
            let mut gauge = encoder.encode_descriptor("clock_ahead", help, Some(&Unit::Seconds), MetricType::Gauge)?;
            gauge.encode_gauge(&ahead.as_secs())?;
        }
        if let Some(requests) = lock(&self.requests).as_ref() {
            let mut open: HashMap<Reason, (i64, Option<Timestamp>)> = HashMap::new();
            for request in requests.state() {
                let reason = request.shown().reason.unwrap_or(Reason::Pending);
                // It is not late before it was wanted.
                let created = request.creation_timestamp().map_or(request.spec.requested_at, |time| time.0);
                let since = created.max(request.spec.requested_at);
                let (count, oldest) = open.entry(reason).or_default();
                *count += 1;
                *oldest = Some(oldest.map_or(since, |oldest| oldest.min(since)));
            }
            let help = "Requests without an outcome, by the reason that they give";
            let mut gauge = encoder.encode_descriptor("open_requests", help, None, MetricType::Gauge)?;
            for reason in Reason::ALL.into_iter().filter(|reason| reason.outcome().is_none()) {
                let count = open.get(&reason).map_or(0, |(count, _)| *count);
                gauge.encode_family(&[("reason", reason.to_string())])?.encode_gauge(&count)?;
            }
            let help = "Since when the oldest request without an outcome could be carried out";
            let mut gauge = encoder.encode_descriptor(
                "oldest_open_request_timestamp",
                help,
                Some(&Unit::Seconds),
                MetricType::Gauge,
            )?;
            for reason in Reason::ALL {
                if let Some((_, Some(oldest))) = open.get(&reason) {
                    gauge.encode_family(&[("reason", reason.to_string())])?.encode_gauge(&oldest.as_second())?;
                }
            }
        }
        if let Some(records) = lock(&self.records).as_ref() {
            let unknown = records.state().iter().filter(|record| record.spec.state == State::Unknown).count();
            let help = "Records of resets of which nobody knows whether they are in force";
            let mut gauge = encoder.encode_descriptor("unknown_outcomes", help, None, MetricType::Gauge)?;
            gauge.encode_gauge(&i64::try_from(unknown).unwrap_or(i64::MAX))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::{reflector, watcher::Event};
    use serde_json::json;

    use super::*;

    fn request(name: &str, created: &str, requested: &str, reason: &str) -> Lean<CredentialReset> {
        let condition = json!({"type": "Ready", "status": "Unknown", "reason": reason, "message": "", "lastTransitionTime": created});
        serde_json::from_value(json!({
            "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialReset",
            "metadata": {"namespace": "helpdesk", "name": name, "creationTimestamp": created},
            "spec": {"directory": "zylker", "user": {"email": "a@b.c"}, "mode": "MFA", "mfa": {"confirm": "a@b.c"}, "requestedAt": requested, "reason": "x"},
            "status": {"conditions": [condition]},
        }))
        .unwrap()
    }

    fn record(name: &str, state: &str) -> CredentialResetRecord {
        let time = "2026-11-24T09:00:00Z";
        serde_json::from_value(json!({
            "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialResetRecord", "metadata": {"name": name},
            "spec": {
                "directory": "zylker", "directoryIdentity": "x", "user": {"id": "1", "name": "x"}, "mode": "MFA", "requestedAt": time,
                "expiresAt": time, "keepUntil": time, "request": {"namespace": "x", "name": "x", "uid": "x", "key": "x", "digest": "x"},
                "call": {"resetMFA": {}}, "finish": {}, "attempt": {"id": "x", "number": 1, "holder": "x", "startedAt": time, "deadline": time},
                "state": state,
            },
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn what_only_a_leader_knows_goes_with_the_lead() {
        let metrics = Metrics::default();
        metrics.leading(true);
        let (requests, mut requests_seen) = reflector::store();
        let (records, mut records_seen) = reflector::store();
        metrics.watch_requests(requests);
        metrics.watch_records(records);
        for (name, created, requested, reason) in [
            ("old", "2026-11-24T09:00:00Z", "2026-11-24T08:00:00Z", "Verifying"),
            ("new", "2026-11-24T10:00:00Z", "2026-11-24T08:00:00Z", "Verifying"),
            ("ahead", "2026-11-24T09:00:00Z", "2026-11-25T09:00:00Z", "NotYetValid"),
        ] {
            requests_seen.apply_watcher_event(&Event::Apply(request(name, created, requested, reason)));
        }
        for (name, state) in [("one", "Sent"), ("two", "Unknown"), ("three", "Unknown")] {
            records_seen.apply_watcher_event(&Event::Apply(record(name, state)));
        }
        metrics.directory_ready("zylker", true);
        metrics.limit_reached("zylker");
        metrics.told(Reason::Verifying); // no outcome
        metrics.told(Reason::UserNotFound);
        metrics.failed("api");
        assert_eq!(metrics.timed("zylker", "look-up", async { Err::<(), ()>(()) }, ok).await, Err(()));

        let text = metrics.text().unwrap();
        for line in [
            "credreset_leader 1",
            r#"credreset_open_requests{reason="Verifying"} 2"#,
            r#"credreset_open_requests{reason="NotYetValid"} 1"#,
            r#"credreset_open_requests{reason="LimitReached"} 0"#,
            r#"credreset_oldest_open_request_timestamp_seconds{reason="Verifying"} 1795510800"#,
            r#"credreset_oldest_open_request_timestamp_seconds{reason="NotYetValid"} 1795597200"#,
            "credreset_unknown_outcomes 2",
            r#"credreset_directory_ready{directory="zylker"} 1"#,
            r#"credreset_limit_reached_total{directory="zylker"} 1"#,
            r#"credreset_requests_total{outcome="NotApplied",reason="UserNotFound"} 1"#,
            r#"credreset_requests_total{outcome="Unknown",reason="OutcomeUnknown"} 0"#,
            r#"credreset_directory_call_duration_seconds_count{directory="zylker",call="look-up",result="error"} 1"#,
            r#"credreset_errors_total{kind="api"} 1"#,
            r#"credreset_errors_total{kind="watch"} 0"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        metrics.leading(false);
        let text = metrics.text().unwrap();
        assert!(text.contains("credreset_leader 0"), "{text}");
        for gone in ["open_requests", "oldest_open_request_timestamp_seconds", "unknown_outcomes", "directory_ready{"] {
            assert!(!text.contains(&format!("credreset_{gone}")), "{gone} in {text}");
        }
        assert!(text.contains("credreset_requests_total{outcome=\"NotApplied\",reason=\"UserNotFound\"} 1"), "{text}");
    }
}
