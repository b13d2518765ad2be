//! A set of requests, from the help desk's command to the comment on the outcome: each person has the rights of their role and no more.
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::{SYSTEM, Site, TEAM, kubeconfig_of, password_reset};

/// Runs a program in a folder as someone: exit code, standard output and standard error.
fn run(program: &str, folder: &Path, kubeconfig: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).env("KUBECONFIG", kubeconfig).stdin(Stdio::null());
    let output = command.output().unwrap();
    let [out, error] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), out, error)
}

/// Hana may request resets in the team's namespace; the pipeline may plan.
fn roles(site: &Site) {
    let role = |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    let bind = |kind: &str, who: &str, role: Value, namespace: Value| {
        let subjects = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": who}]);
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "roleRef": role, "subjects": subjects,
            "metadata": {"name": format!("test-{who}-{}", role["name"].as_str().unwrap()), "namespace": namespace},
        })
    };
    let own = |kind: &str, name: &str, namespace: Value, rule: Value| {
        let metadata = json!({"name": name, "namespace": namespace});
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, "rules": [rule]})
    };
    let uses = json!({"apiGroups": ["credreset.dev"], "resources": ["directories"], "resourceNames": ["zylker"], "verbs": ["use"]});
    let reads =
        json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["zylker-zoho"], "verbs": ["get"]});
    site.apply_own(vec![
        own("ClusterRole", "test-use", Value::Null, uses),
        own("Role", "test-reads", json!(SYSTEM), reads),
        bind("ClusterRoleBinding", "hana", role("ClusterRole", "test-use"), Value::Null),
        bind("RoleBinding", "hana", role("ClusterRole", "credreset-request"), json!(TEAM)),
        bind("ClusterRoleBinding", "pipeline", role("ClusterRole", "credreset-plan"), Value::Null),
        bind("RoleBinding", "pipeline", role("Role", "test-reads"), json!(SYSTEM)),
    ]);
}

#[test]
fn from_the_help_desk_to_the_comment() {
    let site = Site::start();
    site.usual_directory();
    let _operator = site.operator();
    site.until_directory("zylker", "Connected");
    roles(&site);
    let (hana, pipeline) = (kubeconfig_of(&site, "hana"), kubeconfig_of(&site, "pipeline"));
    let folder = site.dir.join("team");
    fs::create_dir_all(folder.join("resets")).unwrap();
    let git = |arguments: &[&str]| {
        let who = ["-c", "user.name=Hana", "-c", "user.email=hana@zylker.biz", "-c", "commit.gpgsign=false"];
        let (code, out, error) = run("git", &folder, &hana, &[&who, arguments].concat());
        assert_eq!(code, Some(0), "{arguments:?}: {out}{error}");
    };
    let credreset = |who: &Path, arguments: &[&str]| run(env!("CARGO_BIN_EXE_credreset"), &folder, who, arguments);
    fs::write(folder.join("resets/README.md"), "Requests of the help desk.\n").unwrap();
    git(&["init", "--quiet", "--initial-branch=main"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message=before"]);
    git(&["checkout", "--quiet", "-b", "annette"]);

    // The help desk files it, once, and is named as who asks without having typed that.
    let new = |user: &str| {
        let reason = "Locked out, identity checked by phone, HELP-4711";
        credreset(&hana, &["new", user, "--directory", "zylker", "-n", TEAM, "--reason", reason, "--into", "resets"])
    };
    assert_eq!(new("annette.c@zylker.biz"), (Some(0), "1 request in resets\n".to_owned(), String::new()));
    let (code, _, error) = new("annette.c@zylker.biz");
    assert!(code == Some(1) && error.contains("annette.c@zylker.biz has a request already"), "{error}");
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message=annette"]);

    // The reviewer reads who, what, why, asked by whom, and where the password goes.
    let comment = |code: i32| {
        let (ended, out, error) = credreset(&pipeline, &["plan", "resets", "--base", "main", "-o", "markdown"]);
        assert_eq!(ended, Some(code), "{out}{error}");
        out
    };
    let shown = comment(0);
    let row = "| ✅ allowed | annette.c@&#8203;zylker.biz<br>Annette Charbonneau<br><code>helpdesk/annette-c-";
    let cells =
        " | Password in zylker | Locked out, identity checked by phone, HELP-4711 | hana | Secret helpdesk/annette-c-";
    assert!(shown.contains(row) && shown.contains(cells), "{shown}");

    // Merged, carried out, and told of.
    site.kubectl(&["apply", "-f", folder.join("resets").to_str().unwrap()]);
    let (code, told, error) = credreset(&hana, &["wait", "resets", "-o", "markdown"]);
    assert_eq!(code, Some(0), "{told}{error}");
    let row = "| ✅ done | annette.c@&#8203;zylker.biz | <code>helpdesk/annette-c-";
    assert!(told.starts_with("### Resets: 1 done\n") && told.contains(row), "{told}");
    // It has ended, as the cluster tells hana: Annette may be reset another time.
    assert_eq!(new("annette.c@zylker.biz").0, Some(0));

    // Someone else has filed one for Hiro that has not ended. A second one is not allowed unnoticed, by whatever name it is for Hiro.
    let later = (Timestamp::now() + SignedDuration::from_mins(30)).to_string();
    site.apply(&password_reset("hiro-later", "hiro.t@zylker.biz", json!({"spec": {"requestedAt": later}})));
    site.until("hiro-later", "NotYetValid");
    assert_eq!(new("Hiro.T@zylker.biz").0, Some(0));
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message=hiro"]);
    let shown = comment(3);
    let twice = "has another request for the same reset: helpdesk/hiro-later (in the cluster, and open). The operator would carry out both";
    assert!(shown.contains("| ❔ unclear | hiro.t@&#8203;zylker.biz<br>") && shown.contains(twice), "{shown}");
    site.delete("hiro-later");
    assert!(comment(0).starts_with("### Resets: 2 allowed, 1 with nothing to do\n"), "{}", comment(0));
}
