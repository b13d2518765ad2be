//! The record of one approved request, and the only place where its state moves.
//!
//! ```text
//!             create                 proven               steps done
//!   (nothing) ──────▶ Sent ─────────────────▶ Changed ─────────────▶ Applied
//!                     │ ▲ │ │                    ▲                      ▲
//!   nothing took      │ │ │ └──── proven, and nothing is left to do ────┤
//!   effect            ▼ │ │                      │ late evidence        │
//!                 Released │                     │                      │
//!                     │    ├── no proof ──▶ Unknown ────────────────────┘
//!   withdrawn, too    ▼    │                     └─ a newer reset was applied ─▶ Superseded
//!   late          NotApplied ◀── refused
//! ```
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    plan::{self, CleanUp, Once},
    report::Reason,
    request::{Mode, Request, hash, later},
    text,
    world::{Past, Proof, Seen, Settlement},
};

/// How far clocks of two processes may be apart, and how late a request may still arrive, before an attempt of another
/// process counts as over.
pub const MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// The baseline of what was never changed.
pub const NEVER: &str = "never";

/// From the creation of a record to the end of its call there may pass the directory's `requestTimeout` and this.
pub const SLACK: SignedDuration = SignedDuration::from_secs(10);

/// A user as the directory names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub struct UserId {
    /// The directory's own id, which never changes.
    pub id: String,
    /// What people call the user: the e-mail address or the login name, as it may be shown.
    pub name: String,
}

impl UserId {
    /// Of a user whom the directory calls `name`.
    #[must_use]
    pub fn new(id: String, name: &str) -> Self {
        Self { id, name: text::shown(name, text::NAME) }
    }
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum State {
    /// The call was meant to be sent: the intent.
    Sent,
    /// Its holder knows that nothing took effect, and lets go.
    Released,
    /// The change is proven; delivery or other repeatable steps remain.
    Changed,
    /// All is done.
    Applied,
    /// Nothing was changed, and nothing will be.
    NotApplied,
    /// Sent, and no proof either way.
    Unknown,
    /// Its outcome was unknown when a later request for the same user and mode was applied.
    Superseded,
}

impl State {
    /// Nothing will move this record any more.
    #[must_use]
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Applied | Self::NotApplied | Self::Superseded)
    }
}

/// How a change was proven, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Evidence {
    /// The directory answered with a clear success.
    Response,
    /// The same conditional call, sent again, told.
    ConditionalWrite,
    /// The stored password opens the account.
    SignIn,
    /// The directory's change time moved within the attempt's time window.
    Marker,
    /// Somebody has looked and says so.
    Person,
}

/// One try to carry the request out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Random; names the password Secret of this attempt.
    pub id: String,
    /// 1 for the first.
    #[schemars(with = "i32")]
    pub number: u32,
    /// The process that may send.
    pub holder: String,
    /// By the holder's clock.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started_at: Timestamp,
    /// The holder sends nothing after this moment.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub deadline: Timestamp,
    /// The Secret in the operator's namespace that holds the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = text::OBJECT_NAME))]
    pub secret: Option<String>,
    /// What the call found, as it was before: the directory's change time, `never`, or the provider's own condition; absent where
    /// the directory shows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// The call is carried out only if the baseline still holds: it may be sent again, and takes effect once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub conditional: bool,
    /// User names of who approved it, where the rule asks for approvals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub approved_by: Vec<String>,
    /// How many passwords were drawn before this one, and refused by the directory.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(with = "i32")]
    pub redraws: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// The request that a record belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// Namespace of the object.
    #[schemars(length(max = 63), regex(pattern = text::OBJECT_NAME))]
    pub namespace: String,
    /// Name of the object.
    #[schemars(length(max = 253), regex(pattern = text::OBJECT_NAME))]
    pub name: String,
    /// Uid of the object.
    pub uid: String,
    /// Hash of what identifies the manifest: the same one, applied again, has the same.
    pub key: String,
    /// Hash of what is asked for: another one under the same identity is a conflict.
    pub digest: String,
    /// User name of who asked, if the request says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
}

/// What remains to be done once the change is proven. It is in the record, since the object may be gone by then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finish {
    /// Write the password into this Secret of the request's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = text::OBJECT_NAME))]
    pub deliver_to: Option<String>,
    /// End what the call itself does not end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clean_up: Option<CleanUp>,
    /// Send the password to this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail_to: Option<String>,
    /// What lives on whatever the operator does, to be told with the success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remains: Option<String>,
}

/// Why a record is `Released` or `NotApplied`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The reason, as in the object's conditions.
    pub reason: Reason,
    /// The directory's own error code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// The ledger's entry for one request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Derived from the identity: see [`record_name`].
    pub name: String,
    /// Name of the Directory object.
    pub directory: String,
    /// The directory's own identity.
    pub directory_identity: String,
    /// Whose credentials.
    pub user: UserId,
    /// Which.
    pub mode: Mode,
    /// When the human asked.
    pub requested_at: Timestamp,
    /// Nothing is started at or after this moment.
    pub expires_at: Timestamp,
    /// The record is deleted after this moment.
    pub keep_until: Timestamp,
    /// Where it came from.
    pub request: Origin,
    /// The call.
    pub call: Once,
    /// What remains once the change is proven.
    #[serde(default)]
    pub finish: Finish,
    /// The latest attempt.
    pub attempt: Attempt,
    /// The process that sends the conditional call again, since the holder of the attempt leads no more. From then on what the
    /// holder knows of its own call says nothing about the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted_by: Option<String>,
    /// When the holder stopped waiting for an answer to its call, by its clock; none: it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gave_up_at: Option<Timestamp>,
    /// The process that has tried the one sign-in with the attempt's password, or was about to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in_by: Option<String>,
    /// Where it stands.
    pub state: State,
    /// How the change was proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// Why `Released` or `NotApplied`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// `Released`: not tried again before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// What a reader should know besides: what the directory showed, or what could not be delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When the outcome became known, or was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<Timestamp>,
    /// User name of who said how it went, where no evidence told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_by: Option<String>,
}

/// `r-` and the SHA-256 of the identity: the same request under another name, namespace or spelling of the user has the
/// same.
#[must_use]
pub fn record_name(directory_identity: &str, user_id: &str, mode: Mode, requested_at: Timestamp) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    #[allow(clippy::struct_field_names, reason = "the names are the identity's JSON, which must never change")]
    struct Identity<'a> {
        directory_identity: &'a str,
        user_id: &'a str,
        mode: Mode,
        requested_at: Timestamp,
    }
    format!("r-{}", hash(&Identity { directory_identity, user_id, mode, requested_at }))
}

/// Labels all records of a user within a directory.
#[must_use]
pub fn user_key(directory_identity: &str, user_id: &str) -> String {
    hash(&(directory_identity, user_id))[..40].to_owned()
}

/// What the directory's answer to the call amounts to (protocol, section 6).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reply {
    /// A clear success.
    Done,
    /// It never reached the directory.
    NotSent,
    /// The directory wants to be asked later.
    Throttled {
        /// Seconds to wait, if the directory said so.
        after: Option<u32>,
    },
    /// The operator's own credentials or rights were refused, or the call as such.
    Denied {
        /// The directory's error code.
        code: String,
    },
    /// The directory has no such user any more.
    NoSuchUser,
    /// The directory refused this change, in words that are known to mean that nothing was done.
    Rejected {
        /// Its error code.
        code: String,
    },
    /// The same, for the password's sake: another may do.
    PasswordRefused {
        /// Its error code.
        code: String,
    },
    /// The condition of a conditional call did not hold: for somebody else's change, or for that of the same call, sent before.
    Conflict,
    /// The condition of a conditional call did not hold, and no other call of the attempt can have been there before it.
    Outdated,
    /// It may have taken effect, or may yet.
    Unsure,
}

impl Record {
    /// The entry for the first attempt at `request`.
    #[must_use]
    pub fn open(
        request: &Request,
        directory: &super::world::Directory,
        user: UserId,
        finish: Finish,
        attempt: Attempt,
    ) -> Self {
        Self {
            name: record_name(&directory.identity, &user.id, request.mode(), request.requested_at),
            directory: request.directory.clone(),
            directory_identity: directory.identity.clone(),
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
            },
            call: plan::once(request, directory, &finish),
            finish,
            attempt,
            adopted_by: None,
            gave_up_at: None,
            sign_in_by: None,
            state: State::Sent,
            evidence: None,
            verdict: None,
            retry_at: None,
            note: None,
            settled_at: None,
            settled_by: None,
        }
    }

    /// A new attempt at a released record.
    #[must_use]
    pub fn take_over(&self, attempt: Attempt) -> Self {
        Self {
            attempt,
            adopted_by: None,
            gave_up_at: None,
            sign_in_by: None,
            state: State::Sent,
            verdict: None,
            retry_at: None,
            ..self.clone()
        }
    }

    /// The holder has given up waiting for the answer, at `at`.
    #[must_use]
    pub fn given_up(&self, at: Option<Timestamp>) -> Self {
        Self { gave_up_at: self.gave_up_at.or(at), ..self.clone() }
    }

    /// `process` is about to try a sign-in with the attempt's password: there will be no other.
    #[must_use]
    pub fn signing_in(&self, process: &str) -> Self {
        Self { sign_in_by: Some(process.to_owned()), ..self.clone() }
    }

    /// `process` sends the conditional call of the attempt again.
    #[must_use]
    pub fn adopted(&self, process: &str) -> Self {
        Self { adopted_by: Some(process.to_owned()), ..self.clone() }
    }

    /// The holder's attempt had no effect; it may be tried again at `retry_at`.
    #[must_use]
    pub fn released(&self, reason: Reason, code: Option<String>, retry_at: Timestamp) -> Self {
        Self {
            state: State::Released,
            verdict: Some(Verdict { reason, code }),
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
            verdict: None,
            note: None,
            settled_at: None,
            ..self.clone()
        }
    }

    /// The change is proven and nothing remains. `note`: what could not be delivered, if so.
    #[must_use]
    pub fn applied(&self, evidence: Evidence, note: Option<String>, now: Timestamp) -> Self {
        Self {
            state: State::Applied,
            evidence: Some(evidence),
            verdict: None,
            note,
            settled_at: Some(now),
            ..self.clone()
        }
    }

    /// Nothing was changed, and nothing will be.
    #[must_use]
    pub fn not_applied(&self, reason: Reason, code: Option<String>, now: Timestamp) -> Self {
        Self {
            state: State::NotApplied,
            verdict: Some(Verdict { reason, code }),
            retry_at: None,
            settled_at: Some(now),
            ..self.clone()
        }
    }

    /// Sent, and no proof either way. `note`: what the directory shows.
    #[must_use]
    pub fn unknown(&self, note: String, now: Timestamp) -> Self {
        Self { state: State::Unknown, note: Some(note), settled_at: Some(now), ..self.clone() }
    }

    /// The directory refused the call with `code`, and that nothing was changed is in doubt. `note`: what the directory shows.
    #[must_use]
    pub fn doubted(&self, code: String, note: String, now: Timestamp) -> Self {
        let verdict = Some(Verdict { reason: Reason::Rejected, code: Some(code) });
        Self { verdict, ..self.unknown(note, now) }
    }

    /// The code with which the directory refused the call of an attempt whose outcome is in doubt for all that.
    #[must_use]
    pub fn doubted_refusal(&self) -> Option<&str> {
        let verdict = self.verdict.as_ref().filter(|v| self.state == State::Unknown && v.reason == Reason::Rejected)?;
        verdict.code.as_deref()
    }

    /// Somebody who has looked says how it went: it is in force and to be finished, or nothing was changed.
    #[must_use]
    pub fn said(&self, settlement: &Settlement, now: Timestamp) -> Self {
        let Settlement { applied, by, reason, .. } = settlement;
        let by = Some(by.clone());
        if *applied {
            return Self { settled_by: by, ..self.changed(Evidence::Person) };
        }
        let note = format!(
            "{} has looked and says that nothing was changed: {} File a new request if a reset is still wanted.",
            text::shown(by.as_deref().unwrap_or_default(), text::NAME),
            text::shown(reason, text::NAME),
        );
        Self { settled_by: by, note: Some(note), evidence: None, ..self.not_applied(Reason::Settled, None, now) }
    }

    /// A later request for the same user and mode has been applied.
    #[must_use]
    pub fn superseded(&self, now: Timestamp) -> Self {
        Self { state: State::Superseded, settled_at: Some(now), ..self.clone() }
    }

    /// Whether its writer makes the record again where somebody has deleted it: what happened must stay on record until its
    /// time has passed. That nothing has happened the holder of a conditional attempt cannot say, since the deleted record may
    /// have been adopted: then it is a first start, and the gates see what has changed.
    #[must_use]
    pub fn is_made_again(&self) -> bool {
        !(self.attempt.conditional && matches!(self.state, State::Released | State::NotApplied))
    }

    /// Whether the password of the attempt may be in force and has not reached anybody yet.
    #[must_use]
    pub fn needs_password(&self) -> bool {
        match self.state {
            State::Sent | State::Changed | State::Unknown => true,
            // It could not be delivered.
            State::Applied => self.note.is_some(),
            State::Released | State::NotApplied | State::Superseded => false,
        }
    }

    /// What `changed`, the time of the last change as the directory shows it at `now`, tells of the attempt. A change before or
    /// after its time is somebody else's, and without a time from before the call nothing can be compared.
    #[must_use]
    pub fn marker(&self, changed: &Seen<Timestamp>, now: Timestamp) -> Proof {
        let (mode, now) = (self.mode, now.strftime("%H:%M"));
        let earliest = self.attempt.started_at.saturating_sub(MARGIN).unwrap_or(Timestamp::MIN);
        match (changed, self.attempt.baseline.as_deref()) {
            (Seen::Known(at), Some(before)) if at.to_string() == before => {
                Proof::Nothing(format!("The directory shows the {mode} unchanged since {at}, as of {now} UTC."))
            }
            (Seen::Known(at), Some(_)) if *at >= earliest && *at <= self.over() => Proof::Proven(Evidence::Marker),
            (Seen::Known(at), _) => Proof::Changed(format!(
                "The directory shows the {mode} as last changed at {at}, which does not tell whether this call did it, as of {now} UTC."
            )),
            (Seen::Absent, _) => {
                Proof::Nothing(format!("The directory shows the {mode} as never changed, as of {now} UTC."))
            }
            (Seen::Unread | Seen::Unknown(_), _) => {
                Proof::Nothing("The directory shows no time of the last change.".to_owned())
            }
        }
    }

    /// The record in short.
    #[must_use]
    pub fn past(&self) -> Arc<Past> {
        Arc::new(Past {
            record: self.name.clone(),
            directory_identity: self.directory_identity.clone(),
            user: self.user.id.clone(),
            mode: self.mode,
            state: self.state,
            started_at: self.attempt.started_at,
            over: self.over(),
        })
    }

    /// When the attempt is over for everybody: its own process sends nothing after its deadline, and what is under way
    /// has arrived.
    #[must_use]
    pub fn over(&self) -> Timestamp {
        later(self.attempt.deadline, MARGIN)
    }
}
