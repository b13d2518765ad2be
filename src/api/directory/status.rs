//! Status of a Directory: the result of the operator's last check.
use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::core::{
    directory::{Feature, Guarantee},
    request::Mode,
};

/// The result of the operator's last check.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct DirectoryStatus {
    /// The generation that the status describes; -1 until the operator has read the object.
    #[serde(default = "crate::api::defaults::never_observed")]
    pub observed_generation: i64,
    /// Identity of the directory server, which does not depend on the name of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// What happens when a reply is lost, for each mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guarantees: Option<Guarantees>,
    /// Features that requests can use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub supports: Vec<Feature>,
    /// The administrator's password that the directory refused. The operator does not send it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// Ready, with reason Connected, Unreachable, CredentialsRefused, PermissionMissing or InvalidConfiguration. IdentityShared, with
    /// reason SameIdentity, while another Directory object is for the same directory. CallsRefused, with reason Denied, while the directory
    /// refuses resets although the check passes.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Credentials that were refused.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// The directory's error code.
    pub code: String,
    /// resourceVersion of the Secret. When it changes, the operator tries the password again.
    pub secret_version: String,
}

/// What happens when a reply is lost. ExactlyOnce: the operator safely sends the call again. Provable: the directory's last-change time
/// usually shows the outcome. AtMostOnce: the outcome is reported as unknown.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarantees {
    /// For passwords.
    #[schemars(with = "String")]
    pub password: Guarantee,
    /// For MFA. Absent: MFA cannot be reset in this directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub mfa: Option<Guarantee>,
}

impl Guarantees {
    /// Modes with a conditional call: the directory carries it out only if its precondition holds.
    #[must_use]
    pub fn conditional(&self) -> BTreeSet<Mode> {
        let all = [(Mode::Password, Some(self.password)), (Mode::MFA, self.mfa)];
        all.into_iter().filter(|(_, how)| *how == Some(Guarantee::ExactlyOnce)).map(|(mode, _)| mode).collect()
    }
}
