//! Commands of pages, in a shell or on a terminal.
use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use super::{Site, helm};

impl Site {
    /// Runs commands of a page, which use kubectl, helm and credreset, in this folder; returns what they print.
    pub fn shell(&self, folder: &Path, commands: &str) -> String {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", commands]).current_dir(folder).stdin(Stdio::null());
        let output = self.tools(&mut command).output().expect("bash");
        assert!(output.status.success(), "{commands}: {}\n{}", String::from_utf8_lossy(&output.stderr), self.logs());
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs commands on a terminal with this kubeconfig, and types these answers; returns what the terminal shows.
    pub fn terminal(&self, kubeconfig: &Path, commands: &str, answers: &str) -> String {
        // `script` (util-linux) makes a terminal.
        let mut command = Command::new("script");
        let typed = format!("export KUBECONFIG='{}'; set -eu\n{commands}", kubeconfig.display());
        command.args(["-qec", &typed, "/dev/null"]).env("SHELL", "/bin/bash").env("NO_COLOR", "1");
        let mut child = self.tools(&mut command).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script");
        child.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{commands}: {printed}");
        printed
    }

    /// The command finds kubectl, helm, credreset and the cluster, and leaves nothing in the home folder.
    pub(super) fn tools<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let helm = helm();
        let programs = [&self.kubectl.program, &helm, Path::new(env!("CARGO_BIN_EXE_credreset"))];
        let folders = programs.map(|program| program.parent().unwrap().display().to_string()).join(":");
        for home in ["CACHE", "CONFIG", "DATA"] {
            command.env(format!("HELM_{home}_HOME"), self.dir.join("helm").join(home.to_lowercase()));
        }
        command
            .env("KUBECONFIG", &self.kubectl.kubeconfig)
            .env("KUBECACHEDIR", &self.kubectl.cache)
            .env("PATH", format!("{folders}:{}", std::env::var("PATH").unwrap()))
    }
}
