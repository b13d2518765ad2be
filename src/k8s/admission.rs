//! Admission policies: whether the ones in the cluster are the chart's. Only then an object proves who created it.
use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::admissionregistration::v1::{
        MatchResources, NamedRuleWithOperations, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
        ValidatingAdmissionPolicySpec,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use kube::{Api, Client};

use super::no_answer;
use crate::core::seen::Why;

/// An admission policy that has a binding of the same name.
#[derive(Clone, Copy)]
pub(super) struct Policy {
    name: &'static str,
    /// The policy's spec as the chart installs it, in YAML.
    spec: &'static str,
}

/// The policies that compare the caller with the requester or approver in the object. Without them anyone could use the name of
/// another person.
pub(super) const REQUESTS_AND_APPROVALS: [Policy; 2] = [
    Policy { name: "credreset-requests", spec: include_str!("../../charts/credreset/files/requests-policy.yaml") },
    Policy { name: "credreset-approvals", spec: include_str!("../../charts/credreset/files/approvals-policy.yaml") },
];

/// The policy that compares the caller with the person named in a settlement.
pub(super) const SETTLEMENTS: [Policy; 1] = [Policy {
    name: "credreset-settlements",
    spec: include_str!("../../charts/credreset/files/settlements-policy.yaml"),
}];

/// How long after its write a policy may not be in force yet: each API server loads it a moment later.
const POLICY_DELAY: SignedDuration = SignedDuration::from_secs(5);

/// Why it cannot be determined who has approved, settled or requested.
pub(crate) enum Unverifiable {
    /// An admission policy is missing, or weaker than the chart's.
    Unguarded(Why),
    /// The reader lacks a right.
    Forbidden(Why),
    /// The API server did not answer.
    NoAnswer,
}

impl From<Unverifiable> for Why {
    fn from(unverifiable: Unverifiable) -> Self {
        match unverifiable {
            Unverifiable::Unguarded(why) | Unverifiable::Forbidden(why) => why,
            Unverifiable::NoAnswer => no_answer(),
        }
    }
}

impl Unverifiable {
    /// `right`: what the operator lacks, to complete "the operator may not".
    pub(super) fn of(error: &kube::Error, right: &str) -> Self {
        match error {
            kube::Error::Api(status) if status.is_forbidden() => {
                Self::Forbidden(Why::new(format!("the operator may not {right}. Give its ServiceAccount that right.")))
            }
            _ => Self::NoAnswer,
        }
    }
}

/// The time since which all of `policies` have been in force, unchanged. Objects created after it are what they claim.
///
/// # Errors
/// Why that cannot be determined. `what`: what the policies guard, to complete "it cannot be determined".
pub(super) async fn guarded(client: &Client, policies: &[Policy], what: &str) -> Result<Timestamp, Unverifiable> {
    let mut since = Timestamp::MIN;
    for policy in policies {
        let name = policy.name;
        match guarded_since(client, *policy).await {
            Ok(Some(stored)) => since = since.max(stored.saturating_add(POLICY_DELAY).unwrap_or(Timestamp::MAX)),
            Ok(None) => {
                return Err(Unverifiable::Unguarded(Why::new(format!(
                    "admission policy {name} is missing, does not deny, or is not the one of this version's chart, so it cannot be \
                     determined {what}. Install the chart's policies."
                ))));
            }
            Err(error) => {
                return Err(Unverifiable::of(&error, &format!("check whether admission policy {name} is there")));
            }
        }
    }
    Ok(since)
}

/// Whether all of the chart's policies that prove who made an object are in force.
///
/// # Errors
/// Why that is not so, or cannot be determined.
pub(crate) async fn check(client: &Client) -> Result<(), Unverifiable> {
    guarded(client, &REQUESTS_AND_APPROVALS, "who has requested and approved a reset").await?;
    guarded(client, &SETTLEMENTS, "who has settled an outcome").await.map(drop)
}

/// When the policy or its binding was last written. `None`: they do not deny, everywhere, what the chart's policy denies.
async fn guarded_since(client: &Client, Policy { name, spec }: Policy) -> kube::Result<Option<Timestamp>> {
    let policy = Api::<ValidatingAdmissionPolicy>::all(client.clone()).get_opt(name).await?;
    let binding = Api::<ValidatingAdmissionPolicyBinding>::all(client.clone()).get_opt(name).await?;
    let (Some(policy), Some(binding)) = (policy, binding) else { return Ok(None) };
    let (Some(first), Some(second)) = (spec_written_at(&policy.metadata), spec_written_at(&binding.metadata)) else {
        return Ok(None);
    };
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

/// When the spec of `object` was last written, by its managed fields, which the API server keeps for
/// every writer. A policy that was weakened and fixed in place may have admitted anything before that.
fn spec_written_at(object: &ObjectMeta) -> Option<Timestamp> {
    let wrote = object.managed_fields.iter().flatten().filter(|wrote| {
        let fields = wrote.fields_v1.as_ref().map(|fields| &fields.0);
        wrote.subresource.as_deref().unwrap_or_default().is_empty()
            && fields.is_none_or(|all| all.get("f:spec").is_some())
    });
    let created = object.creation_timestamp.as_ref()?;
    wrote.filter_map(|wrote| wrote.time.as_ref()).chain([created]).map(|time| time.0).max()
}

/// Whether `theirs` denies what `ours` denies: it has the same validations, and no condition under which they are skipped.
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
        // The API server adds the scope "*".
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
