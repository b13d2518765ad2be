//! Chaos: many requests, random faults of the directory, and leaders that are killed. At the end the test compares the status of each
//! request with the directory.
use std::{collections::BTreeMap, fmt::Write as _, time::Instant};

use serde_json::{Value, json};

use credreset::core::record::CLOCK_SKEW_MARGIN;

use crate::{
    IMAGE,
    figures::figures,
    support::{
        Operator, RESETS, SYSTEM, Setup, Site, TEAM, all_ended, condition, message, mfa_reset, password_reset, program,
        time, wait_for,
    },
};

const REQUESTS: usize = 1000;
/// After so many calls the leader is killed once more.
const CALLS_PER_LIFE: u64 = 220;
/// With these the directory has done nothing, and says so: only after them another call is right.
const HARMLESS: [&str; 3] = ["refuse 400", "refuse 403", "throttle"];
/// With these the directory does what it is asked, sooner or later.
const APPLIED: [&str; 6] = ["none", "delay", "apply-then-drop", "apply-then-502", "apply-late", "show-late"];

/// One request at the end.
struct Reported {
    outcome: String,
    reason: String,
    message: String,
    evidence: String,
    password: bool,
    user: Value,
    record: Option<Value>,
}

impl Reported {
    fn changes(&self) -> u64 {
        ["passwordResets", "mfaResets"].iter().filter_map(|count| self.user[count].as_u64()).sum()
    }

    fn calls(&self) -> Vec<&str> {
        self.user["resetCalls"].as_array().unwrap().iter().filter_map(Value::as_str).collect()
    }

    /// The directory shows a change within the time in which it counts for the attempt: then the outcome is known.
    fn is_provable(&self) -> bool {
        let times = &self.user[if self.password { "passwordResetTimes" } else { "mfaResetTimes" }];
        let time = |value: &Value| value.as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
        let deadline = self.record.as_ref().and_then(|r| time(&r["spec"]["attempt"]["deadline"]));
        time(&times[0]).zip(deadline).is_some_and(|(at, deadline)| at <= deadline + CLOCK_SKEW_MARGIN)
    }

    /// Says from when to when it was sent, what the directory shows as of when, and what to do.
    fn is_explained(&self) -> bool {
        ["and no reply came", "The directory shows the", " UTC.", "Ask the user to sign in"]
            .iter()
            .all(|part| self.message.contains(part))
    }

    fn email(&self) -> &str {
        self.user["emails"][0].as_str().unwrap()
    }
}

/// A thousand requests; every other call meets a fault; the leader is killed again and again. Late changes come while the
/// operator looks for them, or when it has given up: dated in time, they are proof then; dated late, they are anybody's.
#[test]
fn a_thousand_requests_in_chaos() {
    let began = Instant::now();
    let seed: u64 =
        std::env::var("CREDRESET_SEED").map_or(4711, |seed| seed.parse().expect("CREDRESET_SEED: a number"));
    println!("CREDRESET_SEED={seed}");
    let flags = ["--users", &REQUESTS.to_string(), "--change-times"].map(str::to_owned).to_vec();
    let release = program(IMAGE);
    let site = Site::with(&Setup { sandbox: flags, sandbox_binary: Some(release.clone()), ..Setup::default() });
    site.sandbox.send("PUT", "/sandbox/chaos", &json!({"seed": seed, "oneIn": 2}));
    let fields = json!({"passwordChangedAt": "password_changed_time", "mfaChangedAt": "mfa_changed_time"});
    site.directory(
        "zylker",
        json!({"provider": {"zoho": {"lookUp": fields}}, "limits": {"resetsPerHour": 100_000, "requestTimeout": "2s"}}),
    );
    let requested = time(-1);
    let manifest = |i: usize| {
        let (name, email) = (format!("r{i:04}"), format!("user{i:04}@zylker.biz"));
        if i.is_multiple_of(2) {
            return password_reset(&name, &email, json!({"spec": {"requestedAt": requested}}));
        }
        let id = format!("{}", 710_000_000 + i);
        let user = json!({"email": null, "id": id});
        mfa_reset(&name, &email, json!({"spec": {"requestedAt": requested, "user": user, "mfa": {"confirm": id}}}))
    };
    let manifests: Vec<String> = (1..=REQUESTS).map(manifest).collect();

    let mut lives = 0;
    let mut start = || {
        lives += 1;
        site.operator_of(&release, &format!("life-{lives}"), "info")
    };
    let mut operators = vec![start(), start()];
    let calls = || reset_calls(&site);
    let mut kills = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| manifests.chunks(100).for_each(|chunk| site.apply(&chunk.join("\n---\n"))));
        while kills < REQUESTS as u64 / CALLS_PER_LIFE {
            wait_for("more calls", || (calls() >= (kills + 1) * CALLS_PER_LIFE).then_some(()));
            operators.remove(leader(&operators)).kill();
            kills += 1;
            println!("{:>4} s: {} calls, killed leader {kills}", began.elapsed().as_secs(), calls());
            operators.push(start());
        }
    });
    site.when("every request's outcome", &RESETS, |all| (all.len() == REQUESTS && all_ended(all)).then_some(()));
    println!("{:>4} s: every request has an outcome", began.elapsed().as_secs());
    wait_for("the last late change", || {
        let users = users(&site);
        let last = |user: &Value| user["resetCalls"].as_array().unwrap().last().cloned().unwrap_or_default();
        let late = |user: &&Value| [json!("apply-late"), json!("show-late")].contains(&last(user));
        users.values().filter(late).all(|u| u["passwordResets"] == 1 || u["mfaResets"] == 1).then_some(())
    });
    // The next leader looks at every unknown outcome at once instead of a minute later.
    assert_eq!(operators.remove(leader(&operators)).stop(), Some(0));
    let proven_late = || reported(&site).values().filter(|r| r.outcome == "Unknown" && r.is_provable()).count();
    site.when("what was shown late to be seen", &RESETS, |_| (proven_late() == 0).then_some(()));
    report(&site, seed, kills, began);
}

fn reset_calls(site: &Site) -> u64 {
    site.sandbox.count("reset-password") + site.sandbox.count("reset-mfa")
}

fn leader(operators: &[Operator]) -> usize {
    wait_for("a leader", || operators.iter().position(|o| o.metrics().contains("credreset_leader 1\n")))
}

/// The ordinary users by their number.
fn users(site: &Site) -> BTreeMap<String, Value> {
    let all = site.sandbox.get("/sandbox/users");
    let ordinary =
        all.as_array().unwrap().iter().filter(|u| u["emails"][0].as_str().is_some_and(|e| e.starts_with("user")));
    ordinary.map(|u| (u["emails"][0].as_str().unwrap()[4..8].to_owned(), u.clone())).collect()
}

/// All requests by name.
fn reported(site: &Site) -> BTreeMap<String, Reported> {
    let (users, requests) = (users(site), site.get(&["creset", "-n", TEAM]));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut records: BTreeMap<String, Value> =
        site.records().into_iter().map(|r| (text(&r["spec"]["request"]["name"]), r)).collect();
    let reported = |request: &Value| {
        let name = text(&request["metadata"]["name"]);
        let reported = Reported {
            outcome: text(&request["status"]["outcome"]),
            reason: condition(request, "Ready").unwrap_or_default().1,
            message: message(request),
            evidence: text(&request["status"]["evidence"]),
            password: request["spec"]["mode"] == "Password",
            user: users[&name[1..]].clone(),
            record: records.remove(&name),
        };
        (name, reported)
    };
    requests["items"].as_array().unwrap().iter().map(reported).collect()
}

/// What is wrong with a request, given whether its password is where it should be and opens the account; if anything is.
fn objection(request: &Reported, password_right: bool) -> Option<&'static str> {
    let (calls, changes) = (request.calls(), request.changes());
    let met = calls.last().is_some_and(|fate| APPLIED.contains(fate));
    let checks = [
        (changes > 1, "changed more than once"),
        (
            calls.iter().rev().skip(1).any(|fate| !HARMLESS.contains(fate)),
            "called again after a call that may have had an effect",
        ),
        ((changes == 1) != met, "the directory did not do what its fate was: this test is wrong"),
        (!password_right, "its password is not where it should be, or does not open the account"),
    ];
    let of_outcome = match request.outcome.as_str() {
        "Applied" => [(changes == 0, "Applied without a change"), (false, "")],
        "NotApplied" => [
            (changes > 0, "NotApplied with a change"),
            (request.reason != "Rejected", "NotApplied for a reason that nothing here gives"),
        ],
        "Unknown" => [
            (request.is_provable(), "Unknown, though the directory shows a change within the attempt's time"),
            (!request.is_explained(), "Unknown without an explanation"),
        ],
        _ => [(true, "no outcome that is possible here"), (false, "")],
    };
    checks.into_iter().chain(of_outcome).find_map(|(wrong, words)| wrong.then_some(words))
}

/// Compares what is reported with what happened, and prints the table before anything fails.
fn report(site: &Site, seed: u64, kills: u64, began: Instant) {
    let reported = reported(site);
    let (delivered, kept) = (site.passwords(TEAM), site.passwords(SYSTEM));
    let mut table: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut double, mut lost, mut false_success) = (0, 0, 0);
    let mut wrong = String::new();
    for (name, request) in &reported {
        let (calls, changes) = (request.calls(), request.changes());
        let status = format!("{} {} {}", request.outcome, request.reason, request.evidence);
        let happened = format!("{}, {changes} changes", calls.last().unwrap_or(&"never arrived"));
        *table.entry((status.clone(), happened)).or_default() += 1;
        *outcomes.entry(&request.outcome).or_default() += 1;
        // Delivered where it is in force; kept where it may be.
        let opens = |password: &String| site.sandbox.sign_in(request.email(), password) == "must-change";
        let password_right = match (request.outcome.as_str(), request.password) {
            ("Applied", true) => delivered.get(&format!("{name}-password")).is_some_and(opens),
            ("Unknown", true) => {
                let secret = request.record.as_ref().and_then(|r| r["spec"]["attempt"]["secret"].as_str());
                secret.and_then(|secret| kept.get(secret)).is_some_and(|p| changes == 0 || opens(p))
            }
            _ => true,
        };
        lost += usize::from(request.outcome.is_empty());
        double += usize::from(changes > 1);
        false_success += usize::from(request.outcome == "Applied" && (changes == 0 || !password_right));
        if let Some(words) = objection(request, password_right) {
            let _ =
                writeln!(wrong, "{name}: {words}: {status}; calls {calls:?}, {changes} changes; {}", request.message);
        }
    }
    for ((status, happened), count) in &table {
        println!("{count:>5}  {status:<36} {happened}");
    }
    let seconds = began.elapsed().as_secs();
    let calls = reset_calls(site);
    println!("seed {seed}: {} requests, {calls} calls, {kills} leaders killed, {seconds} s", reported.len());
    figures(&json!({
        "proof": "chaos", "seed": seed, "requests": reported.len(), "calls": calls, "kills": kills, "double": double,
        "lost": lost, "falseSuccess": false_success, "outcomes": outcomes, "seconds": seconds,
    }));
    assert!(wrong.is_empty(), "{wrong}{}", site.logs());
    assert_eq!((reported.len(), double, lost, false_success), (REQUESTS, 0, 0, 0));
    for outcome in ["Applied", "NotApplied", "Unknown"] {
        assert!(outcomes.contains_key(outcome), "{outcome} never came: nothing is shown about it");
    }
}
