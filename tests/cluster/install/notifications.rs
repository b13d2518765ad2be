//! Somebody is told: the recipes of docs/notifications.md, with its own commands and files, about requests of a real operator. Argo CD's
//! notifications controller (tests/status-tools) reads an Application as Argo CD writes it, and `sh` runs what the Deployment runs. What Flux
//! posts is in flux.rs.
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
};

use serde_json::{Value, json};

use super::status_tools::{PROGRAM, tools};
use crate::support::{
    Process, SYSTEM, Setup, Site, TEAM, blocks, gist, password_reset, path, text, wait_for, webhook::Webhook,
};

/// The requests of the page, with the reasons that they get.
const ENDS: [(&str, &str); 3] =
    [("annette-locked-out", "Applied"), ("femi-locked-out", "UserProtected"), ("hiro-locked-out", "OutcomeUnknown")];
/// Two commits, of which the page shows the first letters.
const COMMITS: [&str; 2] = ["3f2a91c4e5d60718293a4b5c6d7e8f9001122334", "77b0c1d2e3f405162738495a6b7c8d9e0f112233"];

#[test]
fn somebody_is_told() {
    let site = Site::with(&Setup { sandbox: ["--users", "5"].map(str::to_owned).to_vec(), ..Setup::default() });
    if !site.is_own() {
        return; // it brings kinds and accounts
    }
    site.usual_directory();
    site.directory("unsure", json!({"limits": {"resetsPerHour": 1000, "requestTimeout": "1s"}}));
    site.sandbox.fault(json!({"call": "reset-password", "user": "700012307", "fault": "drop-before"}));
    events(&site);
    argo_cd(&site);
    // The address, where the Provider of examples/notifications/flux.yaml looks for it.
    site.shell(&path("."), &blocks("docs/notifications.md", "sh flux").concat());
    let [provider, _] = flux();
    let secret = provider["spec"]["secretRef"]["name"].as_str().unwrap().to_owned();
    assert_eq!(site.secret(TEAM, &secret, "address"), "https://hooks.zylker.biz/flux");
}

/// The Provider and the Alert of the page.
fn flux() -> [Value; 2] {
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text("examples/notifications/flux.yaml")).unwrap();
    objects.try_into().unwrap()
}

/// The reset of each user of the page.
fn requests() -> String {
    let unsure = json!({"spec": {"directory": "unsure"}});
    let all = [("annette.c", json!({})), ("femi.a", json!({})), ("hiro.t", unsure)];
    let all = ENDS
        .iter()
        .zip(all)
        .map(|((name, _), (user, patch))| password_reset(name, &format!("{user}@zylker.biz"), patch));
    all.collect::<Vec<_>>().join("\n---\n")
}

/// Each thing that the page shows is in what arrived, but for what differs from run to run.
pub(super) fn arrived(shown: &Value, all: &Value) {
    match shown {
        Value::Object(fields) => {
            for (name, value) in fields {
                arrived(value, &all[name]);
            }
        }
        Value::String(text) => assert_eq!(gist(all.as_str().unwrap_or_default()), gist(text), "{all}"),
        other => assert_eq!(all, other),
    }
}

/// What the Deployment's container runs.
struct Forwarder {
    folder: PathBuf,
    script: Child,
}

impl Forwarder {
    /// With what Kubernetes puts into the container: script, account, webhook and a folder that stays.
    fn start(site: &Site) -> Self {
        let folder = site.dir.join("forwarder");
        for name in ["account", "webhook", "state"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        let script = &site.get(&["configmap", "-n", SYSTEM, "credreset-events"])["data"]["forward.sh"];
        fs::write(folder.join("forward.sh"), script.as_str().unwrap()).unwrap();
        fs::write(folder.join("webhook/config"), site.secret(SYSTEM, "events-webhook", "config")).unwrap();
        let token = site.kubectl(&["create", "token", "-n", SYSTEM, "credreset-events"]);
        fs::write(folder.join("account/token"), token.trim()).unwrap();
        let authority = "{.clusters[0].cluster.certificate-authority-data}";
        let view = format!("kubectl config view --raw --flatten --minify -o jsonpath='{authority}' | base64 -d");
        fs::write(folder.join("account/ca.crt"), site.shell(&folder, &view)).unwrap();
        let server = "-o=jsonpath={.clusters[0].cluster.server}";
        let server = site.kubectl(&["config", "view", "--raw", "--flatten", "--minify", server]);
        Self { script: Self::run(site, &folder, &server), folder }
    }

    /// A process group of its own, as a container ends with all that is in it.
    fn run(site: &Site, folder: &Path, server: &str) -> Child {
        let deployment = site.get(&["deployment", "-n", SYSTEM, "credreset-events"]);
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["command"], json!(["sh", "/script/forward.sh"]));
        let mut command = Command::new("sh");
        for variable in container["env"].as_array().unwrap() {
            let (name, value) = (variable["name"].as_str().unwrap(), variable["value"].as_str().unwrap());
            let value = match name {
                "API" => PathBuf::from(server),
                "ACCOUNT" | "WEBHOOK" | "STATE" => folder.join(name.to_lowercase()),
                _ => value.into(),
            };
            command.env(name, value);
        }
        let log = File::options().create(true).append(true).open(site.dir.join("forwarder.log")).unwrap();
        // Proxies of the machine are not for loopback.
        command.arg("forward.sh").current_dir(folder).env("NO_PROXY", "*").env("no_proxy", "*").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::from(log.try_clone().unwrap())).stderr(log).spawn().expect("sh")
    }

    /// Waits until it has noted each of these as posted.
    fn has_noted(&self, posted: &[Value]) {
        let files = ["posted", "before"].map(|name| self.folder.join("state").join(name));
        wait_for("what was posted to be noted", || {
            let noted: String = files.iter().flat_map(fs::read_to_string).collect();
            posted.iter().all(|event| noted.contains(&version(event))).then_some(())
        });
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        let group = format!("-{}", self.script.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.script.wait();
    }
}

/// An Event's, as the script notes it.
fn version(event: &Value) -> String {
    let of = |name: &str| event["object"]["metadata"][name].as_str().unwrap().to_owned();
    format!("{} {}", of("uid"), of("resourceVersion"))
}

/// All Events about requests, as a watch has them.
fn published(site: &Site) -> Vec<Value> {
    let all = site.get(&["events", "-n", TEAM, "--field-selector=involvedObject.kind=CredentialReset"]);
    all["items"].as_array().unwrap().iter().map(|event| json!({ "object": event })).collect()
}

/// The Event that says of this request that it has this reason.
fn event<'a>(all: &'a [Value], name: &str, reason: &str) -> Option<&'a Value> {
    all.iter().find(|e| e["object"]["involvedObject"]["name"] == name && e["object"]["reason"] == reason)
}

fn events(site: &Site) {
    // Refused once, as one that is down.
    let webhook = Webhook::start(&site.dir, "webhook-events", 1);
    let commands = blocks("docs/notifications.md", "sh events").concat();
    let address = "https://hooks.zylker.biz/credreset";
    assert!(commands.contains(address), "{commands}");
    site.shell(&path("."), &commands.replace(address, &webhook.url));
    // Its account watches Events in one namespace.
    let account = format!("--as=system:serviceaccount:{SYSTEM}:credreset-events");
    for (verb, what, namespace, yes) in [
        ("watch", "events", TEAM, true),
        ("watch", "events", SYSTEM, false),
        ("get", "secrets", TEAM, false),
        ("get", "secrets", SYSTEM, false),
        ("get", "credentialresets.credreset.dev", TEAM, false),
    ] {
        let output = site.try_kubectl(&["auth", "can-i", verb, what, "-n", namespace, &account], "");
        assert_eq!(output.status.success(), yes, "{verb} {what} in {namespace}");
    }
    // About something else in the same namespace.
    let other = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "other", "namespace": TEAM}, "type": "Normal", "reason": "Applied",
        "message": "Not about a request.",
        "involvedObject": {"apiVersion": "v1", "kind": "ConfigMap", "namespace": TEAM, "name": "other"},
    });
    site.apply(&other.to_string());

    let operator = site.operator();
    for directory in ["zylker", "unsure"] {
        site.until_directory(directory, "Connected");
    }
    let forwarder = Forwarder::start(site);
    site.apply(&requests());
    for (name, reason) in ENDS {
        site.until(name, reason);
    }
    let all_ended = |all: &[Value]| ENDS.iter().all(|(name, reason)| event(all, name, reason).is_some());
    webhook.until("an Event for each outcome", |all| all_ended(all).then_some(()));
    let shown: Value = serde_json::from_str(&blocks("docs/notifications.md", "json events").concat()).unwrap();
    arrived(&shown, event(&webhook.taken(), ENDS[0].0, ENDS[0].1).unwrap());
    let kinds = ENDS.map(|(name, reason)| event(&webhook.taken(), name, reason).unwrap()["object"]["type"].clone());
    assert_eq!(kinds, ["Normal", "Warning", "Warning"]);

    // Another container: what was posted before is not posted again, and what comes is. An Event that the operator publishes late is not
    // there any more once it has stopped.
    assert_eq!(operator.stop(), Some(0));
    forwarder.has_noted(&published(site));
    drop(forwarder);
    let operator = site.operator();
    site.apply(&password_reset("missed", "user0001@zylker.biz", json!({})));
    site.until("missed", "Applied");
    let _forwarder = Forwarder::start(site);
    webhook.until("the Event that was missed", |all| event(all, "missed", "Applied").map(drop));
    site.apply(&password_reset("next", "user0002@zylker.biz", json!({})));
    site.until("next", "Applied");
    webhook.until("the next Event", |all| event(all, "next", "Applied").map(drop));
    assert_eq!(operator.stop(), Some(0));
    let published: BTreeSet<String> = published(site).iter().map(version).collect();
    let all = webhook
        .until("every Event", |all| published.is_subset(&all.iter().map(version).collect()).then(|| all.to_vec()));
    let versions: BTreeSet<String> = all.iter().map(version).collect();
    assert_eq!(versions.len(), all.len(), "{all:#?}");
    assert!(all.iter().all(|event| event["object"]["involvedObject"]["kind"] == "CredentialReset"), "{all:#?}");
}

/// Argo CD's own kinds and settings, as its installation brings them.
fn argo_cd_is_installed(site: &Site) {
    let module = module("github.com/argoproj/argo-cd/v3").join("manifests/crds");
    for kind in ["application", "appproject"] {
        let file = module.join(format!("{kind}-crd.yaml"));
        site.kubectl(&["apply", "--server-side", "-f", file.to_str().unwrap()]);
        let name = format!("crd/{kind}s.argoproj.io");
        site.established(&[&name]);
    }
    site.kubectl(&["create", "namespace", "argocd"]);
    site.kubectl(&["create", "configmap", "argocd-cmd-params-cm", "-n", "argocd"]);
    let mine = "--from-literal=template.mine=message: mine";
    site.kubectl(&["create", "configmap", "argocd-notifications-cm", "-n", "argocd", mine]);
    site.kubectl(&["create", "secret", "generic", "argocd-notifications-secret", "-n", "argocd"]);
    site.kubectl(&["apply", "-f", path("examples/gitops/argocd/resets.yaml").to_str().unwrap()]);
}

/// The folder of a module that tests/status-tools is built from.
fn module(name: &str) -> PathBuf {
    LazyLock::force(&PROGRAM); // downloads it
    let mut go = Command::new("go");
    go.arg("-C").arg(path("tests/status-tools")).args(["list", "-m", "-f", "{{.Dir}}", name]);
    let output = go.stderr(Stdio::inherit()).output().expect("go");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// The status that Argo CD writes when it has synced a commit of these requests. `kept`: with the health of each, which Argo CD's
/// library finds in it (`controller.resource.health.persist`).
fn synced(revision: &str, requests: &[Value], kept: bool) -> Value {
    let now = jiff::Timestamp::now().strftime("%FT%TZ").to_string();
    let views = tools(requests);
    let resources = requests.iter().zip(&views).map(|(request, view)| {
        let mut resource = json!({
            "group": "credreset.dev", "version": "v1alpha1", "kind": "CredentialReset", "namespace": TEAM,
            "name": request["metadata"]["name"], "status": "Synced",
        });
        if kept {
            resource["health"] = json!({"status": view.health, "message": view.messages[1]});
        }
        resource
    });
    let worst = if views.iter().any(|view| view.health == "Degraded") { "Degraded" } else { "Healthy" };
    json!({"status": {
        "resources": resources.collect::<Vec<_>>(),
        "resourceHealthSource": if kept { Value::Null } else { json!("appTree") },
        "health": {"status": worst},
        "sync": {"status": "Synced", "revision": revision},
        "operationState": {
            "operation": {"sync": {"revision": revision}}, "phase": "Succeeded", "message": "successfully synced (all tasks run)",
            "startedAt": now, "finishedAt": now,
        },
        "reconciledAt": now,
    }})
}

fn argo_cd(site: &Site) {
    argo_cd_is_installed(site);
    let webhook = Webhook::start(&site.dir, "webhook-argocd", 0);
    let commands = blocks("docs/notifications.md", "sh argocd").concat();
    let address = "https://chat.zylker.biz/hooks/credreset";
    assert!(commands.contains(address), "{commands}");
    site.shell(&path("."), &commands.replace(address, &webhook.url));
    let settings = site.get(&["configmap", "-n", "argocd", "argocd-notifications-cm"])["data"].clone();
    assert_eq!(settings["template.mine"], "message: mine", "what was there before");

    // Argo CD logs the address, as the page says, and the logs of a site are searched for what is in Secrets.
    let log = site.dir.join("argocd.out");
    let output = File::create(&log).unwrap();
    let flags = ["notifications", "--namespace", "argocd", "--metrics-port", "0", "--logformat", "json"];
    let mut command = Command::new(&*PROGRAM);
    command.args(flags).arg("--kubeconfig").arg(site.kubeconfig());
    let _controller = Process::start(command.stdout(Stdio::from(output.try_clone().unwrap())).stderr(output));

    let of = |names: &[&str]| names.iter().map(|name| site.reset(name)).collect::<Vec<_>>();
    let write = |status: &Value| {
        let status = status.to_string();
        site.kubectl(&["patch", "application", "-n", "argocd", "credreset-resets", "--type=merge", "-p", &status]);
    };
    // Waits for this many messages, and until the controller has seen its own note that this one was sent: a change of the Application
    // before that could make it forget.
    let sent = |messages: usize, noted: &str| {
        let all = webhook.until(noted, |all| (all.len() >= messages).then(|| all.to_vec()));
        let noted = format!("Notification about condition '{noted}");
        wait_for(&noted, || {
            let text = fs::read_to_string(&log).unwrap();
            text.lines().any(|line| line.contains(&noted) && line.contains(" already sent to ")).then_some(())
        });
        assert_eq!(all.len(), messages, "{all:#?}");
        all.last().unwrap()["text"].as_str().unwrap().to_owned()
    };
    let shown = |text: &str, shown: &str| {
        assert_eq!(text.lines().count(), shown.lines().count(), "{text}");
        for (line, shown) in text.lines().zip(shown.lines()) {
            let shown = shown.trim_end_matches("...");
            assert!(gist(line).starts_with(&gist(shown)), "{line}\n{shown}");
        }
    };

    let [first, second] = COMMITS;
    let [annette, femi, hiro] = ENDS.map(|(name, _)| name);
    // Two are red, once.
    write(&synced(first, &of(&[annette, femi, hiro]), true));
    let text = sent(1, "credreset-failed.[0].");
    shown(&text, &blocks("docs/notifications.md", "text argocd-failed").concat());
    // The next commit adds nothing red, and one removes what is.
    write(&synced(second, &of(&[annette, femi, hiro]), true));
    write(&synced(second, &of(&[annette]), true));
    let text = sent(2, "credreset-done.[0].");
    shown(&text, &blocks("docs/notifications.md", "text argocd-done").concat());
    // As Argo CD is by itself.
    write(&synced(first, &of(&[annette, femi]), false));
    let text = sent(3, "credreset-failed.[1].");
    assert!(text.contains("Argo CD does not say which: set controller.resource.health.persist."), "{text}");
    assert!(fs::read_to_string(&log).unwrap().contains(&webhook.url), "the page says that the address is in the log");
}

/// Flux' own types have what is in the files, and its Alerts know its own kinds only.
#[test]
fn flux_knows_what_is_asked_of_it() {
    let objects = flux();
    let mut tool = Command::new(&*PROGRAM).arg("alerts").stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = tool.stdin.take().unwrap();
    for object in &objects {
        writeln!(stdin, "{object}").unwrap();
    }
    drop(stdin);
    assert!(tool.wait().unwrap().success(), "see above");

    let [provider, alert] = &objects;
    assert_eq!(alert["spec"]["providerRef"]["name"], provider["metadata"]["name"]);
    let resets = text("examples/gitops/flux/cluster/resets.yaml");
    let resets: Value = serde_saphyr::from_str(&resets).unwrap();
    let source = &alert["spec"]["eventSources"][0];
    assert_eq!(source["kind"], resets["kind"]);
    for part in ["name", "namespace"] {
        assert_eq!(source[part], resets["metadata"][part]);
    }

    // What the definition of the kind is generated from.
    let source = module("github.com/fluxcd/notification-controller/api").join("v1/reference_types.go");
    let source = fs::read_to_string(source).unwrap();
    let kinds = source.lines().find_map(|line| line.trim().strip_prefix("// +kubebuilder:validation:Enum="));
    let kinds: Vec<&str> = kinds.expect("the kinds").split(';').collect();
    assert!(kinds.contains(&"Kustomization") && !kinds.contains(&"CredentialReset"), "{kinds:?}");
}
