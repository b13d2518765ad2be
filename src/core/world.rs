//! The world: all facts of one decision. Facts are never guessed: [`Seen`] says what was not read, or could not be.
use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    approvals::Approval,
    call::Reply,
    directory::DirectoryFacts,
    finding::Finding,
    record::{Record, RecordSummary, Settlement, State},
    request::Request,
    seen::{Seen, is_default},
    user::LookUp,
    view::StatusSummary,
};

/// All facts of one decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct World {
    /// This process's wall clock.
    pub now: Timestamp,
    /// This process, and the id of its next attempt.
    pub process: Process,
    /// What the decision is about.
    pub subject: Subject,
    /// What the cluster and the directory show.
    #[serde(default)]
    pub facts: Facts,
    /// What the ledger shows.
    #[serde(default)]
    pub ledger: Ledger,
    /// What this process itself has done.
    #[serde(default)]
    pub own: Own,
    /// Evidence of a call that got no reply.
    #[serde(default, skip_serializing_if = "is_default")]
    pub evidence: EvidenceFacts,
}

/// What the cluster and the directory show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Facts {
    /// The Directory object and what its last check found.
    pub directory: Seen<DirectoryFacts>,
    /// Labels of the request's namespace.
    pub namespace_labels: Seen<BTreeMap<String, String>>,
    /// The user, as the directory shows it now.
    pub user: Seen<LookUp>,
    /// The Secret that a supplied password comes from.
    pub supplied_password: Seen<SuppliedPassword>,
    /// The Secret that the password is to be delivered to.
    pub delivery: Seen<Delivery>,
    /// When the Secret that exists already was created, by the API server's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<Timestamp>,
    /// Approvals that name this request.
    pub approvals: Seen<Vec<Approval>>,
}

/// What the ledger shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ledger {
    /// The record, found by the request's key, or by its own name once the user is known.
    pub record: Seen<Record>,
    /// When the record was last looked up by the request's key, by this process's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_looked_up_at: Option<Timestamp>,
    /// The record, looked up by its name. Absent: no attempt has begun.
    pub record_by_name: Seen<()>,
    /// Records of the same user that are open, or were started within the last hour.
    pub past: Vec<Arc<RecordSummary>>,
    /// When the attempt began that is number `resetsPerHour` of the Directory, counted back from the latest. `None`: there are fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hourly_limit_reached_at: Option<Timestamp>,
}

/// What this process itself has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Own {
    /// The password Secret that this process has written for its attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_secret: Option<String>,
    /// The attempt that this process itself holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<OwnAttempt>,
    /// The progress of this process with the follow-up.
    pub progress: Progress,
    /// This process may make the one sign-in of the attempt: it has written so into the record, and has not sent it yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub may_sign_in: bool,
}

/// Evidence of a call that got no reply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EvidenceFacts {
    /// What a look for evidence found.
    pub finding: Seen<Finding>,
    /// Whether a later request for the same user and mode has been applied.
    pub superseded: Seen<bool>,
    /// The settlements of a record whose outcome is unknown.
    pub settlements: Seen<Vec<Settlement>>,
}

impl World {
    /// A world in which nothing has been read yet.
    #[must_use]
    pub fn new(now: Timestamp, process: Process, subject: Subject) -> Self {
        Self {
            now,
            process,
            subject,
            facts: Facts::default(),
            ledger: Ledger::default(),
            own: Own::default(),
            evidence: EvidenceFacts::default(),
        }
    }

    /// What did not happen because a gate is closed, in words for the message.
    #[must_use]
    pub(super) fn not_done(&self) -> &'static str {
        match &self.ledger.record {
            // A call was sent before, and had no effect.
            Seen::Known(record) if record.state == State::Released => "nothing was changed",
            Seen::Known(_) => "the call is not repeated",
            Seen::Unread | Seen::Absent | Seen::Unknown(_) => "nothing is sent",
        }
    }

    /// The reply to this process, if it sent the call of the record's attempt itself.
    pub(super) fn reply_to(&self, record: &Record) -> Option<&Reply> {
        self.own.attempt.as_ref().filter(|own| own.attempt == record.attempt.id)?.reply.as_ref()
    }

    /// Whether this process sent the call of the record's attempt itself and got `reply`.
    pub(super) fn replied(&self, record: &Record, reply: &Reply) -> bool {
        self.reply_to(record) == Some(reply)
    }
}

/// The process that decides.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Id of this process, which no other process ever has.
    pub holder: String,
    /// Id of the next attempt.
    pub attempt: String,
}

/// What the decision is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Subject {
    /// A request whose object exists.
    Object {
        /// The request.
        request: Box<Request>,
        /// What the object's status shows now.
        #[serde(default)]
        status: StatusSummary,
    },
    /// A record whose object was deleted.
    Gone,
}

impl Subject {
    /// The request, if its object exists.
    #[must_use]
    pub fn request(&self) -> Option<&Request> {
        match self {
            Self::Object { request, .. } => Some(request),
            Self::Gone => None,
        }
    }
}

/// The Secret of a supplied password.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SuppliedPassword {
    /// It holds a usable password.
    Usable,
    /// It holds no usable password, and why: fixed words, to complete "Secret NAME ...".
    Unusable(String),
    /// The operator may not read it.
    Forbidden,
}

/// The Secret that is to receive the password.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Delivery {
    /// A Secret of that name exists already.
    Taken,
    /// The operator may not read or create it.
    Forbidden,
}

/// An attempt that this process holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnAttempt {
    /// Id of the attempt.
    pub attempt: String,
    /// Whether this process is the leader, and there is enough time before the attempt's deadline.
    pub may_send: bool,
    /// The reply to the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Reply>,
    /// When the reply came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replied_at: Option<Timestamp>,
}

/// The state of one repeatable step in this process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StepState {
    /// Not tried yet.
    #[default]
    Pending,
    /// Done.
    Done,
    /// It failed and is worth another try.
    Failed(String),
    /// It can never be done.
    Impossible(String),
    /// It can never be done, since the password itself is gone.
    Lost(String),
}

/// The progress of the follow-up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// The delivery Secret.
    pub deliver: StepState,
    /// The separate calls after the reset.
    #[serde(rename = "cleanUp")]
    pub after_reset: StepState,
    /// The mail.
    pub mail: StepState,
}
