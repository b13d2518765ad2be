//! Slots of concurrency: a fair semaphore for each Directory, so that a slow or unreachable directory does not delay the requests of
//! others.
use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::{Arc, Mutex},
};

use tokio::sync::mpsc::UnboundedSender;

use super::lock;

/// The slots of all Directories. `K` names a piece of work.
#[derive(Debug)]
pub struct Slots<K> {
    /// Slots of each Directory.
    limit: usize,
    /// Gets the work that should ask again.
    wake: UnboundedSender<K>,
    queues: Mutex<HashMap<String, Queue<K>>>,
}

#[derive(Debug)]
struct Queue<K> {
    /// Slots in use.
    taken: usize,
    waiting: VecDeque<K>,
    /// What is in `waiting`, so that no work is queued twice.
    queued: HashSet<K>,
    /// Work that was woken and has not asked again yet.
    notified: HashSet<K>,
}

/// A slot in use, until it is dropped.
#[derive(Debug)]
pub struct Slot<K: Clone + Eq + Hash> {
    slots: Arc<Slots<K>>,
    directory: String,
}

impl<K: Clone + Eq + Hash> Slots<K> {
    /// `limit` slots for each Directory. `wake` gets the work that should ask again.
    #[must_use]
    pub fn new(limit: u16, wake: UnboundedSender<K>) -> Arc<Self> {
        Arc::new(Self { limit: usize::from(limit), wake, queues: Mutex::default() })
    }

    /// A slot for `work`, if one is free and no other work waits before it. `None`: the work is queued, and is woken when it should ask
    /// again.
    pub fn try_acquire(self: &Arc<Self>, directory: &str, work: K) -> Option<Slot<K>> {
        let mut queues = lock(&self.queues);
        let queue = queues.entry(directory.to_owned()).or_insert_with(|| Queue {
            taken: 0,
            waiting: VecDeque::new(),
            queued: HashSet::new(),
            notified: HashSet::new(),
        });
        let notified = queue.notified.remove(&work);
        // While a slot is in use, its release will wake the work that waits.
        let next = notified || queue.waiting.is_empty() || queue.taken == 0;
        if next && queue.taken < self.limit {
            queue.taken += 1;
            return Some(Slot { slots: Arc::clone(self), directory: directory.to_owned() });
        }
        if queue.queued.insert(work.clone()) {
            if notified {
                queue.waiting.push_front(work);
            } else {
                queue.waiting.push_back(work);
            }
        }
        None
    }
}

impl<K: Clone + Eq + Hash> Drop for Slot<K> {
    fn drop(&mut self) {
        let mut queues = lock(&self.slots.queues);
        let Some(queue) = queues.get_mut(&self.directory) else { return };
        queue.taken -= 1;
        // Work that was woken earlier may not have asked yet. Then one of these finds no free slot, and goes to the front of the queue.
        for _ in queue.taken..self.slots.limit {
            let Some(next) = queue.waiting.pop_front() else { break };
            queue.queued.remove(&next);
            queue.notified.insert(next.clone());
            let _ = self.slots.wake.send(next); // fails when the term has ended
        }
        // Requests may name any Directory, so unused queues are removed.
        if queue.taken == 0 && queue.waiting.is_empty() {
            queues.remove(&self.directory);
        }
    }
}
