//! `credreset password`: the help desk's hana, with the roles of the chart and no more, reads the password that she hands over.
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use base64::prelude::{BASE64_STANDARD, Engine};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::support::{SYSTEM, Setup, Site, TEAM, built, kubeconfig_of, message, password_reset, template, time};

const ADDRESS: &str = "annette.c@zylker.biz";

/// Exit code, and what it wrote to both outputs, which are no terminal.
fn password(kubeconfig: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_credreset"));
    command.arg("password").args(arguments).env("KUBECONFIG", kubeconfig).stdin(Stdio::null());
    let output = command.output().unwrap();
    let [out, error] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), out, error)
}

#[test]
fn a_delivered_password_is_handed_over() {
    let site = Site::with(&Setup::default());
    site.directory("zylker", json!({"limits": {"resetsPerHour": 100_000, "minIntervalPerUser": "0s"}}));
    let user = |name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name});
    // Hana has what the chart gives to those who read passwords, and no more; vic may read requests.
    let readers = format!("passwordReaders={}", json!([user("hana")]));
    let roles = template(&[&format!("namespaces={}", json!([TEAM])), &readers]).unwrap();
    let mut roles: Vec<Value> =
        roles.into_iter().filter(|object| object["metadata"]["name"] == "credreset-read-passwords").collect();
    assert_eq!(roles.len(), 2, "a Role and its binding");
    roles.push(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "test-view", "namespace": TEAM},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "credreset-view"}, "subjects": [user("vic")],
    }));
    site.apply_own(roles);
    let (hana, vic) = (kubeconfig_of(&site, "hana"), kubeconfig_of(&site, "vic"));

    site.apply(&password_reset("annette", ADDRESS, json!({})));
    let (code, out, error) = password(&hana, &["annette", "--stdout"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(error.contains("has not ended yet"), "{error}");
    let operator = site.operator();
    site.until("annette", "Applied");
    drop(operator);
    let delivered = site.secret(TEAM, "annette-password", "password");

    // Not to who may not read it, not into a pipe without --stdout, not of a request that is not there.
    for (who, arguments, expected) in [
        (&vic, &["annette", "--stdout"][..], "you may not read Secret helpdesk/annette-password"),
        (&hana, &["annette"], "--stdout"),
        (&hana, &["anette", "--stdout"], "there is no request anette in namespace helpdesk"),
    ] {
        let (code, out, error) = password(who, arguments);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{error}");
        assert!(error.contains(expected) && !error.contains(&delivered), "{error}");
    }
    let (code, out, error) = password(&hana, &["annette", "--stdout"]);
    assert_eq!((code, out), (Some(0), format!("{delivered}\n")));
    assert!(error.contains("Secret helpdesk/annette-password still holds the password"), "{error}");

    // On a terminal it is on the screen that the terminal does not keep. An Enter that was typed too early deletes nothing.
    let screen = site.terminal(&hana, "credreset password annette --delete", "\n");
    assert!(screen.contains("still holds the password"), "{screen}");
    let screen = site.terminal(&hana, "credreset password annette --delete", "yes\n");
    let (before, after) = screen.split_once("\x1b[?1049h").expect("the alternate screen");
    let (shown, after) = after.split_once("\x1b[?1049l").expect("the end of it");
    assert!(shown.contains(&format!("password  {delivered}")) && shown.contains(ADDRESS), "{shown}");
    assert!(![before, after].iter().any(|text| text.contains(&delivered)), "{screen}");
    assert!(after.contains("Secret helpdesk/annette-password is deleted"), "{after}");
    let gone = site.try_kubectl(&["get", "secret", "-n", TEAM, "annette-password"], "");
    assert!(String::from_utf8_lossy(&gone.stderr).contains("NotFound"));
    let (code, _, error) = password(&hana, &["annette", "--stdout"]);
    assert!(code == Some(1) && error.contains("is not there"), "{error}");

    // Another Secret under that name is not the new password.
    site.apply_own(vec![json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "annette-password", "namespace": TEAM}, "stringData": {"password": "planted"},
    })]);
    let (code, out, error) = password(&hana, &["annette", "--stdout"]);
    assert!(code == Some(1) && out.is_empty() && error.contains("not the one"), "{error}");

    // A later reset has replaced it, and says so to whoever may list requests.
    let again = json!({"spec": {"requestedAt": time(0), "password": {"deliverTo": {"secret": "again"}}}});
    site.apply(&password_reset("again", ADDRESS, again));
    let operator = site.operator();
    site.until("again", "Applied");
    drop(operator);
    let (code, out, error) = password(site.kubeconfig(), &["annette", "--stdout", "-n", TEAM]);
    assert!(
        code == Some(1) && out.is_empty() && error.contains("is no longer in force: again has set another"),
        "{error}"
    );
    let (code, _, error) = password(site.kubeconfig(), &["again", "--stdout", "-n", TEAM]);
    assert_eq!(code, Some(0), "{error}");
}

/// Each recipient's key opens a sealed password, and no other: with `age` itself, and with `credreset password`. In the requester's
/// namespace it is never in plain text.
#[test]
fn a_sealed_password_is_opened_by_its_recipients_alone() {
    let site = Site::start();
    site.usual_directory();
    let secrets = site.versions("secrets");
    let key = |name: &str| site.dir.join(name).to_str().unwrap().to_owned();
    let run = |program: &Path, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    // Of age-keygen's kind, and two of OpenSSH's, whose public keys have a comment.
    let native = age::x25519::Identity::generate();
    fs::write(key("native"), native.to_string().expose_secret()).unwrap();
    fs::write(key("other"), age::x25519::Identity::generate().to_string().expose_secret()).unwrap();
    for kind in ["ed25519", "rsa"] {
        let arguments = ["-q", "-t", kind, "-N", "", "-C", "hana @ the desk, Zürich", "-f", &key(kind)];
        assert!(run(Path::new("ssh-keygen"), &arguments).0, "ssh-keygen (Debian: openssh-client)");
    }
    let public = |kind: &str| fs::read_to_string(key(kind) + ".pub").unwrap().trim().to_owned();
    let recipients = [native.to_public().to_string(), public("ed25519"), public("rsa")];
    let sealed_for = |recipients: &[String]| json!({"spec": {"password": {"deliverTo": {"sealedFor": recipients}}}});

    // What is no key is refused before anything is sent, by the API server or, where only age itself can tell, by the operator.
    let mut mistyped = recipients[0].clone();
    mistyped.replace_range(61..62, if mistyped.ends_with('q') { "p" } else { "q" });
    let refused =
        site.try_kubectl(&["apply", "-f", "-"], &password_reset("none", ADDRESS, sealed_for(&["age".to_owned()])));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("sealedFor"), "{refused:?}");
    site.apply(&password_reset("mistyped", ADDRESS, sealed_for(&[recipients[1].clone(), mistyped])));
    let by_another_name = recipients[1].replace("hana", "otto");
    site.apply(&password_reset("twice", ADDRESS, sealed_for(&[recipients[1].clone(), by_another_name])));
    site.apply(&password_reset("annette", ADDRESS, sealed_for(&recipients)));
    let operator = site.operator();
    let msg = message(&site.until("mistyped", "NotSupported"));
    assert!(msg.contains("spec.password.deliverTo.sealedFor[1] is not a valid age recipient"), "{msg}");
    let msg = message(&site.until("twice", "NotSupported"));
    assert!(msg.contains("spec.password.deliverTo.sealedFor[1] is there twice"), "{msg}");
    site.until("annette", "Applied");
    drop(operator);
    assert_eq!(site.sandbox.count("reset-password"), 1);

    let sealed = key("sealed");
    fs::write(&sealed, site.secret(TEAM, "annette-password", "password.age")).unwrap();
    let age = built("age");
    let opened = |name: &str| run(&age, &["--decrypt", "--identity", &key(name), &sealed]);
    let (opens, password_of_annette, error) = opened("native");
    assert!(opens, "{error}");
    assert_eq!(site.sandbox.sign_in(ADDRESS, &password_of_annette), "must-change");
    let kubeconfig = site.kubeconfig();
    for name in ["native", "ed25519", "rsa"] {
        assert_eq!(opened(name).1, password_of_annette, "{name}");
        let (code, out, error) = password(kubeconfig, &["annette", "--stdout", "-n", TEAM, "--identity", &key(name)]);
        assert_eq!((code, out), (Some(0), format!("{password_of_annette}\n")), "{name}: {error}");
    }
    assert!(!opened("other").0);
    for (arguments, expected) in [
        (&["--identity", &key("other")][..], "is sealed for others"),
        (&["--identity", &key("missing")], "missing"),
        (&["--identity", &sealed], "has no usable private key"),
        (&[], "add --identity FILE"),
    ] {
        let (code, out, error) = password(kubeconfig, &[&["annette", "--stdout", "-n", TEAM], arguments].concat());
        assert_eq!((code, out.as_str()), (Some(1), ""), "{error}");
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }

    let versions = secrets.all();
    let ours = |secret: &&Value| secret["metadata"]["namespace"] == TEAM;
    let keys = |secret: &Value| secret["data"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let delivered: Vec<&Value> =
        versions.iter().filter(ours).filter(|secret| secret["metadata"]["name"] == "annette-password").collect();
    assert!(!delivered.is_empty(), "the watch has seen the delivery");
    assert!(delivered.iter().all(|secret| keys(secret) == ["password.age", "username"]), "{delivered:?}");
    for secret in versions.iter().filter(ours) {
        for (key, value) in secret["data"].as_object().into_iter().flatten() {
            let value = BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap();
            let name = &secret["metadata"]["name"];
            assert!(!String::from_utf8_lossy(&value).contains(&password_of_annette), "{key} of {name}");
        }
    }
}

/// The operator deletes what it has delivered for a limited time, once that is over, and no other Secret: the API server would not let it.
#[test]
fn a_delivered_secret_expires() {
    let site = Site::start();
    site.usual_directory();
    let reset = |name: &str, address: &str, deliver_to: Value| {
        site.apply(&password_reset(name, address, json!({"spec": {"password": {"deliverTo": deliver_to}}})));
    };
    let short = json!({"spec": {"password": {"deliverTo": {"expiresAfter": "30m"}}}});
    let refused = site.try_kubectl(&["apply", "-f", "-"], &password_reset("short", ADDRESS, short));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("expiresAfter must be 1h to 720h"), "{refused:?}");
    reset("annette", ADDRESS, json!({"expiresAfter": "1h"}));
    reset("hiro", "hiro.t@zylker.biz", json!({"expiresAfter": "2h30m"}));
    reset("mustafa", "mustafa.o@zylker.biz", json!({}));
    let operator = site.operator();
    for name in ["annette", "hiro", "mustafa"] {
        site.until(name, "Applied");
    }
    let (_, _, error) = password(site.kubeconfig(), &["annette", "--stdout", "-n", TEAM]);
    let expires = |name: &str| {
        let secret = site.get(&["secret", "-n", TEAM, &format!("{name}-password")]);
        secret["metadata"]["annotations"]["credreset.dev/expires-at"].as_str().map(str::to_owned)
    };
    let until = expires("annette").unwrap();
    assert!(error.contains(&format!("still holds the password until {until} or the hour after")), "{error}");
    let record = site.records().into_iter().find(|record| record["spec"]["request"]["name"] == "annette").unwrap();
    let stay =
        |from: &Value| until.parse::<Timestamp>().unwrap() - from.as_str().unwrap().parse::<Timestamp>().unwrap();
    let stay = stay(&record["spec"]["attempt"]["startedAt"]).total(jiff::Unit::Minute).unwrap();
    assert!((59.9..70.0).contains(&stay), "{stay} min");
    assert_eq!(expires("mustafa"), None);

    drop(operator);

    // The hour is over for two of them, whose records the operator comes to in the order of their names. In the place of the first one's
    // Secret somebody has put another.
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of_record = |record: &Value| (text(&record["metadata"]["name"]), text(&record["spec"]["request"]["name"]));
    let mut records: Vec<(String, String)> = site.records().iter().map(of_record).collect();
    records.retain(|(_, request)| request != "mustafa");
    records.sort();
    let [(_, kept), (_, deleted)] = &records[..] else { panic!("{records:?}") };
    let [kept, deleted_secret] = [kept, deleted].map(|name| format!("{name}-password"));
    let past = "credreset.dev/expires-at=2026-01-01T00:00:00Z";
    site.kubectl(&["annotate", "secret", "-n", TEAM, &deleted_secret, "--overwrite", past]);
    site.kubectl(&["delete", "secret", "-n", TEAM, &kept]);
    site.kubectl(&["create", "secret", "generic", "-n", TEAM, &kept]);
    site.kubectl(&["annotate", "secret", "-n", TEAM, &kept, past, "credreset.dev/record=r-0"]);
    let operator = site.operator();
    site.kubectl(&["wait", "--for=delete", "--timeout=300s", "-n", TEAM, &format!("secret/{deleted_secret}")]);
    drop(operator);
    let names = site.kubectl(&["get", "secrets", "-n", TEAM, "-o", "name"]);
    assert!([&kept, "mustafa-password"].iter().all(|name| names.contains(&format!("secret/{name}\n"))), "{names}");
    assert_eq!(site.records().len(), 3);
    let (code, _, error) = password(site.kubeconfig(), &[deleted, "--stdout", "-n", TEAM]);
    assert!(code == Some(1) && error.contains("is not there"), "{error}");
    let mut explain = Command::new(env!("CARGO_BIN_EXE_credreset"));
    explain.args(["explain", deleted, "-n", TEAM]).env("KUBECONFIG", site.kubeconfig());
    let explained = String::from_utf8(explain.output().unwrap().stdout).unwrap();
    assert!(explained.contains("next step  The delivered password has been deleted"), "{explained}");

    let operator = format!("--as=system:serviceaccount:{SYSTEM}:credreset");
    let refused = site.try_kubectl(&["delete", "secret", "-n", TEAM, "mustafa-password", &operator], "");
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(error.contains("the operator deletes only Secrets that it has delivered for a limited time"), "{error}");
}
