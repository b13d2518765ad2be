//! The queue: when each request of a set would begin. It asks the gate of the limits again and again, as the operator does, and counts
//! what has begun meanwhile.
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    gates,
    history::History,
    reason::Reason,
    record::{RecordSummary, State},
    seen::Seen,
    user::LookUp,
    world::World,
};

/// When a request of a set would begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// At this time, or soon after it. `None`: its deadline would pass first.
    pub begins: Option<Timestamp>,
    /// What it waits for until then: `LimitReached` or `UserBusy`. `None`: nothing.
    pub waits_for: Option<Reason>,
}

/// When each of `worlds` would begin, if every gate but that of the limits were open. Each world has its Directory, its user, and in
/// `now` the time from which on it is ready. `history`: what has begun before. Of those that are ready the one with the earliest deadline
/// begins, so that as few as possible expire; the operator promises no order.
#[must_use]
pub fn turns(mut history: History, mut worlds: Vec<World>) -> Vec<Turn> {
    let mut turns = vec![Turn::default(); worlds.len()];
    let mut queue: BinaryHeap<Reverse<(Timestamp, Timestamp, usize)>> = worlds
        .iter()
        .enumerate()
        .filter_map(|(number, world)| Some(Reverse((world.now, world.subject.request()?.deadline(), number))))
        .collect();
    // Until when a Directory lets nothing more begin: what waits for that need not be asked about one by one.
    let mut full: HashMap<String, Timestamp> = HashMap::new();
    while let Some(Reverse((now, deadline, number))) = queue.pop() {
        let (Some(world), Some(turn)) = (worlds.get_mut(number), turns.get_mut(number)) else { continue };
        if now >= deadline {
            continue;
        }
        let Seen::Known(directory) = &world.facts.directory else { continue };
        // A record of the request itself would not count for it.
        let asks = matches!(world.ledger.record, Seen::Known(_));
        if let Some(until) = full.get(&directory.name).filter(|until| **until > now && !asks) {
            turn.waits_for = Some(Reason::LimitReached);
            queue.push(Reverse(((*until).min(deadline), deadline, number)));
            continue;
        }
        let name = directory.name.clone();
        world.now = now;
        history.expire(now);
        history.fill_in(world);
        match gates::turn(world) {
            Ok(()) => {
                turn.begins = Some(now);
                if let Some(begun) = begun(world) {
                    history.insert(begun);
                }
            }
            Err((reason, until)) => {
                turn.waits_for = Some(reason);
                if reason == Reason::LimitReached && !asks {
                    full.insert(name, until);
                }
                queue.push(Reverse((until, deadline, number)));
            }
        }
    }
    turns
}

/// What the limits count of a request that begins at the world's time and succeeds at once.
fn begun(world: &World) -> Option<Arc<RecordSummary>> {
    let (Seen::Known(directory), Seen::Known(LookUp::One(user))) = (&world.facts.directory, &world.facts.user) else {
        return None;
    };
    Some(Arc::new(RecordSummary {
        record: world.name_of_record()?,
        directory_identity: directory.identity.clone(),
        user: user.id.id.clone(),
        mode: world.subject.request()?.mode(),
        state: State::Applied,
        started_at: world.now,
        cannot_arrive_after: world.now,
    }))
}
