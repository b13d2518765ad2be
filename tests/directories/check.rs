//! `credreset check` on real directories: what is wrong is named in the line that it belongs to, with what to do. Directories and
//! Secrets are files, so no API server is asked.
use serde_json::{Value, json};

use crate::{
    check_command::check,
    env::merge,
    folder::Folder,
    keycloak_server::{self, Keycloak},
    ldap_server::{self, Server},
    openldap, samba,
};

/// Whoever can be reset.
const FINE: &str = "user ok, fit ok, protection ok, rule ok";
/// After the lines of object, Secret and server.
const REFUSED: &str = "server ok, account wrong, permissions note, user note";
const UNREACHED: &str = "server wrong, account note, permissions note, user note";
const UNUSABLE: &str = "server ok, settings wrong, permissions note, user note";
/// Without a connection to ask.
const UNASKED: &str = "server ok, settings wrong, account note, user note";

const UNTRUSTED: &str = "put the certificate of the authority that signed it into caBundle.";

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
    fn says(&self, user: &str, patch: &Value, lines: &str, says: &str) {
        let [mut directory, mut secret] = self.objects.clone();
        merge(&mut directory["spec"], patch.get("spec").cloned().unwrap_or(json!({})));
        merge(&mut secret["stringData"], patch.get("keys").cloned().unwrap_or(json!({})));
        self.folder.write("directory.yaml", format!("{directory}\n---\n{secret}"));
        let (code, told, said) = check(&self.folder, "directory.yaml", &["--user", user]);
        println!("{told:?}\n{said}\n");
        let expected = if lines.contains("wrong") { 2 } else { 0 };
        assert_eq!((code, told.join(", ")), (Some(expected), format!("object ok, {lines}")), "{said}");
        assert!(said.lines().any(|line| line.contains(says)), "{said}\nshould say: {says}");
    }

    /// As it is, of these users.
    fn of_users(&self, permissions: &str, users: &[(&str, &str, &str)]) {
        for (user, lines, says) in users {
            self.says(user, &json!({}), &sound(permissions, lines), says);
        }
    }

    /// With each of these merged into it.
    fn is_wrong(&self, cases: &[(Value, &str, &str)]) {
        for (patch, lines, says) in cases {
            self.says("ann", patch, &format!("secret ok, {lines}"), says);
        }
    }

    fn without_keys(&self) {
        let keys = self.objects[1]["stringData"].as_object().unwrap().keys();
        let none: Value = keys.map(|key| (key.clone(), Value::Null)).collect();
        let lines = "secret wrong, server ok, settings wrong, account note, user note";
        self.says("ann", &json!({ "keys": none }), lines, "is empty");
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
    let protected = "user ok, fit ok, protection wrong";
    tried.of_users(
        "note",
        &[
            ("ANN", FINE, &ann),
            ("ann@acme.example", FINE, &ann),
            (&id, FINE, &ann),
            ("bob", protected, "(a member of cn=Administrators, ou=groups,dc=acme,dc=example)"),
            ("off", "user ok, fit wrong", "off is not active in the directory"),
            ("sam", "user ok, fit wrong", "sambaNTPassword and sambaLMPassword (objectClass sambaSamAccount)"),
            (
                "one@acme.example",
                "user wrong",
                "2 users answer to one@acme.example: a request has to name the user by id.",
            ),
            ("*)(uid=*", "user wrong", "knows nobody by the mail, uid or entryUUID *)(uid=*: check the spelling."),
            (&openldap::dn("ann"), "user wrong", "knows nobody by the mail, uid or entryUUID uid=ann,ou=people"),
        ],
    );
    let fine = sound("note", FINE);
    tried.says("ann", &started(json!(server.ca())), &fine, "its certificate is trusted.");
    for (url, start_tls) in [("LDAPS_URL_6", false), ("LDAP_URL_6", true)] {
        if let Some(url) = server.has(url) {
            tried.says(
                "ann",
                &provider(json!({"urls": [url], "startTLS": start_tls})),
                &fine,
                "its certificate is trusted.",
            );
        }
    }
    let federated = provider(json!({"federatedFilter": "(employeeType=central)"}));
    let lines = sound("note", "user ok, fit wrong");
    tried.says("central", &federated, &lines, "central signs in through another identity provider");
    // It sees all and may change nothing: that is not found out.
    let norights = keys(json!({"bind-dn": "cn=norights,ou=services,dc=acme,dc=example"}));
    tried.says("ann", &norights, &fine, "whether it may set passwords, only a reset tells.");
    let with_mfa = fine.replace("settings ok", "settings ok, settings wrong") + ", rule wrong";
    let says = "A rule allows MFA, and none can be reset in OpenLDAP: take it out of spec.allow.";
    tried.says("ann", &json!({"spec": {"allow": rule(&["Password", "MFA"])}}), &with_mfa, says);
    let blind = json!({"bind-dn": openldap::dn("ann"), "bind-password": "ann-old-1"});
    tried.is_wrong(&[
        (
            keys(json!({"bind-password": "wrong"})),
            REFUSED,
            "49 invalidCredentials: look at the account, and at its Secret.",
        ),
        (keys(json!({"bind-password": null})), UNASKED, "Secret acme-ldap has no key bind-password, or it is empty."),
        (keys(blind), UNUSABLE, "there is no such entry, or the operator's account may not see it."),
        (provider(json!({"urls": ["ldaps://127.0.0.1:9"]})), UNREACHED, "127.0.0.1:9: look whether the server runs"),
        (
            provider(json!({"urls": [plain.replace("ldap:", "ldaps:")]})),
            UNREACHED,
            "(tls handshake eof): look at the port.",
        ),
        (provider(json!({"urls": [plain]})), UNUSABLE, "use ldaps://, or startTLS: true."),
        (provider(json!({"urls": [url.replace("ldaps:", "ldap:")], "startTLS": true})), UNREACHED, "look at the port."),
        (provider(json!({"caBundle": null})), UNREACHED, UNTRUSTED),
        (started(json!(null)), UNREACHED, UNTRUSTED),
        (provider(json!({"baseDN": "nonsense"})), UNUSABLE, "(34 invalidDNSyntax): look at baseDN"),
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
    let protected = "user ok, fit ok, protection wrong";
    let nobody = "knows nobody by the mail, sAMAccountName, userPrincipalName or objectGUID";
    tried.of_users(
        "note",
        &[
            ("ann", FINE, &ann),
            ("ann@acme.example", FINE, &ann),
            (&id, FINE, &ann),
            ("bob", protected, "(a member of Desk)"),
            ("boss", protected, "(an administrator of the directory)"),
            ("cat", "user ok, fit wrong", "is not active in the directory"),
            ("smart", "user ok, fit wrong", "may only sign in with a smart card"),
            ("doe@acme.example", FINE, "doe (id"),
            (r"ACME\doe", FINE, "doe (id"),
            ("j.groesse@acme.example", FINE, "joerg (id"),
            ("*)(cn=*", "user wrong", nobody),
            (&samba::dn("ann"), "user wrong", nobody),
        ],
    );
    let fine = sound("note", FINE);
    tried.says("ann", &started(json!(server.ca())), &fine, "its certificate is trusted.");
    let norights = keys(json!({"bind-dn": "norights@acme.example"}));
    tried.says("ann", &norights, &fine, "whether it may set passwords, only a reset tells.");
    tried.is_wrong(&[
        (keys(json!({"bind-password": "wrong"})), REFUSED, "data 52e: look at the account, and at its Secret."),
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
    let lines = sound("note", "user ok, fit ok, protection ok, rule wrong")
        .replace("settings ok", "settings ok, settings wrong");
    tried.says("ann", &json!({"spec": {"allow": nobodies}}), &lines, "spec.allow names Nobodies");
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
    let (fine, protected) = (format!("{FINE}, rule ok"), "user ok, fit ok, protection wrong");
    let nobody = "knows nobody by the address, name or id";
    tried.of_users(
        "ok",
        &[
            ("ann", &fine, &ann),
            ("ann@acme.example", &fine, &ann),
            (&id, &fine, &ann),
            ("boss", protected, "(a member of /Board)"),
            ("root", protected, "(an administrator of the directory)"),
            ("cat", "user ok, fit wrong", "is not active in the directory"),
            ("*", "user wrong", nobody),
            ("../../master/users/x?exact=true", "user wrong", nobody),
            // Which Keycloak has a meaning for where ids stand.
            ("count", "user wrong", nobody),
            ("profile", "user wrong", nobody),
        ],
    );
    let trusted = provider(json!({"url": server.https_url, "caBundle": server.ca}));
    tried.says("ann", &trusted, &sound("ok", &fine), "its certificate is trusted.");
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
        (at(&server.url.replace("http:", "https:")), UNREACHED, "look at the port."),
        (at(&server.https_url.replace("https:", "http:")), REFUSED, "Look at the address, and at the server's log."),
        (json!({"spec": {"protect": {"groups": ["/Bored"]}}}), UNUSABLE, "no such group: it would protect nobody."),
    ]);
    tried.without_keys();
}
