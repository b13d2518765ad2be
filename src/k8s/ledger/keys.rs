//! The index of the keys that have records, kept by a watch. It spares a list by label for most requests: the API server reads
//! all records to answer one.
use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard},
};

use futures::StreamExt;
use kube::{
    Api, ResourceExt,
    core::PartialObjectMeta,
    runtime::{WatchStreamExt, watcher},
};

use crate::{
    api::{CredentialResetRecord, record::KEY_LABEL},
    k8s::{hash, lock},
};

/// The keys that have records.
///
/// A key that is not in the index has no record, except for one that another process wrote a moment ago: a leader whose term has
/// ended, which sends no call after the write, or an administrator who restores a backup. Such a record is still found by its name,
/// which is read from the API server before anything is written.
#[derive(Debug, Default)]
pub(super) struct Keys(Mutex<Index>);

#[derive(Debug, Default)]
struct Index {
    /// The watch has listed all records and has not failed since.
    complete: bool,
    /// Hashes of keys. Those of deleted records stay.
    hashes: HashSet<u64>,
}

impl Keys {
    /// `false`: no record has this key.
    pub(super) fn may_contain(&self, key: &str) -> bool {
        let index = self.index();
        !index.complete || index.hashes.contains(&hash(&key))
    }

    /// Adds the key of a record that is about to be written.
    pub(super) fn insert(&self, key: &str) {
        self.index().hashes.insert(hash(&key));
    }

    /// Forgets everything: a new term begins.
    pub(super) fn clear(&self) {
        *self.index() = Index::default();
    }

    /// Follows `records` until dropped.
    pub(super) async fn watch(&self, records: Api<PartialObjectMeta<CredentialResetRecord>>) {
        // Small pages: nothing waits for them, and the process does not give back the memory that a large page takes.
        let all = watcher::Config::default().page_size(100);
        let mut events = std::pin::pin!(watcher(records, all).default_backoff());
        while let Some(event) = events.next().await {
            let mut index = self.index();
            match event {
                Ok(watcher::Event::InitApply(record) | watcher::Event::Apply(record)) => {
                    index.hashes.extend(record.labels().get(KEY_LABEL).map(hash));
                }
                Ok(watcher::Event::InitDone) => index.complete = true,
                Ok(watcher::Event::Delete(_)) => {}
                Ok(watcher::Event::Init) | Err(_) => index.complete = false,
            }
        }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        lock(&self.0)
    }
}
