//! The metrics of `/metrics`. Each label has few values, and none holds text that a requester wrote.
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
    core::{Reason, record::State},
    telemetry,
};

/// Values of the label `kind` of [`Metrics::count_error`].
const ERRORS: [&str; 5] = ["api", "bug", "not_converging", "random", "watch"];

/// Label names with their values.
type Labels<const N: usize> = [(&'static str, String); N];

/// All metrics. Clones share their values.
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
        registry.register("leader", "1 while this process is the leader", new.leader.clone());
        registry.register_collector(Box::new(Arc::clone(&new.watched)));
        registry.register("directory_ready", "1 while the Directory is Ready", new.ready.clone());
        registry.register(
            "limit_reached",
            "Requests that had to wait because the Directory's resetsPerHour was used up",
            new.limits.clone(),
        );
        registry.register(
            "requests",
            "Requests that got an outcome; an Unknown one may get another later",
            new.requests.clone(),
        );
        registry.register_with_unit(
            "directory_call_duration",
            "Duration of calls to a directory, by result",
            Unit::Seconds,
            new.calls.clone(),
        );
        registry.register("errors", "Errors after which the work is retried", new.errors.clone());
        registry.register("panics", "Panics: defects of this program", telemetry::PANICS.clone());
        registry.register_with_unit(
            "reconcile_duration",
            "Duration of reconciles",
            Unit::Seconds,
            new.reconcile.clone(),
        );
        new.registry = Arc::new(registry);
        // increase() does not see the first event of a counter that starts with it.
        for labels in Reason::ALL.into_iter().filter_map(outcome_labels) {
            new.requests.get_or_create(&labels).inc_by(0);
        }
        for kind in ERRORS {
            new.errors.get_or_create(&[("kind", kind.to_owned())]).inc_by(0);
        }
        new
    }
}

fn directory_label(directory: &str) -> Labels<1> {
    [("directory", directory.to_owned())]
}

/// `None`: `reason` is not an outcome.
fn outcome_labels(reason: Reason) -> Option<Labels<2>> {
    reason.outcome().map(|outcome| [("outcome", format!("{outcome:?}")), ("reason", reason.to_string())])
}

impl Metrics {
    /// All metrics in the `OpenMetrics` text format.
    ///
    /// # Errors
    /// Does not occur: writing to a `String` does not fail.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Sets whether this process is the leader. The metrics of what only the leader watches are removed when it steps down: they would no
    /// longer change, and a sum over all processes would count them twice.
    pub fn set_leading(&self, leading: bool) {
        self.leader.set(leading.into());
        if !leading {
            self.ready.clear();
            *lock(&self.watched.requests) = None;
            *lock(&self.watched.records) = None;
        }
    }

    /// Sets the clock to report on.
    pub fn watch_clock(&self, clock: Clock) {
        *lock(&self.watched.clock) = Some(clock);
    }

    /// Sets the watched requests to report on.
    pub fn watch_requests(&self, open: Store<Lean<CredentialReset>>) {
        *lock(&self.watched.requests) = Some(open);
    }

    /// Sets the watched records to report on.
    pub fn watch_records(&self, open: Store<CredentialResetRecord>) {
        *lock(&self.watched.records) = Some(open);
    }

    /// Sets whether a Directory is ready, by its last check.
    pub fn set_directory_ready(&self, directory: &str, ready: bool) {
        self.ready.get_or_create(&directory_label(directory)).set(ready.into());
        self.limits.get_or_create(&directory_label(directory)).inc_by(0); // for increase(), as in `default`
    }

    /// Removes a deleted Directory.
    pub fn remove_directory(&self, directory: &str) {
        self.ready.remove(&directory_label(directory));
    }

    /// Counts a request that waits for a Directory's limit.
    pub fn count_limit_reached(&self, directory: &str) {
        self.limits.get_or_create(&directory_label(directory)).inc();
    }

    /// Counts a request whose reason is now `reason`, if that is an outcome.
    pub fn count_outcome(&self, reason: Reason) {
        if let Some(labels) = outcome_labels(reason) {
            self.requests.get_or_create(&labels).inc();
        }
    }

    /// Wraps `calling`, a call to a directory, to measure its duration from now on. `class` gives the label of its result.
    pub fn timed<T>(
        &self,
        directory: &str,
        call: &'static str,
        calling: impl Future<Output = T>,
        class: impl FnOnce(&T) -> &'static str,
    ) -> impl Future<Output = T> {
        let started = tokio::time::Instant::now();
        calling.inspect(move |result| {
            let labels =
                [("directory", directory.to_owned()), ("call", call.to_owned()), ("result", class(result).to_owned())];
            self.calls.get_or_create(&labels).observe(started.elapsed().as_secs_f64());
        })
    }

    /// Counts an error.
    pub fn count_error(&self, kind: &'static str) {
        self.errors.get_or_create(&[("kind", kind.to_owned())]).inc();
    }

    /// Counts a reconcile and its duration.
    pub fn observe_reconcile(&self, duration: Duration) {
        self.reconcile.observe(duration.as_secs_f64());
    }
}

/// The label of a call's result: `ok` or `error`.
pub(super) fn result_class<T, E>(result: &Result<T, E>) -> &'static str {
    if result.is_ok() { "ok" } else { "error" }
}

/// What is counted when the metrics are read. Requests and records are there while this process is the leader.
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
                let reason = request.status_summary().reason.unwrap_or(Reason::Pending);
                // A request is not late before its requestedAt.
                let created = request.creation_timestamp().map_or(request.spec.requested_at, |time| time.0);
                let since = created.max(request.spec.requested_at);
                let (count, oldest) = open.entry(reason).or_default();
                *count += 1;
                *oldest = Some(oldest.map_or(since, |oldest| oldest.min(since)));
            }
            let help = "Requests without an outcome, by reason";
            let mut gauge = encoder.encode_descriptor("open_requests", help, None, MetricType::Gauge)?;
            for reason in Reason::ALL.into_iter().filter(|reason| reason.outcome().is_none()) {
                let count = open.get(&reason).map_or(0, |(count, _)| *count);
                gauge.encode_family(&[("reason", reason.to_string())])?.encode_gauge(&count)?;
            }
            let help = "Time since which the oldest request without an outcome could have been carried out";
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
            let help = "Records of resets whose outcome is unknown";
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
    use crate::api::API_VERSION;

    fn request(name: &str, created: &str, requested: &str, reason: &str) -> Lean<CredentialReset> {
        let condition = json!({"type": "Ready", "status": "Unknown", "reason": reason, "message": "", "lastTransitionTime": created});
        serde_json::from_value(json!({
            "apiVersion": API_VERSION, "kind": "CredentialReset",
            "metadata": {"namespace": "helpdesk", "name": name, "creationTimestamp": created},
            "spec": {"directory": "zylker", "user": {"email": "a@b.c"}, "mode": "MFA", "mfa": {"confirm": "a@b.c"}, "requestedAt": requested, "reason": "x"},
            "status": {"conditions": [condition]},
        }))
        .unwrap()
    }

    fn record(name: &str, state: &str) -> CredentialResetRecord {
        let time = "2026-11-24T09:00:00Z";
        serde_json::from_value(json!({
            "apiVersion": API_VERSION, "kind": "CredentialResetRecord", "metadata": {"name": name},
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
    async fn what_only_a_leader_watches_ends_with_its_term() {
        let metrics = Metrics::default();
        metrics.set_leading(true);
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
        metrics.set_directory_ready("zylker", true);
        metrics.count_limit_reached("zylker");
        metrics.count_outcome(Reason::Verifying); // no outcome
        metrics.count_outcome(Reason::UserNotFound);
        metrics.count_error("api");
        assert_eq!(metrics.timed("zylker", "look-up", async { Err::<(), ()>(()) }, result_class).await, Err(()));

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
        metrics.set_leading(false);
        let text = metrics.text().unwrap();
        assert!(text.contains("credreset_leader 0"), "{text}");
        for gone in ["open_requests", "oldest_open_request_timestamp_seconds", "unknown_outcomes", "directory_ready{"] {
            assert!(!text.contains(&format!("credreset_{gone}")), "{gone} in {text}");
        }
        assert!(text.contains("credreset_requests_total{outcome=\"NotApplied\",reason=\"UserNotFound\"} 1"), "{text}");
    }
}
