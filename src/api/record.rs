//! `CredentialResetRecord`: the ledger, as the API server keeps it.
use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema, ResourceExt, core::ObjectMeta};
use serde::{Deserialize, Serialize};

use super::reset::ResetMode;
use crate::core::{
    ledger::{Attempt, Evidence, Finish, Origin, Record, State, UserId, Verdict, user_key},
    plan::Once,
    request::Mode,
};

/// The operator's own record of one request: intent, outcome and evidence. It makes sure that the request is carried out at
/// most once, and is the audit trail. Written by the operator only; facts are in spec, so that a backup restored without
/// status keeps them.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug)]
#[kube(
    group = "credreset.dev",
    version = "v1alpha1",
    kind = "CredentialResetRecord",
    namespaced,
    shortname = "crecord",
    category = "credreset",
    selectable = ".spec.state",
    printcolumn(name = "User", type_ = "string", json_path = ".spec.user.name"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Directory", type_ = "string", json_path = ".spec.directory"),
    printcolumn(name = "State", type_ = "string", json_path = ".spec.state"),
    printcolumn(name = "Evidence", type_ = "string", json_path = ".spec.evidence"),
    printcolumn(name = "Namespace", type_ = "string", json_path = ".spec.request.namespace"),
    printcolumn(name = "Request", type_ = "string", json_path = ".spec.request.name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Requested", type_ = "string", json_path = ".spec.requestedAt", priority = 1),
    printcolumn(name = "Requested-By", type_ = "string", json_path = ".spec.request.requestedBy", priority = 1),
    printcolumn(name = "Approved-By", type_ = "string", json_path = ".spec.attempt.approvedBy", priority = 1),
    printcolumn(name = "Keep-Until", type_ = "string", json_path = ".spec.keepUntil", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "self.directory == oldSelf.directory && self.directoryIdentity == oldSelf.directoryIdentity && self.user == oldSelf.user && self.mode == oldSelf.mode && self.requestedAt == oldSelf.requestedAt && self.expiresAt == oldSelf.expiresAt && self.keepUntil == oldSelf.keepUntil && self.request == oldSelf.request && self.call == oldSelf.call && self.finish == oldSelf.finish"
    ).message("what identifies a record never changes"),
    validation = Rule::new("self.attempt == oldSelf.attempt || (oldSelf.state == 'Released' && self.state == 'Sent')")
        .message("an attempt changes only when a released record is taken over"),
    validation = Rule::new(
        "self.state == oldSelf.state || self.state in {'Sent': ['Released', 'Changed', 'Applied', 'NotApplied', 'Unknown'], 'Released': ['Sent', 'NotApplied'], 'Changed': ['Applied'], 'Unknown': ['Changed', 'Applied', 'NotApplied', 'Superseded'], 'Applied': [], 'NotApplied': [], 'Superseded': []}[oldSelf.state]"
    ).message("an outcome never goes back"),
)]
pub struct CredentialResetRecordSpec {
    /// Name of the Directory object.
    #[schemars(length(max = 253))]
    pub directory: String,
    /// The directory's own identity: renaming the Directory object changes nothing.
    #[schemars(length(max = 1024))]
    pub directory_identity: String,
    /// Whose credentials, as the directory names the user.
    pub user: UserId,
    /// Password or MFA.
    pub mode: ResetMode,
    /// When the human asked.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub requested_at: Timestamp,
    /// Nothing is started at or after this moment.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub expires_at: Timestamp,
    /// The record is deleted after this moment; by then the request's own deadline has long passed.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub keep_until: Timestamp,
    /// The object that it was made for.
    pub request: Origin,
    /// The call to the directory.
    pub call: Once,
    /// What remains to be done once the change is proven.
    pub finish: Finish,
    /// The latest attempt.
    pub attempt: Attempt,
    /// The process that sends the conditional call again, the holder being gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted_by: Option<String>,
    /// When the holder stopped waiting for an answer to its call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub gave_up_at: Option<Timestamp>,
    /// The process that has tried the one sign-in with the attempt's password, or was about to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in_by: Option<String>,
    /// Sent, Released, Changed, Applied, NotApplied, Unknown or Superseded.
    #[schemars(with = "String", extend("enum" = ["Sent", "Released", "Changed", "Applied", "NotApplied", "Unknown", "Superseded"]))]
    pub state: State,
    /// How the change was proven: Response, ConditionalWrite, SignIn, Marker, or Person: somebody who has looked said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("enum" = ["Response", "ConditionalWrite", "SignIn", "Marker", "Person"]))]
    pub evidence: Option<Evidence>,
    /// Why it is Released or NotApplied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// A released record is not tried again before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub retry_at: Option<Timestamp>,
    /// What the directory showed, or what could not be delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When the outcome became known, or was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub settled_at: Option<Timestamp>,
    /// User name of who said how it went, where no evidence told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub settled_by: Option<String>,
}

/// Label: the request's uid.
pub const UID_LABEL: &str = "credreset.dev/request-uid";
/// Label: finds the record of the same manifest, applied again.
pub const KEY_LABEL: &str = "credreset.dev/request-key";
/// Label: all records of a user.
pub const USER_LABEL: &str = "credreset.dev/user";
/// Label: the hour (UTC) in which the latest attempt began.
pub const HOUR_LABEL: &str = "credreset.dev/hour";

/// The hour of `at` as in [`HOUR_LABEL`], such as `2026112409`.
#[must_use]
pub fn hour(at: Timestamp) -> String {
    at.strftime("%Y%m%d%H").to_string()
}

impl CredentialResetRecord {
    /// A new object for `record`.
    #[must_use]
    pub fn of(record: &Record, namespace: &str) -> Self {
        let labels = BTreeMap::from(
            [
                (UID_LABEL, record.request.uid.clone()),
                (KEY_LABEL, record.request.key.clone()),
                (USER_LABEL, user_key(&record.directory_identity, &record.user.id)),
                (HOUR_LABEL, hour(record.attempt.started_at)),
            ]
            .map(|(key, value)| (key.to_owned(), value)),
        );
        Self {
            metadata: ObjectMeta {
                name: Some(record.name.clone()),
                namespace: Some(namespace.to_owned()),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            spec: spec(record),
        }
    }

    /// This object with the facts of `record`, to replace it.
    #[must_use]
    pub fn with(&self, record: &Record) -> Self {
        let mut labels = self.labels().clone();
        labels.insert(HOUR_LABEL.to_owned(), hour(record.attempt.started_at));
        Self {
            metadata: ObjectMeta { labels: Some(labels), managed_fields: None, ..self.metadata.clone() },
            spec: spec(record),
        }
    }

    /// The record in the core's terms.
    #[must_use]
    pub fn record(&self) -> Record {
        let spec = self.spec.clone();
        Record {
            name: self.name_any(),
            directory: spec.directory,
            directory_identity: spec.directory_identity,
            user: spec.user,
            mode: Mode::from(spec.mode),
            requested_at: spec.requested_at,
            expires_at: spec.expires_at,
            keep_until: spec.keep_until,
            request: spec.request,
            call: spec.call,
            finish: spec.finish,
            attempt: spec.attempt,
            adopted_by: spec.adopted_by,
            gave_up_at: spec.gave_up_at,
            sign_in_by: spec.sign_in_by,
            state: spec.state,
            evidence: spec.evidence,
            verdict: spec.verdict,
            retry_at: spec.retry_at,
            note: spec.note,
            settled_at: spec.settled_at,
            settled_by: spec.settled_by,
        }
    }
}

fn spec(record: &Record) -> CredentialResetRecordSpec {
    let record = record.clone();
    CredentialResetRecordSpec {
        directory: record.directory,
        directory_identity: record.directory_identity,
        user: record.user,
        mode: match record.mode {
            Mode::Password => ResetMode::Password,
            Mode::MFA => ResetMode::MFA,
        },
        requested_at: record.requested_at,
        expires_at: record.expires_at,
        keep_until: record.keep_until,
        request: record.request,
        call: record.call,
        finish: record.finish,
        attempt: record.attempt,
        adopted_by: record.adopted_by,
        gave_up_at: record.gave_up_at,
        sign_in_by: record.sign_in_by,
        state: record.state,
        evidence: record.evidence,
        verdict: record.verdict,
        retry_at: record.retry_at,
        note: record.note,
        settled_at: record.settled_at,
        settled_by: record.settled_by,
    }
}
