//! At the API server: what is watched, read and written. Decisions are the core's.
pub mod admin;
pub(crate) mod approvals;
pub mod client;
pub mod clock;
pub mod controller;
pub mod directories;
mod effects;
pub mod events;
mod facts;
mod lean;
pub mod lease;
pub mod ledger;
pub mod life;
pub mod metrics;
pub mod reconcile;
pub mod secrets;
pub mod status;
mod turns;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Preconditions},
    core::ObjectList,
};
use serde::de::DeserializeOwned;

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
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned,
{
    let unchanged = Preconditions { uid: seen.uid(), resource_version: seen.resource_version() };
    match api.delete(&seen.name_any(), &DeleteParams::default().preconditions(unchanged)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Hands every object that `params` select to `take`, page by page, of 500 unless they say otherwise.
///
/// # Errors
/// If the API server does not answer, or refuses.
pub async fn each<K>(api: &Api<K>, params: ListParams, mut take: impl FnMut(K)) -> kube::Result<()>
where
    K: Clone + std::fmt::Debug + DeserializeOwned,
{
    let mut params = ListParams { limit: params.limit.or(Some(500)), ..params };
    loop {
        let mut page = api.list(&params).await?;
        let more = turn(&mut params, &page);
        page.items.drain(..).for_each(&mut take);
        if !more {
            return Ok(());
        }
    }
}

/// Turns to the page after `page`; false if it was the last.
fn turn<K: Clone>(params: &mut ListParams, page: &ObjectList<K>) -> bool {
    params.continue_token = page.metadata.continue_.clone().filter(|token| !token.is_empty());
    params.continue_token.is_some()
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
