//! What people are told: reasons, conditions, messages.
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    follow::DRAWS,
    ledger::{Evidence, Record, State, UserId, Verdict},
    text,
};

/// Why a request is where it is: the machine-readable half of its conditions and Events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[allow(missing_docs, reason = "each is explained where it is given, and in docs/reasons.md")]
pub enum Reason {
    Pending,
    DirectoryNotReady,
    DirectorySuspended,
    Throttled,
    UserBusy,
    LimitReached,
    NotYetValid,
    AwaitingApproval,
    Executing,
    Verifying,
    Finishing,
    Applied,
    AlreadyApplied,
    Superseded,
    Settled,
    Lapsed,
    RestoredFromBackup,
    Expired,
    DirectoryMissing,
    NotAllowed,
    UserProtected,
    UserNotFound,
    UserAmbiguous,
    UserNotConfirmed,
    UserInactive,
    UserFederated,
    NotSupported,
    SecretMissing,
    SecretForbidden,
    DeliveryConflict,
    ChangedSinceRequest,
    ConflictingRequest,
    Rejected,
    OutcomeUnknown,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A condition's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Truth {
    /// It is so.
    True,
    /// It is not.
    False,
    /// Open, or cannot be told.
    Unknown,
}

impl fmt::Display for Truth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// kstatus's extra condition, present only when True.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Extra {
    /// Work goes on by itself.
    Reconciling,
    /// Somebody must look.
    Stalled,
}

/// The outcome of a request; never changes once set, `Unknown` excepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Outcome {
    /// The reset is in force.
    Applied,
    /// Nothing was changed.
    NotApplied,
    /// Sent, and no proof either way.
    Unknown,
    /// Unknown, and a later request has been applied.
    Superseded,
    /// History replayed: nothing was sent.
    Lapsed,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 34] = [
        Self::Pending,
        Self::DirectoryNotReady,
        Self::DirectorySuspended,
        Self::Throttled,
        Self::UserBusy,
        Self::LimitReached,
        Self::NotYetValid,
        Self::AwaitingApproval,
        Self::Executing,
        Self::Verifying,
        Self::Finishing,
        Self::Applied,
        Self::AlreadyApplied,
        Self::Superseded,
        Self::Settled,
        Self::Lapsed,
        Self::RestoredFromBackup,
        Self::Expired,
        Self::DirectoryMissing,
        Self::NotAllowed,
        Self::UserProtected,
        Self::UserNotFound,
        Self::UserAmbiguous,
        Self::UserNotConfirmed,
        Self::UserInactive,
        Self::UserFederated,
        Self::NotSupported,
        Self::SecretMissing,
        Self::SecretForbidden,
        Self::DeliveryConflict,
        Self::ChangedSinceRequest,
        Self::ConflictingRequest,
        Self::Rejected,
        Self::OutcomeUnknown,
    ];

    /// `Ready`, `Succeeded` and the extra condition that go with a reason.
    #[must_use]
    pub fn conditions(self) -> (Truth, Truth, Option<Extra>) {
        use Truth::{False, True, Unknown};
        match self {
            Self::Pending => (Unknown, Unknown, None),
            Self::DirectoryNotReady
            | Self::DirectorySuspended
            | Self::Throttled
            | Self::UserBusy
            | Self::LimitReached
            | Self::NotYetValid
            | Self::AwaitingApproval
            | Self::Executing
            | Self::Verifying
            | Self::Finishing => (Unknown, Unknown, Some(Extra::Reconciling)),
            Self::Applied | Self::AlreadyApplied => (True, True, None),
            Self::Superseded | Self::Settled | Self::Lapsed | Self::RestoredFromBackup => (True, False, None),
            Self::DirectoryMissing | Self::NotAllowed | Self::OutcomeUnknown => (False, Unknown, Some(Extra::Stalled)),
            Self::Expired
            | Self::UserProtected
            | Self::UserNotFound
            | Self::UserAmbiguous
            | Self::UserNotConfirmed
            | Self::UserInactive
            | Self::UserFederated
            | Self::NotSupported
            | Self::SecretMissing
            | Self::SecretForbidden
            | Self::DeliveryConflict
            | Self::ChangedSinceRequest
            | Self::ConflictingRequest
            | Self::Rejected => (False, False, Some(Extra::Stalled)),
        }
    }

    /// The outcome that a reason settles; none while the request is open.
    #[must_use]
    pub fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Applied | Self::AlreadyApplied => Some(Outcome::Applied),
            Self::Superseded => Some(Outcome::Superseded),
            Self::Lapsed | Self::RestoredFromBackup => Some(Outcome::Lapsed),
            Self::OutcomeUnknown => Some(Outcome::Unknown),
            Self::Expired
            | Self::UserProtected
            | Self::UserNotFound
            | Self::UserAmbiguous
            | Self::UserNotConfirmed
            | Self::UserInactive
            | Self::UserFederated
            | Self::NotSupported
            | Self::ChangedSinceRequest
            | Self::ConflictingRequest
            | Self::Settled
            | Self::Rejected => Some(Outcome::NotApplied),
            // Looked at again until the deadline, so the request stays open.
            Self::SecretMissing
            | Self::SecretForbidden
            | Self::DeliveryConflict
            | Self::DirectoryMissing
            | Self::NotAllowed
            | Self::Pending
            | Self::DirectoryNotReady
            | Self::DirectorySuspended
            | Self::Throttled
            | Self::UserBusy
            | Self::LimitReached
            | Self::NotYetValid
            | Self::AwaitingApproval
            | Self::Executing
            | Self::Verifying
            | Self::Finishing => None,
        }
    }
}

/// What an object's status shows now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Shown {
    /// Its outcome.
    pub outcome: Option<Outcome>,
    /// Reason of its `Ready` condition.
    pub reason: Option<Reason>,
    /// Message of its `Ready` condition.
    pub message: Option<String>,
    /// Since when it waits: when the condition came that is beside `Ready` and `Succeeded`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// What an object's status is to show.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Of all conditions.
    pub reason: Reason,
    /// What happened, then what to do; as it may be shown.
    pub message: String,
    /// `Succeeded`, which mostly follows from the reason.
    pub succeeded: Truth,
    /// The user as the directory names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// The ledger's record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// How success was proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// When the attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When the outcome became known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
}

impl View {
    /// Whether this may take the place of what an object shows. An outcome stays; where it is Unknown, what was decided before that became
    /// known may come late, and only what is newer says more.
    #[must_use]
    pub fn may_replace(&self, shown: &Shown) -> bool {
        match shown.outcome {
            None => true,
            Some(Outcome::Unknown) => self.outcome().is_some() || self.reason == Reason::Finishing,
            Some(_) => false,
        }
    }

    /// A view of a request that has no record.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: text::shown(&message.into(), text::MESSAGE),
            succeeded: reason.conditions().1,
            user: None,
            record: None,
            evidence: None,
            started_at: None,
            completed_at: None,
        }
    }

    /// The same, of a user that was found.
    #[must_use]
    pub fn about(mut self, user: &UserId) -> Self {
        self.user = Some(user.clone());
        self
    }

    /// A view of a request with a record.
    #[must_use]
    pub fn of(record: &Record, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            // Whoever has written the record: its name is shown to others.
            user: Some(UserId::new(record.user.id.clone(), &record.user.name)),
            record: Some(record.name.clone()),
            evidence: record.evidence,
            started_at: Some(record.attempt.started_at),
            completed_at: record.settled_at,
            ..Self::new(reason, message)
        }
    }

    /// The object's outcome.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.reason.outcome()
    }
}

/// The view of a record that has an outcome. `own`: the record was made for this very object.
#[must_use]
pub fn settled(record: &Record, own: bool) -> View {
    let by = format!("{}/{}", record.request.namespace, record.request.name);
    let who = &record.user.name;
    let what = match record.mode {
        super::Mode::Password => "password",
        super::Mode::MFA => "MFA",
    };
    let note = record.note.as_ref().map(|n| format!(" {n}")).unwrap_or_default();
    match record.state {
        State::Applied if own => {
            let remains = record.finish.remains.as_ref().map(|text| format!(" {text}")).unwrap_or_default();
            View::of(
                record,
                Reason::Applied,
                format!("The {what} of {who} has been reset{}.{remains}{note}", how(record)),
            )
        }
        State::Applied => View::of(
            record,
            Reason::AlreadyApplied,
            format!(
                "This very request was carried out before, as {by}, at {:.0}: nothing was sent again.{note}",
                record.attempt.started_at
            ),
        ),
        State::NotApplied => {
            let verdict = record.verdict.clone().unwrap_or(Verdict { reason: Reason::Rejected, code: None });
            let (reason, message) = refusal(record, &verdict);
            View::of(record, reason, message)
        }
        State::Superseded => View::of(
            record,
            Reason::Superseded,
            format!(
                "Whether the {what} of {who} was reset by this request never became known; a later request has been applied."
            ),
        ),
        State::Unknown | State::Sent | State::Released | State::Changed => {
            let (started, deadline) = (record.attempt.started_at, record.attempt.deadline);
            let sent = match record.doubted_refusal() {
                Some(code) => format!(
                    "The reset of the {what} of {who} was sent between {started:.0} and {deadline:.0}, and the directory answered it with {code}; \
                     whether it has done nothing is in doubt: it may or may not be in force."
                ),
                None => format!(
                    "The reset of the {what} of {who} was sent, or about to be, between {started:.0} and {deadline:.0}, and no answer came: it may \
                     or may not be in force."
                ),
            };
            let shown = record.note.as_deref().unwrap_or("The directory shows no proof either way.");
            View::of(
                record,
                Reason::OutcomeUnknown,
                format!("{sent} {shown} Ask the user to sign in, or file a new request."),
            )
        }
    }
}

fn how(record: &Record) -> &'static str {
    match record.evidence {
        Some(Evidence::Response) | None => "",
        Some(Evidence::ConditionalWrite) => " (no answer came; the same conditional call, sent again, told)",
        Some(Evidence::SignIn) => " (no answer came; a sign-in with the new password succeeded)",
        Some(Evidence::Person) => " (no answer came; somebody who has looked says so)",
        Some(Evidence::Marker) => {
            " (no answer came; the directory shows a change within the attempt's time, and nobody else is known to have made one)"
        }
    }
}

/// Reason and message of a record that was not applied.
fn refusal(record: &Record, verdict: &Verdict) -> (Reason, String) {
    let who = &record.user.name;
    let message = match verdict.reason {
        _ if record.note.is_some() => record.note.clone().unwrap_or_default(),
        Reason::Expired => format!(
            "The request could not be carried out before {}: every try was turned away before it took effect. Nothing was changed. \
             File a new request.",
            record.expires_at
        ),
        Reason::UserNotFound => format!("The directory no longer knows {who}: nothing was changed. File a new request if the user is known by another name."),
        Reason::ChangedSinceRequest => {
            format!(
                "The credentials of {who} were changed by somebody else: nothing was changed by this request. File a new request if a \
                 reset is still wanted."
            )
        }
        Reason::Pending => "The request was withdrawn before anything took effect: nothing was changed. File a new request if a reset is still wanted."
                .to_owned(),
        _ if record.attempt.redraws + 1 >= DRAWS => format!(
            "The directory refused {} passwords that were drawn for {who}, one after the other; the last refusal was {}: nothing was changed. If \
             that is about the password, say in spec.password.generate of a new request how long it is to be, which characters it is drawn from \
             and how many of each, or give one by fromSecret.",
            record.attempt.redraws + 1,
            verdict.code.as_deref().unwrap_or("(none)")
        ),
        _ => format!(
            "The directory refused the reset of {who} with code {}: nothing was changed. Mend the cause and file a new request.",
            verdict.code.as_deref().unwrap_or("(none)")
        ),
    };
    (if verdict.reason == Reason::Pending { Reason::Expired } else { verdict.reason }, message)
}
