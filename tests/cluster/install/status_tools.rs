//! How Flux and Argo CD interpret statuses, by their own libraries (tests/status-tools); Argo CD with the chart's `ConfigMap`. They read
//! requests and Directories of a real operator from a real API server, for every reason.
use std::{
    collections::BTreeSet,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
    thread,
};

use credreset::core::Reason;
use http::Method;
use serde_json::{Value, json};

use crate::{
    proxy::{Action, Armed, Proxy, Rule},
    support::{
        SYSTEM, Sandbox, Setup, Site, TEAM, chart, condition, locked, merge, message, password_reset, path, time,
        wait_for,
    },
};

/// What Argo CD says of objects whose status is older than their spec.
const NOT_SEEN: &str = "The operator has not processed this generation yet.";
/// Those of a Directory's `Ready` condition.
const OF_DIRECTORIES: [&str; 5] =
    ["Connected", "CredentialsRefused", "InvalidConfiguration", "PermissionMissing", "Unreachable"];

/// What a tool says of an object.
pub(super) struct ToolView {
    kstatus: String,
    pub(super) health: String,
    /// Of kstatus, and of Argo CD.
    pub(super) messages: [String; 2],
}

impl ToolView {
    fn words(&self) -> (&str, &str) {
        (&self.kstatus, &self.health)
    }
}

/// What the chart has one merge into Argo CD's `ConfigMap`.
static SETTINGS: LazyLock<Value> = LazyLock::new(|| {
    let made = chart(&["argocd.health=true"]);
    made.iter().find(|o| o["metadata"]["name"] == "credreset-argocd-health").expect("a ConfigMap")["data"].clone()
});
/// tests/status-tools, which takes minutes to compile the first time.
pub(super) static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let _one_at_a_time = locked(&folder.join("status-tools.lock"));
    let program = folder.join("status-tools");
    let mut go = Command::new("go");
    go.args(["build", "-C"]).arg(path("tests/status-tools")).arg("-o").arg(&program).arg(".").env("CGO_ENABLED", "0");
    assert!(go.status().expect("go").success(), "tests/status-tools cannot be built");
    program
});

pub(super) fn tools(objects: &[Value]) -> Vec<ToolView> {
    let mut tools = Command::new(&*PROGRAM).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, asked) = (tools.stdin.take().unwrap(), [std::slice::from_ref(&*SETTINGS), objects].concat());
    // They answer while they are asked.
    let asking = thread::spawn(move || asked.iter().try_for_each(|object| writeln!(stdin, "{object}")));
    let output = tools.wait_with_output().unwrap();
    assert!(output.status.success(), "tests/status-tools: {:?}", output.status);
    asking.join().unwrap().unwrap();
    let views = String::from_utf8(output.stdout).unwrap();
    let views = views.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        let messages = [text("kstatusMessage"), text("healthMessage")];
        ToolView { kstatus: text("kstatus"), health: text("health"), messages }
    });
    let views: Vec<ToolView> = views.collect();
    assert_eq!(views.len(), objects.len());
    views
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

/// The same of a Directory.
fn intended_of_directory(reason: &str) -> (&'static str, &'static str) {
    match reason {
        "Connected" => ("Current", "Healthy"),
        // It may become ready by itself, so kstatus goes on waiting.
        "Unreachable" | "CredentialsRefused" | "PermissionMissing" | "InvalidConfiguration" => {
            ("InProgress", "Degraded")
        }
        new => panic!("{new} is new: say here what tools are to show"),
    }
}

/// E-mail address and id of the sandbox's user whose request is to show this reason.
fn user(reason: Reason) -> (String, String) {
    let number = 1 + Reason::ALL.iter().position(|other| *other == reason).unwrap();
    (format!("user{number:04}@zylker.biz"), (710_000_000 + number).to_string())
}

fn name(reason: Reason) -> String {
    reason.to_string().to_lowercase()
}

fn request(reason: Reason, patch: Value) -> String {
    password_reset(&name(reason), &user(reason).0, patch)
}

/// Directories of which each leads to reasons that the others do not.
fn directories(site: &Site, proxy: &Proxy, weaker: &Sandbox) {
    let urls = |url: &str| json!({"zoho": {"urls": {"accounts": url, "api": url, "mail": url}}});
    let credentials = |secret: &str| json!({"zoho": {"credentials": {"secret": secret}}});
    let rule = |namespace: &str, more: Value| {
        let users = json!({"everyone": true});
        let mut rule = json!({"name": namespace, "namespaces": [namespace], "modes": ["Password"], "users": users});
        merge(&mut rule, more);
        rule
    };
    let rules = [rule(TEAM, json!({"approvals": {"count": 1}})), rule("default", json!({}))];
    site.apply_own(vec![json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "wrong", "namespace": SYSTEM},
        "stringData": {"client-id": "1000.WRONG", "client-secret": "wrong", "refresh-token": "wrong", "admin-password": "wrong"},
    })]);
    for (name, patch) in [
        ("zylker", json!({"provider": {"zoho": {"lookUp": {"passwordChangedAt": "password_changed_time"}}}})),
        ("unsure", json!({"limits": {"requestTimeout": "1s"}})),
        ("held", json!({"provider": urls(&proxy.url), "limits": {"requestTimeout": "60s"}})),
        ("guarded", json!({ "allow": rules })),
        ("used-up", json!({"limits": {"resetsPerHour": 1}})),
        ("suspended", json!({"suspend": true})),
        ("denied", json!({})),
        ("down", json!({"provider": urls("http://127.0.0.1:1")})),
        ("refused", json!({"provider": credentials("wrong")})),
        ("empty", json!({"provider": credentials("nowhere")})),
        ("weak", json!({"provider": urls(&weaker.url)})),
    ] {
        let mut spec = json!({"limits": {"resetsPerHour": 1000}});
        merge(&mut spec, patch);
        site.directory(name, spec);
    }
}

/// What the directory does to the calls of those whose request is to show a reason of that.
fn faults(site: &Site) {
    for (reason, fault) in [
        (Reason::OutcomeUnknown, json!({"fault": "drop-before"})),
        (Reason::Superseded, json!({"fault": "drop-before"})),
        (Reason::Settled, json!({"fault": "drop-before"})),
        (Reason::Throttled, json!({"fault": "throttle", "retryAfter": 3600})),
        (Reason::Rejected, json!({"fault": "refuse", "status": 422, "body": {"code": "INVALID_DATA"}})),
        (Reason::DirectoryNotReady, json!({"fault": "refuse", "status": 404, "times": 1000})),
    ] {
        let mut fault = fault;
        merge(&mut fault, json!({"call": "reset-password", "user": user(reason).1}));
        site.sandbox.fault(fault);
    }
}

/// Requests that show their reason by themselves, or whose call meets its fault.
fn requests() -> String {
    let entered = json!({"generate": null, "deliverTo": null, "fromSecret": {"name": "none"}});
    let mut all: Vec<String> = [
        (Reason::OutcomeUnknown, json!({"directory": "unsure"})),
        (Reason::Superseded, json!({"directory": "unsure"})),
        (Reason::Settled, json!({"directory": "unsure"})),
        // Suspended for longer than it is valid.
        (Reason::Expired, json!({"directory": "suspended", "validFor": "20s"})),
        (Reason::Executing, json!({"directory": "held"})),
        (Reason::DirectoryNotReady, json!({"directory": "denied"})),
        (Reason::DirectorySuspended, json!({"directory": "suspended"})),
        (Reason::DirectoryMissing, json!({"directory": "elsewhere"})),
        (Reason::AwaitingApproval, json!({"directory": "guarded", "requestedBy": "hana"})),
        (Reason::Throttled, json!({})),
        (Reason::Rejected, json!({})),
        (Reason::NotYetValid, json!({"requestedAt": time(1800)})),
        (Reason::NotSupported, json!({"requestedAt": time(7200)})),
        (Reason::Lapsed, json!({"requestedAt": time(-7200), "validFor": "1h"})),
        (Reason::NotAllowed, json!({"validFor": "48h"})),
        (Reason::UserProtected, json!({"user": {"email": "ceo@zylker.biz"}})),
        (Reason::UserNotFound, json!({"user": {"email": "nobody@zylker.biz"}})),
        (Reason::UserAmbiguous, json!({"user": {"email": "support@zylker.biz"}})),
        (Reason::UserNotConfirmed, json!({"user": {"email": "bruno.k@zylker.biz"}})),
        (Reason::UserInactive, json!({"user": {"email": "daniel.f@zylker.biz"}})),
        (Reason::UserFederated, json!({"user": {"email": "ines.m@zylker.biz"}})),
        (Reason::SecretMissing, json!({ "password": entered })),
        (Reason::DeliveryConflict, json!({"password": {"deliverTo": {"secret": "taken"}}})),
    ]
    .into_iter()
    .map(|(reason, spec)| request(reason, json!({ "spec": spec })))
    .collect();
    let labels = json!({"labels": {"velero.io/restore-name": "nightly"}});
    all.push(request(Reason::RestoredFromBackup, json!({ "metadata": labels })));
    // Where the operator has no right.
    let abroad = json!({"metadata": {"namespace": "default"}, "spec": {"directory": "guarded"}});
    all.push(request(Reason::SecretForbidden, abroad));
    all.join("\n---\n")
}

/// Requests that follow another one that was applied.
fn after_another(site: &Site) {
    let applied = request(Reason::Applied, json!({}));
    site.apply(&applied);
    site.until(&name(Reason::Applied), "Applied");
    let again = |reason: Reason, spec: Value| {
        let mut object: Value = serde_json::from_str(&applied).unwrap();
        merge(&mut object, json!({"metadata": {"name": name(reason)}, "spec": spec}));
        object.to_string()
    };
    let all = [
        again(Reason::AlreadyApplied, json!({})),
        again(Reason::ConflictingRequest, json!({"password": {"forceChangeOnLogin": false}})),
        again(Reason::ChangedSinceRequest, json!({"requestedAt": time(-3600)})),
        request(Reason::LimitReached, json!({"spec": {"directory": "used-up"}})),
    ];
    site.apply(&all.join("\n---\n"));
}

/// While a call is held: another request of its user, and a Secret in the way of its password.
fn beside_a_call(site: &Site, held: &Armed) {
    let (called, busy) = (name(Reason::Executing), name(Reason::UserBusy));
    site.until(&called, "Executing");
    site.apply(&password_reset(&busy, &user(Reason::Executing).0, json!({"spec": {"directory": "held"}})));
    site.until(&busy, "UserBusy");
    site.kubectl(&["create", "secret", "generic", "-n", TEAM, &format!("{called}-password"), "--from-literal=mine=1"]);
    held.release();
    site.until(&called, "Finishing");
}

/// What becomes of two of those whose outcome is unknown.
fn after_all(site: &Site) {
    let (superseded, settled) = (name(Reason::Superseded), name(Reason::Settled));
    for name in [&superseded, &settled] {
        site.until(name, "OutcomeUnknown");
    }
    site.apply(&password_reset("later", &user(Reason::Superseded).0, json!({})));
    site.guarded();
    let words = ["--not-applied", "--yes", "--reason", "The old password still works"];
    let settle = Command::new(env!("CARGO_BIN_EXE_credreset"))
        .args(["settle", &settled, "-n", TEAM])
        .args(words)
        .env("KUBECONFIG", site.kubeconfig())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(settle.status.success(), "{}", String::from_utf8_lossy(&settle.stderr));
}

fn reasons(versions: &[Value]) -> BTreeSet<String> {
    versions.iter().filter_map(|object| Some(condition(object, "Ready")?.1)).collect()
}

/// Of requests and of Directories, each version that the API server has had: whatever is over in a moment is among them.
#[test]
fn every_reason_is_shown_as_what_it_means() {
    let users = ["--change-times".to_owned(), "--users".to_owned(), Reason::ALL.len().to_string()];
    let site = Site::with(&Setup { sandbox: users.to_vec(), ..Setup::default() });
    let proxy = Proxy::start(&site.sandbox.url, &[]);
    let (of_requests, of_directories) = (site.versions("credentialresets"), site.versions("directories"));
    site.kubectl(&["create", "secret", "generic", "-n", TEAM, "taken", "--from-literal=mine=1"]);
    faults(&site);
    let weaker = site.weaker_sandbox();
    directories(&site, &proxy, &weaker);
    site.apply(&requests());
    wait_for("both watches", || (!of_requests.all().is_empty() && !of_directories.all().is_empty()).then_some(()));

    let held = proxy.arm(Rule {
        method: Method::POST,
        path: "/directory/api/v2/orgs/*/users/*/password".to_owned(),
        about: String::new(),
        body_has: "",
        nth: 1,
        action: Action::HoldRequest,
    });
    let operator = site.operator();
    beside_a_call(&site, &held);
    after_another(&site);
    after_all(&site);
    for reason in Reason::ALL.map(|reason| reason.to_string()) {
        wait_for(&reason, || reasons(&of_requests.all()).contains(&reason).then_some(()));
    }
    for reason in OF_DIRECTORIES {
        wait_for(reason, || reasons(&of_directories.all()).contains(reason).then_some(()));
    }
    assert_eq!(operator.stop(), Some(0));

    let versions = of_requests.all();
    assert_eq!(reasons(&versions), Reason::ALL.map(|reason| reason.to_string()).into());
    for (object, views) in versions.iter().zip(tools(&versions)) {
        let (reason, msg) = (condition(object, "Ready").unwrap().1, message(object));
        assert_eq!(views.words(), intended(&reason), "{object:#}");
        // Users of the tool read the reason there.
        let [flux, argo] = views.messages;
        assert_eq!(argo, if reason == "Pending" { NOT_SEEN } else { msg.as_str() }, "{object:#}");
        match (views.kstatus.as_str(), reason.as_str()) {
            ("Current", _) => assert_eq!(flux, "Resource is Ready", "{object:#}"),
            (_, "Pending") => assert!(flux.ends_with("latest observed generation is -1"), "{flux}: {object:#}"),
            _ => assert_eq!(flux, msg, "{object:#}"),
        }
    }

    let versions = of_directories.all();
    assert_eq!(reasons(&versions), OF_DIRECTORIES.map(str::to_owned).into());
    for extra in ["IdentityShared", "CallsRefused"] {
        assert!(versions.iter().any(|object| condition(object, extra).is_some()), "{extra}");
    }
    for (object, views) in versions.iter().zip(tools(&versions)) {
        let seen = object["status"]["observedGeneration"] == object["metadata"]["generation"];
        let msg = message(object);
        let (flux, mut argo, mut expected) = if seen {
            let (flux, argo) = intended_of_directory(&condition(object, "Ready").unwrap().1);
            (flux, argo, msg.as_str())
        } else {
            ("InProgress", "Progressing", NOT_SEEN)
        };
        if object["spec"]["suspend"] == true {
            (argo, expected) = ("Suspended", "The Directory is suspended: requests wait.");
        }
        assert_eq!(views.words(), (flux, argo), "{object:#}");
        assert_eq!(views.messages[1], expected, "{object:#}");
        assert!(flux == "Current" || views.messages[0] == msg || !seen, "{}: {object:#}", views.messages[0]);
    }

    // A status that is lost is the default again, and no tool calls that done.
    let (applied, remove) = (name(Reason::Applied), r#"[{"op":"remove","path":"/status"}]"#);
    site.kubectl(&["patch", "creset", "-n", TEAM, &applied, "--subresource=status", "--type=json", "-p", remove]);
    let object = site.reset(&applied);
    assert_eq!(object["status"]["observedGeneration"], -1);
    assert_eq!(tools(&[object])[0].words(), intended("Pending"));
    // Changed since the operator has looked.
    site.directory("zylker", json!({"limits": {"resetsPerHour": 7}}));
    assert_eq!(tools(&[site.get(&["directory", "zylker"])])[0].words(), ("InProgress", "Progressing"));
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
    let mut cases = vec![(bare, "Progressing", "The operator has not processed this generation yet.")];
    for kind in ["CredentialReset", "Directory"] {
        for (status, health, message) in [
            (json!({}), "Progressing", "The operator has not processed this generation yet."),
            (json!({"observedGeneration": 1}), "Progressing", "The operator has set no condition yet."),
            (
                json!({"observedGeneration": 1, "conditions": []}),
                "Progressing",
                "The operator has set no condition yet.",
            ),
            (
                ready(json!({"type": "Succeeded", "status": "True"})),
                "Progressing",
                "The operator has set no condition yet.",
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
                "The operator has not processed this generation yet.",
            ),
        ] {
            cases.push((with(kind, status), health, message));
        }
    }
    // Argo CD does not ask the script about what is being deleted.
    let mut leaving = with("CredentialReset", ready(json!({"type": "Ready", "status": "True"})));
    leaving["metadata"]["deletionTimestamp"] = json!("2026-11-24T09:00:00Z");
    cases.push((leaving, "Progressing", "Pending deletion"));
    let objects: Vec<Value> = cases.iter().map(|(object, ..)| object.clone()).collect();
    for ((object, health, message), views) in cases.iter().zip(tools(&objects)) {
        assert_eq!((views.health.as_str(), views.messages[1].as_str()), (*health, *message), "{object}");
    }
}
