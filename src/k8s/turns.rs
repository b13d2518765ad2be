//! Whose turn it is: only so much is done at once for one Directory. A directory that is slow, or down, keeps nobody else's requests
//! waiting.
use std::{
    collections::{HashMap, HashSet, VecDeque},
    mem::{Discriminant, discriminant},
    sync::{Arc, Mutex},
};

use tokio::sync::mpsc::UnboundedSender;

use super::lock;

/// What to work on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    /// The request of this namespace and name.
    Request(String, String),
    /// The record of this name, whether or not its request's object is still there.
    Record(String),
}

/// Requests of a Directory, or records.
type Line = (String, Discriminant<Item>);

/// The turns of all Directories.
#[derive(Debug)]
pub struct Turns {
    /// At once, of one Directory and kind.
    most: usize,
    /// Told when a request, or a record, should ask again.
    requests: UnboundedSender<Item>,
    records: UnboundedSender<Item>,
    queues: Mutex<HashMap<Line, Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    taken: usize,
    waiting: VecDeque<Item>,
    /// The same, so that nobody is in line twice.
    known: HashSet<Item>,
    /// Whose turn it was, and who has not asked again yet.
    told: HashSet<Item>,
}

/// Until it is dropped, its holder is at work.
#[derive(Debug)]
pub struct Turn {
    turns: Arc<Turns>,
    line: Line,
}

impl Turns {
    /// With so many at once for each Directory, and each kind.
    #[must_use]
    pub fn new(most: u16, requests: UnboundedSender<Item>, records: UnboundedSender<Item>) -> Arc<Self> {
        Arc::new(Self { most: usize::from(most), requests, records, queues: Mutex::default() })
    }

    /// A turn for `item`, if there is room. If not, it waits in line, and is told when to ask again.
    pub fn take(self: &Arc<Self>, directory: &str, item: &Item) -> Option<Turn> {
        let line = (directory.to_owned(), discriminant(item));
        let mut queues = lock(&self.queues);
        let queue = queues.entry(line.clone()).or_default();
        let told = queue.told.remove(item);
        // While somebody is at work there will be another turn for those in line.
        let next = told || queue.waiting.is_empty() || queue.taken == 0;
        if next && queue.taken < self.most {
            queue.taken += 1;
            return Some(Turn { turns: Arc::clone(self), line });
        }
        if queue.known.insert(item.clone()) {
            if told {
                queue.waiting.push_front(item.clone());
            } else {
                queue.waiting.push_back(item.clone());
            }
        }
        None
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queues = lock(&self.turns.queues);
        let Some(queue) = queues.get_mut(&self.line) else { return };
        queue.taken -= 1;
        // Whoever was told before may not have asked yet: then one of these finds no room, and is the next in line again.
        for _ in queue.taken..self.turns.most {
            let Some(next) = queue.waiting.pop_front() else { break };
            queue.known.remove(&next);
            queue.told.insert(next.clone());
            let told = match &next {
                Item::Request(..) => &self.turns.requests,
                Item::Record(_) => &self.turns.records,
            };
            let _ = told.send(next); // fails when the term is over
        }
        // Requests may name any Directory.
        if queue.taken == 0 && queue.waiting.is_empty() {
            queues.remove(&self.line);
        }
    }
}
