//! What a reset does at a real `OpenLDAP`, as its user sees it, and who is not reset.
use serde_json::json;

pub use crate::ldap_users::openldap::{KIND, add, dn, protect};
use crate::{
    applied, delivered, entered,
    env::{Site, time, wait_for},
    ldap_server::Server,
    mfa, password, refused,
};

pub const POLICY: &str = "cn=default,ou=policies,dc=acme,dc=example";
/// A sign-in that is let in, and that is let in to choose another password (`changeAfterReset`) but no further.
pub const MAY_ENTER: (u32, Option<u8>) = (0, None);
pub const MUST_CHANGE: (u32, Option<u8>) = (0, Some(2));
pub const WRONG: (u32, Option<u8>) = (49, None);

/// How often the password was changed: its history holds those before.
pub fn changes(server: &Server, name: &str) -> usize {
    server.get(&dn(name), "pwdHistory").len()
}

/// Passwords may be used again: no answer tells that one was set.
pub fn without_history(server: &Server) {
    server.set(POLICY, "pwdInHistory", &[]);
}

/// How often the entry was changed, as the server has logged.
pub fn writes(server: &Server, name: &str) -> usize {
    let log = std::fs::read_to_string(server.value("LOG")).unwrap();
    let operation = |line: &str, what: &str| {
        let (before, _) = line.split_once(what)?;
        Some(before.split_once("conn=")?.1.to_owned())
    };
    let modify = format!(" MOD dn=\"{}\"", dn(name));
    // Connections are numbered anew with every start.
    let starts = log.split("slapd starting").map(|log| {
        let asked: Vec<String> = log.lines().filter_map(|line| operation(line, &modify)).collect();
        let done: Vec<String> = log.lines().filter_map(|line| operation(line, " RESULT tag=103 err=0 ")).collect();
        asked.iter().filter(|operation| done.contains(operation)).count()
    });
    starts.sum()
}

pub fn sign_in(server: &Server, name: &str, password: &str) -> (u32, Option<u8>) {
    let answer = server.sign_in(&dn(name), password);
    (answer.code, answer.policy)
}

/// The old password is refused, the one in the Secret is answered so; it was changed once.
pub fn opens(server: &Server, site: &Site, name: &str, says: (u32, Option<u8>)) -> String {
    let new = delivered(site, name);
    assert_eq!(sign_in(server, name, &new), says, "{name}");
    assert_eq!(sign_in(server, name, &format!("{name}-old-1")), WRONG, "{name}");
    assert_eq!(changes(server, name), 1, "{name}");
    new
}

/// The password of each opens, as far as to choose another; it was changed once.
pub fn changed_once<'a>(server: &Server, passwords: impl IntoIterator<Item = (&'a String, &'a String)>) {
    let all: Vec<(String, &str)> =
        passwords.into_iter().map(|(name, password)| (dn(name), password.as_str())).collect();
    let changes = server.count("pwdHistory");
    for ((dn, _), answer) in all.iter().zip(server.sign_ins(&all)) {
        assert_eq!((answer.code, answer.policy), MUST_CHANGE, "{dn}");
        assert_eq!(changes[dn], 1, "{dn}");
    }
}

#[test]
fn openldap_passwords() {
    let server = Server::openldap();
    let site = Site::start();
    site.ldap("acme", KIND, &server, server.value("LDAPS_URL"), protect());
    // Failed sign-ins, and anything else but the password, do not stand in the way.
    add(&server, &["loc".to_owned(), "amy".to_owned()]);
    for _ in 0..5 {
        sign_in(&server, "loc", "wrong");
    }
    assert_eq!(sign_in(&server, "loc", "loc-old-1"), WRONG);
    let _operator = site.operator();
    site.until_directory("acme", "Connected");
    let directory = site.get(&["directory", "acme"]);
    assert_eq!(directory["status"]["guarantees"], json!({"password": "ExactlyOnce"}));

    let dan = server.get(&dn("dan"), "entryUUID").pop().unwrap();
    site.apply(&password("acme", "ann", json!({})));
    site.apply(&password("acme", "dan", json!({"user": {"username": null, "id": dan}})));
    site.apply(&password("acme", "loc", json!({"user": {"username": null, "email": "LOC@acme.example"}})));
    site.apply(&password("acme", "amy", json!({"password": {"forceChangeOnLogin": false}})));
    for name in ["ann", "dan", "loc", "amy"] {
        assert_eq!(applied(&site, name), "Response");
    }
    assert_eq!(site.reset("dan")["status"]["user"]["id"], dan.as_str());
    let new = opens(&server, &site, "ann", MUST_CHANGE);
    for name in ["dan", "loc"] {
        opens(&server, &site, name, MUST_CHANGE);
    }
    opens(&server, &site, "amy", MAY_ENTER);
    server.change_own(&dn("ann"), &new, "Ann-chose-this-1");
    assert_eq!(sign_in(&server, "ann", "Ann-chose-this-1"), MAY_ENTER);

    // The same request again, and one from before the change.
    site.delete("ann");
    site.apply(&password("acme", "ann", json!({"requestedAt": time(-600)})));
    refused(&site, "ann", "ChangedSinceRequest");
    assert_eq!(sign_in(&server, "ann", "Ann-chose-this-1"), MAY_ENTER);
}

#[test]
fn openldap_refusals() {
    let server = Server::openldap();
    let site = Site::start();
    site.ldap("acme", KIND, &server, server.value("LDAPS_URL"), protect());
    add(&server, &["amy".to_owned(), "off".to_owned(), "one".to_owned(), "two".to_owned()]);
    server.set(&dn("two"), "mail", &["one@acme.example"]);
    server.set(&dn("off"), "pwdAccountLockedTime", &["000001010000Z"]);
    let _operator = site.operator();
    site.until_directory("acme", "Connected");

    site.apply(&mfa("acme", "ann", json!({})));
    let said = refused(&site, "ann", "NotSupported");
    assert!(said.contains("mode MFA"), "{said}");
    site.delete("ann");
    site.apply(&password("acme", "ann", json!({"password": {"clearMobileSessionsAndApiTokens": true}})));
    refused(&site, "ann", "NotSupported");
    site.apply(&password("acme", "bob", json!({})));
    let said = refused(&site, "bob", "UserProtected");
    assert!(said.contains("Administrators"), "{said}");
    site.apply(&password("acme", "nobody", json!({})));
    refused(&site, "nobody", "UserNotFound");
    site.apply(&password("acme", "off", json!({})));
    refused(&site, "off", "UserInactive");
    site.apply(&password("acme", "one", json!({"user": {"username": null, "email": "one@acme.example"}})));
    refused(&site, "one", "UserAmbiguous");

    // By a primary group, which does not list its members.
    let [group, user] = ["cn=desk,ou=groups,dc=acme,dc=example".to_owned(), dn("pam")];
    let entry = |attributes: &[(&'static str, &str)]| -> Vec<(&'static str, Vec<u8>)> {
        attributes.iter().map(|(name, value)| (*name, value.as_bytes().to_vec())).collect()
    };
    let person = [
        ("objectClass", "inetOrgPerson"),
        ("objectClass", "posixAccount"),
        ("uid", "pam"),
        ("cn", "pam"),
        ("sn", "pam"),
        ("uidNumber", "700"),
        ("gidNumber", "70"),
        ("homeDirectory", "/home/pam"),
        ("userPassword", "pam-old-1"),
    ];
    server.add(&[
        (group.clone(), entry(&[("objectClass", "posixGroup"), ("cn", "desk"), ("gidNumber", "70")])),
        (user, entry(&person)),
    ]);
    let mut desk = protect();
    desk["protect"]["groups"] = json!([group]);
    site.ldap("desk", KIND, &server, server.value("LDAPS_URL"), desk);
    site.until_directory("desk", "Connected");
    site.apply(&password("desk", "pam", json!({})));
    assert!(refused(&site, "pam", "UserProtected").contains("cn=desk"));

    // What the server refuses, with its code.
    site.apply(&password("acme", "boss", json!({})));
    let said = refused(&site, "boss", "Rejected");
    assert!(said.contains("50 insufficientAccessRights"), "{said}");
    for (chosen, code) in [
        ("short-1", "19 constraintViolation, passwordTooShort"),
        ("amy-old-1", "19 constraintViolation, passwordInHistory"),
        ("{SSHA}aGVsbG8", "passwordLooksHashed"),
    ] {
        site.apply(&password("acme", "amy", entered(&site, "amy", chosen)));
        let said = refused(&site, "amy", "Rejected");
        assert!(said.contains(code), "{said}");
        site.delete("amy");
    }
    server.set(POLICY, "pwdMinAge", &["3600"]);
    site.apply(&password("acme", "amy", json!({"password": {"forceChangeOnLogin": false}})));
    applied(&site, "amy");
    site.delete("amy");
    // What is asked for within the second of a change counts as asked for before it.
    let changed = server.get(&dn("amy"), "pwdChangedTime").pop().unwrap();
    wait_for("another second", || {
        (jiff::Timestamp::now().strftime("%Y%m%d%H%M%SZ").to_string() > changed).then_some(())
    });
    site.apply(&password("acme", "amy", json!({"password": {"deliverTo": {"secret": "amy-again"}}})));
    let said = refused(&site, "amy", "Rejected");
    assert!(said.contains("passwordTooYoung"), "{said}");
    for name in ["ann", "bob", "off", "one", "two", "pam"] {
        assert_eq!(changes(&server, name), 0, "{name}");
    }
}
