//! kubectl, as a cluster's administrator.
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use super::{LABEL, Site, TEAM, cluster::SETUP, path, wait_for};

/// kubectl, as a cluster's administrator.
pub(super) struct Kubectl {
    pub(super) program: PathBuf,
    pub(super) kubeconfig: PathBuf,
    /// `KUBECACHEDIR`: its cache of this cluster's kinds.
    pub(super) cache: PathBuf,
}

impl Kubectl {
    pub(super) fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(&self.program)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", &self.cache)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Runs kubectl, which must succeed, and returns its standard output.
    pub(super) fn stdout(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        assert!(output.status.success(), "kubectl {arguments:?}: {}\n{input}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Makes what every site has: the kinds, the namespaces, what the chart makes.
    pub(super) fn set_up(&self) {
        const KINDS: [&str; 5] = [
            "crd/directories.credreset.dev",
            "crd/credentialresets.credreset.dev",
            "crd/credentialresetapprovals.credreset.dev",
            "crd/credentialresetsettlements.credreset.dev",
            "crd/credentialresetrecords.credreset.dev",
        ];
        self.stdout(&["apply", "-f", path("crds").to_str().unwrap()], "");
        self.established(&KINDS);
        self.stdout(&["apply", "-f", "-"], &list(SETUP.iter().cloned()));
    }

    /// Waits until these kinds can be used. A wait of kubectl itself fails on one that is so new that its conditions are still null.
    fn established(&self, kinds: &[&str]) {
        let once = [&["wait", "--for=condition=Established", "--timeout=0"], kinds].concat();
        wait_for("the kinds", || self.run(&once, "").status.success().then_some(()));
    }
}

impl Site {
    pub fn kubeconfig(&self) -> &Path {
        &self.kubectl.kubeconfig
    }

    pub fn try_kubectl(&self, arguments: &[&str], input: &str) -> Output {
        self.kubectl.run(arguments, input)
    }

    /// Waits until these kinds, each `crd/NAME`, can be used.
    pub fn established(&self, kinds: &[&str]) {
        self.kubectl.established(kinds);
    }

    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.kubectl.stdout(arguments, "")
    }

    pub fn apply(&self, yaml: &str) {
        self.kubectl.stdout(&["apply", "-f", "-"], yaml);
    }

    /// Applies what must be refused, and returns kubectl's message.
    pub fn refused(&self, yaml: &str) -> String {
        let output = self.try_kubectl(&["create", "-f", "-"], yaml);
        assert!(!output.status.success(), "was accepted: {yaml}");
        String::from_utf8(output.stderr).unwrap()
    }

    pub fn get(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["get", "-o", "json"];
        all.extend(arguments);
        serde_json::from_str(&self.kubectl(&all)).unwrap()
    }
}

/// The documents of a YAML text, marked as the tests' own.
pub(super) fn labelled(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    documents.into_iter().map(own).collect()
}

/// The object, marked as the tests' own.
pub(super) fn own(mut object: Value) -> Value {
    object["metadata"]["labels"][LABEL] = json!("");
    object
}

pub(super) fn list(objects: impl IntoIterator<Item = Value>) -> String {
    let items: Vec<Value> = objects.into_iter().collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// What `kubectl get -o json` printed: nothing, an object, or a list.
pub(super) fn items(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    if output.stdout.is_empty() {
        return Vec::new();
    }
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    value["items"].as_array().cloned().unwrap_or_else(|| vec![value])
}

/// A kubeconfig of the cluster's administrator, who acts as this user (impersonation), in the requesters' namespace.
pub fn kubeconfig_of(site: &Site, who: &str) -> PathBuf {
    let view = site.kubectl(&["config", "view", "--raw", "--flatten", "--minify", "-o", "json"]);
    let mut config: Value = serde_json::from_str(&view).unwrap();
    config["users"][0]["user"]["as"] = json!(who);
    config["contexts"][0]["context"]["namespace"] = json!(TEAM);
    let file = site.dir.join(format!("{who}.kubeconfig"));
    fs::write(&file, config.to_string()).unwrap();
    file
}
