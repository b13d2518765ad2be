//! Many requests: each is carried out once; and what it costs.
use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{
    Audited, RESETS, SYSTEM, Setup, Site, TEAM, all_ended, mfa_reset, password_reset, time, wait_for,
};

const REQUESTS: usize = 200;

fn outcomes(site: &Site) -> BTreeMap<String, String> {
    let all = site.get(&["creset", "-n", TEAM]);
    let reason =
        |object: &Value| crate::support::condition(object, "Ready").map(|(_, reason)| reason).unwrap_or_default();
    all["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| (o["metadata"]["name"].as_str().unwrap().to_owned(), reason(o)))
        .collect()
}

fn settled(site: &Site) {
    let timeout = ["wait", "--for=condition=Ready", "--timeout=600s", "-n", TEAM, "creset", "-l", "expect=ready"];
    site.kubectl(&timeout);
    site.when("every request's outcome", &RESETS, |all| all_ended(all).then_some(()));
}

/// 200 requests, 20 of them twice under other names, 5 twice with other flags, the operator restarted in the middle.
#[test]
fn two_hundred_requests() {
    let mut site = Site::with(&Setup { sandbox: vec!["--users".into(), REQUESTS.to_string()], ..Setup::default() });
    site.usual_directory();
    let operator = site.operator();
    let requested = time(-1);
    let manifest = |name: &str, i: usize, force: bool, expect: &str| {
        let patch = json!({
            "metadata": {"labels": {"expect": expect}},
            "spec": {"requestedAt": requested, "password": {"forceChangeOnLogin": force, "deliverTo": {"secret": format!("p{i:03}")}}},
        });
        password_reset(name, &format!("user{i:04}@zylker.biz"), patch)
    };
    let mut all: Vec<String> = (1..=REQUESTS).map(|i| manifest(&format!("r{i:03}"), i, true, "ready")).collect();
    let (first, rest) = all.split_at(REQUESTS / 2);
    site.apply(&first.join("\n---\n"));
    // In the middle of them.
    wait_for("some resets", || (site.sandbox.count("reset-password") > 10).then_some(()));
    assert_eq!(operator.stop(), Some(0));
    site.apply(&rest.join("\n---\n"));
    let operator = site.operator_named("op-2");
    settled(&site);
    let twins: Vec<String> = (1..=20).map(|i| manifest(&format!("twin{i:03}"), i, true, "ready")).collect();
    let others: Vec<String> = (21..=25).map(|i| manifest(&format!("other{i:03}"), i, false, "refused")).collect();
    site.apply(&twins.join("\n---\n"));
    site.apply(&others.join("\n---\n"));
    settled(&site);
    let outcomes_now = outcomes(&site);
    for (name, reason) in &outcomes_now {
        let expected: &[&str] = match name.as_bytes().first() {
            Some(b't') => &["AlreadyApplied"],
            Some(b'o') => &["ConflictingRequest"],
            _ => &["Applied"],
        };
        assert!(expected.contains(&reason.as_str()), "{name} is {reason}");
    }
    assert_eq!(outcomes_now.len(), REQUESTS + 25);
    let users = site.sandbox.get("/sandbox/users");
    let ordinary =
        users.as_array().unwrap().iter().filter(|u| u["emails"][0].as_str().is_some_and(|e| e.starts_with("user")));
    for user in ordinary {
        assert_eq!(user["passwordResets"], 1, "{}", user["emails"][0]);
    }
    assert_eq!(site.sandbox.count("reset-password"), REQUESTS as u64);

    // All deleted and created again, with the directory down.
    site.sandbox.stop();
    site.kubectl(&["delete", "creset", "-n", TEAM, "--all", "--wait=true"]);
    all.truncate(REQUESTS);
    site.apply(&all.join("\n---\n"));
    settled(&site);
    assert!(outcomes(&site).values().all(|reason| reason == "AlreadyApplied"), "{:?}", outcomes(&site));
    drop(operator);
}

/// What a reset that meets no trouble costs the API server, Events aside.
#[test]
fn writes_per_reset() {
    let site = Site::start();
    if !site.is_own() {
        println!("counted only where the API server is our own, with an audit log");
        return;
    }
    site.usual_directory();
    let operator = site.operator();
    let writes = |before: usize| -> Vec<Audited> {
        let all = site.audit().split_off(before);
        all.into_iter()
            .filter(|a| {
                a.writes()
                    && !["leases", "events"].contains(&a.resource.as_str())
                    && !a.resource.starts_with("directories")
            })
            .collect()
    };
    site.apply(&mfa_reset("warm-up", "jan.n@zylker.biz", json!({})));
    site.until("warm-up", "Applied");
    let before = site.audit().len();
    site.apply(&mfa_reset("mfa", "annette.c@zylker.biz", json!({})));
    site.until("mfa", "Applied");
    let mfa = writes(before);
    assert!(mfa.len() <= 3, "{} writes: {mfa:#?}", mfa.len());
    let before = site.audit().len();
    site.apply(&password_reset("password", "annette.c@zylker.biz", json!({})));
    site.until("password", "Applied");
    // Nothing comes after the status.
    assert_eq!(operator.stop(), Some(0));
    let password = writes(before);
    assert!(password.len() <= 6, "{} writes: {password:#?}", password.len());
    let text = site.kubectl(&["get", "secret", "-n", SYSTEM, "-l", "credreset.dev/password", "-o", "name"]);
    assert_eq!(text, "");
}

/// Limits are counted over records, so a restart changes nothing.
#[test]
fn limits_outlive_a_restart() {
    let site = Site::start();
    site.directory("zylker", json!({"limits": {"resetsPerHour": 2, "minIntervalPerUser": "10m"}}));
    let operator = site.operator();
    site.kubectl(&["wait", "--for=condition=Ready", "--timeout=600s", "directory/zylker"]);
    site.apply(&password_reset("one", "annette.c@zylker.biz", json!({})));
    site.until("one", "Applied");
    operator.kill();
    let _operator = site.operator_named("op-2");
    site.apply(&password_reset("busy", "annette.c@zylker.biz", json!({"spec": {"requestedAt": time(0)}})));
    site.until("busy", "UserBusy");
    site.apply(&password_reset("two", "jan.n@zylker.biz", json!({})));
    site.until("two", "Applied");
    site.apply(&password_reset("three", "kim.l@zylker.biz", json!({})));
    let msg = crate::support::message(&site.until("three", "LimitReached"));
    assert!(msg.contains("allows 2 resets an hour"), "{msg}");
    wait_for("the Event on the Directory", || {
        let events = site.get(&["events.events.k8s.io", "-n", "default"]);
        let is_reported = |e: &Value| e["regarding"]["kind"] == "Directory" && e["reason"] == "LimitReached";
        events["items"].as_array().unwrap().iter().any(is_reported).then_some(())
    });
    assert_eq!(site.sandbox.count("reset-password"), 2);
}
