//! How fast resets are, against a bare client on the same server in the same run: what the benchmarks of all directories share.
//! `make bench`.
use std::{fs, path::Path, process::Command, sync::Mutex};

use futures::future::join_all;
use serde_json::{Value, json};

use crate::{
    env::{Operator, Site, TEAM, path},
    password,
};

pub const RESETS: usize = 200;
pub const AT_ONCE: usize = 8;

/// This process, and those that it starts from now on, run on this processor alone.
pub fn run_on(processor: usize) {
    let (processor, own) = (processor.to_string(), std::process::id().to_string());
    let done = Command::new("taskset").args(["--all-tasks", "--cpu-list", "--pid", &processor, &own]).output();
    assert!(done.expect("taskset").status.success(), "the benchmark needs two processors");
}

/// Names of users of one kind.
pub fn names(kind: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{kind}-{n:03}")).collect()
}

/// An operator of the build that is tested; it works on so many requests at once, and says little.
pub fn operator(site: &Site) -> Operator {
    let binary = Path::new(env!("CARGO_BIN_EXE_credreset"));
    site.run(site.operator_command(binary, "op", "info", None).args(["--concurrency", &AT_ONCE.to_string()]))
}

/// Has the operator reset them all, once all requests are there: the Directory is suspended till then. `patch` is merged into
/// the spec of each.
pub fn carry_out(site: &Site, directory: &str, names: &[String], patch: &Value) {
    let manifests: Vec<String> = names.iter().map(|name| password(directory, name, patch.clone())).collect();
    site.apply(&manifests.join("\n---\n"));
    site.kubectl(&["patch", "directory", directory, "--type=merge", "-p", r#"{"spec":{"suspend":false}}"#]);
    // By one process: the machine is needed otherwise.
    site.kubectl(&["wait", "--for=condition=Succeeded", "--timeout=300s", "creset", "--all", "-n", TEAM]);
    let all = site.get(&["creset", "-n", TEAM]);
    for name in names {
        let reset = all["items"].as_array().unwrap().iter().find(|reset| reset["metadata"]["name"] == **name).unwrap();
        assert_eq!(
            (&reset["status"]["outcome"], &reset["status"]["evidence"]),
            (&json!("Applied"), &json!("Response")),
            "{name}"
        );
    }
}

/// So many bare clients, each of which resets one of these users after the other: the next one is asked for.
pub fn at_once<'n>(names: &'n [String], client: impl AsyncFn(&dyn Fn() -> Option<&'n str>)) {
    let left = Mutex::new(names.iter());
    let next = || left.lock().unwrap().next().map(String::as_str);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(join_all((0..AT_ONCE).map(|_| client(&next))));
}

/// Per second, from the times (in seconds) at which each was done.
pub fn rate(times: &[f64]) -> f64 {
    let first = times.iter().copied().fold(f64::INFINITY, f64::min);
    let last = times.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    f64::from(u32::try_from(times.len() - 1).unwrap()) / (last - first)
}

/// Prints the figures, and keeps them in `target/benchmarks.json`, in place of older ones of the same name.
pub fn report(figures: &[Value]) {
    println!("{:#}", json!(figures));
    let file = path("target/benchmarks.json");
    let kept = fs::read_to_string(&file).map(|text| serde_json::from_str(&text).unwrap()).unwrap_or_default();
    let mut all: Vec<Value> = kept;
    all.retain(|old| figures.iter().all(|new| new["name"] != old["name"]));
    all.extend_from_slice(figures);
    fs::write(file, json!(all).to_string()).unwrap();
}
