//! Operators of a site, as processes of their own under their own `ServiceAccount`.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::Ordering,
};

use serde_json::{Value, json};

use super::{NEXT, Operator, SYSTEM, Site};

impl Site {
    /// A kubeconfig of the operator's `ServiceAccount`, for the API server or for a proxy before it.
    pub fn service_account(&self, server: Option<&str>) -> PathBuf {
        let file = self.dir.join(format!("operator-{}.kubeconfig", NEXT.fetch_add(1, Ordering::Relaxed)));
        let token = self.kubectl(&["create", "token", "-n", SYSTEM, "credreset", "--duration=24h"]);
        let view = self.kubectl(&["config", "view", "--raw", "--flatten", "--minify", "-o", "json"]);
        let mut config: Value = serde_json::from_str(&view).unwrap();
        config["users"][0]["user"] = json!({"token": token.trim()});
        if let Some(server) = server {
            config["clusters"][0]["cluster"] = json!({ "server": server });
        }
        fs::write(&file, config.to_string()).unwrap();
        file
    }

    pub fn operator(&self) -> Operator {
        self.operator_named("op")
    }

    /// Starts an operator as a process of its own; returns when it reports that it is ready.
    pub fn operator_named(&self, identity: &str) -> Operator {
        self.operator_of(Path::new(env!("CARGO_BIN_EXE_credreset")), identity, "trace")
    }

    pub fn operator_of(&self, binary: &Path, identity: &str, level: &str) -> Operator {
        self.run(&mut self.operator_command(binary, identity, level, None))
    }

    /// `credreset run`, which finds the API server at `server` if that is given.
    pub fn operator_command(&self, binary: &Path, identity: &str, level: &str, server: Option<&str>) -> Command {
        let mut command = Command::new(binary);
        command
            .args(["run", "--namespace", SYSTEM, "--identity", identity, "--listen", "127.0.0.1:0"])
            .args(["--log-format", "json"])
            .env("CREDRESET_LOG", level)
            .env("KUBECONFIG", self.service_account(server))
            .stdout(Stdio::null());
        command
    }

    /// Starts this command; returns when the operator reports that it is ready.
    pub fn run(&self, command: &mut Command) -> Operator {
        Operator::start(command, self.dir.join(format!("operator-{}.log", NEXT.fetch_add(1, Ordering::Relaxed))))
    }
}
