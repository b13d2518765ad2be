//! What tools make of a status: Flux by kstatus's own library, Argo CD by the chart's health.lua in the interpreter that it
//! uses. The objects are as the API server stores them, with the statuses that the operator writes.
use std::{
    io::Write,
    process::{Command, Stdio},
};

use credreset::{
    api::CredentialReset,
    core::{Reason, View},
    k8s::status::status,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::env::{Site, TEAM, condition, mfa_reset, path};

const SCRIPT: &str = "charts/credreset/files/health.lua";
/// What Argo CD knows. Any other word is shown as Unknown.
const WORDS: [&str; 6] = ["Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown"];

/// What a tool says of an object.
struct Said {
    kstatus: String,
    health: String,
    /// Of kstatus, and of Argo CD.
    messages: [String; 2],
}

impl Said {
    fn words(&self) -> (&str, &str) {
        (&self.kstatus, &self.health)
    }
}

fn tools(objects: &[Value]) -> Vec<Said> {
    let mut go = Command::new("go")
        .args(["run", "-C"])
        .arg(path("tests/status-tools"))
        .arg(".")
        .arg(path(SCRIPT))
        .env("CGO_ENABLED", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("go");
    let mut stdin = go.stdin.take().unwrap();
    for object in objects {
        writeln!(stdin, "{object}").unwrap();
    }
    drop(stdin);
    let output = go.wait_with_output().unwrap();
    assert!(output.status.success(), "tests/status-tools: {:?}", output.status);
    let said: Vec<Said> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| line[name].as_str().unwrap().to_owned();
            let said = Said {
                kstatus: text("kstatus"),
                health: text("health"),
                messages: [text("kstatusMessage"), text("healthMessage")],
            };
            assert!(WORDS.contains(&said.health.as_str()), "Argo CD does not know {}", said.health);
            said
        })
        .collect();
    assert_eq!(said.len(), objects.len());
    said
}

/// What kstatus and Argo CD are to say of a request with this reason: api.md's promise.
fn intended(reason: &str) -> (&'static str, &'static str) {
    match reason {
        "Applied" | "AlreadyApplied" | "Superseded" | "Settled" | "Lapsed" | "RestoredFromBackup" => {
            ("Current", "Healthy")
        }
        "AwaitingApproval" => ("InProgress", "Suspended"),
        "Pending" | "DirectoryNotReady" | "DirectorySuspended" | "Throttled" | "UserBusy" | "LimitReached"
        | "NotYetValid" | "Executing" | "Verifying" | "Finishing" => ("InProgress", "Progressing"),
        "Expired"
        | "DirectoryMissing"
        | "NotAllowed"
        | "UserProtected"
        | "UserNotFound"
        | "UserAmbiguous"
        | "UserNotConfirmed"
        | "UserInactive"
        | "UserFederated"
        | "NotSupported"
        | "SecretMissing"
        | "SecretForbidden"
        | "DeliveryConflict"
        | "ChangedSinceRequest"
        | "ConflictingRequest"
        | "Rejected"
        | "OutcomeUnknown" => ("Failed", "Degraded"),
        new => panic!("{new} is new: say here what tools are to show"),
    }
}

fn list(items: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// The requests, in order of their names, which sort as they were made.
fn stored(site: &Site) -> Vec<Value> {
    site.get(&["creset", "-n", TEAM])["items"].as_array().unwrap().clone()
}

#[test]
fn tools_show_what_is_meant() {
    let site = Site::start();

    // Requests: one for each reason, and one that the operator has not seen.
    let count = Reason::ALL.len() + 1;
    let requests: Vec<String> =
        (0..count).map(|n| mfa_reset(&format!("r{n:03}"), "annette.c@zylker.biz", json!({}))).collect();
    site.apply(&requests.join("\n---\n"));
    let objects = stored(&site);
    for said in tools(&objects) {
        assert_eq!(said.words(), intended("Pending"));
    }
    let shown: Vec<Value> = objects
        .iter()
        .zip(Reason::ALL)
        .map(|(object, reason)| {
            let request: CredentialReset = serde_json::from_value(object.clone()).unwrap();
            let mut shown = object.clone();
            shown["status"] =
                serde_json::to_value(status(&request, &View::new(reason, "What happened."), Timestamp::now())).unwrap();
            shown
        })
        .collect();
    let replaced = site.try_kubectl(&["replace", "--subresource=status", "-f", "-"], &list(&shown));
    assert!(replaced.status.success(), "{}", String::from_utf8_lossy(&replaced.stderr));
    let objects = stored(&site);
    for ((object, reason), said) in objects.iter().zip(Reason::ALL).zip(tools(&objects)) {
        assert_eq!(condition(object, "Ready").unwrap().1, reason.to_string(), "as it was stored");
        assert_eq!(said.words(), intended(&reason.to_string()), "{reason}");
        // Whoever looks there reads why.
        assert_eq!(said.messages[1], "What happened.", "{reason}");
        assert!(said.kstatus == "Current" || said.messages[0] == "What happened." || reason == Reason::Pending);
    }

    // A status that is lost is the default again, and nobody calls that done.
    let remove = r#"[{"op":"remove","path":"/status"}]"#;
    let applied = format!("r{:03}", Reason::ALL.iter().position(|reason| *reason == Reason::Applied).unwrap());
    site.kubectl(&["patch", "creset", "-n", TEAM, &applied, "--subresource=status", "--type=json", "-p", remove]);
    let object = site.reset(&applied);
    assert_eq!(object["status"]["observedGeneration"], -1);
    assert_eq!(tools(&[object])[0].words(), intended("Pending"));
    site.kubectl(&["delete", "creset", "-n", TEAM, "--all"]);

    // Directories, as the operator shows them.
    site.usual_directory();
    let words = |name: &str| {
        let object = site.get(&["directory", name]);
        let said = &tools(std::slice::from_ref(&object))[0];
        (said.kstatus.clone(), said.health.clone())
    };
    let pair = |kstatus: &str, health: &str| (kstatus.to_owned(), health.to_owned());
    assert_eq!(words("zylker"), pair("InProgress", "Progressing"));
    let operator = site.operator();
    site.until_directory("zylker", "Connected");
    assert_eq!(words("zylker"), pair("Current", "Healthy"));
    site.directory("zylker-2", json!({"provider": {"zoho": {"credentials": {"secret": "nowhere"}}}}));
    site.kubectl(&["wait", "--for=condition=Ready=False", "--timeout=60s", "directory/zylker-2"]);
    // It may come to be ready without anybody's doing, so kstatus goes on waiting.
    assert_eq!(words("zylker-2"), pair("InProgress", "Degraded"));
    assert_eq!(operator.stop(), Some(0));
    // Changed since the operator looked.
    site.directory("zylker", json!({"limits": {"resetsPerHour": 7}}));
    assert_eq!(words("zylker"), pair("InProgress", "Progressing"));
    site.directory("zylker", json!({"suspend": true}));
    assert_eq!(words("zylker").1, "Suspended");
}

/// Objects of other versions, of other tools' making, or half restored: the script never fails.
#[test]
fn health_of_what_is_incomplete() {
    let metadata = json!({"name": "x", "generation": 1});
    let with = |kind: &str, status: Value| {
        let mut object = json!({"apiVersion": "credreset.dev/v1alpha1", "kind": kind, "metadata": metadata});
        object["spec"] = json!({"directory": "zylker"});
        object["status"] = status;
        object
    };
    let ready = |condition: Value| json!({"observedGeneration": 1, "conditions": [condition]});
    let mut bare = with("CredentialReset", json!({}));
    for part in ["spec", "status"] {
        bare.as_object_mut().unwrap().remove(part);
    }
    let mut cases = vec![(bare, "Progressing", "The operator has not seen this yet.")];
    for kind in ["CredentialReset", "Directory"] {
        for (status, health, message) in [
            (json!({}), "Progressing", "The operator has not seen this yet."),
            (json!({"observedGeneration": 1}), "Progressing", "The operator has said nothing yet."),
            (json!({"observedGeneration": 1, "conditions": []}), "Progressing", "The operator has said nothing yet."),
            (
                ready(json!({"type": "Succeeded", "status": "True"})),
                "Progressing",
                "The operator has said nothing yet.",
            ),
            (ready(json!({"type": "Ready"})), "Progressing", ""),
            (ready(json!({"type": "Ready", "status": "True"})), "Healthy", ""),
            (ready(json!({"type": "Ready", "status": "False", "reason": "Later"})), "Degraded", "Later"),
            (
                ready(json!({"type": "Ready", "status": "Unknown", "reason": "AwaitingApproval"})),
                "Suspended",
                "AwaitingApproval",
            ),
            (
                json!({"observedGeneration": 2, "conditions": [{"type": "Ready", "status": "True"}]}),
                "Progressing",
                "The operator has not seen this yet.",
            ),
        ] {
            cases.push((with(kind, status), health, message));
        }
    }
    let objects: Vec<Value> = cases.iter().map(|(object, ..)| object.clone()).collect();
    for ((object, health, message), said) in cases.iter().zip(tools(&objects)) {
        assert_eq!((said.health.as_str(), said.messages[1].as_str()), (*health, *message), "{object}");
    }
}
