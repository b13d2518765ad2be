//! An incident: three hundred users at once, from one list to the last outcome, by the commands that the help desk would type, with the
//! chart's roles for the help desk and no more.
use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    time::Instant,
};

use serde_json::{Value, json};

use super::help_desk;
use crate::support::{RESETS, Setup, Site, TEAM, condition, kubeconfig_of, message, password_reset};

const USERS: usize = 300;
/// So many may be reset within the hour, at first.
const LIMIT: u64 = 280;

fn credreset(kubeconfig: &Path, folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_credreset"));
    command.current_dir(folder).env("KUBECONFIG", kubeconfig).stdin(Stdio::null());
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
    help_desk(&site);
    let hana = kubeconfig_of(&site, "hana");
    let _operator = site.operator();
    site.until_directory("zylker", "Connected");
    let folder = site.dir.join("incident");
    fs::create_dir_all(&folder).unwrap();
    let list: Vec<String> = (1..=USERS).map(|n| format!("user{n:04}@zylker.biz,Sales")).collect();
    fs::write(folder.join("phished.csv"), format!("user,team\n{}\n", list.join("\n"))).unwrap();

    let flags = [
        "--directory",
        "zylker",
        "--namespace",
        TEAM,
        "--incident",
        "inc-88",
        "--reason",
        "Phished",
        "--into",
        "resets",
    ];
    let filed = || credreset(&hana, &folder).args(["new", "--from-csv", "phished.csv"]).args(flags).output().unwrap();
    let output = filed();
    assert!(output.status.success(), "{}", all_output(&output));
    // Typed twice, as one does at night.
    let output = filed();
    let refused = "user0001@zylker.biz has a request already that has not ended (resets/inc-88/user0001-";
    assert!(output.status.code() == Some(1) && all_output(&output).contains(refused), "{}", all_output(&output));
    assert_eq!(fs::read_dir(folder.join("resets/inc-88")).unwrap().count(), USERS);
    let began = Instant::now();
    let output = credreset(&hana, &folder).args(["plan", "resets"]).output().unwrap();
    assert!(output.status.success() && all_output(&output).ends_with("300 allowed\n"), "{}", all_output(&output));
    println!("planned in {:.1} s", began.elapsed().as_secs_f32());
    let limit = "300 allowed\nNo user was looked up: whether they exist, or are protected, is not known here.\nzylker: 280 resets an hour (assuming that none began in the last hour): 280 can begin at once, the last of 300 at about ";
    assert!(all_output(&output).starts_with(limit), "{}", all_output(&output));
    assert_eq!(site.sandbox.count("reset-password"), 0);

    let resets = folder.join("resets/inc-88");
    let resets = resets.to_str().unwrap();
    let as_hana = format!("--kubeconfig={}", hana.display());
    let applied = site.kubectl(&["apply", "-f", resets, &as_hana]);
    assert_eq!(applied.matches(" created").count(), USERS);
    assert_eq!(site.reset(&first_name(resets))["spec"]["requestedBy"], "hana");
    let waiting = credreset(&hana, &folder)
        .args(["wait", "--selector", "incident=inc-88", "-n", TEAM, "--output", "json"])
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
    the_next_set(&site, &folder, held[0]["spec"]["user"]["email"].as_str().unwrap());

    // The administrator raises the limit.
    site.kubectl(&["patch", "directory", "zylker", "--type=merge", "-p", &json!({ "spec": limits(1000) }).to_string()]);
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", all_output(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let requests = report["requests"].as_array().unwrap();
    assert!(requests.len() == USERS && requests.iter().all(|r| r["outcome"] == "Applied"), "{report:#}");
    // Sums now and then, since there is no terminal for a bar.
    let progress = String::from_utf8(output.stderr).unwrap();
    let lines = progress.lines().count();
    assert!(
        (1..=10).contains(&lines) && progress.lines().all(|line| line.contains(" open") || line.contains(" done")),
        "{progress}"
    );
    assert_eq!(site.sandbox.count("reset-password"), USERS as u64);

    // The same once more changes nothing.
    let again = site.kubectl(&["apply", "-f", resets, &as_hana]);
    assert_eq!(again.matches(" unchanged").count(), USERS);
    let output = credreset(&hana, &folder).args(["plan", "resets"]).output().unwrap();
    assert!(
        output.status.success() && all_output(&output).ends_with("300 with nothing to do\n"),
        "{}",
        all_output(&output)
    );
    let output = credreset(&hana, &folder).args(["wait", "resets"]).output().unwrap();
    let said = all_output(&output);
    assert!(output.status.code() == Some(0) && said.lines().count() <= 40, "{said}");
    assert!(said.contains("\nand 280 more (-o json has all)\n\n300 done\n"), "{said}");
    let output = credreset(&hana, &folder).args(["wait", "resets", "-o", "markdown"]).output().unwrap();
    let comment = String::from_utf8(output.stdout).unwrap();
    assert!(comment.starts_with("### Resets: 300 done\n") && comment.len() <= 60_000, "{comment}");
    let row = "| ✅ done | user0001@&#8203;zylker.biz | <code>helpdesk/user0001-";
    assert!(comment.contains(row) && comment.matches("✅ done").count() > 100, "{comment}");
    // All have ended: the next request for each is another matter.
    let output = filed();
    assert!(output.status.success(), "{}", all_output(&output));
    assert_eq!(site.sandbox.count("reset-password"), USERS as u64);
}

/// The name of one of the requests.
fn first_name(resets: &str) -> String {
    let first = fs::read_dir(resets).unwrap().next().unwrap().unwrap();
    first.path().file_stem().unwrap().to_str().unwrap().to_owned()
}

/// What began, and what waits, counts for the next set. A user who waits is not asked for a second time unnoticed.
fn the_next_set(site: &Site, folder: &Path, waiting: &str) {
    let next = folder.join("next");
    fs::create_dir_all(&next).unwrap();
    for (name, email) in [("next", "annette.c@zylker.biz"), ("twice", waiting)] {
        fs::write(next.join(format!("{name}.yaml")), password_reset(name, email, json!({}))).unwrap();
    }
    // Of an administrator, who may read the records.
    let output = credreset(site.kubeconfig(), folder).args(["plan", "next"]).output().unwrap();
    let said = all_output(&output);
    assert!(output.status.code() == Some(3) && said.starts_with("1 allowed, 1 unclear\n"), "{said}");
    let limit = "\nzylker: 280 resets an hour (280 began in the last hour, 20 more wait in the cluster): 0 can begin at once, the last";
    assert!(said.contains(limit), "{said}");
    let twice = format!("Twice: {waiting} has another request for the same reset: {TEAM}/");
    assert!(said.contains(&twice) && said.contains(" (in the cluster, and open). "), "{said}");
}
