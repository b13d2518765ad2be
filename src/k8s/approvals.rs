//! Approvals, and what makes them worth anything: admission policies that know the caller.
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use kube::{Api, Client, api::ListParams};

use super::silent;
use crate::{
    api::CredentialResetApproval,
    core::{
        Request,
        approvals::Approval,
        world::{Seen, Why},
    },
};

/// Admission policies, with bindings of the same names, that compare with the caller whom a request or an approval names. Without
/// them anybody could write anybody's name.
const KNOWS_THE_CALLER: [&str; 2] = ["credreset-requests", "credreset-approvals"];

/// Between two looks for policies that are not there.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(30);

/// The approvals that name `request`.
pub(super) async fn read(client: &Client, request: &Request) -> Seen<Vec<Approval>> {
    for name in KNOWS_THE_CALLER {
        match denies(client, name).await {
            Ok(true) => {}
            Ok(false) => {
                return Seen::Unknown(missing(format!(
                    "admission policy {name} is missing or does not deny, so nobody can tell who has asked and who has approved. \
                     Install the chart's policies."
                )));
            }
            Err(kube::Error::Api(status)) if status.is_forbidden() => {
                return Seen::Unknown(missing(format!(
                    "the operator may not look whether admission policy {name} is there. Give its ServiceAccount that right."
                )));
            }
            Err(_) => return Seen::Unknown(silent()),
        }
    }
    let api: Api<CredentialResetApproval> = Api::namespaced(client.clone(), &request.namespace);
    match api.list(&ListParams::default().fields(&format!("spec.request={}", request.name))).await {
        Ok(list) => Seen::Known(list.items.iter().map(CredentialResetApproval::approval).collect()),
        Err(_) => Seen::Unknown(silent()),
    }
}

/// Nothing tells when somebody has seen to it: looked at again after a while.
fn missing(message: String) -> Why {
    Why { message, not_before: Timestamp::now().checked_add(LOOK_AGAIN).ok() }
}

/// Whether the policy is there and denies everywhere what it does not allow.
pub(super) async fn denies(client: &Client, name: &str) -> kube::Result<bool> {
    let policy = Api::<ValidatingAdmissionPolicy>::all(client.clone()).get_opt(name).await?;
    let binding = Api::<ValidatingAdmissionPolicyBinding>::all(client.clone()).get_opt(name).await?;
    let (Some(policy), Some(binding)) = (policy.and_then(|p| p.spec), binding.and_then(|b| b.spec)) else {
        return Ok(false);
    };
    Ok(policy.failure_policy.is_none_or(|on_failure| on_failure == "Fail")
        && binding.policy_name.as_deref() == Some(name)
        && binding.match_resources.is_none()
        && binding.validation_actions.is_some_and(|actions| actions.iter().any(|action| action == "Deny")))
}
