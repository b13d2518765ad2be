//! The transitions of a record: the only place where its state changes.
use jiff::Timestamp;

use super::{
    call::Actions,
    reason::Reason,
    record::{Attempt, Evidence, Origin, Record, Refusal, Settlement, State, record_name},
    request::Request,
    text,
    user::UserId,
};

impl Record {
    /// The record of the first attempt at `request`.
    #[must_use]
    pub fn open(request: &Request, directory_identity: String, user: UserId, plan: Actions, attempt: Attempt) -> Self {
        Self {
            name: record_name(&directory_identity, &user.id, request.mode(), request.requested_at),
            directory: request.directory.clone(),
            directory_identity,
            user,
            mode: request.mode(),
            requested_at: request.requested_at,
            expires_at: request.deadline(),
            keep_until: request.keep_until(),
            request: Origin {
                namespace: request.namespace.clone(),
                name: request.name.clone(),
                uid: request.uid.clone(),
                key: request.key(),
                digest: request.digest(),
                requested_by: request.requested_by.clone(),
                filed_by: request.filed_by.as_deref().map(|by| text::printable(by, text::MESSAGE)),
                reason: Some(text::printable(&request.reason, text::MESSAGE)),
            },
            call: plan.call,
            follow_up: plan.follow_up,
            attempt,
            repeated_by: None,
            gave_up_at: None,
            sign_in_by: None,
            state: State::Sent,
            evidence: None,
            refusal: None,
            retry_at: None,
            note: None,
            undelivered: false,
            settled_at: None,
            settled_by: None,
        }
    }

    /// A new attempt at a released record.
    #[must_use]
    pub fn take_over(&self, attempt: Attempt) -> Self {
        Self {
            attempt,
            repeated_by: None,
            gave_up_at: None,
            sign_in_by: None,
            state: State::Sent,
            refusal: None,
            retry_at: None,
            ..self.clone()
        }
    }

    /// The holder has given up waiting for the reply, at `at`.
    #[must_use]
    pub fn call_abandoned_at(&self, at: Option<Timestamp>) -> Self {
        Self { gave_up_at: self.gave_up_at.or(at), ..self.clone() }
    }

    /// `process` is about to try the one sign-in with the attempt's password.
    #[must_use]
    pub fn sign_in_announced(&self, process: &str) -> Self {
        Self { sign_in_by: Some(process.to_owned()), ..self.clone() }
    }

    /// `process` sends the conditional call of the attempt again.
    #[must_use]
    pub fn taken_over_for_repeat(&self, process: &str) -> Self {
        Self { repeated_by: Some(process.to_owned()), ..self.clone() }
    }

    /// The holder's attempt had no effect; it may be tried again at `retry_at`.
    #[must_use]
    pub fn released(&self, reason: Reason, code: Option<String>, retry_at: Timestamp) -> Self {
        Self {
            state: State::Released,
            refusal: Some(Refusal { reason, code }),
            retry_at: Some(retry_at),
            ..self.clone()
        }
    }

    /// The change is proven.
    #[must_use]
    pub fn changed(&self, evidence: Evidence) -> Self {
        Self {
            state: State::Changed,
            evidence: Some(evidence),
            refusal: None,
            note: None,
            settled_at: None,
            ..self.clone()
        }
    }

    /// The change is proven and the follow-up is finished. `note`: what could not be done. `undelivered`: the password was not delivered.
    #[must_use]
    pub fn applied(&self, evidence: Evidence, note: Option<String>, undelivered: bool, now: Timestamp) -> Self {
        Self {
            state: State::Applied,
            evidence: Some(evidence),
            refusal: None,
            note,
            undelivered,
            settled_at: Some(now),
            ..self.clone()
        }
    }

    /// Nothing was changed, and nothing will be.
    #[must_use]
    pub fn not_applied(&self, reason: Reason, code: Option<String>, now: Timestamp) -> Self {
        Self {
            state: State::NotApplied,
            refusal: Some(Refusal { reason, code }),
            retry_at: None,
            settled_at: Some(now),
            ..self.clone()
        }
    }

    /// Its request was deleted before anything took effect.
    #[must_use]
    pub fn withdrawn(&self, now: Timestamp) -> Self {
        let note = "The request was withdrawn before anything took effect: nothing was changed. File a new request if a reset is \
            still wanted.";
        Self { note: Some(note.to_owned()), ..self.not_applied(Reason::Expired, None, now) }
    }

    /// The call was sent, and there is no proof either way. `note`: what the directory shows.
    #[must_use]
    pub fn unknown(&self, note: String, now: Timestamp) -> Self {
        Self { state: State::Unknown, note: Some(note), settled_at: Some(now), ..self.clone() }
    }

    /// The directory refused the call with `code`, but it is in doubt that nothing was changed. `note`: what the directory shows.
    #[must_use]
    pub fn doubted(&self, code: String, note: String, now: Timestamp) -> Self {
        let refusal = Some(Refusal { reason: Reason::Rejected, code: Some(code) });
        Self { refusal, ..self.unknown(note, now) }
    }

    /// A person states the outcome: the change is in force and the follow-up is next, or nothing was changed.
    #[must_use]
    pub fn settle(&self, settlement: &Settlement, now: Timestamp) -> Self {
        let Settlement { applied, by, reason, .. } = settlement;
        let by = Some(by.clone());
        if *applied {
            return Self { settled_by: by, ..self.changed(Evidence::Person) };
        }
        let note = format!(
            "{} states that nothing was changed: {} File a new request if a reset is still wanted.",
            text::printable(by.as_deref().unwrap_or_default(), text::NAME),
            text::printable(reason, text::NAME),
        );
        Self { settled_by: by, note: Some(note), evidence: None, ..self.not_applied(Reason::Settled, None, now) }
    }

    /// A later request for the same user and mode has been applied.
    #[must_use]
    pub fn superseded(&self, now: Timestamp) -> Self {
        Self { state: State::Superseded, settled_at: Some(now), ..self.clone() }
    }
}
