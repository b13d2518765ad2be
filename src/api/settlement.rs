//! `CredentialResetSettlement`: somebody's word on a reset whose outcome nobody could find out.
use jiff::Timestamp;
use kube::{CustomResource, KubeSchema, ResourceExt};
use serde::{Deserialize, Serialize};

use crate::core::{text::OBJECT_NAME, world::Settlement};

/// What somebody says of a reset whose outcome is Unknown, having asked the user or looked at the directory. In the operator's
/// namespace, made after the outcome was given up. The first that counts is taken. The reset's own call is never sent again because of
/// it; said to be Applied, what remains is done, such as the delivery. The admission policies see to it that spec.settledBy is who
/// creates it, and has the verb settle on the Directory.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug)]
#[kube(
    group = "credreset.dev",
    version = "v1alpha1",
    kind = "CredentialResetSettlement",
    namespaced,
    shortname = "csettlement",
    category = "credreset",
    selectable = ".spec.record",
    printcolumn(name = "Record", type_ = "string", json_path = ".spec.record"),
    printcolumn(name = "Directory", type_ = "string", json_path = ".spec.directory"),
    printcolumn(name = "Outcome", type_ = "string", json_path = ".spec.outcome"),
    printcolumn(name = "By", type_ = "string", json_path = ".spec.settledBy"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".spec.reason", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("what was said of a reset never changes"))]
#[schemars(extend("required" = ["directory", "outcome", "reason", "record", "settledBy"]))]
pub struct CredentialResetSettlementSpec {
    /// Name of the record.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    #[serde(default, skip_serializing_if = "String::is_empty")] // older ones have none, and are for nobody
    pub record: String,
    /// The Directory that the record names.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub directory: String,
    /// Applied: the new password, or MFA without the old factors, is in force. NotApplied: nothing was changed.
    pub outcome: Said,
    /// How that is known: 8 to 1024 characters.
    #[schemars(length(min = 8, max = 1024))]
    pub reason: String,
    /// User name of who says so: that of the creator of this object.
    #[schemars(length(min = 1, max = 256))]
    pub settled_by: String,
}

/// What somebody says.
#[derive(schemars::JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "a text on a variant would turn the schema's enum into oneOf")]
pub enum Said {
    Applied,
    NotApplied,
}

impl CredentialResetSettlement {
    /// What is said, in the core's terms. `guarded_since`: from then on admission has compared settlers with callers.
    #[must_use]
    pub fn settlement(&self, guarded_since: Timestamp) -> Settlement {
        let CredentialResetSettlementSpec { record: _, directory, outcome, reason, settled_by } = self.spec.clone();
        let created = self.creation_timestamp().map_or(Timestamp::MIN, |created| created.0);
        Settlement {
            name: self.name_any(),
            directory,
            applied: outcome == Said::Applied,
            by: settled_by,
            reason,
            created,
            unguarded: created < guarded_since,
        }
    }
}
