//! Calls and replies are lost on their way to a domain controller, or two operators do not know of each other: the server's count of
//! changes shows that each password was set once.
use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    applied, delivered,
    ldap_both::{SAMBA, races},
    ldap_proxy::{Cut, LdapProxy},
    ldap_server::Server,
    names, password, refused,
    samba::{KIND, LOCKED_OUT, MAY_ENTER, MUST_CHANGE, WRONG, add, changes, dn, id, opens, sign_in},
    support::{Site, message, wait_for},
};

fn impatient() -> Value {
    json!({"limits": {"requestTimeout": "3s"}})
}

/// Users of whom one in four must change the password already.
pub fn add_users(server: &Server, names: &[String]) {
    add(server, names);
    for name in names.iter().step_by(4) {
        server.set(&dn(name), "pwdLastSet", &["0"]);
    }
}

fn users(server: &Server, kind: &str, n: usize) -> Vec<String> {
    let all = names(kind, n);
    add_users(server, &all);
    all
}

/// No answer came, and the outcome is known nevertheless: a repeat took effect, or was rejected and a sign-in showed by whose change. Which,
/// depends on how much of the first call, and of others on the same connection, got through.
const TOLD: [&str; 2] = ["ConditionalWrite", "SignIn"];

/// Cut at every byte of the request and of the answer.
#[test]
fn samba_lost_answers() {
    let server = Server::samba();
    let site = Site::start();
    let proxy = LdapProxy::before(&server);
    site.ldap("acme", KIND, &server, &proxy.url, impatient());
    let _operator = site.operator();
    site.until_directory("acme", "Connected");
    site.apply(&password("acme", "ann", json!({})));
    applied(&site, "ann");
    let (request, answer) = proxy.longest();
    assert!(request > 150 && answer > 10, "{request} {answer}");

    let cuts = (0..request).map(Cut::Request).chain((0..answer).map(Cut::Answer));
    let cuts: Vec<Cut> = cuts.collect();
    let all = users(&server, "cut", cuts.len());
    for (name, cut) in all.iter().zip(&cuts) {
        proxy.cut(&id(&server, name), *cut);
    }
    let manifests: Vec<String> = all.iter().map(|name| password("acme", name, json!({}))).collect();
    site.apply(&manifests.join("\n---\n"));
    let ends = site.ends();
    let passwords = site.delivered();
    let mut known = BTreeMap::new();
    for (name, cut) in all.iter().zip(&cuts) {
        let (reason, evidence) = &ends[name];
        assert_eq!(reason, "Applied", "{name} {cut:?}: {evidence}\n{}", site.logs());
        assert!(TOLD.contains(&evidence.as_str()), "{name} {cut:?}: {evidence}");
        *known.entry(evidence.clone()).or_insert(0) += 1;
        (SAMBA.is_in_force)(&server, name, &passwords[name]);
    }
    assert_eq!(proxy.left(), 0);
    println!("lost at each of {request} bytes of the request and {answer} of the answer: {known:?}");
}

/// A call that arrives long after everybody has given it up changes nothing, also where the user must change the password: then
/// the mark is set when no call can arrive any more.
#[test]
fn samba_late_arrival() {
    let server = Server::samba();
    let site = Site::start();
    let proxy = LdapProxy::before(&server);
    site.ldap("acme", KIND, &server, &proxy.url, impatient());
    let [due, not] = <[String; 2]>::try_from(users(&server, "late", 2)).unwrap();
    let _operator = site.operator();
    site.until_directory("acme", "Connected");
    for name in [&due, &not] {
        proxy.cut(&id(&server, name), Cut::Held);
    }
    site.apply(&[password("acme", &due, json!({})), password("acme", &not, json!({}))].join("\n---\n"));
    assert!(TOLD.contains(&applied(&site, &not).as_str()));
    let msg = message(&site.until(&due, "Finishing"));
    assert!(msg.contains("the user need not choose another password yet"), "{msg}");
    assert_eq!(sign_in(&server, &due, &crate::delivered(&site, &due)), MAY_ENTER);
    proxy.release();
    wait_for("the late calls", || (proxy.held() == 0).then_some(()));
    assert!(TOLD.contains(&applied(&site, &due).as_str()));
    for name in [&due, &not] {
        opens(&server, &site, name, MUST_CHANGE);
    }
}

/// Failed sign-ins, a lock-out and another telephone number, after the look-up and before the write, do not change the password;
/// a colleague's reset is, and stays.
#[test]
fn samba_what_happens_in_between() {
    let server = Server::samba();
    let site = Site::start();
    let proxy = LdapProxy::before(&server);
    // The call is held while samba-tool runs, which takes as long as the machine lets it.
    site.ldap("acme", KIND, &server, &proxy.url, json!({"limits": {"requestTimeout": "2m"}}));
    server.set("DC=acme,DC=example", "lockoutThreshold", &["3"]);
    let [due, tried, reset] = <[String; 3]>::try_from(users(&server, "during", 3)).unwrap();
    let _operator = site.operator();
    site.until_directory("acme", "Connected");
    let during = |name: &str, meanwhile: &dyn Fn()| {
        proxy.cut(&id(&server, name), Cut::Delayed);
        site.apply(&password("acme", name, json!({})));
        wait_for("the call", || (proxy.held() == 1).then_some(()));
        meanwhile();
        proxy.release();
    };
    for name in [&due, &tried] {
        during(name, &|| {
            for _ in 0..3 {
                assert_eq!(sign_in(&server, name, "wrong"), WRONG);
            }
            assert_eq!(sign_in(&server, name, &format!("{name}-Old-1")), LOCKED_OUT);
            server.set(&dn(name), "telephoneNumber", &["+49 30 1234567"]);
        });
        assert_eq!(applied(&site, name), "Response");
        opens(&server, &site, name, MUST_CHANGE);
    }
    during(&reset, &|| server.sh(&format!("samba-tool user setpassword {reset} --newpassword=Colleague-1 >&2")));
    refused(&site, &reset, "ChangedSinceRequest");
    assert_eq!(sign_in(&server, &reset, "Colleague-1"), MAY_ENTER);
    assert_eq!(changes(&server, &reset), 2);
}

/// Where it is not known whether the server keeps the condition, it is not relied upon: a call is sent once, and its result is
/// shown by a sign-in, or not at all.
#[test]
fn samba_without_the_condition() {
    let server = Server::samba();
    let site = Site::start();
    let proxy = LdapProxy::before(&server);
    proxy.hide_vendor();
    let all = <[String; 5]>::try_from(users(&server, "plain", 5)).unwrap();
    site.ldap("acme", KIND, &server, &proxy.url, impatient());
    let _operator = site.operator();
    site.until_directory("acme", "Connected");
    assert_eq!(site.get(&["directory", "acme"])["status"]["guarantees"], json!({"password": "Provable"}));
    let [due, not, keep, answered, asked] = &all;
    proxy.cut(&id(&server, answered), Cut::Answer(0));
    proxy.cut(&id(&server, asked), Cut::Request(20));
    let stays = json!({"password": {"forceChangeOnLogin": false}});
    let manifests =
        all.each_ref().map(|name| password("acme", name, if name == keep { stays.clone() } else { json!({}) }));
    site.apply(&manifests.join("\n---\n"));
    for (name, known, expected) in [
        (due, "Response", MUST_CHANGE),
        (not, "Response", MUST_CHANGE),
        (keep, "Response", MAY_ENTER),
        (answered, "SignIn", MUST_CHANGE),
    ] {
        assert_eq!(applied(&site, name), known, "{name}");
        opens(&server, &site, name, expected);
    }
    // Kept out by the hour or by the computer, which the server answers only to the right password.
    for (name, expected) in [("night", "530"), ("bound", "531")] {
        assert_eq!(sign_in(&server, name, "wrong"), WRONG);
        proxy.cut(&id(&server, name), Cut::Answer(0));
        site.apply(&password("acme", name, stays.clone()));
        assert_eq!(applied(&site, name), "SignIn", "{name}");
        assert_eq!(sign_in(&server, name, &delivered(&site, name)), expected);
        assert_eq!(changes(&server, name), 2, "{name}");
    }
    let msg = message(&site.until(asked, "OutcomeUnknown"));
    assert!(msg.contains("shows the Password unchanged"), "{msg}");
    assert_eq!(changes(&server, asked), 1);
}

#[test]
fn samba_races() {
    // Those who must change the password already: see `add_users`.
    races(
        &SAMBA,
        &Server::samba(),
        |number| number % 4 == 0,
        |server, passwords| {
            for (name, password) in passwords {
                (SAMBA.is_in_force)(server, name, password);
            }
        },
    );
}
