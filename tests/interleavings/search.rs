//! All histories up to a depth, then random longer ones; a broken promise is reported as the shortest history that breaks it.
use std::{collections::HashSet, sync::Arc};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    digest::digest,
    model::{Event, Scenario, Site},
};

/// How much a search has covered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// States that differ.
    pub states: usize,
    /// Steps from one to the next.
    pub steps: usize,
    /// Histories that were followed to their end.
    pub ends: usize,
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.states += other.states;
        self.steps += other.steps;
        self.ends += other.ends;
    }
}

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Events in a history.
    pub depth: usize,
    /// Mishaps among them.
    pub mishaps: usize,
    /// One of so many histories is followed to its end.
    pub sample: u64,
}

/// A promise that was broken.
#[derive(Clone, Debug)]
pub struct Broken {
    pub what: String,
    pub history: Vec<Event>,
}

/// Every history of at most `bounds.depth` events, states that are the same being the same: breadth first, so that what is
/// found first is shortest.
pub fn exhaustive(scenario: &Arc<Scenario>, bounds: Bounds) -> Result<Seen, Box<Broken>> {
    /// A way back to the beginning.
    struct Link {
        from: usize,
        event: Event,
    }
    let root = Site::new(Arc::clone(scenario), false);
    let mut links: Vec<Link> = Vec::new();
    let mut known = HashSet::from([digest(&(&root, 0_usize))]);
    let mut frontier = vec![(root, 0, usize::MAX)];
    let mut seen = Seen::default();
    let history = |links: &Vec<Link>, mut at: usize, last: Option<Event>| {
        let mut events: Vec<Event> = last.into_iter().collect();
        while let Some(link) = links.get(at) {
            events.push(link.event.clone());
            at = link.from;
        }
        events.reverse();
        events
    };
    for _ in 0..bounds.depth {
        let mut next = Vec::new();
        for (site, mishaps, at) in frontier {
            for (event, mishap) in site.events() {
                let spent = mishaps + usize::from(mishap);
                if spent > bounds.mishaps {
                    continue;
                }
                let mut then = site.clone();
                seen.steps += 1;
                if let Err(what) = then.happen(&event) {
                    return Err(Box::new(Broken { what, history: history(&links, at, Some(event)) }));
                }
                let print = digest(&(&then, spent));
                if !known.insert(print) {
                    continue;
                }
                links.push(Link { from: at, event });
                let here = links.len() - 1;
                if print.is_multiple_of(bounds.sample) {
                    seen.ends += 1;
                    if let Err(what) = then.clone().settle() {
                        return Err(Box::new(Broken { what, history: history(&links, here, None) }));
                    }
                }
                next.push((then, spent, here));
            }
        }
        frontier = next;
    }
    seen.states = known.len();
    Ok(seen)
}

/// Random histories, each read an event of its own, each followed to its end.
pub fn random(scenario: &Arc<Scenario>, seed: u64, runs: usize, length: usize) -> Result<Seen, Box<Broken>> {
    let mut counted = Seen::default();
    for run in 0..runs {
        let mut rng = StdRng::seed_from_u64(seed.wrapping_add(run as u64));
        let mut site = Site::new(Arc::clone(scenario), true);
        let mut history = Vec::new();
        // Some lives are quiet, others are not.
        let calm = rng.random_range(2..30u32);
        // And each knows only some kinds of mishaps: all at once hide each other.
        let kinds = rng.random::<u16>() | rng.random::<u16>();
        for _ in 0..length {
            let all = site.events();
            let (mut mishaps, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, mishap)| *mishap);
            mishaps.retain(|(event, _)| kinds >> kind(event) & 1 == 1);
            // Work goes on more often than time goes by, or a process wakes up.
            let passes = |event: &Event| matches!(event, Event::Wait(_) | Event::Wake(_) | Event::Set(_));
            let (waits, work): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(event, _)| passes(event));
            let pools = [(mishaps, 1, calm), (waits, 1, 8), (work, 1, 1)];
            let pool = pools.iter().filter(|(pool, ..)| !pool.is_empty());
            let Some((pool, ..)) =
                pool.clone().find(|(_, n, of)| rng.random_ratio(*n, *of)).or(pool.clone().next_back())
            else {
                break;
            };
            let (event, _) = pool[rng.random_range(0..pool.len())].clone();
            history.push(event.clone());
            counted.steps += 1;
            if let Err(what) = site.happen(&event) {
                return Err(Box::new(shrunk(scenario, Broken { what, history })));
            }
        }
        counted.ends += 1;
        if let Err(what) = site.settle() {
            return Err(Box::new(shrunk(scenario, Broken { what, history })));
        }
    }
    Ok(counted)
}

/// The kind of a mishap, a number below 16; 0: not a mishap.
fn kind(event: &Event) -> u16 {
    match event {
        Event::Think(..) | Event::Wait(_) | Event::Wake(_) | Event::Set(_) => 0,
        Event::Blind(..) => 1,
        Event::Act(_, fate) => 2 + *fate as u16,
        Event::Call(_, end) => 6 + *end as u16 % 4,
        Event::Arrive(_) | Event::Crash(_) => 10,
        Event::Lead(_) | Event::Sleep(_) | Event::Jump(_) => 11,
        Event::Apply(_) | Event::TurnOn => 12,
        Event::Delete(_) => 13,
        Event::WipeStatus(_) => 14,
        Event::DeleteRecord(_) => 15,
    }
}

/// Whether a history breaks the same promise. What cannot happen any more, since something before it was left out, is left out.
fn replay(scenario: &Arc<Scenario>, history: &[Event]) -> Option<Broken> {
    let mut site = Site::new(Arc::clone(scenario), true);
    let mut done = Vec::new();
    for event in history {
        if !site.events().iter().any(|(possible, _)| possible == event) {
            continue;
        }
        done.push(event.clone());
        if let Err(what) = site.happen(event) {
            return Some(Broken { what, history: done });
        }
    }
    site.settle().err().map(|what| Broken { what, history: done })
}

/// The same failure in fewer events.
fn shrunk(scenario: &Arc<Scenario>, broken: Broken) -> Broken {
    let kind = |what: &str| what.split([':', ' ']).next().map(str::to_owned);
    let mut best = broken;
    let mut size = best.history.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < best.history.len() {
            let mut shorter = best.history.clone();
            shorter.drain(at..(at + size).min(shorter.len()));
            match replay(scenario, &shorter) {
                Some(found) if kind(&found.what) == kind(&best.what) && found.history.len() < best.history.len() => {
                    best = found;
                }
                _ => at += size,
            }
        }
        size /= 2;
    }
    best
}

/// A history as a text, one line for each event.
pub fn trace(scenario: &Arc<Scenario>, broken: &Broken, fine: bool) -> String {
    let mut site = Site::new(Arc::clone(scenario), fine);
    let mut text = format!("{}\n  in: {}\n", broken.what, scenario.name);
    for event in &broken.history {
        text += &format!("  {}\n", site.describe(event));
        if site.happen(event).is_err() {
            return text;
        }
    }
    text + "  and then, without further mishaps\n"
}
