//! `credreset explain` and `credreset settle`: what a person on call sees of a reset whose outcome is unknown, and how they settle it.
use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use crate::support::{RESETS, SYSTEM, Setup, Site, TEAM, blocks, kubeconfig_of, message, password_reset, wait_for};

const ANNETTE: &str = "annette.c@zylker.biz";
const HIRO: (&str, &str) = ("700012307", "hiro.t@zylker.biz");

fn run(kubeconfig: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_credreset"))
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.code(), text)
}

/// Olga may read records and settle for Directory zylker; otto has the role but not the verb.
fn people(site: &Site) {
    let subjects = |names: &[&str]| -> Vec<Value> {
        names
            .iter()
            .map(|name| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}))
            .collect()
    };
    let role = |name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name});
    let bind = |kind: &str, name: &str, namespace: Value, role: Value, who: &[&str]| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name, "namespace": namespace},
            "roleRef": role, "subjects": subjects(who),
        })
    };
    site.apply_own(vec![
        bind("RoleBinding", "test-view", json!(TEAM), role("credreset-view"), &["olga", "otto", "vic"]),
        bind("RoleBinding", "test-settle", json!(SYSTEM), role("credreset-settle"), &["olga", "otto"]),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "test-settle-zylker"},
            "rules": [{"apiGroups": ["credreset.dev"], "resources": ["directories"], "resourceNames": ["zylker"], "verbs": ["settle", "get"]}],
        }),
        bind("ClusterRoleBinding", "test-settle-zylker", Value::Null, role("test-settle-zylker"), &["olga"]),
    ]);
}

#[test]
fn what_nobody_knows_is_settled_by_a_person() {
    let site = Site::with(&Setup::default());
    site.directory(
        "zylker",
        json!({"limits": {"requestTimeout": "1s", "minIntervalPerUser": "0s", "resetsPerHour": 100}}),
    );
    people(&site);
    let (olga, otto, vic) = (kubeconfig_of(&site, "olga"), kubeconfig_of(&site, "otto"), kubeconfig_of(&site, "vic"));
    let _operator = site.operator();
    site.until_directory("zylker", "Connected");
    // One takes effect and loses its answer, one is lost on the way. The directory shows no difference.
    let fault = |user: &str, what: &str| {
        site.sandbox.fault(json!({"call": "reset-password", "user": user, "times": 1, "fault": what}));
    };
    fault(crate::support::ANNETTE, "apply-then-drop");
    fault(HIRO.0, "drop-before");
    site.apply(
        &[password_reset("annette", ANNETTE, json!({})), password_reset("hiro", HIRO.1, json!({}))].join("\n---\n"),
    );

    // While it is open: what it waits for and until when.
    site.until("annette", "Verifying");
    let (code, text) = run(&olga, &["explain", "annette"]);
    assert_eq!(code, Some(0), "{text}");
    for part in [
        "request    helpdesk/annette\n",
        "reset      Password of annette.c@zylker.biz, id 700012399, in zylker\n",
        "status     Verifying: The call was sent and no reply came",
        "first try: the operator (op/",
        ") asks the directory to set the password\n",
        "its status became: verifying\n",
        "deadline: the operator does not start the reset after this",
        "requested",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let (code, text) = run(&olga, &["settle", "annette", "--applied", "--yes", "--reason", "She says so on the phone"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("a person can settle only an outcome that is Unknown"), "{text}");

    for name in ["annette", "hiro"] {
        site.until(name, "OutcomeUnknown");
    }
    let (_, text) = run(&olga, &["explain", "annette"]);
    for part in [
        "nobody knows whether it is in force",
        "next step  Find out before you do anything else, as below.\n",
        "the OLD password still works: credreset settle annette -n helpdesk --not-applied",
        "settle     1. The call may have been sent between",
        "credreset settle annette -n helpdesk --applied",
        "of the operator's namespace until",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let (_, text) = run(&vic, &["explain", "annette"]);
    assert!(!text.contains("settle     1."), "{text}");
    // Of the record, what the status has of it.
    for part in [
        "not shown  details of the call: you may not read the operator's records\n",
        "the operator asks the directory for the reset",
        "its status became: outcome unknown",
        "ask a person who may settle it",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }

    who_may_say_so(&site, [&olga, &otto, &vic]);
    let applied = |reason: &'static str| ["settle", "annette", "--applied", "--yes", "--reason", reason];
    let id = site.reset("annette")["status"]["record"].as_str().unwrap().to_owned();

    a_dump_runs(&site, &olga);

    // In force: the password that was kept is delivered, and the record says who settled it.
    let commands = blocks("docs/on-call.md", "sh settle").concat().replace("-locked-out", "");
    let [in_force, not_in_force] = commands.lines().collect::<Vec<_>>()[..] else { panic!("{commands}") };
    let text = site.terminal(&olga, in_force, "y\n");
    assert!(text.contains("settled: csettlement/r-"), "{text}");
    let reset = site.when("the settlement", &RESETS, |all| {
        Some(&all["annette"]).filter(|reset| reset["status"]["outcome"] == "Applied").cloned()
    });
    assert_eq!(reset["status"]["evidence"], "Person");
    assert!(message(&reset).contains("a person settled the outcome"), "{}", message(&reset));
    assert_eq!(site.sandbox.sign_in(ANNETTE, &site.secret(TEAM, "annette-password", "password")), "must-change");
    let record = site.get(&["crecord", "-n", SYSTEM, &id]);
    assert_eq!((&record["spec"]["settledBy"], &record["spec"]["state"]), (&json!("olga"), &json!("Applied")));
    let (code, text) = run(&olga, &applied("She signed in with it"));
    assert!(code == Some(1) && text.contains("a person can settle only an outcome that is Unknown"), "{text}");

    is_not_in_force(&site, &olga, not_in_force);
    // One call each, whatever the settlement was.
    assert_eq!(site.sandbox.count("reset-password"), 2);
}

/// Nobody but a person with the role and the verb, and not in passing.
fn who_may_say_so(site: &Site, [olga, otto, vic]: [&Path; 3]) {
    let applied = |reason: &'static str| ["settle", "annette", "--applied", "--yes", "--reason", reason];
    for (who, arguments, expected) in [
        (vic, applied("She says so on the phone"), "could not be read"),
        (otto, applied("She says so on the phone"), "otto needs the verb settle on directories/zylker"),
        (olga, applied("yes"), "--reason must have 8 to 1024 characters"),
    ] {
        let (code, text) = run(who, &arguments);
        assert!(code == Some(1) && text.contains(expected), "{text}\nshould say {expected}");
    }
    let (code, text) = run(olga, &["settle", "annette", "--applied", "--reason", "She says so on the phone"]);
    assert!(
        code == Some(1) && text.contains("you say    the NEW password works") && text.contains("confirm with --yes"),
        "{text}"
    );
    let id = site.reset("annette")["status"]["record"].as_str().unwrap().to_owned();
    let forged = json!({
        "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialResetSettlement", "metadata": {"name": "forged", "namespace": SYSTEM},
        "spec": {"record": id, "directory": "zylker", "outcome": "Applied", "reason": "In another's name", "settledBy": "olga"},
    });
    let pipeline = format!("system:serviceaccount:{SYSTEM}:default");
    for who in ["otto", pipeline.as_str()] {
        let output = site.try_kubectl(&["create", "-f", "-", &format!("--as={who}")], &forged.to_string());
        let printed = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && printed.contains("orbidden"), "{printed}");
    }
}

/// What is dumped runs, and shows no user's name where that is wished.
fn a_dump_runs(site: &Site, olga: &Path) {
    let file = site.dir.join("world.yaml");
    let dump = ["explain", "hiro", "--dump", file.to_str().unwrap(), "--anonymous"];
    let (code, text) = run(olga, &dump);
    assert_eq!(code, Some(0), "{text}");
    let dumped = fs::read_to_string(&file).unwrap();
    for hidden in ["hiro", HIRO.0, "zylker", "HELP-4711", "staff", TEAM] {
        assert!(!dumped.contains(hidden), "{hidden} is in {dumped}");
    }
    let (code, text) = run(Path::new("/nowhere"), &["replay", file.to_str().unwrap()]);
    assert!(code == Some(0) && text.contains("# The decision is unchanged."), "{text}");
}

/// Nothing is delivered or sent, and the kept password goes.
fn is_not_in_force(site: &Site, olga: &Path, command: &str) {
    let secret = site.get(&["crecord", "-n", SYSTEM, site.reset("hiro")["status"]["record"].as_str().unwrap()])["spec"]
        ["attempt"]["secret"]
        .as_str()
        .unwrap()
        .to_owned();
    site.terminal(olga, command, "y\n");
    let reset = site.until("hiro", "Settled");
    assert_eq!(reset["status"]["outcome"], "NotApplied");
    assert!(
        message(&reset).starts_with("olga states that nothing was changed: The old password still works, by phone"),
        "{}",
        message(&reset)
    );
    wait_for("the kept password to go", || {
        site.kubectl(&["get", "secret", "-n", SYSTEM, "--ignore-not-found", &secret]).is_empty().then_some(())
    });
    assert_eq!(site.sandbox.sign_in(HIRO.1, "Hiro-old-1"), "ok");
}

/// A settlement from a time when no policy compared its author with the caller, from before there was an outcome, or for another
/// Directory is not taken, whatever comes later; and it blocks no later one.
#[test]
fn what_anybody_could_have_said_is_not_taken() {
    let site = Site::with(&Setup::default());
    if !site.is_own() {
        return; // the policies of a foreign cluster are not taken away
    }
    site.directory("zylker", json!({"limits": {"requestTimeout": "1s"}}));
    people(&site);
    let olga = kubeconfig_of(&site, "olga");
    let _operator = site.operator();
    site.until_directory("zylker", "Connected");
    site.sandbox.fault(
        json!({"call": "reset-password", "user": crate::support::ANNETTE, "times": 1, "fault": "apply-then-drop"}),
    );
    site.apply(&password_reset("annette", ANNETTE, json!({})));
    let id = site.until("annette", "Verifying")["status"]["record"].as_str().unwrap().to_owned();
    let settlement = |name: &str, directory: &str, by: &str| {
        json!({
            "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialResetSettlement", "metadata": {"name": name, "namespace": SYSTEM},
            "spec": {"record": id, "directory": directory, "outcome": "NotApplied", "reason": "never looked", "settledBy": by},
        })
        .to_string()
    };
    let create = |who: &str, settlement: &str| {
        let output = site.try_kubectl(&["create", "-f", "-", &format!("--as={who}")], settlement);
        output.status.success().then_some(())
    };
    // By a user who may, and cannot know; and for a Directory that has nothing to do with it, under the name of the record.
    wait_for("olga's rights", || create("olga", &settlement("early", "zylker", "olga")));
    site.kubectl(&[
        "create",
        "clusterrole",
        "test-settle-elsewhere",
        "--verb=settle",
        "--resource=directories.credreset.dev",
        "--resource-name=elsewhere",
    ]);
    site.kubectl(&[
        "create",
        "clusterrolebinding",
        "test-settle-elsewhere",
        "--clusterrole=test-settle-elsewhere",
        "--user=otto",
    ]);
    wait_for("otto's rights", || create("otto", &settlement(&id, "elsewhere", "otto")));
    let reset = site.until("annette", "OutcomeUnknown");
    let not_taken = |reset: &Value, words: &[&str]| {
        let msg = message(reset);
        msg.contains("Settlements not counted: ") && words.iter().all(|words| msg.contains(words))
    };
    let before = ["early is older than the outcome (to be settled again)", "is for another Directory"];
    assert!(not_taken(&reset, &before), "{}", message(&reset));

    // While the policy is away, and while it asks for less.
    let (kind, name) = ("validatingadmissionpolicybinding", "credreset-settlements");
    let binding = site.get(&[kind, name]);
    site.kubectl(&["delete", kind, name]);
    wait_for("the policy to be away", || create("otto", &settlement("forged", "zylker", "ceo")));
    let mut again = binding.clone();
    for field in ["uid", "resourceVersion", "creationTimestamp"] {
        again["metadata"].as_object_mut().unwrap().remove(field);
    }
    site.apply(&again.to_string());
    let probe = settlement("probe", "zylker", "ceo");
    wait_for("the policy to be back", || {
        let output = site.try_kubectl(&["create", "--dry-run=server", "-f", "-", "--as=otto"], &probe);
        (!output.status.success()).then_some(())
    });
    let policy = site.get(&["validatingadmissionpolicy", name]);
    let weak: Vec<Value> = (0..policy["spec"]["validations"].as_array().unwrap().len())
        .map(|number| json!({"op": "replace", "path": format!("/spec/validations/{number}/expression"), "value": "true"}))
        .collect();
    let weak = Value::from(weak).to_string();
    site.kubectl(&["patch", "validatingadmissionpolicy", name, "--type=json", "-p", &weak]);
    wait_for("the policy to ask for nothing", || create("otto", &settlement("weak", "zylker", "ceo")));
    let spec = json!({"spec": policy["spec"]}).to_string();
    site.kubectl(&["patch", "validatingadmissionpolicy", name, "--type=merge", "-p", &spec]);
    site.guarded();
    site.kubectl(&["annotate", "csettlement", "-n", SYSTEM, "--all", "look=again"]);
    let forged =
        ["forged", "weak"].map(|name| format!("{name} is older than the admission policy (to be settled again)"));
    site.when("the forged settlements to be reported", &RESETS, |all| {
        all.get("annette").filter(|reset| not_taken(reset, &forged.each_ref().map(String::as_str))).map(drop)
    });
    let state = || site.get(&["crecord", "-n", SYSTEM, &id])["spec"]["state"].clone();
    assert_eq!(state(), "Unknown");

    // None of it blocks the person who has looked.
    let (code, text) =
        run(&olga, &["settle", "annette", "--applied", "--yes", "--reason", "She signed in with the new password"]);
    assert_eq!(code, Some(0), "{text}");
    site.when("the settlement", &RESETS, |all| {
        all.get("annette").filter(|reset| reset["status"]["evidence"] == "Person").map(drop)
    });
    let record = site.get(&["crecord", "-n", SYSTEM, &id]);
    assert_eq!((&record["spec"]["settledBy"], state()), (&json!("olga"), json!("Applied")));
    assert_eq!(site.sandbox.count("reset-password"), 1);
}
