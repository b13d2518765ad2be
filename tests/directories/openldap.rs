//! What a reset does at a real `OpenLDAP`, as its user sees it, and who is not reset.
use serde_json::json;

pub use crate::ldap_users::openldap::{KIND, UNTIDY, add, dn, protect};
use crate::{
    applied, delivered, entered,
    ldap_server::{Server, SignIn},
    mfa, password, refused,
    support::{Site, message, time, wait_for},
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

/// Passwords may be used again: no answer shows that one was set.
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
    result_of(&server.sign_in(&dn(name), password))
}

pub fn result_of(answer: &SignIn) -> (u32, Option<u8>) {
    (answer.code, answer.policy)
}

/// The password in the Secret is answered so; it was changed once.
pub fn opens(server: &Server, site: &Site, name: &str, expected: (u32, Option<u8>)) -> String {
    let new = delivered(site, name);
    assert_eq!(sign_in(server, name, &new), expected, "{name}");
    assert_eq!(changes(server, name), 1, "{name}");
    new
}

/// The password of each opens, as far as to choose another, and the old one does not; it was changed once.
pub fn changed_once<'a>(server: &Server, passwords: impl IntoIterator<Item = (&'a String, &'a String)>) {
    let passwords: Vec<_> = passwords.into_iter().collect();
    let all: Vec<(String, &str)> = passwords.iter().map(|(name, password)| (dn(name), password.as_str())).collect();
    let before: Vec<String> = passwords.iter().map(|(name, _)| format!("{name}-old-1")).collect();
    let before: Vec<(String, &str)> =
        passwords.iter().zip(&before).map(|((name, _), old)| (dn(name), old.as_str())).collect();
    for ((dn, _), answer) in before.iter().zip(server.sign_ins(&before)) {
        assert_eq!(result_of(&answer), WRONG, "{dn}");
    }
    let changes = server.count("pwdHistory");
    for ((dn, _), answer) in all.iter().zip(server.sign_ins(&all)) {
        assert_eq!(result_of(&answer), MUST_CHANGE, "{dn}");
        assert_eq!(changes[dn], 1, "{dn}");
    }
}

#[test]
fn openldap_passwords() {
    let server = Server::openldap();
    let site = Site::start();
    site.ldap("acme", KIND, &server, server.value("LDAPS_URL"), protect());
    // Failed sign-ins, and anything else but the password, do not stand in the way.
    add(&server, &["loc", "amy", "six", "seven"].map(str::to_owned));
    // A user's other passwords may stay, if the Directory says so.
    let mut left = protect();
    left["provider"] = json!({KIND: {"leaveOtherPasswords": ["sambaSamAccount", "shadowAccount"]}});
    site.ldap("left", KIND, &server, server.value("LDAPS_URL"), left);
    // Where this machine has a loopback of IPv6, with TLS of either kind.
    let six = [("six", "LDAPS_URL_6"), ("seven", "LDAP_URL_6")].map(|(name, url)| (name, server.has(url)));
    for (name, url) in six {
        let mut spec = protect();
        spec["provider"] = json!({KIND: {"startTLS": name == "seven"}});
        site.ldap(name, KIND, &server, url.unwrap_or(server.value("LDAPS_URL")), spec);
    }
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
    for name in UNTIDY {
        site.apply(&password("acme", name, json!({})));
    }
    for name in ["sam", "shadow"] {
        site.apply(&password("left", name, json!({})));
    }
    for (name, url) in six.iter().filter(|(_, url)| url.is_some()) {
        println!("{name}: {url:?}");
        site.until_directory(name, "Connected");
        site.apply(&password(name, name, json!({})));
        assert_eq!(applied(&site, name), "Response");
        opens(&server, &site, name, MUST_CHANGE);
    }
    for name in ["ann", "dan", "loc", "amy", "sam", "shadow"].iter().chain(&UNTIDY) {
        assert_eq!(applied(&site, name), "Response");
    }
    for name in ["sam", "shadow"].iter().chain(&UNTIDY) {
        opens(&server, &site, name, MUST_CHANGE);
    }
    let msg = message(&site.reset("sam"));
    assert!(msg.contains("leaveOtherPasswords"), "{msg}");
    assert_eq!(server.get(&dn("sam"), "sambaNTPassword"), ["0CB6948805F797BF2A82807973B89537"]);
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
    add(&server, &["amy", "off", "one", "two", "soon"].map(str::to_owned));
    server.set(&dn("two"), "mail", &["one@acme.example"]);
    server.set(&dn("off"), "pwdAccountLockedTime", &["000001010000Z"]);
    server.set(&dn("soon"), "pwdStartTime", &["20991231235959Z"]);
    let _operator = site.operator();
    site.until_directory("acme", "Connected");

    site.apply(&mfa("acme", "ann", json!({})));
    let msg = refused(&site, "ann", "NotSupported");
    assert!(msg.contains("mode MFA"), "{msg}");
    site.delete("ann");
    site.apply(&password("acme", "ann", json!({"password": {"clearMobileSessionsAndApiTokens": true}})));
    refused(&site, "ann", "NotSupported");
    site.apply(&password("acme", "bob", json!({})));
    let msg = refused(&site, "bob", "UserProtected");
    assert!(msg.contains("Administrators"), "{msg}");
    site.apply(&password("acme", "stranger", json!({})));
    refused(&site, "stranger", "UserNotFound");
    site.apply(&password("acme", "off", json!({})));
    refused(&site, "off", "UserInactive");
    // Whose new password would be answered "Account locked".
    site.apply(&password("acme", "soon", json!({})));
    refused(&site, "soon", "UserInactive");
    for (name, expected) in [("sam", "sambaNTPassword"), ("shadow", "shadowLastChange")] {
        site.apply(&password("acme", name, json!({})));
        let msg = refused(&site, name, "NotSupported");
        assert!(msg.contains(expected) && msg.contains("spec.provider.openLDAP.leaveOtherPasswords"), "{msg}");
    }
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
    let msg = refused(&site, "boss", "Rejected");
    assert!(msg.contains("50 insufficientAccessRights"), "{msg}");
    server.set(POLICY, "pwdMaxLength", &["128"]);
    for (chosen, code) in [
        ("short-1", "19 constraintViolation, passwordTooShort"),
        ("amy-old-1", "19 constraintViolation, passwordInHistory"),
        (&"long-enough-".repeat(12), "19 constraintViolation, passwordTooLong (pwdMaxLength"),
        ("{SSHA}aGVsbG8", "passwordLooksHashed"),
    ] {
        site.apply(&password("acme", "amy", entered(&site, "amy", chosen)));
        let msg = refused(&site, "amy", "Rejected");
        assert!(msg.contains(code), "{msg}");
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
    let msg = refused(&site, "amy", "Rejected");
    assert!(msg.contains("passwordTooYoung"), "{msg}");
    for name in ["ann", "bob", "off", "one", "two", "pam", "soon", "sam", "shadow"] {
        assert_eq!(changes(&server, name), 0, "{name}");
    }
}

/// A distinguished name has many spellings, and each of them means the entry.
#[test]
fn openldap_names() {
    const PEOPLE: &str = "ou=people,dc=acme,dc=example";
    let server = Server::openldap();
    let site = Site::start();
    let url = server.value("LDAPS_URL");
    // The operator's own account, which would lock itself out.
    for (name, first) in [
        ("comma", r"cn=reset\, bot"),
        ("quoted", r#"CN="reset, bot""#),
        ("number", r"2.5.4.3=Reset\2c\20bot"),
        ("schema", r"commonName=reset\, bot"),
    ] {
        let mut spec = protect();
        spec["protect"]["groups"] = json!([]);
        site.ldap(name, KIND, &server, url, spec);
        site.ldap_secret(name, &format!("{first},{PEOPLE}"), "resetbot-old-1");
    }
    let groups = [r"cn=Admins\, Berlin", r"CN=admins\2c Berlin", r#"cn="Admins, Berlin""#, r"2.5.4.3=Admins\, Berlin"]
        .map(|first| format!("{first},ou=groups,dc=acme,dc=example"));
    for (n, group) in groups.iter().enumerate() {
        let mut allows = protect();
        allows["allow"] =
            json!([{"name": "desk", "namespaces": ["helpdesk"], "modes": ["Password"], "users": {"groups": [group]}}]);
        site.ldap(&format!("allows{n}"), KIND, &server, url, allows.clone());
        // The rule spells it in another way than the protection.
        allows["protect"]["groups"] = json!([groups[(n + 1) % groups.len()]]);
        site.ldap(&format!("protects{n}"), KIND, &server, url, allows);
    }
    let users = [
        ("doe", r"cn=Doe\, John"),
        ("doe", r#"CN="doe, john""#),
        ("ace", r#"cn=Ann \"Ace\" \+ Co\; \<1\>"#),
        ("joerg", r"cn=\#1 J\c3\b6rg Gr\C3\B6\C3\9Fe"),
        // Only the server knows that these are one attribute.
        ("multi", "0.9.2342.19200300.100.1.1=MULTI+2.5.4.3=mia"),
    ];
    for (n, (_, first)) in users.iter().enumerate() {
        let mut spec = protect();
        spec["protect"]["users"] = json!([format!("{first}, ou=People,dc=acme,dc=example")]);
        site.ldap(&format!("user{n}"), KIND, &server, url, spec);
    }
    // Who has the password elsewhere.
    let mut central = protect();
    central["provider"] = json!({KIND: {"federatedFilter": "(employeeType=central)"}});
    site.ldap("central", KIND, &server, url, central.clone());
    // No account may search by that, and it would match no user.
    central["provider"] = json!({KIND: {"federatedFilter": "(userPassword={SASL}*)"}});
    site.ldap("blind", KIND, &server, url, central);
    let mut unknown = protect();
    unknown["allow"] = json!([{"name": "desk", "namespaces": ["helpdesk"], "modes": ["Password"],
        "users": {"groups": ["cn=Nobodies,ou=groups,dc=acme,dc=example"]}}]);
    site.ldap("unknown", KIND, &server, url, unknown);

    let _operator = site.operator();
    for name in ["comma", "quoted", "number", "schema"] {
        site.until_directory(name, "Connected");
        site.apply(&password(name, "resetbot", json!({})));
        assert!(refused(&site, "resetbot", "UserProtected").contains("operator's own account"), "{name}");
        site.delete("resetbot");
    }
    for (n, (user, _)) in users.iter().enumerate() {
        site.until_directory(&format!("user{n}"), "Connected");
        site.apply(&password(&format!("user{n}"), user, json!({})));
        assert!(refused(&site, user, "UserProtected").contains("listed in spec.protect.users"), "{user}");
        site.delete(user);
    }
    for n in 0..groups.len() {
        site.until_directory(&format!("protects{n}"), "Connected");
        site.apply(&password(&format!("protects{n}"), "doe", json!({})));
        assert!(refused(&site, "doe", "UserProtected").contains("a member of"), "{n}");
        site.delete("doe");
        site.until_directory(&format!("allows{n}"), "Connected");
        // It is allowed, so what is asked for is looked at.
        let asks = json!({"password": {"clearMobileSessionsAndApiTokens": true}});
        site.apply(&password(&format!("allows{n}"), "doe", asks));
        refused(&site, "doe", "NotSupported");
        site.delete("doe");
    }
    let msg = site.until_directory("blind", "InvalidConfiguration");
    assert!(msg.contains("federatedFilter"), "{msg}");
    site.until_directory("central", "Connected");
    site.apply(&password("central", "central", json!({})));
    refused(&site, "central", "UserFederated");
    site.apply(&password("central", "ann", json!({})));
    assert_eq!(applied(&site, "ann"), "Response");
    let msg = site.until_directory("unknown", "Connected");
    assert!(msg.contains("cn=Nobodies,ou=groups") && msg.contains("no such group"), "{msg}");
}
