//! A site for one test: a real API server, the sandbox as directory, and operators as processes of their own under their own
//! `ServiceAccount`'s token. Everything is gone when the site is dropped, and also when the test process is killed.
use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Stdio, id},
    sync::atomic::Ordering,
};

use serde_json::{Value, json};

use super::{
    Cluster, LIMIT, NEXT, SYSTEM, Sandbox, TEAM,
    cluster::{audited, cluster_up, prepared, script},
    kubectl::{Kubectl, labelled, list, own},
    leaks, locked, merge, message, text, wait_for,
};

/// How a site is set up.
#[derive(Default)]
pub struct Setup {
    /// More flags for the sandbox.
    pub sandbox: Vec<String>,
    /// The sandbox is this program instead of the one that is tested.
    pub sandbox_binary: Option<PathBuf>,
    /// For measuring: the sandbox keeps no file, and no output is searched for secrets, of which there are tens of thousands.
    pub benchmark: bool,
    /// Run Kubernetes' own controllers, too: namespaces are really deleted.
    pub controllers: bool,
    pub cluster: Cluster,
}

pub struct Site {
    pub dir: PathBuf,
    pub(super) kubectl: Kubectl,
    /// The `INSTANCE` of cluster.sh; `None` on a foreign cluster.
    pub(super) instance: Option<String>,
    /// The objects of `SETUP` in the cluster are the tests' own.
    settled: bool,
    benchmark: bool,
    pub sandbox: Sandbox,
    /// A lock: on a foreign cluster one test runs at a time.
    _turn: Option<File>,
}

impl Site {
    pub fn start() -> Self {
        Self::with(&Setup::default())
    }

    pub fn with(setup: &Setup) -> Self {
        let (instance, dir) = folder();
        let foreign = std::env::var_os("KUBECONFIG").filter(|v| !v.is_empty()).map(PathBuf::from);
        let copied = foreign.is_none() && setup.cluster == Cluster::Copy;
        let (kubectl, turn) = match &foreign {
            Some(kubeconfig) => {
                let user = fs::metadata("/proc/self").unwrap().uid();
                let turn = std::env::temp_dir().join(format!("credreset-turn-{user}.lock"));
                let program = PathBuf::from("kubectl");
                let kubectl = Kubectl { program, kubeconfig: kubeconfig.clone(), cache: dir.join("kube-cache") };
                (kubectl, Some(locked(&turn)))
            }
            None => {
                let mut up = script(&instance, id());
                audited(&mut up, &dir).env("CONTROLLER_MANAGER", if setup.controllers { "1" } else { "0" });
                if copied {
                    up.env("COPY_OF", prepared());
                }
                (cluster_up(&mut up), None)
            }
        };
        let binary = setup.sandbox_binary.as_deref().unwrap_or(Path::new(env!("CARGO_BIN_EXE_credreset")));
        let state = (!setup.benchmark).then_some("sandbox.json");
        let sandbox = Sandbox::of(binary, "127.0.0.1:0", &dir, state, &setup.sandbox);
        let instance = foreign.is_none().then_some(instance);
        let mut site =
            Self { dir, kubectl, instance, settled: false, benchmark: setup.benchmark, sandbox, _turn: turn };
        site.make_room();
        site.settled = true;
        if !copied && setup.cluster != Cluster::Empty {
            site.kubectl.set_up();
        }
        site
    }

    /// The example's Directory, at this site's sandbox. `patch` is merged into its spec.
    pub fn directory(&self, name: &str, patch: Value) {
        let example = text("examples/zoho-sandbox/directory.yaml").replace("http://127.0.0.1:8090", &self.sandbox.url);
        let mut documents = labelled(&example);
        for document in documents.iter_mut().filter(|d| d["kind"] == "Directory") {
            document["metadata"]["name"] = json!(name);
            merge(&mut document["spec"], patch.clone());
        }
        self.apply(&list(documents));
    }

    /// The example's Directory, with limits that are not in a test's way.
    pub fn usual_directory(&self) {
        self.directory("zylker", json!({"limits": {"resetsPerHour": 100_000}}));
    }

    /// Another sandbox, whose tokens may only read users.
    pub fn weaker_sandbox(&self) -> Sandbox {
        let folder = self.dir.join("weaker");
        fs::create_dir(&folder).unwrap();
        Sandbox::at("127.0.0.1:0", &folder, &["--scopes".to_owned(), "ZohoDirectory.Users.READ".to_owned()])
    }

    /// Applies objects, marked as the tests' own.
    pub fn apply_own(&self, objects: Vec<Value>) {
        self.apply(&list(objects.into_iter().map(own)));
    }

    pub fn delete(&self, name: &str) {
        self.kubectl(&["delete", "creset", "-n", TEAM, name]);
    }

    pub fn reset(&self, name: &str) -> Value {
        self.get(&["creset", "-n", TEAM, name])
    }

    /// Waits until the request's `Ready` condition has this reason; returns the request as it was then.
    pub fn until(&self, name: &str, reason: &str) -> Value {
        let path = format!(r#"--for=jsonpath={{.status.conditions[?(@.type=="Ready")].reason}}={reason}"#);
        let timeout = format!("--timeout={}s", LIMIT.as_secs());
        let output =
            self.try_kubectl(&["wait", &path, &timeout, "-n", TEAM, "-o", "json", &format!("creset/{name}")], "");
        if output.status.success() {
            return serde_json::from_slice(&output.stdout).unwrap();
        }
        panic!("{name} is not {reason} but {:#}\n{}", self.reset(name)["status"], self.logs());
    }

    /// Waits until the Directory's `Ready` condition has this reason; returns its message.
    pub fn until_directory(&self, name: &str, reason: &str) -> String {
        let path = format!(r#"--for=jsonpath={{.status.conditions[?(@.type=="Ready")].reason}}={reason}"#);
        let timeout = format!("--timeout={}s", LIMIT.as_secs());
        let output = self.try_kubectl(&["wait", &path, &timeout, &format!("directory/{name}")], "");
        let now = self.get(&["directory", name]);
        assert!(output.status.success(), "{name} is not {reason}: {:#}", now["status"]);
        message(&now)
    }

    /// Returns when approvals that are given from now on count: the admission policies are old enough.
    pub fn guarded(&self) {
        let all = self.get(&["validatingadmissionpolicy,validatingadmissionpolicybinding", "--show-managed-fields"]);
        let all = all["items"].as_array().unwrap();
        let writes = all.iter().flat_map(|o| o["metadata"]["managedFields"].as_array().into_iter().flatten());
        let times = all.iter().map(|o| &o["metadata"]["creationTimestamp"]).chain(writes.map(|write| &write["time"]));
        let last = times.filter_map(|time| time.as_str()?.parse::<jiff::Timestamp>().ok()).max().expect("policies");
        // These times have no fractions.
        let from = last + jiff::SignedDuration::from_secs(5);
        wait_for("the policies to have been there for a while", || (jiff::Timestamp::now() >= from).then_some(()));
    }

    /// The lease's holder; empty if it has none.
    pub fn leader(&self) -> String {
        let holder = "-o=jsonpath={.spec.holderIdentity}";
        self.kubectl(&["get", "lease", "-n", SYSTEM, "credreset", "--ignore-not-found", holder])
    }

    pub fn records(&self) -> Vec<Value> {
        self.get(&["crecord", "-n", SYSTEM])["items"].as_array().unwrap().clone()
    }

    /// The value of a key of a Secret, decoded.
    pub fn secret(&self, namespace: &str, name: &str, key: &str) -> String {
        let template = format!("{{{{index .data \"{key}\" | base64decode}}}}");
        self.kubectl(&["get", "secret", "-n", namespace, name, "-o", &format!("go-template={template}")])
    }

    /// The passwords in a namespace, by the names of their Secrets.
    pub fn passwords(&self, namespace: &str) -> BTreeMap<String, String> {
        let all = r#"go-template={{range .items}}{{if .data.password}}{{.metadata.name}} {{.data.password|base64decode}}{{"\n"}}{{end}}{{end}}"#;
        let lines = self.kubectl(&["get", "secrets", "-n", namespace, "-o", all]);
        lines.lines().filter_map(|l| l.split_once(' ')).map(|(name, it)| (name.to_owned(), it.to_owned())).collect()
    }

    /// The last lines of the logs of operators and sandbox.
    pub fn logs(&self) -> String {
        let mut all = String::new();
        for entry in fs::read_dir(&self.dir).unwrap().flatten() {
            if entry.path().extension().is_some_and(|e| e == "log") && !entry.path().ends_with("audit.log") {
                let text = fs::read_to_string(entry.path()).unwrap_or_default();
                let last: Vec<&str> =
                    text.lines().filter(|l| !l.contains("\"TRACE\"") && !l.contains("\"DEBUG\"")).collect();
                let from = last.len().saturating_sub(40);
                all +=
                    &format!("--- {}\n{}\n", entry.path().display(), last.get(from..).unwrap_or_default().join("\n"));
            }
        }
        all
    }

    /// The outputs that hold a secret.
    pub fn leaks(&self) -> Vec<String> {
        leaks::leaks(self)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let leaks = if self.benchmark || std::thread::panicking() { Vec::new() } else { leaks::leaks(self) };
        match &self.instance {
            Some(instance) => {
                drop(script(instance, id()).arg("down").stdout(Stdio::null()).stderr(Stdio::null()).status());
            }
            None if self.settled => self.clear(),
            None => {}
        }
        if !std::thread::panicking() {
            assert!(leaks.is_empty(), "a secret is in {leaks:#?}; see {}", self.dir.display());
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// A new folder, and the name of its cluster.
fn folder() -> (String, PathBuf) {
    loop {
        let instance = format!("t{}-{}", id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(format!("credreset-test-{instance}"));
        match fs::create_dir(&dir) {
            Ok(()) => return (instance, dir),
            // Left by a test that failed, whose process had the same id.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => panic!("{}: {error}", dir.display()),
        }
    }
}
