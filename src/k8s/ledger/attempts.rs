//! The attempts of this process that are in flight, and the fence before every call. The operator makes a [`Fenced`] only here.
use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
};

use jiff::{SignedDuration, Timestamp};
use tokio::time::{Duration, Instant};

use crate::{
    api::CredentialResetRecord,
    core::{
        call::Reply,
        record::{Attempt, Record, State},
        world::{OwnAttempt, Progress},
    },
    directory::Fenced,
    k8s::{clock::Clock, lease::Leadership, lock},
};

/// How long after its deadline an attempt is forgotten that was never sent and whose record was never seen.
const FORGET_UNSENT_AFTER: Duration = Duration::from_secs(600);

/// What this process alone knows of one of its attempts. It is kept through every failed write, until the record holds it: no
/// other process knows whether the call was sent and what it was answered.
#[derive(Debug)]
struct AttemptInFlight {
    /// On the monotonic clock. Nothing is sent that might end after it, or after the attempt's own deadline on the wall clock.
    deadline: Instant,
    /// The longest that the call may take.
    timeout: Duration,
    sent: bool,
    reply: Option<Reply>,
    replied_at: Option<Timestamp>,
    progress: Progress,
}

/// The attempts of this process, by their ids.
#[derive(Debug)]
pub struct Attempts {
    holder: String,
    clock: Clock,
    in_flight: Mutex<HashMap<String, AttemptInFlight>>,
    /// Attempts whose one sign-in this process has made.
    signed_in: Mutex<HashSet<String>>,
}

impl Attempts {
    /// No attempts, for the process called `holder`.
    pub(super) fn new(holder: &str, clock: Clock) -> Self {
        Self { holder: holder.to_owned(), clock, in_flight: Mutex::default(), signed_in: Mutex::default() }
    }

    /// Adds the attempt of `record`, of which nothing was sent yet and whose call takes `timeout` at most.
    pub(super) fn insert(&self, record: &Record, timeout: Duration) {
        let window = record.attempt.deadline.duration_since(record.attempt.started_at);
        let deadline = Instant::now() + Duration::try_from(window).unwrap_or_default();
        let attempt = AttemptInFlight {
            deadline,
            timeout,
            sent: false,
            reply: None,
            replied_at: None,
            progress: Progress::default(),
        };
        let mut all = lock(&self.in_flight);
        // Attempts whose record was never stored.
        all.retain(|_, attempt| attempt.sent || attempt.deadline + FORGET_UNSENT_AFTER > Instant::now());
        all.insert(record.attempt.id.clone(), attempt);
    }

    /// Removes the attempt of `record`.
    pub(super) fn remove(&self, record: &Record) {
        lock(&self.in_flight).remove(&record.attempt.id);
    }

    /// Whether the attempt of `record` is one of this process in flight.
    #[must_use]
    pub fn contains(&self, record: &Record) -> bool {
        lock(&self.in_flight).contains_key(&record.attempt.id)
    }

    /// What this process knows of the attempt of `record`. `None`: it is not one of this process in flight. `leading`: this process
    /// holds the lease now.
    #[must_use]
    pub fn own(&self, record: &Record, leading: bool) -> Option<(OwnAttempt, Progress)> {
        let all = lock(&self.in_flight);
        let attempt = all.get(&record.attempt.id)?;
        let own = OwnAttempt {
            attempt: record.attempt.id.clone(),
            may_send: leading && can_end_in_time(&record.attempt, attempt.deadline, attempt.timeout) && !attempt.sent,
            // Sent, and this process has lost track of the reply: the same as no reply.
            reply: attempt.reply.clone().or_else(|| attempt.sent.then_some(Reply::Unsure)),
            replied_at: attempt.replied_at,
        };
        Some((own, attempt.progress.clone()))
    }

    /// The right to send the call of the attempt in `object`, once. `None`: the attempt is not this process's own, or the right
    /// was already used.
    #[must_use]
    pub fn fence(&self, object: &CredentialResetRecord, leadership: &Leadership) -> Option<Fenced> {
        let record = object.record();
        let mut all = lock(&self.in_flight);
        let attempt = all.get_mut(&record.attempt.id)?;
        if attempt.sent || record.state != State::Sent || record.attempt.holder != self.holder {
            return None;
        }
        attempt.sent = true;
        let (deadline, timeout) = (attempt.deadline, attempt.timeout);
        let (leadership, attempt, expires) = (leadership.clone(), record.attempt.clone(), record.expires_at);
        let still_valid =
            move || leadership.is_held() && can_end_in_time(&attempt, deadline, timeout) && Timestamp::now() < expires;
        Some(Fenced::by_write(record, still_valid))
    }

    /// Stores the reply to the call of `attempt`.
    pub fn set_reply(&self, attempt: &str, reply: Reply) {
        if let Some(attempt) = lock(&self.in_flight).get_mut(attempt) {
            attempt.reply = Some(reply);
            attempt.replied_at = self.clock.is_right().then(Timestamp::now);
        }
    }

    /// Stores how far the follow-up of `attempt` has come. The next reconcile repeats the steps that failed.
    pub fn set_progress(&self, attempt: &str, progress: &Progress) {
        if let Some(attempt) = lock(&self.in_flight).get_mut(attempt) {
            attempt.progress = progress.lasting();
        }
    }

    /// Whether this process may make the one sign-in of the attempt of `record`: the record names it, and it has not made it yet.
    #[must_use]
    pub fn may_sign_in(&self, record: &Record) -> bool {
        record.sign_in_by.as_ref() == Some(&self.holder) && !lock(&self.signed_in).contains(&record.attempt.id)
    }

    /// Stores whether this process has used the one sign-in of `attempt`. `false` also gives it back when nothing was sent.
    pub fn set_signed_in(&self, attempt: &str, signed_in: bool) {
        let mut all = lock(&self.signed_in);
        if signed_in {
            all.insert(attempt.to_owned());
        } else {
            all.remove(attempt);
        }
    }
}

/// Whether a call that takes `timeout` at most can end before the attempt does. Both clocks of the machine must agree, since one of them
/// stands still while the machine sleeps. The times in `attempt` are by this process's wall clock.
fn can_end_in_time(attempt: &Attempt, deadline: Instant, timeout: Duration) -> bool {
    let now = Timestamp::now();
    let longest = SignedDuration::try_from(timeout).unwrap_or(SignedDuration::MAX);
    Instant::now() + timeout <= deadline && attempt.started_at <= now && attempt.deadline.duration_since(now) >= longest
}
