//! Whose turn it is: only so much is done at once for one Directory. A directory that is slow, or down, keeps nobody else's requests
//! waiting.
use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::{Arc, Mutex},
};

use tokio::sync::mpsc::UnboundedSender;

use super::lock;

/// The turns of all Directories. `K` names a piece of work.
#[derive(Debug)]
pub struct Turns<K> {
    /// At once, of one Directory.
    most: usize,
    /// Told when one should ask again.
    told: UnboundedSender<K>,
    lines: Mutex<HashMap<String, Line<K>>>,
}

#[derive(Debug)]
struct Line<K> {
    taken: usize,
    waiting: VecDeque<K>,
    /// The same, so that nobody is in line twice.
    known: HashSet<K>,
    /// Whose turn it was, and who has not asked again yet.
    told: HashSet<K>,
}

/// Until it is dropped, its holder is at work.
#[derive(Debug)]
pub struct Turn<K: Clone + Eq + Hash> {
    turns: Arc<Turns<K>>,
    directory: String,
}

impl<K: Clone + Eq + Hash> Turns<K> {
    /// With so many at once for each Directory.
    #[must_use]
    pub fn new(most: u16, told: UnboundedSender<K>) -> Arc<Self> {
        Arc::new(Self { most: usize::from(most), told, lines: Mutex::default() })
    }

    /// A turn for `work`, if there is room. If not, it waits in line, and is told when to ask again.
    pub fn take(self: &Arc<Self>, directory: &str, work: K) -> Option<Turn<K>> {
        let mut lines = lock(&self.lines);
        let line = lines.entry(directory.to_owned()).or_insert_with(|| Line {
            taken: 0,
            waiting: VecDeque::new(),
            known: HashSet::new(),
            told: HashSet::new(),
        });
        let told = line.told.remove(&work);
        // While somebody is at work there will be another turn for those in line.
        let next = told || line.waiting.is_empty() || line.taken == 0;
        if next && line.taken < self.most {
            line.taken += 1;
            return Some(Turn { turns: Arc::clone(self), directory: directory.to_owned() });
        }
        if line.known.insert(work.clone()) {
            if told {
                line.waiting.push_front(work);
            } else {
                line.waiting.push_back(work);
            }
        }
        None
    }
}

impl<K: Clone + Eq + Hash> Drop for Turn<K> {
    fn drop(&mut self) {
        let mut lines = lock(&self.turns.lines);
        let Some(line) = lines.get_mut(&self.directory) else { return };
        line.taken -= 1;
        // Whoever was told before may not have asked yet: then one of these finds no room, and is the next in line again.
        for _ in line.taken..self.turns.most {
            let Some(next) = line.waiting.pop_front() else { break };
            line.known.remove(&next);
            line.told.insert(next.clone());
            let _ = self.turns.told.send(next); // fails when the term is over
        }
        // Requests may name any Directory.
        if line.taken == 0 && line.waiting.is_empty() {
            lines.remove(&self.directory);
        }
    }
}
