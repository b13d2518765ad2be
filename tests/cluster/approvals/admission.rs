//! What admission refuses, with the message that the user sees, and the allowed twin of each.
use serde_json::{Value, json};

use crate::support::{SYSTEM, Setup, Site, TEAM, chart, mfa_reset, password_reset, time, wait_for};

const EMAIL: &str = "annette.c@zylker.biz";
/// A pipeline that may do everything.
const ROBOT: &str = "system:serviceaccount:helpdesk:robot";
/// One that may only ask.
const ASKS: &str = "system:serviceaccount:helpdesk:asks";
const ANONYMOUS: &str = "system:anonymous";

fn may(name: &str, verbs: &[&str], who: &str) -> [Value; 2] {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
        "rules": [{"apiGroups": ["credreset.dev"], "resources": ["directories"], "resourceNames": ["zylker"], "verbs": verbs}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": who}],
    });
    [role, binding]
}

/// Everybody here has RBAC for the objects themselves; what differs are the verbs on the Directory.
fn people(site: &Site) {
    let subjects: Vec<Value> = ["hana", "vic", "olga", "otto", "pipeline", "restorer", ROBOT, ASKS, ANONYMOUS]
        .map(|name| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}))
        .into();
    let mut all: Vec<Value> = ["credreset-request", "credreset-approve"]
        .map(|name| {
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name, "namespace": TEAM},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}, "subjects": subjects,
            })
        })
        .into();
    all.push(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "test-writes-all"},
        "rules": [
            {"apiGroups": ["credreset.dev"], "resources": ["credentialresets/status", "credentialresetrecords"], "verbs": ["*"]},
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]},
        ],
    }));
    all.push(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "test-writes-all"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "test-writes-all"}, "subjects": subjects,
    }));
    all.extend(may("test-hana", &["use"], "hana"));
    all.extend(may("test-pipeline", &["use", "vouch"], "pipeline"));
    all.extend(may("test-olga", &["approve"], "olga"));
    all.extend(may("test-otto", &["approve"], "otto"));
    all.extend(may("test-robot", &["*"], ROBOT));
    all.extend(may("test-asks", &["use"], ASKS));
    all.extend(may("test-anonymous", &["use", "approve"], ANONYMOUS));
    // kubectl reads what it patches.
    let operator = json!({"kind": "ServiceAccount", "name": "credreset", "namespace": SYSTEM});
    all.push(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "test-reads-status"},
        "rules": [{"apiGroups": ["credreset.dev"], "resources": ["credentialresets/status"], "verbs": ["get"]}],
    }));
    all.push(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "test-reads-status"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "test-reads-status"}, "subjects": [operator],
    }));
    all.push(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "test-reads-one", "namespace": TEAM},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["chosen"], "verbs": ["get"]}],
    }));
    all.push(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "test-reads-one", "namespace": TEAM},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "test-reads-one"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "hana"}],
    }));
    site.apply_own(all);
}

/// What `who` gets for it: nothing, or the message of the refusal.
fn tries(site: &Site, who: &str, arguments: &[&str], input: &str) -> Option<String> {
    let who = format!("--as={who}");
    let mut all = arguments.to_vec();
    all.push(&who);
    let output = site.try_kubectl(&all, input);
    (!output.status.success()).then(|| String::from_utf8(output.stderr).unwrap())
}

/// `says` null: it is allowed. What is refused is refused with 403, which kubectl shows as Forbidden.
fn expect(site: &Site, who: &str, arguments: &[&str], input: &str, expected: &str) {
    let printed = tries(site, who, arguments, input);
    match printed {
        None => assert!(expected.is_empty(), "{who} {arguments:?} was allowed: {input}"),
        Some(printed) => {
            assert!(
                !expected.is_empty() && printed.contains(expected),
                "{who} {arguments:?}: {printed}\nshould say {expected:?}: {input}"
            );
            assert!(printed.contains("(Forbidden)") || printed.contains("is forbidden"), "{printed}");
        }
    }
}

const CREATE: &[&str] = &["create", "-f", "-"];
/// For users who may not read the schema.
const UNCHECKED: &[&str] = &["create", "--validate=false", "-f", "-"];
const DRY_RUN: &[&str] = &["create", "--dry-run=server", "-f", "-"];

#[test]
fn each_refusal_and_its_allowed_twin() {
    let site = Site::start();
    people(&site);
    // Policies are enforced a moment after they were stored.
    let probe = mfa_reset("probe", EMAIL, json!({}));
    wait_for("the policies", || tries(&site, "vic", DRY_RUN, &probe));
    wait_for("the policy of records", || tries(&site, "restorer", DRY_RUN, &record("r-x")));
    // The code itself, once: kubectl shows what the API server's Status says.
    let output = site.try_kubectl(&["create", "-v=8", "--as=vic", "-f", "-"], &probe);
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(printed.contains(r#""status":"Failure""#) && printed.contains(r#""code":403"#), "{printed}");
    new_requests(&site);
    requests_that_are_there(&site);
    the_ledger(&site);
    approvals(&site);
    // The policies do not apply to other kinds.
    let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "hook", "namespace": TEAM, "annotations": {"helm.sh/hook": "post-install"}}});
    expect(&site, "vic", CREATE, &other.to_string(), "");
}

fn record(name: &str) -> String {
    json!({
        "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialResetRecord", "metadata": {"name": name, "namespace": SYSTEM}, "spec": {
            "directory": "zylker", "directoryIdentity": "x", "user": {"id": "1", "name": "x"}, "mode": "MFA", "requestedAt": time(0),
            "expiresAt": time(0), "keepUntil": time(0), "request": {"namespace": TEAM, "name": "x", "uid": "x", "key": "x", "digest": "x"},
            "call": {"resetMFA": {}}, "finish": {}, "attempt": {"id": "x", "number": 1, "holder": "x", "startedAt": time(0), "deadline": time(0)},
            "state": "Applied",
        },
    })
    .to_string()
}

fn new_requests(site: &Site) {
    let mut number = 0;
    let mut name = || {
        number += 1;
        format!("r-{number}")
    };
    let with = |annotation: &str, value: &str| json!({"metadata": {"annotations": {annotation: value}}});
    let by = |who: &str| json!({"spec": {"requestedBy": who}});
    for (who, patch, expected) in [
        ("vic", json!({}), "vic needs the verb use on directories/zylker to request a reset in it"),
        ("hana", json!({"spec": {"directory": "elsewhere"}}), "hana needs the verb use on directories/elsewhere"),
        ("hana", json!({}), ""),
        ("hana", by("hana"), ""),
        (
            "hana",
            by("olga"),
            "spec.requestedBy names a user other than hana, who needs the verb vouch on directories/zylker",
        ),
        ("pipeline", by("hana"), ""),
        (ASKS, json!({}), ""),
        (ASKS, by("hana"), "spec.requestedBy names a user other than system:serviceaccount:helpdesk:asks, who needs"),
        (
            ASKS,
            by(ASKS),
            "must name a person, not a system account such as system:serviceaccount:helpdesk:asks, who needs the verb vouch",
        ),
        (ROBOT, by(ROBOT), ""), // it vouches for what it says
        ("hana", with("argocd.argoproj.io/hook", "Sync"), "a reset must not be a hook"),
        ("hana", with("helm.sh/hook", "post-install"), "a reset must not be a hook"),
        ("hana", with("argocd.argoproj.io/sync-options", "Prune=false, Replace=true"), "Force=true or Replace=true"),
        ("hana", with("argocd.argoproj.io/sync-options", "Force=true"), "Force=true or Replace=true"),
        ("hana", with("argocd.argoproj.io/sync-options", "Prune=false"), ""),
        ("hana", with("kustomize.toolkit.fluxcd.io/force", "Enabled"), "must not be applied with force"),
        ("hana", with("kustomize.toolkit.fluxcd.io/force", "disabled"), ""),
        (
            "hana",
            json!({"metadata": {"labels": {"kustomize.toolkit.fluxcd.io/force": "EnableD"}}}),
            "must not be applied with force",
        ),
        ("hana", json!({"metadata": {"labels": {"kustomize.toolkit.fluxcd.io/force": "disabled"}}}), ""),
        ("hana", json!({"metadata": {"labels": {"velero.io/restore-name": "x"}}}), ""), // never started, then
        ("hana", with("kustomize.toolkit.fluxcd.io/ssa", "IfNotPresent"), ""),
        (
            "hana",
            with("credreset.dev/filed-by", "olga"),
            "annotation credreset.dev/filed-by is set when a request is created",
        ),
        ("hana", with("credreset.dev/filed-by", "hana"), ""),
        (
            "hana", // never started, then
            json!({"metadata": {"labels": {"velero.io/restore-name": "x"}, "annotations": {"credreset.dev/filed-by": "olga"}}}),
            "",
        ),
    ] {
        expect(site, who, CREATE, &mfa_reset(&name(), EMAIL, patch), expected);
    }
    let anonymous = mfa_reset(&name(), EMAIL, by(ANONYMOUS));
    expect(site, ANONYMOUS, UNCHECKED, &anonymous, "must name a person, not a system account such as system:anonymous");
    // A supplied password is for those who may read it.
    let needs_get = "has the operator read Secret other, which hana needs the verb get for";
    for (secret, expected) in [("other", needs_get), ("chosen", "")] {
        let spec = json!({"password": {"generate": null, "deliverTo": null, "fromSecret": {"name": secret}}});
        expect(site, "hana", CREATE, &password_reset(&name(), EMAIL, json!({ "spec": spec })), expected);
    }
}

/// By users who may change them.
fn requests_that_are_there(site: &Site) {
    site.apply(&mfa_reset("there", EMAIL, json!({})));
    for (annotation, expected) in [
        ("argocd.argoproj.io/hook=Sync", "a reset must not be a hook"),
        ("argocd.argoproj.io/sync-options=Replace=true", "Force=true or Replace=true"),
        ("kustomize.toolkit.fluxcd.io/force=enabled", "must not be applied with force"),
        ("note=fine", ""),
        (
            "credreset.dev/filed-by=vic",
            "annotation credreset.dev/filed-by is set when a request is created, and never changes",
        ),
    ] {
        expect(site, "vic", &["annotate", "creset", "-n", TEAM, "there", annotation], "", expected);
    }
    let restored = json!({"metadata": {"labels": {"velero.io/restore-name": "x"}}});
    site.apply(&mfa_reset("restored", EMAIL, restored));
    let never = "label velero.io/restore-name is set when a request is restored, and never changes";
    for (name, label, expected) in [
        ("there", "velero.io/restore-name=x", never),
        ("there", "velero.io/restore-name=", never),
        ("there", "kustomize.toolkit.fluxcd.io/force=ENABLED", "must not be applied with force"),
        ("there", "team=x", ""),
        ("restored", "velero.io/restore-name-", never),
        ("restored", "velero.io/restore-name=y", never),
        ("restored", "team=x", ""),
    ] {
        expect(site, "vic", &["label", "--overwrite", "creset", "-n", TEAM, name, label], "", expected);
    }
}

/// And the messages about requests.
fn the_ledger(site: &Site) {
    let only = "written by the operator alone, not by ";
    let operator = format!("system:serviceaccount:{SYSTEM}:credreset");
    let status = r#"{"status":{"outcome":"Applied"}}"#;
    let patch = ["patch", "creset", "-n", TEAM, "there", "--subresource=status", "--type=merge", "-p", status];
    expect(site, "vic", &patch, "", only);
    site.kubectl(&patch); // our administrator is one of admission.writers
    expect(site, &operator, &patch, "", "");
    expect(site, "restorer", CREATE, &record("r-x"), only);
    site.apply(&record("r-y"));
    expect(site, &operator, CREATE, &record("r-x"), "");
    let change = ["patch", "crecord", "-n", SYSTEM, "r-x", "--type=merge", "-p", r#"{"spec":{"note":"x"}}"#];
    expect(site, "restorer", &change, "", only);
    expect(site, &operator, &change, "", "cannot patch resource"); // it replaces them
    let delete = ["delete", "crecord", "-n", SYSTEM, "r-x"];
    expect(site, "restorer", &delete, "", only);
    expect(site, &operator, &delete, "", "");
}

fn approvals(site: &Site) {
    let mut number = 0;
    let mut approval = |approver: &str, directory: &str| {
        number += 1;
        let object = json!({
            "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialResetApproval", "metadata": {"name": format!("a-{number}"), "namespace": TEAM},
            "spec": {"request": "there", "directory": directory, "digest": "0".repeat(64), "approver": approver},
        });
        object.to_string()
    };
    expect(site, "olga", CREATE, &approval("hana", "zylker"), "spec.approver must be who creates the approval: olga");
    expect(site, "vic", CREATE, &approval("olga", "zylker"), "spec.approver must be who creates the approval: vic");
    expect(site, "vic", CREATE, &approval("vic", "zylker"), "vic needs the verb approve on directories/zylker");
    expect(site, "hana", CREATE, &approval("hana", "zylker"), "hana needs the verb approve on directories/zylker");
    expect(
        site,
        "olga",
        CREATE,
        &approval("olga", "elsewhere"),
        "olga needs the verb approve on directories/elsewhere",
    );
    expect(site, ROBOT, CREATE, &approval(ROBOT, "zylker"), "only a person can approve, and system:serviceaccount:");
    expect(
        site,
        ANONYMOUS,
        UNCHECKED,
        &approval(ANONYMOUS, "zylker"),
        "only a person can approve, and system:anonymous is",
    );
    let operator = format!("system:serviceaccount:{SYSTEM}:credreset");
    expect(site, &operator, CREATE, &approval(&operator, "zylker"), "cannot create resource");
    let mut given = || {
        let given = approval("olga", "zylker");
        expect(site, "olga", CREATE, &given, "");
        serde_json::from_str::<Value>(&given).unwrap()["metadata"]["name"].as_str().unwrap().to_owned()
    };
    let withdraw = |who: &str, name: &str, expected: &str| {
        let patch = r#"{"spec":{"withdrawn":true}}"#;
        expect(site, who, &["patch", "capproval", "-n", TEAM, name, "--type=merge", "-p", patch], "", expected);
    };
    let (first, second) = (given(), given());
    withdraw("vic", &first, "vic needs the verb approve on directories/zylker");
    expect(site, "vic", &["annotate", "capproval", "-n", TEAM, &first, "note=fine"], "", "");
    withdraw("otto", &first, ""); // any approver
    site.kubectl(&["delete", "clusterrolebinding", "test-olga"]);
    wait_for("olga to have lost the verb", || tries(site, "olga", DRY_RUN, &approval("olga", "zylker")));
    withdraw("olga", &second, ""); // her own, though she may no longer approve
}

/// Without the policies, or with others of their names, anybody could write anybody's name: then no approval counts, nor one that was
/// given before they were there.
#[test]
fn approvals_rest_on_the_policies() {
    let site = Site::start();
    if !site.is_own() {
        return; // the policies of a foreign cluster are not taken away
    }
    site.directory("zylker", json!({"allow": [
        {"name": "staff", "namespaces": [TEAM], "modes": ["MFA"], "users": {"everyone": true}, "approvals": {"distinctFromRequester": false}},
    ]}));
    let (policy, binding) = ("validatingadmissionpolicy", "validatingadmissionpolicybinding");
    let restore = |kind: &str, name: &str| {
        let mut of_chart = chart(&["admission.writers={admin}"]).into_iter();
        let is = |o: &Value| o["kind"].as_str().unwrap().eq_ignore_ascii_case(kind) && o["metadata"]["name"] == name;
        let found = of_chart.find(is).unwrap().to_string();
        let there = ["replace", "create"].map(|how| site.try_kubectl(&[how, "-f", "-"], &found).status.success());
        assert!(there.contains(&true), "{kind} {name}");
    };
    let one = json!([{"name": "never", "expression": "false"}]);
    let elsewhere = json!({"matchLabels": {"x": "y"}});
    let nothing = json!([{"op": "replace", "path": "/spec/validations/0/expression", "value": "true"}]);
    let _operator = site.operator();
    // Each spoils one thing; the last as an attacker would who then forges one.
    for (number, (kind, name, patch)) in [
        (policy, "credreset-requests", json!({"spec": {"failurePolicy": "Ignore"}})),
        (policy, "credreset-approvals", json!({"spec": {"matchConditions": one}})),
        (policy, "credreset-approvals", json!({"spec": {"matchConstraints": {"namespaceSelector": elsewhere}}})),
        (policy, "credreset-approvals", json!({"spec": {"matchConstraints": {"objectSelector": elsewhere}}})),
        (policy, "credreset-requests", nothing),
        (binding, "credreset-requests", json!({"spec": {"matchResources": {"namespaceSelector": elsewhere}}})),
        (binding, "credreset-approvals", json!({"spec": {"validationActions": ["Audit"]}})),
        (policy, "credreset-requests", Value::Null),
        (binding, "credreset-approvals", Value::Null),
    ]
    .into_iter()
    .enumerate()
    {
        match &patch {
            Value::Null => site.kubectl(&["delete", kind, name]),
            Value::Array(_) => site.kubectl(&["patch", kind, name, "--type=json", "-p", &patch.to_string()]),
            _ => site.kubectl(&["patch", kind, name, "--type=merge", "-p", &patch.to_string()]),
        };
        let request = format!("r-{number}");
        site.apply(&mfa_reset(&request, EMAIL, json!({})));
        let msg = crate::support::message(&site.until(&request, "AwaitingApproval"));
        assert!(
            msg.contains(&format!("admission policy {name} is missing, does not deny, or is not the one")),
            "{patch}: {msg}"
        );
        if patch != Value::Null || kind == policy {
            restore(kind, name);
        }
    }
    let approval = |name: &str, digest: &Value, approver: &str| {
        json!({
            "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialResetApproval", "metadata": {"name": name, "namespace": TEAM},
            "spec": {"request": "r-8", "directory": "zylker", "digest": digest, "approver": approver},
        })
        .to_string()
    };
    let digest = site.reset("r-8")["status"]["digest"].clone();
    wait_for("the policy to be gone", || {
        site.try_kubectl(&["create", "-f", "-"], &approval("forged", &digest, "olga")).status.success().then_some(())
    });
    // With it again, what was forged meanwhile does not count; a real one does.
    restore(binding, "credreset-approvals");
    site.guarded();
    site.kubectl(&["annotate", "capproval", "-n", TEAM, "forged", "look=again"]);
    wait_for("the forged one to be reported", || {
        crate::support::message(&site.reset("r-8"))
            .contains("forged is older than the admission policies")
            .then_some(())
    });
    assert_eq!(site.sandbox.count("reset-mfa"), 0);
    site.apply(&approval("real", &digest, "admin"));
    site.until("r-8", "Applied");
    assert_eq!(site.sandbox.count("reset-mfa"), 1);

    // An operator that may not read them says so.
    let mut role = site.get(&["clusterrole", "credreset"]);
    role["rules"].as_array_mut().unwrap().retain(|rule| rule["resources"] != json!(["credentialresetapprovals"]));
    site.apply(&role.to_string());
    wait_for("the message", || {
        let name = format!("unread-{}", jiff::Timestamp::now().as_nanosecond());
        site.apply(&mfa_reset(&name, "jan.n@zylker.biz", json!({})));
        let msg = crate::support::message(&site.until(&name, "AwaitingApproval"));
        msg.contains("the operator may not list credentialresetapprovals").then_some(())
    });
}

/// Users who may write objects cannot make them large by fields that no definition bounds; a large object can still be fixed.
#[test]
#[allow(clippy::too_many_lines, reason = "an object of each kind")]
fn no_object_is_large() {
    let site = Site::start();
    site.usual_directory();
    let request: Value = serde_json::from_str(&mfa_reset("one", EMAIL, json!({}))).unwrap();
    let of = |kind: &str, spec: Value, namespace: &str| json!({"apiVersion": "credreset.dev/v1alpha1", "kind": kind, "metadata": {"name": "one", "namespace": namespace}, "spec": spec});
    let kinds = [
        ("creset", request.clone()),
        (
            "capproval",
            of(
                "CredentialResetApproval",
                json!({"request": "one", "directory": "zylker", "digest": "0".repeat(64), "approver": "admin"}),
                TEAM,
            ),
        ),
        (
            "csettlement",
            of(
                "CredentialResetSettlement",
                json!({
                    "record": "one", "directory": "zylker", "outcome": "Applied", "reason": "the user signs in", "settledBy": "admin",
                }),
                SYSTEM,
            ),
        ),
        ("crecord", serde_json::from_str(&record("one")).unwrap()),
        ("directory", of("Directory", site.get(&["directory", "zylker"])["spec"].clone(), "")),
    ];
    let many = |count: usize, value: &str| -> Value {
        (0..count).map(|n| (format!("example.com/l{n}"), json!(value))).collect::<serde_json::Map<_, _>>().into()
    };
    // The API server keeps one of each uid.
    let owners = |count: usize, name: &str| -> Value {
        let owner = |n| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": format!("00000000-0000-4000-8000-{n:012}")});
        (0..count).map(owner).collect()
    };
    let finalizers = |count: usize| (0..count).map(|n| json!(format!("example.com/f{n}"))).collect::<Vec<_>>();
    // With the label that every request of a test has.
    let cases = [
        (json!({"labels": many(63, "x")}), json!({"labels": many(65, "x")}), "at most 64 labels"),
        (
            json!({"annotations": many(64, &"x".repeat(512))}),
            json!({"annotations": many(65, "")}),
            "at most 64 annotations",
        ),
        (json!({}), json!({"annotations": many(2, &"x".repeat(16_385))}), "32768 characters"),
        (json!({"finalizers": finalizers(16)}), json!({"finalizers": finalizers(17)}), "at most 16 finalizers"),
        (
            json!({"ownerReferences": owners(16, "x")}),
            json!({"ownerReferences": owners(17, "x")}),
            "at most 16 ownerReferences",
        ),
        (json!({}), json!({"ownerReferences": owners(1, &"x".repeat(254))}), "253 characters in each field"),
    ];
    let refused = |object: &Value, metadata: &Value| {
        let mut object = object.clone();
        crate::support::merge(&mut object["metadata"], metadata.clone());
        let output = site.try_kubectl(DRY_RUN, &object.to_string());
        (!output.status.success()).then(|| String::from_utf8(output.stderr).unwrap())
    };
    wait_for("the policy", || refused(&request, &cases[0].1).filter(|msg| msg.contains("at most 64 labels")));
    for (kind, object) in &kinds {
        for (fits, more, expected) in &cases {
            assert_eq!(refused(object, fits), None, "{kind}");
            match refused(object, more) {
                // A Directory may hold long texts, and kubectl keeps a copy of it there.
                None => assert!(
                    *kind == "directory" && expected.starts_with("32768"),
                    "{kind} was let in, and should not: {expected}"
                ),
                Some(msg) => assert!(msg.contains(expected), "{kind}: {msg}"),
            }
        }
    }
    site.apply(&request.to_string());
    let update = |metadata: Value| {
        let patch = json!({ "metadata": metadata }).to_string();
        let output = site.try_kubectl(&["patch", "creset", "-n", TEAM, "one", "--type=merge", "-p", &patch], "");
        (!output.status.success()).then(|| String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(update(json!({"labels": many(60, "x")})), None);
    assert!(update(json!({"labels": many(65, "x")})).is_some_and(|msg| msg.contains("at most 64 labels")));
    if !site.is_own() {
        return; // the policies of a foreign cluster are not taken away
    }
    // One from before the policy.
    let binding = site.get(&["validatingadmissionpolicybinding", "credreset-sizes"]);
    site.kubectl(&["delete", "validatingadmissionpolicybinding", "credreset-sizes"]);
    let large = json!({"labels": many(100, "x"), "finalizers": finalizers(20)});
    wait_for("the policy to be gone", || update(large.clone()).is_none().then_some(()));
    let again = json!({"apiVersion": binding["apiVersion"], "kind": binding["kind"], "metadata": {"name": "credreset-sizes"}, "spec": binding["spec"]});
    site.apply(&again.to_string());
    wait_for("the policy", || refused(&request, &cases[0].1).filter(|printed| printed.contains("at most 64 labels")));
    for (metadata, expected) in [
        (json!({"labels": many(101, "x")}), "at most 64 labels"),
        (json!({"finalizers": finalizers(21)}), "at most 16 finalizers"),
    ] {
        let printed = update(metadata);
        assert!(printed.as_ref().is_some_and(|printed| printed.contains(expected)), "{printed:?}");
    }
    let operator = site.operator();
    site.until("one", "Applied");
    drop(operator);
    for left in [19, 0] {
        assert_eq!(update(json!({"finalizers": finalizers(left)})), None, "{left} finalizers");
    }
    site.delete("one");
}

/// Kubernetes itself writes objects without changing anything in them: to delete them in the foreground, to store them in another
/// version, and an administrator who encrypts etcd anew does the same.
#[test]
fn what_changes_nothing_goes_through() {
    let site = Site::with(&Setup { controllers: true, ..Setup::default() });
    if !site.is_own() {
        return; // a foreign cluster may have no controllers
    }
    approvals_are_deleted_as_anything_else(&site);
    people(&site);
    let probe = |annotation: &str| {
        mfa_reset(
            "probe",
            EMAIL,
            json!({"metadata": {"annotations": {annotation: "x"}}, "spec": {"reason": "A probe of admission"}}),
        )
    };
    wait_for("the policies", || tries(&site, "vic", DRY_RUN, &probe("note")));

    // Requests from before the policy, such as it would refuse now.
    let binding = ["validatingadmissionpolicybinding", "credreset-requests"];
    let mut kept = site.get(&binding);
    kept["metadata"] = json!({"name": kept["metadata"]["name"], "labels": kept["metadata"]["labels"]});
    site.kubectl(&[&["delete"], &binding[..]].concat());
    let refused = [
        ("hook", json!({"annotations": {"argocd.argoproj.io/hook": "Sync"}})),
        ("replace", json!({"annotations": {"argocd.argoproj.io/sync-options": "Replace=true"}})),
        ("force", json!({"annotations": {"kustomize.toolkit.fluxcd.io/force": "enabled"}})),
        ("label", json!({"labels": {"kustomize.toolkit.fluxcd.io/force": "enabled"}})),
    ];
    wait_for("the policy to be away", || tries(&site, "hana", DRY_RUN, &probe("helm.sh/hook")).is_none().then_some(()));
    for (name, metadata) in &refused {
        site.apply(&mfa_reset(name, EMAIL, json!({ "metadata": metadata })));
    }
    site.apply(&kept.to_string());
    wait_for("the policy to be back", || tries(&site, "hana", DRY_RUN, &probe("helm.sh/hook")));

    // Records, too, are moved to another stored version by Kubernetes' own controller.
    let records: Vec<String> = (0..4).map(|number| record(&format!("r-{number}"))).collect();
    let made = site.try_kubectl(CREATE, &records.join("\n---\n"));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let kinds = ["credentialresets", "credentialresetrecords"];
    for resource in kinds {
        let migration = json!({
            "apiVersion": "storagemigration.k8s.io/v1", "kind": "StorageVersionMigration", "metadata": {"name": resource},
            "spec": {"resource": {"group": "credreset.dev", "resource": resource}},
        });
        site.apply(&migration.to_string());
    }
    for resource in kinds {
        let all = wait_for("the migration", || {
            let object = site.get(&["storageversionmigration", resource]);
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let over = |c: &Value| c["type"] != "Running" && c["status"] == "True";
            conditions.iter().any(over).then_some(conditions)
        });
        assert!(all.iter().any(|c| c["type"] == "Succeeded" && c["status"] == "True"), "{resource}: {all:?}");
    }

    // What an administrator does after etcd has another key; and what is let through does not allow any change.
    let carl = ["--as=carl", "--as-group=system:masters"];
    for (kind, namespace) in [("crecord", SYSTEM), ("creset", TEAM), ("capproval", TEAM)] {
        let all = site.get(&[kind, "-n", namespace]).to_string();
        let output = site.try_kubectl(&[&["replace", "-f", "-"], &carl[..]].concat(), &all);
        assert!(output.status.success(), "{kind}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x"}]);
    let until = site.get(&["crecord", "-n", SYSTEM, "r-0"])["spec"]["keepUntil"].clone();
    let respelt = until.as_str().unwrap().replace('Z', "+00:00");
    for change in [
        json!({"spec": {"note": "x"}}),
        json!({"spec": {"keepUntil": respelt}}),
        json!({"metadata": {"labels": {"x": "y"}}}),
        json!({"metadata": {"annotations": {"x": "y"}}}),
        json!({"metadata": {"finalizers": ["example.com/x"]}}),
        json!({"metadata": {"ownerReferences": owner}}),
    ] {
        let change = change.to_string();
        let patch = ["patch", "crecord", "-n", SYSTEM, "r-0", "--type=merge", "-p", &change];
        expect(&site, "restorer", &patch, "", "written by the operator alone");
    }

    for (name, metadata) in &refused {
        site.kubectl(&["label", "creset", "-n", TEAM, name, "team=x"]);
        let (field, values) = metadata.as_object().unwrap().iter().next().unwrap();
        let key = values.as_object().unwrap().keys().next().unwrap();
        let other = json!({"metadata": {field: {key: "ENABLED"}}}).to_string();
        let expected = if *name == "replace" { "" } else { "a reset must not be" };
        expect(&site, "vic", &["patch", "creset", "-n", TEAM, name, "--type=merge", "-p", &other], "", expected);
        site.kubectl(&["delete", "creset", "-n", TEAM, name, "--cascade=foreground", "--timeout=600s"]);
    }
    site.kubectl(&["delete", "crecord", "-n", SYSTEM, "r-1", "--cascade=foreground", "--timeout=600s"]);
}

/// Kubernetes' garbage collector writes approvals, too: their finalizers.
fn approvals_are_deleted_as_anything_else(site: &Site) {
    // As `credreset approve` makes them.
    let approve = |name: &str, uid: &Value| {
        let owner =
            json!({"apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialReset", "name": name, "uid": uid});
        let approval = json!({
            "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialResetApproval",
            "metadata": {"name": name, "namespace": TEAM, "ownerReferences": [owner]},
            "spec": {"request": name, "directory": "zylker", "digest": "0".repeat(64), "approver": "admin"},
        });
        site.apply(&approval.to_string());
    };
    for name in ["orphan", "foreground", "gone"] {
        site.apply(&mfa_reset(name, EMAIL, json!({})));
        approve(name, &site.reset(name)["metadata"]["uid"]);
    }
    // One of no request: when it is collected, the collector has seen those before it, too.
    approve("stray", &json!("00000000-0000-0000-0000-000000000000"));
    wait_for("the garbage collector", || {
        let left = site.kubectl(&["get", "capproval", "-n", TEAM, "stray", "--ignore-not-found"]);
        left.is_empty().then_some(())
    });
    let delete = |kind: &str, name: &str, cascade: &str| {
        let cascade = format!("--cascade={cascade}");
        site.kubectl(&["delete", kind, "-n", TEAM, name, &cascade, "--timeout=600s"]);
    };
    delete("creset", "orphan", "orphan");
    let left = site.get(&["capproval", "-n", TEAM, "orphan"]);
    assert_eq!(left["metadata"]["ownerReferences"], Value::Null);
    delete("capproval", "foreground", "foreground");
    delete("creset", "gone", "foreground");
    let approvals = site.get(&["capproval", "-n", TEAM]);
    let names: Vec<&Value> = approvals["items"].as_array().unwrap().iter().map(|a| &a["metadata"]["name"]).collect();
    assert_eq!(names, ["orphan"]);
}
