//! What admission refuses, said to the people who meet it, and the allowed twin of each.
use serde_json::{Value, json};

use crate::env::{SYSTEM, Site, TEAM, mfa_reset, time, wait_for};

const EMAIL: &str = "annette.c@zylker.biz";

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
    let subjects: Vec<Value> = ["hana", "vic", "olga", "pipeline", "restorer"]
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
    site.apply_own(all);
}

/// What comes of it for `who`: nothing, or what is said.
fn tries(site: &Site, who: &str, arguments: &[&str], input: &str) -> Option<String> {
    let who = format!("--as={who}");
    let mut all = arguments.to_vec();
    all.push(&who);
    let output = site.try_kubectl(&all, input);
    (!output.status.success()).then(|| String::from_utf8(output.stderr).unwrap())
}

/// `says` null: it is allowed. What is refused is refused with 403, which kubectl shows as Forbidden.
fn expect(site: &Site, who: &str, arguments: &[&str], input: &str, says: &str) {
    let said = tries(site, who, arguments, input);
    match said {
        None => assert!(says.is_empty(), "{who} {arguments:?} was allowed: {input}"),
        Some(said) => {
            assert!(
                !says.is_empty() && said.contains(says),
                "{who} {arguments:?}: {said}\nshould say {says:?}: {input}"
            );
            assert!(said.contains("(Forbidden)") || said.contains("is forbidden"), "{said}");
        }
    }
}

#[test]
fn each_refusal_and_its_allowed_twin() {
    let site = Site::start();
    people(&site);
    let mut number = 0;
    let mut request = |patch: Value| {
        number += 1;
        mfa_reset(&format!("r-{number}"), EMAIL, patch)
    };
    let create = &["create", "-f", "-"][..];
    // Policies are enforced a moment after they were stored.
    let probe = request(json!({}));
    wait_for("the policies", || tries(&site, "vic", &["create", "--dry-run=server", "-f", "-"], &probe));
    let record = json!({
        "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialResetRecord", "metadata": {"name": "r-x", "namespace": SYSTEM}, "spec": {
            "directory": "zylker", "directoryIdentity": "x", "user": {"id": "1", "name": "x"}, "mode": "MFA", "requestedAt": time(0),
            "expiresAt": time(0), "keepUntil": time(0), "request": {"namespace": TEAM, "name": "x", "uid": "x", "key": "x", "digest": "x"},
            "call": {"resetMFA": {}}, "finish": {}, "attempt": {"id": "x", "number": 1, "holder": "x", "startedAt": time(0), "deadline": time(0)},
            "state": "Applied",
        },
    })
    .to_string();
    wait_for("the policy of records", || tries(&site, "restorer", &["create", "--dry-run=server", "-f", "-"], &record));

    let with = |annotation: &str, value: &str| json!({"metadata": {"annotations": {annotation: value}}});
    let by = |who: &str| json!({"spec": {"requestedBy": who}});
    for (who, patch, says) in [
        ("vic", json!({}), "vic needs the verb use on directories/zylker to ask for a reset in it"),
        ("hana", json!({"spec": {"directory": "elsewhere"}}), "hana needs the verb use on directories/elsewhere"),
        ("hana", json!({}), ""),
        ("hana", by("hana"), ""),
        (
            "hana",
            by("olga"),
            "spec.requestedBy names somebody else than hana, who needs the verb vouch on directories/zylker",
        ),
        ("pipeline", by("hana"), ""),
        ("hana", with("argocd.argoproj.io/hook", "Sync"), "a reset must not be a hook"),
        ("hana", with("helm.sh/hook", "post-install"), "a reset must not be a hook"),
        ("hana", with("argocd.argoproj.io/sync-options", "Prune=false, Replace=true"), "Force=true or Replace=true"),
        ("hana", with("argocd.argoproj.io/sync-options", "Force=true"), "Force=true or Replace=true"),
        ("hana", with("argocd.argoproj.io/sync-options", "Prune=false"), ""),
        ("hana", with("kustomize.toolkit.fluxcd.io/force", "Enabled"), "must not be applied with force"),
        ("hana", with("kustomize.toolkit.fluxcd.io/force", "disabled"), ""),
        ("hana", with("kustomize.toolkit.fluxcd.io/ssa", "IfNotPresent"), ""),
    ] {
        expect(&site, who, create, &request(patch), says);
    }
    // The same of an object that is there, by whoever may change it.
    site.apply(&mfa_reset("there", EMAIL, json!({})));
    for (annotation, says) in [
        ("argocd.argoproj.io/hook=Sync", "a reset must not be a hook"),
        ("argocd.argoproj.io/sync-options=Replace=true", "Force=true or Replace=true"),
        ("kustomize.toolkit.fluxcd.io/force=enabled", "must not be applied with force"),
        ("note=fine", ""),
    ] {
        expect(&site, "vic", &["annotate", "creset", "-n", TEAM, "there", annotation], "", says);
    }

    // The ledger and what is said of requests.
    let only = "written by the operator alone, not by ";
    let operator = format!("system:serviceaccount:{SYSTEM}:credreset");
    let status = r#"{"status":{"outcome":"Applied"}}"#;
    let patch = ["patch", "creset", "-n", TEAM, "there", "--subresource=status", "--type=merge", "-p", status];
    expect(&site, "vic", &patch, "", only);
    site.kubectl(&patch); // our administrator is one of admission.writers
    expect(&site, "restorer", create, &record, only);
    expect(&site, &operator, create, &record, "");
    let change = ["patch", "crecord", "-n", SYSTEM, "r-x", "--type=merge", "-p", r#"{"spec":{"note":"x"}}"#];
    expect(&site, "restorer", &change, "", only);
    expect(&site, &operator, &change, "", "cannot patch resource"); // it replaces them
    let delete = ["delete", "crecord", "-n", SYSTEM, "r-x"];
    expect(&site, "restorer", &delete, "", only);
    expect(&site, &operator, &delete, "", "");

    // Approvals.
    let mut number = 0;
    let mut approval = |approver: &str, directory: &str| {
        number += 1;
        let object = json!({
            "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialResetApproval", "metadata": {"name": format!("a-{number}"), "namespace": TEAM},
            "spec": {"request": "there", "directory": directory, "digest": "0".repeat(64), "approver": approver},
        });
        object.to_string()
    };
    expect(&site, "olga", create, &approval("hana", "zylker"), "spec.approver must be who creates the approval: olga");
    expect(&site, "vic", create, &approval("olga", "zylker"), "spec.approver must be who creates the approval: vic");
    expect(&site, "vic", create, &approval("vic", "zylker"), "vic needs the verb approve on directories/zylker");
    expect(&site, "hana", create, &approval("hana", "zylker"), "hana needs the verb approve on directories/zylker");
    expect(
        &site,
        "olga",
        create,
        &approval("olga", "elsewhere"),
        "olga needs the verb approve on directories/elsewhere",
    );
    let given = approval("olga", "zylker");
    expect(&site, "olga", create, &given, "");
    let name = serde_json::from_str::<Value>(&given).unwrap()["metadata"]["name"].as_str().unwrap().to_owned();
    let withdraw = ["patch", "capproval", "-n", TEAM, &name, "--type=merge", "-p", r#"{"spec":{"withdrawn":true}}"#];
    expect(&site, "vic", &withdraw, "", "vic needs the verb approve on directories/zylker");
    expect(&site, "olga", &withdraw, "", "");

    // Other kinds are nobody's business here.
    let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "hook", "namespace": TEAM, "annotations": {"helm.sh/hook": "post-install"}}});
    expect(&site, "vic", create, &other.to_string(), "");
}

/// Without the policies anybody could write anybody's name: then no approval counts.
#[test]
fn approvals_rest_on_the_policies() {
    let site = Site::start();
    if !site.is_own() {
        return; // the policies of somebody else's cluster are not taken away
    }
    site.directory("zylker", json!({"allow": [
        {"name": "staff", "namespaces": [TEAM], "modes": ["MFA"], "users": {"everyone": true}, "approvals": {"distinctFromRequester": false}},
    ]}));
    site.apply(&mfa_reset("one", EMAIL, json!({})));
    let relaxed = r#"{"spec":{"validationActions":["Audit"]}}"#;
    let binding = ["patch", "validatingadmissionpolicybinding", "credreset-approvals", "--type=merge", "-p"];
    site.kubectl(&[&binding[..], &[relaxed]].concat());
    let approval = |digest: &str| {
        json!({
            "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialResetApproval", "metadata": {"name": "forged", "namespace": TEAM},
            "spec": {"request": "one", "directory": "zylker", "digest": digest, "approver": "olga"},
        })
        .to_string()
    };
    let operator = site.operator();
    let reset = site.until("one", "AwaitingApproval");
    let said = crate::env::message(&reset);
    assert!(said.contains("admission policy credreset-approvals is missing or does not deny"), "{said}");
    let digest = reset["status"]["digest"].as_str().unwrap().to_owned();
    wait_for("the relaxed policy to let it through", || {
        site.try_kubectl(&["create", "-f", "-"], &approval(&digest)).status.success().then_some(())
    });
    site.until("one", "AwaitingApproval");
    assert_eq!(site.sandbox.count("reset-mfa"), 0);
    drop(operator);
    // With them again, what was forged meanwhile is deleted by whoever looks after it; a real one counts.
    site.kubectl(&["delete", "capproval", "-n", TEAM, "forged"]);
    site.kubectl(&[&binding[..], &[r#"{"spec":{"validationActions":["Deny"]}}"#]].concat());
    wait_for("the policy", || {
        let output = site.try_kubectl(&["create", "--dry-run=server", "-f", "-"], &approval(&digest));
        (!output.status.success()).then_some(())
    });
    let _operator = site.operator();
    site.apply(&approval(&digest).replace("olga", "admin").replace("forged", "real"));
    site.until("one", "Applied");
    assert_eq!(site.sandbox.count("reset-mfa"), 1);
}
