//! Bad input of every kind: each gets its reason or admission message, nothing is sent, nothing is lost.
use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::support::{
    ANNETTE, Audited, RESETS, SYSTEM, Site, TEAM, condition, message, mfa_reset, password_reset, time, wait_for,
};

const EMAIL: &str = "annette.c@zylker.biz";

fn nothing_was_sent(site: &Site) {
    assert_eq!(site.sandbox.count("reset-password") + site.sandbox.count("reset-mfa"), 0, "something was sent");
}

#[test]
fn admission() {
    let site = Site::start();
    let spec = |patch: Value| password_reset("bad", EMAIL, json!({ "spec": patch }));
    for (object, expected) in [
        (spec(json!({"validFor": "169h"})), "validFor is at most 168h"),
        (spec(json!({"validFor": "0s"})), "validFor must be longer than 0s"),
        (spec(json!({"validFor": "soon"})), "spec.validFor"),
        (spec(json!({"user": {"id": "1"}})), "set exactly one of email, username and id"),
        (spec(json!({"user": {"email": null}})), "set exactly one of email, username and id"),
        (spec(json!({"reason": "short"})), "spec.reason"),
        (spec(json!({"requestedAt": "yesterday"})), "spec.requestedAt"),
        // The API server would take these, and an object that the operator cannot read would blind it for all others.
        (spec(json!({"requestedAt": "2026-11-24T09:00:00.0123456789Z"})), "spec.requestedAt"),
        (spec(json!({"requestedAt": "9999-12-31T23:59:59Z"})), "spec.requestedAt"),
        (spec(json!({"password": {"deliverTo": null}})), "a generated password must be delivered"),
        (spec(json!({"password": {"generate": null}})), "exactly one of generate and fromSecret"),
        (spec(json!({"password": {"fromSecret": {"name": "x"}}})), "exactly one of generate and fromSecret"),
        (spec(json!({"password": {"generate": null, "fromSecret": {"name": "x"}}})), "remove deliverTo"),
        (spec(json!({"password": {"generate": {"length": 11}}})), "greater than or equal to 12"),
        (spec(json!({"password": null})), "mode Password requires password"),
        (spec(json!({"mfa": {"confirm": EMAIL}})), "mode MFA requires mfa"),
        (mfa_reset("bad", EMAIL, json!({"spec": {"mfa": {"confirm": "annete.c@zylker.biz"}}})), "typed again"),
        (mfa_reset("bad", EMAIL, json!({"spec": {"mfa": {"factors": ["Pigeon"]}}})), "Unsupported value"),
        (password_reset(&"a".repeat(64), EMAIL, json!({})), "at most 63 characters"),
        (password_reset("x", EMAIL, json!({"metadata": {"name": null, "generateName": "x-"}})), "set a name"),
    ] {
        let msg = site.refused(&object);
        assert!(msg.contains(expected), "{msg}\nshould say: {expected}");
    }
    site.apply(&spec(json!({})));
    let edit = site.try_kubectl(
        &["patch", "creset", "-n", TEAM, "bad", "--type=merge", "-p", r#"{"spec":{"validFor":"2h"}}"#],
        "",
    );
    let printed = String::from_utf8(edit.stderr).unwrap();
    assert!(printed.contains("a request never changes") && !printed.contains("immutable"), "{printed}");
    let fresh = site.reset("bad");
    assert_eq!(
        fresh["status"]["observedGeneration"], -1,
        "kstatus must not call it current before the operator has seen it"
    );
    assert_eq!(condition(&fresh, "Ready").unwrap(), ("Unknown".into(), "Pending".into()));
    let spec = &fresh["spec"];
    assert_eq!(
        (&spec["validFor"], &spec["password"]["forceChangeOnLogin"]),
        (&json!("24h"), &json!(true)),
        "what was reviewed is what is stored"
    );
    assert_eq!(
        (&spec["password"]["emailToUser"], &spec["password"]["clearMobileSessionsAndApiTokens"]),
        (&json!(false), &json!(false))
    );
}

#[test]
fn who_and_when() {
    let site = Site::start();
    site.sandbox.send("PATCH", "/sandbox/users/700012307", &json!({"emails": ["hiro.t@other.example"]}));
    site.usual_directory();
    let _operator = site.operator();
    let from_other = |name: &str| {
        let mut object: Value = serde_json::from_str(&password_reset(name, EMAIL, json!({}))).unwrap();
        object["metadata"]["namespace"] = json!("default");
        object.to_string()
    };
    for (name, email, reason) in [
        ("nobody", "nobody@zylker.biz", "UserNotFound"),
        ("twins", "support@zylker.biz", "UserAmbiguous"),
        ("pending", "bruno.k@zylker.biz", "UserNotConfirmed"),
        ("external", "carla.o@zylker.biz", "UserNotConfirmed"),
        ("inactive", "daniel.f@zylker.biz", "UserInactive"),
        ("federated", "ines.m@zylker.biz", "UserFederated"),
        ("owner", "erika.s@zylker.biz", "UserProtected"),
        ("admin", "femi.a@zylker.biz", "UserProtected"),
        ("ceo", "CEO@zylker.biz", "UserProtected"),
        ("unknown-role", "nora.v@zylker.biz", "UserProtected"),
    ] {
        site.apply(&password_reset(name, email, json!({})));
        let reset = site.until(name, reason);
        assert_eq!(condition(&reset, "Stalled").unwrap().0, "True");
        assert_eq!(condition(&reset, "Succeeded").unwrap().0, "False");
        assert_eq!(reset["status"]["outcome"], "NotApplied");
        assert!(message(&reset).contains("nothing is sent"), "{}", message(&reset));
    }
    for (name, patch, reason) in [
        ("other-domain", json!({"user": {"email": "hiro.t@other.example"}}), "NotAllowed"),
        ("too-long", json!({"validFor": "48h"}), "NotAllowed"),
        ("no-directory", json!({"directory": "elsewhere"}), "DirectoryMissing"),
        ("tomorrow", json!({"requestedAt": time(3600)}), "NotYetValid"),
        (
            "no-secret",
            json!({"password": {"generate": null, "deliverTo": null, "fromSecret": {"name": "none"}}}),
            "SecretMissing",
        ),
    ] {
        site.apply(&password_reset(name, EMAIL, json!({ "spec": patch })));
        let reset = site.until(name, reason);
        assert_eq!(reset["status"]["outcome"], Value::Null, "{name} is looked at again");
    }
    // From a namespace that no rule names.
    site.apply(&from_other("stranger"));
    wait_for("NotAllowed in another namespace", || {
        let reset = site.get(&["creset", "-n", "default", "stranger"]);
        (condition(&reset, "Ready")?.1 == "NotAllowed").then_some(())
    });
    nothing_was_sent(&site);
    assert!(site.records().is_empty());

    // What stalls goes on once it can: the Directory is made, the Secret is made.
    site.kubectl(&["create", "secret", "generic", "-n", TEAM, "key", "--from-literal=other=x"]);
    site.kubectl(&["create", "secret", "generic", "-n", TEAM, "empty", "--from-literal=password="]);
    site.kubectl(&["create", "secret", "generic", "-n", TEAM, "break", "--from-literal=password=Correct-horse-7\n"]);
    for (name, expected) in
        [("key", "has no key password"), ("empty", "has an empty key"), ("break", "with a line break at its end")]
    {
        let from = json!({"generate": null, "deliverTo": null, "fromSecret": {"name": name}});
        site.apply(&password_reset(name, EMAIL, json!({"spec": {"password": from}})));
        let msg = message(&site.until(name, "SecretMissing"));
        assert!(msg.contains(expected), "{msg}");
    }
    site.kubectl(&["create", "secret", "generic", "-n", TEAM, "taken-password", "--from-literal=mine=1"]);
    site.apply(&password_reset("taken", EMAIL, json!({})));
    assert!(message(&site.until("taken", "DeliveryConflict")).contains("not overwritten"));
    assert_eq!(site.secret(TEAM, "taken-password", "mine"), "1");
    nothing_was_sent(&site);
    site.directory("elsewhere", json!({"limits": {"resetsPerHour": 100}}));
    site.until("no-directory", "Applied");
    assert_eq!(site.sandbox.user(ANNETTE)["passwordResets"], 1);
}

#[test]
fn forbidden_secret_and_suspended_directory() {
    let site = Site::start();
    site.usual_directory();
    let _operator = site.operator();
    site.kubectl(&["delete", "rolebinding", "-n", TEAM, "credreset-passwords"]);
    site.apply(&password_reset("annette", EMAIL, json!({})));
    let msg = message(&site.until("annette", "SecretForbidden"));
    assert!(msg.contains("ServiceAccount"), "{msg}");
    site.kubectl(&["patch", "directory", "zylker", "--type=merge", "-p", r#"{"spec":{"suspend":true}}"#]);
    site.apply(&mfa_reset("annette-mfa", EMAIL, json!({})));
    site.until("annette-mfa", "DirectorySuspended");
    nothing_was_sent(&site);
    site.kubectl(&["patch", "directory", "zylker", "--type=merge", "-p", r#"{"spec":{"suspend":false}}"#]);
    site.until("annette-mfa", "Applied");
}

/// A request that waits for a Secret is looked at ever more rarely, and costs the directory no look-up.
#[test]
fn waiting_for_a_secret_costs_no_look_up() {
    let site = Site::start();
    if !site.is_own() {
        return; // without an audit log
    }
    site.usual_directory();
    let _operator = site.operator();
    let from = json!({"generate": null, "deliverTo": null, "fromSecret": {"name": "chosen"}});
    site.apply(&password_reset("annette", EMAIL, json!({"spec": {"password": from}})));
    site.until("annette", "SecretMissing");
    let asked = site.sandbox.count("look-up");
    let of_it = |a: &&Audited| a.verb == "get" && a.resource == "secrets" && a.name == "chosen";
    wait_for("more looks at the Secret", || (site.audit().iter().filter(of_it).count() >= 4).then_some(()));
    assert_eq!(site.sandbox.count("look-up"), asked);
    site.kubectl(&["create", "secret", "generic", "-n", TEAM, "chosen", "--from-literal=password=Correct-horse-7"]);
    site.until("annette", "Applied");
    assert!(site.sandbox.count("look-up") > asked, "before the call everything is asked again");
}

/// Each of two Directories of one directory says so, as long as there are two.
#[test]
fn two_directories_of_one_identity() {
    let site = Site::start();
    site.usual_directory();
    let _operator = site.operator();
    site.until_directory("zylker", "Connected");
    let shared = |name: &str| condition(&site.get(&["directory", name]), "IdentityShared");
    assert_eq!(shared("zylker"), None);
    site.directory("twin", json!({}));
    for (name, other) in [("zylker", "twin"), ("twin", "zylker")] {
        wait_for("the condition", || (shared(name)? == ("True".into(), "SameIdentity".into())).then_some(()));
        wait_for("its Event", || {
            let of_it = format!("involvedObject.name={name},reason=SameIdentity");
            let all = site.get(&["events", "-A", "--field-selector", &of_it]);
            let note = all["items"][0]["message"].as_str()?.to_owned();
            note.contains(other).then_some(())
        });
    }
    site.kubectl(&["delete", "directory", "twin"]);
    wait_for("the condition's end", || shared("zylker").is_none().then_some(()));
}

#[test]
fn wrong_directories() {
    let site = Site::start();
    let all = "ZohoDirectory.Users.ALL ZohoDirectory.Groups.READ ZohoMail.organization.accounts.ALL";
    site.sandbox.send("POST", "/sandbox/scopes", &json!(all));
    let _operator = site.operator();
    let zoho = |patch: Value| site.directory("zylker", json!({"provider": {"zoho": patch}}));
    let template = |value: &str| json!({"resetPassword": {"body": {"password": value}}});
    zoho(template("${pasword}"));
    let msg = site.until_directory("zylker", "InvalidConfiguration");
    assert!(msg.contains("unknown placeholder ${pasword}") && msg.contains("${forceChangeOnLogin}"), "{msg}");
    site.apply(&password_reset("annette", EMAIL, json!({})));
    site.until("annette", "DirectoryNotReady");

    zoho(json!({"resetPassword": {"body": {"password": "${password}"}}, "urls": {"api": "http://198.51.100.7"}}));
    wait_for("the refusal of plain http", || {
        site.until_directory("zylker", "InvalidConfiguration").contains("plain http").then_some(())
    });
    zoho(json!({"urls": {"api": site.sandbox.url}, "organization": "1"}));
    wait_for("the refusal of the organization", || {
        message(&site.get(&["directory", "zylker"])).contains("knows no organization").then_some(())
    });
    // A token without a scope: what a grant is for never changes, so this is another server's.
    let weaker = site.weaker_sandbox();
    zoho(json!({"urls": {"accounts": weaker.url, "api": weaker.url, "mail": weaker.url}}));
    let msg = site.until_directory("zylker", "PermissionMissing");
    assert!(msg.contains("ZohoDirectory.Users.UPDATE"), "{msg}");
    nothing_was_sent(&site);
    assert_eq!(weaker.count("reset-password"), 0);
    zoho(json!({}));
    // Wrong credentials, then the right ones: read fresh when the Secret changes.
    site.kubectl(&[
        "patch",
        "secret",
        "-n",
        "credreset-system",
        "zylker-zoho",
        "-p",
        r#"{"stringData":{"client-id":"1000.WRONG"}}"#,
    ]);
    assert!(site.until_directory("zylker", "CredentialsRefused").contains("invalid_client"));
    site.kubectl(&[
        "patch",
        "secret",
        "-n",
        "credreset-system",
        "zylker-zoho",
        "-p",
        r#"{"stringData":{"client-id":"1000.SANDBOX"}}"#,
    ]);
    site.until("annette", "Applied");
    assert_eq!(site.sandbox.user(ANNETTE)["passwordResets"], 1);
}

/// Replies of a directory that are not valid: the request reports them, waits, and goes on.
#[test]
fn strange_answers() {
    let site = Site::start();
    site.usual_directory();
    let _operator = site.operator();
    site.kubectl(&["wait", "--for=condition=Ready", "--timeout=600s", "directory/zylker"]);
    // As often as it is asked for, so that no retry succeeds before the message is read.
    site.sandbox.fault(json!({"call": "look-up", "fault": "huge", "bytes": 52_428_800, "times": 1000}));
    site.apply(&password_reset("huge", "ines.m@zylker.biz", json!({})));
    let msg = message(&site.until("huge", "DirectoryNotReady"));
    assert!(msg.contains("larger than"), "{msg}");
    site.delete("huge");
    site.sandbox.send("DELETE", "/sandbox/faults", &json!(null));
    // Where a redirect leads may be the result of what was done: it is neither followed nor taken for a refusal.
    site.sandbox.fault(json!({"call": "reset-password", "fault": "redirect", "location": "http://127.0.0.1:1/"}));
    site.apply(&password_reset("redirected", "jan.n@zylker.biz", json!({})));
    site.until("redirected", "Verifying");
    assert_eq!(site.sandbox.count("reset-password"), 1);
    // A policy that refuses the first generated password: another one is generated, but not for ever.
    site.sandbox.fault(
        json!({"call": "reset-password", "fault": "refuse", "status": 400, "body": {"error": "PASSWORD_POLICY"}}),
    );
    site.apply(&password_reset("regenerated", EMAIL, json!({})));
    site.until("regenerated", "Applied");
    site.sandbox.fault(json!({"call": "reset-password", "fault": "refuse", "times": 10, "status": 400, "body": {"error": "PASSWORD_POLICY"}}));
    site.apply(&password_reset("refused", EMAIL, json!({})));
    let msg = message(&site.until("refused", "Rejected"));
    assert!(msg.contains("refused 10 passwords") && msg.contains("PASSWORD_POLICY"), "{msg}");
    // Throttled: waits as long as it was asked to, then goes on.
    site.sandbox.fault(json!({"call": "reset-password", "fault": "throttle", "retryAfter": 2}));
    site.apply(&password_reset("throttled", EMAIL, json!({})));
    site.until("throttled", "Throttled");
    site.until("throttled", "Applied");
    assert_eq!(site.sandbox.user(ANNETTE)["passwordResets"], 2);
    site.until("redirected", "OutcomeUnknown");
    assert_eq!(site.sandbox.count("reset-password"), 15);
}

/// A wrong password of an administrator is tried once, for all requests, by all operators, until the Secret is another. What a form of the
/// call's own refuses is reported at the Directory.
#[test]
fn refused_by_the_call_alone() {
    let site = Site::start();
    site.usual_directory();
    let calls = || site.sandbox.count("reset-password") + site.sandbox.count("reset-mfa");
    let set = |password: &str| {
        let patch = json!({"stringData": {"admin-password": password}}).to_string();
        site.kubectl(&["patch", "secret", "-n", SYSTEM, "zylker-zoho", "-p", &patch]);
    };
    set("guess");
    let operator = site.operator();
    site.until_directory("zylker", "Connected");
    site.apply(&password_reset("first", EMAIL, json!({})));
    let msg = site.until_directory("zylker", "CredentialsRefused");
    assert!(msg.contains("ADMIN_PASSWORD_MISMATCH") && msg.contains("key admin-password"), "{msg}");
    assert_eq!(calls(), 1);
    site.apply(&mfa_reset("second", "hiro.t@zylker.biz", json!({})));
    for name in ["first", "second"] {
        let is_reported = |reset: &Value| message(reset).contains("ADMIN_PASSWORD_MISMATCH");
        let reset = site.when(name, &RESETS, |all| all.get(name).filter(|reset| is_reported(reset)).cloned());
        assert_eq!(condition(&reset, "Ready").unwrap().1, "DirectoryNotReady");
    }
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_credreset"));
        let output = command.args(["check", "zylker"]).env("KUBECONFIG", site.kubeconfig()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, printed) = check();
    assert!(code == Some(2) && printed.contains("ADMIN_PASSWORD_MISMATCH"), "{printed}");
    // The next operator knows, too, and so does one that sees another generation of the Directory.
    assert_eq!(operator.stop(), Some(0));
    let operator = site.operator();
    let limit = r#"{"spec": {"limits": {"resetsPerHour": 1000}}}"#;
    site.kubectl(&["patch", "directory", "zylker", "--type=merge", "-p", limit]);
    site.kubectl(&["wait", "--for=jsonpath={.status.observedGeneration}=2", "--timeout=600s", "directory/zylker"]);
    site.until_directory("zylker", "CredentialsRefused");
    // Nor is it forgotten while there is no connection at all.
    for (authority, reason) in [(json!("none"), "InvalidConfiguration"), (Value::Null, "CredentialsRefused")] {
        let patch = json!({"spec": {"provider": {"zoho": {"caBundle": authority}}}}).to_string();
        site.kubectl(&["patch", "directory", "zylker", "--type=merge", "-p", &patch]);
        site.until_directory("zylker", reason);
    }
    site.apply(&mfa_reset("third", "jan.n@zylker.biz", json!({})));
    let msg = message(&site.until("third", "DirectoryNotReady"));
    assert!(msg.contains("ADMIN_PASSWORD_MISMATCH"), "{msg}");
    assert_eq!(calls(), 1);
    // As `echo` makes it.
    set("Sandbox-admin-pw-1\n");
    for name in ["first", "second", "third"] {
        site.until(name, "Applied");
    }
    assert_eq!(calls(), 4);
    assert_eq!(site.get(&["directory", "zylker"])["status"]["refused"], Value::Null);
    assert!(check().0 == Some(0), "{}", check().1);

    // A path that is not there, or a right that the check does not see: the directory's message is shown, at the Directory, too.
    for status in [404, 403, 401] {
        let (name, code) = (format!("denied-{status}"), format!("HTTP_{status}"));
        site.sandbox.fault(json!({"call": "reset-password", "fault": "refuse", "status": status, "body": {}}));
        site.apply(&password_reset(&name, "jan.n@zylker.biz", json!({})));
        let events = format!("reason=DirectoryNotReady,involvedObject.name={name}");
        site.until(&name, "Applied");
        let events_text = site.kubectl(&[
            "get",
            "events",
            "-n",
            TEAM,
            "--field-selector",
            &events,
            "-o=jsonpath={.items[*].message}",
        ]);
        assert!(events_text.contains(&format!("refused the operator's call with {code}")), "{events_text}");
    }
    site.sandbox.fault(json!({"call": "reset-password", "fault": "refuse", "status": 404, "body": {}, "times": 1000}));
    site.apply(&password_reset("denied", "jan.n@zylker.biz", json!({})));
    site.kubectl(&["wait", "--for=condition=CallsRefused", "--timeout=600s", "directory/zylker"]);
    let directory = site.get(&["directory", "zylker"]);
    assert_eq!(condition(&directory, "Ready").unwrap().1, "Connected");
    let (code, printed) = check();
    assert!(code == Some(2) && printed.contains("HTTP_404"), "{printed}");
    site.sandbox.send("DELETE", "/sandbox/faults", &json!(null));
    site.until("denied", "Applied");
    wait_for("the Directory to report it no longer", || {
        condition(&site.get(&["directory", "zylker"]), "CallsRefused").is_none().then_some(())
    });
    drop(operator);
}

/// A password that cannot be typed locks the user out: it is not set.
#[test]
fn entered_passwords_that_nobody_can_type() {
    let site = Site::start();
    site.usual_directory();
    let _operator = site.operator();
    site.until_directory("zylker", "Connected");
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let good = "Good-Passw0rd-1";
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("lf", format!("{good}\n").into(), "a line break at its end"),
        ("crlf", format!("{good}\r\n").into(), "a line break at its end"),
        ("latin-1", b"Good-Passw\xf6rd-1".to_vec(), "that is not UTF-8 text"),
        ("empty", Vec::new(), "has an empty key password"),
        ("bom", format!("\u{feff}{good}").into(), "a byte order mark at its beginning"),
        ("nul", format!("{good}\0").into(), "a NUL in it"),
        ("utf-16", utf16(good), "a NUL in it"),
        ("utf-16-bom", [b"\xff\xfe".to_vec(), utf16(good)].concat(), "that is not UTF-8 text"),
        ("lf-within", "Good-Pass\nw0rd-1".into(), "a line break in it"),
        ("tab", format!("{good}\t").into(), "a tab in it"),
        ("escape", "Good-Pass\u{1b}w0rd-1".into(), "an invisible character in it"),
        ("zero-width", format!("{good}\u{200b}").into(), "an invisible character in it"),
        ("soft-hyphen", "Good\u{ad}-Passw0rd-1".into(), "an invisible character in it"),
        ("no-break", format!("{good}\u{a0}").into(), "a special space at its beginning or end"),
        ("ideographic", format!("\u{3000}{good}").into(), "a special space at its beginning or end"),
    ];
    let asks = |name: &str, email: &str| {
        let from = json!({"generate": null, "deliverTo": null, "fromSecret": {"name": name}});
        site.apply(&password_reset(name, email, json!({"spec": {"password": from}})));
    };
    let secret = |name: &str, password: &[u8]| {
        let file = site.dir.join("entered");
        fs::write(&file, password).unwrap();
        let from = format!("--from-file=password={}", file.display());
        let made =
            site.kubectl(&["create", "secret", "generic", "-n", TEAM, name, &from, "--dry-run=client", "-o", "json"]);
        site.apply(&made);
    };
    for (name, password, _) in &rows {
        secret(name, password);
        asks(name, EMAIL);
    }
    for (name, _, expected) in &rows {
        let msg = message(&site.until(name, "SecretMissing"));
        assert!(msg.contains(expected) && msg.contains(&format!("{TEAM}/{name}")), "{name}: {msg}");
    }
    nothing_was_sent(&site);
    assert_eq!(site.sandbox.user(ANNETTE)["passwordResets"], 0);
    // A password that can be typed is accepted; and one that is fixed goes on.
    for (name, email, password) in [
        ("blanks", "hiro.t@zylker.biz", " Good Passw0rd 1 "),
        ("umlaut", "jan.n@zylker.biz", "Gööd-Passw0rd\u{a0}1"),
        ("bom", EMAIL, good),
    ] {
        secret(name, password.as_bytes());
        if name != "bom" {
            asks(name, email);
        }
        site.until(name, "Applied");
        assert_eq!(site.sandbox.sign_in(email, password), "must-change", "{name}");
    }
    assert_eq!(site.sandbox.count("reset-password"), 3);
}

/// A token reply that is a web page.
#[test]
fn html_instead_of_a_token() {
    let site = Site::start();
    site.sandbox.fault(json!({"call": "token", "fault": "html", "times": 1000}));
    site.directory("zylker", json!({}));
    let _operator = site.operator();
    let msg = site.until_directory("zylker", "Unreachable");
    assert!(msg.contains("not JSON"), "{msg}");
    site.apply(&password_reset("annette", EMAIL, json!({})));
    site.until("annette", "DirectoryNotReady");
    nothing_was_sent(&site);
    site.sandbox.send("DELETE", "/sandbox/faults", &json!(null));
    site.until("annette", "Applied");
}
