//! The cluster loses statuses, records, objects or everything. The directory shows when a password was changed, and the operator resets
//! nothing twice.
use serde_json::{Value, json};

use crate::support::{Cluster, SYSTEM, Setup, Site, TEAM, chart, message, mfa_reset, password_reset, time, wait_for};

/// Flags of a sandbox that shows change times.
fn setup() -> Setup {
    Setup { sandbox: ["--change-times", "--users", "20"].map(str::to_owned).to_vec(), ..Setup::default() }
}

/// Its Directory, for requests from these namespaces.
fn directory(site: &Site, namespaces: &[&str]) {
    let fields = json!({"passwordChangedAt": "password_changed_time", "mfaChangedAt": "mfa_changed_time"});
    let rule =
        json!({"name": "all", "namespaces": namespaces, "modes": ["Password", "MFA"], "users": {"everyone": true}});
    let limits = json!({"resetsPerHour": 1000});
    site.directory("zylker", json!({"provider": {"zoho": {"lookUp": fields}}, "allow": [rule], "limits": limits}));
}

fn email(number: usize) -> String {
    format!("user{number:04}@zylker.biz")
}

fn id(number: usize) -> String {
    format!("{}", 710_000_000 + number)
}

/// A password reset named `rN` for user N, delivered to Secret `pN`.
fn reset_of(number: usize, mut patch: Value) -> String {
    patch["spec"]["password"] = json!({"deliverTo": {"secret": format!("p{number}")}});
    password_reset(&format!("r{number}"), &email(number), patch)
}

fn fault(site: &Site, number: usize, mut fault: Value) {
    fault["call"] = json!("reset-password");
    fault["user"] = json!(id(number));
    site.sandbox.fault(fault);
}

/// Changes of the user with this number, of either kind, and calls that asked for one.
fn done(site: &Site, number: usize) -> (u64, usize) {
    let user = site.sandbox.user(&id(number));
    let changes = user["passwordResets"].as_u64().unwrap() + user["mfaResets"].as_u64().unwrap();
    (changes, user["resetCalls"].as_array().unwrap().len())
}

/// The delivered password is the one in force.
fn opens(site: &Site, number: usize) -> bool {
    site.sandbox.sign_in(&email(number), &site.secret(TEAM, &format!("p{number}"), "password")) == "must-change"
}

fn wipe_status(site: &Site, name: &str) {
    let remove = r#"[{"op":"remove","path":"/status"}]"#;
    site.kubectl(&["patch", "creset", "-n", TEAM, name, "--subresource=status", "--type=json", "-p", remove]);
}

fn delete_record(site: &Site, name: &str) {
    let reset = site.reset(name);
    site.kubectl(&["delete", "crecord", "-n", SYSTEM, reset["status"]["record"].as_str().unwrap()]);
}

/// Status, record, or both are lost, at each point of a reset.
#[test]
fn status_and_record_are_lost() {
    let site = Site::with(&setup());
    directory(&site, &[TEAM]);
    let operator = site.operator();
    site.kubectl(&["wait", "--for=condition=Ready", "--timeout=600s", "directory/zylker"]);
    let [called, asked, unproven, settled, mfa] = [1, 2, 3, 4, 5];

    // The status, during the call and while its effect is looked for.
    fault(&site, called, json!({"fault": "delay", "milliseconds": 4000}));
    fault(&site, asked, json!({"fault": "delay", "milliseconds": 6000, "applyLate": true}));
    site.apply(&[reset_of(called, json!({})), reset_of(asked, json!({}))].join("\n---\n"));
    site.until("r1", "Executing");
    wipe_status(&site, "r1");
    site.until("r2", "Verifying");
    wipe_status(&site, "r2");
    site.until("r1", "Applied");
    let reset = site.until("r2", "Applied");
    assert_eq!(reset["status"]["evidence"], "Marker");
    for n in [called, asked] {
        assert_eq!((done(&site, n), opens(&site, n)), ((1, 1), true), "r{n}");
    }

    // The record, while its call's effect is looked for: what happened can no longer be determined, and nothing is sent.
    fault(&site, unproven, json!({"fault": "drop-before"}));
    site.apply(&reset_of(unproven, json!({})));
    site.until("r3", "Verifying");
    delete_record(&site, "r3");
    let msg = message(&site.until("r3", "OutcomeUnknown"));
    assert!(msg.contains("its record no longer exists") && msg.contains("nothing is sent again"), "{msg}");
    assert_eq!(done(&site, unproven), (0, 1));
    // The status as well: to this cluster the request is a new one, and the directory shows that nothing was changed since.
    wipe_status(&site, "r3");
    site.until("r3", "Applied");
    assert_eq!((done(&site, unproven), opens(&site, unproven)), ((1, 2), true));

    // The record of a request that is settled: the reported outcome stays, also with the next process.
    site.apply(&[reset_of(settled, json!({})), mfa_reset("r5", &email(mfa), json!({}))].join("\n---\n"));
    for n in [settled, mfa] {
        site.until(&format!("r{n}"), "Applied");
        delete_record(&site, &format!("r{n}"));
    }
    assert_eq!(operator.stop(), Some(0));
    let _operator = site.operator_named("op-2");
    site.apply(&mfa_reset("later", &email(6), json!({})));
    site.until("later", "Applied");
    for n in [settled, mfa] {
        let reset = site.until(&format!("r{n}"), "Applied");
        assert_eq!((done(&site, n), &reset["status"]["outcome"]), ((1, 1), &json!("Applied")), "r{n}");
        // Both: the directory's own time is all that is left, and it is enough.
        wipe_status(&site, &format!("r{n}"));
        let msg = message(&site.until(&format!("r{n}"), "ChangedSinceRequest"));
        assert!(msg.contains("after the reset was requested"), "{msg}");
        assert_eq!(done(&site, n), (1, 1), "r{n}");
    }
}

/// The same request again, under another name in another namespace, or by `kubectl replace --force`: settled and under way.
#[test]
fn created_again_elsewhere() {
    const OTHER: &str = "servicedesk";
    let site = Site::with(&setup());
    if !site.is_own() {
        println!("a second namespace is made only where the API server is our own");
        return;
    }
    let passwords = chart(&[]).into_iter().filter(|d| d["metadata"]["namespace"] == TEAM);
    let mut there: Vec<Value> =
        passwords.map(|d| serde_json::from_str(&d.to_string().replace(TEAM, OTHER)).unwrap()).collect();
    there.insert(0, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OTHER}}));
    site.apply_own(there);
    directory(&site, &[TEAM, OTHER]);
    let _operator = site.operator();
    site.kubectl(&["wait", "--for=condition=Ready", "--timeout=600s", "directory/zylker"]);
    let until = |namespace: &str, name: &str, reason: &str| {
        let path = format!(r#"--for=jsonpath={{.status.conditions[?(@.type=="Ready")].reason}}={reason}"#);
        site.kubectl(&["wait", &path, "--timeout=600s", "-n", namespace, &format!("creset/{name}")]);
    };
    let elsewhere = |manifest: &str| {
        let mut object: Value = serde_json::from_str(manifest).unwrap();
        object["metadata"]["namespace"] = json!(OTHER);
        object["metadata"]["name"] = json!(format!("{}-again", object["metadata"]["name"].as_str().unwrap()));
        site.apply(&object.to_string());
    };
    let replace = |manifest: &str| {
        let output = site.try_kubectl(&["replace", "--force", "-f", "-"], manifest);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };

    let manifest = reset_of(1, json!({}));
    site.apply(&manifest);
    site.until("r1", "Applied");
    elsewhere(&manifest);
    until(OTHER, "r1-again", "AlreadyApplied");
    replace(&manifest);
    site.until("r1", "AlreadyApplied");
    assert_eq!((done(&site, 1), opens(&site, 1)), ((1, 1), true));

    let manifests = [2, 3].map(|n| {
        fault(&site, n, json!({"fault": "delay", "milliseconds": 5000}));
        reset_of(n, json!({}))
    });
    site.apply(&manifests.join("\n---\n"));
    site.until("r2", "Executing");
    elsewhere(&manifests[0]);
    site.until("r3", "Executing");
    replace(&manifests[1]);
    until(OTHER, "r2-again", "AlreadyApplied");
    site.until("r2", "Applied");
    site.until("r3", "AlreadyApplied");
    for n in [2, 3] {
        assert_eq!((done(&site, n), opens(&site, n)), ((1, 1), true), "r{n}");
    }
}

/// The cluster is gone, and another one is built from the same manifests, for the same directory.
#[test]
fn cluster_is_built_anew() {
    let mut old = Site::with(&setup());
    if !old.is_own() {
        println!("needs two API servers of its own");
        return;
    }
    directory(&old, &[TEAM]);
    let operator = old.operator();
    old.kubectl(&["wait", "--for=condition=Ready", "--timeout=600s", "directory/zylker"]);
    // Done with and without a password; sent in vain, and not found out yet; done, and over by the time the other one is built.
    fault(&old, 3, json!({"fault": "drop-before"}));
    let [password, mfa, vain] = [reset_of(1, json!({})), mfa_reset("r2", &email(2), json!({})), reset_of(3, json!({}))];
    let short = reset_of(4, json!({"spec": {"validFor": "30s"}}));
    old.apply(&[&*password, &mfa, &vain, &short].join("\n---\n"));
    for name in ["r1", "r2", "r4"] {
        old.until(name, "Applied");
    }
    old.until("r3", "Verifying");
    operator.kill();
    old.cluster("stop");

    let mut new = Site::with(&Setup { cluster: Cluster::Unrelated, ..setup() });
    std::mem::swap(&mut old.sandbox, &mut new.sandbox);
    directory(&new, &[TEAM]);
    let _operator = new.operator();
    new.apply(&[&*password, &mfa, &vain].join("\n---\n"));
    for name in ["r1", "r2"] {
        let reset = new.until(name, "ChangedSinceRequest");
        assert_eq!(reset["status"]["outcome"], "NotApplied");
        assert!(message(&reset).contains("after the reset was requested"), "{}", message(&reset));
    }
    // The directory shows no change, so it is a genuine first start.
    new.until("r3", "Applied");
    let manifest: Value = serde_json::from_str(&short).unwrap();
    let requested: jiff::Timestamp = manifest["spec"]["requestedAt"].as_str().unwrap().parse().unwrap();
    wait_for("the deadline", || {
        (jiff::Timestamp::now() > requested + jiff::SignedDuration::from_secs(31)).then_some(())
    });
    new.apply(&short);
    let reset = new.until("r4", "Lapsed");
    assert!(message(&reset).contains("before this object was created: nothing is sent"), "{}", message(&reset));
    for (n, calls) in [(1, 1), (2, 1), (3, 2), (4, 1)] {
        assert_eq!(done(&new, n), (1, calls), "r{n}");
    }
}

/// Objects that Velero has restored, with and without their status, with and without a record.
#[test]
fn restored_from_a_backup() {
    let site = Site::with(&setup());
    directory(&site, &[TEAM]);
    let operator = site.operator();
    let restored = |n: usize, patch: Value| {
        let mut object: Value = serde_json::from_str(&reset_of(n, patch)).unwrap();
        object["metadata"]["labels"]["velero.io/restore-name"] = json!("nightly");
        object
    };
    // With its record: what the record says.
    let mut recorded = restored(1, json!({}));
    let label = recorded["metadata"]["labels"].as_object_mut().unwrap().remove("velero.io/restore-name").unwrap();
    site.apply(&recorded.to_string());
    site.until("r1", "Applied");
    site.delete("r1");
    recorded["metadata"]["labels"]["velero.io/restore-name"] = label;
    assert_eq!(operator.stop(), Some(0));

    let status = |name: &str, outcome: Value, ready: &str, reason: &str| {
        let condition = json!({
            "type": "Ready", "status": ready, "reason": reason, "message": "as it was in the backup",
            "lastTransitionTime": "2026-11-24T09:00:00Z",
        });
        let status = json!({"status": {"outcome": outcome, "observedGeneration": 1, "conditions": [condition]}});
        let patch = status.to_string();
        site.kubectl(&["patch", "creset", "-n", TEAM, name, "--subresource=status", "--type=merge", "-p", &patch]);
    };
    let mut all = vec![recorded.to_string()];
    all.extend((2..=6).map(|n| restored(n, json!({})).to_string()));
    all.push(restored(7, json!({"spec": {"requestedAt": time(-7200), "validFor": "1h"}})).to_string());
    site.apply(&all.join("\n---\n"));
    status("r2", json!("Applied"), "True", "Applied");
    status("r3", Value::Null, "Unknown", "Executing");
    status("r4", Value::Null, "Unknown", "Verifying");
    status("r5", Value::Null, "Unknown", "DirectoryNotReady");
    let _operator = site.operator_named("op-2");
    site.until("r1", "AlreadyApplied");
    for (name, reason, outcome) in [
        ("r3", "OutcomeUnknown", "Unknown"),
        ("r4", "OutcomeUnknown", "Unknown"),
        ("r5", "RestoredFromBackup", "Lapsed"),
        ("r6", "RestoredFromBackup", "Lapsed"),
        ("r7", "Lapsed", "Lapsed"),
    ] {
        assert_eq!(site.until(name, reason)["status"]["outcome"], outcome, "{name}");
    }
    // Settled is settled.
    assert_eq!(message(&site.until("r2", "Applied")), "as it was in the backup");
    assert_eq!((site.sandbox.count("reset-password"), done(&site, 1)), (1, (1, 1)));
}
