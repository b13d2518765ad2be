//! When requests of a set begin: compared with the decision itself, asked at each of the times.
use std::{collections::BTreeSet, sync::Arc};

use credreset::core::{
    Decision, Effect, Reason, World, decide,
    history::History,
    queue::{Turn, turns},
    record::{RecordSummary, State},
    seen::Seen,
    user::LookUp,
    world::Subject,
};
use jiff::{SignedDuration, Timestamp};
use proptest::{collection::vec, prelude::*};
use serde_json::json;

use super::base;

/// A request of user `user`, with everything but the limits open, that is valid for so many minutes. `second` makes requests for one user
/// differ.
fn world(user: usize, valid_for: i64, second: i64, limit: u32, interval: i64) -> World {
    let limits = json!({"resetsPerHour": limit, "minIntervalPerUser": format!("PT{interval}M")});
    let mut world = base("password", json!({"facts": {"directory": {"known": {"limits": limits}}}}));
    let Subject::Object { request, .. } = &mut world.subject else { unreachable!("the base has a request") };
    request.requested_at += SignedDuration::from_secs(second);
    request.created = request.requested_at;
    request.valid_for = SignedDuration::from_mins(valid_for);
    world.now = request.requested_at;
    let Seen::Known(LookUp::One(found)) = &mut world.facts.user else { unreachable!("the base has a user") };
    found.id.id = format!("{user}");
    world
}

fn past(number: usize, minutes: i64, state: State) -> Arc<RecordSummary> {
    let world = base("password", json!({}));
    let Seen::Known(directory) = &world.facts.directory else { unreachable!("the base has a Directory") };
    // Before any of the requests is ready.
    let ready = world.subject.request().unwrap().requested_at;
    let started_at = ready - SignedDuration::from_mins(minutes);
    Arc::new(RecordSummary {
        record: format!("r-{number}"),
        directory_identity: directory.identity.clone(),
        user: format!("old-{number}"),
        mode: credreset::core::Mode::Password,
        state,
        started_at,
        cannot_arrive_after: started_at + SignedDuration::from_secs(90),
    })
}

/// What is known at `now` of these records.
fn history(begun: &[Arc<RecordSummary>], now: Timestamp) -> History {
    let mut history = History::default();
    begun.iter().filter(|past| past.started_at <= now).for_each(|past| history.insert(Arc::clone(past)));
    history
}

fn at_time(world: &World, now: Timestamp, begun: &[Arc<RecordSummary>]) -> World {
    let mut world = World { now, ..world.clone() };
    history(begun, now).fill_in(&mut world);
    world
}

/// The record of a request that began at the world's time.
fn summary_of(world: &World) -> Arc<RecordSummary> {
    let (Seen::Known(directory), Seen::Known(LookUp::One(user))) = (&world.facts.directory, &world.facts.user) else {
        unreachable!("both are known")
    };
    Arc::new(RecordSummary {
        record: world.name_of_record().unwrap(),
        directory_identity: directory.identity.clone(),
        user: user.id.id.clone(),
        mode: world.subject.request().unwrap().mode(),
        state: State::Applied,
        started_at: world.now,
        cannot_arrive_after: world.now,
    })
}

/// Whether the operator would begin with it.
fn begins(world: &World) -> bool {
    matches!(decide(world), Decision::Do(Effect::StorePassword { .. } | Effect::Open(_)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn each_begins_when_the_decision_lets_it(
        requests in vec((0usize..6, 30i64..400), 1..25),
        before in vec((0i64..70, prop_oneof![Just(State::Applied), Just(State::Released), Just(State::NotApplied)]), 0..6),
        limit in 0u32..6,
        interval in 0i64..60,
    ) {
        let mut begun: Vec<Arc<RecordSummary>> =
            before.iter().enumerate().map(|(number, (minutes, state))| past(number, *minutes, *state)).collect();
        let at_start: History = history(&begun, Timestamp::MAX);
        let worlds: Vec<World> = requests
            .iter()
            .zip(0..)
            .map(|((user, valid_for), second)| world(*user, *valid_for, second, limit, interval))
            .collect();
        let found = turns(at_start, worlds.clone());
        prop_assert_eq!(found.len(), worlds.len());
        // In the order in which they begin, each is what the decision does then, and not a second before.
        let order: BTreeSet<(Timestamp, usize)> =
            found.iter().enumerate().filter_map(|(number, turn)| Some((turn.begins?, number))).collect();
        for (at, number) in order {
            let now = at_time(&worlds[number], at, &begun);
            prop_assert!(begins(&now), "{number} at {at}: {:?}", decide(&now));
            if let Some(reason) = found[number].waits_for {
                prop_assert!(matches!(reason, Reason::LimitReached | Reason::UserBusy), "{reason:?}");
                let earlier = at_time(&worlds[number], at - SignedDuration::from_secs(1), &begun);
                prop_assert!(!begins(&earlier), "{number} could begin before {at}");
            } else {
                prop_assert_eq!(at, worlds[number].now);
            }
            begun.push(summary_of(&now));
        }
        // What is left out cannot begin in the last second before its deadline.
        for (number, _) in found.iter().enumerate().filter(|(_, turn)| turn.begins.is_none()) {
            let deadline = worlds[number].subject.request().unwrap().deadline();
            let last = at_time(&worlds[number], deadline - SignedDuration::from_secs(1), &begun);
            prop_assert!(!begins(&last), "{number} could begin before its deadline");
        }
    }
}

/// Six hundred and a limit of twenty: as an administrator would count.
#[test]
fn an_incident() {
    let worlds: Vec<World> = (0..600).map(|n| world(n, 24 * 60, 0, 20, 15)).collect();
    let start = worlds[0].now;
    let found = turns(History::default(), worlds);
    let at_once = found.iter().filter(|turn| **turn == Turn { begins: Some(start), waits_for: None }).count();
    let never =
        found.iter().filter(|turn| turn.begins.is_none() && turn.waits_for == Some(Reason::LimitReached)).count();
    let last = found.iter().filter_map(|turn| turn.begins).max().unwrap();
    assert_eq!((at_once, never, last.duration_since(start)), (20, 120, SignedDuration::from_hours(23)));
}
