//! How fast a backlog of requests is worked off at a directory that answers at once, over the rate at which a bare client makes the same
//! writes to the API server; and what that takes of the processors.
use crate::{
    api_calls::ApiCalls,
    bare::{Calls, SandboxCalls},
    figures::{Figure, Figures, Goal, Progress},
    load::{self, Done},
};

const REQUESTS: usize = 5000;
const ROUNDS: usize = 5;
/// In each round, by operator and by bare client.
const STINT: usize = 500;
/// The sandbox's list of users is read for each of them, so it is short; more than are carried out at the same time.
const USERS: usize = 64;

pub fn mfa(figures: &mut Figures) {
    measure(figures, "throughput_mfa", true);
}

pub fn password(figures: &mut Figures) {
    measure(figures, "throughput_password", false);
}

fn measure(figures: &mut Figures, name: &'static str, mfa: bool) {
    let mut progress = Progress::begin(&format!("{name}: {REQUESTS} requests at once, {ROUNDS} rounds of {STINT}"));
    let site = load::site(&["--users", &USERS.to_string()]);
    load::directory(&site);
    let done = Done::watch(&site);
    let requests = |names: &[String]| {
        let request = |(nth, name): (usize, &String)| load::of_sandbox(mfa, name, nth, USERS);
        load::create(&site, names.iter().enumerate().map(request).collect());
    };

    let operator = load::operator(&site, "op");
    site.until_directory("zylker", "Connected");
    let all = ApiCalls::of(&site, &load::of_sandbox(mfa, "one", 0, USERS));
    let directory = SandboxCalls::last(&site);
    assert_eq!(operator.stop(), Some(0));
    let writes = all.writes();
    let (calls, only_writes) =
        (Calls { api: &all, directory: Some(&directory) }, Calls { api: &writes, directory: None });
    println!("  calls to the API server per reset: {all}");
    let tried = [4, 8, 16, 32, 64].map(|at_once| {
        let names = load::names(&format!("try-{at_once}"), 200);
        requests(&names);
        (only_writes.work(&site, &done, &names, at_once).0, at_once)
    });
    let (_, best) = tried.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    progress.report(&format!("the bare client is fastest with {best} at once: {tried:.0?}"));

    requests(&load::names("op", REQUESTS));
    progress.report("requests are there");
    let (mut rates, mut cpu) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let names = load::names(&format!("bare-{round}"), STINT);
        requests(&names);
        let (limit, _) = only_writes.work(&site, &done, &names, best);
        // A smaller backlog will do for what a call costs.
        let names = load::names(&format!("calls-{round}"), STINT / 2);
        requests(&names);
        let (_, calls_cpu) = calls.work(&site, &done, &names, 8);

        done.forget();
        let operator = load::operator(&site, "op");
        // What is done between this and its end is left out.
        let count = STINT - STINT / 5;
        let (rate, used) = done.rate(u32::try_from(count).unwrap(), || operator.cpu());
        assert_eq!(operator.stop(), Some(0));
        rates.push((rate, limit));
        #[allow(clippy::cast_precision_loss, reason = "few")]
        let per_thousand = |seconds: f64, count: usize| seconds / count as f64 * 1000.0;
        cpu.push((per_thousand(used, count - 1), per_thousand(calls_cpu, names.len())));
        progress.report(&format!(
            "round {round}: operator {rate:.0}/s, bare client {limit:.0}/s; processor seconds for 1,000: {:.2} and {:.2}",
            cpu[round - 1].0,
            cpu[round - 1].1
        ));
    }
    figures.add(Figure { name, unit: "resets/s", rounds: rates, goal: Goal::Ratio(0.8) });
    if mfa {
        figures.add(Figure { name: "cpu", unit: "s/1000", rounds: cpu, goal: Goal::AtMost(1.5) });
    }
}
