//! The operator's rights, memory, readiness, secrecy and configuration errors.
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::json;

use crate::support::{RECORDS, RESETS, SYSTEM, Site, TEAM, chart, mfa_reset, password_reset, rules, time, wait_for};
use crate::{IMAGE, etcd::Etcd, support::program};

const EMAIL: &str = "annette.c@zylker.biz";

/// RBAC has what the operator does and nothing else: every rule was used, and nothing was forbidden.
#[test]
fn rights_are_exactly_what_is_used() {
    let site = Site::start();
    if !site.is_own() {
        println!("compared only where the API server is our own, with an audit log");
        return;
    }
    // A record whose time has passed, and a password Secret that nothing needs.
    let past = time(-400_000);
    site.apply(&json!({
        "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialResetRecord",
        "metadata": {"name": "r-old", "namespace": SYSTEM},
        "spec": {
            "directory": "zylker", "directoryIdentity": "x", "user": {"id": "1", "name": "x"}, "mode": "MFA", "requestedAt": past,
            "expiresAt": past, "keepUntil": past, "request": {"namespace": TEAM, "name": "x", "uid": "x", "key": "x", "digest": "x"},
            "call": {"resetMFA": {}}, "finish": {"deliverTo": "old", "expiresAfter": "PT1H"}, "attempt": {"id": "x", "number": 1, "holder": "x", "startedAt": past, "deadline": past}, "state": "Applied",
        },
    }).to_string());
    // It has delivered a Secret, which has expired: that goes first.
    let annotations = json!({"credreset.dev/record": "r-old", "credreset.dev/expires-at": past});
    site.apply_own(vec![
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "old", "namespace": TEAM, "annotations": annotations}}),
    ]);
    site.directory("zylker", json!({"limits": {"resetsPerHour": 1000}, "allow": [
        {"name": "labelled", "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": TEAM}}, "modes": ["Password", "MFA"], "users": {"everyone": true}},
    ]}));
    let operator = site.operator();
    site.kubectl(&["wait", "--for=condition=Ready", "--timeout=600s", "directory/zylker"]);
    site.apply(&password_reset("password", EMAIL, json!({})));
    site.until("password", "Applied");
    // The same reason twice on one object: a series of Events.
    let suspend = |yes: bool| {
        let patch = json!({"spec": {"suspend": yes}}).to_string();
        site.kubectl(&["patch", "directory", "zylker", "--type=merge", "-p", &patch]);
    };
    suspend(true);
    site.apply(&mfa_reset("mfa", EMAIL, json!({})));
    site.until("mfa", "DirectorySuspended");
    site.kubectl(&["patch", "directory", "zylker", "--type=merge", "-p", r#"{"spec":{"suspend":false,"allow":[]}}"#]);
    site.until("mfa", "NotAllowed");
    suspend(true);
    site.until("mfa", "DirectorySuspended");
    // A rule that asks for approvals.
    let approvals = json!({"spec": {"suspend": false, "allow": [
        {"name": "four-eyes", "namespaces": [TEAM], "modes": ["MFA"], "users": {"everyone": true}, "approvals": {"distinctFromRequester": false}},
    ]}});
    site.kubectl(&["patch", "directory", "zylker", "--type=merge", "-p", &approvals.to_string()]);
    site.until("mfa", "AwaitingApproval");
    site.when("the old record's end", &RECORDS, |all| (!all.contains_key("r-old")).then_some(()));
    assert!(!site.kubectl(&["get", "secrets", "-n", TEAM, "-o", "name"]).contains("secret/old\n"));
    wait_for("the series", || site.audit().iter().any(|a| a.resource == "events" && a.verb == "patch").then_some(()));
    assert_eq!(operator.stop(), Some(0));

    let mut granted = BTreeSet::new();
    for document in
        chart(&[]).iter().filter(|d| ["credreset", "credreset-passwords"].iter().any(|n| d["metadata"]["name"] == *n))
    {
        let place = document["metadata"]["namespace"].as_str().unwrap_or("*").to_owned();
        for (group, resource, verb) in rules(document) {
            assert!(![&group, &resource, &verb].contains(&&"*".to_owned()), "a wildcard in {document}");
            granted.insert((place.clone(), group, resource, verb));
        }
    }
    let mut used = BTreeSet::new();
    for asked in site.audit() {
        assert_ne!(asked.code, 403, "forbidden: {asked:?}");
        // Discovery and such are everybody's.
        if asked.resource.is_empty() {
            continue;
        }
        let cluster_wide = !(asked.namespace == SYSTEM || asked.namespace == TEAM)
            || asked.group == "events.k8s.io"
            || (asked.group == "credreset.dev"
                && !["credentialresetrecords", "credentialresetsettlements"].contains(&asked.resource.as_str()))
            || asked.resource == "namespaces";
        let place = if cluster_wide { "*".to_owned() } else { asked.namespace };
        used.insert((place, asked.group, asked.resource, asked.verb));
    }
    assert_eq!(granted, used, "left: granted in RBAC, right: seen in the audit log");
}

/// Every site's outputs are searched for its secrets when it is dropped (tests/support/leaks.rs). Here are those that nothing shows
/// by then: passwords of each kind, and the outputs of processes that still run.
#[test]
fn no_secret_in_any_output() {
    let site = Site::start();
    site.directory("zylker", json!({"limits": {"resetsPerHour": 1000}}));
    let operator = site.operator();
    site.kubectl(&["wait", "--for=condition=Ready", "--timeout=600s", "directory/zylker"]);
    site.kubectl(&["create", "secret", "generic", "-n", TEAM, "chosen", "--from-literal=password=Entered/by+hand=7"]);
    site.apply(&password_reset("generated", EMAIL, json!({"spec": {"password": {"emailToUser": true}}})));
    site.until("generated", "Applied");
    let entered = json!({"spec": {"requestedAt": time(0), "password": {"generate": null, "deliverTo": null, "fromSecret": {"name": "chosen"}}}});
    site.apply(&password_reset("entered", EMAIL, entered));
    site.until("entered", "Applied");
    site.sandbox.fault(json!({"call": "reset-password", "fault": "apply-then-drop"}));
    site.apply(&password_reset("lost", "jan.n@zylker.biz", json!({})));
    site.until("lost", "Verifying");
    let metrics = operator.metrics();
    assert!(metrics.contains("credreset_directory_call_duration_seconds_count"), "{metrics}");
    assert!(operator.read_log().contains("TRACE"), "the log is at trace level");
    // The folder's logs are searched.
    for (name, text) in [
        ("metrics.log", metrics),
        ("page.log", crate::support::http_get(&site.sandbox.url, "/").1),
        ("calls.log", site.sandbox.get("/sandbox/calls").to_string()),
    ] {
        std::fs::write(site.dir.join(name), text).unwrap();
    }
    assert_eq!(site.leaks(), [""; 0]);
    // And what is there is found.
    std::fs::write(site.dir.join("leak.log"), "the password is Entered%2Fby%2Bhand%3D7\n").unwrap();
    assert!(site.leaks().iter().any(|at| at.contains("leak.log")));
    std::fs::remove_file(site.dir.join("leak.log")).unwrap();
}

/// Bad configuration ends at once with one sentence.
#[test]
fn bad_configuration() {
    let run = |arguments: &[&str], kubeconfig: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_credreset"))
            .arg("run")
            .args(arguments)
            .env("KUBECONFIG", kubeconfig)
            .env_remove("KUBERNETES_SERVICE_HOST")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (arguments, kubeconfig, expected) in [
        (&["--listen", "nowhere"][..], "", "--listen"),
        (&["--concurrency", "0"], "", "--concurrency"),
        (&["--log", "credreset=loud=er"], "", "--log"),
        (&["--listen", "203.0.113.1:1"], "", "cannot listen on"),
        (&["--listen", "127.0.0.1:0"], "/nonexistent/kubeconfig", "KUBECONFIG names /nonexistent/kubeconfig"),
    ] {
        let (code, printed) = run(arguments, kubeconfig);
        assert!(code.is_some_and(|c| c == 1 || c == 2), "{arguments:?}: {code:?}");
        assert!(printed.contains(expected), "{arguments:?}: {printed}");
        assert!(!printed.contains("panicked"), "{printed}");
    }
    let help = Command::new(env!("CARGO_BIN_EXE_credreset")).args(["run", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for variable in ["CREDRESET_NAMESPACE", "CREDRESET_LISTEN", "CREDRESET_LOG"] {
        assert!(help.contains(variable), "{help}");
    }
}

/// `HTTPS_PROXY` leads to the API server, too, unless `NO_PROXY` names it.
#[test]
fn proxy_of_the_environment() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let folder = std::env::temp_dir().join(format!("credreset-test-proxy-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let kubeconfig = folder.join("kubeconfig");
    listener.set_nonblocking(true).unwrap();
    // What the command says first to whomever it connects to.
    let first = |command: &[&str], server: &str, no_proxy: &str| {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
            "clusters": [{"name": "x", "cluster": {"server": format!("https://{server}")}}],
            "users": [{"name": "x", "user": {"token": "x"}}],
        });
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_credreset"))
            .args(command)
            .env("KUBECONFIG", &kubeconfig)
            .env("HTTPS_PROXY", format!("http://{address}"))
            .env("NO_PROXY", no_proxy)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut bytes = vec![0; 64];
        let count = wait_for("a connection", || {
            if child.try_wait().unwrap().is_some() {
                return Some(Err(std::io::read_to_string(child.stderr.take().unwrap()).unwrap()));
            }
            let (mut stream, _) = listener.accept().ok()?;
            stream.set_nonblocking(false).unwrap();
            Some(Ok(stream.read(&mut bytes).unwrap()))
        });
        child.kill().unwrap();
        child.wait().unwrap();
        while listener.accept().is_ok() {} // its next tries
        bytes.truncate(count.unwrap_or_else(|msg| panic!("{command:?} has ended: {msg}")));
        bytes
    };
    for command in [&["run", "--listen", "127.0.0.1:0"][..], &["approve", "annette"]] {
        // The proxy itself may be named, too.
        let bytes = first(command, "kubernetes.example:6443", "localhost,127.0.0.1");
        assert!(bytes.starts_with(b"CONNECT kubernetes.example:6443 HTTP/1.1\r\n"), "{}", bytes.escape_ascii());
        let bytes = first(command, &address, "localhost,127.0.0.0/8");
        assert_eq!(bytes[0], 0x16, "no TLS with the API server but {}", bytes.escape_ascii());
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// Resident memory follows the work, not the history; and a start takes no time.
#[test]
fn memory_and_start() {
    const MB: u64 = 1024 * 1024;
    const SETTLED: usize = 10_000;
    let release = program(IMAGE);
    let site = Site::start();
    site.usual_directory();
    let measure = |name: &str| {
        let operator = site.operator_of(&release, name, "info");
        // Of a processor: the machine may be busy with other things.
        let start = operator.cpu();
        site.kubectl(&["wait", "--for=condition=Ready", "--timeout=600s", "directory/zylker"]);
        site.apply(&mfa_reset(name, EMAIL, json!({"spec": {"requestedAt": time(0)}})));
        site.until(name, "Applied");
        let (resident, own) = operator.memory();
        println!("{name}: {} MB resident, {} MB of its own, start {start} s", resident / MB, own / MB);
        assert_eq!(operator.stop(), Some(0));
        (resident, own, start)
    };
    // Most of it is the program as it lies on the disk. The image of the tests is larger than the one to install, of which
    // docs/benchmarks.md has the whole.
    let (at_rest, own, _) = measure("at-rest");
    assert!(at_rest <= 28 * MB && own <= 4 * MB, "{at_rest} bytes at rest, {own} of its own");
    if !site.is_own() {
        return;
    }
    // Requests with their outcome, and their records, from yesterday.
    Etcd::of(&site).copy(0..SETTLED);
    for objects in [&RESETS, &RECORDS] {
        site.when("the history", objects, |all| (all.len() == SETTLED + 1).then_some(()));
    }
    let (with_history, own, start) = measure("with-history");
    assert!(
        with_history <= 30 * MB && own <= 6 * MB,
        "{with_history} bytes with {SETTLED} settled resets, {own} of its own"
    );
    assert!(start < 1.0, "{start} s to start");
}

/// Users who may write requests or approvals cannot end the operator by their size, where no policy bounds it either: what is as
/// large as the API server takes is read in pieces, and most of it is not taken in.
#[test]
fn the_largest_objects_leave_room() {
    const MIB: u64 = 1024 * 1024;
    const LARGE: usize = 72;
    const MANY: usize = 8;
    let site = Site::start();
    if !site.is_own() {
        return;
    }
    site.usual_directory();
    let operator = site.operator_of(Path::new(env!("CARGO_BIN_EXE_credreset")), "first", "info");
    site.apply(&mfa_reset("model", EMAIL, json!({})));
    site.until("model", "Applied");
    assert_eq!(operator.stop(), Some(0));
    let etcd = Etcd::of(&site);
    // etcd takes 1.5 MiB: labels as the API server admits them, and some that are many rather than long.
    let long: BTreeMap<String, String> =
        (0..4000).map(|n| (format!("l{n}.{}/k", "x".repeat(230)), "v".repeat(63))).collect();
    let many: BTreeMap<String, &str> = (0..100_000).map(|n| (format!("l{n}"), "")).collect();
    etcd.lade(0..LARGE, "nowhere", &json!(long));
    etcd.lade(LARGE..LARGE + MANY, "nowhere", &json!(many));
    let operator = site.operator_of(Path::new(env!("CARGO_BIN_EXE_credreset")), "second", "info");
    site.apply(&mfa_reset("other", "jan.n@zylker.biz", json!({"spec": {"requestedAt": time(0)}})));
    site.until("other", "Applied");
    wait_for("all the large ones to be known", || {
        let metrics = operator.metrics();
        let open = metrics.lines().filter(|line| line.starts_with("credreset_open_requests{"));
        let count: usize = open.map(|line| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap()).sum();
        (count >= LARGE + MANY).then_some(())
    });
    let peak = operator.peak();
    println!("{} objects of 1.3 MB and more: at most {} MiB resident", 2 * (LARGE + MANY), peak / MIB);
    assert!(peak <= 256 * MIB, "{peak} bytes");
    assert_eq!(operator.stop(), Some(0));
    etcd.unlade();
}

/// Records are kept for audits as long as documented, and no longer.
#[test]
fn records_are_kept_for_audits() {
    let site = Site::start();
    let of = |name: &str, ended: i64| {
        let at = time(ended);
        json!({
            "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialResetRecord", "metadata": {"name": name, "namespace": SYSTEM},
            "spec": {
                "directory": "zylker", "directoryIdentity": name, "user": {"id": "1", "name": "x"}, "mode": "MFA", "requestedAt": at,
                "expiresAt": at, "keepUntil": at, "request": {"namespace": TEAM, "name": "x", "uid": "x", "key": "x", "digest": "x"},
                "call": {"resetMFA": {}}, "finish": {}, "attempt": {"id": "x", "number": 1, "holder": "x", "startedAt": at, "deadline": at},
                "state": "Applied",
            },
        })
    };
    site.apply_own(vec![of("r-kept", -80_000), of("r-over", -90_000)]);
    let mut command = site.operator_command(Path::new(env!("CARGO_BIN_EXE_credreset")), "keeper", "info", None);
    let operator = site.run(command.env("CREDRESET_KEEP_RECORDS", "1"));
    site.when("the end of the one", &RECORDS, |all| (!all.contains_key("r-over")).then_some(()));
    assert_eq!(operator.stop(), Some(0));
    assert!(site.kubectl(&["get", "crecord", "-n", SYSTEM, "-o", "name"]).contains("r-kept"));
}
