//! `credreset plan`, as a reviewer and a pipeline run it.
//!
//! * `verdicts.rs`: what it says of each request, without a directory and with one.
//! * `set.rs`: what the requests of one plan mean for each other.
//! * `comment.rs`: the comment on a pull request.
//! * `repository.rs`: what differs from another commit, and the pipelines.
//! * `tools.rs`: what other tools read in the same files.
#![cfg(test)]
use std::{fs, path::Path, process::Output};

use serde_json::{Value, json};

#[path = "../support/mod.rs"]
mod support;
use support::{
    Sandbox,
    folder::{Folder, captured},
    merge,
};

mod comment;
mod repository;
mod set;
mod tools;
mod verdicts;

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

fn time_ago(minutes: i64) -> String {
    (jiff::Timestamp::now() - jiff::SignedDuration::from_mins(minutes)).to_string()
}
