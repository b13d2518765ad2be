//! Time that counts only where clocks agree. A machine has two clocks: the monotonic one stops while the
//! machine sleeps, and the wall clock can be set, or wrong from the start. The third clock is the API server's.
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::http::{HeaderMap, Response, header};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use tower::{Service, ServiceExt};

use super::lock;
use crate::core::record::CLOCK_SKEW_MARGIN;

/// How far a wall clock may differ from the API server's. Those of two processes then differ by [`CLOCK_SKEW_MARGIN`] at most, which the ledger
/// allows for.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(CLOCK_SKEW_MARGIN.as_secs() / 2);
/// An answer that took longer gives too imprecise a time.
const MAX_ROUND_TRIP: Duration = Duration::from_secs(10);

/// A moment by both clocks of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// By the clock that stops while the machine sleeps.
    pub monotonic: Instant,
    /// By the clock that can be set.
    pub wall: Timestamp,
}

impl Moment {
    /// The current moment.
    #[must_use]
    pub fn now() -> Self {
        Self { monotonic: Instant::now(), wall: Timestamp::now() }
    }

    /// Whether less than `limit` has passed since this moment by both clocks. `false` if the wall clock was set back before it.
    #[must_use]
    pub fn is_within(self, limit: Duration) -> bool {
        let passed = Duration::try_from(Timestamp::now().duration_since(self.wall));
        self.monotonic.elapsed() < limit && passed.is_ok_and(|passed| passed < limit)
    }
}

/// This machine's wall clock, compared with the API server's. Clones share the comparison.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<Mutex<Option<Comparison>>>);

/// The time in an answer of the API server.
#[derive(Clone, Copy, Debug)]
struct Comparison {
    /// Its header `Date`, cut to whole seconds.
    date: Timestamp,
    /// When the request was sent.
    sent_at: Instant,
    /// When the answer arrived.
    received_at: Instant,
}

impl Comparison {
    /// The earliest and the latest time that it can be now by the API server's clock.
    fn now(self) -> [Timestamp; 2] {
        let since = |then: Instant| SignedDuration::try_from(then.elapsed()).unwrap_or(SignedDuration::MAX);
        [since(self.received_at), since(self.sent_at).saturating_add(SignedDuration::from_secs(1))]
            .map(|passed| self.date.saturating_add(passed).unwrap_or(Timestamp::MAX))
    }
}

impl Clock {
    /// Wraps `service`, and compares the clock with each of its answers.
    pub fn watching<S, R, B>(
        &self,
        service: S,
    ) -> impl Service<R, Response = Response<B>, Error = S::Error, Future: Send> + Send + use<S, R, B>
    where
        S: Service<R, Response = Response<B>, Future: Send> + Send,
    {
        let clock = self.clone();
        service.map_future(move |answer| {
            let (clock, sent_at) = (clock.clone(), Instant::now());
            async move {
                let answer = answer.await?;
                clock.compare(sent_at, answer.headers());
                Ok(answer)
            }
        })
    }

    fn compare(&self, sent_at: Instant, headers: &HeaderMap) {
        let date = headers.get(header::DATE).and_then(|value| value.to_str().ok());
        let date = date.and_then(|text| jiff::fmt::rfc2822::parse(text).ok());
        if let Some(date) = date.filter(|_| sent_at.elapsed() < MAX_ROUND_TRIP) {
            *lock(&self.0) = Some(Comparison { date: date.timestamp(), sent_at, received_at: Instant::now() });
        }
    }

    /// Whether the wall clock is right: it certainly differs from the API server's by half of [`CLOCK_SKEW_MARGIN`] at
    /// most. After the clock was set, or the machine slept, it counts as wrong until it is compared again.
    #[must_use]
    pub fn is_right(&self) -> bool {
        let comparison = *lock(&self.0);
        let Some([earliest, latest]) = comparison.map(Comparison::now) else { return false };
        let now = Timestamp::now();
        latest.duration_since(now) <= CLOCK_TOLERANCE && now.duration_since(earliest) <= CLOCK_TOLERANCE
    }

    /// How far the wall clock is ahead of the API server's; negative: behind. `None`: they were never compared.
    #[must_use]
    pub fn ahead(&self) -> Option<SignedDuration> {
        let comparison = *lock(&self.0);
        comparison.map(|comparison| Timestamp::now().duration_since(comparison.now()[0]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(date: Timestamp) -> HeaderMap {
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&date).unwrap();
        HeaderMap::from_iter([(header::DATE, date.parse().unwrap())])
    }

    /// Virtual time advances only the monotonic clock.
    #[tokio::test(start_paused = true)]
    async fn a_moment_is_young_by_both_clocks() {
        let limit = Duration::from_secs(10);
        let now = Moment::now();
        assert!(now.is_within(limit));
        let slept = Moment { wall: now.wall - SignedDuration::from_secs(11), ..now };
        assert!(!slept.is_within(limit));
        let set_back = Moment { wall: now.wall + SignedDuration::from_secs(11), ..now };
        assert!(!set_back.is_within(limit));
        tokio::time::advance(limit).await;
        assert!(!now.is_within(limit));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_is_right_by_the_api_servers() {
        let clock = Clock::default();
        assert!(!clock.is_right(), "never compared");
        clock.compare(Instant::now(), &HeaderMap::new());
        assert!(!clock.is_right() && clock.ahead().is_none(), "no Date");
        for (ahead, right) in [(-32, false), (-28, true), (0, true), (28, true), (32, false), (300_000_000, false)] {
            let date = Timestamp::now() - SignedDuration::from_secs(ahead);
            clock.compare(Instant::now(), &answer(date));
            assert_eq!(clock.is_right(), right, "{ahead}");
            assert!((ahead..=ahead + 2).contains(&clock.ahead().unwrap().as_secs()), "{ahead}: {:?}", clock.ahead());
        }
        // The monotonic clock advances, the wall clock does not: one of them is wrong until they are compared again.
        clock.compare(Instant::now(), &answer(Timestamp::now()));
        tokio::time::advance(Duration::from_secs(65)).await;
        assert!(!clock.is_right());
        clock.compare(Instant::now(), &answer(Timestamp::now()));
        assert!(clock.is_right());
        let sent_at = Instant::now();
        tokio::time::advance(MAX_ROUND_TRIP).await;
        clock.compare(sent_at, &answer(Timestamp::UNIX_EPOCH));
        assert!(clock.is_right(), "an answer that took too long is ignored");
    }
}
