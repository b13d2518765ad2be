//! Events, one for each transition. They are published in the background: the loss of an Event does not stop a reconcile.
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use crate::core::text;

/// The operator's name in Events.
pub const CONTROLLER_NAME: &str = "credreset";

/// Bytes of an Event's `reportingInstance`. The API server refuses a longer one, and a Pod's name may be longer.
const MAX_INSTANCE: usize = 128;

/// Publishes Events.
#[derive(Clone)]
pub struct Events(Recorder);

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}

impl Events {
    /// For the process called `instance`.
    #[must_use]
    pub fn new(client: Client, instance: &str) -> Self {
        let instance = Some(text::printable(instance, MAX_INSTANCE));
        Self(Recorder::new(client, Reporter { controller: CONTROLLER_NAME.to_owned(), instance }))
    }

    /// Publishes an Event about `object`.
    pub fn publish<K: Resource<DynamicType = ()>>(&self, object: &K, reason: &str, message: &str, warning: bool) {
        self.publish_to(object.object_ref(&()), reason, message, warning);
    }

    /// Publishes an Event about the object that `reference` names.
    pub fn publish_to(&self, reference: ObjectReference, reason: &str, message: &str, warning: bool) {
        let event = Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason: reason.to_owned(),
            note: Some(text::printable(message, text::NOTE)),
            action: "Reset".to_owned(),
            secondary: None,
        };
        let recorder = self.0.clone();
        tokio::spawn(async move {
            if let Err(error) = recorder.publish(&event, &reference).await {
                tracing::debug!(name = reference.name, error = %error, "failed to publish an Event");
            }
        });
    }
}
