//! Flux's own kustomize-controller on the layout of examples/gitops: what a Kustomization says while requests in its folder are applied,
//! refused, unknown, wait, are edited, removed and put back. The files come from a server of the test's own, in the place of Flux's source-controller.
use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

use serde_json::{Value, json};

use super::notifications::arrived;
use crate::support::{
    Process, RESETS, SYSTEM, Setup, Site, TEAM, blocks, built, condition, merge, message, password_reset, path, text,
    webhook::Webhook,
};

const USERS: &str = "@zylker.biz";
/// Where Flux keeps what it is given.
const FLUX: &str = "flux-system";
/// More reconciliations than any row needs.
const MAX_RECONCILIATIONS: usize = 20;

/// A clone of the layout, and what Flux sees of it.
struct Repository<'a> {
    site: &'a Site,
    folder: PathBuf,
    /// Where archives of it are served.
    served: PathBuf,
    url: String,
    commits: u32,
    asked: u32,
}

impl<'a> Repository<'a> {
    fn new(site: &'a Site) -> Self {
        let [folder, served] = ["repository", "served"].map(|name| site.dir.join(name));
        fs::create_dir(&served).unwrap();
        site.shell(&site.dir, &format!("cp -r {} repository", path("examples/gitops").display()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let files = served.clone();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut head = [0; 4096];
                let length = stream.read(&mut head).unwrap_or_default();
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                let name = head.split([' ', '/']).nth(2).unwrap_or_default();
                let body = fs::read(files.join(name)).unwrap_or_default();
                let _ =
                    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = stream.write_all(&body);
            }
        });
        Self { site, folder, served, url, commits: 0, asked: 0 }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.file(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.file(name)).unwrap();
    }

    /// What source-controller does after a push.
    fn push(&mut self) {
        self.commits += 1;
        let name = format!("{}.tar.gz", self.commits);
        let archive = self.served.join(&name);
        let printed = self.site.shell(&self.folder, &format!("tar -czf {0} . && sha256sum {0}", archive.display()));
        let digest = printed.split(' ').next().unwrap();
        let now = jiff::Timestamp::now().strftime("%FT%TZ").to_string();
        let status = json!({"status": {
            "observedGeneration": 1,
            "artifact": {
                "url": format!("{}/{name}", self.url), "digest": format!("sha256:{digest}"), "path": name, "lastUpdateTime": now,
                "revision": format!("main@sha1:{:040x}", self.commits), "size": fs::metadata(&archive).unwrap().len(),
            },
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "Succeeded", "message": "stored", "lastTransitionTime": now, "observedGeneration": 1,
            }],
        }});
        let status = status.to_string();
        let patch = ["patch", "gitrepository", "-n", FLUX, FLUX, "--subresource=status", "--type=merge", "-p", &status];
        self.site.kubectl(&patch);
    }

    /// Has Flux reconcile a Kustomization, and waits until it has; returns its status.
    fn reconcile(&mut self, namespace: &str, name: &str) -> Value {
        self.asked += 1;
        let asked = format!("reconcile.fluxcd.io/requestedAt={}", self.asked);
        let what = format!("kustomization/{name}");
        self.site.kubectl(&["annotate", "--overwrite", "-n", namespace, &what, &asked]);
        let handled = format!("--for=jsonpath={{.status.lastHandledReconcileAt}}={}", self.asked);
        let output =
            self.site.try_kubectl(&["wait", "-n", namespace, &handled, "--timeout=180s", &what, "-o", "json"], "");
        assert!(output.status.success(), "{name}: {}", self.site.logs());
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    }

    /// Reconciles until the Kustomization of these resets says so of what was pushed last; returns its message.
    fn until(&mut self, name: &str, ready: &str, reason: &str, expected: &str) -> String {
        let mut last = String::new();
        let revision = format!("main@sha1:{:040x}", self.commits);
        for _ in 0..MAX_RECONCILIATIONS {
            self.reconcile(FLUX, "credreset-directories");
            let object = self.reconcile(TEAM, name);
            let (status, why) = condition(&object, "Ready").unwrap();
            last = message(&object);
            if (status.as_str(), why.as_str()) == (ready, reason)
                && last.contains(expected)
                && object["status"]["lastAttemptedRevision"] == revision.as_str()
            {
                return last;
            }
        }
        panic!("{name} is not {ready} for {reason} with {expected:?}, but says {last}\n{}", self.site.logs());
    }

    /// It is red, and stays so without anyone doing anything.
    fn stays_red(&mut self, name: &str, reset: &str) {
        let expected = format!("CredentialReset/{TEAM}/{reset} status: 'Failed'");
        self.until(name, "False", "HealthCheckFailed", &expected);
        for _ in 0..2 {
            let object = self.reconcile(TEAM, name);
            assert_eq!(condition(&object, "Ready").unwrap(), ("False".into(), "HealthCheckFailed".into()));
            assert!(message(&object).contains(&expected), "{}", message(&object));
        }
    }

    fn is_green(&mut self, name: &str) {
        self.until(name, "True", "ReconciliationSucceeded", "");
        // And again, with nothing new.
        let object = self.reconcile(TEAM, name);
        assert_eq!(condition(&object, "Ready").unwrap().0, "True");
        assert!(condition(&object, "Healthy").is_none_or(|(status, _)| status == "True"), "an empty folder is neither");
    }
}

/// A request for the user with this number, and no label that the test's own objects have.
fn reset(name: &str, number: usize, patch: Value) -> String {
    let mut object: Value =
        serde_json::from_str(&password_reset(name, &format!("user{number:04}{USERS}"), json!({}))).unwrap();
    merge(&mut object, json!({"metadata": {"labels": null}}));
    merge(&mut object, patch);
    object.to_string()
}

const RESETS_FOLDER: &str = "credreset-resets";
const ZYLKER: &str = "directories/zylker.yaml";

/// Flux's controller, with a Git repository that only [`Repository::push`] looks at, and a webhook in the place of Flux's
/// notification-controller.
fn controller(site: &Site, notified: &Webhook) -> Process {
    let controller = built("kustomize-controller");
    site.kubectl(&["apply", "--server-side", "-f", controller.with_extension("yaml").to_str().unwrap()]);
    site.established(&["crd", "--all"]);
    site.kubectl(&["create", "namespace", FLUX]);
    let source = json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "metadata": {"name": FLUX, "namespace": FLUX},
        "spec": {"url": "https://git.zylker.biz/platform/credreset.git", "interval": "10m"},
    });
    site.apply(&source.to_string());
    let log = fs::File::create(site.dir.join("flux.log")).unwrap();
    Process::start(
        Command::new(&controller)
            .args(["--metrics-addr=127.0.0.1:0", "--health-addr=127.0.0.1:0", "--requeue-dependency=1s"])
            .arg(format!("--events-addr={}", notified.url))
            .env("KUBECONFIG", site.kubeconfig())
            .env("RUNTIME_NAMESPACE", FLUX)
            .env("TMPDIR", &site.dir)
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(log),
    )
}

/// The layout's Directory, at the sandbox, with a rule whose users need no approval.
fn directory(site: &Site) -> Value {
    let sandbox = text("examples/zoho-sandbox/directory.yaml").replace("http://127.0.0.1:8090", &site.sandbox.url);
    let sandbox: Vec<Value> = serde_saphyr::from_multiple(&sandbox).unwrap();
    site.apply(&sandbox[0].to_string());
    let mut directory: Value = serde_saphyr::from_str(&text(&format!("examples/gitops/{ZYLKER}"))).unwrap();
    directory["spec"]["provider"] = sandbox[1]["spec"]["provider"].clone();
    merge(&mut directory, json!({"spec": {"limits": {"resetsPerHour": 1000, "minIntervalPerUser": "0s"}}}));
    let mut approved = directory["spec"]["allow"][0].clone();
    merge(
        &mut approved,
        json!({"name": "two", "users": {"emailDomains": ["slow.example"]}, "approvals": {"count": 1}}),
    );
    directory["spec"]["allow"].as_array_mut().unwrap().push(approved);
    directory
}

fn patch(site: &Site, namespace: &str, name: &str, spec: Value) {
    let spec = json!({ "spec": spec }).to_string();
    site.kubectl(&["patch", "kustomization", "-n", namespace, name, "--type=merge", "-p", &spec]);
}

fn ready(site: &Site, name: &str) -> String {
    condition(&site.reset(name), "Ready").unwrap().1
}

fn calls(site: &Site) -> u64 {
    site.sandbox.count("reset-password")
}

#[test]
fn flux_on_the_layout() {
    let site = Site::with(&Setup { sandbox: ["--users", "20"].map(str::to_owned).to_vec(), ..Setup::default() });
    if !site.is_own() {
        return; // it brings kinds and accounts
    }
    let _operator = site.operator();
    let notified = Webhook::start(&site.dir, "webhook-flux", 0);
    let _flux = controller(&site, &notified);
    // What brings Helm's charts is left out: an operator runs already.
    let mut repository = Repository::new(&site);
    repository.write(ZYLKER, &directory(&site).to_string());
    let stand_in =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "operator", "namespace": SYSTEM}});
    repository.write("flux/operator/charts.yaml", &stand_in.to_string());
    repository.remove("resets/annette-locked-out.yaml");
    // A second folder of the same make, for what takes its time: an answer that is lost.
    let layout = fs::read_to_string(repository.file("flux/cluster/resets.yaml")).unwrap();
    fs::create_dir(repository.file("second")).unwrap();
    let second = layout.replace(RESETS_FOLDER, "second").replace("./resets", "./second");
    repository.write("flux/cluster/second.yaml", &second);
    site.sandbox.fault(json!({"call": "reset-password", "user": "710000001", "fault": "drop-before"}));
    repository.write("second/lost.yaml", &reset("lost", 1, json!({})));
    repository.push();
    site.kubectl(&["apply", "-f", repository.file("flux/cluster").to_str().unwrap()]);

    applied_edited_and_put_back(&mut repository);
    wrong_files(&mut repository);
    refused(&mut repository);
    told(&notified);
    // Unknown: while it is being found out Flux waits; then it is red, too.
    site.until("lost", "OutcomeUnknown");
    repository.stays_red("second", "lost");
    forced(&mut repository);
    waits(&mut repository);
    variables(&mut repository);
}

fn applied_edited_and_put_back(repository: &mut Repository) {
    const FILE: &str = "resets/applied.yaml";
    let site = repository.site;
    let applied = reset("applied", 2, json!({}));
    repository.write(FILE, &applied);
    repository.push();
    repository.is_green(RESETS_FOLDER);
    assert_eq!(ready(site, "applied"), "Applied");
    let (uid, at_first) = (site.reset("applied")["metadata"]["uid"].clone(), calls(site));

    // Edited, and only respelt: the folder stops, and says why. Put back: it goes on.
    let mut edited: Value = serde_json::from_str(&applied).unwrap();
    edited["spec"]["reason"] = json!("Another reason, HELP-4713");
    for edited in [edited.to_string(), applied.replace("Z\"", "+00:00\"")] {
        assert_ne!(edited, applied);
        repository.write(FILE, &edited);
        repository.push();
        let expected = "a request never changes: file a new one under another name";
        repository.until(RESETS_FOLDER, "False", "ReconciliationFailed", expected);
    }
    repository.write(FILE, &applied);
    repository.push();
    repository.is_green(RESETS_FOLDER);
    assert_eq!((&site.reset("applied")["metadata"]["uid"], calls(site)), (&uid, at_first));

    // Removed: the object goes, the password stays. Put back: it was carried out before.
    repository.remove(FILE);
    repository.push();
    repository.is_green(RESETS_FOLDER);
    site.when("the request to go", &RESETS, |all| (!all.contains_key("applied")).then_some(()));
    let password = site.secret(TEAM, "applied-password", "password");
    assert_eq!(site.sandbox.sign_in(&format!("user0002{USERS}"), &password), "must-change");
    repository.write(FILE, &applied);
    repository.push();
    repository.is_green(RESETS_FOLDER);
    assert_eq!((ready(site, "applied").as_str(), calls(site)), ("AlreadyApplied", at_first));
}

/// Among good ones: nothing of the folder is applied, until they are gone.
fn wrong_files(repository: &mut Repository) {
    let site = repository.site;
    repository.write("resets/good.yaml", &reset("good", 3, json!({})));
    let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other", "namespace": TEAM}});
    let to_nobody = reset("wrong", 4, json!({"spec": {"password": {"deliverTo": null}}}));
    let elsewhere = reset("wrong", 4, json!({"spec": {"directory": "limited"}}));
    for (wrong, reason, expected) in [
        (to_nobody, "ReconciliationFailed", "a generated password must be delivered"),
        (elsewhere, "ReconciliationFailed", "needs the verb use on directories/limited"),
        (other.to_string(), "ReconciliationFailed", "configmaps \"other\" is forbidden"),
        ("a: b: c".to_owned(), "BuildFailed", "resets/wrong.yaml"),
    ] {
        repository.write("resets/wrong.yaml", &wrong);
        repository.push();
        repository.until(RESETS_FOLDER, "False", reason, expected);
        assert_eq!(site.kubectl(&["get", "creset", "-n", TEAM, "good", "--ignore-not-found"]), "", "{expected}");
    }
    repository.remove("resets/wrong.yaml");
    repository.push();
    repository.is_green(RESETS_FOLDER);
    assert_eq!(ready(site, "good"), "Applied");
}

/// Red for as long as the file is there.
fn refused(repository: &mut Repository) {
    let site = repository.site;
    let administrator = json!({"spec": {"user": {"email": format!("femi.a{USERS}")}}});
    repository.write("resets/refused.yaml", &reset("refused", 0, administrator));
    repository.push();
    repository.stays_red(RESETS_FOLDER, "refused");
    assert_eq!(ready(site, "refused"), "UserProtected");
    // Why the layout skips nothing that is there.
    let skip = json!({"commonMetadata": {"annotations": {"kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent"}}});
    patch(site, TEAM, RESETS_FOLDER, skip);
    repository.until(RESETS_FOLDER, "True", "ReconciliationSucceeded", "");
    patch(site, TEAM, RESETS_FOLDER, json!({"commonMetadata": null}));
    repository.stays_red(RESETS_FOLDER, "refused");
    repository.remove("resets/refused.yaml");
    repository.push();
    repository.is_green(RESETS_FOLDER);
}

/// The message of an event that Flux posts.
fn said(event: &Value) -> String {
    event["message"].as_str().unwrap().to_owned()
}

/// What docs/notifications.md shows, in each run, and what it says of other messages.
fn told(notified: &Webhook) {
    let named = format!("CredentialReset/{TEAM}/refused status: 'Failed'");
    let failed = notified.until("two runs", |all| {
        let found = all.iter().filter(|event| said(event).contains(&named));
        let found: Vec<Value> = found.cloned().collect();
        (found.len() > 1).then_some(found)
    });
    let shown = blocks("docs/notifications.md", "json flux").concat().replace("femi-locked-out", "refused");
    let mut shown: Value = serde_json::from_str(&shown).unwrap();
    for event in failed {
        // But for the time that the check took.
        let [after, expected] = [&event, &shown].map(|event| said(event).split_once(": ").unwrap().1.to_owned());
        assert_eq!(after, expected);
        shown["message"] = event["message"].clone();
        arrived(&shown, &event);
    }
    for (severity, expected) in [
        ("info", format!("CredentialReset/{TEAM}/applied created")),
        ("info", "Health check passed in ".to_owned()),
        ("error", "a request never changes: file a new one under another name".to_owned()),
        ("error", "needs the verb use on directories/limited".to_owned()),
    ] {
        let mut all = notified.taken().into_iter();
        assert!(all.any(|event| event["severity"] == severity && said(&event).contains(&expected)), "{expected}");
    }
}

/// With `force`, an edited file is another object for the same request.
fn forced(repository: &mut Repository) {
    let site = repository.site;
    let before = calls(site);
    patch(site, TEAM, RESETS_FOLDER, json!({"force": true}));
    let asked = &site.reset("applied")["spec"]["requestedAt"];
    let edited = json!({"spec": {"requestedAt": asked, "reason": "Another reason, HELP-4713"}});
    repository.write("resets/applied.yaml", &reset("applied", 2, edited));
    repository.push();
    repository.stays_red(RESETS_FOLDER, "applied");
    assert_eq!((ready(site, "applied").as_str(), calls(site)), ("ConflictingRequest", before));
    patch(site, TEAM, RESETS_FOLDER, json!({"force": null}));
    repository.remove("resets/applied.yaml");
}

/// One that waits for an approval holds the folder up until its timeout.
fn waits(repository: &mut Repository) {
    let site = repository.site;
    site.sandbox.send("PATCH", "/sandbox/users/710000009", &json!({"emails": ["user0009@slow.example"]}));
    // Review has checked who asked: the page says that the account needs the verb for that.
    let account = text("examples/gitops/directories/pipeline.yaml").replace("verbs: [use]", "verbs: [use, vouch]");
    repository.write("directories/pipeline.yaml", &account);
    let slow = json!({"spec": {"user": {"email": "user0009@slow.example"}, "requestedBy": "hana"}});
    repository.write("resets/waits.yaml", &reset("waits", 9, slow));
    repository.push();
    let expected = format!("timeout waiting for: [CredentialReset/{TEAM}/waits status: 'InProgress']");
    repository.until(RESETS_FOLDER, "False", "HealthCheckFailed", &expected);
    assert_eq!(ready(site, "waits"), "AwaitingApproval");
    repository.remove("resets/waits.yaml");
    repository.push();
    repository.is_green(RESETS_FOLDER);
}

/// Of Flux's own, where a Directory has templates.
fn variables(repository: &mut Repository) {
    let site = repository.site;
    patch(site, FLUX, "credreset-directories", json!({"postBuild": {"substitute": {"cluster": "blue"}}}));
    let object = repository.reconcile(FLUX, "credreset-directories");
    assert_eq!(condition(&object, "Ready").unwrap(), ("False".into(), "BuildFailed".into()));
    assert!(message(&object).contains("variable substitution failed"), "{}", message(&object));
    let mut directory = directory(site);
    directory["metadata"]["annotations"]["kustomize.toolkit.fluxcd.io/substitute"] = json!("disabled");
    repository.write(ZYLKER, &directory.to_string());
    repository.push();
    repository.is_green(RESETS_FOLDER);
}
