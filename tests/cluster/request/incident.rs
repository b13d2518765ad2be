//! An incident: three hundred users at once, from one list to the last outcome, by the commands that people would type.
use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    time::Instant,
};

use serde_json::{Value, json};

use crate::support::{RESETS, Setup, Site, TEAM, condition, message};

const USERS: usize = 300;
/// So many may be reset within the hour, at first.
const LIMIT: u64 = 280;

fn credreset(site: &Site, folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_credreset"));
    command.current_dir(folder).env("KUBECONFIG", site.kubeconfig()).stdin(Stdio::null());
    command
}

fn all_output(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

#[test]
fn three_hundred_from_one_list() {
    let site = Site::with(&Setup { sandbox: vec!["--users".to_owned(), USERS.to_string()], ..Setup::default() });
    let limits = |per_hour: u64| json!({"limits": {"resetsPerHour": per_hour, "minIntervalPerUser": "0s"}});
    site.directory("zylker", limits(LIMIT));
    let _operator = site.operator();
    site.until_directory("zylker", "Connected");
    let folder = site.dir.join("incident");
    fs::create_dir_all(&folder).unwrap();
    let list: Vec<String> = (1..=USERS).map(|n| format!("user{n:04}@zylker.biz,Sales")).collect();
    fs::write(folder.join("phished.csv"), format!("user,team\n{}\n", list.join("\n"))).unwrap();

    let flags = ["--directory", "zylker", "--namespace", TEAM, "--reason", "Phished, INC-88", "--into", "resets"];
    let output = credreset(&site, &folder).args(["new", "--from-csv", "phished.csv"]).args(flags).output().unwrap();
    assert!(output.status.success(), "{}", all_output(&output));
    let began = Instant::now();
    let output = credreset(&site, &folder).args(["plan", "resets"]).output().unwrap();
    assert!(output.status.success() && all_output(&output).ends_with("300 allowed\n"), "{}", all_output(&output));
    println!("planned in {:.1} s", began.elapsed().as_secs_f32());
    assert_eq!(site.sandbox.count("reset-password"), 0);

    let resets = folder.join("resets");
    let resets = resets.to_str().unwrap();
    let applied = site.kubectl(&["apply", "-f", resets]);
    assert_eq!(applied.matches(" created").count(), USERS);
    let waiting = credreset(&site, &folder)
        .args(["wait", "resets", "--output", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();

    // As many as the limit allows; those that wait show when the next one may begin.
    let reason = |object: &Value| condition(object, "Ready").map(|(_, reason)| reason);
    let held = site.when("the limit to hold the rest", &RESETS, |all| {
        let done = all.values().filter(|o| o["status"]["outcome"] == "Applied").count();
        let held = all.values().filter(|o| reason(o).as_deref() == Some("LimitReached"));
        let held: Vec<Value> = held.cloned().collect();
        (done as u64 == LIMIT && held.len() == USERS - done).then_some(held)
    });
    let msg = message(&held[0]);
    let words = || msg.split([' ', ',', ';']).map(|word| word.trim_end_matches('.'));
    assert!(words().any(|word| word.parse::<jiff::Timestamp>().is_ok()), "no time is shown: {msg}");
    assert_eq!(site.sandbox.count("reset-password"), LIMIT);

    // The administrator raises the limit.
    site.kubectl(&["patch", "directory", "zylker", "--type=merge", "-p", &json!({ "spec": limits(1000) }).to_string()]);
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", all_output(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let requests = report["requests"].as_array().unwrap();
    assert!(requests.len() == USERS && requests.iter().all(|r| r["outcome"] == "Applied"), "{report:#}");
    // A line for each change, since there is no terminal for a bar.
    let progress = String::from_utf8(output.stderr).unwrap();
    assert!(progress.lines().count() >= USERS, "{progress}");
    assert_eq!(site.sandbox.count("reset-password"), USERS as u64);

    // The same once more changes nothing.
    let again = site.kubectl(&["apply", "-f", resets]);
    assert_eq!(again.matches(" unchanged").count(), USERS);
    let output = credreset(&site, &folder).args(["plan", "resets"]).output().unwrap();
    assert!(
        output.status.success() && all_output(&output).ends_with("300 with nothing to do\n"),
        "{}",
        all_output(&output)
    );
    let output = credreset(&site, &folder).args(["wait", "resets"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", all_output(&output));
    assert_eq!(site.sandbox.count("reset-password"), USERS as u64);
}
