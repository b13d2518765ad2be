//! What the operator needs is away, slow or out of its mind: the API server in every step of a reset, and the directory in
//! every way. A request ends in an outcome, or waits and says for what and until when.
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

use http::Method;
use serde_json::{Value, json};

use crate::{
    env::{RECORDS, RESETS, Sandbox, Setup, Site, TEAM, condition, message, mfa_reset, password_reset, wait_for},
    proxy::{Action, Proxy, Rule},
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
    site.kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", "directory/zylker"]);
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
/// process that leads no more; whoever leads then may find it by the time of the change before that process has written it down.
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
        assert!(operator.metrics().contains("credreset_leader 0\n"), "nobody leads");
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

/// A server that treats every connection as `serve` says; ends with the test's process.
fn server(serve: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || listener.incoming().flatten().for_each(serve));
    address
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
        let told = site.when(&format!("{name}: {reason}"), &RESETS, |all| {
            let reset = &all[*name];
            let told = message(reset);
            (condition(reset, "Ready")?.1 == *reason && told.contains(cause)).then_some(told)
        });
        println!("{name}: {told}");
        assert!(names_a_time(&told), "{name}: {told}");
    }
    for (name, _, reason, cause) in &cases {
        let reset = site.until(name, "Expired");
        let told = message(&reset);
        println!("{name}: {told}");
        assert_eq!(reset["status"]["outcome"], "NotApplied", "{name}");
        assert_eq!(condition(&reset, "Succeeded").unwrap().0, "False", "{name}");
        assert!(told.contains(&format!("It waited for: {reason}: ")) && told.contains(cause), "{name}: {told}");
        assert!(names_a_time(&told), "{name}: {told}");
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
    let told = message(&site.until(&format!("r{hung}"), "Verifying"));
    assert!(told.contains("no answer came: nothing is sent again") && names_a_time(&told), "{told}");
    assert!(told.contains("unchanged since"), "{told}");
    for n in [throttled, bare] {
        let told = message(&site.until(&format!("r{n}"), "Throttled"));
        println!("r{n}: {told}");
        assert!(told.contains("asked to be left alone and did nothing") && names_a_time(&told), "{told}");
    }
    // It dies with a call in its hands, and takes effect no more.
    fault(&site, "reset-password", down, json!({"fault": "delay", "milliseconds": 60_000}));
    site.apply(&reset_of(down, json!({})));
    wait_for("the call", || (calls(&site, down) == json!(["delay"])).then_some(()));
    let address = site.sandbox.url.strip_prefix("http://").unwrap().to_owned();
    site.sandbox.stop();
    let told = site.when("a look at the directory that fails", &RESETS, |all| {
        let told = message(&all[&format!("r{down}")]);
        told.contains("The directory could not be asked").then_some(told)
    });
    println!("r{down}: {told}");
    assert!(names_a_time(&told), "{told}");
    // What is throttled ends while it is down.
    for n in [throttled, bare] {
        let reset = site.until(&format!("r{n}"), "Expired");
        assert_eq!(reset["status"]["outcome"], "NotApplied", "r{n}");
        let told = message(&reset);
        assert!(told.contains("every try was turned away before it took effect") && names_a_time(&told), "{told}");
    }
    site.sandbox = Sandbox::at(&address, &site.dir, &["--change-times".to_owned()]);
    for n in [hung, down] {
        let reset = site.until(&format!("r{n}"), "OutcomeUnknown");
        let told = message(&reset);
        println!("r{n}: {told}");
        assert_eq!(reset["status"]["outcome"], "Unknown", "r{n}");
        assert!(
            told.contains("unchanged since") && told.contains("Ask the user to sign in") && names_a_time(&told),
            "{told}"
        );
    }
    for n in [hung, throttled, bare, down] {
        assert_eq!(changes(&site, n), 0, "r{n}");
    }
    assert_eq!(changes(&site, slow), 1);
}

/// However many wait for a directory that does not answer, those of another one are carried out; and all of the slow one's are, in turn,
/// once it answers.
#[test]
fn slow_directory_keeps_nobody_else_waiting() {
    const SLOW: usize = 20;
    /// The operator's `--concurrency`, if nothing is said.
    const AT_ONCE: usize = 8;
    let flags = ["--users".to_owned(), (SLOW + 1).to_string()].to_vec();
    let site = Site::with(&Setup { sandbox: flags, ..Setup::default() });
    let proxy = Proxy::start(&site.sandbox.url, &[]);
    let held = proxy.arm(Rule {
        method: Method::POST,
        path: "/directory/api/v2/orgs/*/users/*/mfa/reset".to_owned(),
        about: String::new(),
        says: "",
        nth: 0,
        action: Action::HoldRequest,
    });
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
