//! Approvals, and what makes them worth anything: admission policies that know the caller.
use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::admissionregistration::v1::{
        MatchResources, NamedRuleWithOperations, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
        ValidatingAdmissionPolicySpec,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use kube::{Api, Client, api::ListParams};

use super::{each, lean::Lean, silent};
use crate::{
    api::CredentialResetApproval,
    core::{
        Request,
        approvals::Approval,
        world::{Seen, Why},
    },
};

/// Admission policies, with bindings of the same names, that compare with the caller whom a request or an approval names. Without
/// them anybody could write anybody's name. Each with its spec, as the chart installs it.
const KNOWS_THE_CALLER: [(&str, &str); 2] = [
    ("credreset-requests", include_str!("../../charts/credreset/files/requests-policy.yaml")),
    ("credreset-approvals", include_str!("../../charts/credreset/files/approvals-policy.yaml")),
];

/// The same for settlements.
pub(super) const SETTLEMENTS: (&str, &str) =
    ("credreset-settlements", include_str!("../../charts/credreset/files/settlements-policy.yaml"));

/// Approvals in one answer: several requests are looked at beside each other, and mostly one or two approve.
const AT_ONCE: u32 = 4;

/// API servers take up a new policy a moment after it was stored.
const TAKEN_UP: SignedDuration = SignedDuration::from_secs(5);

/// The approvals that name `request`.
pub(crate) async fn read(client: &Client, request: &Request) -> Seen<Vec<Approval>> {
    let since = match guarded(client, &KNOWS_THE_CALLER, "who has asked and who has approved").await {
        Ok(since) => since,
        Err(why) => return Seen::Unknown(why),
    };
    let api: Api<Lean<CredentialResetApproval>> = Api::namespaced(client.clone(), &request.namespace);
    let params = ListParams::default().fields(&format!("spec.request={}", request.name)).limit(AT_ONCE);
    let mut found = Vec::new();
    match each(&api, params, |approval| found.push(approval.approval(since))).await {
        Ok(()) => Seen::Known(found),
        Err(kube::Error::Api(status)) if status.is_forbidden() => Seen::Unknown(Why::new(
            "the operator may not list credentialresetapprovals. Give its ServiceAccount that right.".to_owned(),
        )),
        Err(_) => Seen::Unknown(silent()),
    }
}

/// Since when these policies have seen to it that an object tells what is asked.
///
/// # Errors
/// Why nobody can tell that; it completes the sentence.
pub(super) async fn guarded(client: &Client, policies: &[(&str, &str)], what: &str) -> Result<Timestamp, Why> {
    let mut since = Timestamp::MIN;
    for policy @ (name, _) in policies {
        match guarded_since(client, *policy).await {
            Ok(Some(stored)) => since = since.max(stored.saturating_add(TAKEN_UP).unwrap_or(Timestamp::MAX)),
            Ok(None) => {
                return Err(Why::new(format!(
                    "admission policy {name} is missing, does not deny, or is not the one of this version's chart, so nobody can tell \
                     {what}. Install the chart's policies."
                )));
            }
            Err(kube::Error::Api(status)) if status.is_forbidden() => {
                return Err(Why::new(format!(
                    "the operator may not look whether admission policy {name} is there. Give its ServiceAccount that right."
                )));
            }
            Err(_) => return Err(silent()),
        }
    }
    Ok(since)
}

/// Since when the policy and its binding have been as they are; nothing, if they do not deny everywhere what the chart's policy does not
/// allow.
async fn guarded_since(client: &Client, (name, spec): (&str, &str)) -> kube::Result<Option<Timestamp>> {
    let policy = Api::<ValidatingAdmissionPolicy>::all(client.clone()).get_opt(name).await?;
    let binding = Api::<ValidatingAdmissionPolicyBinding>::all(client.clone()).get_opt(name).await?;
    let (Some(policy), Some(binding)) = (policy, binding) else { return Ok(None) };
    let (Some(first), Some(second)) = (written(&policy.metadata), written(&binding.metadata)) else { return Ok(None) };
    let Ok(ours) = serde_saphyr::from_str::<ValidatingAdmissionPolicySpec>(spec) else { return Ok(None) };
    let same = policy.spec.is_some_and(|theirs| is_the_same(&theirs, &ours));
    let denies = binding.spec.is_some_and(|b| {
        b.policy_name.as_deref() == Some(name)
            && b.match_resources.is_none()
            && b.param_ref.is_none()
            && b.validation_actions.is_some_and(|actions| actions.iter().any(|action| action == "Deny"))
    });
    Ok((same && denies).then_some(first.max(second)))
}

/// When what it asks was last written: one that was weakened and mended in place may have let anything pass before. The API server notes
/// that for whoever writes.
fn written(object: &ObjectMeta) -> Option<Timestamp> {
    let wrote = object.managed_fields.iter().flatten().filter(|wrote| {
        let fields = wrote.fields_v1.as_ref().map(|fields| &fields.0);
        wrote.subresource.as_deref().unwrap_or_default().is_empty()
            && fields.is_none_or(|all| all.get("f:spec").is_some())
    });
    let created = object.creation_timestamp.as_ref()?;
    wrote.filter_map(|wrote| wrote.time.as_ref()).chain([created]).map(|time| time.0).max()
}

/// Whether the policy refuses what ours refuses: the same questions, and no condition under which they are not asked.
fn is_the_same(theirs: &ValidatingAdmissionPolicySpec, ours: &ValidatingAdmissionPolicySpec) -> bool {
    let expressions = |spec: &ValidatingAdmissionPolicySpec| -> Vec<String> {
        spec.validations.iter().flatten().map(|v| v.expression.clone()).collect()
    };
    let everywhere = |selector: &Option<LabelSelector>| {
        selector.as_ref().is_none_or(|s| {
            s.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
                && s.match_expressions.as_ref().is_none_or(Vec::is_empty)
        })
    };
    let rules = |of: &Option<MatchResources>| -> Vec<NamedRuleWithOperations> {
        let rules = of.iter().flat_map(|m| m.resource_rules.iter().flatten());
        // What the API server adds to it.
        rules.map(|r| NamedRuleWithOperations { scope: r.scope.clone().filter(|s| s != "*"), ..r.clone() }).collect()
    };
    theirs.failure_policy.as_ref().is_none_or(|on_failure| on_failure == "Fail")
        && theirs.param_kind.is_none()
        && theirs.match_conditions.as_ref().is_none_or(Vec::is_empty)
        && theirs.match_constraints.as_ref().is_some_and(|m| {
            everywhere(&m.namespace_selector)
                && everywhere(&m.object_selector)
                && m.exclude_resource_rules.as_ref().is_none_or(Vec::is_empty)
        })
        && rules(&theirs.match_constraints) == rules(&ours.match_constraints)
        && theirs.variables.as_deref().unwrap_or_default() == ours.variables.as_deref().unwrap_or_default()
        && expressions(theirs) == expressions(ours)
}
