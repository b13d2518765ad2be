//! `credreset wait`, `audit`, `check` and `try` on a cluster: what they print is what happened.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::{Command, Stdio},
};

use credreset::cli;
use serde_json::{Value, json};

use crate::{
    folder::Folder,
    person::{agrees, at_terminal},
    support::{SYSTEM, Setup, Site, TEAM, blocks, kubeconfig_of, merge, mfa_reset, password_reset, time},
};

fn command(kubeconfig: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_credreset"));
    command.args(arguments).env("KUBECONFIG", kubeconfig).stdin(Stdio::null());
    command
}

fn run(kubeconfig: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = command(kubeconfig, arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// As JSON, which is as its schema says.
fn json_of<T: schemars::JsonSchema>(kubeconfig: &Path, arguments: &[&str]) -> (Option<i32>, Value) {
    let (code, out, error) = run(kubeconfig, &[arguments, &["--output", "json"]].concat());
    let value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {out}{error}"));
    let schema = serde_json::to_value(schemars::schema_for!(T)).unwrap();
    assert!(jsonschema::is_valid(&schema, &value), "{value:#}");
    (code, value)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Requests `r01` to `r20`, each of a user of its own, by the reason that they are to end with.
fn requests() -> Vec<(String, String, &'static str)> {
    let named = |number: usize| (format!("r{number:02}"), format!("user{number:04}@zylker.biz"));
    let mut all: Vec<(String, String, &str)> = Vec::new();
    for number in 1..=14 {
        let (name, email) = named(number);
        let mode = if number > 12 { mfa_reset } else { password_reset };
        all.push((name.clone(), mode(&name, &email, json!({"metadata": {"labels": {"set": "fine"}}})), "Applied"));
    }
    for (number, email, reason) in [
        (15, "bruno.k@zylker.biz", "UserNotConfirmed"),
        (16, "erika.s@zylker.biz", "UserProtected"),
        (17, "nobody@zylker.biz", "UserNotFound"),
    ] {
        let name = named(number).0;
        all.push((
            name.clone(),
            password_reset(&name, email, json!({"metadata": {"labels": {"set": "refused"}}})),
            reason,
        ));
    }
    let (name, email) = named(18);
    all.push((
        name.clone(),
        password_reset(&name, &email, json!({"metadata": {"labels": {"set": "rejected"}}})),
        "Rejected",
    ));
    let (name, email) = named(19);
    all.push((
        name.clone(),
        password_reset(&name, &email, json!({"metadata": {"labels": {"set": "unknown"}}})),
        "OutcomeUnknown",
    ));
    let (name, email) = named(20);
    let later = json!({"metadata": {"labels": {"set": "later"}}, "spec": {"requestedAt": time(3600)}});
    all.push((name.clone(), password_reset(&name, &email, later), "NotYetValid"));
    all
}

#[test]
fn what_happened_is_what_is_said() {
    let site = Site::with(&Setup { sandbox: vec!["--users".to_owned(), "20".to_owned()], ..Setup::default() });
    site.directory("zylker", json!({"limits": {"resetsPerHour": 1000, "requestTimeout": "1s"}}));
    let fault = |number: u32, fault: Value| {
        let mut fault = fault;
        merge(&mut fault, json!({"call": "reset-password", "user": (710_000_000 + number).to_string()}));
        site.sandbox.fault(fault);
    };
    fault(
        18,
        json!({"fault": "refuse", "status": 400, "body": {"data": {"errorCode": "PASSWORD_POLICY"}}, "times": 10}),
    );
    fault(19, json!({"fault": "apply-then-drop"}));
    let _operator = site.operator();
    site.until_directory("zylker", "Connected");
    waits(&site);
    audits(&site);
    checks(&site);
}

fn waits(site: &Site) {
    let admin = site.kubeconfig();
    let all = requests();
    let folder = site.dir.join("resets");
    fs::create_dir(&folder).unwrap();
    for (name, manifest, _) in &all {
        fs::write(folder.join(format!("{name}.yaml")), manifest).unwrap();
    }
    // Before there is anything to be seen: it waits for what the pipeline applies.
    let fine: Vec<String> = (1..=14).map(|n| folder.join(format!("r{n:02}.yaml")).display().to_string()).collect();
    let arguments: Vec<&str> = ["wait"].into_iter().chain(fine.iter().map(String::as_str)).collect();
    let child = command(admin, &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    site.kubectl(&["apply", "-f", folder.to_str().unwrap()]);
    let output = child.wait_with_output().unwrap();
    let (out, changes) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{out}{changes}");
    assert!(out.ends_with("\n14 done\n") && !out.contains('\u{1b}'), "{out}");
    let row = out.lines().find(|line| line.starts_with("helpdesk/r01")).unwrap();
    assert!(row.contains("user0001@zylker.biz  Applied  Applied"), "{out}");
    // A line for each change; each line differs from the one before.
    let of_one: Vec<&str> = changes.lines().filter(|line| line.starts_with("helpdesk/r01: ")).collect();
    assert!(of_one.last().unwrap().starts_with("helpdesk/r01: Applied: "), "{changes}");
    assert!(of_one.windows(2).all(|pair| pair[0] != pair[1]), "{changes}");

    let set = |name: &str| json_of::<cli::wait::Report>(admin, &["wait", "-n", TEAM, "-l", &format!("set={name}")]);
    for (name, code, phase) in [
        ("fine", 0, "done"),
        ("refused", 2, "needsAttention"),
        ("rejected", 2, "needsAttention"),
        ("unknown", 3, "unknown"),
    ] {
        let (ended, report) = set(name);
        assert_eq!((ended, &report["timedOut"]), (Some(code), &json!(false)), "{report:#}");
        for request in report["requests"].as_array().unwrap() {
            let expected = all.iter().find(|(name, ..)| request["name"] == name.as_str()).unwrap().2;
            assert_eq!(
                (text(&request["reason"]).as_str(), text(&request["phase"]).as_str()),
                (expected, phase),
                "{request:#}"
            );
        }
    }
    // One is open still, and says until when.
    let (code, report) = json_of::<cli::wait::Report>(admin, &["wait", "creset/r20", "-n", TEAM, "--timeout", "1s"]);
    assert_eq!((code, &report["timedOut"]), (Some(4), &json!(true)), "{report:#}");
    let (code, out, changes) = run(admin, &["wait", "r20", "r01", "-n", TEAM, "--timeout", "1s"]);
    assert_eq!(code, Some(4), "{out}{changes}");
    let waiting = site.reset("r20");
    // kubectl's column shows a user who has not been looked up yet.
    assert_eq!(
        (&waiting["status"]["subject"], waiting["status"].get("user")),
        (&json!("user0020@zylker.biz"), None),
        "{waiting:#}"
    );
    let start = text(&waiting["spec"]["requestedAt"]);
    let waits = out.lines().find(|line| line.starts_with("helpdesk/r20 waits (at most until ")).unwrap();
    assert!(waits.contains("NotYetValid") && waits.contains(&start), "{out}");
    assert!(out.ends_with("\ntimed out: 1 done, 1 open\n"), "{out}");
    // Of all of them the worst counts.
    let (code, report) = json_of::<cli::wait::Report>(admin, &["wait", folder.to_str().unwrap(), "--timeout", "1s"]);
    assert_eq!((code, report["requests"].as_array().unwrap().len()), (Some(3), 20));
    // What goes while it is waited for.
    let mut child =
        command(admin, &["wait", "r20", "-n", TEAM]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stderr.take().unwrap()), &mut first).unwrap();
    assert!(first.starts_with("helpdesk/r20: NotYetValid: "), "{first}");
    site.delete("r20");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stdout).unwrap().contains("It was deleted meanwhile."));
    // On a terminal a bar. `script` (util-linux) makes one.
    let call = format!("'{}' wait -n {TEAM} -l set=fine", env!("CARGO_BIN_EXE_credreset"));
    let output = Command::new("script")
        .args(["-qec", &call, "/dev/null"])
        .env("KUBECONFIG", admin)
        .env("TERM", "xterm")
        .output()
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.code() == Some(0) && out.contains("[=====") && out.contains("14/14"), "{out:?}");

    for (kubeconfig, arguments, expected) in [
        (
            admin,
            &["wait", "r99", "-n", TEAM][..],
            "there is no request r99 in namespace helpdesk: if it is in another one",
        ),
        (admin, &["wait", "-l", "set=none", "-n", TEAM], "no request in namespace helpdesk has these labels"),
        (admin, &["wait", "-l", "set=&", "-n", TEAM], "the requests of namespace helpdesk cannot be watched: "),
        (
            &kubeconfig_of(site, "stranger"),
            &["wait", "r01", "-n", TEAM],
            "cannot be watched: credentialresets.credreset.dev \"r01\" is forbidden",
        ),
    ] {
        let (code, out, error) = run(kubeconfig, arguments);
        assert_eq!((code, out.as_str(), error.lines().count()), (Some(1), "", 1), "{arguments:?}: {error}");
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}

fn audits(site: &Site) {
    let admin = site.kubeconfig();
    // The operator has led for a moment: what was before it cannot be seen.
    let (code, report) = json_of::<cli::audit::Report>(admin, &["audit", "--since", "1d"]);
    assert_eq!(code, Some(2));
    let at = |field: &str| text(&report[field]).parse::<jiff::Timestamp>().unwrap();
    assert!(at("recordsSince") > at("since"), "{report:#}");
    let (code, _, error) = run(admin, &["audit", "--since", "1d", "--accept-gap"]);
    let gap = format!(
        "Records go back to {} (operator.keepRecords: 0): what was before is not here.\n",
        text(&report["recordsSince"])
    );
    assert_eq!((code, error), (Some(0), gap));
    let records: BTreeMap<String, Value> =
        site.records().into_iter().map(|record| (text(&record["metadata"]["name"]), record["spec"].clone())).collect();
    let rows = report["resets"].as_array().unwrap();
    assert_eq!(rows.len(), 16, "of those that were refused before anything was sent there is no record");
    for row in rows {
        let record = &records[&text(&row["record"])];
        let request = site.reset(&text(&row["request"]));
        assert_eq!(row["user"], request["status"]["user"]["name"]);
        assert_eq!(row["userId"], record["user"]["id"]);
        let state = request["status"]["outcome"].clone();
        assert_eq!((&row["state"], &row["knownBy"]), (&state, &request["status"]["evidence"]), "{row:#}");
        for field in ["requestedAt", "settledAt", "mode", "directory"] {
            assert_eq!(row[field], record[field], "{field}");
        }
        assert_eq!(row["startedAt"], record["attempt"]["startedAt"]);
        assert_eq!(row["why"], request["spec"]["reason"]);
        assert_eq!((&row["namespace"], &row["holder"]), (&json!(TEAM), &record["attempt"]["holder"]));
    }
    let rejected = rows.iter().find(|row| row["request"] == "r18").unwrap();
    assert_eq!(
        (&rejected["state"], &rejected["refusedBecause"]),
        (&json!("NotApplied"), &json!("Rejected")),
        "{rejected:#}"
    );
    let began: Vec<jiff::Timestamp> = rows.iter().map(|row| text(&row["startedAt"]).parse().unwrap()).collect();
    assert!(began.is_sorted());
    // The same as a spreadsheet.
    let (_, csv, _) = run(admin, &["audit", "--output", "csv"]);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let all: Vec<BTreeMap<String, String>> = reader.deserialize().map(Result::unwrap).collect();
    for (row, cells) in rows.iter().zip(&all) {
        for (field, value) in row.as_object().unwrap().iter().filter(|(_, value)| value.is_string()) {
            // Spreadsheets take no fractions of seconds.
            let time = text(value).parse::<jiff::Timestamp>().ok().filter(|_| field.ends_with("At"));
            assert_eq!(cells[field], time.map_or_else(|| text(value), |at| format!("{at:.0}")), "{field}");
        }
    }
    assert_eq!(all.len(), rows.len());
    // Parts of it.
    let of = |arguments: &[&str]| -> BTreeSet<String> {
        let (_, report) = json_of::<cli::audit::Report>(admin, &[&["audit"], arguments].concat());
        report["resets"].as_array().unwrap().iter().map(|row| text(&row["request"])).collect()
    };
    assert_eq!(of(&["--user", "USER0019@zylker.biz"]), BTreeSet::from(["r19".to_owned()]));
    assert_eq!(of(&["--user", "710000001", "--directory", "zylker"]), BTreeSet::from(["r01".to_owned()]));
    for (arguments, expected) in [
        (
            &["audit", "--directory", "elsewhere"][..],
            "there is no Directory elsewhere in the cluster, and no record of one",
        ),
        (
            &["audit", "--operator-namespace", "nope"],
            "there is no operator in namespace nope, and no record: name the operator's namespace with --operator-namespace",
        ),
    ] {
        let (code, out, error) = run(admin, arguments);
        assert_eq!((code, out, error), (Some(1), String::new(), format!("credreset: {expected}\n")));
    }
    let middle = began[8].to_string();
    let (before, after) = (of(&["--until", &middle]), of(&["--since", &middle]));
    assert!(before.is_disjoint(&after) && before.len() + after.len() == 16, "{before:?} {after:?}");
    let (_, out, _) = run(admin, &["audit"]);
    assert!(out.lines().any(|line| line.contains("user0019@zylker.biz  Password  zylker     Unknown")), "{out}");
    assert!(out.contains("\n16 resets since "), "{out}");
    let (code, _, error) = run(&kubeconfig_of(site, "stranger"), &["audit"]);
    assert!(code == Some(1) && error.lines().count() == 1, "{error}");
    assert!(
        error.contains("the records in namespace credreset-system could not be read: ") && error.contains("forbidden"),
        "{error}"
    );
}

/// What is wrong with a Directory, as the operator reports it and as the user of `check` finds it.
fn checks(site: &Site) {
    let admin = site.kubeconfig();
    let lines = |kubeconfig: &Path, arguments: &[&str]| {
        let (code, report) = json_of::<cli::check::Report>(kubeconfig, &[&["check"], arguments].concat());
        let lines = report["directories"][0]["lines"].as_array().unwrap().clone();
        let printed: BTreeMap<String, (String, String)> =
            lines.iter().map(|line| (text(&line["about"]), (text(&line["sign"]), text(&line["message"])))).collect();
        (code, printed)
    };
    let (code, printed) = lines(admin, &["zylker", "--user", "user0003@zylker.biz"]);
    assert!(code == Some(0) && printed.values().all(|(sign, _)| sign == "ok"), "{printed:#?}");
    assert!(
        printed["operator"].1.starts_with("Connected: ") && printed["rule"].1.contains("rule staff allows it"),
        "{printed:#?}"
    );

    // As docs/commands.md has it, but for what each line says of this very Directory.
    let (_, out, _) = run(admin, &["check", "zylker", "--user", "user0003@zylker.biz"]);
    let about = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect()
    };
    assert_eq!(about(&out), about(&blocks("docs/commands.md", "text").concat()), "{out}");

    // On a terminal it is tried, too; nothing is changed here.
    let folder = Folder::new();
    folder.write("kubeconfig", fs::read(admin).unwrap());
    let user = "user0003@zylker.biz";
    let typed = format!("KUBECONFIG=kubeconfig credreset try zylker --user {user} >report");
    let tried = at_terminal(&folder, &typed, |printed, _| match agrees(printed, user) {
        Some(_) if printed.contains("Do it?") => "skip".to_owned(),
        Some(answer) => answer,
        None => "skip".to_owned(),
    });
    assert!(
        tried.code == Some(0) && tried.report.contains("\n  as expected      The look-up shows user_id"),
        "{}",
        tried.terminal
    );

    // A user who may see the Directory, and not what it signs in with.
    let blind = kubeconfig_of(site, "blind");
    site.apply_own(vec![json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "test-blind"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "credreset-directory-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "blind"}],
    })]);
    let (code, printed) = lines(&blind, &[]);
    assert_eq!(
        (code, printed["operator"].0.as_str(), printed["account"].0.as_str()),
        (Some(2), "ok", "note"),
        "{printed:#?}"
    );
    assert!(printed["secret"].1.contains(&format!("You may not read Secret {SYSTEM}/zylker-zoho")), "{printed:#?}");
    let (code, out, error) = run(&blind, &["audit", "--user", "user0001@zylker.biz"]);
    assert!(
        code == Some(0) && out.contains("\n1 reset since "),
        "keepers of Directories may read records: {out}{error}"
    );

    site.directory("elsewhere", json!({"provider": {"zoho": {"urls": {"accounts": "http://127.0.0.1:9", "api": "http://127.0.0.1:9", "mail": "http://127.0.0.1:9"}}}}));
    site.directory("secretless", json!({"provider": {"zoho": {"credentials": {"secret": "nowhere"}}}}));
    site.until_directory("elsewhere", "Unreachable");
    site.until_directory("secretless", "InvalidConfiguration");
    let (code, printed) = lines(admin, &["elsewhere"]);
    assert_eq!(
        (code, printed["server"].0.as_str(), printed["operator"].0.as_str()),
        (Some(2), "wrong", "wrong"),
        "{printed:#?}"
    );
    assert!(printed["server"].1.contains("nothing answers at 127.0.0.1:9"), "{printed:#?}");
    let (code, printed) = lines(admin, &["secretless", "--user", "user0003@zylker.biz"]);
    assert_eq!(
        (code, printed["secret"].0.as_str(), printed["user"].0.as_str()),
        (Some(2), "wrong", "note"),
        "{printed:#?}"
    );
    assert!(printed["secret"].1.contains(&format!("Secret {SYSTEM}/nowhere does not exist")), "{printed:#?}");
    let (code, out, _) = run(admin, &["check"]);
    assert_eq!(code, Some(2), "{out}");
    assert!(out.ends_with("\nchecks failed for 2 of 3\n"), "{out}");

    site.sandbox.send("POST", "/sandbox/scopes", &json!("ZohoDirectory.Users.READ"));
    let (code, printed) = lines(admin, &["zylker"]);
    assert_eq!(
        (code, printed["account"].0.as_str(), printed["permissions"].0.as_str()),
        (Some(2), "ok", "wrong"),
        "{printed:#?}"
    );
    assert!(printed["permissions"].1.contains("granted without"), "{printed:#?}");

    for (kubeconfig, arguments, expected) in [
        (admin, &["check", "zylkr"][..], "there is no Directory zylkr in the cluster"),
        (
            &kubeconfig_of(site, "stranger"),
            &["check"],
            "the Directories could not be read: directories.credreset.dev is forbidden",
        ),
    ] {
        let (code, out, error) = run(kubeconfig, arguments);
        assert_eq!((code, out.as_str(), error.lines().count()), (Some(1), "", 1), "{arguments:?}: {error}");
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
    assert_eq!(site.sandbox.count("reset-password") + site.sandbox.count("reset-mfa"), 25, "nothing more was sent");
}
