//! Plans of what differs from another commit, in a repository and in a pipeline.
use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use super::{Folder, Sandbox, captured, directory, merge, mfa, request, verdicts};

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
