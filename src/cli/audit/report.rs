//! The report of an audit: a row for each reset, from its record.
use jiff::Timestamp;
use serde::Serialize;

use crate::core::{
    call::{Call, FollowUp, delivery_place},
    reason::Reason,
    record::{Evidence, Record, Refusal, State},
    request::Mode,
    text::{MESSAGE, printable},
};

/// What `--output json` prints.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Resets that began at or after this time.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub(super) since: Timestamp,
    /// Resets that began before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub(super) until: Option<Timestamp>,
    /// Every reset that began at or after this time is still on record; of earlier ones, records may be gone. Absent: how far back the
    /// records go could not be determined.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub(super) records_since: Option<Timestamp>,
    /// The resets, in the order in which they began.
    pub(super) resets: Vec<Reset>,
}

impl Report {
    /// How many resets there are, and of which time: `1 reset since 2026-07-01T00:00:00Z, until 2026-10-01T00:00:00Z`.
    pub(super) fn summary(&self) -> String {
        let count = match self.resets.len() {
            1 => "1 reset".to_owned(),
            n => format!("{n} resets"),
        };
        let until = self.until.map(|until| format!(", until {until:.0}")).unwrap_or_default();
        format!("{count} since {:.0}{until}", self.since)
    }
}

/// A reset, from its record.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reset {
    /// When the requester asked for it.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub(super) requested_at: Timestamp,
    /// When the latest attempt began.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub(super) started_at: Timestamp,
    /// When the outcome became known, or the operator gave it up as unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub(super) settled_at: Option<Timestamp>,
    /// User name of the person who settled the outcome, where the operator found no evidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) settled_by: Option<String>,
    /// Name of the Directory.
    pub(super) directory: String,
    /// The directory's own id of the user.
    pub(super) user_id: String,
    /// The user's name in the directory.
    pub(super) user: String,
    /// Password or MFA.
    pub(super) mode: String,
    /// State of the record. Sent, Released and Changed are in progress.
    pub(super) state: State,
    /// The evidence of success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) known_by: Option<Evidence>,
    /// Why the directory was not changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refused_because: Option<Reason>,
    /// The directory's own error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
    /// Namespace of the request.
    pub(super) namespace: String,
    /// Name of the request.
    pub(super) request: String,
    /// User name of the requester, if the request has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) requested_by: Option<String>,
    /// User name of who created the request, where the API server wrote it down (Kubernetes 1.36 or later).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) filed_by: Option<String>,
    /// Whose word `requestedBy` is: `themselves`, or `vouched by ACCOUNT`. `filed by ACCOUNT` where the request has no `requestedBy`.
    /// Absent: the API server did not write down who created the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) who_says_so: Option<String>,
    /// User names of the approvers, where a rule requires approvals.
    pub(super) approved_by: Vec<String>,
    /// Where the new password went, or is to go. Absent where there is no new password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) password_to: Option<String>,
    /// The reason that the request gives. Absent in records of versions that did not keep it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
    /// The operator process that made the latest attempt.
    pub(super) holder: String,
    /// Number of attempts. All but the last are known not to have changed anything.
    pub(super) attempts: u32,
    /// Name of the record.
    pub(super) record: String,
}

impl Reset {
    pub(super) fn of(record: Record) -> Self {
        let password_to = password_to(&record);
        let Record { name, directory, user, mode, requested_at, request, attempt, state, evidence, refusal, .. } =
            record;
        let (reason, code) = refusal.map(|Refusal { reason, code }| (reason, code)).unzip();
        Self {
            requested_at,
            started_at: attempt.started_at,
            settled_at: record.settled_at,
            settled_by: record.settled_by,
            directory,
            user_id: user.id,
            user: user.name,
            mode: mode.to_string(),
            state,
            known_by: evidence,
            refused_because: reason,
            code: code.flatten(),
            namespace: request.namespace,
            request: request.name,
            who_says_so: who_says_so(request.requested_by.as_deref(), request.filed_by.as_deref()),
            requested_by: request.requested_by,
            filed_by: request.filed_by,
            approved_by: attempt.approved_by,
            password_to,
            why: request.reason,
            holder: attempt.holder,
            attempts: attempt.number,
            record: name,
        }
    }

    /// Who asked, as far as the record shows it: the requester, or else who created the request.
    pub(super) fn asked_by(&self) -> Option<&str> {
        self.requested_by.as_deref().or(self.filed_by.as_deref())
    }

    /// How the outcome is known, or why nothing was changed.
    pub(super) fn because(&self) -> String {
        let evidence = self.known_by.map(|evidence| format!("{evidence:?}"));
        evidence.or_else(|| self.refused_because.map(|reason| reason.to_string())).unwrap_or_default()
    }
}

fn who_says_so(requested_by: Option<&str>, filed_by: Option<&str>) -> Option<String> {
    let filed_by = filed_by?;
    Some(match requested_by {
        // As the record keeps it.
        Some(requester) if printable(requester, MESSAGE) == filed_by => "themselves".to_owned(),
        Some(_) => format!("vouched by {filed_by}"),
        None => format!("filed by {filed_by}"),
    })
}

fn password_to(record: &Record) -> Option<String> {
    let is_new = !matches!(record.state, State::Released | State::NotApplied | State::Superseded);
    if record.mode != Mode::Password || !is_new {
        return None;
    }
    let FollowUp { deliver_to, sealed_for, mail_to, .. } = &record.follow_up;
    let mut to = Vec::new();
    let place = |secret: &String| delivery_place(&record.request.namespace, secret, sealed_for.len());
    to.extend(deliver_to.as_ref().map(place));
    to.extend(mail_to.as_ref().map(|address| format!("mail to {address}")));
    if matches!(record.call, Call::SetPassword { email_to_user: true, .. }) {
        to.push("mail by the directory".to_owned());
    }
    if to.is_empty() {
        return Some("supplied by the requester".to_owned());
    }
    let done = match record.state {
        State::Applied if record.undelivered => " (not delivered)",
        State::Applied => "",
        State::Unknown => " (outcome unknown)",
        _ => " (not yet)",
    };
    Some(to.join(" and ") + done)
}
