//! `credreset plan --offline` of many manifests, over reading and parsing them.
use std::{
    fs,
    process::{Command, Stdio},
    time::Instant,
};

use serde_json::Value;

use crate::{
    IMAGE,
    figures::{Figure, Figures, Goal, Progress},
    support::{mfa_reset, program},
};

const ROUNDS: usize = 5;
const MANIFESTS: usize = 10_000;

pub fn measure(figures: &mut Figures) {
    let mut progress = Progress::begin(&format!("plan: {MANIFESTS} manifests in as many files, {ROUNDS} rounds"));
    let folder = std::env::temp_dir().join(format!("credreset-plan-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    for n in 0..MANIFESTS {
        let manifest = mfa_reset(&format!("r-{n}"), &format!("user{n}@zylker.biz"), serde_json::json!({}));
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        fs::write(folder.join(format!("r-{n:05}.yaml")), serde_saphyr::to_string(&manifest).unwrap()).unwrap();
    }
    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        let began = Instant::now();
        let planned = Command::new(program(IMAGE))
            .args(["plan", "--offline", "--output", "json"])
            .arg(&folder)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let plan = began.elapsed().as_secs_f64();
        assert!(matches!(planned.status.code(), Some(0 | 3)), "{}", String::from_utf8_lossy(&planned.stderr));
        let began = Instant::now();
        let read = fs::read_dir(&folder).unwrap().map(|entry| {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            serde_saphyr::from_multiple::<Value>(&text).unwrap().len()
        });
        assert_eq!(read.sum::<usize>(), MANIFESTS);
        rounds.push((plan, began.elapsed().as_secs_f64()));
        progress.report(&format!(
            "round {round}: {:.2} s, of which reading {:.2} s",
            rounds[round - 1].0,
            rounds[round - 1].1
        ));
    }
    fs::remove_dir_all(folder).unwrap();
    figures.add(Figure { name: "plan", unit: "s", rounds, goal: Goal::AtMost(3.0) });
}
