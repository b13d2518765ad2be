//! What is planned of each request: without a directory, by a directory, and what cannot be planned at all.
use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use super::{Folder, Sandbox, captured, directory, mfa, request, verdicts};

/// Nothing is asked, so nothing is needed.
#[test]
fn offline() {
    let folder = Folder::new();
    let annette = "annette.c@zylker.biz";
    let annotated =
        |name: &str, key: &str, value: &str| request(name, annette, json!({"metadata": {"annotations": {key: value}}}));
    let spec = |name: &str, patch: Value| request(name, annette, json!({ "spec": patch }));
    let cases = [
        (request("fine", annette, json!({})), "allowed", ""),
        (request("by-name", annette, json!({"spec": {"user": {"email": null, "username": "annette"}}})), "allowed", ""),
        (
            spec("short", json!({"reason": "because"})),
            "refused Invalid",
            "spec.reason: value is shorter than 8 characters",
        ),
        (spec("typo", json!({"validfor": "2h"})), "refused Invalid", "'validfor' was unexpected"),
        (
            spec("long", json!({"validFor": "169h"})),
            "refused Invalid",
            "validFor is at most 168h: ask again after a week",
        ),
        (spec("nobody", json!({"user": {"id": "1"}})), "refused Invalid", "exactly one of email, username and id"),
        (spec("lost", json!({"password": {"deliverTo": null}})), "refused Invalid", "must be delivered"),
        (spec("Name", json!({})), "refused Invalid", "metadata.name must be lower case"),
        (annotated("hook", "helm.sh/hook", "post-install"), "refused Invalid", "must not be a hook"),
        (annotated("hook-2", "argocd.argoproj.io/hook", "Sync"), "refused Invalid", "must not be a hook"),
        (
            annotated("replaced", "argocd.argoproj.io/sync-options", "Prune=false, Replace=true"),
            "refused Invalid",
            "Force=true or Replace=true",
        ),
        (annotated("options", "argocd.argoproj.io/sync-options", "Prune=false"), "allowed", ""),
        (annotated("forced", "kustomize.toolkit.fluxcd.io/force", "Enabled"), "refused Invalid", "applied with force"),
        (request("protected", "ceo@zylker.biz", json!({})), "refused UserProtected", "listed in spec.protect.users"),
        (request("stranger", "a@elsewhere.biz", json!({})), "refused NotAllowed", "No rule of Directory zylker allows"),
        (spec("too-long", json!({"validFor": "48h"})), "refused NotAllowed", "allows validFor up to"),
        (spec("old", json!({"requestedAt": "2026-11-20T09:00:00Z"})), "refused Lapsed", "nothing is sent"),
        (spec("lost-directory", json!({"directory": "zylkr"})), "refused DirectoryMissing", "no Directory named zylkr"),
        (
            request("elsewhere", annette, json!({"metadata": {"namespace": "kitchen"}})),
            "refused NotAllowed",
            "allows namespace kitchen",
        ),
    ];
    for (number, (object, ..)) in cases.iter().enumerate() {
        let mut object = object.clone();
        // Of several open requests for one user none is allowed.
        if object["spec"]["user"]["email"] == annette {
            object["spec"]["user"]["email"] = json!(format!("annette{number}@zylker.biz"));
        }
        folder.write(&format!("resets/{number:02}.yaml"), object.to_string());
    }
    folder.write("directories/zylker.yaml", directory("http://127.0.0.1:9"));
    let output = folder.plan(&["resets", "--directories", "directories", "--offline", "-o", "json"]);
    assert_eq!(output.status.code(), Some(2));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for ((object, verdict, expected), planned) in cases.iter().zip(report["requests"].as_array().unwrap()) {
        let name = &object["metadata"]["name"];
        let verdict_and_reason =
            [&planned["verdict"], &planned["reason"]].map(|v| v.as_str().unwrap_or_default()).join(" ");
        assert_eq!(verdict_and_reason.trim(), *verdict, "{name}: {planned:#}");
        assert!(planned["message"].as_str().unwrap_or_default().contains(expected), "{name}: {planned:#}");
    }
    // Without Directories nothing is known of rules, and the manifests are checked all the same.
    let one = |file: &str| folder.plan(&[file, "--offline"]).status.code();
    assert_eq!((one("resets/00.yaml"), one("resets/13.yaml"), one("resets/02.yaml")), (Some(0), Some(0), Some(2)));
    // The same request twice under other names, and two of one name.
    let twin = |name: &str| {
        let mut object = cases[0].0.clone();
        object["metadata"]["name"] = json!(name);
        object.to_string()
    };
    folder.write("twins.yaml", [twin("a"), twin("b"), twin("a")].join("\n---\n"));
    let output = folder.plan(&["twins.yaml", "--offline", "-o", "json"]);
    assert_eq!(verdicts(&output), ["a allowed", "b refused Repeated", "a refused Repeated"]);
    // What `new` writes passes, for one and for a whole incident.
    let crowd: Vec<String> = (1..=300).map(|n| format!("user{n:04}@zylker.biz")).collect();
    folder.write("crowd.csv", format!("user\n{}", crowd.join("\n")));
    let new =
        ["new", "--from-csv", "crowd.csv", "--directory", "zylker", "--reason", "Phished, INC-88", "--into", "inc"];
    assert!(Command::new(env!("CARGO_BIN_EXE_credreset")).args(new).current_dir(&folder.0).status().unwrap().success());
    let output = folder.plan(&["inc", "--offline", "--directories", "directories"]);
    let (code, out, _) = captured(&output);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.ends_with("300 allowed\n"), "{out}");
}

/// The directory itself is asked, with the Secrets beside the Directory.
#[test]
fn asks_the_directory() {
    let folder = Folder::new();
    let sandbox = Sandbox::at("127.0.0.1:0", &folder.0, &["--users".to_owned(), "300".to_owned()]);
    folder.write("directories.yaml", directory(&sandbox.url));
    let cases = [
        (request("annette", "annette.c@zylker.biz", json!({})), "allowed"),
        (mfa("annette-mfa", "annette.c@zylker.biz"), "allowed"),
        (request("bruno", "bruno.k@zylker.biz", json!({})), "refused UserNotConfirmed"),
        (request("daniel", "daniel.f@zylker.biz", json!({})), "refused UserInactive"),
        (request("ines", "ines.m@zylker.biz", json!({})), "refused UserFederated"),
        (request("erika", "erika.s@zylker.biz", json!({})), "refused UserProtected"),
        (request("nobody", "nobody@zylker.biz", json!({})), "refused UserNotFound"),
        (request("both", "support@zylker.biz", json!({})), "refused UserAmbiguous"),
    ];
    let all: Vec<String> = cases.iter().map(|(object, _)| object.to_string()).collect();
    folder.write("resets.yaml", all.join("\n---\n"));
    let plan = |output: &str| folder.plan(&["resets.yaml", "--directories", "directories.yaml", "-o", output]);
    let output = plan("json");
    let expected: Vec<String> =
        cases.iter().map(|(o, verdict)| format!("{} {verdict}", o["metadata"]["name"].as_str().unwrap())).collect();
    assert_eq!((output.status.code(), verdicts(&output)), (Some(2), expected));
    let (_, text, _) = captured(&plan("text"));
    for part in [
        "  ALLOWED   helpdesk/annette: Password of annette.c@zylker.biz in zylker\n",
        "  user      annette.c@zylker.biz (700012399), called Annette Charbonneau\n",
        "  rule      staff\n",
        "can no longer sign in with the old password; is signed out of web sessions; has to choose another password",
        "  steps     1. Generate a password of 20 characters.\n            2. Set it as the password of annette.c@zylker.biz",
        "  why       UserNotConfirmed: bruno.k@zylker.biz has not confirmed the account yet: nothing is sent.",
        "2 allowed, 6 refused\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    // Only looked at.
    assert_eq!((sandbox.count("reset-password"), sandbox.count("reset-mfa")), (0, 0));

    // Without the Secret, and without an answer, it cannot be determined.
    let only: Vec<String> = directory(&sandbox.url).split("---\n").skip(1).map(str::to_owned).collect();
    folder.write("no-secret.yaml", only.join("---\n"));
    folder.write("one.yaml", cases[0].0.to_string());
    let (code, text, _) = captured(&folder.plan(&["one.yaml", "--directories", "no-secret.yaml"]));
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("UNCLEAR") && text.contains("Secret zylker-zoho is not among the files"), "{text}");
    drop(sandbox);
    let (code, text, _) = captured(&folder.plan(&["one.yaml", "--directories", "directories.yaml"]));
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("UNCLEAR") && text.contains("DirectoryNotReady: Directory zylker is not Ready"), "{text}");
}

/// What takes longer than two seconds gives a sign of life on a terminal, and nowhere else.
#[test]
fn a_slow_plan_shows_how_far_it_is() {
    let folder = Folder::new();
    let sandbox = Sandbox::at("127.0.0.1:0", &folder.0, &[]);
    folder.write("directories.yaml", directory(&sandbox.url));
    folder.write("one.yaml", request("one", "annette.c@zylker.biz", json!({})).to_string());
    let flags = ["one.yaml", "--directories", "directories.yaml"];
    let slow = || sandbox.fault(json!({"call": "look-up", "fault": "delay", "milliseconds": 4000}));
    slow();
    let (code, out, error) = captured(&folder.plan(&flags));
    assert!(code == Some(0) && error.is_empty(), "{out}{error}");
    slow();
    // `script` (util-linux) makes a terminal.
    let call = format!("'{}' plan {} >out.txt", env!("CARGO_BIN_EXE_credreset"), flags.join(" "));
    let mut command = folder.command(Path::new("script"));
    let output = command.args(["-qec", &call, "/dev/null"]).env("TERM", "xterm").output().unwrap();
    let (code, shown, _) = captured(&output);
    assert!(code == Some(0) && shown.contains("planned 0 of 1 requests"), "{shown:?}");
    assert!(fs::read_to_string(folder.0.join("out.txt")).unwrap().ends_with("1 allowed\n"));
}

/// What programs read is described.
#[test]
fn the_schema_of_the_report() {
    let schema = serde_json::to_value(schemars::schema_for!(credreset::cli::plan::Report)).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas/plan.schema.json");
    let text = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
    if std::env::var_os("CREDRESET_UPDATE").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&path).unwrap(), "CREDRESET_UPDATE=1 writes {} anew", path.display());
    let folder = Folder::new();
    folder.write(
        "two.yaml",
        [request("a", "a@zylker.biz", json!({})), mfa("b", "b@zylker.biz")].map(|o| o.to_string()).join("\n---\n"),
    );
    let output = folder.plan(&["two.yaml", "--offline", "-o", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(
        validator.is_valid(&report),
        "{:?}",
        validator.iter_errors(&report).map(|e| e.to_string()).collect::<Vec<_>>()
    );
    assert!(!validator.is_valid(&json!({"verdict": "perhaps", "requests": []})));
}

/// One sentence, exit code 1, and nothing on standard output.
#[test]
fn what_cannot_be_planned() {
    let folder = Folder::new();
    folder.write("fine.yaml", request("fine", "annette.c@zylker.biz", json!({})).to_string());
    folder.write("binary.yaml", [0xff, 0xfe, 0x00, 0x80]);
    folder.write("broken.yaml", "kind: [CredentialReset\n  b: }");
    folder.write("other.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}");
    folder.write("empty.yaml", "");
    fs::File::create(folder.0.join("huge.yaml")).unwrap().set_len(100 << 20).unwrap();
    fs::create_dir(folder.0.join("nothing")).unwrap();
    for (arguments, expected) in [
        (&["nowhere.yaml", "--offline"][..], "nowhere.yaml cannot be read: No such file"),
        (&["binary.yaml", "--offline"], "binary.yaml is not a UTF-8 text file"),
        (&["huge.yaml", "--offline"], "huge.yaml is larger than 32 MiB"),
        (&["broken.yaml", "--offline"], "broken.yaml is not YAML: "),
        (&["other.yaml", "--offline"], "other.yaml contains no CredentialReset"),
        (&["empty.yaml", "--offline"], "empty.yaml contains no CredentialReset"),
        (&["nothing", "--offline"], "nothing contains no CredentialReset"),
        (&["-", "--offline"], "standard input contains no CredentialReset"),
        (&["fine.yaml", "--directories", "nowhere"], "nowhere cannot be read"),
        (&["fine.yaml", "--directories", "broken.yaml"], "broken.yaml is not YAML"),
        (&["fine.yaml"], "KUBECONFIG names /nowhere/kubeconfig, which does not exist"),
        (&["fine.yaml", "--base", "main", "--offline"], "git rev-parse: fatal: not a git repository"),
        (&["fine.yaml", "--ouput", "json"], "unexpected argument '--ouput' found"),
        (&["fine.yaml", "--output", "xml"], "invalid value 'xml' for '--output <OUTPUT>'"),
        (&[], "the following required arguments were not provided: <FILE|DIR|->"),
    ] {
        let (code, out, error) = captured(&folder.plan(arguments));
        assert_eq!((code, out.as_str()), (Some(1), ""), "{arguments:?}: {error}");
        assert!(error.starts_with("credreset: ") && error.contains(expected), "{arguments:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{arguments:?}: {error}");
    }
}
