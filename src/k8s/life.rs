//! Signs of life, for `/livez`: what has to go on, and when it last did. A process in which something stands still is started anew.
//!
//! An API server or a directory that is away is no reason: whoever waits for it tries again, which is a sign of life. A new process
//! would not know what came back of the calls of this one.
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

/// Longer than any single step, of which a look-up that pages through an organization is the longest.
const STEP: Duration = Duration::from_secs(20 * 60);
/// A watch is begun anew after five minutes at the latest, and a failed one within one.
const WATCH: Duration = Duration::from_secs(15 * 60);
/// Whoever leads, or would like to, asks for the lease every few seconds.
const LEASE: Duration = Duration::from_secs(5 * 60);

/// The signs of this process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Life(Arc<Mutex<Signs>>);

#[derive(Debug, Default)]
struct Signs {
    begun: u64,
    /// Work by its number: when it last went on. `None`: it waits for other work.
    work: HashMap<u64, Option<Instant>>,
    leads: bool,
    /// Watches by path and selectors: when they were last asked for.
    watches: HashMap<String, Instant>,
    lease: Option<Instant>,
}

/// Work of several steps, until it is dropped.
#[derive(Debug)]
pub struct Work {
    life: Life,
    number: u64,
}

impl Life {
    /// Work begins.
    #[must_use]
    pub fn work(&self) -> Work {
        let mut signs = lock(&self.0);
        signs.begun += 1;
        let number = signs.begun;
        signs.work.insert(number, Some(Instant::now()));
        Work { life: self.clone(), number }
    }

    /// Whether this process leads: nobody else watches anything.
    pub fn leads(&self, leads: bool) {
        let mut signs = lock(&self.0);
        signs.leads = leads;
        signs.watches.clear();
    }

    /// Something is asked of the API server. A list goes before its watch.
    pub fn asks(&self, uri: &Uri) {
        let mut signs = lock(&self.0);
        let now = Instant::now();
        if uri.path().contains("/leases/") {
            signs.lease = Some(now);
        }
        let (mut watch, mut key) = (false, uri.path().to_owned());
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            watch |= name == "watch" && value == "true";
            if name.ends_with("Selector") {
                key.extend(["&", &name, "=", &value]);
            }
        }
        if signs.leads && (watch || signs.watches.contains_key(&key)) {
            signs.watches.insert(key, now);
        }
    }

    /// What stands still, as a sentence.
    #[must_use]
    pub fn stands_still(&self) -> Option<String> {
        let signs = lock(&self.0);
        let oldest = |times: &mut dyn Iterator<Item = Instant>| times.min().map(|time| time.elapsed());
        let all = [
            (
                "the work on a request, a record or a Directory",
                STEP,
                oldest(&mut signs.work.values().flatten().copied()),
            ),
            ("a watch at the API server", WATCH, oldest(&mut signs.watches.values().copied())),
            ("the leader's election", LEASE, oldest(&mut signs.lease.into_iter())),
        ];
        all.into_iter().find_map(|(what, most, still)| {
            let still = still.filter(|still| *still > most)?;
            Some(format!("{what} has stood still for {} minutes", still.as_secs() / 60))
        })
    }
}

impl Work {
    /// A step ends, and another begins.
    pub fn goes_on(&self) {
        self.at(Some(Instant::now()));
    }

    /// Waits for other work, which has its own signs.
    pub async fn waits<T>(&self, other: impl Future<Output = T>) -> T {
        self.at(None);
        let done = other.await;
        self.goes_on();
        done
    }

    fn at(&self, at: Option<Instant>) {
        lock(&self.life.0).work.insert(self.number, at);
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

    const RECORDS: &str = "/apis/credreset.dev/v1alpha1/namespaces/s/credentialresetrecords";

    fn still(life: &Life) -> String {
        life.stands_still().unwrap_or_default()
    }

    #[tokio::test(start_paused = true)]
    async fn work_goes_on_or_stands_still() {
        let life = Life::default();
        let (first, second) = (life.work(), life.work());
        for _ in 0..9 {
            advance(STEP).await;
            assert_eq!(still(&life), "");
            first.goes_on();
            second.goes_on();
        }
        // One waits for the other, which has its own time.
        let waiting = second.waits(advance(STEP * 2));
        first.goes_on();
        waiting.await;
        assert_eq!(still(&life), "the work on a request, a record or a Directory has stood still for 40 minutes");
        drop(first);
        assert_eq!(still(&life), "");
        advance(STEP * 2).await;
        assert!(still(&life).ends_with("40 minutes"));
        drop(second);
        assert_eq!(still(&life), "");
    }

    #[tokio::test(start_paused = true)]
    async fn each_watch_is_asked_for_again() {
        let life = Life::default();
        let asks = |query: &str| life.asks(&format!("{RECORDS}?{query}").parse().unwrap());
        // A standby watches nothing.
        asks("watch=true");
        advance(WATCH * 2).await;
        assert_eq!(still(&life), "");
        life.leads(true);
        asks("watch=true&resourceVersion=1&fieldSelector=a%3Db");
        asks("labelSelector=x"); // one list, which is no watch
        for version in 0..9 {
            asks(&format!("&watch=true&timeoutSeconds=290&resourceVersion={version}"));
            advance(WATCH / 2).await;
            // A list that is read anew, page by page.
            asks("limit=500&continue=x&fieldSelector=a%3Db");
            assert_eq!(still(&life), "");
        }
        advance(WATCH).await;
        asks("watch=true");
        advance(Duration::from_secs(60)).await;
        assert_eq!(still(&life), "a watch at the API server has stood still for 16 minutes");
        life.leads(false);
        assert_eq!(still(&life), "");
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_asks_for_the_lease() {
        let life = Life::default();
        advance(LEASE * 2).await;
        assert_eq!(still(&life), "", "not before the API server was reached");
        life.asks(&"/apis/coordination.k8s.io/v1/namespaces/s/leases/credreset?".parse().unwrap());
        advance(LEASE).await;
        assert_eq!(still(&life), "");
        advance(LEASE).await;
        assert_eq!(still(&life), "the leader's election has stood still for 10 minutes");
    }
}
