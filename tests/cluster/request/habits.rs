//! The commands as people who know kubectl type them, each person with the chart's roles and no more; and the pages for the help desk and for
//! the person on call.
use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

use credreset::cli;
use serde_json::{Value, json};

use super::help_desk;
use crate::support::{SYSTEM, Setup, Site, TEAM, blocks, kubeconfig_of, password_reset};

const BINARY: &str = env!("CARGO_BIN_EXE_credreset");

fn run(program: &Path, kubeconfig: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(program);
    let output = command.args(arguments).env("KUBECONFIG", kubeconfig).stdin(Stdio::null()).output().unwrap();
    let [out, error] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), out, error)
}

#[test]
fn the_help_desk_and_the_person_on_call() {
    let site = Site::with(&Setup::default());
    site.directory("zylker", json!({"limits": {"requestTimeout": "1s", "minIntervalPerUser": "0s"}}));
    help_desk(&site);
    let hana = kubeconfig_of(&site, "hana");
    let _operator = site.operator();
    site.until_directory("zylker", "Connected");

    // The page of the help desk, from the first command to the last.
    let folder = site.dir.join("desk");
    fs::create_dir(&folder).unwrap();
    let as_hana = |commands: &str| site.shell(&folder, &format!("export KUBECONFIG='{}'\n{commands}", hana.display()));
    let shown = as_hana(&blocks("docs/help-desk.md", "sh").concat());
    for part in [
        "ALLOWED",
        "no user was looked up: You may not read Secret credreset-system/zylker-zoho",
        "\n1 allowed",
        "\ndone: credreset password NAME shows a delivered password\n",
        "the operator asks the directory for the reset\n",
        "done: the directory confirmed it\n",
        "its status became: applied\n",
        "not shown  details of the call: you may not read the operator's records\n",
        "next step  Give annette.c@zylker.biz the new password: credreset password annette-c-",
    ] {
        assert!(shown.contains(part), "{part:?} is not in\n{shown}");
    }
    assert!(!shown.contains('\u{1b}') && !shown.contains('✔'), "{shown}");
    let name = site.get(&["creset", "-n", TEAM])["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
    let (code, password, error) = run(Path::new(BINARY), &hana, &["password", &format!("creset/{name}"), "--stdout"]);
    assert_eq!((code, password.trim()), (Some(0), site.secret(TEAM, &name, "password").as_str()), "{error}");

    // An answer is lost: the page of the person on call.
    let lost = json!({"call": "reset-password", "user": "700012307", "times": 1, "fault": "apply-then-drop"});
    site.sandbox.fault(lost);
    site.apply(&password_reset("hiro", "hiro.t@zylker.biz", json!({"metadata": {"labels": {"incident": "inc-88"}}})));
    site.until("hiro", "OutcomeUnknown");
    let shown = site.shell(&folder, &blocks("docs/on-call.md", "sh").concat());
    for part in [
        "client    ",
        "leader    op/",
        "helpdesk/hiro",
        "outcome unknown: find out whether it is in force",
        "\n1 outcome unknown\n",
        "no open request in the cluster\n",
    ] {
        assert!(shown.contains(part), "{part:?} is not in\n{shown}");
    }
    // Ina may file requests, and not even see the Directory: her plan is of the request alone, and says so.
    let manifest = site.dir.join("jan.yaml");
    fs::write(&manifest, password_reset("jan", "jan.n@zylker.biz", json!({}))).unwrap();
    let arguments = ["plan", manifest.to_str().unwrap()];
    let (code, out, error) = run(Path::new(BINARY), &kubeconfig_of(&site, "ina"), &arguments);
    assert_eq!(code, Some(0), "{out}{error}");
    assert!(out.contains("Directory zylker is Ready and has a rule that allows it (you may not read it)"), "{out}");
    habits(&site, &hana, &name);
    on_a_terminal(&site, &hana, &name);
    completes(&site, &hana, &name);
}

/// Flags and forms of kubectl's.
fn habits(site: &Site, hana: &Path, name: &str) {
    let admin = site.kubeconfig();
    let credreset = Path::new(BINARY);
    let kubeconfig = hana.to_str().unwrap();
    let (_, by_flag, error) = run(credreset, Path::new("/nowhere"), &["list", "--kubeconfig", kubeconfig]);
    assert!(by_flag.contains(name) && by_flag.ends_with("\n1 outcome unknown, 1 done\n"), "{by_flag}{error}");
    let (_, impersonated, error) = run(credreset, admin, &["list", "-n", TEAM, "--as", "hana"]);
    assert_eq!(impersonated.lines().count(), by_flag.lines().count(), "{error}");
    for (arguments, expected) in [
        (&["list", "-A", "--as", "hana"][..], "the requests of the cluster could not be listed: "),
        (&["list", "--as", "nobody", "--as-group", "nothing"], "could not be listed: "),
        (&["explain", name, "-n", "default"], "it is in namespace helpdesk: add -n helpdesk"),
        (&["explain", name, "-n", "default", "--as-group=x", "--as=hana"], "could not be read: "),
        (&["explain", "nobody", "-n", TEAM], "there is no request nobody in namespace helpdesk, nor in another one"),
        (&["explain", "nobody", "-n", TEAM, "--as", "hana"], "if it is in another one, add -n NAMESPACE"),
        (&["explain", "-l", "incident=none", "-A"], "no request in the cluster has these labels"),
        (&["explain", name, "--context", "elsewhere"], "has no context elsewhere"),
        (&["approve", name, "-n", TEAM, "--yes"], "is over: the reset is in force, as was known at "),
    ] {
        let (code, out, error) = run(credreset, admin, arguments);
        assert_eq!((code, out.as_str(), error.lines().count()), (Some(1), "", 1), "{arguments:?}: {out}{error}");
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
    let (code, out, error) = run(credreset, admin, &["explain", "-l", "incident=inc-88", "-A"]);
    assert!(code == Some(0) && out.starts_with("request    helpdesk/hiro\n"), "{out}{error}");
    let (code, out, error) = run(credreset, admin, &["explain", name, "creset/hiro", "-n", TEAM]);
    assert!(code == Some(0) && out.matches("\nstatus     ").count() == 2, "{out}{error}");

    let (_, out, _) = run(credreset, admin, &["explain", "hiro", "-n", TEAM, "-o", "json"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    let schema = serde_json::to_value(schemars::schema_for!(cli::explain::Report)).unwrap();
    assert!(jsonschema::is_valid(&schema, &report), "{report:#}");
    let explained = &report["requests"][0];
    assert_eq!(
        (&explained["reason"], explained["stepsToSettle"].as_array().unwrap().len()),
        (&json!("OutcomeUnknown"), 5)
    );

    let (code, out, _) = run(credreset, admin, &["list", "-A", "-o", "json"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    let schema = serde_json::to_value(schemars::schema_for!(cli::list::Report)).unwrap();
    assert!(code == Some(0) && jsonschema::is_valid(&schema, &report), "{report:#}");
    let groups: Vec<&Value> = report["requests"].as_array().unwrap().iter().map(|request| &request["group"]).collect();
    assert_eq!(groups, [&json!("unknown"), &json!("done")]);

    let (_, out, _) = run(credreset, admin, &["version", "-o", "json"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    let schema = serde_json::to_value(schemars::schema_for!(cli::version::Report)).unwrap();
    assert!(jsonschema::is_valid(&schema, &report) && report["leader"]["holds"] == true, "{report:#}");
    let (code, out, _) = run(credreset, hana, &["version"]);
    assert!(code == Some(0) && out.contains(&format!("the Lease in namespace {SYSTEM}: you may not read it")), "{out}");
}

/// Colours, symbols and folded lines are for a terminal; `script` (util-linux) makes one.
fn on_a_terminal(site: &Site, hana: &Path, name: &str) {
    let on = |commands: &str| {
        let mut command = Command::new("script");
        let typed = format!("stty cols 60 rows 40; '{BINARY}' {commands}");
        command.args(["-qec", &typed, "/dev/null"]).env("KUBECONFIG", hana).env("TERM", "xterm").env_remove("NO_COLOR");
        let output = command.env_remove("CI").stdin(Stdio::null()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().replace('\r', "")
    };
    let shown = on(&format!("explain {name}"));
    let status = shown.lines().find(|line| line.starts_with("status ")).unwrap_or_else(|| panic!("{shown}"));
    assert!(status.contains("\u{1b}[32m✔ Applied\u{1b}[0m: "), "{shown:?}");
    let plain: Vec<String> = shown.lines().map(without_colours).collect();
    let labels = ["request", "reset", "reason", "status", "meaning", "next step", "timeline", "not shown"];
    for line in &plain {
        let is_labelled = labels.iter().any(|label| line.starts_with(label));
        assert!(is_labelled || line.starts_with("           ") || line.is_empty(), "{line:?} in {shown}");
        // A name and a command are not broken.
        assert!(line.chars().count() <= 60 || line.contains(name), "{line:?} in {shown}");
    }
    let listed = on("list");
    assert!(listed.contains("\u{1b}[1m\u{1b}[31m✘ outcome unknown\u{1b}[0m: "), "{listed:?}");
    let uncoloured = site.terminal(hana, &format!("credreset explain {name}"), "");
    assert!(!uncoloured.contains('\u{1b}') && uncoloured.contains("✔ Applied: "), "{uncoloured:?}");
}

fn without_colours(line: &str) -> String {
    let parts = line.split("\u{1b}[").enumerate();
    parts.map(|(n, part)| if n == 0 { part } else { part.split_once('m').map_or("", |(_, rest)| rest) }).collect()
}

/// The names of the cluster, for kubectl and for bash.
fn completes(site: &Site, hana: &Path, name: &str) {
    let plugin = site.dir.join("kubectl_complete-credreset");
    symlink(BINARY, &plugin).unwrap();
    let (code, out, error) = run(&plugin, hana, &["explain", "an"]);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    assert_eq!(out, format!("{name}\tannette.c@zylker.biz, applied\n:4\n"));
    let (_, out, _) = run(&plugin, site.kubeconfig(), &["settle", "-n", TEAM, "h"]);
    assert_eq!(out, "hiro\thiro.t@zylker.biz, outcome unknown\n:4\n");
    for (arguments, expected) in [
        (&["list", "-n", "help"][..], "helpdesk\t\n:4\n"),
        (&["check", "zyl"], "zylker\t\n:4\n"),
        // Who may see nothing is offered nothing.
        (&["explain", "--as", "stranger", "an"], ":4\n"),
    ] {
        assert_eq!(run(&plugin, site.kubeconfig(), arguments).1, expected, "{arguments:?}");
    }
}
