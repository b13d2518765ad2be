//! What a reset does at a real `OpenLDAP`, as its user sees it, and who is not reset.
use serde_json::{Value, json};

use crate::{
    applied, delivered,
    env::{Site, condition, message},
    ldap_server::{Server, SignIn},
    mfa, password, refused,
};

const KIND: &str = "openLDAP";
/// `changeAfterReset`.
const MUST_CHANGE: Option<u8> = Some(2);

fn dn(name: &str) -> String {
    format!("uid={name},ou=people,dc=acme,dc=example")
}

/// An `OpenLDAP` does not tell who administers it.
fn protect() -> Value {
    json!({"protect": {"administrators": false, "groups": ["cn=Administrators, ou=groups,dc=acme,dc=example"]}})
}

/// How often the password was changed: its history holds those before.
fn changes(server: &Server, name: &str) -> usize {
    server.get(&dn(name), "pwdHistory").len()
}

fn may_enter(policy: Option<u8>) -> impl Fn(&SignIn) -> bool {
    move |answer| answer.code == 0 && answer.policy == policy
}

#[test]
fn openldap_passwords() {
    let server = Server::openldap();
    let site = Site::start();
    site.ldap("acme", KIND, &server, server.value("LDAPS_URL"), protect());
    let _operator = site.operator();
    site.until_directory("acme", "Connected");
    let directory = site.get(&["directory", "acme"]);
    assert_eq!(directory["status"]["guarantees"]["password"], "ExactlyOnce");

    site.apply(&password("acme", "ann", json!({})));
    assert_eq!(applied(&site, "ann"), "Response");
    let new = delivered(&site, "ann");
    assert!(may_enter(MUST_CHANGE)(&server.sign_in(&dn("ann"), &new)));
    assert_eq!(server.sign_in(&dn("ann"), "ann-old-1").code, 49);
    assert_eq!(changes(&server, "ann"), 1);
    let id = server.get(&dn("ann"), "entryUUID");
    assert_eq!(json!(id), json!([site.reset("ann")["status"]["user"]["id"]]));
}
