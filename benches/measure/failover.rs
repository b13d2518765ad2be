//! From the leader's end to the next reset, over the duration of the lease.
use std::{mem::replace, time::Instant};

use crate::{
    figures::{Figure, Figures, Goal, Progress},
    load::{self, Done},
    support::Operator,
};

const ROUNDS: usize = 5;
const USERS: usize = 10;
/// Seconds.
const LEASE: f64 = 15.0;

pub fn measure(figures: &mut Figures) {
    let mut progress = Progress::begin(&format!("failover: {ROUNDS} leaders are killed, {ROUNDS} get SIGTERM"));
    let kill = rounds(&mut progress, "killed", Operator::kill);
    let term = rounds(&mut progress, "SIGTERM", |operator| assert_eq!(operator.stop(), Some(0)));
    let of = |times: Vec<f64>, limit: f64| times.into_iter().map(|time| (time, limit)).collect();
    figures.add(Figure { name: "failover_kill", unit: "s", rounds: of(kill, LEASE), goal: Goal::Value(LEASE + 2.0) });
    figures.add(Figure { name: "failover_term", unit: "s", rounds: of(term, 0.0), goal: Goal::Value(2.0) });
}

fn rounds(progress: &mut Progress, what: &str, end: impl Fn(Operator)) -> Vec<f64> {
    let site = load::site(&["--users", &USERS.to_string()]);
    load::directory(&site);
    let done = Done::watch(&site);
    let mut leader = load::operator(&site, "op-0");
    site.until_directory("zylker", "Connected");
    let mut times = Vec::new();
    for round in 1..=ROUNDS {
        let standby = load::operator(&site, &format!("op-{round}"));
        let name = format!("next-{round}");
        let began = Instant::now();
        end(replace(&mut leader, standby));
        load::create(&site, vec![load::of_sandbox(true, &name, round, USERS)]);
        times.push((done.wait(&name) - began).as_secs_f64());
        progress.report(&format!("{what}: {:.2} s", times[round - 1]));
    }
    times
}
