//! Two operators: one that was the leader wakes up, or hears of the API server again, when the other has taken over.
use std::{collections::BTreeSet, path::Path, process::Command};

use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    faults::two_operators::{ANNETTE, MUSTAFA, Two, steps_back},
    proxy::{Action, Proxy, Rule},
    support::{LEASES, Operator, SYSTEM, Setup, Site, TEAM, clock, message, mfa_reset, time, wait_for},
};

/// The first leader is stopped right before its call, and the second takes over.
fn stopped_leader() -> (Two, Operator, Operator) {
    let two = Two::new("2s");
    let first = two.first();
    let held = two.about_to_send("annette");
    first.signal("STOP");
    held.release();
    let second = two.second();
    (two, first, second)
}

/// Its pause ends when all is settled: it sends nothing, and changes nothing of what was settled.
#[test]
fn stopped_leader_wakes_up_after_the_outcome() {
    let (two, first, _second) = stopped_leader();
    let settled = two.site.until("annette", "OutcomeUnknown");
    assert!(two.leads("second").is_some());
    let record = two.record_of("annette");
    first.signal("CONT");
    steps_back(&first);
    // It ends only when the work has that had waited for the answer.
    assert_eq!(first.stop(), Some(0));
    assert_eq!(two.calls("reset-password"), 0);
    assert_eq!(two.record_of("annette"), record);
    assert_eq!(two.site.reset("annette")["status"], settled["status"]);
    let kept = record["spec"]["attempt"]["secret"].as_str().unwrap();
    assert!(!two.site.secret(SYSTEM, kept, "password").is_empty(), "kept while the outcome is unknown");
}

/// Its pause ends while the other still waits: it knows that it has sent nothing and says so, and the other does it.
#[test]
fn stopped_leader_wakes_up_before_the_outcome() {
    let (two, first, _second) = stopped_leader();
    let msg = message(&two.site.until("annette", "Verifying"));
    assert!(msg.contains("no reply is known"), "{msg}");
    assert!(two.leads("second").is_some());
    first.signal("CONT");
    let reset = two.site.until("annette", "Applied");
    steps_back(&first);
    assert_eq!(reset["status"]["evidence"], "Response");
    let attempt = two.record_of("annette")["spec"]["attempt"].clone();
    assert_eq!(attempt["number"], 2);
    assert!(attempt["holder"].as_str().unwrap().starts_with("second/"), "{attempt}");
    let password = two.site.secret(TEAM, "annette-password", "password");
    assert_eq!(two.site.sandbox.sign_in(ANNETTE, &password), "must-change");
    assert_eq!(two.calls("reset-password"), 1);
}

/// The API server is out of reach for the leader alone. What it was about to send, it does not send; what it had sent, it
/// writes down as soon as it can, although the other leads by then.
#[test]
fn leader_cut_off_from_the_api_server() {
    let two = Two::new("2s");
    let first = two.first();
    two.about_to_send("annette");
    let _second = cut_off_with_an_answer(&two, &first);
    two.api.heal();
    written_by_the_first(&two);
    // Of the other the new leader cannot know whether it was sent; it was not.
    two.site.until("annette", "OutcomeUnknown");
    assert_eq!(first.stop(), Some(0));
    assert_eq!((two.calls("reset-password"), two.calls("reset-mfa")), (0, 1));
}

/// The same, and it gets SIGTERM before it could write down what it knows.
#[test]
fn leader_cut_off_and_told_to_end() {
    let two = Two::new("2s");
    let first = two.first();
    let _second = cut_off_with_an_answer(&two, &first);
    first.signal("TERM");
    two.api.heal();
    written_by_the_first(&two);
    assert_eq!(two.calls("reset-mfa"), 1);
}

/// The first operator has sent Mustafa's reset and has its answer, and cannot write it down. The second leads.
fn cut_off_with_an_answer(two: &Two, first: &Operator) -> Operator {
    let rule = Rule {
        method: Method::POST,
        path: "/directory/api/v2/orgs/*/users/*/mfa/reset".to_owned(),
        about: String::new(),
        body_has: "",
        nth: 1,
        action: Action::HoldReply,
    };
    let sent = two.directory.arm(rule);
    two.site.apply(&mfa_reset("mustafa", MUSTAFA, json!({})));
    wait_for("the call", || sent.is_hit().then_some(()));
    two.api.cut();
    sent.release();
    let second = two.second();
    two.site.until_leads("second");
    steps_back(first);
    two.site.until("mustafa", "Verifying");
    second
}

fn written_by_the_first(two: &Two) {
    let reset = two.site.until("mustafa", "Applied");
    assert_eq!(reset["status"]["evidence"], "Response");
    let record = two.record_of("mustafa");
    assert!(record["spec"]["attempt"]["holder"].as_str().unwrap().starts_with("first/"), "{record:#}");
}

/// The clocks of both operators are as far from the API server's as either may be, and so a minute apart, which is what the margin allows
/// for. The second takes no lease before its time, and does not give an attempt up while that may still be sent.
#[test]
fn clocks_a_minute_apart() {
    let two = Two::new("30s");
    let clock = clock(&two.site);
    let of = |mut command: Command, seconds| {
        command.env("LD_PRELOAD", &clock).env("CREDRESET_TEST_CLOCK", seconds);
        command
    };
    let first = two.first_of(&mut of(two.command("first", Some(&two.api.url)), "-28"));
    let second = two.site.run(&mut of(two.command("second", None), "28"));
    // Ten renewals are longer than a lease.
    let mut renewals = BTreeSet::new();
    two.site.when("ten renewals", &LEASES, |all| {
        let lease = &all["credreset"]["spec"];
        let holder = lease["holderIdentity"].as_str().unwrap();
        assert!(holder.starts_with("first/"), "taken from a leader that renews it: {holder}");
        renewals.insert(lease["renewTime"].to_string());
        (renewals.len() > 10).then_some(())
    });
    let held = two.about_to_send("annette");
    first.signal("STOP");
    held.release();
    two.site.until("annette", "OutcomeUnknown");
    let ahead = second_clock(&second);
    assert!(ahead > Timestamp::now() + SignedDuration::from_secs(15), "{ahead}: the clocks are not apart");
    let record = two.record_of("annette");
    // Given up a minute early by the first one's clock, whose own deadline has passed all the same.
    let deadline: Timestamp = record["spec"]["attempt"]["deadline"].as_str().unwrap().parse().unwrap();
    assert!(Timestamp::now() > deadline, "{record:#}");
    first.signal("CONT");
    steps_back(&first);
    assert_eq!(first.stop(), Some(0));
    assert_eq!(two.calls("reset-password"), 0);
    assert_eq!(two.record_of("annette"), record);
    // The second works on under its own clock.
    two.site.apply(&mfa_reset("mustafa", MUSTAFA, json!({})));
    two.site.until("mustafa", "Applied");
    assert_eq!(two.calls("reset-mfa"), 1);
}

/// The operator's clock is ahead of the directory's, or behind it, as far as it may be: a change time is proof all the same.
#[test]
fn change_times_of_another_clock() {
    let site = Site::with(&Setup { sandbox: vec!["--change-times".into()], ..Setup::default() });
    let fields = json!({"passwordChangedAt": "password_changed_time", "mfaChangedAt": "mfa_changed_time"});
    site.directory("zylker", json!({"provider": {"zoho": {"lookUp": fields}}}));
    // Without TLS: to a clock that is behind, the new cluster's certificates are not valid yet.
    let api = Proxy::before_api_server(site.kubeconfig());
    let clock = clock(&site);
    for (name, seconds) in [("ahead", "28"), ("behind", "-28")] {
        let binary = Path::new(env!("CARGO_BIN_EXE_credreset"));
        let mut command = site.operator_command(binary, name, "trace", Some(&api.url));
        let operator = site.run(command.env("LD_PRELOAD", &clock).env("CREDRESET_TEST_CLOCK", seconds));
        site.kubectl(&["wait", "--for=condition=Ready", "--timeout=600s", "directory/zylker"]);
        site.sandbox.fault(json!({"call": "reset-mfa", "fault": "apply-then-drop"}));
        let user = if name == "ahead" { ANNETTE } else { MUSTAFA };
        // Not in the future by either clock.
        site.apply(&mfa_reset(name, user, json!({"spec": {"requestedAt": time(-90)}})));
        assert_eq!(site.until(name, "Applied")["status"]["evidence"], "Marker");
        assert_eq!(operator.stop(), Some(0));
    }
    assert_eq!(site.sandbox.count("reset-mfa"), 2);
}

/// The time of the last line of its log.
fn second_clock(operator: &Operator) -> Timestamp {
    let log = operator.read_log();
    let last = log.lines().last().expect("a line");
    serde_json::from_str::<Value>(last).unwrap()["timestamp"].as_str().unwrap().parse().unwrap()
}
