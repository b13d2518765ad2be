//! The API server: watches, reads and writes. The core decides.
pub(crate) mod admission;
pub(crate) mod approvals;
pub mod client;
pub mod clock;
pub mod controller;
pub mod directories;
mod effects;
pub mod events;
mod facts;
mod housekeeping;
pub mod http_server;
pub mod identity;
mod lean;
pub mod lease;
pub mod ledger;
pub mod liveness;
pub mod locks;
pub mod metrics;
pub mod reconcile;
pub mod secrets;
mod slots;
pub mod status;

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

use crate::core::seen::Why;

pub(crate) use admission::Unverifiable;

/// Locks `mutex`. What these mutexes hold is consistent after every statement, so a panic of another task does no harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a fact is unknown: the API server did not answer.
fn no_answer() -> Why {
    Why::new("the API server did not answer.")
}

/// Deletes `object` unless it has changed since it was read; returns whether it did.
async fn delete_unchanged<K>(api: &Api<K>, object: &impl ResourceExt) -> kube::Result<bool>
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned,
{
    let unchanged = Preconditions { uid: object.uid(), resource_version: object.resource_version() };
    match api.delete(&object.name_any(), &DeleteParams::default().preconditions(unchanged)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Lists the objects that `params` select, page by page, and calls `take` with each. A page has 500 objects unless `params` has a limit.
///
/// # Errors
/// If the API server does not answer, or refuses.
pub async fn for_each_page<K>(api: &Api<K>, params: ListParams, mut take: impl FnMut(K)) -> kube::Result<()>
where
    K: Clone + std::fmt::Debug + DeserializeOwned,
{
    let mut params = ListParams { limit: params.limit.or(Some(500)), ..params };
    loop {
        let mut page = api.list(&params).await?;
        let more = next_page(&mut params, &page);
        page.items.drain(..).for_each(&mut take);
        if !more {
            return Ok(());
        }
    }
}

/// Sets `params` to the page after `page`; `false`: it was the last one.
fn next_page<K: Clone>(params: &mut ListParams, page: &ObjectList<K>) -> bool {
    params.continue_token = page.metadata.continue_.clone().filter(|token| !token.is_empty());
    params.continue_token.is_some()
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
