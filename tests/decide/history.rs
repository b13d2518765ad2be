//! The history that limits are counted over: the index against a search through all records.
use std::{collections::BTreeMap, sync::Arc};

use credreset::core::{
    Mode,
    history::History,
    record::{RecordSummary, State, record_name},
    seen::Seen,
};
use jiff::{SignedDuration, Timestamp};
use proptest::{collection::vec, option, prelude::*};
use serde_json::json;

use super::{arbitrary::state, base};

fn nine() -> Timestamp {
    "2026-11-24T09:00:00Z".parse().unwrap()
}

/// A record as it is noted; none: it is gone. Times are minutes after nine.
type Step = (usize, i64, Option<State>, usize, usize);

fn step() -> impl Strategy<Value = Step> {
    (0usize..5, 0i64..120, option::weighted(0.9, state()), 0usize..2, 0usize..2)
}

proptest! {
    #[test]
    fn the_past_is_shown_as_it_is(steps in vec(step(), 0..30), allowed in 0u32..5, now in 0i64..150) {
        let request = base("password", json!({})).subject.request().unwrap().clone();
        let own = record_name("zoho:x/1", "7", Mode::Password, request.requested_at);
        let names = ["r-1", "r-2", "r-3", "r-4", &own];
        let now = nine() + SignedDuration::from_mins(now);
        let hour_ago = now - SignedDuration::from_hours(1);
        let mut history = History::default();
        let mut all: BTreeMap<String, Arc<RecordSummary>> = BTreeMap::new();
        for (name, at, state, directory, user) in steps {
            let Some(state) = state else {
                history.remove(names[name]);
                all.remove(names[name]);
                continue;
            };
            let started_at = nine() + SignedDuration::from_mins(at);
            let past = Arc::new(RecordSummary {
                record: names[name].to_owned(),
                directory_identity: ["zoho:x/1", "zoho:x/2"][directory].to_owned(),
                user: ["7", "8"][user].to_owned(),
                mode: Mode::Password,
                state,
                started_at,
                cannot_arrive_after: started_at + SignedDuration::from_secs(90),
            });
            history.insert(Arc::clone(&past));
            all.insert(names[name].to_owned(), past);
            // As often as it likes: nothing that still counts goes.
            history.expire(started_at.min(now));
        }
        history.expire(now);
        let mut world = base("password", json!({"facts": {"directory": {"known": {"limits": {"resetsPerHour": allowed}}}}}));
        world.now = now;
        history.fill_in(&mut world);

        let counts = |p: &&Arc<RecordSummary>| p.started_at > hour_ago;
        let open = |p: &RecordSummary| matches!(p.state, State::Sent | State::Changed | State::Unknown);
        let here = all.values().filter(|p| p.directory_identity == "zoho:x/1");
        let mut started: Vec<Timestamp> = here
            .clone()
            .filter(counts)
            .filter(|p| p.record != own && p.state != State::Released)
            .map(|p| p.started_at)
            .collect();
        started.sort_unstable_by(|a, b| b.cmp(a));
        let hourly_limit_reached_at = usize::try_from(allowed).unwrap().checked_sub(1).and_then(|nth| started.get(nth)).copied();
        prop_assert_eq!(world.ledger.hourly_limit_reached_at, hourly_limit_reached_at);
        let user: Vec<Arc<RecordSummary>> =
            here.filter(|p| p.user == "7" && (open(p) || p.started_at > hour_ago)).cloned().collect();
        prop_assert_eq!(world.ledger.past, user);
    }
}

/// Of a record whose request is gone, its own user's past counts.
#[test]
fn without_a_request_the_record_says_who_it_is() {
    let mut world = base("sent", json!({"subject": "gone"}));
    let Seen::Known(record) = world.ledger.record.clone() else { panic!("a record") };
    let mut history = History::default();
    let other = Arc::new(RecordSummary { record: "r-other".to_owned(), ..(*record.summary()).clone() });
    history.insert(Arc::clone(&other));
    history.insert(Arc::new(RecordSummary { record: "r-8".to_owned(), user: "8".to_owned(), ..(*other).clone() }));
    history.fill_in(&mut world);
    assert_eq!(world.ledger.past, [other]);
}
