//! A request's status: a view of what the core has decided.
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{events::Events, lean::Lean, metrics::Metrics};
use crate::{
    api::{CredentialReset, reset::CredentialResetStatus},
    core::{
        View,
        report::{Extra, Truth},
    },
};

/// The status that shows `view`. A condition keeps its time while it stays what it is.
#[must_use]
pub fn status(object: &CredentialReset, view: &View, now: Timestamp) -> CredentialResetStatus {
    let (ready, _, extra) = view.reason.conditions();
    let condition = |type_: &str, status: Truth| {
        let status = status.to_string();
        let old = object.status.iter().flat_map(|s| &s.conditions).find(|c| c.type_ == type_ && c.status == status);
        Condition {
            type_: type_.to_owned(),
            status,
            reason: view.reason.to_string(),
            message: view.message.clone(),
            observed_generation: object.meta().generation,
            last_transition_time: old.map_or_else(|| Time(now), |c| c.last_transition_time.clone()),
        }
    };
    let mut conditions = vec![condition("Ready", ready), condition("Succeeded", view.succeeded)];
    conditions.extend(extra.map(|extra| match extra {
        Extra::Reconciling => condition("Reconciling", Truth::True),
        Extra::Stalled => condition("Stalled", Truth::True),
    }));
    CredentialResetStatus {
        observed_generation: object.meta().generation.unwrap_or_default(),
        outcome: view.outcome(),
        user: view.user.clone(),
        digest: object.request().ok().map(|request| request.spec_digest()),
        record: view.record.clone(),
        evidence: view.evidence,
        start_time: view.started_at.map(Time),
        // A request that ended without a record ended now.
        completion_time: view.outcome().map(|_| Time(view.completed_at.unwrap_or(now))),
        conditions,
    }
}

/// Shows `view` in the object's status, if it shows something else now, and tells of it in an Event. Returns the object as it
/// is then; `None` if it is gone or another of the same name.
///
/// # Errors
/// If the API server does not answer, or refuses.
pub async fn show(
    client: &Client,
    events: &Events,
    metrics: &Metrics,
    object: CredentialReset,
    view: &View,
) -> kube::Result<Option<CredentialReset>> {
    let api: Api<Lean<CredentialReset>> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let name = object.name_any();
    let uid = object.uid();
    let mut object = object;
    loop {
        if !view.may_replace(&object.shown()) {
            return Ok(Some(object));
        }
        let new = status(&object, view, Timestamp::now());
        if object.status.as_ref().is_some_and(|old| same(old, &new)) {
            return Ok(Some(object));
        }
        let told = object.shown().reason == Some(view.reason);
        // With the version that was read: an object that was re-created meanwhile must not get this one's outcome.
        let patch = json!({ "metadata": {"resourceVersion": object.resource_version()}, "status": with_nulls(&new) });
        match api.patch_status(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(Lean(stored)) => {
                if !told {
                    let warning = matches!(view.reason.conditions(), (Truth::False, ..));
                    events.publish(&stored, &view.reason.to_string(), &view.message, warning);
                }
                if view.outcome() != object.shown().outcome {
                    metrics.told(view.reason);
                }
                return Ok(Some(stored));
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(None),
            Err(kube::Error::Api(status)) if status.is_conflict() => match api.get_opt(&name).await? {
                Some(Lean(fresh)) if fresh.uid() == uid => object = fresh,
                _ => return Ok(None),
            },
            Err(error) => return Err(error),
        }
    }
}

/// Has the status of a request with an outcome be about the object's generation, if what it asks for is what it was.
///
/// # Errors
/// If the API server does not answer, or refuses.
pub async fn take_over_generation(client: &Client, object: &CredentialReset) -> kube::Result<()> {
    let asked = object.request().ok().map(|request| request.spec_digest());
    let Some(mut status) = object.status.clone().filter(|status| status.digest == asked) else { return Ok(()) };
    let generation = object.metadata.generation;
    status.observed_generation = generation.unwrap_or_default();
    status.conditions.iter_mut().for_each(|condition| condition.observed_generation = generation);
    let patch = json!({ "metadata": {"resourceVersion": object.resource_version()}, "status": status });
    let api: Api<Lean<CredentialReset>> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    api.patch_status(&object.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
}

/// The completion time of a request without a record is when it was first said.
fn same(old: &CredentialResetStatus, new: &CredentialResetStatus) -> bool {
    let mut new = new.clone();
    if new.outcome == old.outcome && old.completion_time.is_some() {
        new.completion_time.clone_from(&old.completion_time);
    }
    *old == new
}

/// A merge patch removes a field only where it says null.
fn with_nulls(status: &CredentialResetStatus) -> Value {
    let mut value = json!({
        "outcome": null, "user": null, "digest": null, "record": null, "evidence": null, "startTime": null, "completionTime": null,
    });
    if let (Value::Object(all), Ok(Value::Object(set))) = (&mut value, serde_json::to_value(status)) {
        all.extend(set);
    }
    value
}
