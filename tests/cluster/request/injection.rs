//! Requests, users and answers that mean harm, on a real API server: each ends with its reason, and what came from outside is
//! seen only in the fields where the user wrote it.
use serde_json::{Value, json};

use crate::{
    support::{ANNETTE, SYSTEM, Site, TEAM, message, password_reset, time, wait_for},
    texts::{PIECES, unseen},
};

const EMAIL: &str = "annette.c@zylker.biz";
const MALLORY: &str = "800000001";
const ENDLESS: &str = "800000002";
const REFUSED: [&str; 4] = ["800000011", "800000012", "800000013", "800000014"];

/// Breaks lines, clears the terminal, turns what follows around, and asks for passwords.
const ODD: &str =
    "mallory\r\nX-Injected: yes\u{1b}[2J\u{1b}]0;owned\u{7}\u{202e}\0${password}/../8?x=1#\",\"role\":\"admin";

fn by_id(name: &str, id: &str, patch: Value) -> String {
    let mut spec = json!({"user": {"email": null, "id": id}});
    crate::support::merge(&mut spec, patch);
    password_reset(name, EMAIL, json!({ "spec": spec }))
}

/// Every text of `value` can be shown on a terminal.
fn check_told(what: &str, value: &Value) {
    match value {
        Value::String(text) => {
            assert_eq!(unseen(text), None, "{what}: {text:?}");
            assert!(text.len() <= 4096, "{what}: {} bytes", text.len());
        }
        Value::Array(items) => items.iter().for_each(|item| check_told(what, item)),
        Value::Object(map) => map.values().for_each(|item| check_told(what, item)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn refused_at_admission(site: &Site) {
    let spec = |patch: Value| password_reset("bad", EMAIL, json!({ "spec": patch }));
    // Names that kube would put into an address as they are.
    for name in ["../../kube-system/secrets/token", "other?dryRun=All", "a/b", "a%2fb", "A", "a\r\nb", "a\0"] {
        for patch in [
            json!({"password": {"generate": null, "deliverTo": null, "fromSecret": {"name": name}}}),
            json!({"password": {"generate": null, "deliverTo": null, "fromSecret": {"name": "x", "key": name.replace('A', "a/")}}}),
            json!({"password": {"deliverTo": {"secret": name}}}),
            json!({"directory": name}),
        ] {
            let msg = site.refused(&spec(patch));
            assert!(msg.contains("should match"), "{name}: {msg}");
        }
    }
    // Texts that look like times and are not valid: the operator would leave such an object out.
    for at in [
        "2026-02-30T09:00:00Z",
        "2026-11-24T24:00:00Z",
        "2026-11-24T09:60:00Z",
        "2026-13-01T09:00:00Z",
        "2026-00-00T00:00:00Z",
        "2027-02-29T09:00:00Z",
        "2026-11-31T09:00:00+01:00",
        "2026-11-24T23:59:60Z",
    ] {
        let msg = site.refused(&spec(json!({"requestedAt": at})));
        assert!(msg.contains("spec.requestedAt"), "{at}: {msg}");
    }
    let msg = site.refused(&spec(json!({"validFor": "9999999999999h"})));
    assert!(msg.contains("validFor is at most 168h"), "{msg}");
}

/// Users with names that no directory should let pass, and answers with invalid codes.
fn mean_directory(site: &Site) {
    let users = json!([
        {"user_id": MALLORY, "user_name": ODD, "emails": [format!("{ODD}@zylker.biz")], "first_name": ODD, "display_name": ODD},
        {"user_id": ENDLESS, "user_name": null, "emails": [format!("{}@zylker.biz", "日\u{1b}".repeat(16384))]},
    ]);
    site.sandbox.send("POST", "/sandbox/users", &users);
    let codes = [
        json!({"error": "CODE\r\nX-Injected: yes\u{1b}[2J"}),
        json!({"error": {"title": format!("\u{202e}{}", "A".repeat(65536))}}),
        json!({"errorCode": ["\u{1b}[31m"], "status": "error\r\n"}),
        json!({"data": {"errorCode": "${password}"}, "status": {"code": "400\r\n"}}),
    ];
    for (id, body) in REFUSED.iter().zip(codes) {
        site.sandbox.send("POST", "/sandbox/users", &json!({"user_id": id, "emails": [format!("u{id}@zylker.biz")]}));
        let times = 2; // Another password is generated once.
        site.sandbox.fault(json!({"call": "reset-password", "user": id, "fault": "refuse", "times": times, "status": 400, "body": body}));
    }
}

#[test]
fn nothing_is_injected() {
    let site = Site::start();
    refused_at_admission(&site);
    mean_directory(&site);
    let rule = |name: &str, max: &str| json!([{"name": name, "namespaces": [TEAM], "modes": ["Password", "MFA"], "users": {"everyone": true}, "maxValidFor": max}]);
    let limits = json!({"resetsPerHour": 100_000});
    site.directory("zylker", json!({"allow": rule("staff", "24h"), "limits": limits}));
    let name = "rule\r\n\u{1b}[31m\u{202e}";
    site.directory("odd", json!({"allow": rule(name, "1h"), "limits": limits}));
    let body = json!({"password": format!("${{{}}}", "\u{1b}日\r\n".repeat(16384))});
    site.directory("broken", json!({"provider": {"zoho": {"resetPassword": {"body": body}}}}));
    // More bytes than an Event's note may have, and not too many characters.
    site.directory("wordy", json!({"provider": {"zoho": {"urls": {"api": "日".repeat(512)}}}}));
    // As long as a Pod's name may be: an Event takes less.
    let operator = site.operator_named(&"op".repeat(126));
    site.kubectl(&["wait", "--for=condition=Ready", "--timeout=600s", "directory/zylker", "directory/odd"]);

    // As far as the definition admits it: any characters, and as many as it lets pass.
    let reason: String = PIECES.concat().chars().take(1024).collect();
    let long: String = "日".repeat(320);
    let odd_directory = json!({"directory": "odd", "validFor": "2h"});
    // The API server lets an address be as odd as this.
    let refused = site.refused(&password_reset("typed-email", ODD, json!({})));
    assert!(refused.contains("email must be an address such as annette.c@zylker.biz"), "{refused}");
    let address = ODD.replace([' ', ',', ':', ';', '<', '>'], "") + "@zylker.biz";
    let expected = [
        ("reason", by_id("reason", ANNETTE, json!({ "reason": reason })), "Applied"),
        ("mallory", by_id("mallory", MALLORY, json!({})), "Applied"),
        ("endless", by_id("endless", ENDLESS, json!({})), "Applied"),
        ("typed-email", password_reset("typed-email", &address, json!({})), "UserNotFound"),
        ("typed-id", by_id("typed-id", "7/../8?page=1&per_page=1\r\n", json!({})), "UserNotFound"),
        (
            "typed-name",
            password_reset("typed-name", EMAIL, json!({"spec": {"user": {"email": null, "username": long}}})),
            "UserNotFound",
        ),
        // The same user again, by the very name that he has.
        (
            "by-name",
            password_reset("by-name", EMAIL, json!({"spec": {"user": {"email": null, "username": ODD}}})),
            "Applied",
        ),
        ("code-0", by_id("code-0", REFUSED[0], json!({})), "Rejected"),
        ("code-1", by_id("code-1", REFUSED[1], json!({})), "Rejected"),
        // An error without a name is not a clear answer.
        ("code-2", by_id("code-2", REFUSED[2], json!({})), "OutcomeUnknown"),
        ("code-3", by_id("code-3", REFUSED[3], json!({})), "Rejected"),
        ("rule", by_id("rule", ANNETTE, odd_directory), "NotAllowed"),
        ("wordy", by_id("wordy", ANNETTE, json!({"directory": "wordy"})), "DirectoryNotReady"),
        ("broken", by_id("broken", ANNETTE, json!({"directory": "broken"})), "DirectoryNotReady"),
    ];
    for (_, object, _) in &expected {
        site.apply(object);
    }
    for (name, _, reason) in &expected {
        let reset = site.until(name, reason);
        assert!(message(&reset).len() > 20, "{reset:#}");
        check_told(name, &reset["status"]);
    }
    let shown = |name: &str| message(&site.reset(name));
    assert!(shown("mallory").contains(r"mallory\u{d}\u{a}X-Injected: yes\u{1b}[2J"), "{}", shown("mallory"));
    assert!(shown("endless").contains('…') && shown("endless").contains("has been reset"), "{}", shown("endless"));
    assert!(shown("typed-email").ends_with("Check the spelling."), "{}", shown("typed-email"));
    for code in ["code-0", "code-1", "code-3"] {
        assert!(shown(code).contains("with code HTTP_400:"), "{}", shown(code));
    }
    for directory in ["zylker", "odd", "wordy", "broken"] {
        check_told(directory, &site.get(&["directory", directory])["status"]);
    }
    assert!(shown("wordy").len() > 1024, "{}", shown("wordy"));
    let broken = message(&site.get(&["directory", "broken"]));
    assert!(broken.contains("unknown placeholder") && broken.contains("Known here: ${organization}"), "{broken}");

    // The records, and the name in the Secret that users read on a terminal.
    for record in site.records() {
        check_told("record", &record);
    }
    let user = site.secret(TEAM, "mallory-password", "username");
    assert_eq!(unseen(&user), None, "{user:?}");
    let password = site.secret(TEAM, "by-name-password", "password");
    assert_eq!(site.sandbox.sign_in(ODD, &password), "must-change");

    // One Event for each that was reported, which the API server takes.
    for (name, _, reason) in &expected {
        let note = wait_for(&format!("the Event of {name}"), || {
            let events = site.get(&["events.events.k8s.io", "-n", TEAM]);
            let of = |e: &&Value| e["regarding"]["name"] == *name && e["reason"] == *reason;
            events["items"].as_array()?.iter().find(of).map(|e| e["note"].clone())
        });
        check_told("Event", &note);
        assert!(note.as_str().unwrap().len() <= 1024);
    }

    called_as_ever(&site);
    logged_as_ever(&operator.read_log());
    if site.is_own() {
        for asked in site.audit() {
            let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
            assert!(plain(&asked.name) && plain(&asked.namespace), "{asked:?}");
            assert!(asked.resource != "secrets" || [TEAM, SYSTEM].contains(&asked.namespace.as_str()), "{asked:?}");
        }
    }
    // It goes on working for everybody else.
    site.apply(&password_reset("after", EMAIL, json!({"spec": {"requestedAt": time(0)}})));
    site.until("after", "Applied");
}

/// The sandbox saw the calls that it knows, for ids that are some, with the fields of the template.
fn called_as_ever(site: &Site) {
    assert_eq!(site.sandbox.count("other"), 0);
    let calls = site.sandbox.get("/sandbox/calls");
    for call in calls.as_array().unwrap() {
        check_told("call", call);
        let path = call["path"].as_str().unwrap();
        assert!(path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_".contains(&b)), "{path}");
        if call["kind"] == "reset-password" {
            let fields: Vec<&String> = call["fields"].as_object().unwrap().keys().collect();
            let known =
                ["admin_password", "clear_mobile_sessions_and_api_tokens", "email_user", "force_change", "password"];
            assert_eq!(fields, known, "{call}");
            assert_eq!(call["fields"]["force_change"], true);
        }
    }
    let resets = |id: &str| site.sandbox.user(id)["passwordResets"].clone();
    assert_eq!([resets(ANNETTE), resets(MALLORY), resets(ENDLESS)], [json!(1), json!(2), json!(1)]);
}

/// Every line is one object of the operator's own, and what came from outside is in none.
fn logged_as_ever(log: &str) {
    for line in log.lines() {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(object["level"].is_string() && object["message"].is_string() && object["forged"].is_null(), "{line}");
        assert_eq!(unseen(line), None, "{line:?}");
    }
    for text in ["X-Injected", "evil.example", "owned"] {
        assert!(!log.contains(text), "{text}");
    }
    assert!(!log.contains("panic"), "a panic");
}
