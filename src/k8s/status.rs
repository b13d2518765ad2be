//! The status of requests: the view that the core has decided on, as conditions and Events.
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
        reason::{Extra, Truth},
    },
};

/// The status of `object` that shows `view`. A condition keeps its transition time while its status stays the same.
fn status_of(object: &CredentialReset, view: &View, now: Timestamp) -> CredentialResetStatus {
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
    let request = object.request().ok();
    let found = view.user.as_ref().map(|user| user.name.clone());
    CredentialResetStatus {
        observed_generation: object.meta().generation.unwrap_or_default(),
        outcome: view.outcome(),
        subject: found.or_else(|| Some(request.as_ref()?.user.to_string())),
        user: view.user.clone(),
        digest: request.map(|request| request.spec_digest()),
        record: view.record.clone(),
        evidence: view.evidence,
        start_time: view.started_at.map(Time),
        // A request that ended without a record ended now.
        completion_time: view.outcome().map(|_| Time(view.completed_at.unwrap_or(now))),
        conditions,
    }
}

/// Writes the status of requests.
#[derive(Clone)]
pub struct Statuses {
    client: Client,
    events: Events,
    metrics: Metrics,
}

impl Statuses {
    /// With Events and metrics for what changes.
    #[must_use]
    pub fn new(client: Client, events: Events, metrics: Metrics) -> Self {
        Self { client, events, metrics }
    }

    fn api(&self, object: &CredentialReset) -> Api<Lean<CredentialReset>> {
        Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default())
    }

    /// Writes `view` into the object's status if the status differs, and publishes an Event if the reason differs. Returns the object as
    /// stored. `None`: it was deleted, or another object has its name.
    ///
    /// # Errors
    /// If the API server does not answer, or refuses.
    pub async fn show(&self, mut object: CredentialReset, view: &View) -> kube::Result<Option<CredentialReset>> {
        let api = self.api(&object);
        let (name, uid) = (object.name_any(), object.uid());
        loop {
            if !view.may_replace(&object.status_summary()) {
                return Ok(Some(object));
            }
            let new = status_of(&object, view, Timestamp::now());
            if object.status.as_ref().is_some_and(|old| is_unchanged(old, &new)) {
                return Ok(Some(object));
            }
            let same_reason = object.status_summary().reason == Some(view.reason);
            // With the resourceVersion that was read: an object that was re-created meanwhile must not get this one's outcome.
            let patch =
                json!({ "metadata": {"resourceVersion": object.resource_version()}, "status": with_nulls(&new) });
            match api.patch_status(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(Lean(stored)) => {
                    if !same_reason {
                        let warning = matches!(view.reason.conditions(), (Truth::False, ..));
                        self.events.publish(&stored, &view.reason.to_string(), &view.message, warning);
                    }
                    if view.outcome() != object.status_summary().outcome {
                        self.metrics.count_outcome(view.reason);
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

    /// Sets the observed generation of a request with an outcome to the object's, if the request still asks for the same.
    ///
    /// # Errors
    /// If the API server does not answer, or refuses.
    pub async fn observe_generation(&self, object: &CredentialReset) -> kube::Result<()> {
        let digest = object.request().ok().map(|request| request.spec_digest());
        let Some(mut status) = object.status.clone().filter(|status| status.digest == digest) else { return Ok(()) };
        let generation = object.metadata.generation;
        status.observed_generation = generation.unwrap_or_default();
        status.conditions.iter_mut().for_each(|condition| condition.observed_generation = generation);
        let patch = json!({ "metadata": {"resourceVersion": object.resource_version()}, "status": status });
        self.api(object).patch_status(&object.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
    }
}

/// Whether the two differ in nothing but the completion time of a request without a record, which is the time of its first status with an
/// outcome.
fn is_unchanged(old: &CredentialResetStatus, new: &CredentialResetStatus) -> bool {
    let mut new = new.clone();
    if new.outcome == old.outcome && old.completion_time.is_some() {
        new.completion_time.clone_from(&old.completion_time);
    }
    *old == new
}

/// A merge patch removes a field only where it has null.
fn with_nulls(status: &CredentialResetStatus) -> Value {
    let mut value = json!({
        "outcome": null, "subject": null, "user": null, "digest": null, "record": null, "evidence": null, "startTime": null, "completionTime": null,
    });
    if let (Value::Object(all), Ok(Value::Object(set))) = (&mut value, serde_json::to_value(status)) {
        all.extend(set);
    }
    value
}
