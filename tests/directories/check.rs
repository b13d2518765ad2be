//! `credreset check` on real directories: what is wrong is named in the line that it belongs to, with what to do. Directories and
//! Secrets are files, so no API server is asked.
use serde_json::{Value, json};

use crate::{
    check_command::check,
    folder::Folder,
    keycloak_server::{self, Keycloak},
    ldap_server::{self, Server},
    openldap, samba,
    support::merge,
};

/// A user who can be reset.
const FINE: &str = "user ok, eligibility ok, protection ok, rule ok";
/// After the lines of object, Secret and server.
const REFUSED: &str = "server ok, account wrong, permissions note, user note";
const UNREACHED: &str = "server wrong, account note, permissions note, user note";
const UNUSABLE: &str = "server ok, settings wrong, permissions note, user note";
/// Without a connection to ask.
const UNASKED: &str = "server ok, settings wrong, account note, user note";

const UNTRUSTED: &str = "put that authority's certificate into caBundle.";

/// A Directory and its Secret, in which nothing is wrong.
struct Tried {
    folder: Folder,
    objects: [Value; 2],
}

impl Tried {
    fn new(objects: [Value; 2]) -> Self {
        Self { folder: Folder::new(), objects }
    }

    /// Of this user, and with `patch` merged into spec and Secret, `check` has such lines after the Directory's own, and one of them
    /// says this.
    fn expect_lines(&self, user: &str, patch: &Value, lines: &str, wanted: &str) {
        let [mut directory, mut secret] = self.objects.clone();
        merge(&mut directory["spec"], patch.get("spec").cloned().unwrap_or(json!({})));
        merge(&mut secret["stringData"], patch.get("keys").cloned().unwrap_or(json!({})));
        self.folder.write("directory.yaml", format!("{directory}\n---\n{secret}"));
        let (code, found_lines, printed) = check(&self.folder, "directory.yaml", &["--user", user]);
        println!("{found_lines:?}\n{printed}\n");
        let expected = if lines.contains("wrong") { 2 } else { 0 };
        assert_eq!((code, found_lines.join(", ")), (Some(expected), format!("object ok, {lines}")), "{printed}");
        assert!(printed.lines().any(|line| line.contains(wanted)), "{printed}\nshould say: {wanted}");
    }

    /// As it is, of these users.
    fn of_users(&self, permissions: &str, users: &[(&str, &str, &str)]) {
        for (user, lines, expected) in users {
            self.expect_lines(user, &json!({}), &sound(permissions, lines), expected);
        }
    }

    /// With each of these merged into it.
    fn is_wrong(&self, cases: &[(Value, &str, &str)]) {
        for (patch, lines, expected) in cases {
            self.expect_lines("ann", patch, &format!("secret ok, {lines}"), expected);
        }
    }

    fn without_keys(&self) {
        let keys = self.objects[1]["stringData"].as_object().unwrap().keys();
        let none: Value = keys.map(|key| (key.clone(), Value::Null)).collect();
        let lines = "secret wrong, server ok, settings wrong, account note, user note";
        self.expect_lines("ann", &json!({ "keys": none }), lines, "is empty");
    }
}

fn sound(permissions: &str, user: &str) -> String {
    format!("secret ok, server ok, settings ok, account ok, permissions {permissions}, {user}")
}

fn rule(modes: &[&str]) -> Value {
    json!([{"name": "desk", "namespaces": ["helpdesk"], "modes": modes, "users": {"everyone": true}}])
}

#[test]
fn openldap() {
    let server = Server::openldap();
    openldap::add(&server, &["off", "one", "two"].map(str::to_owned));
    server.set(&openldap::dn("off"), "pwdAccountLockedTime", &["000001010000Z"]);
    server.set(&openldap::dn("two"), "mail", &["one@acme.example"]);
    let mut spec = openldap::protect();
    spec["allow"] = rule(&["Password"]);
    let [url, plain] = ["LDAPS_URL", "LDAP_URL"].map(|name| server.value(name));
    let tried = Tried::new(ldap_server::directory("acme", openldap::KIND, &server, url, &spec));
    let provider = |patch: Value| json!({"spec": {"provider": {openldap::KIND: patch}}});
    let started = |bundle: Value| provider(json!({"urls": [plain], "startTLS": true, "caBundle": bundle}));
    let keys = |patch: Value| json!({ "keys": patch });

    let id = server.get(&openldap::dn("ann"), "entryUUID").remove(0);
    let ann = format!("ann (id {id}).");
    let protected = "user ok, eligibility ok, protection wrong";
    tried.of_users(
        "note",
        &[
            ("ANN", FINE, &ann),
            ("ann@acme.example", FINE, &ann),
            (&id, FINE, &ann),
            ("bob", protected, "(a member of cn=Administrators, ou=groups,dc=acme,dc=example)"),
            ("off", "user ok, eligibility wrong", "off is not active in the directory"),
            ("sam", "user ok, eligibility wrong", "sambaNTPassword and sambaLMPassword (objectClass sambaSamAccount)"),
            ("one@acme.example", "user wrong", "2 users match one@acme.example: a request must name the user by id."),
            ("*)(uid=*", "user wrong", "has no user with the mail, uid or entryUUID *)(uid=*: check the spelling."),
            (&openldap::dn("ann"), "user wrong", "has no user with the mail, uid or entryUUID uid=ann,ou=people"),
        ],
    );
    let fine = sound("note", FINE);
    tried.expect_lines("ann", &started(json!(server.ca())), &fine, "its certificate is trusted.");
    for (url, start_tls) in [("LDAPS_URL_6", false), ("LDAP_URL_6", true)] {
        if let Some(url) = server.has(url) {
            tried.expect_lines(
                "ann",
                &provider(json!({"urls": [url], "startTLS": start_tls})),
                &fine,
                "its certificate is trusted.",
            );
        }
    }
    let federated = provider(json!({"federatedFilter": "(employeeType=central)"}));
    let lines = sound("note", "user ok, eligibility wrong");
    tried.expect_lines("central", &federated, &lines, "central signs in through another identity provider");
    // It sees all and may change nothing: that is not found out.
    let norights = keys(json!({"bind-dn": "cn=norights,ou=services,dc=acme,dc=example"}));
    tried.expect_lines("ann", &norights, &fine, "Whether it may set passwords is known only after a reset.");
    let with_mfa = fine.replace("settings ok", "settings ok, settings wrong") + ", rule wrong";
    let expected = "A rule allows MFA, which cannot be reset in OpenLDAP: remove it from spec.allow.";
    tried.expect_lines("ann", &json!({"spec": {"allow": rule(&["Password", "MFA"])}}), &with_mfa, expected);
    let blind = json!({"bind-dn": openldap::dn("ann"), "bind-password": "ann-old-1"});
    tried.is_wrong(&[
        (keys(json!({"bind-password": "wrong"})), REFUSED, "49 invalidCredentials: check the account and its Secret."),
        (keys(json!({"bind-password": null})), UNASKED, "Secret acme-ldap has no key bind-password, or it is empty."),
        (keys(blind), UNUSABLE, "there is no such entry, or the operator's account may not see it."),
        (provider(json!({"urls": ["ldaps://127.0.0.1:9"]})), UNREACHED, "127.0.0.1:9: check the server"),
        (
            provider(json!({"urls": [plain.replace("ldap:", "ldaps:")]})),
            UNREACHED,
            "(tls handshake eof): check the port.",
        ),
        (provider(json!({"urls": [plain]})), UNUSABLE, "use ldaps://, or startTLS: true."),
        (provider(json!({"urls": [url.replace("ldaps:", "ldap:")], "startTLS": true})), UNREACHED, "check the port."),
        (provider(json!({"caBundle": null})), UNREACHED, UNTRUSTED),
        (started(json!(null)), UNREACHED, UNTRUSTED),
        (provider(json!({"baseDN": "nonsense"})), UNUSABLE, "(34 invalidDNSyntax): check baseDN"),
    ]);
    tried.without_keys();
    server.run("stop");
    tried.is_wrong(&[(json!({}), UNREACHED, "nothing answers at")]);
}

#[test]
fn samba() {
    let server = Server::samba();
    let [url, plain] = ["LDAPS_URL", "LDAP_URL"].map(|name| server.value(name));
    let spec = json!({"allow": rule(&["Password"]), "protect": {"groups": ["Desk"]}});
    let tried = Tried::new(ldap_server::directory("acme", samba::KIND, &server, url, &spec));
    let provider = |patch: Value| json!({"spec": {"provider": {samba::KIND: patch}}});
    let started = |bundle: Value| provider(json!({"urls": [plain], "startTLS": true, "caBundle": bundle}));
    let keys = |patch: Value| json!({ "keys": patch });

    let id = samba::id(&server, "ann");
    let ann = format!("ann@acme.example (id {id}).");
    let protected = "user ok, eligibility ok, protection wrong";
    let unknown = "has no user with the mail, sAMAccountName, userPrincipalName or objectGUID";
    tried.of_users(
        "note",
        &[
            ("ann", FINE, &ann),
            ("ann@acme.example", FINE, &ann),
            (&id, FINE, &ann),
            ("bob", protected, "(a member of Desk)"),
            ("boss", protected, "(an administrator of the directory)"),
            ("cat", "user ok, eligibility wrong", "is not active in the directory"),
            ("smart", "user ok, eligibility wrong", "may only sign in with a smart card"),
            ("doe@acme.example", FINE, "doe (id"),
            (r"ACME\doe", FINE, "doe (id"),
            ("j.groesse@acme.example", FINE, "joerg (id"),
            ("*)(cn=*", "user wrong", unknown),
            (&samba::dn("ann"), "user wrong", unknown),
        ],
    );
    let fine = sound("note", FINE);
    tried.expect_lines("ann", &started(json!(server.ca())), &fine, "its certificate is trusted.");
    let norights = keys(json!({"bind-dn": "norights@acme.example"}));
    tried.expect_lines("ann", &norights, &fine, "Whether it may set passwords is known only after a reset.");
    tried.is_wrong(&[
        (keys(json!({"bind-password": "wrong"})), REFUSED, "data 52e: check the account and its Secret."),
        (provider(json!({"urls": ["ldaps://127.0.77.255"]})), UNREACHED, "nothing answers at 127.0.77.255:636"),
        (provider(json!({"urls": [plain]})), UNUSABLE, "(8 strongerAuthRequired): use ldaps://, or startTLS: true."),
        (
            provider(json!({"baseDN": "DC=other,DC=example"})),
            UNUSABLE,
            "is not in the server's domain, DC=acme,DC=example.",
        ),
        (started(json!(null)), UNREACHED, UNTRUSTED),
        (
            provider(json!({"urls": [format!("{url}:3269")]})),
            UNUSABLE,
            "those of the global catalog: name the controller's own",
        ),
    ]);
    let nobodies =
        json!([{"name": "desk", "namespaces": ["helpdesk"], "modes": ["Password"], "users": {"groups": ["Nobodies"]}}]);
    let lines = sound("note", "user ok, eligibility ok, protection ok, rule wrong")
        .replace("settings ok", "settings ok, settings wrong");
    tried.expect_lines("ann", &json!({"spec": {"allow": nobodies}}), &lines, "spec.allow names Nobodies");
    server.run("stop");
    tried.is_wrong(&[(json!({}), UNREACHED, "nothing answers at")]);
}

#[test]
fn keycloak() {
    let server = Keycloak::shared();
    let realm = server.realm(json!({}));
    let tried = Tried::new(keycloak_server::directory("acme", &realm, &server.url, json!({})));
    let provider = |patch: Value| json!({"spec": {"provider": {"keycloak": patch}}});
    let at = |url: &str| provider(json!({ "url": url }));
    let keys = |patch: Value| json!({ "keys": patch });

    let id = realm.id("ann");
    let ann = format!("ann (id {id}).");
    let (fine, protected) = (format!("{FINE}, rule ok"), "user ok, eligibility ok, protection wrong");
    let unknown = "has no user with the address, name or id";
    tried.of_users(
        "ok",
        &[
            ("ann", &fine, &ann),
            ("ann@acme.example", &fine, &ann),
            (&id, &fine, &ann),
            ("boss", protected, "(a member of /Board)"),
            ("root", protected, "(an administrator of the directory)"),
            ("cat", "user ok, eligibility wrong", "is not active in the directory"),
            ("*", "user wrong", unknown),
            ("../../master/users/x?exact=true", "user wrong", unknown),
            // Which Keycloak has a meaning for where ids stand.
            ("count", "user wrong", unknown),
            ("profile", "user wrong", unknown),
        ],
    );
    let trusted = provider(json!({"url": server.https_url, "caBundle": server.ca}));
    tried.expect_lines("ann", &trusted, &sound("ok", &fine), "its certificate is trusted.");
    let client =
        |name: &str| keys(json!({"client-id": format!("credreset-{name}"), "client-secret": format!("{name}-secret")}));
    let lacking = "server ok, account ok, permissions wrong, user wrong";
    tried.is_wrong(&[
        (keys(json!({"client-secret": "wrong"})), REFUSED, "client-secret is not the client's (unauthorized_client)."),
        (
            keys(json!({"client-secret": null})),
            UNASKED,
            "Secret acme-keycloak has no key client-secret, or it is empty.",
        ),
        (client("norole"), lacking, "service account lacks manage-users"),
        (
            client("readonly"),
            lacking,
            "ann could not be looked up: the operator's account has not been found to hold what",
        ),
        (client("blind"), lacking, "service account lacks view-clients"),
        (
            provider(json!({"realm": "nowhere"})),
            UNUSABLE,
            "no such realm: look at spec.provider.keycloak.url and realm.",
        ),
        (at("http://127.0.0.1:9"), UNREACHED, "nothing answers at 127.0.0.1:9"),
        (at(&server.https_url), UNREACHED, UNTRUSTED),
        (at(&server.url.replace("http:", "https:")), UNREACHED, "check the port."),
        (at(&server.https_url.replace("https:", "http:")), REFUSED, "Check the address and the server's log."),
        (json!({"spec": {"protect": {"groups": ["/Bored"]}}}), UNUSABLE, "no such group: it would protect no user."),
    ]);
    let nobodies = json!([{"name": "desk", "namespaces": ["helpdesk"], "modes": ["Password"], "users": {"groups": ["/Nobodies"]}}]);
    let lines = sound("ok", "user ok, eligibility ok, protection ok, rule wrong")
        .replace("settings ok", "settings ok, settings wrong");
    tried.expect_lines("ann", &json!({"spec": {"allow": nobodies}}), &lines, "spec.allow names /Nobodies");
    tried.without_keys();
}
