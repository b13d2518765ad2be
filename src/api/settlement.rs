//! `CredentialResetSettlement`: a person states the outcome of a reset that the operator could not determine.
use jiff::Timestamp;
use kube::{CustomResource, KubeSchema, ResourceExt};
use serde::{Deserialize, Serialize};

use crate::core::{record::Settlement, text::OBJECT_NAME};

/// A person's statement of the outcome of a reset that is Unknown, after they have asked the user or looked at the directory. It is in the
/// operator's namespace, and created after the operator gave the outcome up. The first valid one counts. The operator never sends the call
/// of the reset again because of it; after Applied it does what is left to do, such as the delivery. The admission policies require that
/// spec.settledBy is the user who creates it, and has the verb settle on the Directory.
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
#[x_kube(validation = Rule::new("self == oldSelf").message("a settlement never changes"))]
#[schemars(extend("required" = ["directory", "outcome", "reason", "record", "settledBy"]))]
pub struct CredentialResetSettlementSpec {
    /// Name of the record.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    // objects of older versions have none, and count for no record
    pub record: String,
    /// The Directory that the record names.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub directory: String,
    /// Applied: the new password, or MFA without the old factors, is in effect. NotApplied: nothing was changed.
    pub outcome: SettledOutcome,
    /// How the person knows: 8 to 1024 characters.
    #[schemars(length(min = 8, max = 1024))]
    pub reason: String,
    /// User name of the person: the user who creates this object.
    #[schemars(length(min = 1, max = 256))]
    pub settled_by: String,
}

/// The outcome that a settlement states.
#[derive(schemars::JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "a text on a variant would turn the schema's enum into oneOf")]
pub enum SettledOutcome {
    Applied,
    NotApplied,
}

impl CredentialResetSettlement {
    /// The settlement in the core's types. `guarded_since`: since then an admission policy has compared settledBy with callers.
    #[must_use]
    pub fn settlement(&self, guarded_since: Timestamp) -> Settlement {
        let CredentialResetSettlementSpec { record: _, directory, outcome, reason, settled_by } = self.spec.clone();
        let created = self.creation_timestamp().map_or(Timestamp::MIN, |created| created.0);
        Settlement {
            name: self.name_any(),
            directory,
            applied: outcome == SettledOutcome::Applied,
            by: settled_by,
            reason,
            created,
            unguarded: created < guarded_since,
        }
    }
}
