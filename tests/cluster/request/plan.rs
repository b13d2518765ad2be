//! `credreset plan` on a cluster: what it says, with only the rights of the chart's role, is what the operator then does.
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};

use crate::support::{SYSTEM, Site, TEAM, kubeconfig_of, merge, message, password_reset, path};

const ANNETTE: &str = "annette.c@zylker.biz";

fn plan(site: &Site, kubeconfig: &Path, manifests: &[&str], arguments: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let file = site.dir.join("plan.yaml");
    fs::write(&file, manifests.join("\n---\n")).unwrap();
    let output: Output = Command::new(env!("CARGO_BIN_EXE_credreset"))
        .arg("plan")
        .arg(&file)
        .args(["--output", "json"])
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), report["requests"].as_array().cloned().unwrap_or_default(), error)
}

/// Verdict and reason of each.
fn verdicts(planned: &[Value]) -> Vec<String> {
    let of = |p: &Value, field: &str| p[field].as_str().unwrap_or_default().to_owned();
    planned.iter().map(|p| format!("{} {}", of(p, "verdict"), of(p, "reason")).trim().to_owned()).collect()
}

/// `who` has the chart's role for planning; with `secret` it may also read what Directory zylker signs in with.
fn planner(site: &Site, who: &str, secret: bool) {
    let subjects = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": who}]);
    let bind = |kind: &str, role: Value, namespace: Value| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": format!("test-{who}"), "namespace": namespace},
            "roleRef": role, "subjects": subjects,
        })
    };
    let role = |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    let mut all = vec![bind("ClusterRoleBinding", role("ClusterRole", "credreset-plan"), Value::Null)];
    if secret {
        all.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "test-reads-credentials", "namespace": SYSTEM},
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["zylker-zoho"], "verbs": ["get"]}],
        }));
        all.push(bind("RoleBinding", role("Role", "test-reads-credentials"), json!(SYSTEM)));
    }
    site.apply_own(all);
}

#[test]
fn what_a_plan_says_is_done() {
    let site = Site::start();
    site.usual_directory();
    let operator = site.operator();
    site.until_directory("zylker", "Connected");
    planner(&site, "planner", true);
    planner(&site, "blind", false);
    let (seeing, blind) = (kubeconfig_of(&site, "planner"), kubeconfig_of(&site, "blind"));

    let annette = password_reset("annette", ANNETTE, json!({}));
    let bruno = password_reset("bruno", "bruno.k@zylker.biz", json!({}));
    let (code, planned, error) = plan(&site, &seeing, &[&annette, &bruno], &[]);
    assert_eq!(
        (code, verdicts(&planned)),
        (Some(2), vec!["allowed".to_owned(), "refused UserNotConfirmed".to_owned()]),
        "{error}"
    );
    assert_eq!(planned[0]["found"]["id"], crate::support::ANNETTE);
    assert_eq!(planned[0]["rule"], "staff");
    let assumed = planned[0]["assumed"].to_string();
    assert!(assumed.contains(&format!("there is no Secret {TEAM}/annette-password yet")), "{assumed}");
    assert!(!assumed.contains("limit") && !assumed.contains("record"), "both could be read: {assumed}");
    assert_eq!((site.sandbox.count("reset-password"), site.records().len()), (0, 0));

    site.apply(&annette);
    site.apply(&bruno);
    let done = site.until("annette", "Applied");
    assert_eq!(done["status"]["digest"], planned[0]["digest"]);
    let refused = site.until("bruno", "UserNotConfirmed");
    assert_eq!(message(&refused), planned[1]["message"].as_str().unwrap());

    // Again, under another name, and edited.
    let mut renamed: Value = serde_json::from_str(&annette).unwrap();
    renamed["metadata"]["name"] = json!("annette-again");
    let mut edited: Value = serde_json::from_str(&annette).unwrap();
    merge(&mut edited, json!({"spec": {"reason": "Another reason altogether"}}));
    for (manifest, expected) in [
        (annette.clone(), "nothing Applied"),
        (bruno.clone(), "nothing UserNotConfirmed"),
        (renamed.to_string(), "nothing AlreadyApplied"),
        (edited.to_string(), "refused Edited"),
    ] {
        let (_, planned, error) = plan(&site, &seeing, &[&manifest], &[]);
        assert_eq!(verdicts(&planned), [expected], "{error}");
    }

    of_another_creator(&site, &seeing);

    // Approvals come after the plan.
    let hiro = password_reset("hiro", "hiro.t@zylker.biz", json!({}));
    let rule = json!([{"name": "staff", "namespaces": [TEAM], "modes": ["Password"], "users": {"everyone": true}, "approvals": {"count": 2, "distinctFromRequester": false}}]);
    site.kubectl(&[
        "patch",
        "directory",
        "zylker",
        "--type=merge",
        "-p",
        &json!({"spec": {"allow": rule}}).to_string(),
    ]);
    site.until_directory("zylker", "Connected");
    let waits = crate::support::wait_for("the operator's check of the new rule", || {
        let (code, planned, _) = plan(&site, &seeing, &[&hiro], &[]);
        (code != Some(3)).then_some((code, planned))
    });
    assert_eq!((waits.0, verdicts(&waits.1)), (Some(0), vec!["allowed AwaitingApproval".to_owned()]));
    assert_eq!(waits.1[0]["approvals"], 2);

    // Without the Secret no user is looked up; without the role nothing is.
    let (code, planned, _) = plan(&site, &blind, &[&hiro], &[]);
    assert_eq!((code, verdicts(&planned)), (Some(0), vec!["allowed AwaitingApproval".to_owned()]));
    assert!(planned[0].get("found").is_none(), "{planned:?}");
    let printed = planned[0]["assumed"].to_string();
    assert!(
        printed.contains("the user exists, is confirmed and active")
            && printed.contains(&format!("You may not read Secret {SYSTEM}/zylker-zoho")),
        "{printed}"
    );
    let (code, _, error) = plan(&site, &kubeconfig_of(&site, "stranger"), &[&hiro], &[]);
    assert_eq!(code, Some(1));
    assert!(error.contains("creset helpdesk/hiro could not be read: ") && error.contains("forbidden"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert_eq!(site.sandbox.count("reset-password"), 1);

    // No kinds; no API server.
    drop(operator);
    if site.is_own() {
        site.kubectl(&["delete", "-f", path("crds").to_str().unwrap()]);
        let printed = crate::support::wait_for("the kinds to be gone", || {
            let (code, _, error) = plan(&site, site.kubeconfig(), &[&hiro], &[]);
            (code == Some(1) && error.contains("does not know")).then_some(error)
        });
        assert!(printed.contains("install chart credreset-crds") && printed.lines().count() == 1, "{printed}");
    }
    let mut nowhere: Value = serde_json::from_str(&fs::read_to_string(&seeing).unwrap()).unwrap();
    nowhere["clusters"][0]["cluster"]["server"] = json!("https://127.0.0.1:9");
    let file = site.dir.join("nowhere.kubeconfig");
    fs::write(&file, nowhere.to_string()).unwrap();
    let (code, _, error) = plan(&site, &file, &[&hiro], &[]);
    assert_eq!(
        (code, error.as_str()),
        (Some(1), "credreset: the API server at https://127.0.0.1:9/ does not answer\n")
    );
}

/// Whether another user may create the request.
fn of_another_creator(site: &Site, seeing: &Path) {
    site.apply_own(vec![
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "test-pipeline"},
            "rules": [{"apiGroups": ["credreset.dev"], "resources": ["directories"], "resourceNames": ["zylker"], "verbs": ["use"]}],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "test-pipeline"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "test-pipeline"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": format!("system:serviceaccounts:{TEAM}")}],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "test-pipeline", "namespace": TEAM},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "credreset-request"},
            "subjects": [{"kind": "ServiceAccount", "name": "pipeline", "namespace": TEAM},
                {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "vic"}],
        }),
    ]);
    let hiro = password_reset("hiro", "hiro.t@zylker.biz", json!({}));
    let vouched = password_reset("hiro-2", "hiro.t@zylker.biz", json!({"spec": {"requestedBy": "hana"}}));
    let pipeline = format!("system:serviceaccount:{TEAM}:pipeline");
    let own = password_reset("hiro-3", "hiro.t@zylker.biz", json!({"spec": {"requestedBy": pipeline}}));
    for (who, manifest, expected, wanted) in [
        (pipeline.as_str(), &hiro, "allowed", ""),
        (pipeline.as_str(), &vouched, "refused Forbidden", "who needs the verb vouch on directories/zylker"),
        (
            pipeline.as_str(),
            &own,
            "refused Forbidden",
            "must name a person, not a system account such as system:serviceaccount:",
        ),
        ("vic", &hiro, "refused Forbidden", "vic needs the verb use on directories/zylker"),
        ("otto", &hiro, "refused Forbidden", "otto may not create credentialresets in namespace helpdesk"),
    ] {
        let (_, planned, error) = plan(site, seeing, &[manifest], &["--for-account", who]);
        assert_eq!(verdicts(&planned), [expected], "{error}");
        assert!(planned[0]["message"].as_str().unwrap_or_default().contains(wanted), "{planned:?}");
    }
}
