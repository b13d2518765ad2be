//! What settled resets of the past cost: memory, time to start, and room in etcd.
use std::{fs, time::Instant};

use crate::{
    IMAGE,
    etcd::Etcd,
    figures::{Figure, Figures, Goal, Progress, median},
    load::{self, Done, LIMIT},
    support::{SYSTEM, Sandbox, Site, path, program},
};

const ROUNDS: usize = 5;
const USERS: usize = 64;
const MB: f64 = 1024.0 * 1024.0;

pub fn measure(figures: &mut Figures) {
    let mut progress = Progress::begin(&format!("history: {ROUNDS} starts with 0, 10,000 and 100,000 settled resets"));
    let mut site = load::site(&["--users", &USERS.to_string()]);
    let idle = load::operator(&site, "idle");
    let bare = rss(&idle.memory());
    assert_eq!(idle.stop(), Some(0));
    progress.report(&format!("with no Directory: {bare:.1} MB"));

    // One reset as the model of all others.
    load::directory(&site);
    let operator = load::operator(&site, "model");
    load::create(&site, vec![load::of_sandbox(false, "old-model", 0, USERS)]);
    site.until("old-model", "Applied");
    assert_eq!(operator.stop(), Some(0));
    let etcd = Etcd::of(&site);
    let mut starts = Vec::new();
    let mut memory = Vec::new();
    let mut settled = 0;
    for (name, count) in [("memory_0", 0), ("memory_10k", 10_000), ("memory_100k", 100_000)] {
        etcd.copy(settled..count);
        settled = count;
        taken_up(&site);
        // It gives out few tokens to one client, and each start asks for one.
        site.sandbox =
            Sandbox::of(&program(IMAGE), "127.0.0.1:0", &site.dir, None, &["--users".to_owned(), USERS.to_string()]);
        load::directory(&site);
        progress.report(&format!("{count} settled resets are there"));
        let rounds = start(&site, name);
        let (resident, start): (Vec<f64>, Vec<f64>) = rounds.into_iter().unzip();
        progress.report(&format!(
            "{:.1} MB; {:.2} s from the start to the first reset",
            median(resident.iter().copied()),
            median(start.iter().copied())
        ));
        let goal = match memory.first() {
            None => Goal::Value(25.0),
            Some(none) => Goal::Value(*none + 5.0),
        };
        memory.push(median(resident.iter().copied()));
        starts.push(start);
        let rounds = resident.into_iter().map(|value| (value, bare)).collect();
        figures.add(Figure { name, unit: "MB", rounds, goal });
    }
    let rounds = starts[1].iter().copied().zip(starts[0].iter().copied()).collect();
    figures.add(Figure { name: "start_10k", unit: "s", rounds, goal: Goal::AtMost(2.0) });
    let rounds = vec![(etcd.size(), 0.0)];
    figures.add(Figure { name: "size_etcd", unit: "bytes", rounds, goal: Goal::None });
}

/// The API server has taken up what was written behind its back: till then it reads all of it from etcd for each list.
fn taken_up(site: &Site) {
    let none = format!("/apis/credreset.dev/v1alpha1/namespaces/{SYSTEM}/credentialresetrecords?labelSelector=none");
    let since = Instant::now();
    loop {
        let began = Instant::now();
        // It gives up on some meanwhile.
        let listed = site.try_kubectl(&["get", "--raw", &none], "").status.success();
        if listed && began.elapsed().as_secs_f64() < 1.0 {
            return;
        }
        assert!(since.elapsed() < LIMIT, "lists do not become quick");
    }
}

/// Starts the operator again and again, with one request that waits for it: what it has resident once that is done, and how long
/// that took.
fn start(site: &Site, name: &str) -> Vec<(f64, f64)> {
    let done = Done::watch(site);
    (0..ROUNDS)
        .map(|round| {
            let name = format!("first-{}-{round}", name.replace('_', "-"));
            load::create(site, vec![load::of_sandbox(true, &name, round, USERS)]);
            let began = Instant::now();
            let operator = load::operator(site, "op");
            let took = (done.wait(&name) - began).as_secs_f64();
            let resident = rss(&operator.memory());
            assert_eq!(operator.stop(), Some(0));
            (resident, took)
        })
        .collect()
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
fn rss((resident, _): &(u64, u64)) -> f64 {
    *resident as f64 / MB
}

/// What has to be fetched to install it.
pub fn image(figures: &mut Figures) {
    let size = fs::metadata(path("target/image/credreset.tar")).expect("make image").len();
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    figures.add(Figure { name: "size_image", unit: "MB", rounds: vec![(size as f64 / MB, 0.0)], goal: Goal::None });
}
