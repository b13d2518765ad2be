//! At the API server: what is watched, read and written. Decisions are the core's.
pub mod admin;
pub(crate) mod approvals;
pub mod controller;
pub mod directories;
mod effects;
pub mod events;
mod facts;
pub mod lease;
pub mod ledger;
pub mod metrics;
pub mod reconcile;
pub mod secrets;
pub mod status;

use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Preconditions},
};

use crate::core::world::Why;

/// What these mutexes hold is whole after every statement, so a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a fact is not known.
fn silent() -> Why {
    Why::new("the API server did not answer.")
}

/// Deletes what `seen` shows, unless it has changed since; returns whether it did.
async fn delete_unchanged<K>(api: &Api<K>, seen: &impl ResourceExt) -> kube::Result<bool>
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let unchanged = Preconditions { uid: seen.uid(), resource_version: seen.resource_version() };
    match api.delete(&seen.name_any(), &DeleteParams::default().preconditions(unchanged)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(false),
        Err(error) => Err(error),
    }
}
