//! Views: what the status of a request shows.
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    reason::{Outcome, Reason, Truth},
    record::{Evidence, MAX_GENERATED_PASSWORDS, Record, Refusal, State},
    request::Mode,
    text,
    user::UserId,
};

/// What an object's status shows now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatusSummary {
    /// Its outcome.
    pub outcome: Option<Outcome>,
    /// Reason of its `Ready` condition.
    pub reason: Option<Reason>,
    /// Message of its `Ready` condition.
    pub message: Option<String>,
    /// Since when it waits: the transition time of the condition `Reconciling` or `Stalled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

impl StatusSummary {
    /// Whether the outcome is final.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.outcome.is_some_and(|o| o != Outcome::Unknown)
    }

    /// Whether the status shows that a call may have been sent.
    #[must_use]
    pub fn was_under_way(&self) -> bool {
        self.outcome == Some(Outcome::Unknown)
            || matches!(self.reason, Some(Reason::Executing | Reason::Verifying | Reason::Finishing))
    }
}

/// What an object's status is to show.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// The reason of all conditions.
    pub reason: Reason,
    /// What happened, then what to do; printable.
    pub message: String,
    /// Status of the condition `Succeeded`, which mostly follows from the reason.
    pub succeeded: Truth,
    /// The user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// Name of the record.
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
    /// Whether this view may replace the status that an object has. A final outcome stays. A view that was decided before the outcome
    /// became Unknown may arrive late, so only an outcome or `Finishing` replaces that.
    #[must_use]
    pub fn may_replace(&self, shown: &StatusSummary) -> bool {
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
            message: text::printable(&message.into(), text::MESSAGE),
            succeeded: reason.conditions().1,
            user: None,
            record: None,
            evidence: None,
            started_at: None,
            completed_at: None,
        }
    }

    /// Adds the user.
    #[must_use]
    pub fn about(mut self, user: &UserId) -> Self {
        self.user = Some(user.clone());
        self
    }

    /// A view of a request with a record.
    #[must_use]
    pub fn of(record: &Record, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            // A record may be written by others than the operator: the name is made printable again.
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

/// The view of a record that has an outcome. `own`: the record was created for this very object.
#[must_use]
pub fn settled(record: &Record, own: bool) -> View {
    let by = format!("{}/{}", record.request.namespace, record.request.name);
    let who = &record.user.name;
    let what = match record.mode {
        Mode::Password => "password",
        Mode::MFA => "MFA",
    };
    let note = record.note.as_ref().map(|n| format!(" {n}")).unwrap_or_default();
    match record.state {
        State::Applied if own => {
            let remains = record.follow_up.remains.as_ref().map(|text| format!(" {text}")).unwrap_or_default();
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
                "The same request was carried out before, as {by}, at {:.0}: nothing was sent again.{note}",
                record.attempt.started_at
            ),
        ),
        State::NotApplied => {
            let why = record.refusal.clone().unwrap_or(Refusal { reason: Reason::Rejected, code: None });
            let (reason, message) = refusal(record, &why);
            View::of(record, reason, message)
        }
        State::Superseded => View::of(
            record,
            Reason::Superseded,
            format!(
                "It is not known whether this request reset the {what} of {who}; a later request has been applied."
            ),
        ),
        State::Unknown | State::Sent | State::Released | State::Changed => {
            let (started, deadline) = (record.attempt.started_at, record.attempt.deadline);
            let sent = match record.doubted_refusal() {
                Some(code) => format!(
                    "The reset of the {what} of {who} was sent between {started:.0} and {deadline:.0}, and the directory refused it \
                     with {code}, but \
                     may have carried it out all the same: it may or may not be in force."
                ),
                None => format!(
                    "The reset of the {what} of {who} was sent, or about to be, between {started:.0} and {deadline:.0}, and no \
                     reply came: it may \
                     or may not be in force."
                ),
            };
            let shown = record.note.as_deref().unwrap_or("The directory shows no proof either way.");
            View::of(
                record,
                Reason::OutcomeUnknown,
                format!("{sent} {shown} Ask the user to sign in before you file a new request."),
            )
        }
    }
}

fn how(record: &Record) -> &'static str {
    match record.evidence {
        Some(Evidence::Response) | None => "",
        Some(Evidence::ConditionalWrite) => {
            " (no reply came; the reply to the same conditional call, sent again, proves it)"
        }
        Some(Evidence::SignIn) => " (no reply came; a sign-in with the new password succeeded)",
        Some(Evidence::Person) => " (no reply came; a person settled the outcome)",
        Some(Evidence::Marker) => {
            " (no reply came; the directory shows a change within the attempt's time, and no other change is known)"
        }
    }
}

/// Reason and message of a record that was not applied.
fn refusal(record: &Record, why: &Refusal) -> (Reason, String) {
    let who = &record.user.name;
    let message = match why.reason {
        _ if record.note.is_some() => record.note.clone().unwrap_or_default(),
        Reason::Expired => format!(
            "The request could not be carried out before {}: every attempt failed before it took effect. Nothing was changed. \
             File a new request.",
            record.expires_at
        ),
        Reason::UserNotFound => format!(
            "The directory no longer has the user {who}: nothing was changed. File a new request if the user has another name now."
        ),
        Reason::ChangedSinceRequest => {
            format!(
                "Another change of the credentials of {who} came first: nothing was changed by this request. File a new request if a \
                 reset is still wanted."
            )
        }
        _ if record.attempt.regenerated + 1 >= MAX_GENERATED_PASSWORDS => format!(
            "The directory refused {} passwords that the operator generated for {who}; the code of the last refusal is {}: nothing \
             was changed. If \
             the code is about the password, file a new request with the length and the kinds of characters in spec.password.generate, or \
             supply a password with fromSecret.",
            record.attempt.regenerated + 1,
            why.code.as_deref().unwrap_or("(none)")
        ),
        _ => format!(
            "The directory refused the reset of {who} with code {}: nothing was changed. Fix the cause and file a new request.",
            why.code.as_deref().unwrap_or("(none)")
        ),
    };
    (why.reason, message)
}
