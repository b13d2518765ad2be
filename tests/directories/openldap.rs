//! What a reset does at a real `OpenLDAP`, as its user sees it, and who is not reset.
use serde_json::{Value, json};

use crate::{
    applied, asked, delivered, entered,
    env::{Site, password_reset, time, wait_for},
    ldap_proxy::{Cut, LdapProxy},
    ldap_server::Server,
    mfa, password, refused,
};

const KIND: &str = "openLDAP";
/// A sign-in that is let in, and that is let in to choose another password (`changeAfterReset`) but no further.
const MAY_ENTER: (u32, Option<u8>) = (0, None);
const MUST_CHANGE: (u32, Option<u8>) = (0, Some(2));
const WRONG: (u32, Option<u8>) = (49, None);

fn dn(name: &str) -> String {
    format!("uid={name},ou=people,dc=acme,dc=example")
}

/// `OpenLDAP` does not tell who administers it.
fn protect() -> Value {
    json!({"protect": {"administrators": false, "groups": ["cn=Administrators, ou=groups,dc=acme,dc=example"]}})
}

/// How often the password was changed: its history holds those before.
fn changes(server: &Server, name: &str) -> usize {
    server.get(&dn(name), "pwdHistory").len()
}

fn sign_in(server: &Server, name: &str, password: &str) -> (u32, Option<u8>) {
    let answer = server.sign_in(&dn(name), password);
    (answer.code, answer.policy)
}

fn add(server: &Server, names: &[String]) {
    let entry = |name: &String| {
        let text = |value: &str| value.as_bytes().to_vec();
        let mail = format!("{name}@acme.example");
        let attributes = vec![
            ("objectClass", text("inetOrgPerson")),
            ("uid", text(name)),
            ("cn", text(name)),
            ("sn", text(name)),
            ("mail", text(&mail)),
            ("userPassword", text(&format!("{name}-old-1"))),
        ];
        (dn(name), attributes)
    };
    server.add(&names.iter().map(entry).collect::<Vec<_>>());
}

/// The old password is refused, the one in the Secret is answered so; it was changed once.
fn opens(server: &Server, site: &Site, name: &str, says: (u32, Option<u8>)) -> String {
    let new = delivered(site, name);
    assert_eq!(sign_in(server, name, &new), says, "{name}");
    assert_eq!(sign_in(server, name, &format!("{name}-old-1")), WRONG, "{name}");
    assert_eq!(changes(server, name), 1, "{name}");
    new
}

fn names(kind: &str, n: usize) -> Vec<String> {
    (0..n).map(|i| format!("{kind}{i}x")).collect()
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
    assert_eq!(directory["status"]["guarantees"]["password"], "ExactlyOnce");

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

    // What the server refuses, with its code.
    site.apply(&password("acme", "boss", json!({})));
    let said = refused(&site, "boss", "Rejected");
    assert!(said.contains("50 insufficientAccessRights"), "{said}");
    for (chosen, code) in
        [("short-1", "19 constraintViolation, passwordTooShort"), ("{SSHA}aGVsbG8", "passwordLooksHashed")]
    {
        site.apply(&password("acme", "amy", entered(&site, "amy", chosen)));
        let said = refused(&site, "amy", "Rejected");
        assert!(said.contains(code), "{said}");
        site.delete("amy");
    }
    server.set("cn=default,ou=policies,dc=acme,dc=example", "pwdMinAge", &["3600"]);
    site.apply(&password("acme", "amy", json!({"password": {"forceChangeOnLogin": false}})));
    applied(&site, "amy");
    site.delete("amy");
    site.apply(&password("acme", "amy", json!({"password": {"deliverTo": {"secret": "amy-again"}}})));
    let said = refused(&site, "amy", "Rejected");
    assert!(said.contains("passwordTooYoung"), "{said}");
    for name in ["ann", "bob", "off", "one", "two"] {
        assert_eq!(changes(&server, name), 0, "{name}");
    }
}

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

#[test]
fn openldap_failures() {
    let server = Server::openldap();
    let site = Site::start();
    site.ldap("acme", KIND, &server, server.value("LDAPS_URL"), protect());
    let [dn_, right] = ["BIND_DN", "BIND_PASSWORD"].map(|name| server.value(name).to_owned());
    site.ldap_secret("acme", &dn_, "wrong-bind-password");
    let _operator = site.operator();
    let said = site.until_directory("acme", "CredentialsRefused");
    assert!(said.contains("49 invalidCredentials"), "{said}");
    site.ldap_secret("acme", &dn_, &right);
    site.until_directory("acme", "Connected");

    // Without TLS, or with the wrong certificate, no password goes out.
    site.ldap("plain", KIND, &server, server.value("LDAP_URL"), protect());
    let said = site.until_directory("plain", "InvalidConfiguration");
    assert!(said.contains("13 confidentialityRequired"), "{said}");
    let mut untrusted = protect();
    untrusted["provider"] = json!({KIND: {"caBundle": null}});
    site.ldap("untrusted", KIND, &server, server.value("LDAPS_URL"), untrusted);
    site.until_directory("untrusted", "Unreachable");
    let mut start_tls = protect();
    start_tls["provider"] = json!({KIND: {"startTLS": true}});
    let url = server.value("LDAP_URL").replace("127.0.0.1", "localhost");
    site.ldap("started", KIND, &server, &url, start_tls);
    site.until_directory("started", "Connected");
    site.apply(&password("started", "ann", json!({})));
    applied(&site, "ann");
    opens(&server, &site, "ann", MUST_CHANGE);

    // An outage: nothing is lost.
    server.run("stop");
    site.apply(&password("acme", "dan", json!({})));
    site.until("dan", "DirectoryNotReady");
    server.run("up");
    site.look_again("acme");
    assert_eq!(applied(&site, "dan"), "Response");
    opens(&server, &site, "dan", MUST_CHANGE);
}

/// Without the overlay nobody can be made to choose another password, and the operator makes the hash.
#[test]
fn openldap_without_policy() {
    let server = Server::start("openldap", &[("POLICY", "0")]);
    let site = Site::start();
    site.ldap("acme", KIND, &server, server.value("LDAPS_URL"), protect());
    let _operator = site.operator();
    let said = site.until_directory("acme", "InvalidConfiguration");
    assert!(said.contains("in clear"), "{said}");
    let mut hashed = protect();
    hashed["provider"] = json!({KIND: {"hash": "SSHA"}});
    let proxy = LdapProxy::before(&server);
    site.ldap("acme", KIND, &server, &proxy.url, hashed);
    site.until_directory("acme", "Connected");
    site.apply(&password("acme", "ann", json!({})));
    refused(&site, "ann", "NotSupported");

    let keep = json!({"password": {"forceChangeOnLogin": false}});
    proxy.cut("uid=dan,", Cut::Answer(3));
    site.apply(&password(
        "acme",
        "bob-2",
        json!({"user": {"username": "ann"}, "password": {"forceChangeOnLogin": false}}),
    ));
    site.apply(&password("acme", "dan", keep));
    assert_eq!(applied(&site, "bob-2"), "Response");
    assert_eq!(sign_in(&server, "ann", &delivered(&site, "bob-2")), MAY_ENTER);
    // The repeat is turned away, and a sign-in tells by which change.
    assert_eq!(applied(&site, "dan"), "SignIn");
    assert_eq!(sign_in(&server, "dan", &delivered(&site, "dan")), MAY_ENTER);
    let kept = server.entry(&dn("dan"), &["userPassword"]);
    let kept = kept.attrs.get("userPassword").and_then(|all| all.first()).unwrap();
    assert!(kept.starts_with("{SSHA}"), "{kept}");
}
