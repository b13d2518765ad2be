//! The server or the operator's account there is not as it should be: each case has its reason, and nothing is done twice.
use serde_json::json;

use crate::{
    applied, delivered,
    ldap_proxy::{Cut, LdapProxy},
    ldap_server::Server,
    openldap::{KIND, MAY_ENTER, MUST_CHANGE, add, dn, opens, protect, sign_in},
    password, refused,
    support::{Site, wait_for},
};

#[test]
fn openldap_failures() {
    let server = Server::openldap();
    let site = Site::start();
    site.ldap("acme", KIND, &server, server.value("LDAPS_URL"), protect());
    let [dn_, right] = ["BIND_DN", "BIND_PASSWORD"].map(|name| server.value(name).to_owned());
    site.ldap_secret("acme", &dn_, "wrong-bind-password");
    let _operator = site.operator();
    let msg = site.until_directory("acme", "CredentialsRefused");
    assert!(msg.contains("49 invalidCredentials"), "{msg}");
    site.ldap_secret("acme", &dn_, &right);
    site.until_directory("acme", "Connected");

    // Without TLS, or with the wrong certificate, no password goes out.
    site.ldap("plain", KIND, &server, server.value("LDAP_URL"), protect());
    let msg = site.until_directory("plain", "InvalidConfiguration");
    assert!(msg.contains("13 confidentialityRequired"), "{msg}");
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

    // A group that is not there, that is not a group, or that users' groups are not looked for in, would protect no user.
    let groups = "ou=groups,dc=acme,dc=example";
    for (directory, group, base) in [
        ("gone", format!("cn=gone,{groups}"), json!(null)),
        ("none", "cn=default,ou=policies,dc=acme,dc=example".to_owned(), json!(null)),
        ("beside", format!("cn=administrators,{groups}"), json!("ou=people,dc=acme,dc=example")),
    ] {
        let mut wrong = protect();
        wrong["protect"]["groups"] = json!([group]);
        wrong["provider"] = json!({KIND: {"groupsBaseDN": base}});
        site.ldap(directory, KIND, &server, server.value("LDAPS_URL"), wrong);
        let msg = site.until_directory(directory, "InvalidConfiguration");
        assert!(msg.contains(&group) && msg.contains("protect no user"), "{msg}");
    }

    // An account that may read everything and set nothing.
    site.ldap("blind", KIND, &server, server.value("LDAPS_URL"), protect());
    site.ldap_secret("blind", "cn=norights,ou=services,dc=acme,dc=example", &right);
    let msg = site.until_directory("blind", "Connected");
    assert!(msg.contains("only a reset shows whether it may set passwords"), "{msg}");
    add(&server, &["amy".to_owned()]);
    site.apply(&password("blind", "amy", json!({})));
    let msg = refused(&site, "amy", "Rejected");
    assert!(msg.contains("50 insufficientAccessRights"), "{msg}");
    assert_eq!(sign_in(&server, "amy", "amy-old-1"), MAY_ENTER);

    // An outage: nothing is lost.
    server.run("stop");
    site.apply(&password("acme", "dan", json!({})));
    site.until("dan", "DirectoryNotReady");
    server.run("up");
    site.look_again("acme");
    assert_eq!(applied(&site, "dan"), "Response");
    opens(&server, &site, "dan", MUST_CHANGE);
}

/// Without the overlay no user can be made to choose another password, and the operator makes the hash.
#[test]
fn openldap_without_policy() {
    let server = Server::start("openldap", &[("POLICY", "0")]);
    let site = Site::start();
    site.ldap("acme", KIND, &server, server.value("LDAPS_URL"), protect());
    let _operator = site.operator();
    let msg = site.until_directory("acme", "InvalidConfiguration");
    assert!(msg.contains("in clear"), "{msg}");
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
    // The server rejects the repeat (precondition failed), and a sign-in shows by which change.
    assert_eq!(applied(&site, "dan"), "SignIn");
    assert_eq!(sign_in(&server, "dan", &delivered(&site, "dan")), MAY_ENTER);
    // Any change of the entry counts as one of its password.
    let keep = json!({"password": {"forceChangeOnLogin": false}});
    add(&server, &["amy".to_owned()]);
    proxy.cut("uid=amy,", Cut::Delayed);
    site.apply(&password("acme", "amy", keep));
    wait_for("the call", || (proxy.held() == 1).then_some(()));
    server.set(&dn("amy"), "telephoneNumber", &["+49 30 1234567"]);
    proxy.release();
    refused(&site, "amy", "ChangedSinceRequest");
    assert_eq!(sign_in(&server, "amy", "amy-old-1"), MAY_ENTER);

    let kept = server.entry(&dn("dan"), &["userPassword"]);
    let kept = kept.attrs.get("userPassword").and_then(|all| all.first()).unwrap();
    assert!(kept.starts_with("{SSHA}"), "{kept}");
}
