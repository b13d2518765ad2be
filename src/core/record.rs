//! The record of one request: its states, and the data that the ledger stores. Renaming a field here changes stored objects.
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
    call::{Call, FollowUp},
    reason::Reason,
    request::{Mode, hash, later},
    text,
    user::UserId,
};

/// How far the clocks of two processes may differ, and how late a request may still arrive, before another process's attempt counts as
/// over.
pub const CLOCK_SKEW_MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// The longest time that a look-up takes: what it shows of the user is at most this old when the attempt begins.
pub const MAX_LOOK_UP: SignedDuration = SignedDuration::from_mins(15);

/// The time from the creation of a record to the end of its call, in addition to the directory's `requestTimeout`.
pub const CALL_SLACK: SignedDuration = SignedDuration::from_secs(10);

/// How many passwords the operator generates for a request if the directory refuses them. By chance another one may satisfy a policy,
/// but not every policy.
pub const MAX_GENERATED_PASSWORDS: u32 = 10;

/// The state of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum State {
    /// The call was sent, or is about to be: the intent.
    Sent,
    /// Its holder knows that nothing took effect. Another attempt may follow.
    Released,
    /// The change is proven; delivery or other repeatable steps remain.
    Changed,
    /// The change is in force and the follow-up is finished.
    Applied,
    /// Nothing was changed, and nothing will be.
    NotApplied,
    /// The call was sent, and there is no proof either way.
    Unknown,
    /// Its outcome was unknown when a later request for the same user and mode was applied.
    Superseded,
}

impl State {
    /// Whether the state is final.
    #[must_use]
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Applied | Self::NotApplied | Self::Superseded)
    }
}

/// How a change was proven, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Evidence {
    /// The directory replied with a clear success.
    Response,
    /// The reply to the same conditional call, sent again.
    ConditionalWrite,
    /// A sign-in with the stored password.
    SignIn,
    /// What the directory shows changed within the attempt's time window: the change time, or whether MFA is on.
    Marker,
    /// The statement of a person: a settlement.
    Person,
}

/// One try to carry a record out.
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
    /// When it began, by the holder's clock.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started_at: Timestamp,
    /// The holder sends nothing after this moment.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub deadline: Timestamp,
    /// The Secret in the operator's namespace that holds the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = text::OBJECT_NAME))]
    pub secret: Option<String>,
    /// The baseline, from before the call: the directory's change time, `never`, `on` if the directory shows only that, or the provider's
    /// own precondition. Absent: the directory shows none of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// The call takes effect only if the baseline still holds. It may be sent again, and takes effect once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub conditional: bool,
    /// User names of the approvers, if the rule requires approvals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub approved_by: Vec<String>,
    /// How many passwords the operator generated before this one and the directory refused.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(with = "i32")]
    pub regenerated: u32,
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
    /// Hash of what is requested: another one under the same identity is a conflict.
    pub digest: String,
    /// User name of the requester, if the request names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
    /// User name of who created the object, where the API server has put it into annotation `credreset.dev/filed-by`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub filed_by: Option<String>,
    /// The reason in the requester's words, with control characters escaped. Absent in records of versions that did not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub reason: Option<String>,
}

/// Why a record is `Released` or `NotApplied`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
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
    /// The user whose credentials are reset.
    pub user: UserId,
    /// Which credentials are reset.
    pub mode: Mode,
    /// When the reset was requested.
    pub requested_at: Timestamp,
    /// Nothing is started at or after this moment.
    pub expires_at: Timestamp,
    /// The record is deleted after this moment.
    pub keep_until: Timestamp,
    /// The request that it belongs to.
    pub request: Origin,
    /// The call.
    pub call: Call,
    /// The follow-up once the change is proven.
    #[serde(default, rename = "finish")]
    pub follow_up: FollowUp,
    /// The latest attempt.
    pub attempt: Attempt,
    /// The process that sends the conditional call again, since the holder of the attempt is no longer the leader. From then on the
    /// holder's knowledge of its own call shows nothing about the other calls.
    #[serde(default, rename = "adoptedBy", skip_serializing_if = "Option::is_none")]
    pub repeated_by: Option<String>,
    /// When the holder stopped waiting for the reply to its call, by its clock. `None`: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gave_up_at: Option<Timestamp>,
    /// The process that tried the one sign-in with the attempt's password, or was about to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in_by: Option<String>,
    /// Its state.
    pub state: State,
    /// How the change was proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// Why `Released` or `NotApplied`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// `Released`: not tried again before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// Further information for readers: what the directory showed, or what could not be delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// `Applied`: the password could not be delivered, and is kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undelivered: bool,
    /// When the outcome became known, or the operator gave up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<Timestamp>,
    /// User name of the person who settled the outcome, where no evidence determined it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_by: Option<String>,
}

/// The name of a record: `r-` and the SHA-256 of the identity. The same request under another name, namespace or spelling of the user has
/// the same record name.
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

/// The value of the label that all records of a user within a directory share.
#[must_use]
pub fn user_key(directory_identity: &str, user_id: &str) -> String {
    hash(&(directory_identity, user_id))[..40].to_owned()
}

impl Record {
    /// The code with which the directory refused the call, if the outcome is in doubt all the same.
    #[must_use]
    pub fn doubted_refusal(&self) -> Option<&str> {
        let refusal =
            self.refusal.as_ref().filter(|why| self.state == State::Unknown && why.reason == Reason::Rejected)?;
        refusal.code.as_deref()
    }

    /// Whether its writer creates the record again if it was deleted: what happened must stay on record until `keep_until`. The holder
    /// of a conditional attempt does not know that nothing happened, since another process may have repeated the call. The request then
    /// starts anew, and the gates check what has changed.
    #[must_use]
    pub fn recreate_if_deleted(&self) -> bool {
        !(self.attempt.conditional && matches!(self.state, State::Released | State::NotApplied))
    }

    /// Whether the password of the attempt may be in force and is not delivered yet.
    #[must_use]
    pub fn needs_password(&self) -> bool {
        match self.state {
            State::Sent | State::Changed | State::Unknown => true,
            State::Applied => self.undelivered,
            State::Released | State::NotApplied | State::Superseded => false,
        }
    }

    /// The Secret of the request's namespace that is deleted once it has expired, if one was delivered for a limited time.
    #[must_use]
    pub fn expiring_secret(&self) -> Option<&str> {
        let limited = self.state.is_settled() && self.follow_up.expires_after.is_some();
        self.follow_up.deliver_to.as_deref().filter(|_| limited)
    }

    /// The summary of the record.
    #[must_use]
    pub fn summary(&self) -> Arc<RecordSummary> {
        Arc::new(RecordSummary {
            record: self.name.clone(),
            directory_identity: self.directory_identity.clone(),
            user: self.user.id.clone(),
            mode: self.mode,
            state: self.state,
            started_at: self.attempt.started_at,
            cannot_arrive_after: self.cannot_arrive_after(),
        })
    }

    /// The time after which the attempt's call can no longer arrive: its holder sends nothing after the deadline, and what was under way
    /// then has arrived.
    #[must_use]
    pub fn cannot_arrive_after(&self) -> Timestamp {
        later(self.attempt.deadline, CLOCK_SKEW_MARGIN)
    }
}

/// The summary of a record, for limits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordSummary {
    /// Name of the record.
    pub record: String,
    /// The directory's identity.
    pub directory_identity: String,
    /// The user's id.
    pub user: String,
    /// Which credentials it resets.
    pub mode: Mode,
    /// Its state.
    pub state: State,
    /// When its latest attempt began.
    pub started_at: Timestamp,
    /// The time after which the call of its latest attempt can no longer arrive.
    pub cannot_arrive_after: Timestamp,
}

/// A person's statement of the outcome, where no evidence determines it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settlement {
    /// Name of the object.
    pub name: String,
    /// The Directory for which admission has checked that the person may settle.
    pub directory: String,
    /// Whether the change is in force.
    pub applied: bool,
    /// User name of the person: admission has compared it with the caller.
    pub by: String,
    /// How the person knows.
    pub reason: String,
    /// When it was created, by the API server's clock, in whole seconds.
    pub created: Timestamp,
    /// Created when perhaps no admission policy compared the person with the caller.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unguarded: bool,
}

impl Settlement {
    /// Why it does not count for `record`; words that complete "NAME is".
    pub(super) fn fault(&self, record: &Record) -> Option<&'static str> {
        let before = |at: Timestamp| self.created.as_second() < at.as_second();
        if self.unguarded {
            Some("older than the admission policy (to be settled again)")
        } else if self.directory != record.directory {
            Some("for another Directory")
        } else if record.settled_at.is_some_and(before) {
            Some("older than the outcome (to be settled again)")
        } else {
            None
        }
    }
}
