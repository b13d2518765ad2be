//! `credreset plan`, as a reviewer and a pipeline run it: on files, on a directory, on a repository.
#![cfg(test)]
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};

mod support;
use rayon::{iter::Either, prelude::*};
use readers::Must;
use support::{
    Sandbox,
    folder::{Folder, captured},
    merge, readers,
};

impl Folder {
    /// `credreset plan` in this folder.
    fn plan(&self, arguments: &[&str]) -> Output {
        self.command(Path::new(env!("CARGO_BIN_EXE_credreset"))).arg("plan").args(arguments).output().unwrap()
    }

    fn git(&self, arguments: &[&str]) {
        let identity = ["-c", "user.name=Hana", "-c", "user.email=hana@zylker.biz", "-c", "commit.gpgsign=false"];
        let output = self.command(Path::new("git")).args(identity).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A request of a moment ago, with `patch`.
fn request(name: &str, email: &str, patch: Value) -> Value {
    let asked = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(2);
    let mut object = json!({
        "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialReset",
        "metadata": {"name": name, "namespace": "helpdesk"},
        "spec": {
            "directory": "zylker", "user": {"email": email}, "mode": "Password",
            "password": {"generate": {"length": 20}, "deliverTo": {"secret": name}},
            "requestedAt": asked.to_string(), "reason": "Locked out, identity checked by phone, HELP-4711",
        },
    });
    merge(&mut object, patch);
    object
}

fn mfa(name: &str, email: &str) -> Value {
    request(name, email, json!({"spec": {"mode": "MFA", "password": null, "mfa": {"confirm": email}}}))
}

/// The Directory and the Secret of examples/zoho-sandbox, at `url`.
fn directory(url: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/zoho-sandbox/directory.yaml");
    fs::read_to_string(path).unwrap().replace("http://127.0.0.1:8090", url)
}

/// What is planned for each request of a JSON report, as `name verdict reason`.
fn verdicts(output: &Output) -> Vec<String> {
    let (_, out, error) = captured(output);
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{error}"));
    let of = |request: &Value, field: &str| request[field].as_str().unwrap_or_default().to_owned();
    let all = report["requests"].as_array().unwrap().iter();
    all.map(|r| ["name", "verdict", "reason"].map(|f| of(r, f)).join(" ").trim().to_owned()).collect()
}

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

/// A pull request with five manifests. Its comment is docs/plan-comment.md.
#[test]
fn a_pull_request() {
    let folder = Folder::new();
    let beside = Folder::new();
    let sandbox = Sandbox::at("127.0.0.1:0", &beside.0, &[]);
    let down =
        directory("http://127.0.0.1:9").replace("name: zylker}", "name: acme}").replace("zylker-zoho", "acme-zoho");
    folder.write("directories/all.yaml", format!("{}\n---\n{down}", directory(&sandbox.url)));
    let old = |name: &str| request(name, "hiro.t@zylker.biz", json!({"spec": {"requestedAt": "2026-11-20T09:00:00Z"}}));
    for name in ["kept", "edited", "gone", "moved"] {
        folder.write(&format!("resets/hiro-{name}.yaml"), old(&format!("hiro-{name}")).to_string());
    }
    folder.git(&["init", "--quiet", "--initial-branch=main"]);
    folder.git(&["add", "."]);
    folder.git(&["commit", "--quiet", "--message=before"]);
    folder.git(&["checkout", "--quiet", "-b", "change"]);
    folder.write("resets/annette.yaml", request("annette-locked-out", "annette.c@zylker.biz", json!({})).to_string());
    folder.write("resets/bruno.yaml", request("bruno-locked-out", "bruno.k@zylker.biz", json!({})).to_string());
    let acme = json!({"spec": {"directory": "acme"}});
    folder.write("resets/carla.yaml", request("carla-locked-out", "carla@zylker.biz", acme).to_string());
    let mut edited = old("hiro-edited");
    merge(&mut edited, json!({"spec": {"requestedAt": "2026-11-26T09:00:00Z"}}));
    folder.write("resets/hiro-edited.yaml", edited.to_string());
    folder.git(&["rm", "--quiet", "resets/hiro-gone.yaml"]);
    folder.git(&["mv", "resets/hiro-moved.yaml", "resets/elsewhere.yaml"]);
    folder.git(&["add", "."]);
    folder.git(&["commit", "--quiet", "--message=after"]);
    // Meanwhile, on main: of no concern here.
    folder.git(&["checkout", "--quiet", "main"]);
    folder.git(&["rm", "--quiet", "resets/hiro-kept.yaml"]);
    folder.git(&["commit", "--quiet", "--message=meanwhile"]);
    folder.git(&["checkout", "--quiet", "change"]);

    let plan = |output: &str| folder.plan(&["resets", "--base", "main", "--directories", "directories", "-o", output]);
    let output = plan("json");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        verdicts(&output),
        [
            "annette-locked-out allowed",
            "bruno-locked-out refused UserNotConfirmed",
            "carla-locked-out unclear DirectoryNotReady",
            "hiro-edited refused Edited",
            "hiro-gone nothing Deleted",
        ]
    );
    let (_, comment, _) = captured(&plan("markdown"));
    let comment = steady(&comment);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/plan-comment.md");
    if std::env::var_os("CREDRESET_UPDATE").is_some() {
        fs::write(&path, &comment).unwrap();
    }
    assert_eq!(comment, fs::read_to_string(&path).unwrap(), "CREDRESET_UPDATE=1 writes {} anew", path.display());
    // A folder without changes, and one file of it.
    let none = folder.plan(&["directories", "--base", "main", "--offline"]);
    assert_eq!(captured(&none), (Some(0), "no request\n".to_owned(), String::new()));
    let one = folder.plan(&["resets/hiro-edited.yaml", "--base", "main", "--offline", "-o", "json"]);
    assert_eq!(verdicts(&one), ["hiro-edited refused Edited"]);
    // What is not committed yet counts, too.
    folder.write("resets/new.yaml", mfa("new", "annette.c@zylker.biz").to_string());
    let one = folder.plan(&["resets/new.yaml", "--base", "main", "--offline", "-o", "json"]);
    assert_eq!(verdicts(&one), ["new allowed"]);
}

/// A pull request may hold what git takes for a repository, whose configuration names a program: it runs no program, and decides nothing
/// about what is planned.
#[test]
fn a_repository_in_the_folder_is_not_asked() {
    let (folder, inner) = (Folder::new(), Folder::new());
    let whole = |folder: &Folder| {
        folder.git(&["add", "--force", "--all"]);
        folder.git(&["commit", "--quiet", "--message=all"]);
    };
    folder.git(&["init", "--quiet", "--initial-branch=main"]);
    folder.write("resets/kept.yaml", mfa("kept", "hiro.t@zylker.biz").to_string());
    whole(&folder);
    folder.git(&["checkout", "--quiet", "-b", "change"]);
    folder.write("resets/evil.yaml", mfa("evil", "annette.c@zylker.biz").to_string());
    // Of this repository nothing differs from its `main`.
    inner.git(&["init", "--quiet", "--initial-branch=main"]);
    for name in ["kept", "evil"] {
        let file = format!("{name}.yaml");
        fs::copy(folder.0.join("resets").join(&file), inner.0.join(&file)).unwrap();
    }
    whole(&inner);
    inner.git(&["pack-refs", "--all"]);
    let copied = Command::new("cp")
        .arg("-r")
        .args(["HEAD", "objects", "packed-refs", "index"].map(|part| inner.0.join(".git").join(part)))
        .arg(folder.0.join("resets"))
        .status();
    assert!(copied.unwrap().success());
    folder.write("resets/refs/.keep", "");
    let ran = inner.0.join("ran");
    let program = format!("\tfsmonitor = \"touch {}; false\"\n", ran.display());
    let config = format!("[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = .\n{program}");
    folder.write("resets/config", config);
    whole(&folder);
    std::os::unix::fs::symlink("resets", folder.0.join("linked")).unwrap();
    fs::create_dir(folder.0.join("mixed")).unwrap();
    std::os::unix::fs::symlink("../resets/kept.yaml", folder.0.join("mixed/a.yaml")).unwrap();

    let output = folder.plan(&["resets", "--base", "main", "--offline", "-o", "json"]);
    assert_eq!(verdicts(&output), ["evil allowed"]);
    for (path, expected) in [
        ("linked", "linked is a symbolic link"),
        ("linked/evil.yaml", "linked is a symbolic link"),
        ("/proc/self", "/proc/self is not in the git repository around the current folder"),
        ("mixed", "mixed/a.yaml is not a regular file"),
    ] {
        let (code, _, error) = captured(&folder.plan(&[path, "--base", "main", "--offline"]));
        assert!(code == Some(1) && error.contains(expected), "{path}: {code:?} {error}");
    }
    let (code, _, error) = captured(&folder.plan(&["mixed", "--offline"]));
    assert!(code == Some(1) && error.contains("mixed/a.yaml is not a regular file"), "{code:?} {error}");
    // From within.
    let mut within = folder.command(Path::new(env!("CARGO_BIN_EXE_credreset")));
    within.current_dir(folder.0.join("resets")).args(["plan", ".", "--base", "main", "--offline"]);
    let (code, out, error) = captured(&within.output().unwrap());
    assert!(code == Some(1) && error.contains("git rev-parse: "), "{code:?} {out} {error}");
    assert!(!ran.exists(), "a program of the pull request has run");
    // A name that would act on a terminal or a CI log.
    folder.write("resets/a\n::error::b\u{1b}[2J.yaml", "}");
    let (_, _, error) = captured(&folder.plan(&["resets", "--offline"]));
    assert!(error.contains(r"a\u{a}::error::b\u{1b}[2J.yaml is not YAML") && error.lines().count() == 1, "{error}");
}

/// Two open requests for one user and the same credentials: one is a mistake, and a person has to say which.
#[test]
fn the_same_user_twice() {
    let folder = Folder::new();
    let sandbox = Sandbox::at("127.0.0.1:0", &folder.0, &[]);
    folder.write("directories.yaml", directory(&sandbox.url));
    let hiro = "hiro.t@zylker.biz";
    let by_id = json!({"spec": {"user": {"email": null, "id": "700012399"}, "requestedAt": time_ago(5)}});
    let other = json!({"spec": {"requestedAt": time_ago(6)}});
    for (name, object) in [
        ("a-hiro", request("a-hiro", hiro, json!({}))),
        ("b-hiro", request("b-hiro", "Hiro.T@zylker.biz", other.clone())),
        ("c-mfa", mfa("c-mfa", hiro)),
        ("d-annette", request("d-annette", "annette.c@zylker.biz", json!({}))),
        ("e-annette", request("e-annette", "", by_id)),
        ("f-ceo", request("f-ceo", "ceo@zylker.biz", json!({}))),
        ("g-ceo", request("g-ceo", "ceo@zylker.biz", other)),
    ] {
        folder.write(&format!("resets/{name}.yaml"), object.to_string());
    }
    // The directory shows that a name and an id are one user's. What is refused anyway is no second request.
    let output = folder.plan(&["resets", "--directories", "directories.yaml", "-o", "json"]);
    let expected = [
        "a-hiro unclear Twice",
        "b-hiro unclear Twice",
        "c-mfa allowed",
        "d-annette unclear Twice",
        "e-annette unclear Twice",
        "f-ceo refused UserProtected",
        "g-ceo refused UserProtected",
    ];
    assert_eq!((output.status.code(), verdicts(&output)), (Some(2), expected.map(str::to_owned).to_vec()));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let message = report["requests"][0]["message"].as_str().unwrap();
    assert!(message.contains("helpdesk/b-hiro (resets/b-hiro.yaml). ") && message.contains("Remove one."), "{message}");
    // Without a directory names in two spellings are one, and a name and an id are two.
    for name in ["f-ceo", "g-ceo", "e-annette"] {
        fs::remove_file(folder.0.join(format!("resets/{name}.yaml"))).unwrap();
    }
    for flags in [&["--offline"][..], &["--offline", "--directories", "directories.yaml"]] {
        let output = folder.plan(&[&["resets", "-o", "json"], flags].concat());
        let expected = ["a-hiro unclear Twice", "b-hiro unclear Twice", "c-mfa allowed", "d-annette allowed"];
        assert_eq!((output.status.code(), verdicts(&output)), (Some(3), expected.map(str::to_owned).to_vec()));
    }
}

fn time_ago(minutes: i64) -> String {
    (jiff::Timestamp::now() - jiff::SignedDuration::from_mins(minutes)).to_string()
}

/// A Directory that lets so many resets begin in an hour, and `count` requests of an hour ago, each valid for `valid_for`.
fn a_crowd(folder: &Folder, per_hour: u32, count: usize, valid_for: &str) {
    let limits = "  limits:\n";
    let limited = directory("http://127.0.0.1:9").replace(limits, &format!("{limits}    resetsPerHour: {per_hour}\n"));
    assert!(limited.contains("resetsPerHour"), "{limited}");
    folder.write("directories/zylker.yaml", limited);
    let patch = json!({"spec": {"validFor": valid_for, "requestedAt": time_ago(60), "requestedBy": "hana@zylker.biz"}});
    let all: Vec<String> = (1..=count)
        .map(|n| request(&format!("r{n:04}"), &format!("user{n:04}@zylker.biz"), patch.clone()).to_string())
        .collect();
    folder.write("resets/all.yaml", all.join("\n---\n"));
}

/// The limits are those of the set: how many begin now, when the last one does, and which would expire before their turn.
#[test]
fn a_set_queues() {
    let folder = Folder::new();
    a_crowd(&folder, 20, 70, "4h");
    let plan = |output: &str| folder.plan(&["resets", "--offline", "--directories", "directories", "-o", output]);
    // Twenty now, in an hour and in two; in three hours the requests have ended.
    let output = plan("json");
    assert_eq!(output.status.code(), Some(2));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let requests = report["requests"].as_array().unwrap();
    let of = |verdict: &str, reason: &str| {
        requests
            .iter()
            .filter(|r| r["verdict"] == verdict && r["reason"].as_str().unwrap_or_default() == reason)
            .count()
    };
    assert_eq!((of("allowed", ""), of("allowed", "LimitReached"), of("refused", "Expired")), (20, 40, 10));
    let queue = &report["queues"][0];
    assert_eq!(
        json!([
            queue["directory"],
            queue["resetsPerHour"],
            queue["begun"],
            queue["others"],
            queue["atOnce"],
            queue["later"],
            queue["expire"]
        ]),
        json!(["zylker", 20, null, 0, 20, 40, 10])
    );
    let starts: BTreeSet<jiff::Timestamp> =
        requests.iter().filter_map(|r| r["startsAt"].as_str()).map(|at| at.parse().unwrap()).collect();
    let last: jiff::Timestamp = queue["lastAt"].as_str().unwrap().parse().unwrap();
    assert!(starts.len() >= 2 && starts.last() == Some(&last), "{starts:?}");
    let ahead = last.duration_since(jiff::Timestamp::now());
    assert!(ahead > jiff::SignedDuration::from_mins(115) && ahead <= jiff::SignedDuration::from_hours(2), "{ahead}");
    // Sums first, the limit once, and what is the same for all once.
    let (_, text, _) = captured(&plan("text"));
    assert!(
        text.starts_with(
            "60 allowed, 10 refused\nzylker: 20 resets an hour (assuming that none began in the last hour): 20 can begin at once, the last \
             of 60 at about "
        ),
        "{text}"
    );
    assert!(
        text.contains("; at least 10 would expire before their turn.\n")
            && text.ends_with("\n60 allowed, 10 refused\n"),
        "{text}"
    );
    assert_eq!(text.matches("  steps     1. Generate a password").count(), 1, "{text}");
    assert_eq!(text.matches("assuming that none began").count(), 1, "{text}");
    let refused = text
        .lines()
        .filter(|line| line.contains("why       Expired: Directory zylker allows 20 resets an hour,"))
        .count();
    assert_eq!(refused, 10, "{text}");
    let comment = captured(&plan("markdown")).1;
    assert!(comment.contains("\nLimit of <code>zylker</code>: 20 resets an hour ("), "{comment}");
    // A limit of none.
    a_crowd(&folder, 0, 2, "4h");
    let output = plan("json");
    assert_eq!(verdicts(&output), ["r0001 refused Expired", "r0002 refused Expired"]);
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

/// The cells of each row of a comment's tables.
fn rows(comment: &str) -> Vec<Vec<String>> {
    use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    for event in Parser::new_ext(comment, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::TableCell) => cell.clear(),
            Event::End(TagEnd::TableCell) => row.push(std::mem::take(&mut cell)),
            Event::End(TagEnd::TableRow | TagEnd::TableHead) => rows.push(std::mem::take(&mut row)),
            Event::Text(text) | Event::Code(text) => cell += &text,
            Event::InlineHtml(tag) if &*tag == "<br>" => cell.push(' '),
            _ => {}
        }
    }
    rows
}

/// A comment on a thousand requests has what a reviewer judges by, in a size that GitHub (65,536 characters) and GitLab (a million) take.
#[test]
fn the_comment_on_a_thousand() {
    let folder = Folder::new();
    a_crowd(&folder, 1000, 1000, "4h");
    let hostile = "| <b>x</b> @org/everyone é\u{1f98a} `".repeat(20);
    for n in 1..=80 {
        let patch = json!({"spec": {"reason": format!("{hostile}{n}"), "requestedBy": hostile.chars().take(200).collect::<String>()}});
        folder.write(
            &format!("resets/mean{n}.yaml"),
            request(&format!("mean{n}"), &format!("ceo{n}@elsewhere.biz"), patch).to_string(),
        );
    }
    let plan = |flags: &[&str]| {
        let all = ["resets", "--offline", "--directories", "directories", "-o", "markdown"];
        captured(&folder.plan(&[&all, flags].concat()))
    };
    let (code, comment, error) = plan(&["--whole", "whole.md", "--link", "https://ci.example/jobs/7"]);
    assert_eq!(code, Some(2), "{error}");
    assert!(comment.len() <= 60_000 && comment.len() > 20_000, "{} bytes", comment.len());
    assert!(comment.starts_with("### Resets: 1000 allowed, 80 refused\n"), "{comment}");
    let table = rows(&comment);
    let sums = table.iter().find(|row| row[0] == "1000 allowed").unwrap();
    assert_eq!(
        sums[1..],
        [
            "Password in zylker",
            "Locked out, identity checked by phone, HELP-4711",
            "hana@\u{200b}zylker.biz",
            "a Secret each in helpdesk"
        ]
    );
    let refused = table.iter().filter(|row| row[0] == "❌ refused").collect::<Vec<_>>();
    assert!(
        refused.len() == 80 && refused.iter().all(|row| row.len() == 3 && row[2].starts_with("NotAllowed: ")),
        "{refused:?}"
    );
    let shown = table.iter().filter(|row| row[0] == "✅ allowed").collect::<Vec<_>>();
    assert_eq!(shown.len(), 10);
    assert_eq!(
        shown[0][1..],
        [
            "user0001@\u{200b}zylker.biz helpdesk/r0001",
            "Password in zylker",
            "Locked out, identity checked by phone, HELP-4711",
            "hana@\u{200b}zylker.biz",
            "Secret helpdesk/r0001"
        ]
    );
    assert_eq!(comment.matches("1. Generate a password").count(), 1, "{comment}");
    assert!(
        comment
            .ends_with("\n**990 requests are left out here**: [the whole plan](https://ci.example/jobs/7) has all.\n"),
        "{comment}"
    );
    // The whole plan has every one, with what a person wrote in full.
    let whole = fs::read_to_string(folder.0.join("whole.md")).unwrap();
    let of_whole = rows(&whole);
    let main = of_whole.iter().filter(|row| row.len() == 6 && !row[0].is_empty()).count();
    assert_eq!(main, 1080);
    // Smaller bounds hold to the byte, and cut no row.
    for bound in [2000, 5000, 20_000] {
        let (_, comment, _) = plan(&["--max-bytes", &bound.to_string()]);
        assert!(comment.len() <= bound, "{bound}: {}", comment.len());
        assert!(comment.contains("**10") && comment.contains("left out here"), "{bound}: {comment}");
        let lines = comment.lines().filter(|line| line.starts_with("| ")).count();
        let (found, heads) = (rows(&comment), comment.matches("|---|").count());
        assert!(found.len() == lines && heads > 0, "{bound}: {comment}");
        assert!(found.iter().all(|row| [3, 5, 6].contains(&row.len())), "{bound}: {found:?}");
    }
    for (flags, expected) in [
        (["--max-bytes", "100"], "invalid value '100' for '--max-bytes <BYTES>'"),
        (["--link", "javascript:alert(1)"], "not an address such as https://ci.example/jobs/7"),
        (["--link", "https://ci.example/)[x](y"], "not an address such as"),
        (["--whole", "no/such/folder"], "no/such/folder cannot be written"),
    ] {
        let (code, out, error) = plan(&flags);
        assert!(code == Some(1) && out.is_empty() && error.contains(expected), "{flags:?}: {error}");
    }
}

/// What a requester wrote into a request is text in the comment: no link, no picture, no emphasis, no mention.
#[test]
fn the_comment_shows_text() {
    use pulldown_cmark::{Event, Options, Parser, Tag};
    let folder = Folder::new();
    let mean = "[approved](https://evil.example) ![x](https://evil.example/p.png) **bold** __bold__ ~~gone~~ `code` <b>x</b> \\*x\\* \
                &lt;b&gt; @org/everyone #12 \\#12 https://evil.example/a WWW.evil.example | <https://evil.example> [a]: https://evil.example";
    for (n, patch) in [
        json!({"metadata": {"name": mean}}),
        json!({"metadata": {"namespace": mean}}),
        json!({"spec": {"reason": mean, "requestedBy": mean}}),
        json!({"spec": {"user": {"email": mean}}}),
        json!({"spec": {"user": {"email": null, "username": mean}, "mfa": {"confirm": mean}}}),
        json!({"spec": {"directory": mean, "mode": mean}}),
        json!({"spec": {mean: mean}}),
    ]
    .into_iter()
    .enumerate()
    {
        let mut object = mfa(&format!("mean-{n}"), "annette.c@zylker.biz");
        merge(&mut object, patch);
        folder.write(&format!("resets/{n}.yaml"), object.to_string());
    }
    let (_, comment, error) = captured(&folder.plan(&["resets", "--offline", "-o", "markdown"]));
    assert!(comment.contains("evil.example"), "{comment}{error}");
    let (mut tags, mut text) = (BTreeSet::new(), String::new());
    for event in Parser::new_ext(&comment, Options::all()) {
        match event {
            Event::Start(Tag::Link { .. } | Tag::Image { .. } | Tag::Emphasis | Tag::Strong | Tag::Strikethrough)
            | Event::Code(_) => panic!("{event:?} is in: {comment}"),
            Event::InlineHtml(tag) | Event::Html(tag) => drop(tags.insert(tag.trim().to_owned())),
            Event::Text(part) => text += &part,
            _ => {}
        }
    }
    let own = ["<code>", "</code>", "<br>", "<details><summary>", "</details>"];
    assert!(tags.iter().all(|tag| own.iter().any(|own| tag.starts_with(own))), "{tags:?} are in: {comment}");
    // What code hosts look for in the text that is shown.
    for link in ["://", "www.", "WWW."] {
        assert!(!text.contains(link), "{link} is in: {text}");
    }
    assert!(comment.split('@').skip(1).all(|rest| rest.starts_with("&#8203;")), "a user is mentioned: {comment}");
    assert!(!comment.contains(" #12") && !comment.contains(r"\#12"), "an issue is named: {comment}");
}

/// Hundreds of folders: what `plan` lists is what kubectl, kustomize and a reader of YAML 1.1 find there; or `plan` refuses the folder.
#[test]
fn every_tool_sees_what_is_planned() {
    const FOLDERS: usize = 500;
    let root = Folder::new();
    let mut random = readers::Random(20_261_128);
    let folders: Vec<_> = (0..FOLDERS).map(|number| readers::write(&root, &mut random, number)).collect();
    let plan = |path: &Path, must: Must| {
        let (code, out, error) = captured(&root.plan(&[path.to_str().unwrap(), "--offline", "-o", "json"]));
        let as_it_must = match must {
            Must::Accept => code == Some(0),
            Must::Refuse => matches!(code, Some(1 | 2)),
            Must::Agree => matches!(code, Some(0..=2)),
        };
        if !as_it_must {
            let why: Vec<&str> = out.lines().filter(|line| line.contains("\"message\"")).collect();
            return Err(format!("{}: {must:?}, {code:?} {why:?} {error}", path.display()));
        }
        Ok((code == Some(0)).then(|| (path.to_owned(), readers::planned(&serde_json::from_str(&out).unwrap()))))
    };
    let (planned, wrong): (Vec<_>, Vec<String>) =
        folders.par_iter().partition_map(|(path, must)| match plan(path, *must) {
            Ok(listed) => Either::Left(listed),
            Err(wrong) => Either::Right(wrong),
        });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let accepted: Vec<_> = planned.into_iter().flatten().collect();
    let (paths, listed): (Vec<_>, Vec<_>) = accepted.into_iter().unzip();
    let mut listed = listed.concat();
    listed.sort();
    // Neither by refusing nor by accepting everything.
    let mutated = FOLDERS / 5 * 2;
    let surely = FOLDERS / 5 * 2;
    assert!((surely + mutated / 10..=surely + mutated / 2).contains(&paths.len()), "{} accepted", paths.len());
    for (tool, seen) in readers::tools(&root.0, &paths) {
        let only = |these: &[readers::Seen], those: &[readers::Seen]| {
            these.iter().filter(|one| !those.contains(one)).cloned().collect::<Vec<_>>()
        };
        assert!(seen == listed, "{tool} alone: {:#?}\nplan alone: {:#?}", only(&seen, &listed), only(&listed, &seen));
    }
}

/// A refusal is reported with file, line and what to do, also in a comment; beside it the others are planned.
#[test]
fn what_tools_read_differently_is_refused() {
    let root = Folder::new();
    let all = readers::odd("odd");
    all.par_iter().enumerate().for_each(|(number, (file, text, expected))| {
        root.write(&format!("{number}/fine.yaml"), mfa("fine", "annette.c@zylker.biz").to_string());
        root.write(&format!("{number}/{file}"), text);
        let folder = number.to_string();
        let output = root.plan(&[&folder, "--offline", "-o", "json"]);
        let (code, _, error) = captured(&output);
        let name = format!("{number}/{file}");
        if code == Some(1) {
            assert!(error.contains(&format!("{name} ")) && error.contains(expected), "{name}: {error}");
            return;
        }
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let refused: Vec<&Value> =
            report["requests"].as_array().unwrap().iter().filter(|r| r["reason"] == "NotPlanned").collect();
        assert!(code == Some(2) && report["verdict"] == "refused" && refused.len() == 1, "{name}: {report:#}");
        assert!(refused[0]["file"] == *name && refused[0]["verdict"] == "refused", "{name}: {report:#}");
        assert!(refused[0]["message"].as_str().unwrap().contains(expected), "{name}: {report:#}");
        assert!(verdicts(&output).contains(&"fine allowed".to_owned()), "{name}: {report:#}");
    });
    let text = captured(&root.plan(&["0", "--offline"])).1;
    assert!(
        text.contains("  REFUSED   0/kustomization.yaml: not planned\n  why       NotPlanned: With a kustomization,"),
        "{text}"
    );
    let comment = captured(&root.plan(&["0", "--offline", "-o", "markdown"])).1;
    assert!(
        comment.contains("| ❌ refused | <code>0/kustomization.yaml</code> | NotPlanned: With a kustomization,"),
        "{comment}"
    );
    // Where there is no request, that is reported first.
    let (code, _, error) = captured(&root.plan(&["0/kustomization.yaml", "--offline"]));
    assert!(
        code == Some(1)
            && error.contains("0/kustomization.yaml contains no CredentialReset. 0/kustomization.yaml: An object"),
        "{error}"
    );
}

/// What is committed is planned from the commit: no link, attribute or flag of the index has another text planned. What is not committed
/// counts, too, as it is in the folder.
#[test]
fn commits_are_planned() {
    let folder = Folder::new();
    let plan = || {
        let output = folder.plan(&["resets", "--base", "main", "--offline", "-o", "json"]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.code() == Some(1) { vec![error] } else { verdicts(&output) }
    };
    let commit = || folder.git(&["commit", "--quiet", "--all", "--message=more"]);
    folder.git(&["init", "--quiet", "--initial-branch=main"]);
    folder.write("resets/old.yaml", mfa("old", "hiro.t@zylker.biz").to_string());
    folder.git(&["add", "."]);
    commit();
    folder.git(&["checkout", "--quiet", "-b", "change"]);
    folder.write("resets/a.yaml", mfa("committed", "annette.c@zylker.biz").to_string());
    folder.write("resets/b.yaml", mfa("absent", "bruno.k@zylker.biz").to_string());
    folder.git(&["add", "."]);
    commit();
    // Git is configured not to look at the folder.
    folder.git(&["update-index", "--assume-unchanged", "resets/a.yaml"]);
    folder.git(&["update-index", "--skip-worktree", "resets/b.yaml"]);
    folder.write("resets/a.yaml", mfa("other", "annette.c@zylker.biz").to_string());
    fs::remove_file(folder.0.join("resets/b.yaml")).unwrap();
    assert_eq!(plan(), ["committed allowed", "absent allowed"]);
    // It is configured to look again.
    folder.git(&["update-index", "--no-assume-unchanged", "resets/a.yaml"]);
    folder.git(&["update-index", "--no-skip-worktree", "resets/b.yaml"]);
    assert_eq!(plan(), ["other allowed"]);
    folder.git(&["checkout", "--quiet", "--force", "change"]);

    // Links and submodules are refused where they are committed, whatever is in the folder.
    let id = "0123456789012345678901234567890123456789";
    for (mode, expected) in [("120000", "resets/part is not a regular file"), ("160000", "resets/part is a submodule")]
    {
        let blob = folder.command(Path::new("git")).args(["hash-object", "-w", "resets/a.yaml"]).output().unwrap();
        let id = if mode == "120000" { captured(&blob).1.trim().to_owned() } else { id.to_owned() };
        folder.git(&["update-index", "--add", "--cacheinfo", &format!("{mode},{id},resets/part")]);
        folder.git(&["commit", "--quiet", "--message=part"]);
        let printed = plan();
        assert!(printed.len() == 1 && printed[0].contains(expected), "{printed:?}");
        folder.git(&["reset", "--quiet", "--hard", "HEAD~"]);
    }

    // What changes the meaning of others is refused also where it was there before.
    folder.git(&["checkout", "--quiet", "main"]);
    folder.write("resets/kustomization.yaml", "resources: [old.yaml]\n");
    folder.git(&["add", "."]);
    commit();
    folder.git(&["checkout", "--quiet", "-b", "later"]);
    folder.write("resets/c.yaml", mfa("later", "annette.c@zylker.biz").to_string());
    folder.write("resets/.d.yaml", "{apiVersion: v1, kind: List, items: []}\n---\n{apiVersion: v1, kind: ConfigMap}\n");
    folder.git(&["add", "."]);
    commit();
    assert_eq!(plan(), ["refused NotPlanned", "refused NotPlanned", "later allowed"]);
    let whole = folder.plan(&[".", "--base", "main", "--offline", "-o", "json"]);
    assert_eq!(verdicts(&whole), ["refused NotPlanned", "refused NotPlanned", "later allowed"]);
    // A file that could not be read is fixed.
    folder.git(&["checkout", "--quiet", "main"]);
    folder.write("resets/broken.yaml", "}");
    folder.git(&["rm", "--quiet", "resets/kustomization.yaml"]);
    folder.git(&["add", "."]);
    commit();
    folder.git(&["checkout", "--quiet", "-b", "fixed"]);
    folder.write("resets/broken.yaml", mfa("fixed", "annette.c@zylker.biz").to_string());
    commit();
    assert_eq!(plan(), ["fixed allowed"]);
    // In the folder it is of another encoding; tools that know nothing of that get it as it is in the commit.
    folder.write(".gitattributes", "resets/broken.yaml working-tree-encoding=UTF-16LE-BOM\n");
    // It is not there while the index is looked through: git would compare it by its new encoding.
    fs::remove_file(folder.0.join("resets/broken.yaml")).unwrap();
    folder.git(&["add", ".gitattributes"]);
    folder.git(&["commit", "--quiet", "--message=more"]);
    folder.git(&["checkout", "--quiet", "--", "resets/broken.yaml"]);
    assert_eq!(fs::read(folder.0.join("resets/broken.yaml")).unwrap()[..2], [0xff, 0xfe]);
    assert_eq!(plan(), ["fixed allowed"]);
}

/// Without times and digests, which are others at every run.
fn steady(text: &str) -> String {
    let words = text.split_inclusive([' ', '\n', '<', '>', ',', ';']).map(|word| {
        let end = word.len() - usize::from(word.ends_with([' ', '\n', '<', '>', ',', ';']));
        let (inner, rest) = word.split_at(end);
        let bare = inner.trim_end_matches('.');
        match bare.parse::<jiff::Timestamp>() {
            Ok(_) => format!("2026-11-26T09:00:00Z{}{rest}", &inner[bare.len()..]),
            Err(_) if bare.len() == 64 && bare.chars().all(|c| c.is_ascii_hexdigit()) => {
                format!("{}{rest}", "9f".repeat(32))
            }
            Err(_) => word.to_owned(),
        }
    });
    words.collect()
}

/// What a pipeline runs, of both examples.
#[test]
fn pipelines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Folder::new();
    let beside = Folder::new();
    let sandbox = Sandbox::at("127.0.0.1:0", &beside.0, &[]);
    folder.write("directories/zylker.yaml", directory(&sandbox.url));
    folder.git(&["init", "--quiet", "--initial-branch=main"]);
    folder.git(&["add", "."]);
    folder.git(&["commit", "--quiet", "--message=before"]);
    folder.git(&["branch", "change"]);
    folder.git(&["checkout", "--quiet", "change"]);
    let binary = Path::new(env!("CARGO_BIN_EXE_credreset")).parent().unwrap();
    let run = |flags: &[&str]| {
        let output = Command::new("sh")
            .arg(root.join("examples/ci/plan.sh"))
            .args(["main", "comment.md"])
            .args(flags)
            .current_dir(&folder.0)
            .env("PATH", format!("{}:{}", binary.display(), std::env::var("PATH").unwrap()))
            .env("KUBECONFIG", "/nowhere")
            .env("PLAN_LINK", "https://ci.zylker.biz/jobs/7?a=b")
            .output()
            .unwrap();
        (output.status.code(), fs::read_to_string(folder.0.join("comment.md")).unwrap())
    };
    for (name, email, code, expected) in [
        ("annette", "annette.c@zylker.biz", 0, "### Resets: 1 allowed\n"),
        ("bruno", "bruno.k@zylker.biz", 2, "### Resets: 1 allowed, 1 refused\n"),
    ] {
        folder.write(&format!("resets/{name}.yaml"), request(name, email, json!({})).to_string());
        folder.git(&["add", "."]);
        folder.git(&["commit", "--quiet", "--message=more"]);
        let (ended, comment) = run(&["--directories", "directories"]);
        assert!(comment.starts_with(expected), "{comment}");
        assert_eq!(ended, Some(code));
        assert_eq!(fs::read_to_string(folder.0.join("whole.md")).unwrap(), comment, "of a few nothing is left out");
    }
    let (code, comment) = run(&[]);
    assert_eq!((code, comment.lines().count()), (Some(1), 1), "{comment}");
    // The pipelines are YAML, and run that script with flags that there are.
    for (file, job) in [("github", "/jobs/plan"), ("gitlab", "/plan resets")] {
        let text = fs::read_to_string(root.join(format!("examples/ci/{file}.yaml"))).unwrap();
        let pipeline: Value = serde_saphyr::from_str(&text).unwrap();
        let job = pipeline.pointer(job).unwrap_or_else(|| panic!("{file} has no such job"));
        assert!(job.to_string().contains("plan.sh"), "{file}");
        let variables = if job["env"].is_null() { &job["variables"] } else { &job["env"] };
        let flags = variables["PLAN_FLAGS"].as_str().unwrap();
        let help = Command::new(env!("CARGO_BIN_EXE_credreset")).args(["plan", "--help"]).output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        for flag in flags.split(' ').filter(|word| word.starts_with("--")) {
            assert!(help.contains(flag), "{file}: {flag}");
        }
    }
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
