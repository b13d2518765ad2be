//! Locks by name.
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio::sync::OwnedMutexGuard;

use super::lock;

/// Locks by name, so that no two tasks of this process work on the same request or record.
#[derive(Debug, Default)]
pub struct Locks(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Locks {
    /// Waits for the lock of `name`.
    pub async fn lock(&self, name: &str) -> OwnedMutexGuard<()> {
        let mutex = {
            let mut locks = lock(&self.0);
            // A count of 1 is the map's own: no task holds the lock or waits for it.
            locks.retain(|_, mutex| Arc::strong_count(mutex) > 1);
            Arc::clone(locks.entry(name.to_owned()).or_default())
        };
        mutex.lock_owned().await
    }
}
