//! Calls and answers that are lost on their way to `OpenLDAP`, and operators that know nothing of each other: its history says
//! that a password is set once.
use serde_json::json;

use crate::{
    applied, asked,
    env::{Site, password_reset, time, wait_for},
    ldap_proxy::{Cut, LdapProxy},
    ldap_server::Server,
    openldap::{KIND, MUST_CHANGE, add, changes, names, opens, protect, sign_in},
    password,
};

/// Cut at every byte of the request and of the answer: the password is changed once, and it is told how that is known.
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
    let passwords = site.passwords();
    for name in &all {
        assert_eq!(ends[name], ("Applied".to_owned(), "ConditionalWrite".to_owned()), "{name}");
        assert_eq!(sign_in(&server, name, &passwords[name]), MUST_CHANGE, "{name}");
        assert_eq!(changes(&server, name), 1, "{name}");
    }
    assert_eq!(proxy.left(), 0);
    println!("lost at each of {request} bytes of the request and {answer} of the answer");
}

/// A call that arrives long after everybody has given it up changes nothing.
#[test]
fn openldap_late_arrival() {
    let server = Server::openldap();
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
    opens(&server, &site, "ann", MUST_CHANGE);
    proxy.release();
    wait_for("the late call", || (proxy.held() == 0).then_some(()));
    opens(&server, &site, "ann", MUST_CHANGE);
}

/// Two clusters that know nothing of each other, with the same requests: the server lets one through.
#[test]
fn openldap_races() {
    const RACES: usize = 100;
    let server = Server::openldap();
    let sites = [Site::start(), Site::start()];
    let all = names("race", RACES);
    add(&server, &all);
    for site in &sites {
        site.ldap("acme", KIND, &server, server.value("LDAPS_URL"), protect());
    }
    let _operators = sites.each_ref().map(Site::operator);
    for site in &sites {
        site.until_directory("acme", "Connected");
    }
    let at = time(0);
    let manifests: Vec<String> = all
        .iter()
        .map(|name| asked(&password_reset(name, "", json!({})), "acme", name, json!({"requestedAt": at})))
        .collect();
    let manifests = manifests.join("\n---\n");
    std::thread::scope(|scope| {
        for site in &sites {
            scope.spawn(|| site.apply(&manifests));
        }
    });
    let ends = sites.each_ref().map(Site::ends);
    let passwords = sites.each_ref().map(Site::passwords);
    for name in &all {
        let reasons = ends.each_ref().map(|ends| ends[name].0.as_str());
        let winner =
            reasons.iter().position(|reason| *reason == "Applied").unwrap_or_else(|| panic!("{name}: {reasons:?}"));
        assert_eq!(reasons[1 - winner], "ChangedSinceRequest", "{name}");
        assert_eq!(sign_in(&server, name, &passwords[winner][name]), MUST_CHANGE, "{name}");
        assert_eq!(changes(&server, name), 1, "{name}");
    }
    // Those that had begun were turned away by the server itself.
    let met = sites.each_ref().map(|site| site.records().len()).iter().sum::<usize>() - RACES;
    println!("{RACES} races, {met} of them decided by the server");
    assert!(met > 0, "the operators never met");
}
