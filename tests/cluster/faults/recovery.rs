//! Crashes, lost replies, lost objects: what happened is found out, and never done twice.
use serde_json::{Value, json};

use crate::support::{
    ANNETTE, RECORDS, SYSTEM, Setup, Site, TEAM, condition, message, mfa_reset, password_reset, time, wait_for,
};

const EMAIL: &str = "annette.c@zylker.biz";

fn resets(site: &Site) -> u64 {
    site.sandbox.user(ANNETTE)["passwordResets"].as_u64().unwrap()
}

/// Annette's password reset, whose call takes three seconds and is under way.
fn under_way(site: &Site) {
    site.sandbox.fault(json!({"call": "reset-password", "fault": "delay", "milliseconds": 3000}));
    site.apply(&password_reset("annette", EMAIL, json!({})));
    site.until("annette", "Executing");
}

/// Waits until a call of this kind has arrived, whatever was answered.
fn arrived(site: &Site, kind: &str, count: u64) {
    wait_for("the call", || (site.sandbox.count(kind) >= count).then_some(()));
}

#[test]
fn deleted_and_created_again() {
    let site = Site::start();
    site.usual_directory();
    let operator = site.operator();
    let manifest = password_reset("annette", EMAIL, json!({}));
    site.apply(&manifest);
    site.until("annette", "Applied");
    let calls = site.sandbox.get("/sandbox/counts");
    // The status is lost: it is shown again.
    let lose = [
        "patch",
        "creset",
        "-n",
        TEAM,
        "annette",
        "--subresource=status",
        "--type=json",
        "-p",
        r#"[{"op":"remove","path":"/status"}]"#,
    ];
    site.kubectl(&lose);
    site.until("annette", "Applied");
    site.delete("annette");
    site.apply(&manifest);
    let again = site.until("annette", "AlreadyApplied");
    assert_eq!(again["status"]["outcome"], "Applied");
    assert_eq!(condition(&again, "Succeeded").unwrap().0, "True");
    // Under another name, and after the operator was restarted.
    assert_eq!(operator.stop(), Some(0));
    let _operator = site.operator();
    site.apply(&manifest.replace(r#""name":"annette""#, r#""name":"annette-again""#));
    site.until("annette-again", "AlreadyApplied");
    site.kubectl(&lose);
    site.until("annette", "AlreadyApplied");
    let after = site.sandbox.get("/sandbox/counts");
    for kind in ["reset-password", "role", "groups"] {
        assert_eq!(calls[kind], after[kind], "a replay costs the directory no call");
    }
    // Another spelling of the same user is the same request.
    let mut other: Value = serde_json::from_str(&manifest).unwrap();
    other["metadata"]["name"] = json!("annette-by-id");
    other["spec"]["user"] = json!({"id": ANNETTE});
    site.apply(&other.to_string());
    site.until("annette-by-id", "AlreadyApplied");
    // With other flags it is another one, and refused.
    other["metadata"]["name"] = json!("annette-conflict");
    other["spec"]["password"]["forceChangeOnLogin"] = json!(false);
    site.apply(&other.to_string());
    let msg = message(&site.until("annette-conflict", "ConflictingRequest"));
    assert!(msg.contains("its own requestedAt"), "{msg}");
    assert_eq!(resets(&site), 1);
}

#[test]
fn history_is_not_replayed() {
    let site = Site::start();
    site.usual_directory();
    // Created in time, but no operator was at work until after the deadline.
    site.apply(&password_reset("late", EMAIL, json!({"spec": {"requestedAt": time(-7), "validFor": "10s"}})));
    site.apply(&password_reset("old", EMAIL, json!({"spec": {"requestedAt": time(-7200), "validFor": "1h"}})));
    site.apply(&password_reset(
        "restored",
        EMAIL,
        json!({"metadata": {"labels": {"velero.io/restore-name": "nightly"}}}),
    ));
    wait_for("the deadline", || {
        let created = site.reset("late")["spec"]["requestedAt"].as_str()?.parse::<jiff::Timestamp>().ok()?;
        (jiff::Timestamp::now() >= created + jiff::SignedDuration::from_secs(11)).then_some(())
    });
    let _operator = site.operator();
    let late = site.until("late", "Expired");
    assert_eq!(
        (condition(&late, "Ready").unwrap().0, &late["status"]["outcome"]),
        ("False".into(), &json!("NotApplied"))
    );
    let old = site.until("old", "Lapsed");
    assert_eq!(
        (condition(&old, "Ready").unwrap().0, condition(&old, "Succeeded").unwrap().0),
        ("True".into(), "False".into())
    );
    let restored = site.until("restored", "RestoredFromBackup");
    assert_eq!(restored["status"]["outcome"], "Lapsed");
    assert_eq!(site.sandbox.count("reset-password"), 0);
}

/// The answer is lost, and the directory shows when a password was changed: that is the proof.
#[test]
fn lost_answer_proven_by_the_change_time() {
    let site = Site::with(&Setup { sandbox: vec!["--change-times".into()], ..Setup::default() });
    let fields = json!({"passwordChangedAt": "password_changed_time", "mfaChangedAt": "mfa_changed_time"});
    site.directory("zylker", json!({"provider": {"zoho": {"lookUp": fields}}}));
    let operator = site.operator();
    site.kubectl(&["wait", "--for=condition=Ready", "--timeout=600s", "directory/zylker"]);
    site.sandbox.fault(json!({"call": "reset-password", "fault": "apply-then-drop"}));
    site.apply(&password_reset("annette", EMAIL, json!({})));
    let reset = site.until("annette", "Applied");
    assert_eq!(reset["status"]["evidence"], "Marker");
    assert!(message(&reset).contains("no reply came"), "{}", message(&reset));
    let password = site.secret(TEAM, "annette-password", "password");
    assert_eq!(site.sandbox.sign_in(EMAIL, &password), "must-change");
    assert_eq!((resets(&site), site.sandbox.count("reset-password")), (1, 1));

    // The operator dies while the call is under way; the next one finds out what became of it.
    site.sandbox.fault(json!({"call": "reset-mfa", "fault": "delay", "milliseconds": 1500}));
    site.apply(&mfa_reset("annette-mfa", EMAIL, json!({})));
    site.until("annette-mfa", "Executing");
    operator.kill();
    arrived(&site, "reset-mfa", 1);
    let _operator = site.operator_named("op-2");
    let reset = site.until("annette-mfa", "Applied");
    assert_eq!(reset["status"]["evidence"], "Marker");
    assert_eq!(site.sandbox.user(ANNETTE)["mfaResets"], 1);
    // Changed since it was asked for: a request that is older than the change is not carried out any more.
    site.apply(&password_reset("stale", EMAIL, json!({"spec": {"requestedAt": time(-3600)}})));
    assert!(message(&site.until("stale", "ChangedSinceRequest")).contains("after the reset was requested"));
    assert_eq!(resets(&site), 1);
}

/// The answer is lost and nothing is shown: the outcome cannot be determined, and is reported so. A later request supersedes it.
#[test]
fn lost_answer_without_evidence() {
    let site = Site::start();
    site.directory("zylker", json!({"limits": {"requestTimeout": "1s"}}));
    let _operator = site.operator();
    site.kubectl(&["wait", "--for=condition=Ready", "--timeout=600s", "directory/zylker"]);
    site.sandbox.fault(json!({"call": "reset-password", "fault": "apply-then-502"}));
    let manifest = password_reset("annette", EMAIL, json!({}));
    site.apply(&manifest);
    let reset = site.until("annette", "Verifying");
    assert!(message(&reset).contains("nothing is sent again"), "{}", message(&reset));
    // The object is deleted; its record is settled all the same.
    site.delete("annette");
    // Another request for the same user waits until nothing of the first can arrive any more.
    site.apply(&password_reset("second", EMAIL, json!({})));
    site.until("second", "UserBusy");
    site.delete("second");
    let is_unknown = |record: &&Value| record["spec"]["state"] == "Unknown";
    let record = site.when("the outcome", &RECORDS, |all| all.values().find(is_unknown).cloned());
    // The password that may be in force is kept.
    let kept = record["spec"]["attempt"]["secret"].as_str().unwrap();
    let password = site.secret(SYSTEM, kept, "password");
    assert_eq!(site.sandbox.sign_in(EMAIL, &password), "must-change");
    site.apply(&manifest);
    let again = site.until("annette", "OutcomeUnknown");
    assert_eq!(
        (&again["status"]["outcome"], condition(&again, "Stalled").unwrap().0),
        (&json!("Unknown"), "True".into())
    );
    assert!(message(&again).contains("Ask the user to sign in before you file a new request"), "{}", message(&again));
    site.apply(&password_reset("third", EMAIL, json!({})));
    site.until("third", "Applied");
    let superseded = site.until("annette", "Superseded");
    assert_eq!(superseded["status"]["outcome"], "Superseded");
    assert_eq!(site.sandbox.count("reset-password"), 2);
}

/// Nothing took effect, and the holder knows it: tried again.
#[test]
fn directory_that_was_not_reached() {
    let mut site = Site::start();
    site.usual_directory();
    let _operator = site.operator();
    let address = site.sandbox.url.strip_prefix("http://").unwrap().to_owned();
    site.sandbox.stop();
    site.apply(&password_reset("annette", EMAIL, json!({})));
    site.until("annette", "DirectoryNotReady");
    site.sandbox = crate::support::Sandbox::at(&address, &site.dir, &[]);
    site.until("annette", "Applied");
    assert_eq!(resets(&site), 1);
}

/// SIGTERM: the call under way is finished, its outcome is written, the lease is released.
#[test]
fn clean_end() {
    let site = Site::start();
    site.usual_directory();
    let operator = site.operator();
    under_way(&site);
    assert_eq!(operator.stop(), Some(0));
    let reset = site.reset("annette");
    assert_eq!(reset["status"]["outcome"], "Applied");
    let lease = site.get(&["lease", "-n", SYSTEM, "credreset"]);
    assert_eq!(lease["spec"]["holderIdentity"], "");
}

/// Two operators: one leads; when it is killed, the other goes on.
#[test]
fn fail_over() {
    let site = Site::start();
    site.usual_directory();
    let first = site.operator_named("first");
    site.until_leads("first");
    let second = site.operator_named("second");
    site.apply(&password_reset("one", EMAIL, json!({})));
    site.until("one", "Applied");
    first.kill();
    site.apply(&password_reset("two", EMAIL, json!({"spec": {"requestedAt": time(0)}})));
    site.until("two", "Applied");
    assert!(site.leader().starts_with("second/"));
    assert!(second.metrics().contains("credreset_leader 1"));
    assert_eq!(resets(&site), 2);
}

/// The API server dies while a call is under way: what came back is kept until it can be written down.
#[test]
fn api_server_outage() {
    let site = Site::start();
    if !site.is_own() {
        println!("killed only where the API server is our own");
        return;
    }
    site.usual_directory();
    let _operator = site.operator();
    under_way(&site);
    site.cluster("kill");
    wait_for("the change at the directory", || (resets(&site) == 1).then_some(()));
    site.cluster("up");
    let reset = site.until("annette", "Applied");
    assert_eq!(reset["status"]["evidence"], "Response");
    let password = site.secret(TEAM, "annette-password", "password");
    assert_eq!(site.sandbox.sign_in(EMAIL, &password), "must-change");
    assert_eq!(site.sandbox.count("reset-password"), 1);
}

/// The namespace is deleted while the call is under way: the record is settled all the same, and says what was not delivered.
#[test]
fn namespace_deleted_in_the_middle() {
    let site = Site::with(&Setup { controllers: true, ..Setup::default() });
    site.usual_directory();
    let _operator = site.operator();
    under_way(&site);
    site.kubectl(&["delete", "namespace", TEAM, "--wait=false"]);
    let is_applied = |record: &&Value| record["spec"]["state"] == "Applied";
    let record = site.when("the record's outcome", &RECORDS, |all| all.values().find(is_applied).cloned());
    assert_eq!(record["spec"]["evidence"], "Response");
    let note = record["spec"]["note"].as_str().unwrap();
    assert!(note.contains("could not be delivered: namespace helpdesk is"), "{note}");
    assert_eq!(resets(&site), 1);
    // It is in force and was not delivered: it is kept.
    let kept = record["spec"]["attempt"]["secret"].as_str().unwrap();
    assert!(note.contains(kept), "{note}");
    assert_eq!(site.sandbox.sign_in(EMAIL, &site.secret(SYSTEM, kept, "password")), "must-change");
}

/// The record is deleted while the call is under way: it is created again, and nothing is sent twice.
#[test]
fn record_deleted_in_the_middle() {
    let site = Site::start();
    site.usual_directory();
    let _operator = site.operator();
    under_way(&site);
    site.kubectl(&["delete", "crecord", "-n", SYSTEM, "--all"]);
    site.until("annette", "Applied");
    assert_eq!(site.sandbox.count("reset-password"), 1);
    let records = site.records();
    assert_eq!((records.len(), &records[0]["spec"]["state"]), (1, &json!("Applied")));
}
