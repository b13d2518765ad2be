//! docs/tutorial.md, followed word for word in a fresh copy of the project, on the cluster that it starts itself.
use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::support::{Setup, Site, blocks, gist, not_run, path, text};

/// A reader who follows it, with all that was started on the way: it ends with this, and also if this process is killed.
struct Follower {
    dir: PathBuf,
    shell: Child,
    /// Kills the shell's process group once its stdin closes.
    guard: Child,
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
        let _ = self.shell.wait();
        let down =
            environment(&mut Command::new(path("tests/support/servers/cluster.sh")), &self.dir).arg("down").output();
        if !std::thread::panicking() {
            assert!(down.unwrap().status.success());
            fs::remove_dir_all(&self.dir).unwrap();
        }
    }
}

/// What would otherwise be left in the home folder, or met there. The cluster's servers are in sessions of their own.
fn environment<'a>(command: &'a mut Command, dir: &Path) -> &'a mut Command {
    for name in ["cache", "config", "data"] {
        command.env(format!("HELM_{}_HOME", name.to_uppercase()), dir.join("helm").join(name));
    }
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "KUBECONFIG"] {
        command.env_remove(name);
    }
    command
        .env("KUBECACHEDIR", dir.join("kube-cache"))
        .env("CLUSTERS_RUN", dir.join("clusters"))
        .env("INSTANCE", "tutorial")
        .env("DIE_WITH", std::process::id().to_string())
}

#[test]
fn tutorial_is_followed_word_for_word() {
    if std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty()) {
        not_run("NOT RUN: the tutorial starts an API server of its own (unset KUBECONFIG)");
        return;
    }
    let dir = std::env::temp_dir().join(format!("credreset-tutorial-{}", std::process::id()));
    let (clone, tools) = (dir.join("credreset"), dir.join("tools"));
    fs::create_dir_all(&clone).unwrap();
    fs::create_dir_all(&tools).unwrap();
    let copy = r#"tar -C "$0" -c --exclude=./target --exclude='./.*' . | tar -C "$1" -x"#;
    let copied = Command::new("bash").args(["-o", "pipefail", "-c", copy]).args([&path("."), &clone]).status();
    assert!(copied.unwrap().success());
    // What it builds is what built this test: it is not built a second time.
    let cargo = tools.join("cargo");
    let built = env!("CARGO_BIN_EXE_credreset");
    let stub =
        format!("#!/bin/sh\n[ \"$*\" = build ] && mkdir -p target/debug && ln -s '{built}' target/debug/credreset\n");
    fs::write(&cargo, stub).unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    // Tests run side by side, so a port that is free stands for the sandbox's usual one.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let directory = clone.join("examples/zoho-sandbox/directory.yaml");
    fs::write(&directory, fs::read_to_string(&directory).unwrap().replace("8090", &port)).unwrap();
    let commands = blocks("docs/tutorial.md", "sh").concat();
    fs::write(dir.join("commands.sh"), commands.replace("8090", &port)).unwrap();

    let output = fs::File::create(dir.join("output")).unwrap();
    let mut command = Command::new("bash");
    command.args(["-euxo", "pipefail"]).arg(dir.join("commands.sh")).current_dir(&clone).process_group(0);
    command.env("PATH", format!("{}:{}", tools.display(), std::env::var("PATH").unwrap()));
    command.stdin(Stdio::null()).stderr(output.try_clone().unwrap()).stdout(output);
    let shell = environment(&mut command, &dir).spawn().unwrap();
    let end = r#"trap "" INT TERM HUP; read -r ended; kill -KILL -- "-$0" 2>&-; true"#;
    let guard = Command::new("sh").args(["-c", end, &shell.id().to_string()]).stdin(Stdio::piped()).spawn().unwrap();
    let mut follower = Follower { dir: dir.clone(), shell, guard };
    let status = follower.shell.wait().unwrap();
    let output = fs::read_to_string(dir.join("output")).unwrap();
    assert!(status.success(), "{output}");

    let mut printed = output.lines().map(gist);
    for line in blocks("docs/tutorial.md", "text").concat().lines() {
        let wanted = gist(line);
        assert!(
            printed.any(|line| line == wanted),
            "the tutorial shows {line:?} ({wanted}), which is not there, or not then:\n{output}"
        );
    }
    // All that it made is gone.
    let left: Vec<_> = ["resets", "refused", "operator.log", "operator.kubeconfig"]
        .into_iter()
        .filter(|name| clone.join(name).exists())
        .collect();
    assert_eq!((left, dir.join("clusters").exists()), (vec![], false));
}

/// What docs/operations.md has people type, on a site where it makes sense.
#[test]
fn operations_commands_run() {
    let site = Site::with(&Setup { sandbox: ["--users", "3"].map(str::to_owned).to_vec(), ..Setup::default() });
    site.usual_directory();
    let _operator = site.operator();
    site.until_directory("zylker", "Connected");
    fs::write(site.dir.join("phished.csv"), "user\nuser0001@zylker.biz\nuser0002@zylker.biz\n").unwrap();
    let example: Vec<Value> = serde_saphyr::from_multiple(&text("examples/zoho-sandbox/directory.yaml")).unwrap();
    let credentials = example[0]["stringData"].as_object().unwrap().iter();
    let lines: Vec<String> = credentials.map(|(key, value)| format!("{key}={}", value.as_str().unwrap())).collect();
    let file = site.dir.join("zylker-zoho.env");
    fs::write(&file, lines.join("\n")).unwrap();

    let shown = site.shell(&site.dir, &blocks("docs/operations.md", "sh").concat());
    fs::remove_file(file).unwrap();
    for part in ["2 requests in resets/inc-88", "2 allowed", "secret/zylker-zoho", "user0002@zylker.biz"] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    assert!(shown.contains(&site.leader()), "{shown}");
    assert_eq!((site.sandbox.count("reset-password"), site.records().len()), (2, 2));
    // What is not run here is run elsewhere: what the page says about that is there.
    let page = text("docs/operations.md");
    for file in page.split('`').skip(1).step_by(2).filter(|code| Path::new(code).extension().is_some_and(|e| e == "rs"))
    {
        assert!(path(file).exists(), "docs/operations.md names {file}");
    }
}
