//! `CredentialResetApproval`: somebody's yes to a request, given in the cluster.
use jiff::Timestamp;
use kube::{CustomResource, KubeSchema, ResourceExt};
use serde::{Deserialize, Serialize};

use crate::core::{approvals::Approval, text::OBJECT_NAME};

/// Somebody's approval of a request, for Directories whose rules ask for that. It is for one digest of the request's spec. The
/// admission policies see to it that spec.approver is who creates it, and has the verb approve on the Directory.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug)]
#[kube(
    group = "credreset.dev",
    version = "v1alpha1",
    kind = "CredentialResetApproval",
    namespaced,
    shortname = "capproval",
    category = "credreset",
    selectable = ".spec.request",
    printcolumn(name = "Request", type_ = "string", json_path = ".spec.request"),
    printcolumn(name = "Directory", type_ = "string", json_path = ".spec.directory"),
    printcolumn(name = "Approver", type_ = "string", json_path = ".spec.approver"),
    printcolumn(name = "Withdrawn", type_ = "boolean", json_path = ".spec.withdrawn"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Digest", type_ = "string", json_path = ".spec.digest", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "self.request == oldSelf.request && self.directory == oldSelf.directory && self.digest == oldSelf.digest && self.approver == oldSelf.approver && has(self.user) == has(oldSelf.user) && (!has(self.user) || self.user == oldSelf.user)"
    ).message("an approval never changes, it can only be withdrawn: create another one"),
    validation = Rule::new("!oldSelf.withdrawn || self.withdrawn").message("what was withdrawn stays so: create another approval"),
)]
pub struct CredentialResetApprovalSpec {
    /// Name of the CredentialReset in this namespace.
    #[schemars(length(min = 1, max = 63), regex(pattern = OBJECT_NAME))]
    pub request: String,
    /// The Directory that the request names.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub directory: String,
    /// The request's status.digest: what is approved is this spec and no other.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub digest: String,
    /// The request's status.user.id, of whom the approver has seen: the approval counts for this user alone. Left out, it counts
    /// for whomever the directory shows for what was typed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub user: Option<String>,
    /// User name of who approves: that of the creator of this object.
    #[schemars(length(min = 1, max = 256))]
    pub approver: String,
    /// True takes it back, for as long as the reset has not begun.
    #[serde(default)]
    pub withdrawn: bool,
}

impl CredentialResetApproval {
    /// The approval in the core's terms. `guarded_since`: from then on admission has compared approvers with callers.
    #[must_use]
    pub fn approval(&self, guarded_since: Timestamp) -> Approval {
        let CredentialResetApprovalSpec { request: _, directory, digest, user, approver, withdrawn } =
            self.spec.clone();
        let unguarded = self.creation_timestamp().is_none_or(|created| created.0 < guarded_since);
        Approval { name: self.name_any(), approver, directory, digest, user, withdrawn, unguarded }
    }
}
