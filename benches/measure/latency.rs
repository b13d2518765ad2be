//! From the creation of a request to its success, with nothing else to do, over the time that its calls take one after another.
use std::time::Instant;

use crate::{
    api_calls::ApiCalls,
    bare::{Calls, SandboxCalls},
    figures::{Figure, Figures, Goal, Progress, percentile},
    load::{self, Done},
};

const ROUNDS: usize = 5;
/// In each round, by operator and by bare client.
const REQUESTS: usize = 40;
/// The bare client's records are of the first one, whom the operator takes to be busy.
const USERS: usize = REQUESTS + 1;

pub fn measure(figures: &mut Figures) {
    let mut progress =
        Progress::begin(&format!("latency: {ROUNDS} rounds of {REQUESTS} password resets, one at a time"));
    let site = load::site(&["--users", &USERS.to_string()]);
    load::directory(&site);
    let done = Done::watch(&site);
    let operator = load::operator(&site, "op");
    site.until_directory("zylker", "Connected");
    let calls = ApiCalls::of(&site, &load::of_sandbox(false, "one", 0, USERS));
    let directory = SandboxCalls::last(&site);
    let calls = Calls { api: &calls, directory: Some(&directory) };
    println!("  calls to the API server: {}", calls.api);

    let runtime = load::runtime();
    let client = runtime.block_on(load::client(site.kubeconfig()));

    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    let mut all = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let by_operator: Vec<f64> = (0..REQUESTS)
            .map(|nth| {
                let name = format!("op-{round}-{nth:02}");
                let request = load::of_sandbox(false, &name, nth + 1, USERS);
                let began = Instant::now();
                runtime.block_on(load::create_one(&client, request));
                (done.wait(&name) - began).as_secs_f64() * 1000.0
            })
            .collect();
        // It keeps its lease, and would be at work on these, too.
        operator.signal("STOP");
        let sum = async |nth: usize| {
            let name = format!("bare-{round}-{nth:02}");
            let request = load::of_sandbox(false, &name, 0, USERS);
            let began = Instant::now();
            load::create_one(&client, request).await;
            calls.make(&client, &name).await;
            began.elapsed().as_secs_f64() * 1000.0
        };
        let sums: Vec<f64> = (0..REQUESTS).map(|nth| runtime.block_on(sum(nth))).collect();
        operator.signal("CONT");
        let both = |at: f64| (percentile(by_operator.iter().copied(), at), percentile(sums.iter().copied(), at));
        p50.push(both(0.5));
        progress.report(&format!(
            "round {round}: operator {:.1} ms, its calls {:.1} ms",
            p50[round - 1].0,
            p50[round - 1].1
        ));
        all.0.extend(by_operator);
        all.1.extend(sums);
    }
    // Of all rounds, since one has too few for it.
    p99.push((percentile(all.0.into_iter(), 0.99), percentile(all.1.into_iter(), 0.99)));
    figures.add(Figure { name: "latency_p50", unit: "ms", rounds: p50, goal: Goal::AtMost(2.0) });
    figures.add(Figure { name: "latency_p99", unit: "ms", rounds: p99, goal: Goal::AtMost(2.0) });
}
