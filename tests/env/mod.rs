//! A site for one test: a real API server, the sandbox as directory, and operators as processes of their own under their own
//! `ServiceAccount`'s token. Everything is gone when the site is dropped, and also when the test process is killed.
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

mod book;
mod leaks;
#[path = "merge.rs"]
mod merge;
mod objects;
mod process;
#[allow(unused_imports, reason = "not every test program runs what pages show")]
pub use book::{blocks, fences, pages};
pub use merge::merge;
pub use objects::{condition, message, mfa_reset, password_reset, rules, time};
#[allow(unused_imports, reason = "not every test program starts other servers")]
pub use process::Process;
#[allow(unused_imports, reason = "for benchmarks")]
pub use process::cpu;
pub use process::{Operator, Sandbox, http_get, wait_for};

/// The operator's namespace.
pub const SYSTEM: &str = "credreset-system";
/// The requesters' namespace.
pub const TEAM: &str = "helpdesk";
/// Annette Charbonneau.
pub const ANNETTE: &str = "700012399";
/// On what tests make, so that on a cluster of somebody else they change and delete nothing but that.
const LABEL: &str = "credreset.dev/made-by-tests";
/// Users who may do what only the operator may: the administrators of our own clusters and of kind's, since tests take status and
/// records away.
const WRITERS: &str = "admin,kubernetes-admin";
/// What every site has: the namespaces, and what the chart makes. Rendered once for the process.
static SETUP: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let namespaces =
        [SYSTEM, TEAM].map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    namespaces.into_iter().chain(chart(&[&format!("admission.writers={{{WRITERS}}}")])).map(own).collect()
});
/// Longer than anything takes here; a limit for what hangs, not a measure.
const LIMIT: Duration = Duration::from_secs(120);

static NEXT: AtomicU32 = AtomicU32::new(0);
/// On a cluster that is not our own, tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// A path within the project.
pub fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// The release build, which the image holds, for tests whose result depends on the optimizer, or that would take too long without it.
pub fn release() -> PathBuf {
    let binary = path("target/image/root/credreset");
    assert!(binary.exists(), "this test needs the image: make image");
    binary
}

/// The text of a file of the project.
pub fn text(relative: &str) -> String {
    fs::read_to_string(path(relative)).unwrap_or_else(|e| panic!("{relative}: {e}"))
}

/// A line of the API server's audit log: what an operator did.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Audited {
    pub verb: String,
    /// Path and query.
    pub uri: String,
    pub group: String,
    /// With its subresource, as in `credentialresets/status`.
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub code: u64,
}

impl Audited {
    pub fn writes(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
    }
}

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
    /// Leave the API server as it is, without what a site has otherwise: the kinds, the namespaces, the chart.
    pub empty: bool,
}

pub struct Site {
    pub dir: PathBuf,
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    /// Of cluster.sh; on somebody else's cluster there is none.
    instance: Option<String>,
    /// What is there by the names of `SETUP` is the tests' own.
    settled: bool,
    benchmark: bool,
    pub sandbox: Sandbox,
    _turn: Option<MutexGuard<'static, ()>>,
}

impl Site {
    pub fn start() -> Self {
        Self::with(&Setup::default())
    }

    pub fn with(setup: &Setup) -> Self {
        let instance = format!("t{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(format!("credreset-test-{instance}"));
        fs::create_dir_all(&dir).unwrap();
        let foreign = std::env::var_os("KUBECONFIG").filter(|v| !v.is_empty()).map(PathBuf::from);
        let (kubeconfig, kubectl, turn) = match &foreign {
            Some(kubeconfig) => {
                let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
                (kubeconfig.clone(), PathBuf::from("kubectl"), Some(turn))
            }
            None => {
                let (kubeconfig, kubectl) = cluster_up(&instance, &dir, setup.controllers);
                (kubeconfig, kubectl, None)
            }
        };
        let binary = setup.sandbox_binary.as_deref().unwrap_or(Path::new(env!("CARGO_BIN_EXE_credreset")));
        let state = (!setup.benchmark).then_some("sandbox.json");
        let sandbox = Sandbox::of(binary, "127.0.0.1:0", &dir, state, &setup.sandbox);
        let instance = foreign.is_none().then_some(instance);
        let mut site = Self {
            dir,
            kubeconfig,
            kubectl,
            instance,
            settled: false,
            benchmark: setup.benchmark,
            sandbox,
            _turn: turn,
        };
        site.make_room();
        site.settled = true;
        if setup.empty {
            return site;
        }
        site.apply(&text("charts/credreset-crds/templates/credreset.yaml"));
        site.kubectl(&[
            "wait",
            "--for=condition=Established",
            "--timeout=30s",
            "crd/directories.credreset.dev",
            "crd/credentialresets.credreset.dev",
            "crd/credentialresetapprovals.credreset.dev",
            "crd/credentialresetsettlements.credreset.dev",
            "crd/credentialresetrecords.credreset.dev",
        ]);
        site.apply(&list(SETUP.iter().cloned()));
        site
    }

    /// On somebody else's cluster: removes what a run that was cut off has left, and fails if there is anything else that
    /// the tests would change, or that their operators would act on.
    fn make_room(&self) {
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
            self.kubeconfig.display(),
            others.join(", ")
        );
        if !found.is_empty() {
            self.clear();
        }
    }

    /// Deletes what tests have made on somebody else's cluster.
    fn clear(&self) {
        let names = list(SETUP.iter().cloned());
        let _ = self.try_kubectl(&["delete", "directories,creset", "-A", "-l", LABEL], "");
        let _ = self.try_kubectl(&["delete", "--ignore-not-found", "-f", "-"], &names);
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

    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.env("KUBECONFIG", &self.kubeconfig).env("KUBECACHEDIR", self.dir.join("kube-cache"));
        command
    }

    pub fn try_kubectl(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self
            .command()
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.try_kubectl(arguments, "");
        assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs commands of a page, which use kubectl, helm and credreset, in this folder; returns what they print.
    #[allow(dead_code, reason = "for tests of documented commands")]
    pub fn shell(&self, folder: &Path, commands: &str) -> String {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", commands]).current_dir(folder).stdin(Stdio::null());
        let output = self.tools(&mut command).output().expect("bash");
        assert!(output.status.success(), "{commands}: {}\n{}", String::from_utf8_lossy(&output.stderr), self.logs());
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same on a terminal, where these answers are typed, by whom this kubeconfig is for.
    #[allow(dead_code, reason = "for tests of documented commands")]
    pub fn terminal(&self, kubeconfig: &Path, commands: &str, answers: &str) -> String {
        // `script` (util-linux) makes a terminal.
        let mut command = Command::new("script");
        let typed = format!("export KUBECONFIG='{}'; set -eu\n{commands}", kubeconfig.display());
        command.args(["-qec", &typed, "/dev/null"]).env("SHELL", "/bin/bash").env("NO_COLOR", "1");
        let mut child = self.tools(&mut command).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script");
        child.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{commands}: {said}");
        said
    }

    /// The command finds kubectl, helm, credreset and the cluster, and leaves nothing in the home folder.
    fn tools<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let helm = helm();
        let programs = [&self.kubectl, &helm, Path::new(env!("CARGO_BIN_EXE_credreset"))];
        let folders = programs.map(|program| program.parent().unwrap().display().to_string()).join(":");
        for home in ["CACHE", "CONFIG", "DATA"] {
            command.env(format!("HELM_{home}_HOME"), self.dir.join("helm").join(home.to_lowercase()));
        }
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", self.dir.join("kube-cache"))
            .env("PATH", format!("{folders}:{}", std::env::var("PATH").unwrap()))
    }

    pub fn apply(&self, yaml: &str) {
        let output = self.try_kubectl(&["apply", "-f", "-"], yaml);
        assert!(output.status.success(), "{}\n{yaml}", String::from_utf8_lossy(&output.stderr));
    }

    /// Applies objects, marked as the tests' own.
    #[allow(dead_code, reason = "for tests that bring directories of their own")]
    pub fn apply_own(&self, objects: Vec<Value>) {
        self.apply(&list(objects.into_iter().map(own)));
    }

    /// Applies what must be refused, and returns what is said about it.
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

    /// Returns when approvals that are given from now on count: admission has known the caller long enough.
    #[allow(dead_code, reason = "for tests of approvals")]
    pub fn guarded(&self) {
        let all = self.get(&["validatingadmissionpolicy,validatingadmissionpolicybinding"]);
        let created = |o: &Value| o["metadata"]["creationTimestamp"].as_str()?.parse::<jiff::Timestamp>().ok();
        let last = all["items"].as_array().unwrap().iter().filter_map(created).max().expect("policies");
        // Creation times have no fractions.
        let from = last + jiff::SignedDuration::from_secs(5);
        wait_for("the policies to have been there for a while", || (jiff::Timestamp::now() >= from).then_some(()));
    }

    pub fn delete(&self, name: &str) {
        self.kubectl(&["delete", "creset", "-n", TEAM, name]);
    }

    /// Who holds the lease; empty: nobody.
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

    /// An operator as a process of its own; returns when it says it is ready.
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

    /// Returns when the operator says it is ready.
    pub fn run(&self, command: &mut Command) -> Operator {
        Operator::start(command, self.dir.join(format!("operator-{}.log", NEXT.fetch_add(1, Ordering::Relaxed))))
    }

    /// Everything that operators and sandbox have said.
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

    /// What operators have asked of the API server. Only on a cluster of our own.
    pub fn audit(&self) -> Vec<Audited> {
        let text = fs::read_to_string(self.dir.join("audit.log")).expect("the audit log of a cluster of our own");
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .map(|line| {
                let of = |name: &str| line["objectRef"][name].as_str().unwrap_or_default().to_owned();
                let sub = of("subresource");
                Audited {
                    verb: line["verb"].as_str().unwrap_or_default().to_owned(),
                    uri: line["requestURI"].as_str().unwrap_or_default().to_owned(),
                    group: of("apiGroup"),
                    resource: if sub.is_empty() { of("resource") } else { format!("{}/{sub}", of("resource")) },
                    namespace: of("namespace"),
                    name: of("name"),
                    code: line["responseStatus"]["code"].as_u64().unwrap_or_default(),
                }
            })
            .collect()
    }

    /// What `cluster.sh` does with this site's API server: `kill` as in a crash, and `up` again on the same data.
    pub fn cluster(&self, what: &str) {
        let instance = self.instance.as_ref().expect("a cluster of our own");
        assert!(script(instance, &self.dir).arg(what).stdout(Stdio::null()).status().unwrap().success());
    }

    /// Is the API server this test's own? Says so on the terminal if not, since the test then leaves something out.
    pub fn is_own(&self) -> bool {
        if self.instance.is_none() {
            let test = std::thread::current().name().unwrap_or_default().to_owned();
            let _ = writeln!(
                std::io::stderr(),
                "NOT RUN in full: {test} needs an API server of its own (unset KUBECONFIG)"
            );
        }
        self.instance.is_some()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let leaks = if self.benchmark || std::thread::panicking() { Vec::new() } else { leaks::leaks(self) };
        match &self.instance {
            Some(instance) => {
                drop(script(instance, &self.dir).arg("down").stdout(Stdio::null()).stderr(Stdio::null()).status());
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

/// The path of helm.
pub fn helm() -> PathBuf {
    let output = Command::new(path("tests/env/build.sh")).arg("helm").stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "tests/env/build.sh helm failed");
    let said = String::from_utf8(output.stdout).unwrap();
    PathBuf::from(said.trim().strip_prefix("HELM=").unwrap_or_else(|| panic!("{said}")))
}

/// What the chart makes for the requesters' namespace, with these values besides.
pub fn chart(values: &[&str]) -> Vec<Value> {
    let mut command = Command::new(helm());
    command.args(["template", "credreset", "--skip-tests", "--namespace", SYSTEM]).arg(path("charts/credreset"));
    for value in [&format!("namespaces={{{TEAM}}}").as_str()].into_iter().chain(values) {
        command.args(["--set", value]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_saphyr::from_multiple(std::str::from_utf8(&output.stdout).unwrap()).unwrap()
}

/// The documents of a YAML text, marked as the tests' own.
fn labelled(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    documents.into_iter().map(own).collect()
}

/// The object, marked as the tests' own.
fn own(mut object: Value) -> Value {
    object["metadata"]["labels"][LABEL] = json!("");
    object
}

fn list(objects: impl IntoIterator<Item = Value>) -> String {
    let items: Vec<Value> = objects.into_iter().collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// What `kubectl get -o json` printed: nothing, an object, or a list.
fn items(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    if output.stdout.is_empty() {
        return Vec::new();
    }
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    value["items"].as_array().cloned().unwrap_or_else(|| vec![value])
}

fn script(instance: &str, dir: &Path) -> Command {
    let mut command = Command::new(path("tests/env/cluster.sh"));
    let audit = format!(
        "--audit-policy-file={}\n--audit-log-path={}",
        path("tests/env/audit-policy.yaml").display(),
        dir.join("audit.log").display()
    );
    command.env("INSTANCE", instance).env("APISERVER_ARGS", audit).env("DIE_WITH", std::process::id().to_string());
    command.env("CONTROLLER_MANAGER", "0");
    command
}

fn cluster_up(instance: &str, dir: &Path, controllers: bool) -> (PathBuf, PathBuf) {
    let output = script(instance, dir)
        .arg("up")
        .env("CONTROLLER_MANAGER", if controllers { "1" } else { "0" })
        .stderr(Stdio::inherit())
        .output()
        .expect("tests/env/cluster.sh");
    assert!(output.status.success(), "tests/env/cluster.sh up failed");
    let said = String::from_utf8(output.stdout).unwrap();
    let value = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        PathBuf::from(line.unwrap_or_else(|| panic!("{name} is missing in: {said}")))
    };
    (value("KUBECONFIG"), value("KUBECTL"))
}
