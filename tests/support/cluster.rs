//! The cluster of a site: one of its own from cluster.sh, or the one of KUBECONFIG.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio, id},
    sync::LazyLock,
};

use serde_json::{Value, json};

use super::{
    LABEL, RUN, SYSTEM, Site, TEAM, chart,
    kubectl::{Kubectl, items, list, own},
    locked, not_run, path,
};

/// Users who may do what only the operator may: the administrators of our own clusters and of kind's, since tests take status and
/// records away.
const WRITERS: &str = "admin,kubernetes-admin";

/// What every site has beside the kinds: the namespaces, and what the chart makes.
pub(super) static SETUP: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let namespaces =
        [SYSTEM, TEAM].map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    namespaces.into_iter().chain(chart(&[&format!("admission.writers={{{WRITERS}}}")])).map(own).collect()
});

/// The initial state of a test's own cluster.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Cluster {
    /// A copy of one that has the kinds, the namespaces, and what the chart makes.
    #[default]
    Copy,
    /// A new one with the same objects: it shares no uids with others.
    Unrelated,
    /// A new one without any of these.
    Empty,
}

impl Site {
    /// On a foreign cluster: removes what a run that was cut off has left, and fails if there is anything else that
    /// the tests would change, or that their operators would act on.
    pub(super) fn make_room(&self) {
        if self.instance.is_some() {
            return;
        }
        let names = list(SETUP.iter().cloned());
        let mut found = items(&self.try_kubectl(&["get", "--ignore-not-found", "-o", "json", "-f", "-"], &names));
        if !self.kubectl(&["get", "crd", "--ignore-not-found", "directories.credreset.dev"]).is_empty() {
            found.extend(items(&self.try_kubectl(&["get", "directories,creset", "-A", "-o", "json"], "")));
        }
        let others: Vec<String> = found
            .iter()
            .filter(|o| o["metadata"]["labels"][LABEL].is_null())
            // A request is deleted with the namespace, and that is looked at.
            .filter(|o| o["kind"] != "CredentialReset" || o["metadata"]["namespace"] != TEAM)
            .map(|o| format!("{} {}", o["kind"].as_str().unwrap_or_default(), o["metadata"]["name"]))
            .collect();
        assert!(
            others.is_empty(),
            "{} has objects that these tests have not made and would change or act on: {}. Use a cluster without them, or \
             unset KUBECONFIG to have one started.",
            self.kubeconfig().display(),
            others.join(", ")
        );
        if !found.is_empty() {
            self.clear();
        }
    }

    /// Deletes what tests have made on a foreign cluster.
    pub(super) fn clear(&self) {
        let names = list(SETUP.iter().cloned());
        let _ = self.try_kubectl(&["delete", "directories,creset", "-A", "-l", LABEL], "");
        let _ = self.try_kubectl(&["delete", "--ignore-not-found", "-f", "-"], &names);
    }

    /// Runs `cluster.sh` for this site's API server: `kill` ends it as in a crash, `up` starts it again on the same data.
    pub fn cluster(&self, what: &str) {
        let instance = self.instance.as_ref().expect("a cluster of our own");
        assert!(
            audited(&mut script(instance, id()), &self.dir).arg(what).stdout(Stdio::null()).status().unwrap().success()
        );
    }

    /// Whether the API server is this test's own. If not, the run reports that the test leaves something out.
    pub fn is_own(&self) -> bool {
        if self.instance.is_none() {
            let test = std::thread::current().name().unwrap_or_default().to_owned();
            not_run(&format!("NOT RUN in full: {test} needs an API server of its own (unset KUBECONFIG)"));
        }
        self.instance.is_some()
    }
}

/// `cluster.sh` for this instance, which ends with the process of this id.
pub(super) fn script(instance: &str, owner: u32) -> Command {
    let mut command = Command::new(path("tests/support/servers/cluster.sh"));
    command.env("INSTANCE", instance).env("DIE_WITH", owner.to_string()).env("CONTROLLER_MANAGER", "0");
    command
}

/// Adds an audit log in this folder.
pub(super) fn audited<'a>(script: &'a mut Command, dir: &Path) -> &'a mut Command {
    let policy = path("tests/support/servers/audit-policy.yaml");
    let log = dir.join("audit.log");
    let flags = format!("--audit-policy-file={}\n--audit-log-path={}", policy.display(), log.display());
    script.env("APISERVER_ARGS", flags)
}

pub(super) fn cluster_up(script: &mut Command) -> Kubectl {
    let output = script.arg("up").stderr(Stdio::inherit()).output().expect("tests/support/servers/cluster.sh");
    assert!(output.status.success(), "tests/support/servers/cluster.sh up failed");
    let printed = String::from_utf8(output.stdout).unwrap();
    let value = |name: &str| {
        let line = printed.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        PathBuf::from(line.unwrap_or_else(|| panic!("{name} is missing in: {printed}")))
    };
    Kubectl { program: value("KUBECTL"), kubeconfig: value("KUBECONFIG"), cache: value("KUBECACHEDIR") }
}

/// A stopped cluster with what every site has; the tests of a run, which are processes of their own, start copies of it.
pub(super) fn prepared() -> &'static str {
    static PREPARED: LazyLock<String> = LazyLock::new(|| {
        let (instance, owner) = &*RUN;
        let output = script(instance, *owner).arg("kubeconfig").output().expect("tests/support/servers/cluster.sh");
        let kubeconfig = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        let folder = kubeconfig.parent().unwrap();
        fs::create_dir_all(folder).unwrap();
        let _one_at_a_time = locked(&folder.join("prepared.lock"));
        let done = folder.join("prepared");
        if !done.exists() {
            cluster_up(&mut script(instance, *owner)).set_up();
            assert!(script(instance, *owner).arg("stop").status().unwrap().success(), "cluster.sh stop");
            fs::write(done, "").unwrap();
        }
        instance.clone()
    });
    &PREPARED
}
