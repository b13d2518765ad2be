//! Liveness, for `/livez`: when each activity of the process last made progress. The kubelet restarts a process in which one is stuck.
//!
//! An unreachable API server or directory is not a reason for a restart: each retry counts as progress. A new process would not know
//! the replies to the calls of this one.
use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::http::Uri;
use tokio::time::Instant;
use url::form_urlencoded;

use super::lock;

/// Longer than any step of a reconcile or check. The longest is a look-up that pages through a whole organization.
const STEP_TIMEOUT: Duration = Duration::from_secs(20 * 60);
/// Longer than a watch goes without a new request: kube ends one after five minutes, and retries a failed one within a minute.
const WATCH_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Longer than an elector goes without a request: leader and standby read or write the lease every few seconds.
const LEASE_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// The liveness of this process. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Life(Arc<Mutex<Activities>>);

#[derive(Debug, Default)]
struct Activities {
    /// Number of the last work that was started.
    last_work: u64,
    /// When each work, by its number, last made progress. `None`: it waits for other work.
    work: HashMap<u64, Option<Instant>>,
    leading: bool,
    /// When each watch, by path and selectors, was last requested.
    watches: HashMap<String, Instant>,
    /// When the lease was last requested.
    lease: Option<Instant>,
}

/// Work in several steps, until it is dropped.
#[derive(Debug)]
pub struct Work {
    life: Life,
    number: u64,
}

impl Life {
    /// Starts work.
    #[must_use]
    pub fn start_work(&self) -> Work {
        let mut activities = lock(&self.0);
        activities.last_work += 1;
        let number = activities.last_work;
        activities.work.insert(number, Some(Instant::now()));
        Work { life: self.clone(), number }
    }

    /// Sets whether this process is the leader. Only the leader has watches.
    pub fn set_leading(&self, leading: bool) {
        let mut activities = lock(&self.0);
        activities.leading = leading;
        activities.watches.clear();
    }

    /// Takes note of a request to the API server. The list that precedes a watch counts as progress of the watch.
    pub fn note_request(&self, uri: &Uri) {
        let mut activities = lock(&self.0);
        let now = Instant::now();
        if uri.path().contains("/leases/") {
            activities.lease = Some(now);
        }
        let (mut watch, mut key) = (false, uri.path().to_owned());
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            watch |= name == "watch" && value == "true";
            if name.ends_with("Selector") {
                key.extend(["&", &name, "=", &value]);
            }
        }
        if activities.leading && (watch || activities.watches.contains_key(&key)) {
            activities.watches.insert(key, now);
        }
    }

    /// What is stuck, as a sentence. `None`: the process is alive.
    #[must_use]
    pub fn stuck(&self) -> Option<String> {
        let activities = lock(&self.0);
        let oldest = |times: &mut dyn Iterator<Item = Instant>| times.min().map(|time| time.elapsed());
        let all = [
            (
                "the work on a request, a record or a Directory",
                STEP_TIMEOUT,
                oldest(&mut activities.work.values().flatten().copied()),
            ),
            ("a watch at the API server", WATCH_TIMEOUT, oldest(&mut activities.watches.values().copied())),
            ("the leader election", LEASE_TIMEOUT, oldest(&mut activities.lease.into_iter())),
        ];
        all.into_iter().find_map(|(what, limit, idle)| {
            let idle = idle.filter(|idle| *idle > limit)?;
            Some(format!("{what} has made no progress for {} minutes", idle.as_secs() / 60))
        })
    }
}

impl Work {
    /// One step ends and the next begins.
    pub fn progress(&self) {
        self.set(Some(Instant::now()));
    }

    /// Waits for other work, which reports its own progress.
    pub async fn wait_for<T>(&self, other: impl Future<Output = T>) -> T {
        self.set(None);
        let result = other.await;
        self.progress();
        result
    }

    fn set(&self, last_progress: Option<Instant>) {
        lock(&self.life.0).work.insert(self.number, last_progress);
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        lock(&self.life.0).work.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::api::API_VERSION;

    fn stuck(life: &Life) -> String {
        life.stuck().unwrap_or_default()
    }

    #[tokio::test(start_paused = true)]
    async fn work_makes_progress_or_is_stuck() {
        let life = Life::default();
        let (first, second) = (life.start_work(), life.start_work());
        for _ in 0..9 {
            advance(STEP_TIMEOUT).await;
            assert_eq!(stuck(&life), "");
            first.progress();
            second.progress();
        }
        // One waits for the other, which has a time of its own.
        let waiting = second.wait_for(advance(STEP_TIMEOUT * 2));
        first.progress();
        waiting.await;
        assert_eq!(stuck(&life), "the work on a request, a record or a Directory has made no progress for 40 minutes");
        drop(first);
        assert_eq!(stuck(&life), "");
        advance(STEP_TIMEOUT * 2).await;
        assert!(stuck(&life).ends_with("40 minutes"));
        drop(second);
        assert_eq!(stuck(&life), "");
    }

    #[tokio::test(start_paused = true)]
    async fn each_watch_is_requested_again() {
        let life = Life::default();
        let request = |query: &str| {
            life.note_request(
                &format!("/apis/{API_VERSION}/namespaces/s/credentialresetrecords?{query}").parse().unwrap(),
            );
        };
        // A standby has no watches.
        request("watch=true");
        advance(WATCH_TIMEOUT * 2).await;
        assert_eq!(stuck(&life), "");
        life.set_leading(true);
        request("watch=true&resourceVersion=1&fieldSelector=a%3Db");
        request("labelSelector=x"); // one list that precedes no watch
        for version in 0..9 {
            request(&format!("&watch=true&timeoutSeconds=290&resourceVersion={version}"));
            advance(WATCH_TIMEOUT / 2).await;
            // A list that is read again, page by page.
            request("limit=500&continue=x&fieldSelector=a%3Db");
            assert_eq!(stuck(&life), "");
        }
        advance(WATCH_TIMEOUT).await;
        request("watch=true");
        advance(Duration::from_secs(60)).await;
        assert_eq!(stuck(&life), "a watch at the API server has made no progress for 16 minutes");
        life.set_leading(false);
        assert_eq!(stuck(&life), "");
    }

    #[tokio::test(start_paused = true)]
    async fn leader_and_standby_request_the_lease() {
        let life = Life::default();
        advance(LEASE_TIMEOUT * 2).await;
        assert_eq!(stuck(&life), "", "not before the API server was reached");
        life.note_request(&"/apis/coordination.k8s.io/v1/namespaces/s/leases/credreset?".parse().unwrap());
        advance(LEASE_TIMEOUT).await;
        assert_eq!(stuck(&life), "");
        advance(LEASE_TIMEOUT).await;
        assert_eq!(stuck(&life), "the leader election has made no progress for 10 minutes");
    }
}
