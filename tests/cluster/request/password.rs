//! `credreset password`: the help desk's hana, with the roles of the chart and no more, reads the password that she hands over.
use std::{
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::support::{Setup, Site, TEAM, kubeconfig_of, password_reset, template};

const ADDRESS: &str = "annette.c@zylker.biz";

/// Exit code, and what it wrote to both outputs, which are no terminal.
fn password(kubeconfig: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_credreset"));
    command.arg("password").args(arguments).env("KUBECONFIG", kubeconfig).stdin(Stdio::null());
    let output = command.output().unwrap();
    let [out, error] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), out, error)
}

#[test]
fn a_delivered_password_is_handed_over() {
    let site = Site::with(&Setup::default());
    site.usual_directory();
    let user = |name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name});
    // Hana has what the chart gives to those who read passwords, and no more; vic may read requests.
    let readers = format!("passwordReaders={}", json!([user("hana")]));
    let roles = template(&[&format!("namespaces={}", json!([TEAM])), &readers]).unwrap();
    let mut roles: Vec<Value> =
        roles.into_iter().filter(|object| object["metadata"]["name"] == "credreset-read-passwords").collect();
    assert_eq!(roles.len(), 2, "a Role and its binding");
    roles.push(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "test-view", "namespace": TEAM},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "credreset-view"}, "subjects": [user("vic")],
    }));
    site.apply_own(roles);
    let (hana, vic) = (kubeconfig_of(&site, "hana"), kubeconfig_of(&site, "vic"));

    site.apply(&password_reset("annette", ADDRESS, json!({})));
    let (code, out, error) = password(&hana, &["annette", "--stdout"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(error.contains("has not ended yet"), "{error}");
    let operator = site.operator();
    site.until("annette", "Applied");
    drop(operator);
    let delivered = site.secret(TEAM, "annette-password", "password");

    // Not to who may not read it, not into a pipe without --stdout, not of a request that is not there.
    for (who, arguments, expected) in [
        (&vic, &["annette", "--stdout"][..], "you may not read Secret helpdesk/annette-password"),
        (&hana, &["annette"], "--stdout"),
        (&hana, &["anette", "--stdout"], "there is no request anette in namespace helpdesk"),
    ] {
        let (code, out, error) = password(who, arguments);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{error}");
        assert!(error.contains(expected) && !error.contains(&delivered), "{error}");
    }
    let (code, out, error) = password(&hana, &["annette", "--stdout"]);
    assert_eq!((code, out), (Some(0), format!("{delivered}\n")));
    assert!(error.contains("Secret helpdesk/annette-password still holds the password"), "{error}");

    // On a terminal it is on the screen that the terminal does not keep. An Enter that was typed too early deletes nothing.
    let screen = site.terminal(&hana, "credreset password annette --delete", "\n");
    assert!(screen.contains("still holds the password"), "{screen}");
    let screen = site.terminal(&hana, "credreset password annette --delete", "yes\n");
    let (before, after) = screen.split_once("\x1b[?1049h").expect("the alternate screen");
    let (shown, after) = after.split_once("\x1b[?1049l").expect("the end of it");
    assert!(shown.contains(&format!("password  {delivered}")) && shown.contains(ADDRESS), "{shown}");
    assert!(![before, after].iter().any(|text| text.contains(&delivered)), "{screen}");
    assert!(after.contains("Secret helpdesk/annette-password is deleted"), "{after}");
    let gone = site.try_kubectl(&["get", "secret", "-n", TEAM, "annette-password"], "");
    assert!(String::from_utf8_lossy(&gone.stderr).contains("NotFound"));
    let (code, _, error) = password(&hana, &["annette", "--stdout"]);
    assert!(code == Some(1) && error.contains("is not there"), "{error}");

    // Another Secret under that name is not the new password.
    site.apply_own(vec![json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "annette-password", "namespace": TEAM}, "stringData": {"password": "planted"},
    })]);
    let (code, out, error) = password(&hana, &["annette", "--stdout"]);
    assert!(code == Some(1) && out.is_empty() && error.contains("not the one"), "{error}");
}
