//! A site for one test: a real API server, the sandbox as directory, and operators as processes of their own under their own
//! `ServiceAccount`'s token. Everything is gone when the site is dropped, and also when the test process is killed.
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    os::unix::{fs::MetadataExt, process::parent_id},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio, id},
    sync::{
        LazyLock,
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
mod watch;
#[allow(unused_imports, reason = "not every test program runs what pages show")]
pub use book::{blocks, fences, pages};
pub use merge::merge;
pub use objects::{condition, message, mfa_reset, password_reset, rules, time};
#[allow(unused_imports, reason = "not every test program starts other servers")]
pub use process::Process;
#[allow(unused_imports, reason = "for benchmarks")]
pub use process::cpu;
pub use process::{Operator, Sandbox, http_get, wait_for};
#[allow(unused_imports, reason = "each test program waits for other things")]
pub use watch::{LEASES, RECORDS, RESETS, all_ended};

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
/// What every site has beside the kinds: the namespaces, and what the chart makes.
static SETUP: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let namespaces =
        [SYSTEM, TEAM].map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    namespaces.into_iter().chain(chart(&[&format!("admission.writers={{{WRITERS}}}")])).map(own).collect()
});
/// Longer than anything takes here; a limit for what hangs, not a measure.
const LIMIT: Duration = Duration::from_secs(120);

static NEXT: AtomicU32 = AtomicU32::new(0);
/// Names what the tests of a run share, which are processes of their own; it ends with the process that runs them, nextest or cargo.
pub static RUN: LazyLock<(String, u32)> = LazyLock::new(|| {
    let runner = parent_id();
    assert_ne!(runner, 1, "what has run this test is gone");
    let name = std::env::var("NEXTEST_RUN_ID").map_or_else(|_| runner.to_string(), |id| id[..13].to_owned());
    (format!("run-{name}"), runner)
});

/// A path within the project.
pub fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// The program of an image, for tests whose result depends on the optimizer, or that would take too long without it.
pub fn program(image: &str) -> PathBuf {
    let binary = path(&format!("{image}/root/credreset"));
    assert!(binary.exists(), "{image} is missing: make tested-image for tests, make image for benchmarks");
    binary
}

/// Says what a test leaves out: at once, and at the end of the run, since nextest shows nothing of a test that passes.
pub fn not_run(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
    if let Ok(profile) = std::env::var("NEXTEST_PROFILE") {
        let file = path(&format!("target/nextest/{profile}/not-run"));
        let file = File::options().create(true).append(true).open(file);
        let _ = file.and_then(|mut file| writeln!(file, "{line}"));
    }
}

/// A folder that nobody has had, and the name of its cluster.
fn folder() -> (String, PathBuf) {
    loop {
        let instance = format!("t{}-{}", id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(format!("credreset-test-{instance}"));
        match fs::create_dir(&dir) {
            Ok(()) => return (instance, dir),
            // Of a test that failed, whose process had the same number.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => panic!("{}: {error}", dir.display()),
        }
    }
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
    pub cluster: Cluster,
}

/// What a cluster of a test's own begins as.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Cluster {
    /// A copy of one that has the kinds, the namespaces, and what the chart makes.
    #[default]
    Copy,
    /// With the same, and nothing else in common with others, such as uids.
    Unrelated,
    /// With nothing in it.
    Empty,
}

pub struct Site {
    pub dir: PathBuf,
    kubectl: Kubectl,
    /// Of cluster.sh; on somebody else's cluster there is none.
    instance: Option<String>,
    /// What is there by the names of `SETUP` is the tests' own.
    settled: bool,
    benchmark: bool,
    pub sandbox: Sandbox,
    /// On a cluster that is not our own, tests take turns.
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
            self.kubeconfig().display(),
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
        &self.kubectl.kubeconfig
    }

    pub fn try_kubectl(&self, arguments: &[&str], input: &str) -> Output {
        self.kubectl.run(arguments, input)
    }

    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.kubectl.said(arguments, "")
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

    pub fn apply(&self, yaml: &str) {
        self.kubectl.said(&["apply", "-f", "-"], yaml);
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
        let all = self.get(&["validatingadmissionpolicy,validatingadmissionpolicybinding", "--show-managed-fields"]);
        let all = all["items"].as_array().unwrap();
        let writes = all.iter().flat_map(|o| o["metadata"]["managedFields"].as_array().into_iter().flatten());
        let times = all.iter().map(|o| &o["metadata"]["creationTimestamp"]).chain(writes.map(|write| &write["time"]));
        let last = times.filter_map(|time| time.as_str()?.parse::<jiff::Timestamp>().ok()).max().expect("policies");
        // These times have no fractions.
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

    /// The passwords in a namespace, by the names of their Secrets.
    #[allow(dead_code, reason = "for tests of many requests")]
    pub fn passwords(&self, namespace: &str) -> BTreeMap<String, String> {
        let all = r#"go-template={{range .items}}{{if .data.password}}{{.metadata.name}} {{.data.password|base64decode}}{{"\n"}}{{end}}{{end}}"#;
        let lines = self.kubectl(&["get", "secrets", "-n", namespace, "-o", all]);
        lines.lines().filter_map(|l| l.split_once(' ')).map(|(name, it)| (name.to_owned(), it.to_owned())).collect()
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
        assert!(
            audited(&mut script(instance, id()), &self.dir).arg(what).stdout(Stdio::null()).status().unwrap().success()
        );
    }

    /// Is the API server this test's own? Says so on the terminal if not, since the test then leaves something out.
    pub fn is_own(&self) -> bool {
        if self.instance.is_none() {
            let test = std::thread::current().name().unwrap_or_default().to_owned();
            not_run(&format!("NOT RUN in full: {test} needs an API server of its own (unset KUBECONFIG)"));
        }
        self.instance.is_some()
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

/// The path of helm.
pub fn helm() -> PathBuf {
    built("helm")
}

/// The path of what build.sh has built.
pub fn built(name: &str) -> PathBuf {
    let output = Command::new(path("tests/env/build.sh")).arg(name).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "tests/env/build.sh {name} failed");
    let said = String::from_utf8(output.stdout).unwrap();
    PathBuf::from(said.trim().split_once('=').unwrap_or_else(|| panic!("{said}")).1)
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

/// cluster.sh, for an instance that ends with the process that has this number.
fn script(instance: &str, owner: u32) -> Command {
    let mut command = Command::new(path("tests/env/cluster.sh"));
    command.env("INSTANCE", instance).env("DIE_WITH", owner.to_string()).env("CONTROLLER_MANAGER", "0");
    command
}

/// With an audit log in this folder.
fn audited<'a>(script: &'a mut Command, dir: &Path) -> &'a mut Command {
    let policy = path("tests/env/audit-policy.yaml");
    let log = dir.join("audit.log");
    let flags = format!("--audit-policy-file={}\n--audit-log-path={}", policy.display(), log.display());
    script.env("APISERVER_ARGS", flags)
}

fn cluster_up(script: &mut Command) -> Kubectl {
    let output = script.arg("up").stderr(Stdio::inherit()).output().expect("tests/env/cluster.sh");
    assert!(output.status.success(), "tests/env/cluster.sh up failed");
    let said = String::from_utf8(output.stdout).unwrap();
    let value = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        PathBuf::from(line.unwrap_or_else(|| panic!("{name} is missing in: {said}")))
    };
    Kubectl { program: value("KUBECTL"), kubeconfig: value("KUBECONFIG"), cache: value("KUBECACHEDIR") }
}

/// A stopped cluster with what every site has; the tests of a run, which are processes of their own, start copies of it.
fn prepared() -> &'static str {
    static PREPARED: LazyLock<String> = LazyLock::new(|| {
        let (instance, owner) = &*RUN;
        let output = script(instance, *owner).arg("kubeconfig").output().expect("tests/env/cluster.sh");
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

/// The file, which one process alone has at a time.
fn locked(path: &Path) -> File {
    let file = File::create(path).unwrap();
    file.lock().unwrap();
    file
}

/// kubectl, as a cluster's administrator.
struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    /// Where it keeps what it has learnt of this cluster.
    cache: PathBuf,
}

impl Kubectl {
    fn run(&self, arguments: &[&str], input: &str) -> Output {
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

    /// What it prints; it must succeed.
    fn said(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        assert!(output.status.success(), "kubectl {arguments:?}: {}\n{input}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Makes what every site has: the kinds, the namespaces, what the chart makes.
    fn set_up(&self) {
        const KINDS: [&str; 5] = [
            "crd/directories.credreset.dev",
            "crd/credentialresets.credreset.dev",
            "crd/credentialresetapprovals.credreset.dev",
            "crd/credentialresetsettlements.credreset.dev",
            "crd/credentialresetrecords.credreset.dev",
        ];
        self.said(&["apply", "-f", "-"], &text("charts/credreset-crds/templates/credreset.yaml"));
        self.said(&[&["wait", "--for=condition=Established", "--timeout=30s"], &KINDS[..]].concat(), "");
        self.said(&["apply", "-f", "-"], &list(SETUP.iter().cloned()));
    }
}
