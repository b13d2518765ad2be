//! Time that counts only where clocks agree. A machine has two: one stands still while it sleeps, the other can be set, or is wrong from
//! the start. The third is the API server's.
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::http::{HeaderMap, Response, header};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use tower::{Service, ServiceExt};

use super::lock;
use crate::core::ledger::MARGIN;

/// So far from the API server's a clock of the day may be: those of two processes are then at most [`MARGIN`] apart, which is what the
/// ledger allows for.
const APART: SignedDuration = SignedDuration::from_secs(MARGIN.as_secs() / 2);
/// An answer that was on its way for longer tells too little.
const PROMPT: Duration = Duration::from_secs(10);

/// A moment by both clocks of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Stands still while the machine sleeps.
    pub monotonic: Instant,
    /// Can be set.
    pub day: Timestamp,
}

impl Moment {
    /// This one.
    #[must_use]
    pub fn now() -> Self {
        Self { monotonic: Instant::now(), day: Timestamp::now() }
    }

    /// Whether less than `limit` has passed since then by both clocks. By one that was set back it cannot be told: false.
    #[must_use]
    pub fn is_within(self, limit: Duration) -> bool {
        let passed = Duration::try_from(Timestamp::now().duration_since(self.day));
        self.monotonic.elapsed() < limit && passed.is_ok_and(|passed| passed < limit)
    }
}

/// This machine's clock of the day, compared with the API server's. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<Mutex<Option<Compared>>>);

/// An answer of the API server.
#[derive(Clone, Copy, Debug)]
struct Compared {
    /// Its `Date`, in whole seconds: it was made within the second from then on.
    date: Timestamp,
    asked: Instant,
    answered: Instant,
}

impl Compared {
    /// The earliest and the latest that it can be by the API server's clock.
    fn now(self) -> [Timestamp; 2] {
        let since = |then: Instant| SignedDuration::try_from(then.elapsed()).unwrap_or(SignedDuration::MAX);
        [since(self.answered), since(self.asked).saturating_add(SignedDuration::from_secs(1))]
            .map(|passed| self.date.saturating_add(passed).unwrap_or(Timestamp::MAX))
    }
}

impl Clock {
    /// `service`, of whose answers each is compared with.
    pub fn watching<S, R, B>(
        &self,
        service: S,
    ) -> impl Service<R, Response = Response<B>, Error = S::Error, Future: Send> + Send + use<S, R, B>
    where
        S: Service<R, Response = Response<B>, Future: Send> + Send,
    {
        let clock = self.clone();
        service.map_future(move |answer| {
            let (clock, asked) = (clock.clone(), Instant::now());
            async move {
                let answer = answer.await?;
                clock.compare(asked, answer.headers());
                Ok(answer)
            }
        })
    }

    fn compare(&self, asked: Instant, headers: &HeaderMap) {
        let date = headers.get(header::DATE).and_then(|value| value.to_str().ok());
        let date = date.and_then(|text| jiff::fmt::rfc2822::parse(text).ok());
        if let Some(date) = date.filter(|_| asked.elapsed() < PROMPT) {
            *lock(&self.0) = Some(Compared { date: date.timestamp(), asked, answered: Instant::now() });
        }
    }

    /// Whether the clock of the day may be believed: it is surely within half of [`MARGIN`] of the API server's. One that was set, or a
    /// machine that slept, since they were compared is not believed before they are compared again.
    #[must_use]
    pub fn is_right(&self) -> bool {
        let compared = *lock(&self.0);
        let Some([earliest, latest]) = compared.map(Compared::now) else { return false };
        let now = Timestamp::now();
        latest.duration_since(now) <= APART && now.duration_since(earliest) <= APART
    }

    /// How far the clock of the day is ahead of the API server's, if that is known.
    #[must_use]
    pub fn ahead(&self) -> Option<SignedDuration> {
        let compared = *lock(&self.0);
        compared.map(|compared| Timestamp::now().duration_since(compared.now()[0]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(date: Timestamp) -> HeaderMap {
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&date).unwrap();
        HeaderMap::from_iter([(header::DATE, date.parse().unwrap())])
    }

    /// Virtual time goes on for the monotonic clock alone: as if the clock of the day stood still.
    #[tokio::test(start_paused = true)]
    async fn a_moment_is_young_by_both_clocks() {
        let limit = Duration::from_secs(10);
        let now = Moment::now();
        assert!(now.is_within(limit));
        let slept = Moment { day: now.day - SignedDuration::from_secs(11), ..now };
        assert!(!slept.is_within(limit));
        let set_back = Moment { day: now.day + SignedDuration::from_secs(11), ..now };
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
        // The monotonic clock goes on, that of the day does not: one of them is wrong until they are compared again.
        clock.compare(Instant::now(), &answer(Timestamp::now()));
        tokio::time::advance(Duration::from_secs(65)).await;
        assert!(!clock.is_right());
        clock.compare(Instant::now(), &answer(Timestamp::now()));
        assert!(clock.is_right());
        let asked = Instant::now();
        tokio::time::advance(PROMPT).await;
        clock.compare(asked, &answer(Timestamp::UNIX_EPOCH));
        assert!(clock.is_right(), "by an answer that was long on its way");
    }
}
