//! The API server, in every step of a reset, or the directory is down, slow or returns nonsense. A request gets an outcome, or waits and
//! says for what and until when.
use std::{
    io::{Read, Write},
    path::Path,
    sync::Arc,
};

use http::Method;
use serde_json::{Value, json};

use crate::{
    proxy::{Action, Armed, Proxy, Rule},
    support::{
        RECORDS, RESETS, SYSTEM, Sandbox, Setup, Site, TEAM, condition, http_get, message, mfa_reset, password_reset,
        tcp::server, wait_for,
    },
};

/// An ordinary user of the sandbox.
fn user(number: usize) -> (String, String) {
    (format!("user{number:04}@zylker.biz"), format!("{}", 710_000_000 + number))
}

/// A site whose directory shows change times.
fn provable(timeout: &str) -> Site {
    let flags = ["--change-times", "--users", "20"].map(str::to_owned).to_vec();
    let site = Site::with(&Setup { sandbox: flags, ..Setup::default() });
    let fields = json!({"passwordChangedAt": "password_changed_time", "mfaChangedAt": "mfa_changed_time"});
    let limits = json!({"resetsPerHour": 1000, "requestTimeout": timeout});
    site.directory("zylker", json!({"provider": {"zoho": {"lookUp": fields}}, "limits": limits}));
    site
}

fn ready(site: &Site) {
    site.kubectl(&["wait", "--for=condition=Ready", "--timeout=600s", "directory/zylker"]);
}

/// Changes of the user with this number, of either kind.
fn changes(site: &Site, number: usize) -> u64 {
    let user = site.sandbox.user(&user(number).1);
    user["passwordResets"].as_u64().unwrap() + user["mfaResets"].as_u64().unwrap()
}

/// What met the user's reset calls.
fn calls(site: &Site, number: usize) -> Value {
    site.sandbox.user(&user(number).1)["resetCalls"].clone()
}

/// Faults for the reset call of the user with this number.
fn fault(site: &Site, call: &str, number: usize, mut fault: Value) {
    fault["call"] = json!(call);
    fault["user"] = json!(user(number).1);
    site.sandbox.fault(fault);
}

/// A password reset named `rN` for user N, delivered to Secret `pN`.
fn reset_of(number: usize, mut patch: Value) -> String {
    patch["spec"]["password"] = json!({"deliverTo": {"secret": format!("p{number}")}});
    password_reset(&format!("r{number}"), &user(number).0, patch)
}

/// The delivered password is the one in force.
fn opens(site: &Site, number: usize) -> bool {
    site.sandbox.sign_in(&user(number).0, &site.secret(TEAM, &format!("p{number}"), "password")) == "must-change"
}

/// One reset for every step, all of them there when the API server dies, and going on without it as far as they can.
#[test]
fn api_server_dies_in_every_step() {
    let site = provable("20s");
    if !site.is_own() {
        println!("killed only where the API server is our own");
        return;
    }
    let _operator = site.operator();
    ready(&site);
    let [gates, throttled, called, dropped, late, mfa] = [1, 2, 3, 4, 5, 6];
    // At the gates; to be tried again; in the call, once with a password and once without; with no answer, after the change
    // and before.
    fault(&site, "role", gates, json!({"fault": "delay", "milliseconds": 4000}));
    fault(&site, "reset-password", throttled, json!({"fault": "throttle", "retryAfter": 3}));
    fault(&site, "reset-password", called, json!({"fault": "delay", "milliseconds": 4000}));
    fault(&site, "reset-password", dropped, json!({"fault": "apply-then-drop"}));
    fault(&site, "reset-password", late, json!({"fault": "delay", "milliseconds": 8000, "applyLate": true}));
    fault(&site, "reset-mfa", mfa, json!({"fault": "delay", "milliseconds": 4000}));
    let mut manifests: Vec<String> = [gates, throttled, called, dropped, late].map(|n| reset_of(n, json!({}))).to_vec();
    manifests.push(mfa_reset(&format!("r{mfa}"), &user(mfa).0, json!({})));
    site.apply(&manifests.join("\n---\n"));
    wait_for("all to be on their way", || {
        let sent = site.sandbox.count("reset-password") + site.sandbox.count("reset-mfa");
        (sent == 5 && site.sandbox.count("role") == 6).then_some(())
    });
    site.cluster("kill");
    wait_for("what was sent to take effect", || {
        [called, dropped, late, mfa].iter().all(|n| changes(&site, *n) == 1).then_some(())
    });
    site.cluster("up");
    for n in [gates, throttled, called, dropped, late, mfa] {
        let reset = site.until(&format!("r{n}"), "Applied");
        assert_eq!(changes(&site, n), 1, "r{n}");
        let proof = if n == late { "Marker" } else { reset["status"]["evidence"].as_str().unwrap() };
        assert_eq!(reset["status"]["evidence"], proof, "r{n}");
        assert!(n == mfa || opens(&site, n), "r{n}");
    }
    assert_eq!(calls(&site, throttled), json!(["throttle", "none"]));
    for n in [gates, called, dropped, late, mfa] {
        assert_eq!(calls(&site, n).as_array().unwrap().len(), 1, "r{n}");
    }
}

/// The API server is away for a minute, four times as long as the lease, with two calls under way. What came back is kept by the
/// process that is no longer the leader; the next leader may find it by the time of the change before that process has written it down.
/// What came late can be found by that alone.
#[test]
fn api_server_is_away_longer_than_the_lease() {
    let site = provable("20s");
    if !site.is_own() {
        println!("killed only where the API server is our own");
        return;
    }
    let operators = [site.operator_named("one"), site.operator_named("two")];
    ready(&site);
    let (answered, late) = (1, 2);
    fault(&site, "reset-password", answered, json!({"fault": "delay", "milliseconds": 3000}));
    fault(&site, "reset-password", late, json!({"fault": "delay", "milliseconds": 60_000, "applyLate": true}));
    site.apply(&[reset_of(answered, json!({})), reset_of(late, json!({}))].join("\n---\n"));
    wait_for("both calls", || (site.sandbox.count("reset-password") == 2).then_some(()));
    site.cluster("kill");
    // The directory's late change is the clock.
    wait_for("a minute", || (changes(&site, late) == 1).then_some(()));
    for operator in &operators {
        assert!(operator.metrics().contains("credreset_leader 0\n"), "it is still leader");
    }
    site.cluster("up");
    for n in [answered, late] {
        let reset = site.until(&format!("r{n}"), "Applied");
        let evidence = reset["status"]["evidence"].as_str().unwrap();
        assert!(evidence == "Marker" || (n == answered && evidence == "Response"), "r{n}: {evidence}");
        assert!(opens(&site, n), "r{n}");
        assert_eq!((changes(&site, n), calls(&site, n).as_array().unwrap().len()), (1, 1), "r{n}");
    }
}

/// The API server sends the head of an answer and half of the body, and then nothing, on a connection that stays: to a list that
/// the leader begins with, to that of a watch, and in two reconciles, once with a record that is stored. Each is given up, and what it
/// was for goes on.
#[test]
fn api_server_falls_silent_within_an_answer() {
    let site = provable("20s");
    let proxy = Proxy::before_api_server(&site.service_account(None));
    let records = format!("/apis/credreset.dev/v1alpha1/namespaces/{SYSTEM}/credentialresetrecords");
    let resets = "/apis/credreset.dev/v1alpha1/credentialresets".to_owned();
    let stall = |method, path, about: &str, nth| {
        let action = Action::StallReply(40);
        proxy.arm(Rule { method, path, about: about.to_owned(), body_has: "", nth, action })
    };
    // The first of each is the check whether the kinds are there.
    let [ledger, watch] = [records.clone(), resets].map(|path| stall(Method::GET, path, "", 2));
    let reconcile =
        stall(Method::GET, format!("/apis/credreset.dev/v1alpha1/namespaces/{TEAM}/credentialresets/r1"), "", 1);
    let create = stall(Method::POST, records, r#""name":"r2""#, 1);
    let operator = site.run(&mut site.operator_command(
        Path::new(env!("CARGO_BIN_EXE_credreset")),
        "op",
        "trace",
        Some(&proxy.url),
    ));
    for (what, stalled) in [("the ledger's list", &ledger), ("the list of requests", &watch)] {
        wait_for(what, || stalled.is_hit().then_some(()));
    }
    site.apply(&[1, 2].map(|n| reset_of(n, json!({}))).join("\n---\n"));
    for (what, stalled) in [("a request's answer", &reconcile), ("a record's answer", &create)] {
        wait_for(what, || stalled.is_hit().then_some(()));
    }
    for n in [1, 2] {
        site.until(&format!("r{n}"), "Applied");
        assert!(opens(&site, n), "r{n}");
        assert_eq!((changes(&site, n), calls(&site, n).as_array().unwrap().len()), (1, 1), "r{n}");
    }
    assert_eq!(http_get(&operator.url, "/livez"), (200, "ok".to_owned()));
}

/// Reads a request and answers with this.
fn answers(head: &'static str, body: &'static str) -> String {
    server(move |mut stream| {
        let _ = stream.read(&mut [0; 8192]);
        let _ = write!(stream, "{head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    })
}

/// Holds a time, to the second.
fn names_a_time(message: &str) -> bool {
    message.split([' ', ',']).any(|word| word.trim_end_matches(['.', ':']).parse::<jiff::Timestamp>().is_ok())
}

/// A directory that cannot be asked, in every way, each for a request of its own: the request waits, says why and until when,
/// and ends with its deadline, which quotes what it waited for. Nothing reaches the directory.
#[test]
fn directories_that_cannot_be_asked() {
    let site = provable("2s");
    let mut sandboxes = Vec::new();
    let mut faulty = |name: &str, fault: Value| {
        let dir = site.dir.join(name);
        std::fs::create_dir(&dir).unwrap();
        let sandbox = Sandbox::at("127.0.0.1:0", &dir, &[]);
        let url = sandbox.url.clone();
        let mut fault = fault;
        fault["times"] = json!(1_000_000);
        sandbox.fault(fault);
        sandboxes.push(sandbox);
        json!({"accounts": url, "api": url, "mail": url})
    };
    let nowhere = "127.0.0.1:1";
    let plain = site.sandbox.url.strip_prefix("http://").unwrap().to_owned();
    let all = |url: String| json!({"accounts": url, "api": url, "mail": url});
    let token = |url: String| json!({"accounts": url});
    // How it fails, where that is, the reason while it waits, and what the message says of the cause.
    let cases = [
        ("down", all(format!("http://{nowhere}")), "DirectoryNotReady", "no connection could be made"),
        ("speaks-no-tls", all(format!("https://{plain}")), "DirectoryNotReady", "no connection could be made"),
        ("resets", all(format!("https://{}", server(drop))), "DirectoryNotReady", "no connection could be made"),
        ("hangs", all(format!("http://{}", server(std::mem::forget))), "DirectoryNotReady", "no answer came in time"),
        ("token-down", token(format!("http://{nowhere}")), "DirectoryNotReady", "the accounts server gave no token"),
        (
            "token-500",
            token(format!("http://{}", answers("HTTP/1.1 500 Oops", "{}"))),
            "DirectoryNotReady",
            "the accounts server gave no token",
        ),
        (
            "token-html",
            token(format!(
                "http://{}",
                answers("HTTP/1.1 200 OK\r\nContent-Type: text/html", "<html>Maintenance</html>")
            )),
            "DirectoryNotReady",
            "the accounts server gave no token",
        ),
        (
            "slow",
            faulty("slow", json!({"call": "look-up", "fault": "slow", "millisecondsPerByte": 1000})),
            "DirectoryNotReady",
            "no answer came in time",
        ),
        (
            "silent",
            faulty("silent", json!({"call": "look-up", "fault": "hang"})),
            "DirectoryNotReady",
            "no answer came in time",
        ),
        (
            "throttles",
            faulty("throttles", json!({"call": "role", "fault": "throttle", "retryAfter": 3600})),
            "Throttled",
            "the directory asks to be left alone until",
        ),
    ];
    for (name, urls, ..) in &cases {
        site.directory(name, json!({"provider": {"zoho": {"urls": urls}}, "limits": {"requestTimeout": "2s"}}));
    }
    let _operator = site.operator();
    let manifests: Vec<String> = cases
        .iter()
        .map(|(name, ..)| {
            password_reset(name, "annette.c@zylker.biz", json!({"spec": {"directory": name, "validFor": "30s"}}))
        })
        .collect();
    site.apply(&manifests.join("\n---\n"));
    for (name, _, reason, cause) in &cases {
        let msg = site.when(&format!("{name}: {reason}"), &RESETS, |all| {
            let reset = &all[*name];
            let msg = message(reset);
            (condition(reset, "Ready")?.1 == *reason && msg.contains(cause)).then_some(msg)
        });
        println!("{name}: {msg}");
        assert!(names_a_time(&msg), "{name}: {msg}");
    }
    for (name, _, reason, cause) in &cases {
        let reset = site.until(name, "Expired");
        let msg = message(&reset);
        println!("{name}: {msg}");
        assert_eq!(reset["status"]["outcome"], "NotApplied", "{name}");
        assert_eq!(condition(&reset, "Succeeded").unwrap().0, "False", "{name}");
        assert!(msg.contains(&format!("It waited for: {reason}: ")) && msg.contains(cause), "{name}: {msg}");
        assert!(names_a_time(&msg), "{name}: {msg}");
    }
    for sandbox in sandboxes.iter().chain([&site.sandbox]) {
        assert_eq!(sandbox.count("reset-password"), 0);
    }
    assert!(site.records().is_empty());
}

/// The reset call itself meets a directory that is slow, hangs, throttles for longer than the request is valid, or goes down
/// in the middle.
#[test]
fn directories_that_fail_in_the_call() {
    let mut site = provable("2s");
    let _operator = site.operator();
    ready(&site);
    let [slow, hung, throttled, bare, down] = [1, 2, 3, 4, 5];
    fault(&site, "reset-password", slow, json!({"fault": "slow", "millisecondsPerByte": 1000}));
    fault(&site, "reset-password", hung, json!({"fault": "hang"}));
    fault(&site, "reset-password", throttled, json!({"fault": "throttle", "retryAfter": 3600}));
    fault(&site, "reset-password", bare, json!({"fault": "throttle", "times": 100}));
    let valid = json!({"spec": {"validFor": "40s"}});
    let manifests = [
        reset_of(slow, json!({})),
        reset_of(hung, json!({})),
        reset_of(throttled, valid.clone()),
        reset_of(bare, valid),
    ];
    site.apply(&manifests.join("\n---\n"));
    let reset = site.until(&format!("r{slow}"), "Applied");
    assert_eq!((&reset["status"]["evidence"], changes(&site, slow), opens(&site, slow)), (&json!("Marker"), 1, true));
    let msg = message(&site.until(&format!("r{hung}"), "Verifying"));
    assert!(msg.contains("no reply came: nothing is sent again") && names_a_time(&msg), "{msg}");
    assert!(msg.contains("unchanged since"), "{msg}");
    for n in [throttled, bare] {
        let msg = message(&site.until(&format!("r{n}"), "Throttled"));
        println!("r{n}: {msg}");
        assert!(msg.contains("throttled the call and did nothing") && names_a_time(&msg), "{msg}");
    }
    // It dies with a call in its hands, which no longer takes effect.
    fault(&site, "reset-password", down, json!({"fault": "delay", "milliseconds": 60_000}));
    site.apply(&reset_of(down, json!({})));
    wait_for("the call", || (calls(&site, down) == json!(["delay"])).then_some(()));
    let address = site.sandbox.url.strip_prefix("http://").unwrap().to_owned();
    site.sandbox.stop();
    let msg = site.when("a look at the directory that fails", &RESETS, |all| {
        let msg = message(&all[&format!("r{down}")]);
        msg.contains("The directory could not be queried").then_some(msg)
    });
    println!("r{down}: {msg}");
    assert!(names_a_time(&msg), "{msg}");
    // What is throttled ends while it is down.
    for n in [throttled, bare] {
        let reset = site.until(&format!("r{n}"), "Expired");
        assert_eq!(reset["status"]["outcome"], "NotApplied", "r{n}");
        let msg = message(&reset);
        assert!(msg.contains("every attempt failed before it took effect") && names_a_time(&msg), "{msg}");
    }
    site.sandbox = Sandbox::at(&address, &site.dir, &["--change-times".to_owned()]);
    for n in [hung, down] {
        let reset = site.until(&format!("r{n}"), "OutcomeUnknown");
        let msg = message(&reset);
        println!("r{n}: {msg}");
        assert_eq!(reset["status"]["outcome"], "Unknown", "r{n}");
        assert!(
            msg.contains("unchanged since") && msg.contains("Ask the user to sign in") && names_a_time(&msg),
            "{msg}"
        );
    }
    for n in [hung, throttled, bare, down] {
        assert_eq!(changes(&site, n), 0, "r{n}");
    }
    assert_eq!(changes(&site, slow), 1);
}

/// Calls that take effect and are answered as if they had not: none is made a second time, and none is reported as not done.
#[test]
fn directories_that_say_they_did_nothing() {
    let site = provable("2s");
    let _operator = site.operator();
    ready(&site);
    let answers = [
        // Words that are believed, unless the directory also shows a change.
        (400, json!({"error": "PASSWORD_POLICY"}), "OutcomeUnknown"),
        (422, json!({"error": "INVALID_DATA"}), "OutcomeUnknown"),
        // Words that are not: they may be about what follows the change, or from a server in between.
        (200, json!({"error": {"title": "EMAIL_NOT_SENT"}}), "Applied"),
        (302, json!("see the result"), "Applied"),
        (400, json!("<html>Bad Request</html>"), "Applied"),
    ];
    let truly = answers.len() + 1;
    for (n, (status, body, _)) in (1..).zip(&answers) {
        fault(&site, "reset-password", n, json!({"fault": "apply-then-refuse", "status": status, "body": body}));
    }
    fault(
        &site,
        "reset-password",
        truly,
        json!({"fault": "refuse", "status": 400, "body": {"error": "PASSWORD_POLICY"}}),
    );
    let manifests: Vec<String> = (1..=truly).map(|n| reset_of(n, json!({}))).collect();
    site.apply(&manifests.join("\n---\n"));
    for (n, (_, body, reason)) in (1..).zip(answers) {
        let reset = site.until(&format!("r{n}"), reason);
        assert_eq!((changes(&site, n), calls(&site, n).as_array().unwrap().len()), (1, 1), "{body}: {reset:#}");
        if reason == "Applied" {
            assert_eq!((&reset["status"]["evidence"], opens(&site, n)), (&json!("Marker"), true), "{body}");
            continue;
        }
        let msg = message(&reset);
        assert!(msg.contains("the directory refused it with") && msg.contains("may or may not be in force"), "{msg}");
        // Whoever settles it can still have it delivered.
        let record = reset["status"]["record"].as_str().unwrap();
        let secret = site.get(&["crecord", record, "-n", SYSTEM])["spec"]["attempt"]["secret"].clone();
        let kept = site.secret(SYSTEM, secret.as_str().unwrap(), "password");
        assert_eq!(site.sandbox.sign_in(&user(n).0, &kept), "must-change", "{body}");
    }
    // Where nothing is shown, another password is generated, once.
    site.until(&format!("r{truly}"), "Applied");
    assert_eq!((changes(&site, truly), opens(&site, truly)), (1, true));
    assert_eq!(calls(&site, truly).as_array().unwrap().len(), 2);
}

/// Conditional calls that are lost are sent again, until an administrator stops it: a protection, a deleted request, `suspend`. What is
/// stopped so is never sent again, also when the directory is there again and the brake is off.
#[test]
fn the_brake_stops_repeats() {
    let flags = ["--change-times", "--users", "20"].map(str::to_owned).to_vec();
    let site = Site::with(&Setup { sandbox: flags, ..Setup::default() });
    let fields = json!({"passwordChangedAt": "password_changed_time", "mfaChangedAt": "mfa_changed_time"});
    let condition = json!({"body": {"unchanged_since": "${unchangedSince}"}});
    let zoho = json!({"lookUp": fields, "resetPassword": condition, "resetMFA": condition});
    let limits = json!({"resetsPerHour": 1000, "requestTimeout": "2s"});
    site.directory("zylker", json!({"provider": {"zoho": zoho}, "limits": limits}));
    let _operator = site.operator();
    ready(&site);
    let [protected, deleted, suspended, free] = [1, 2, 3, 4];
    for n in [protected, deleted, suspended] {
        fault(&site, "reset-password", n, json!({"fault": "drop-before", "times": 1000}));
    }
    fault(&site, "reset-password", free, json!({"fault": "drop-before", "times": 2}));
    let manifests: Vec<String> = [protected, deleted, suspended, free].map(|n| reset_of(n, json!({}))).to_vec();
    site.apply(&manifests.join("\n---\n"));
    let sent = |n: usize| calls(&site, n).as_array().unwrap().len();
    for n in [protected, deleted, suspended] {
        wait_for("a repeat", || (sent(n) >= 2).then_some(()));
    }
    let patch = |spec: Value| {
        site.kubectl(&["patch", "directory", "zylker", "--type=merge", "-p", &json!({"spec": spec}).to_string()]);
    };
    let record = site.reset(&format!("r{deleted}"))["status"]["record"].as_str().unwrap().to_owned();
    site.delete(&format!("r{deleted}"));
    patch(json!({"protect": {"users": [user(protected).0]}}));
    let expect_message = |n: usize, what: &str| {
        site.when("the brake in the status", &RESETS, |all| {
            let msg = message(&all[&format!("r{n}")]);
            msg.contains(&format!("nothing is sent again. {what}")).then_some(())
        });
    };
    expect_message(protected, &format!("{} is protected", user(protected).0));
    let reset = site.until(&format!("r{free}"), "Applied");
    assert_eq!((&reset["status"]["evidence"], opens(&site, free)), (&json!("ConditionalWrite"), true));
    patch(json!({"suspend": true}));
    expect_message(suspended, "Directory zylker is suspended");

    site.sandbox.send("DELETE", "/sandbox/faults", &Value::Null);
    for n in [protected, suspended] {
        let msg = message(&site.until(&format!("r{n}"), "OutcomeUnknown"));
        assert!(msg.contains("unchanged since"), "{msg}");
    }
    site.when("the end of the deleted one", &RECORDS, |all| (all[&record]["spec"]["state"] == "Unknown").then_some(()));
    patch(json!({"suspend": false, "protect": {"users": []}}));
    ready(&site);
    site.apply(&reset_of(5, json!({})));
    site.until("r5", "Applied");
    for n in [protected, deleted, suspended] {
        assert_eq!(changes(&site, n), 0, "r{n}");
    }
}

/// The Directory is suspended, its rule withdrawn or the user protected while the user is looked up: nothing is sent.
#[test]
fn a_change_of_the_directory_counts_until_the_call() {
    let site = provable("20s");
    let proxy = Proxy::start(&site.sandbox.url, &[]);
    let urls = json!({"accounts": proxy.url, "api": proxy.url, "mail": proxy.url});
    let limits = json!({"resetsPerHour": 1000});
    site.directory("held", json!({"provider": {"zoho": {"urls": urls}}, "limits": limits}));
    let _operator = site.operator();
    site.until_directory("held", "Connected");
    let patch = |spec: Value| {
        site.kubectl(&["patch", "directory", "held", "--type=merge", "-p", &json!({"spec": spec}).to_string()]);
    };
    let allow = site.get(&["directory", "held"])["spec"]["allow"].clone();
    let brakes = [
        (json!({"suspend": true}), json!({"suspend": false}), "DirectorySuspended"),
        (json!({"allow": []}), json!({"allow": allow}), "NotAllowed"),
        (json!({"protect": {"users": [user(3).0]}}), json!({"protect": {"users": []}}), "UserProtected"),
    ];
    for (n, (on, off, reason)) in (1..).zip(brakes) {
        let held = proxy.arm(Rule {
            method: Method::GET,
            path: "/directory/api/v2/orgs/*/users".to_owned(),
            about: String::new(),
            body_has: "",
            nth: 0,
            action: Action::HoldReply,
        });
        site.apply(&reset_of(n, json!({"spec": {"directory": "held"}})));
        wait_for("the look-up", || held.has_arrived().then_some(()));
        patch(on);
        held.disarm();
        held.release();
        site.until(&format!("r{n}"), reason);
        assert_eq!(calls(&site, n), json!([]), "{reason}");
        site.delete(&format!("r{n}"));
        patch(off);
        site.until_directory("held", "Connected");
    }
}

/// The default of the operator's `--concurrency`.
const AT_ONCE: usize = 8;

/// A proxy before the sandbox that holds every reset of MFA.
fn holding_mfa_resets(site: &Site) -> (Proxy, Arc<Armed>) {
    let proxy = Proxy::start(&site.sandbox.url, &[]);
    let held = proxy.arm(Rule {
        method: Method::POST,
        path: "/directory/api/v2/orgs/*/users/*/mfa/reset".to_owned(),
        about: String::new(),
        body_has: "",
        nth: 0,
        action: Action::HoldRequest,
    });
    (proxy, held)
}

/// However many wait for a directory that does not answer, those of another one are carried out; and all of the slow one's are, in turn,
/// once it answers.
#[test]
fn slow_directory_keeps_nobody_else_waiting() {
    const SLOW: usize = 20;
    let flags = ["--users".to_owned(), (SLOW + 1).to_string()].to_vec();
    let site = Site::with(&Setup { sandbox: flags, ..Setup::default() });
    let (proxy, held) = holding_mfa_resets(&site);
    let urls = json!({"accounts": proxy.url, "api": proxy.url, "mail": proxy.url});
    let limits = json!({"resetsPerHour": 1000, "requestTimeout": "60s"});
    site.directory("slow", json!({"provider": {"zoho": {"urls": urls}}, "limits": limits}));
    site.directory("zylker", json!({ "limits": limits }));
    let _operator = site.operator();
    for name in ["slow", "zylker"] {
        site.until_directory(name, "Connected");
    }
    let request = |number: usize, directory: &str| {
        mfa_reset(&format!("{directory}-{number}"), &user(number).0, json!({"spec": {"directory": directory}}))
    };
    site.apply(&(1..=SLOW).map(|number| request(number, "slow")).collect::<Vec<_>>().join("\n---\n"));
    site.when("as many as may be", &RECORDS, |all| (all.len() == AT_ONCE).then_some(()));
    wait_for("a call", || held.is_hit().then_some(()));
    site.apply(&request(SLOW + 1, "zylker"));
    site.until(&format!("zylker-{}", SLOW + 1), "Applied");
    assert_eq!((site.sandbox.count("reset-mfa"), site.records().len()), (1, AT_ONCE + 1));

    held.release();
    for number in 1..=SLOW {
        site.until(&format!("slow-{number}"), "Applied");
    }
    assert_eq!(site.sandbox.count("reset-mfa"), SLOW as u64 + 1);
}

/// The API server refuses to have the outcomes written: what came back is kept, others have their turn, and in the end it is written.
#[test]
fn writes_that_are_refused_keep_nobody_else_waiting() {
    let flags = ["--users".to_owned(), (AT_ONCE + 1).to_string()].to_vec();
    let site = Site::with(&Setup { sandbox: flags, ..Setup::default() });
    let (proxy, held) = holding_mfa_resets(&site);
    let urls = json!({"accounts": proxy.url, "api": proxy.url, "mail": proxy.url});
    let limits = json!({"resetsPerHour": 1000, "requestTimeout": "60s"});
    site.directory("zylker", json!({"provider": {"zoho": {"urls": urls}}, "limits": limits}));
    let _operator = site.operator();
    site.until_directory("zylker", "Connected");
    let request = |number: usize| mfa_reset(&format!("r{number}"), &user(number).0, json!({}));
    site.apply(&(1..=AT_ONCE).map(request).collect::<Vec<_>>().join("\n---\n"));
    let names = site.when("as many as may be", &RECORDS, |all| {
        (all.len() == AT_ONCE).then(|| all.keys().cloned().collect::<Vec<_>>())
    });

    // Of this test's records alone: the API server may have others.
    let policy = format!("credreset-test-{SYSTEM}-refuses");
    let meta = json!({"name": policy});
    site.apply_own(vec![
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": meta,
            "spec": {
                "matchConstraints": {"resourceRules": [{
                    "apiGroups": ["credreset.dev"], "apiVersions": ["*"], "resources": ["credentialresetrecords"],
                    "operations": ["UPDATE"], "resourceNames": names,
                }]},
                "validations": [{"expression": "false", "message": "not today"}],
            },
        }),
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": meta,
            "spec": {"policyName": policy, "validationActions": ["Deny"]},
        }),
    ]);
    let probe =
        ["annotate", "--dry-run=server", "--overwrite", "-n", SYSTEM, "crecord", &names[0], "credreset.dev/probe=1"];
    wait_for("the policy", || (!site.try_kubectl(&probe, "").status.success()).then_some(()));

    held.disarm();
    held.release();
    site.apply(&request(AT_ONCE + 1));
    site.until(&format!("r{}", AT_ONCE + 1), "Applied");
    assert_eq!(site.sandbox.count("reset-mfa"), AT_ONCE as u64 + 1);
    let open = site.records().iter().filter(|record| record["spec"]["state"] == "Sent").count();
    assert_eq!(open, AT_ONCE);
    site.kubectl(&["delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", &policy]);
    for number in 1..=AT_ONCE {
        let reset = site.until(&format!("r{number}"), "Applied");
        assert_eq!(reset["status"]["evidence"], "Response", "r{number}");
    }
    assert_eq!(site.sandbox.count("reset-mfa"), AT_ONCE as u64 + 1);
}
