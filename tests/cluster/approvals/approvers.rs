//! Approvals in the cluster: who may give them, which of them count, and that nothing starts without them.
use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use http::Method;
use serde_json::{Value, json};

use crate::proxy::{Action, Proxy, Rule};
use crate::support::{
    RESETS, SYSTEM, Setup, Site, TEAM, condition, kubeconfig_of, message, password_reset, time, wait_for,
};

/// A site with ordinary users, whose Directory asks `count` people to approve.
fn site(users: usize) -> Site {
    let site = Site::with(&Setup { sandbox: vec!["--users".to_owned(), users.to_string()], ..Setup::default() });
    site.guarded();
    site
}

fn asks_for(site: &Site, approvals: Value) {
    site.directory(
        "zylker",
        json!({
            "limits": {"resetsPerHour": 1000, "minIntervalPerUser": "0s"},
            "allow": [{"name": "staff", "namespaces": [TEAM], "modes": ["Password", "MFA"], "users": {"everyone": true}, "approvals": approvals}],
        }),
    );
}

fn email(number: usize) -> String {
    format!("user{number:04}@zylker.biz")
}

/// A request of `hana`'s for user `number`.
fn of_hana(name: &str, number: usize, patch: Value) -> String {
    let mut spec = json!({"requestedBy": "hana"});
    crate::support::merge(&mut spec, patch);
    password_reset(name, &email(number), json!({ "spec": spec }))
}

fn request(site: &Site, name: &str, number: usize, patch: Value) {
    site.apply(&of_hana(name, number, patch));
}

fn approval(name: &str, request: &str, digest: &str, approver: &str) -> String {
    json!({
        "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialResetApproval",
        "metadata": {"name": name, "namespace": TEAM},
        "spec": {"request": request, "directory": "zylker", "digest": digest, "approver": approver},
    })
    .to_string()
}

/// The request waits, and says of its approvals what is expected.
fn waits(site: &Site, name: &str, expected: &str) -> String {
    let printed = site.when(&format!("{name} to say {expected:?}"), &RESETS, |all| {
        let reset = all.get(name)?;
        let waits = condition(reset, "Ready")? == ("Unknown".to_owned(), "AwaitingApproval".to_owned());
        (waits && message(reset).contains(expected)).then(|| reset.clone())
    });
    printed["status"]["digest"].as_str().unwrap().to_owned()
}

/// Who is named may do what an approver may, for Directory zylker.
fn approvers(site: &Site, names: &[&str]) {
    let subjects: Vec<Value> = names
        .iter()
        .map(|name| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}))
        .collect();
    let bind = |role: &str, name: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": role, "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}, "subjects": subjects,
        })
    };
    let mut in_team = bind("RoleBinding", "credreset-approve");
    in_team["metadata"]["namespace"] = json!(TEAM);
    site.apply_own(vec![
        in_team,
        bind("ClusterRoleBinding", "approve-zylker"),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "approve-zylker"},
            "rules": [{"apiGroups": ["credreset.dev"], "resources": ["directories"], "resourceNames": ["zylker", "elsewhere"], "verbs": ["approve"]}],
        }),
    ]);
}

/// Creates an approval as the one whom it names.
fn give(site: &Site, approval: &str) {
    let object: Value = serde_json::from_str(approval).unwrap();
    let who = format!("--as={}", object["spec"]["approver"].as_str().unwrap());
    let output = site.try_kubectl(&["create", &who, "-f", "-"], approval);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// `credreset approve` as another user; `stdin` null.
fn approve(site: &Site, who: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_credreset"))
        .arg("approve")
        .args(arguments)
        .env("KUBECONFIG", kubeconfig_of(site, who))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn all_output(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Who may approve what: each cell is tried by `credreset approve` or with the manifest, and the request goes on or does not.
#[test]
fn who_may_approve_what() {
    // Kubernetes' controllers add the chart's roles to `edit`.
    let sandbox = ["--users", "12"].map(str::to_owned).to_vec();
    let site = Site::with(&Setup { sandbox, controllers: true, ..Setup::default() });
    site.guarded();
    let _operator = site.operator();
    approvers(&site, &["hana", "olga", "otto", "ivo"]);
    asks_for(&site, json!({"count": 1}));
    let rbac = "rbac.authorization.k8s.io";
    let bind = |kind: &str, name: &str, role: &str, subject: Value| {
        let mut binding = json!({
            "apiVersion": format!("{rbac}/v1"), "kind": kind, "metadata": {"name": name},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role}, "subjects": [subject],
        });
        if kind == "RoleBinding" {
            binding["metadata"]["namespace"] = json!(TEAM);
        }
        binding
    };
    let user = |name: &str| json!({"apiGroup": rbac, "kind": "User", "name": name});
    let group = |name: &str| json!({"apiGroup": rbac, "kind": "Group", "name": name});
    let robot = format!("system:serviceaccount:{TEAM}:robot");
    let verbs = |name: &str, verbs: &[&str]| {
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole", "metadata": {"name": name},
            "rules": [{"apiGroups": ["credreset.dev"], "resources": ["*"], "verbs": verbs}],
        })
    };
    site.apply_own(vec![
        // Through a group, with nothing of her own.
        bind("ClusterRoleBinding", "leads", "approve-zylker", group("leads")),
        bind("RoleBinding", "leads", "credreset-approve", group("leads")),
        // The verb, and not the role in the namespace.
        bind("ClusterRoleBinding", "vera", "approve-zylker", user("vera")),
        // The built-in role in the namespace alone, and with the verb.
        bind("RoleBinding", "emil", "edit", user("emil")),
        bind("RoleBinding", "edda", "edit", user("edda")),
        bind("ClusterRoleBinding", "edda", "approve-zylker", user("edda")),
        // Everything, and no person.
        verbs("everything", &["*"]),
        bind(
            "ClusterRoleBinding",
            "robot",
            "everything",
            json!({"kind": "ServiceAccount", "name": "robot", "namespace": TEAM}),
        ),
        // Never to be given to one subject, and this is why.
        verbs("both", &["vouch", "approve", "use", "create", "get", "list", "watch"]),
        bind("ClusterRoleBinding", "mallory", "both", user("mallory")),
    ]);
    let try_to = |who: &[&str], approval: &str| {
        let output = site.try_kubectl(&[&["create", "-f", "-"], who].concat(), approval);
        (!output.status.success()).then(|| String::from_utf8(output.stderr).unwrap())
    };
    // How it is tried, the approver it names, and the result: refused with these words, not counted with these, or applied.
    let (needs, no) =
        ("needs the verb approve on directories/zylker", "cannot create resource \"credentialresetapprovals\"");
    for (number, (flags, named, requester, refused, not_counted)) in [
        (&["--as=olga"][..], "olga", "hana", "", ""),
        (&["--as=gerd", "--as-group=leads"], "gerd", "hana", "", ""),
        (&["--as=gerd"], "gerd", "hana", no, ""),
        (&["--as=vera"], "vera", "hana", no, ""),
        (&["--as=emil"], "emil", "hana", needs, ""),
        (&["--as=edda"], "edda", "hana", "", ""),
        (&["--as", &robot], &robot, "hana", "only a person can approve", ""),
        (&["--as=olga"], "otto", "hana", "spec.approver must be who creates the approval: olga", ""),
        (&["--as=hana"], "hana", "hana", "", "is by the requester"),
        (&["--as=hana"], "hana", " HANA", "", "is by the requester"),
        (&["--as=mallory"], "mallory", "hana", "", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("cell-{number}");
        let spec = json!({"spec": {"requestedBy": requester}});
        let manifest = password_reset(&name, &email(number + 1), spec);
        // A user who may vouch asks in another user's name.
        let by: &[&str] = if named == "mallory" { flags } else { &[] };
        wait_for("the request", || try_to(by, &manifest).is_none().then_some(()));
        let digest = waits(&site, &name, "and has none");
        let printed = wait_for("RBAC to be taken up", || {
            let printed = try_to(flags, &approval(&name, &name, &digest, named));
            let in_time = printed.as_ref().is_none_or(|printed| !refused.is_empty() && printed.contains(refused));
            in_time.then_some(printed)
        });
        assert_eq!(printed.is_none(), refused.is_empty(), "{flags:?}: {printed:?}");
        match (refused, not_counted) {
            ("", "") => drop(site.until(&name, "Applied")),
            ("", words) => drop(waits(&site, &name, words)),
            _ => drop(waits(&site, &name, "and has none")),
        }
    }
    let applied = site.sandbox.count("reset-password");
    assert_eq!(applied, 4);

    // The right is checked when the approval is given; an approval by a user who has lost it since counts, until it is withdrawn.
    request(&site, "revoked", 12, json!({}));
    let digest = waits(&site, "revoked", "and has none");
    site.kubectl(&["patch", "directory", "zylker", "--type=merge", "-p", r#"{"spec":{"suspend":true}}"#]);
    site.until("revoked", "DirectorySuspended");
    give(&site, &approval("revoked", "revoked", &digest, "ivo"));
    site.kubectl(&["delete", "clusterrolebinding", "approve-zylker"]);
    let again = approval("again", "revoked", &digest, "ivo");
    let printed = wait_for("the right to be gone", || try_to(&["--as=ivo", "--dry-run=server"], &again));
    assert!(printed.contains(needs), "{printed}");
    site.kubectl(&["patch", "directory", "zylker", "--type=merge", "-p", r#"{"spec":{"suspend":false}}"#]);
    site.until("revoked", "Applied");
}

/// Each kind of approval that there can be, under each kind of rule.
#[test]
fn which_approvals_count() {
    let site = site(20);
    let _operator = site.operator();
    approvers(&site, &["hana", "olga", "otto"]);
    asks_for(&site, json!({"count": 1}));
    let password_calls = || site.sandbox.count("reset-password");

    // No one, the requester, for another spec, for another Directory, withdrawn, for another request.
    request(&site, "one", 1, json!({}));
    let digest = waits(&site, "one", "requires 1 approval by others than hana, and has none");
    give(&site, &approval("own", "one", &digest, "hana"));
    give(&site, &approval("old", "one", &"0".repeat(64), "olga"));
    let mut stray: Value = serde_json::from_str(&approval("stray", "one", &digest, "olga")).unwrap();
    stray["spec"]["directory"] = json!("elsewhere");
    give(&site, &stray.to_string());
    let mut gone: Value = serde_json::from_str(&approval("gone", "one", &digest, "olga")).unwrap();
    gone["spec"]["withdrawn"] = json!(true);
    give(&site, &gone.to_string());
    give(&site, &approval("two-is-another", "two", &digest, "olga"));
    waits(
        &site,
        "one",
        "Not counted: gone is withdrawn, old is for another digest, own is by the requester, stray is for another Directory.",
    );
    assert_eq!(password_calls(), 0);
    // Of another namespace.
    let elsewhere = approval("elsewhere", "one", &digest, "admin").replace(TEAM, "default");
    if site.is_own() {
        site.apply(&elsewhere);
    }
    // One that counts.
    give(&site, &approval("yes", "one", &digest, "olga"));
    let reset = site.until("one", "Applied");
    let record = site.get(&["crecord", "-n", SYSTEM, reset["status"]["record"].as_str().unwrap()]);
    assert_eq!(record["spec"]["request"]["requestedBy"], "hana");
    assert_eq!(record["spec"]["attempt"]["approvedBy"], json!(["olga"]));
    assert_eq!(password_calls(), 1);
    let wide = site.kubectl(&["get", "creset", "-n", TEAM, "one", "-o", "wide"]);
    assert!(wide.contains(&digest), "{wide}");

    // Given before the request is there; and the request made anew under the same name is another one.
    request(&site, "early", 2, json!({}));
    let digest = waits(&site, "early", "and has none");
    let first = site.reset("early");
    site.delete("early");
    give(&site, &approval("early-yes", "early", &digest, "olga"));
    request(
        &site,
        "early",
        2,
        json!({"requestedAt": first["spec"]["requestedAt"], "password": {"forceChangeOnLogin": false}}),
    );
    waits(&site, "early", "early-yes is for another digest");
    site.delete("early");
    request(&site, "early", 2, json!({"requestedAt": first["spec"]["requestedAt"]}));
    site.until("early", "Applied");

    // Two people, each counted once.
    asks_for(&site, json!({"count": 2}));
    request(&site, "two", 3, json!({}));
    let digest = waits(
        &site,
        "two",
        "requires 2 approvals by others than hana, and has none. Not counted: two-is-another is for another digest",
    );
    give(&site, &approval("two-a", "two", &digest, "olga"));
    give(&site, &approval("two-b", "two", &digest, "olga"));
    waits(&site, "two", "and has 1");
    give(&site, &approval("two-c", "two", &digest, "otto"));
    site.until("two", "Applied");

    // Who asked may approve where the rule says so; then it does not matter who that is.
    asks_for(&site, json!({"count": 1, "distinctFromRequester": false}));
    request(&site, "own", 4, json!({}));
    let digest = waits(&site, "own", "requires 1 approval, and has none");
    give(&site, &approval("own-yes", "own", &digest, "hana"));
    site.until("own", "Applied");
    request(&site, "no-requester", 5, json!({"requestedBy": null}));
    waits(&site, "no-requester", "requires 1 approval, and has none");
    // Not where the approver must be another person. Changing the rule is enough to have the operator look again.
    asks_for(&site, json!({"count": 1}));
    let reset = site.until("no-requester", "NotAllowed");
    assert!(message(&reset).contains("spec.requestedBy does not name one"), "{}", message(&reset));
    // An approver cannot differ from a program: a user who may act as it, such as with the built-in role `edit`, would approve their own.
    request(&site, "robot", 7, json!({"requestedBy": format!("system:serviceaccount:{TEAM}:robot")}));
    let reset = site.until("robot", "NotAllowed");
    assert!(message(&reset).contains("which spec.requestedBy names, is not a person"), "{}", message(&reset));
    // And a rule that no longer asks for it releases the request.
    request(&site, "freed", 6, json!({}));
    waits(&site, "freed", "and has none");
    asks_for(&site, Value::Null);
    for name in ["no-requester", "robot", "freed"] {
        site.until(name, "Applied");
    }
    assert_eq!(password_calls(), 7);

    // An approval cannot be changed, only withdrawn, and not given again.
    for (patch, expected) in [
        (json!({"approver": "otto"}), "an approval never changes"),
        (json!({"digest": "0".repeat(64)}), "an approval never changes"),
        (json!({"request": "other"}), "an approval never changes"),
        (json!({"user": "8"}), "an approval never changes"),
        (json!({"withdrawn": true}), ""),
        (json!({"withdrawn": false}), "a withdrawn approval stays withdrawn"),
    ] {
        let patch = json!({ "spec": patch }).to_string();
        let output = site.try_kubectl(&["patch", "capproval", "-n", TEAM, "yes", "--type=merge", "-p", &patch], "");
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.success(), expected.is_empty(), "{patch}: {printed}");
        assert!(printed.contains(expected), "{patch}: {printed}");
    }
    let bad = site.refused(&approval("bad", "one", "abc", "olga"));
    assert!(bad.contains("spec.digest"), "{bad}");
}

/// Each way in which one person could be both the requester and the approver, or two approvers.
#[test]
fn one_person_is_not_two() {
    // Kubernetes' controllers give `edit` its rules.
    let sandbox = ["--users", "12"].map(str::to_owned).to_vec();
    let site = Site::with(&Setup { sandbox, controllers: true, ..Setup::default() });
    site.guarded();
    let _operator = site.operator();
    asks_for(&site, json!({"count": 1}));
    approvers(&site, &["hana", "oidc:hana@zylker.biz", "olga", "oidc:olga@zylker.biz", "otto"]);
    let rbac = "rbac.authorization.k8s.io";
    let bind = |kind: &str, name: &str, role: &str, subject: Value| {
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": kind, "metadata": {"name": name, "namespace": TEAM},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role}, "subjects": [subject],
        })
    };
    let robot = json!({"kind": "ServiceAccount", "name": "robot", "namespace": TEAM});
    let mut uses = bind("ClusterRoleBinding", "use-zylker", "use-zylker", robot.clone());
    uses["metadata"]["namespace"] = Value::Null;
    site.apply_own(vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot", "namespace": TEAM}}),
        json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole", "metadata": {"name": "use-zylker"},
            "rules": [{"apiGroups": ["credreset.dev"], "resources": ["directories"], "resourceNames": ["zylker"], "verbs": ["use"]}],
        }),
        uses,
        bind("RoleBinding", "robot", "credreset-request", robot),
        bind("RoleBinding", "hana", "edit", json!({"apiGroup": rbac, "kind": "User", "name": "hana"})),
    ]);

    // She may act as a program of her namespace: with a token of its, and by impersonation (RBAC calls both her right).
    let token = wait_for("the right to make tokens", || {
        let output = site.try_kubectl(&["--as=hana", "create", "token", "robot", "-n", TEAM], "");
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    });
    let view = site.kubectl(&["config", "view", "--raw", "--flatten", "--minify", "-o", "json"]);
    let mut config: Value = serde_json::from_str(&view).unwrap();
    config["users"][0]["user"] = json!({"token": token});
    let as_robot = site.dir.join("robot.kubeconfig");
    fs::write(&as_robot, config.to_string()).unwrap();
    let kubeconfig = format!("--kubeconfig={}", as_robot.display());
    let robot = format!("system:serviceaccount:{TEAM}:robot");
    let by_robot = |name: &str, spec: Value| {
        let manifest = password_reset(name, &email(1), json!({ "spec": spec }));
        let output = site.try_kubectl(&[&kubeconfig, "create", "-f", "-"], &manifest);
        (!output.status.success()).then(|| String::from_utf8(output.stderr).unwrap())
    };
    wait_for("the program to be let in", || by_robot("unsaid", json!({})).is_none().then_some(()));
    let refused = by_robot("robot", json!({"requestedBy": robot})).expect("it was let through");
    assert!(
        refused.contains("must name a person, not a system account such as") && refused.contains("orbidden"),
        "{refused}"
    );
    let refused = by_robot("another", json!({"requestedBy": "olga"})).expect("it was let through");
    assert!(refused.contains("names a user other than"), "{refused}");
    // A request that does not name its requester has no one to differ from, and its fields cannot be changed afterwards.
    site.until("unsaid", "NotAllowed");
    for who in ["--as=hana", &format!("--as={robot}")] {
        let patch =
            ["patch", "creset", "-n", TEAM, "unsaid", "--type=merge", "-p", r#"{"spec":{"requestedBy":"olga"}}"#];
        let output = site.try_kubectl(&[&patch[..], &[who]].concat(), "");
        let refused = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && refused.contains("a request never changes"), "{who}: {refused}");
    }

    // Vouched for under another form of her name than the one she signs in with.
    request(&site, "prefix", 2, json!({"requestedBy": "Hana@zylker.biz"}));
    let digest = waits(&site, "prefix", "and has none");
    give(&site, &approval("login", "prefix", &digest, "hana"));
    give(&site, &approval("prefixed", "prefix", &digest, "oidc:hana@zylker.biz"));
    waits(&site, "prefix", "Not counted: login is by the requester, prefixed is by the requester.");

    // Two approvers, and the user that they were shown.
    asks_for(&site, json!({"count": 2}));
    request(&site, "moved", 3, json!({}));
    let digest = waits(&site, "moved", "and has none");
    give(&site, &approval("login-2", "moved", &digest, "oidc:olga@zylker.biz"));
    let output = approve(&site, "olga", &["moved", "--yes"]);
    assert!(output.status.success(), "{}", all_output(&output));
    waits(&site, "moved", "and has 1");
    site.kubectl(&["delete", "capproval", "-n", TEAM, "login-2"]);
    // The address becomes another's.
    let id = |name: &str| site.reset(name)["status"]["user"]["id"].as_str().unwrap().to_owned();
    let (shown, other) = (id("moved"), id("prefix"));
    let call = |id: &str, address: &str| {
        site.sandbox.send("PATCH", &format!("/sandbox/users/{id}"), &json!({"emails": [address]}));
    };
    call(&shown, "gone@zylker.biz");
    call(&other, &email(3));
    give(&site, &approval("by-otto", "moved", &digest, "otto"));
    waits(&site, "moved", "is for another user than the directory shows now (to be given again)");
    assert_eq!(site.sandbox.count("reset-password"), 0);
    assert_eq!(id("moved"), other);
    // Who sees that and approves again means this user.
    let output = approve(&site, "olga", &["moved", "--yes"]);
    assert!(output.status.success(), "{}", all_output(&output));
    site.until("moved", "Applied");
    assert_eq!(site.sandbox.count("reset-password"), 1);
}

/// An object that is being deleted, and kept by a foreign finalizer, starts nothing any more.
#[test]
fn a_deleted_request_is_not_started() {
    let site = site(2);
    let operator = site.operator();
    approvers(&site, &["olga"]);
    asks_for(&site, json!({"count": 1}));
    request(&site, "kept", 1, json!({}));
    request(&site, "other", 2, json!({}));
    let digests = ["kept", "other"].map(|name| waits(&site, name, "and has none"));
    let finalizers = |all: Value| {
        let patch = json!({"metadata": {"finalizers": all}}).to_string();
        site.kubectl(&["patch", "creset", "-n", TEAM, "kept", "--type=merge", "-p", &patch]);
    };
    finalizers(json!(["example.com/kept"]));
    site.kubectl(&["delete", "creset", "-n", TEAM, "kept", "--wait=false"]);
    give(&site, &approval("kept", "kept", &digests[0], "olga"));
    // Whatever it results in has happened once one that was approved later, and a restarted operator, are through.
    give(&site, &approval("other", "other", &digests[1], "olga"));
    site.until("other", "Applied");
    let _another = site.operator_named("another");
    assert_eq!(operator.stop(), Some(0));
    request(&site, "last", 2, json!({}));
    waits(&site, "last", "and has none");
    assert_eq!((site.sandbox.count("reset-password"), site.records().len()), (1, 1));
    finalizers(Value::Null);
}

/// Approvals and withdrawals that come as the request ends: each request is carried out before its end or not at all, and none
/// whose approval was taken back before its record was made.
#[test]
fn approvals_race_the_deadline() {
    const REQUESTS: usize = 24;
    let site = site(REQUESTS + 1);
    let proxy = Proxy::before_api_server(site.kubeconfig());
    let binary = Path::new(env!("CARGO_BIN_EXE_credreset"));
    let _operator = site.run(&mut site.operator_command(binary, "op", "trace", Some(&proxy.url)));
    approvers(&site, &["olga"]);
    asks_for(&site, json!({"count": 1}));
    // All but the first two end at one moment, a little after the last one waits.
    let asked = time(-3600);
    let name = |number: usize| format!("race-{number:02}");
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(25);
    let valid = end.duration_since(asked.parse().unwrap()).as_secs();
    let valid_for = format!("{valid}s");
    let end: jiff::Timestamp = asked.parse::<jiff::Timestamp>().unwrap() + jiff::SignedDuration::from_secs(valid);
    let asked_for = |number: usize| {
        let valid_for = if number < 2 { "24h" } else { &valid_for };
        of_hana(&name(number), number + 1, json!({"requestedAt": asked, "validFor": valid_for}))
    };
    // At once: what is created after its end has lapsed.
    site.apply(&(0..REQUESTS).map(asked_for).collect::<Vec<_>>().join("\n---\n"));
    let digests: Vec<String> = site.when("their digests", &RESETS, |all| {
        let digest = |number| Some(all.get(&name(number))?["status"]["digest"].as_str()?.to_owned());
        (0..REQUESTS).map(digest).collect()
    });
    let yes = |number: usize| approval(&name(number), &name(number), &digests[number], "olga");
    let withdraw = |number: usize| {
        let patch = r#"{"spec":{"withdrawn":true}}"#;
        site.kubectl(&["patch", "capproval", "-n", TEAM, &name(number), "--type=merge", "-p", patch]);
    };
    // However slow the machine is: the first is approved long before its end, and the last after it. The second shows its approval,
    // which is then taken back while the operator is held on its way to the record.
    give(&site, &yes(0));
    site.until(&name(0), "Applied");
    let held = proxy.arm(Rule {
        method: Method::POST,
        path: format!("/api/v1/namespaces/{SYSTEM}/secrets"),
        about: String::new(),
        body_has: "",
        nth: 1,
        action: Action::HoldRequest,
    });
    give(&site, &yes(1));
    wait_for("the operator to be held", || held.is_hit().then_some(()));
    withdraw(1);
    held.release();
    waits(&site, &name(1), "is withdrawn");
    // The last ones as it ends; one in three is withdrawn at once.
    for number in 2..REQUESTS - 1 {
        let ahead = (i128::from(i32::try_from(REQUESTS - number).unwrap()) - 8) * 60;
        wait_for("its turn", || (end.duration_since(jiff::Timestamp::now()).as_millis() <= ahead).then_some(()));
        give(&site, &yes(number));
        if number % 3 == 0 {
            withdraw(number);
        }
    }
    wait_for("the end", || (jiff::Timestamp::now() >= end).then_some(()));
    give(&site, &yes(REQUESTS - 1));
    let mut applied = 0;
    let ended: Vec<Value> = site.when("their outcomes", &RESETS, |all| {
        let ended = |number| all.get(&name(number)).filter(|reset| reset["status"]["outcome"].is_string()).cloned();
        (0..REQUESTS).filter(|number| *number != 1).map(ended).collect()
    });
    for (number, reset) in (0..REQUESTS).filter(|number| *number != 1).zip(&ended) {
        let (_, reason) = condition(reset, "Ready").unwrap();
        assert!(number > 0 || reason == "Applied");
        assert!(number < REQUESTS - 1 || reason == "Expired");
        match reason.as_str() {
            "Applied" => {
                applied += 1;
                let started: jiff::Timestamp = reset["status"]["startTime"].as_str().unwrap().parse().unwrap();
                assert!(number == 0 || started < end, "{reset:#}");
                let record = site.get(&["crecord", "-n", SYSTEM, reset["status"]["record"].as_str().unwrap()]);
                assert_eq!(record["spec"]["attempt"]["approvedBy"], json!(["olga"]));
            }
            "Expired" => {}
            other => panic!("{other}: {reset:#}"),
        }
    }
    waits(&site, &name(1), "is withdrawn");
    assert_eq!(site.sandbox.count("reset-password"), applied);
    println!("{applied} of {REQUESTS} were approved in time");
}

/// `credreset approve`, as the people who would type it.
#[test]
fn the_command() {
    let site = site(4);
    let _operator = site.operator();
    approvers(&site, &["hana", "olga", "otto"]);
    asks_for(&site, json!({"count": 1}));
    request(&site, "one", 1, json!({"reason": "Locked out\u{1b}[2J, HELP-4711"}));
    let digest = waits(&site, "one", "credreset approve one -n helpdesk");

    let output = approve(&site, "olga", &["one"]);
    assert_eq!(output.status.code(), Some(1));
    let text = all_output(&output);
    for part in [
        "request    helpdesk/one",
        "requester  hana, at ",
        "reset      Password of user0001@zylker.biz, id 710000001, in zylker",
        &digest,
        r"Locked out\u{1b}[2J, HELP-4711",
        "1. Generate a password of 20 characters.",
        "Set it as the password of user0001@zylker.biz in Directory zylker; the user must choose another one at the next sign-in.",
        "Secret helpdesk/one-password",
        "standard input is not a terminal",
        "--yes",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    for (who, arguments, expected) in [
        ("olga", &["none", "--yes"][..], "there is no request none in namespace helpdesk"),
        ("olga", &["one", "--withdraw"], "there is no approval of one by olga to withdraw"),
        (
            "olga",
            &["one", "-n", "nowhere"],
            "request nowhere/one could not be read: credentialresets.credreset.dev \"one\" is forbidden",
        ),
        ("vic", &["one", "--yes"], "cannot get resource"),
    ] {
        let output = approve(&site, who, arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(all_output(&output).contains(expected), "{arguments:?}: {}", all_output(&output));
    }

    let output = approve(&site, "hana", &["one", "--yes"]);
    assert!(output.status.success(), "{}", all_output(&output));
    assert!(all_output(&output).contains("You requested this reset yourself"), "{}", all_output(&output));
    waits(&site, "one", "is by the requester");
    let output = approve(&site, "hana", &["one", "--withdraw"]);
    assert!(output.status.success() && !all_output(&output).contains("too late"), "{}", all_output(&output));
    waits(&site, "one", "is withdrawn");

    let output = approve(&site, "olga", &["one", "--yes"]);
    assert!(
        output.status.success() && all_output(&output).contains("approved: capproval/one-"),
        "{}",
        all_output(&output)
    );
    site.until("one", "Applied");
    let output = approve(&site, "otto", &["one", "--yes"]);
    assert!(
        all_output(&output).contains("is over: the reset is in force, as was known at "),
        "{}",
        all_output(&output)
    );
    let output = approve(&site, "olga", &["one", "--withdraw"]);
    assert_eq!(output.status.code(), Some(1));
    let text = all_output(&output);
    assert!(
        text.contains("withdrawn: capproval/one-") && text.contains("too late: request helpdesk/one had already begun"),
        "{text}"
    );
    assert_eq!(site.sandbox.count("reset-password"), 1);

    // A name that is cut where nothing may be added to it.
    let long = format!("{}.{}", "a".repeat(49), "b".repeat(10));
    request(&site, &long, 2, json!({"password": {"deliverTo": {"secret": "long"}}}));
    waits(&site, &long, "and has none");
    let output = approve(&site, "olga", &[&long, "--yes"]);
    assert!(output.status.success(), "{}", all_output(&output));
    site.until(&long, "Applied");
    // What this program makes of the spec is not what the operator has made of it.
    request(&site, "other", 3, json!({}));
    waits(&site, "other", "and has none");
    let patch = json!({"status": {"digest": "0".repeat(64)}}).to_string();
    site.kubectl(&["patch", "creset", "-n", TEAM, "other", "--subresource=status", "--type=merge", "-p", &patch]);
    let output = approve(&site, "olga", &["other", "--yes"]);
    assert!(
        !output.status.success() && all_output(&output).contains("has status.digest 0000"),
        "{}",
        all_output(&output)
    );
}
