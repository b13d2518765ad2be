//! `CredentialResetRecord`: the ledger's records, as stored at the API server.
use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema, ResourceExt, core::ObjectMeta};
use serde::{Deserialize, Serialize};

use super::reset::ResetMode;
use crate::core::{
    call::{Call, FollowUp},
    record::{Attempt, Evidence, Origin, Record, Refusal, State, user_key},
    request::Mode,
    user::UserId,
};

/// The operator's record of one request: intent, outcome and evidence. With it the operator carries the request out at most once. It is
/// also the audit trail. Only the operator writes it. The facts are in spec, so that a backup restored without status keeps them.
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
    /// Identity of the directory server, which does not depend on the name of the Directory object.
    #[schemars(length(max = 1024))]
    pub directory_identity: String,
    /// The user, as in the directory.
    pub user: UserId,
    /// Password or MFA.
    pub mode: ResetMode,
    /// When the requester asked for the reset.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub requested_at: Timestamp,
    /// The operator starts nothing at or after this time.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub expires_at: Timestamp,
    /// The operator deletes the record after this time, long after the request's deadline.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub keep_until: Timestamp,
    /// The request that it was created for.
    pub request: Origin,
    /// The call to the directory.
    pub call: Call,
    /// What the operator does after the change.
    #[serde(rename = "finish")]
    pub follow_up: FollowUp,
    /// The latest attempt.
    pub attempt: Attempt,
    /// The process that sends the conditional call again after the holder has ended.
    #[serde(default, rename = "adoptedBy", skip_serializing_if = "Option::is_none")]
    pub repeated_by: Option<String>,
    /// When the holder stopped waiting for a reply to its call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub gave_up_at: Option<Timestamp>,
    /// The process that made, or was about to make, the only sign-in with the attempt's password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in_by: Option<String>,
    /// Sent, Released, Changed, Applied, NotApplied, Unknown or Superseded.
    #[schemars(with = "String", extend("enum" = ["Sent", "Released", "Changed", "Applied", "NotApplied", "Unknown", "Superseded"]))]
    pub state: State,
    /// The evidence of the change: Response, ConditionalWrite, SignIn, Marker, or Person, a settlement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("enum" = ["Response", "ConditionalWrite", "SignIn", "Marker", "Person"]))]
    pub evidence: Option<Evidence>,
    /// Why it is Released or NotApplied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// The operator does not try a released record again before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub retry_at: Option<Timestamp>,
    /// What the directory showed, or what could not be delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The password could not be delivered, and is kept until `keepUntil`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undelivered: bool,
    /// When the outcome became known, or the operator gave it up as unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub settled_at: Option<Timestamp>,
    /// User name of the person who settled the outcome, where the operator found no evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub settled_by: Option<String>,
}

/// Label: the request's uid.
pub const UID_LABEL: &str = "credreset.dev/request-uid";
/// Label: the request's key, the same for a manifest that is applied again.
pub const KEY_LABEL: &str = "credreset.dev/request-key";
/// Label: hash of the directory's identity and the user's id.
pub const USER_LABEL: &str = "credreset.dev/user";
/// Label: the hour (UTC) in which the latest attempt began; see [`hour`].
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

    /// This object with the contents of `record`, for a replace.
    #[must_use]
    pub fn with(&self, record: &Record) -> Self {
        let mut labels = self.labels().clone();
        labels.insert(HOUR_LABEL.to_owned(), hour(record.attempt.started_at));
        Self {
            metadata: ObjectMeta { labels: Some(labels), managed_fields: None, ..self.metadata.clone() },
            spec: spec(record),
        }
    }

    /// The record in the core's types.
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
            follow_up: spec.follow_up,
            attempt: spec.attempt,
            repeated_by: spec.repeated_by,
            gave_up_at: spec.gave_up_at,
            sign_in_by: spec.sign_in_by,
            state: spec.state,
            evidence: spec.evidence,
            refusal: spec.refusal,
            retry_at: spec.retry_at,
            note: spec.note,
            undelivered: spec.undelivered,
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
        follow_up: record.follow_up,
        attempt: record.attempt,
        repeated_by: record.repeated_by,
        gave_up_at: record.gave_up_at,
        sign_in_by: record.sign_in_by,
        state: record.state,
        evidence: record.evidence,
        refusal: record.refusal,
        retry_at: record.retry_at,
        note: record.note,
        undelivered: record.undelivered,
        settled_at: record.settled_at,
        settled_by: record.settled_by,
    }
}
