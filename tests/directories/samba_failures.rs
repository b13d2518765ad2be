//! The domain controller or the operator's account there is not as it should be: each case has its reason, and nothing is done
//! twice.
use serde_json::{Value, json};

use crate::{
    applied,
    ldap_server::Server,
    password,
    samba::{KIND, MUST_CHANGE, add, opens},
    support::Site,
};

#[test]
fn samba_failures() {
    let server = Server::samba();
    let site = Site::start();
    add(&server, &["tls", "two", "off"].map(str::to_owned));
    let [account, right] = ["BIND_DN", "BIND_PASSWORD"].map(|name| server.value(name).to_owned());
    let provider = |patch: Value| json!({"provider": {KIND: patch}});
    site.ldap("acme", KIND, &server, server.value("LDAPS_URL"), json!({}));
    site.ldap_secret("acme", &account, "wrong-bind-password");
    site.ldap("plain", KIND, &server, server.value("LDAP_URL"), json!({}));
    site.ldap("untrusted", KIND, &server, server.value("LDAPS_URL"), provider(json!({"caBundle": null})));
    site.ldap("started", KIND, &server, server.value("LDAP_URL"), provider(json!({"startTLS": true})));
    let both = json!({"urls": ["ldaps://127.0.77.255", server.value("LDAPS_URL")]});
    site.ldap("second", KIND, &server, server.value("LDAPS_URL"), provider(both));
    let _operator = site.operator();
    let msg = site.until_directory("acme", "CredentialsRefused");
    assert!(msg.contains("49 invalidCredentials, data 52e"), "{msg}");
    // Without TLS, or with the wrong certificate, no password goes out.
    let msg = site.until_directory("plain", "InvalidConfiguration");
    assert!(msg.contains("8 strongerAuthRequired"), "{msg}");
    site.until_directory("untrusted", "Unreachable");
    for (directory, name) in [("started", "tls"), ("second", "two")] {
        site.until_directory(directory, "Connected");
        site.apply(&password(directory, name, json!({})));
        assert_eq!(applied(&site, name), "Response");
        opens(&server, &site, name, MUST_CHANGE);
    }

    // By the names that Windows prefers.
    site.ldap_secret("acme", "credreset@acme.example", &right);
    site.until_directory("acme", "Connected");
    server.set(&account, "accountExpires", &["129000000000000000"]);
    site.ldap_secret("acme", "ACME\\credreset", &right);
    let msg = site.until_directory("acme", "CredentialsRefused");
    assert!(msg.contains("data 701"), "{msg}");
    server.set(&account, "accountExpires", &["0"]);
    site.until_directory("acme", "Connected");

    // An outage: nothing is lost.
    server.run("stop");
    site.apply(&password("acme", "off", json!({})));
    site.until("off", "DirectoryNotReady");
    server.run("up");
    assert_eq!(applied(&site, "off"), "Response");
    opens(&server, &site, "off", MUST_CHANGE);
}
