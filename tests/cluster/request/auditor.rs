//! `credreset audit` as an auditor, with the role `credreset-audit` and no more: who asked, who says so, why, and how far back.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use jiff::{
    Timestamp,
    tz::{Offset, TimeZone},
};
use serde_json::{Value, json};

use crate::support::{
    SYSTEM, Site, TEAM, blocks, filed_by, kubeconfig_of, merge, message, mfa_reset, password_reset, path, time,
    wait_for,
};

const EMAIL: &str = "annette.c@zylker.biz";
const FILED_BY: &str = "credreset.dev/filed-by";
const ROBOT: &str = "system:serviceaccount:flux-system:kustomize-controller";

fn audit(kubeconfig: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_credreset"));
    command.arg("audit").args(arguments).env("KUBECONFIG", kubeconfig).stdin(Stdio::null());
    let output = command.output().unwrap();
    let [out, error] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), out, error)
}

/// Times are local where that is asked for, and only where it is known.
fn in_local_time(kubeconfig: &Path) {
    let in_zone = |zone: &str, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_credreset"));
        command.args(["audit", "--time", "local"]).args(arguments).env("KUBECONFIG", kubeconfig).env("TZ", zone);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let [out, error] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (output.status.code(), out, error)
    };
    let began: Timestamp = report(kubeconfig, &[])["resets"][0]["startedAt"].as_str().unwrap().parse().unwrap();
    let local = began.to_zoned(TimeZone::fixed(Offset::from_seconds(5 * 3600 + 30 * 60).unwrap()));
    let (_, text, error) = in_zone("XYZ-05:30", &[]);
    assert!(text.contains(&local.strftime("%Y-%m-%d %H:%M:%S+05:30").to_string()), "{text}{error}");
    let (_, csv, _) = in_zone("XYZ-05:30", &["-o", "csv"]);
    assert!(csv.contains(&local.strftime(",%Y-%m-%d %H:%M:%S,").to_string()), "{csv}");
    for (zone, arguments, says) in [
        ("Nowhere/Foo", &[][..], "the local time is not known: set TZ"),
        ("XYZ-05:30", &["-o", "json"], "times in json and html are UTC"),
    ] {
        let (code, out, error) = in_zone(zone, arguments);
        assert!(code == Some(1) && out.is_empty() && error.contains(says), "{zone}: {out}{error}");
    }
}

fn report(kubeconfig: &Path, arguments: &[&str]) -> Value {
    let (_, out, error) = audit(kubeconfig, &[arguments, &["--output", "json"]].concat());
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {out}{error}"))
}

/// The rows by the names of their requests.
fn names(report: &Value) -> Vec<&str> {
    let mut names: Vec<&str> =
        report["resets"].as_array().unwrap().iter().map(|row| row["request"].as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

fn row<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["resets"].as_array().unwrap().iter().find(|row| row["request"] == name).expect(name)
}

fn subject(name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name})
}

/// Hana and a robot may file requests, the robot also in others' names.
fn roles(site: &Site) {
    let role = |name: &str, verbs: &[&str]| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
            "rules": [{"apiGroups": ["credreset.dev"], "resources": ["directories"], "resourceNames": ["zylker"], "verbs": verbs}],
        })
    };
    let binding = |name: &str, who: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}, "subjects": [subject(who)],
        })
    };
    site.apply_own(vec![
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "test-request", "namespace": TEAM},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "credreset-request"},
            "subjects": [subject("hana"), subject(ROBOT)],
        }),
        role("test-hana", &["use"]),
        binding("test-hana", "hana"),
        role("test-robot", &["use", "vouch"]),
        binding("test-robot", ROBOT),
    ]);
}

fn create(site: &Site, who: &str, manifest: &str) {
    let output = site.try_kubectl(&["create", "-f", "-", &format!("--as={who}")], manifest);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn filed(site: &Site, name: &str) -> Value {
    site.reset(name)["metadata"]["annotations"][FILED_BY].clone()
}

#[test]
fn an_auditor_reads_who_and_why_and_how_far_back() {
    let site = Site::start();
    if !site.is_own() {
        return; // Its policy is the whole cluster's.
    }
    site.usual_directory();
    roles(&site);
    let admin = site.kubeconfig().to_owned();
    for command in blocks("docs/auditors.md", "sh role") {
        site.shell(&site.dir, &command);
    }
    let auda = kubeconfig_of(&site, "auda");
    for who in [&admin, &auda] {
        let (code, out, error) = audit(who, &[]);
        assert_eq!((code, out.as_str()), (Some(1), ""));
        assert!(error.contains("there is no operator in namespace credreset-system, and no record: "), "{error}");
    }

    site.apply_own(filed_by());
    let dry = mfa_reset("probe", EMAIL, json!({}));
    wait_for("the policy", || {
        let output = site.try_kubectl(&["create", "--dry-run=server", "-o", "json", "-f", "-", "--as=hana"], &dry);
        let object: Value = serde_json::from_slice(&output.stdout).ok()?;
        (object["metadata"]["annotations"][FILED_BY] == "hana").then_some(())
    });
    let mut command = site.operator_command(Path::new(env!("CARGO_BIN_EXE_credreset")), "keeper", "info", None);
    let operator = site.run(command.env("CREDRESET_KEEP_RECORDS", "90"));
    site.until_directory("zylker", "Connected");

    let with = |reason: &str, spec: Value| {
        let mut all = json!({"reason": reason});
        merge(&mut all, spec);
        json!({ "spec": all })
    };
    let hidden = "Locked out, \u{202e}HELP-1 <script>alert(1)</script>";
    let own = password_reset("own", EMAIL, with("Locked out, HELP-4711", json!({"requestedBy": "hana"})));
    create(&site, "hana", &own);
    // Another name in the manifest is overwritten.
    let mut forged = with(hidden, json!({}));
    forged["metadata"] = json!({"annotations": {FILED_BY: "olga"}});
    create(&site, "hana", &mfa_reset("forged", "hiro.t@zylker.biz", forged));
    create(
        &site,
        ROBOT,
        &mfa_reset("vouched", "jan.n@zylker.biz", with("Lost it, HELP-2", json!({"requestedBy": "Hana"}))),
    );
    for (name, by) in [("own", "hana"), ("forged", "hana"), ("vouched", ROBOT)] {
        site.until(name, "Applied");
        assert_eq!(filed(&site, name), by, "{name}");
    }
    // It stays, whoever tries: an update keeps what is there.
    for change in [format!("{FILED_BY}=olga"), format!("{FILED_BY}-")] {
        site.try_kubectl(&["annotate", "--overwrite", "creset", "-n", TEAM, "own", &change], "");
        assert_eq!(filed(&site, "own"), "hana", "{change}");
    }
    // A manifest from Git, which does not have it, changes nothing.
    for tool in [&["apply"][..], &["apply", "--server-side", "--force-conflicts"], &["replace"]] {
        let output = site.try_kubectl(&[tool, &["-f", "-"]].concat(), &own);
        assert!(output.status.success(), "{tool:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(filed(&site, "own"), "hana", "{tool:?}");
    }

    seen(&site, &auda);
    site.kubectl(&["patch", "directory", "zylker", "--type=merge", "-p", r#"{"spec":{"requireRequestedBy":true}}"#]);
    create(&site, "hana", &mfa_reset("nobody", EMAIL, with("Locked out, HELP-3", json!({"requestedAt": time(0)}))));
    let refused = message(&site.until("nobody", "NotAllowed"));
    assert!(refused.contains("requires every request to say who asks, and spec.requestedBy does not"), "{refused}");
    read_only(&site);
    let lease = || site.get(&["lease", "-n", SYSTEM, "credreset"])["metadata"]["annotations"].clone();
    let before = lease();
    assert_eq!(before["credreset.dev/keep-records"], "90");
    // Who keeps records for longer from now on has not got more of them.
    assert_eq!(operator.stop(), Some(0));
    let mut command = site.operator_command(Path::new(env!("CARGO_BIN_EXE_credreset")), "keeper", "info", None);
    let operator = site.run(command.env("CREDRESET_KEEP_RECORDS", "400"));
    wait_for("the Lease to say it", || (lease()["credreset.dev/keep-records"] == "400").then_some(()));
    assert_eq!(lease()["credreset.dev/records-since"], before["credreset.dev/records-since"]);
    assert_eq!(operator.stop(), Some(0));
    kept(&site, &auda);
}

/// What the auditor reads of the three resets.
fn seen(site: &Site, auda: &Path) {
    let all = report(auda, &[]);
    assert_eq!(names(&all), ["forged", "own", "vouched"]);
    let own = row(&all, "own");
    let expected = json!({
        "requestedBy": "hana", "filedBy": "hana", "whoSaysSo": "themselves", "why": "Locked out, HELP-4711",
        "passwordTo": "Secret helpdesk/own-password", "knownBy": "Response",
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&own[field], value, "{field}");
    }
    let forged = row(&all, "forged");
    assert_eq!((&forged["whoSaysSo"], &forged["requestedBy"]), (&json!("filed by hana"), &Value::Null));
    assert_eq!(forged["why"], r"Locked out, \u{202e}HELP-1 <script>alert(1)</script>");
    let vouched = row(&all, "vouched");
    assert_eq!(vouched["whoSaysSo"], format!("vouched by {ROBOT}"));
    assert_eq!(vouched["passwordTo"], Value::Null, "MFA has no password");

    assert_eq!(names(&report(auda, &["--requested-by", "HANA"])), ["forged", "own", "vouched"]);
    assert_eq!(names(&report(auda, &["--requested-by", ROBOT])), [""; 0], "the requester is hana");
    assert_eq!(names(&report(auda, &["--requested-by", "hana", "--user", EMAIL])), ["own"]);

    // The month and the quarter began before the operator did.
    let began: Timestamp = own["startedAt"].as_str().unwrap().parse().unwrap();
    let (year, month) = (began.strftime("%Y").to_string(), began.strftime("%m").to_string());
    let quarter = format!("{year}Q{}", month.parse::<u32>().unwrap().div_ceil(3));
    for period in [["--month", &format!("{year}-{month}")], ["--quarter", &quarter]] {
        let (code, out, error) = audit(auda, &period);
        assert_eq!(code, Some(2), "{error}");
        assert!(
            out.contains("Locked out, HELP-4711") && out.contains("\n3 resets since ") && out.contains(", until "),
            "{out}"
        );
        assert!(error.contains(" (operator.keepRecords: 90): what was before is not here.\n"), "{error}");
        assert_eq!(audit(auda, &[&period[..], &["--accept-gap"]].concat()).0, Some(0));
    }
    let since = all["recordsSince"].as_str().unwrap();
    assert_eq!(audit(auda, &["--since", since]).0, Some(0));

    // As the page has it, and what is in the files.
    let commands = blocks("docs/auditors.md", "sh audit").concat();
    let shown = site.shell(&site.dir, &format!("export KUBECONFIG='{}'\n{commands}", auda.display()));
    assert!(shown.contains("REQUESTED BY  WHO SAYS SO"), "{shown}");
    let file = |name: &str| fs::read_to_string(site.dir.join(name)).unwrap();
    assert!(file("resets.csv").contains("Locked out, HELP-4711"));
    in_local_time(site.kubeconfig());
    let page = file("report.html");
    for part in
        ["Made by <bdi>auda</bdi>", "vouched by system:serviceaccount:", "&lt;script&gt;alert(1)&lt;/script&gt;"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert_eq!(page.matches("<script").count(), 1, "{page}");
    assert!(file("resets.md").contains("&lt;script&gt;") && file("resets.md").contains("| themselves |"));
}

/// The auditor's role reads what an audit needs. It reads no Secret, and writes nothing.
fn read_only(site: &Site) {
    let may = |verb: &str, what: &str, namespace: &str| {
        let output = site.try_kubectl(&["auth", "can-i", verb, what, "-n", namespace, "--as=auda"], "");
        String::from_utf8(output.stdout).unwrap().trim() == "yes"
    };
    for what in ["credentialresetrecords", "credentialresetsettlements", "credentialresetapprovals", "directories"] {
        let kind = format!("{what}.credreset.dev");
        assert!(may("list", &kind, SYSTEM), "{what}");
        for verb in ["create", "update", "patch", "delete", "deletecollection"] {
            assert!(!may(verb, &kind, SYSTEM), "{verb} {what}");
        }
    }
    assert!(may("get", "leases.coordination.k8s.io/credreset", SYSTEM));
    for (verb, what) in [
        ("get", "secrets"),
        ("list", "secrets"),
        ("get", "leases.coordination.k8s.io/other"),
        ("update", "leases.coordination.k8s.io/credreset"),
        ("create", "credentialresets.credreset.dev"),
        ("use", "directories.credreset.dev/zylker"),
        ("settle", "directories.credreset.dev/zylker"),
    ] {
        for namespace in [SYSTEM, TEAM] {
            assert!(!may(verb, what, namespace), "{verb} {what}");
        }
    }
}

/// The recipe of the page keeps a month once, and only if the records cover it.
fn kept(site: &Site, auda: &Path) {
    fs::copy(path("examples/ci/audit.sh"), site.dir.join("audit.sh")).unwrap();
    let keep = blocks("docs/auditors.md", "sh keep").concat();
    let run = |more: &str| {
        let commands = format!("export KUBECONFIG='{}'\n{}{more}", auda.display(), keep.trim_end());
        let says = format!("code=0; ( {commands}\n) 2>&1 || code=$?; echo \"exit $code\"");
        site.shell(&site.dir, &says)
    };
    let files = || -> Vec<PathBuf> {
        let folder = fs::read_dir(site.dir.join("audits")).map(|all| all.flatten().map(|entry| entry.path()).collect());
        let mut all: Vec<PathBuf> = folder.unwrap_or_default();
        all.sort();
        all
    };
    let shown = run("");
    assert!(shown.contains("what was before is not here") && shown.ends_with("exit 2\n"), "{shown}");
    assert_eq!(files(), Vec::<PathBuf>::new());

    // An operator that has kept records for years, and a reset of last month.
    let annotations = ["credreset.dev/records-since=2020-01-01T00:00:00Z", "credreset.dev/keep-records=3650"];
    site.kubectl(&[&["annotate", "--overwrite", "lease", "-n", SYSTEM, "credreset"], &annotations[..]].concat());
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    let last = now.first_of_month().unwrap().yesterday().unwrap();
    let at = last.strftime("%Y-%m-%dT09:00:00Z").to_string();
    let old = json!({
        "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialResetRecord", "metadata": {"name": "r-old", "namespace": SYSTEM},
        "spec": {
            "directory": "zylker", "directoryIdentity": "x", "user": {"id": "1", "name": "old@zylker.biz"}, "mode": "MFA", "requestedAt": at,
            "expiresAt": at, "keepUntil": time(86_400), "request": {"namespace": TEAM, "name": "old", "uid": "x", "key": "x", "digest": "x"},
            "call": {"resetMFA": {}}, "finish": {}, "attempt": {"id": "x", "number": 1, "holder": "x", "startedAt": at, "deadline": at},
            "state": "Applied",
        },
    });
    site.apply_own(vec![old]);
    let shown = run("");
    assert!(shown.ends_with("exit 0\n"), "{shown}");
    let month = last.strftime("%Y-%m").to_string();
    let wanted = ["csv", "html"].map(|format| site.dir.join(format!("audits/{month}.{format}")));
    assert_eq!(files(), wanted);
    let csv = fs::read_to_string(&wanted[0]).unwrap();
    assert!(csv.contains("old@zylker.biz") && csv.lines().count() == 2, "{csv}");
    // What is kept is not written again.
    fs::write(&wanted[0], "kept").unwrap();
    assert!(run("").ends_with("exit 0\n"));
    assert_eq!(fs::read_to_string(&wanted[0]).unwrap(), "kept");
    for (wrong, expected) in [(" 9999-01", "9999-01 has not ended"), (" July", "July is not a month such as 2026-07")] {
        let shown = run(wrong);
        assert!(shown.contains(expected) && shown.ends_with("exit 1\n"), "{shown}");
    }
}
