//! Leader election on a `coordination.k8s.io/v1` Lease, after client-go's algorithm.
//!
//! 1. Every write carries the resourceVersion that was read: a lost race is a 409, never a second leader.
//! 2. Another holder's lease is judged by how long this process has watched it unchanged, on the monotonic clock; never by
//!    comparing its time with ours.
//! 3. The leader stops leading `renew_deadline` after the start of its last successful write, before any other may take
//!    over, whether or not a call hangs, the process was paused, or the machine slept: by the monotonic clock and by that of the
//!    day, of which either may stand still or be set meanwhile.
//! 4. Nobody leads whose clock of the day is wrong by the API server's.
//! 5. `leaseTransitions` grows with every term.
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
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

/// How a lease is held.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the Lease.
    pub name: String,
    /// Who holds it.
    pub identity: String,
    /// Others wait this long after the last renewal they saw.
    pub lease_duration: Duration,
    /// The holder gives up this long after the start of its last renewal.
    pub renew_deadline: Duration,
    /// Between two renewals, and the limit of one call.
    pub retry_period: Duration,
}

impl Config {
    /// client-go's defaults: 15 s, 10 s, 2 s.
    pub fn new(name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// Leadership of one term.
#[derive(Clone, Debug)]
pub struct Leadership {
    /// Grows with every term.
    pub epoch: i32,
    /// Fires when the term ends.
    pub lost: CancellationToken,
    /// Lets the lease go once the work has stopped.
    pub release: CancellationToken,
    /// The start of the last renewal.
    renewed: Arc<Mutex<Moment>>,
    /// For so long after it.
    deadline: Duration,
}

impl Leadership {
    /// Whether this process leads right now. Also right in a process that was paused, or whose machine slept, and that has just
    /// woken up, before any of its timers ran. Once it does not, the term is over: what was left undone is for the next.
    #[must_use]
    pub fn held(&self) -> bool {
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
    #[error("the call took too long")]
    Timeout,
    #[error("the lease is held by {0}")]
    Taken(String),
    #[error("{0}")]
    Clock(String),
}

/// resourceVersion and holder.
type Seen = (Option<String>, Option<String>);

/// A candidate.
#[derive(Debug)]
pub struct Elector {
    api: Api<Lease>,
    config: Config,
    clock: Clock,
    /// The lease as last seen, and since when.
    seen: Option<(Seen, Instant)>,
}

impl Elector {
    /// A candidate for the Lease in `api`'s namespace. The client of `api` should not retry by itself, and `clock` must watch its
    /// answers.
    #[must_use]
    pub fn new(api: Api<Lease>, config: Config, clock: Clock) -> Self {
        Self { api, config, clock, seen: None }
    }

    /// Waits until this process leads; the lease is then renewed in a task until it is released or lost. `None`: `stop` came
    /// first.
    pub async fn acquire(mut self, stop: CancellationToken) -> Option<(Leadership, JoinHandle<()>)> {
        let mut told = false;
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
                    tracing::info!(identity = self.config.identity, epoch = leadership.epoch, "leading");
                    let renewal = tokio::spawn(self.hold(lease, started, leadership.clone()));
                    return Some((leadership, renewal));
                }
                Err(error @ Error::Clock(_)) if !told => {
                    told = true;
                    tracing::warn!(error = %error, "not leading");
                }
                Err(error) => tracing::debug!(error = %error, "not leading"),
            }
            // Half of a renewal's, so that a lease that is let go of does not lie for long. Candidates that started together should not
            // stay in step.
            let pause = self.config.retry_period.mul_f64(rand::random_range(0.5..0.6));
            tokio::select! {
                () = stop.cancelled() => return None,
                () = sleep(pause) => {}
            }
        }
    }

    async fn hold(self, mut lease: Lease, mut renewed: Moment, leadership: Leadership) {
        let _lost = leadership.lost.clone().drop_guard(); // also on a panic
        loop {
            tokio::select! {
                biased;
                () = leadership.release.cancelled() => break,
                () = leadership.lost.cancelled() => {
                    tracing::warn!("this machine slept, or its clock was set: no longer leading");
                    break;
                }
                () = sleep_until(renewed.monotonic + self.config.renew_deadline) => {
                    tracing::warn!("the lease could not be renewed in time: no longer leading");
                    return;
                }
                (started, result) = async {
                    sleep(self.config.retry_period).await;
                    let started = Moment::now();
                    (started, self.renew(&lease).await)
                } => match (result, self.right_time()) {
                    (_, Err(error)) => {
                        tracing::warn!(error = %error, "no longer leading");
                        break;
                    }
                    // Others may have waited long enough, and what this process waits for is late.
                    _ if !leadership.held() => {}
                    (Ok(now), _) => {
                        lease = now;
                        renewed = started;
                        leadership.extend(started);
                    }
                    (Err(Error::Taken(by)), _) => {
                        tracing::warn!(by, "the lease was taken: no longer leading");
                        return;
                    }
                    (Err(error), _) => {
                        tracing::warn!(error = %error, "the lease could not be renewed; trying until the deadline");
                    }
                }
            }
        }
        leadership.lost.cancel();
        if let Err(error) = self.release(lease).await {
            tracing::warn!(error = %error, "the lease could not be let go; it will run out by itself");
        }
    }

    async fn call<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
        Ok(timeout(self.config.retry_period, call).await.map_err(|_| Error::Timeout)??)
    }

    fn right_time(&self) -> Result<(), Error> {
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
            None => "the API server's clock is not known: its answers have no header Date".to_owned(),
        }))
    }

    async fn put(&self, lease: &Lease) -> Result<Lease, Error> {
        self.call(self.api.replace(&self.config.name, &PostParams::default(), lease)).await
    }

    /// Renews with what was written last. After a 409 it is read once, to tell a lease that was taken from one that was merely
    /// touched (our own write whose answer was lost, somebody's annotation): only our name and our term are ours.
    async fn renew(&self, mine: &Lease) -> Result<Lease, Error> {
        match self.put(&touched(mine.clone())).await {
            Err(Error::Api(kube::Error::Api(status))) if status.is_conflict() => {}
            Err(Error::Api(kube::Error::Api(status))) if status.is_not_found() => {
                return Err(Error::Taken("nobody: it was deleted".to_owned()));
            }
            other => return other,
        }
        let now = self.call(self.api.get(&self.config.name)).await?;
        let term = |lease: &Lease| lease.spec.as_ref().map(|s| (s.holder_identity.clone(), s.lease_transitions));
        if term(&now) != term(mine) {
            let holder = now.spec.and_then(|s| s.holder_identity).unwrap_or_default();
            return Err(Error::Taken(holder));
        }
        self.put(&touched(now)).await
    }

    /// A new term, always with a new number: also where the lease still names us from an earlier one.
    async fn try_acquire(&mut self) -> Result<Lease, Error> {
        let found = self.call(self.api.get_opt(&self.config.name)).await?;
        self.right_time()?;
        let Some(mut lease) = found else {
            let metadata = ObjectMeta { name: Some(self.config.name.clone()), ..ObjectMeta::default() };
            let new = Lease { metadata, spec: Some(self.term(0)) };
            return self.call(self.api.create(&PostParams::default(), &new)).await;
        };
        let old = lease.spec.take().unwrap_or_default();
        let now = (lease.metadata.resource_version.clone(), old.holder_identity.clone());
        let since = match &self.seen {
            Some((seen, since)) if *seen == now => *since,
            _ => {
                let since = Instant::now();
                self.seen = Some((now, since));
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
        // metadata.resourceVersion is still in it: whoever else tries now loses.
        lease.spec = Some(self.term(old.lease_transitions.unwrap_or(0).saturating_add(1)));
        self.put(&lease).await
    }

    async fn release(&self, mut lease: Lease) -> Result<(), Error> {
        if let Some(spec) = lease.spec.as_mut() {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
        }
        self.put(&touched(lease)).await.map(drop)
    }

    fn term(&self, transitions: i32) -> LeaseSpec {
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

fn touched(mut lease: Lease) -> Lease {
    if let Some(spec) = lease.spec.as_mut() {
        spec.renew_time = Some(MicroTime(Timestamp::now()));
    }
    lease
}
