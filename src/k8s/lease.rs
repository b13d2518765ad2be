//! Leader election on a `coordination.k8s.io/v1` Lease, after client-go's algorithm: of several processes one at a time is the leader.
//!
//! 1. Every write carries the resourceVersion that was read: a lost race is a 409, never a second leader.
//! 2. A process decides that another holder's lease has expired by how long it has seen the lease unchanged, on its monotonic clock. It
//!    never compares the time in the lease with its own.
//! 3. The leader steps down `renew_deadline` after the start of its last successful write, before another may take over, even if a call
//!    hangs, the process was paused, or the machine slept. Both the monotonic clock and the wall clock count, since the one may stop and
//!    the other be set.
//! 4. A process whose wall clock differs too much from the API server's is not the leader.
//! 5. `leaseTransitions` grows with every term.
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, api::PostParams, core::ObjectMeta};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    clock::{Clock, Moment},
    lock,
};

/// Name of the Lease.
pub const NAME: &str = "credreset";
/// Annotation of the Lease: for how many days the operator keeps records after nothing else needs them.
pub const KEEP_RECORDS: &str = "credreset.dev/keep-records";
/// Annotation of the Lease: the operator cannot have deleted a record of a reset that began at or after this time, except by
/// [`KEEP_RECORDS`].
pub const RECORDS_SINCE: &str = "credreset.dev/records-since";

/// The operator keeps every record for at least this long after its attempt began, for its own needs.
pub const KEPT_IN_ANY_CASE: SignedDuration = SignedDuration::from_hours(24);

/// Settings of the election.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the Lease.
    pub name: String,
    /// Name of this process in the Lease.
    pub identity: String,
    /// Other processes take over this long after the last renewal that they saw.
    pub lease_duration: Duration,
    /// The leader steps down this long after the start of its last renewal.
    pub renew_deadline: Duration,
    /// The pause between two renewals, and the limit of one request.
    pub retry_period: Duration,
    /// For how many days the operator keeps records, which the Lease tells its readers.
    pub keep_records: u16,
}

impl Config {
    /// client-go's defaults: 15 s, 10 s, 2 s.
    pub fn new(name: impl Into<String>, identity: impl Into<String>, keep_records: u16) -> Self {
        Self {
            name: name.into(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            keep_records,
        }
    }
}

/// The leadership of one term.
#[derive(Clone, Debug)]
pub struct Leadership {
    /// Grows with every term.
    pub epoch: i32,
    /// Fires when the term ends.
    pub lost: CancellationToken,
    /// To be cancelled when the work of the term has stopped: the lease is then released.
    pub release: CancellationToken,
    /// The start of the last successful renewal.
    renewed: Arc<Mutex<Moment>>,
    /// How long after it the leadership is held.
    deadline: Duration,
}

impl Leadership {
    /// Whether this process is the leader now. It also holds right after a process was paused, or its
    /// machine slept, before any timer has run. Once it is `false` the term has ended.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let held = !self.lost.is_cancelled() && lock(&self.renewed).is_within(self.deadline);
        if !held {
            self.lost.cancel();
        }
        held
    }

    fn extend(&self, renewed: Moment) {
        *lock(&self.renewed) = renewed;
    }
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Api(#[from] kube::Error),
    #[error("the API server did not answer in time")]
    Timeout,
    #[error("the lease is held by {0}")]
    Taken(String),
    #[error("the lease was deleted")]
    Deleted,
    #[error("{0}")]
    Clock(String),
}

/// resourceVersion and holder of a lease.
type Observed = (Option<String>, Option<String>);

/// A candidate for leadership.
#[derive(Debug)]
pub struct Elector {
    api: Api<Lease>,
    config: Config,
    clock: Clock,
    /// The lease as last read, and since when it has been unchanged.
    observed: Option<(Observed, Instant)>,
}

impl Elector {
    /// A candidate for the Lease in the namespace of `api`. The client of `api` should not retry by itself, and its answers must be
    /// watched by `clock`.
    #[must_use]
    pub fn new(api: Api<Lease>, config: Config, clock: Clock) -> Self {
        Self { api, config, clock, observed: None }
    }

    /// Waits until this process is the leader. A task then renews the lease until it is released or lost. `None`: `stop` was cancelled
    /// first.
    pub async fn acquire(mut self, stop: CancellationToken) -> Option<(Leadership, JoinHandle<()>)> {
        let mut warned = false;
        loop {
            let started = Moment::now();
            match self.try_acquire().await {
                Ok(lease) => {
                    let leadership = Leadership {
                        epoch: lease.spec.as_ref().and_then(|s| s.lease_transitions).unwrap_or(0),
                        lost: CancellationToken::new(),
                        release: CancellationToken::new(),
                        renewed: Arc::new(Mutex::new(started)),
                        deadline: self.config.renew_deadline,
                    };
                    tracing::info!(identity = self.config.identity, epoch = leadership.epoch, "became the leader");
                    let renewal = tokio::spawn(self.keep_renewing(lease, started, leadership.clone()));
                    return Some((leadership, renewal));
                }
                Err(error @ Error::Clock(_)) if !warned => {
                    warned = true;
                    tracing::warn!(error = %error, "not the leader");
                }
                Err(error) => tracing::debug!(error = %error, "not the leader"),
            }
            // Half of the pause between renewals, so that a released lease is soon taken. At random, so that
            // candidates that started at the same time do not stay in step.
            let pause = self.config.retry_period.mul_f64(rand::random_range(0.5..0.6));
            tokio::select! {
                () = stop.cancelled() => return None,
                () = sleep(pause) => {}
            }
        }
    }

    async fn keep_renewing(self, mut lease: Lease, mut renewed: Moment, leadership: Leadership) {
        let _lost = leadership.lost.clone().drop_guard(); // also on a panic
        loop {
            tokio::select! {
                biased;
                () = leadership.release.cancelled() => break,
                () = leadership.lost.cancelled() => {
                    tracing::warn!("this machine slept, or its clock was set: no longer the leader");
                    break;
                }
                () = sleep_until(renewed.monotonic + self.config.renew_deadline) => {
                    tracing::warn!("failed to renew the lease in time: no longer the leader");
                    return;
                }
                (started, result) = async {
                    sleep(self.config.retry_period).await;
                    let started = Moment::now();
                    (started, self.renew(&lease).await)
                } => match (result, self.check_clock()) {
                    (_, Err(error)) => {
                        tracing::warn!(error = %error, "no longer the leader");
                        break;
                    }
                    // The renewal came too late: another process may have waited long enough to take over.
                    _ if !leadership.is_held() => {}
                    (Ok(now), _) => {
                        lease = now;
                        renewed = started;
                        leadership.extend(started);
                    }
                    (Err(error @ (Error::Taken(_) | Error::Deleted)), _) => {
                        tracing::warn!(error = %error, "no longer the leader");
                        return;
                    }
                    (Err(error), _) => {
                        tracing::warn!(error = %error, "failed to renew the lease; retrying until the deadline");
                    }
                }
            }
        }
        leadership.lost.cancel();
        if let Err(error) = self.release(lease).await {
            tracing::warn!(error = %error, "failed to release the lease; it will expire");
        }
    }

    async fn call<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
        Ok(timeout(self.config.retry_period, call).await.map_err(|_| Error::Timeout)??)
    }

    fn check_clock(&self) -> Result<(), Error> {
        if self.clock.is_right() {
            return Ok(());
        }
        Err(Error::Clock(match self.clock.ahead() {
            Some(ahead) if ahead.is_negative() => {
                format!("this machine's clock is {} s behind the API server's clock: set it", ahead.as_secs().abs())
            }
            Some(ahead) => {
                format!("this machine's clock is {} s ahead of the API server's clock: set it", ahead.as_secs())
            }
            None => "the API server's time is not known: its answers have no header Date".to_owned(),
        }))
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, Error> {
        self.call(self.api.replace(&self.config.name, &PostParams::default(), lease)).await
    }

    /// Renews the lease as last written. After a 409 it reads the lease once: if holder and term are still this process's,
    /// the lease was not taken, but only changed otherwise, by a write of its own whose answer was lost, or by an annotation.
    async fn renew(&self, mine: &Lease) -> Result<Lease, Error> {
        match self.replace(&with_renew_time(mine.clone())).await {
            Err(Error::Api(kube::Error::Api(status))) if status.is_conflict() => {}
            Err(Error::Api(kube::Error::Api(status))) if status.is_not_found() => {
                return Err(Error::Deleted);
            }
            other => return other,
        }
        let now = self.call(self.api.get(&self.config.name)).await?;
        let term = |lease: &Lease| lease.spec.as_ref().map(|s| (s.holder_identity.clone(), s.lease_transitions));
        if term(&now) != term(mine) {
            let holder = now.spec.and_then(|s| s.holder_identity).unwrap_or_default();
            return Err(Error::Taken(holder));
        }
        self.replace(&with_renew_time(now)).await
    }

    /// Starts a new term, always with a new number, even if the lease still names this process from an earlier term.
    async fn try_acquire(&mut self) -> Result<Lease, Error> {
        let found = self.call(self.api.get_opt(&self.config.name)).await?;
        self.check_clock()?;
        let Some(mut lease) = found else {
            let mut metadata = ObjectMeta { name: Some(self.config.name.clone()), ..ObjectMeta::default() };
            announce(&mut metadata, self.config.keep_records, Timestamp::now());
            let new = Lease { metadata, spec: Some(self.new_spec(0)) };
            return self.call(self.api.create(&PostParams::default(), &new)).await;
        };
        let old = lease.spec.take().unwrap_or_default();
        let now = (lease.metadata.resource_version.clone(), old.holder_identity.clone());
        let since = match &self.observed {
            Some((observed, since)) if *observed == now => *since,
            _ => {
                let since = Instant::now();
                self.observed = Some((now, since));
                since
            }
        };
        if let Some(holder) = old.holder_identity.filter(|holder| !holder.is_empty() && *holder != self.config.identity)
        {
            let seconds = u64::try_from(old.lease_duration_seconds.unwrap_or(0)).unwrap_or(0).max(1);
            if since.elapsed() < Duration::from_secs(seconds) {
                return Err(Error::Taken(holder));
            }
        }
        // With metadata.resourceVersion as read: if several processes try, one succeeds.
        announce(&mut lease.metadata, self.config.keep_records, Timestamp::now());
        lease.spec = Some(self.new_spec(old.lease_transitions.unwrap_or(0).saturating_add(1)));
        self.replace(&lease).await
    }

    async fn release(&self, mut lease: Lease) -> Result<(), Error> {
        if let Some(spec) = lease.spec.as_mut() {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
        }
        self.replace(&with_renew_time(lease)).await.map(drop)
    }

    fn new_spec(&self, transitions: i32) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.config.identity.clone()),
            lease_duration_seconds: i32::try_from(self.config.lease_duration.as_secs()).ok(),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

/// What the annotations of a Lease say: for how many days records are kept, and since when none can be missing for another reason.
#[must_use]
pub fn announced(metadata: &ObjectMeta) -> Option<(u16, Timestamp)> {
    let annotations = metadata.annotations.as_ref()?;
    Some((annotations.get(KEEP_RECORDS)?.parse().ok()?, annotations.get(RECORDS_SINCE)?.parse().ok()?))
}

/// The time since which every record still exists at `now`.
#[must_use]
pub fn records_since((days, since): (u16, Timestamp), now: Timestamp) -> Timestamp {
    let kept = SignedDuration::from_hours(24 * i64::from(days)).saturating_add(KEPT_IN_ANY_CASE);
    now.saturating_sub(kept).map_or(since, |kept| since.max(kept))
}

/// Writes into the annotations for how many days this process keeps records. A longer time brings no deleted record back.
fn announce(metadata: &mut ObjectMeta, keep_records: u16, now: Timestamp) {
    let since = match announced(metadata) {
        Some((days, since)) if days == keep_records => since,
        Some(before) => records_since(before, now),
        // A new Lease: the records begin now. A Lease of a version that did not say: the records of a day are there in any case.
        None if metadata.uid.is_none() => now,
        None => records_since((0, Timestamp::MIN), now),
    };
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(KEEP_RECORDS.to_owned(), keep_records.to_string());
    annotations.insert(RECORDS_SINCE.to_owned(), format!("{since:.0}"));
}

fn with_renew_time(mut lease: Lease) -> Lease {
    if let Some(spec) = lease.spec.as_mut() {
        spec.renew_time = Some(MicroTime(Timestamp::now()));
    }
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// What a Lease says after operators led that keep records for so many days, each from its time.
    fn led(mut lease: ObjectMeta, terms: &[(u16, &str)]) -> (u16, Timestamp) {
        for (days, began) in terms {
            announce(&mut lease, *days, at(began));
            lease.uid = Some("stored".to_owned());
        }
        announced(&lease).unwrap()
    }

    #[test]
    fn a_lease_says_how_far_back_the_records_go() {
        let new = ObjectMeta::default;
        let installed = "2026-01-01T00:00:00Z";
        let of = |terms: &[(u16, &str)], now: &str| records_since(led(new(), terms), at(now)).to_string();
        // From its installation on; later by the days that it keeps, and the day that it keeps in any case.
        assert_eq!(of(&[(90, installed)], "2026-01-20T00:00:00Z"), installed);
        assert_eq!(of(&[(90, installed)], "2026-06-30T00:00:00Z"), "2026-03-31T00:00:00Z");
        // Another term changes nothing.
        assert_eq!(of(&[(90, installed), (90, "2026-02-01T00:00:00Z")], "2026-03-01T00:00:00Z"), installed);
        // What was deleted stays deleted when more is kept.
        let longer = [(9, installed), (90, "2026-06-11T00:00:00Z")];
        assert_eq!(of(&longer, "2026-06-12T00:00:00Z"), "2026-06-01T00:00:00Z");
        assert_eq!(of(&longer, "2026-12-31T00:00:00Z"), "2026-10-01T00:00:00Z");
        // Less is kept, and then more again.
        let shorter = [(90, installed), (9, "2026-06-01T00:00:00Z"), (90, "2026-06-11T00:00:00Z")];
        assert_eq!(of(&shorter, "2026-06-12T00:00:00Z"), "2026-06-01T00:00:00Z");
    }

    #[test]
    fn a_lease_that_did_not_say_it_promises_a_day() {
        let old = ObjectMeta { uid: Some("stored".to_owned()), ..ObjectMeta::default() };
        assert_eq!(announced(&old), None);
        assert_eq!(led(old, &[(90, "2026-06-02T00:00:00Z")]), (90, at("2026-06-01T00:00:00Z")));
        let odd = |days: &str, since: &str| {
            let annotations = [(KEEP_RECORDS, days), (RECORDS_SINCE, since)];
            let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned()));
            announced(&ObjectMeta { annotations: Some(annotations.into()), ..ObjectMeta::default() })
        };
        for (days, since) in
            [("", ""), ("-1", "2026-06-01T00:00:00Z"), ("99999", "2026-06-01T00:00:00Z"), ("90", "ever")]
        {
            assert_eq!(odd(days, since), None, "{days} {since}");
        }
    }
}
