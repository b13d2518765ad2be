//! Whose turn it is: only so much is done at once for one Directory, and less while it does not keep up. A directory that is slow, or
//! down, keeps nobody else's requests waiting.
use std::{
    collections::{HashMap, HashSet, VecDeque},
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

/// The turns of all Directories.
#[derive(Debug)]
pub struct Turns {
    /// At once, where the directory keeps up.
    most: f64,
    /// Told when a request, or a record, should ask again.
    requests: UnboundedSender<Item>,
    records: UnboundedSender<Item>,
    queues: Mutex<HashMap<String, Queue>>,
}

#[derive(Debug)]
struct Queue {
    taken: f64,
    /// How many may be taken: half as many once the directory does not keep up, one more after a round of calls that went well.
    room: f64,
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
    directory: String,
}

impl Turns {
    /// With so many at once for each Directory.
    #[must_use]
    pub fn new(most: u16, requests: UnboundedSender<Item>, records: UnboundedSender<Item>) -> Arc<Self> {
        Arc::new(Self { most: f64::from(most), requests, records, queues: Mutex::default() })
    }

    /// A turn for `item`, if there is room. If not, it waits in line, and is told when to ask again.
    pub fn take(self: &Arc<Self>, directory: &str, item: &Item) -> Option<Turn> {
        let mut queues = lock(&self.queues);
        let queue = queues.entry(directory.to_owned()).or_insert_with(|| Queue {
            taken: 0.0,
            room: self.most,
            waiting: VecDeque::new(),
            known: HashSet::new(),
            told: HashSet::new(),
        });
        let told = queue.told.remove(item);
        // While somebody is at work there will be another turn for those in line.
        let next = told || queue.waiting.is_empty() || queue.taken < 1.0;
        if next && queue.taken + 1.0 <= queue.room {
            queue.taken += 1.0;
            return Some(Turn { turns: Arc::clone(self), directory: directory.to_owned() });
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

    /// A call to the directory was answered in good time, or it was not, or the directory asked to be left alone.
    pub fn answered(&self, directory: &str, well: bool) {
        if let Some(queue) = lock(&self.queues).get_mut(directory) {
            let room = if well { queue.room + 1.0 / queue.room } else { queue.room / 2.0 };
            queue.room = room.clamp(1.0, self.most);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queues = lock(&self.turns.queues);
        let Some(queue) = queues.get_mut(&self.directory) else { return };
        queue.taken -= 1.0;
        // Whoever was told before may not have asked yet: then one of these finds no room, and is the next in line again.
        let mut free = queue.room - queue.taken;
        while free >= 1.0
            && let Some(next) = queue.waiting.pop_front()
        {
            free -= 1.0;
            queue.known.remove(&next);
            queue.told.insert(next.clone());
            let told = match &next {
                Item::Request(..) => &self.turns.requests,
                Item::Record(_) => &self.turns.records,
            };
            let _ = told.send(next); // fails when the term is over
        }
        // Requests may name any Directory.
        if queue.taken < 1.0 && queue.waiting.is_empty() && queue.room >= self.turns.most {
            queues.remove(&self.directory);
        }
    }
}
