//! Calls and replies are lost on their way to `OpenLDAP`, or two operators do not know of each other: the server's password history shows
//! that each password was set once.
use serde_json::json;

use crate::{
    applied, delivered,
    ldap_both::{OPENLDAP, races},
    ldap_proxy::{Cut, LdapProxy},
    ldap_server::Server,
    names,
    openldap::{
        KIND, MAY_ENTER, MUST_CHANGE, POLICY, WRONG, add, changed_once, changes, dn, opens, protect, sign_in,
        without_history, writes,
    },
    password, refused,
    support::{Site, wait_for},
};

/// Cut at every byte of the request and of the answer: the password is changed once, and the request reports its evidence.
#[test]
fn openldap_lost_answers() {
    let server = Server::openldap();
    let site = Site::start();
    let proxy = LdapProxy::before(&server);
    site.ldap("acme", KIND, &server, &proxy.url, protect());
    let _operator = site.operator();
    site.until_directory("acme", "Connected");
    add(&server, &["whole0x".to_owned()]);
    site.apply(&password("acme", "whole0x", json!({})));
    applied(&site, "whole0x");
    let (request, answer) = proxy.longest();
    assert!(request > 150 && answer > 10, "{request} {answer}");

    let all = names("cut", request + answer);
    add(&server, &all);
    for (at, name) in all.iter().enumerate() {
        let cut = if at < request { Cut::Request(at) } else { Cut::Answer(at - request) };
        proxy.cut(&format!("uid={name},"), cut);
    }
    let manifests: Vec<String> = all.iter().map(|name| password("acme", name, json!({}))).collect();
    site.apply(&manifests.join("\n---\n"));
    let ends = site.ends();
    let passwords = site.delivered();
    for name in &all {
        assert_eq!(ends[name], ("Applied".to_owned(), "ConditionalWrite".to_owned()), "{name}");
    }
    changed_once(&server, all.iter().map(|name| (name, &passwords[name])));
    assert_eq!(proxy.left(), 0);
    println!("lost at each of {request} bytes of the request and {answer} of the answer");
}

/// A call that arrives long after everybody has given it up changes nothing, also where no history forbids its password.
#[test]
fn openldap_late_arrival() {
    let server = Server::openldap();
    without_history(&server);
    let site = Site::start();
    let proxy = LdapProxy::before(&server);
    let mut impatient = protect();
    impatient["limits"] = json!({"requestTimeout": "2s"});
    site.ldap("acme", KIND, &server, &proxy.url, impatient);
    let _operator = site.operator();
    site.until_directory("acme", "Connected");
    proxy.cut("uid=ann,", Cut::Held);
    site.apply(&password("acme", "ann", json!({})));
    assert_eq!(applied(&site, "ann"), "ConditionalWrite");
    let new = delivered(&site, "ann");
    assert_eq!(sign_in(&server, "ann", &new), MUST_CHANGE);
    server.change_own(&dn("ann"), &new, "Ann-chose-this-1");
    proxy.release();
    wait_for("the late call", || (proxy.held() == 0).then_some(()));
    assert_eq!(sign_in(&server, "ann", "Ann-chose-this-1"), MAY_ENTER);
    assert_eq!(writes(&server, "ann"), 2, "the reset and the user's own");
}

#[test]
fn openldap_races() {
    races(
        &OPENLDAP,
        &Server::openldap(),
        |_| false,
        |server, passwords| changed_once(server, passwords.iter().copied()),
    );
}

/// Failed sign-ins and another telephone number, after the look-up and before the write, do not change the password; one of the
/// user's own is, and stays.
#[test]
fn openldap_what_happens_in_between() {
    let server = Server::openldap();
    let site = Site::start();
    let proxy = LdapProxy::before(&server);
    site.ldap("acme", KIND, &server, &proxy.url, protect());
    let _operator = site.operator();
    site.until_directory("acme", "Connected");
    add(&server, &["tried", "own"].map(str::to_owned));
    let during = |name: &str, meanwhile: &dyn Fn()| {
        proxy.cut(&format!("uid={name},"), Cut::Delayed);
        site.apply(&password("acme", name, json!({})));
        wait_for("the call", || (proxy.held() == 1).then_some(()));
        meanwhile();
        proxy.release();
    };
    during("tried", &|| {
        for _ in 0..5 {
            assert_eq!(sign_in(&server, "tried", "wrong"), WRONG);
        }
        assert_eq!(sign_in(&server, "tried", "tried-old-1"), WRONG, "locked out");
        server.set(&dn("tried"), "telephoneNumber", &["+49 30 1234567"]);
    });
    assert_eq!(applied(&site, "tried"), "Response");
    opens(&server, &site, "tried", MUST_CHANGE);
    during("own", &|| server.change_own(&dn("own"), "own-old-1", "Own-choice-1"));
    refused(&site, "own", "ChangedSinceRequest");
    assert_eq!(sign_in(&server, "own", "Own-choice-1"), MAY_ENTER);
    assert_eq!(changes(&server, "own"), 1);
}

/// Where the policy keeps no history, or lets no password be changed again soon, the answer to a repeat proves nothing: a sign-in
/// does.
#[test]
fn openldap_lost_answers_without_history() {
    let server = Server::openldap();
    let site = Site::start();
    let proxy = LdapProxy::before(&server);
    site.ldap("acme", KIND, &server, &proxy.url, protect());
    without_history(&server);
    let _operator = site.operator();
    site.until_directory("acme", "Connected");
    let keep = json!({"password": {"forceChangeOnLogin": false}});
    let cases = [
        ("never", Cut::Request(0), json!({}), "ConditionalWrite", MUST_CHANGE),
        ("done", Cut::Answer(0), json!({}), "SignIn", MUST_CHANGE),
        ("young", Cut::Answer(0), keep, "SignIn", MAY_ENTER),
    ];
    add(&server, &cases.each_ref().map(|(name, ..)| (*name).to_owned()));
    for (name, cut, patch, evidence, expected) in cases {
        if name == "young" {
            server.set(POLICY, "pwdMinAge", &["3600"]);
        }
        proxy.cut(&format!("uid={name},"), cut);
        site.apply(&password("acme", name, patch));
        assert_eq!(applied(&site, name), evidence, "{name}");
        assert_eq!(sign_in(&server, name, &delivered(&site, name)), expected, "{name}");
        assert_eq!(writes(&server, name), 1, "{name}");
    }
}
