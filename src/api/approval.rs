//! `CredentialResetApproval`: a user's approval of a request.
use jiff::Timestamp;
use kube::{CustomResource, KubeSchema, ResourceExt};
use serde::{Deserialize, Serialize};

use crate::core::{approvals::Approval, text::OBJECT_NAME};

/// A user's approval of a request, for Directories whose rules require approvals. It is for one digest of the request's spec. The
/// admission policies require that spec.approver is the user who creates it, and has the verb approve on the Directory.
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
    ).message("an approval never changes except by withdrawal: create another one"),
    validation = Rule::new("!oldSelf.withdrawn || self.withdrawn").message("a withdrawn approval stays withdrawn: create another one"),
)]
pub struct CredentialResetApprovalSpec {
    /// Name of the CredentialReset in this namespace.
    #[schemars(length(min = 1, max = 63), regex(pattern = OBJECT_NAME))]
    pub request: String,
    /// The Directory that the request names.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub directory: String,
    /// The request's status.digest. The approval is for this spec alone.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub digest: String,
    /// The request's status.user.id, as the approver saw it: the approval counts for this user alone. If left out, it counts for any user
    /// that the directory returns for spec.user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub user: Option<String>,
    /// User name of the approver: the user who creates this object.
    #[schemars(length(min = 1, max = 256))]
    pub approver: String,
    /// True withdraws the approval, as long as the reset has not begun.
    #[serde(default)]
    pub withdrawn: bool,
}

impl CredentialResetApproval {
    /// The approval in the core's types. `guarded_since`: since then an admission policy has compared approvers with callers.
    #[must_use]
    pub fn approval(&self, guarded_since: Timestamp) -> Approval {
        let CredentialResetApprovalSpec { request: _, directory, digest, user, approver, withdrawn } =
            self.spec.clone();
        let unguarded = self.creation_timestamp().is_none_or(|created| created.0 < guarded_since);
        Approval { name: self.name_any(), approver, directory, digest, user, withdrawn, unguarded }
    }
}
