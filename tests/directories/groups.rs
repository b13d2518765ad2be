//! `credreset new --group` on real directories: it writes a request for each member, also for those who are one in a roundabout way. The
//! Directory and its Secret are files, so no API server is asked.
use http::Method;
use serde_json::{Value, json};

use crate::{
    folder::Folder,
    keycloak_server::{self, Keycloak},
    ldap_server::{self, Server},
    openldap, samba,
    support::merge,
};

/// A Directory `acme` and its Secret, in a folder.
struct Desk(Folder);

impl Desk {
    fn new(objects: &[Value; 2]) -> Self {
        let folder = Folder::new();
        folder.write("directory.yaml", format!("{}\n---\n{}", objects[0], objects[1]));
        Self(folder)
    }

    fn new_requests(&self, group: &str) -> (Option<i32>, String, String) {
        let arguments = ["new", "--group", group, "--directory", "acme", "--directories", "directory.yaml", "--mfa"];
        self.0.run(&[&arguments[..], &["--reason", "Leaked passwords"]].concat())
    }

    /// Whom the requests name; each is confirmed by the same name.
    fn members(&self, group: &str) -> Vec<String> {
        let (code, out, error) = self.new_requests(group);
        assert_eq!(code, Some(0), "{group}: {error}");
        let requests: Vec<Value> = serde_saphyr::from_multiple(&out).unwrap();
        let named = |request: &Value| {
            let (by, name) = request["spec"]["user"].as_object().unwrap().iter().next().unwrap();
            assert_eq!(request["spec"]["mfa"]["confirm"], *name);
            format!("{by} {}", name.as_str().unwrap())
        };
        requests.iter().map(named).collect()
    }

    fn has_none(&self, group: &str, expected: &str) {
        let (code, out, error) = self.new_requests(group);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{group}");
        assert!(error.contains(expected), "{group}: {error}");
    }
}

fn usernames(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("username {name}")).collect()
}

#[test]
fn keycloak_members() {
    let server = Keycloak::shared();
    let realm = server.realm(json!({}));
    // More than one page, also of groups below a group.
    let many: Vec<String> = (0..130).map(|n| format!("many{n:03}")).collect();
    let add_group = |above: Option<&str>, name: &str| -> String {
        let path = above.map_or("/groups".to_owned(), |id| format!("/groups/{id}/children"));
        realm.admin(Method::POST, &path, Some(json!({ "name": name })));
        let found = realm.get(&format!("{path}?search={name}&exact=true"));
        found.as_array().unwrap().iter().find(|group| group["name"] == name).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let finance = add_group(None, "Finance");
    let payroll = add_group(Some(&finance), "Payroll/Zürich");
    let desks: Vec<String> = (0..105).map(|n| add_group(Some(&payroll), &format!("Desk {n}"))).collect();
    add_group(Some(&finance), "Empty");
    let financial = add_group(None, "Financial");
    let a = add_group(None, "a");
    add_group(Some(&a), "b");
    add_group(None, "a/b");
    let add_user = |name: &str, enabled: bool, groups: &[&String]| {
        realm.admin(Method::POST, "/users", Some(json!({"username": name, "enabled": enabled})));
        let id = realm.id(name);
        for group in groups {
            realm.admin(Method::PUT, &format!("/users/{id}/groups/{group}"), None);
        }
    };
    for name in &many {
        let user = json!({"username": name, "enabled": true, "groups": ["/Finance"]});
        realm.admin(Method::POST, "/users", Some(user));
    }
    add_user("müller", true, &[&payroll, &finance]);
    add_user("ann@elsewhere.example", true, &[&desks[104]]);
    add_user("off", false, &[&finance]);
    add_user("outsider", true, &[&financial]);
    let desk = Desk::new(&keycloak_server::directory("acme", &realm, &server.url, json!({})));
    let mut all = usernames(&["ann@elsewhere.example"]);
    all.extend(many.iter().map(|name| format!("username {name}")));
    all.extend(usernames(&["müller", "off"]));
    assert_eq!(desk.members("/Finance"), all);
    assert_eq!(desk.members("Finance/Payroll/Zürich"), usernames(&["ann@elsewhere.example", "müller"]));
    assert_eq!(desk.members("/Finance/Payroll~/Zürich/Desk 104"), usernames(&["ann@elsewhere.example"]));
    desk.has_none("/Finance/Empty", "group /Finance/Empty has no members");
    desk.has_none("/Nobodies", "Directory acme has no group /Nobodies");
    desk.has_none("/a/b", "Directory acme has 2 groups that /a/b can mean");
    let client = json!({"client-id": "credreset-norole", "client-secret": "norole-secret"});
    let [directory, mut secret] = keycloak_server::directory("acme", &realm, &server.url, json!({}));
    merge(&mut secret["stringData"], client);
    Desk::new(&[directory, secret]).has_none("/Finance", "the members of group /Finance could not be read");
}

#[test]
fn openldap_members() {
    const GROUPS: &str = "ou=groups,dc=acme,dc=example";
    let server = Server::openldap();
    openldap::add(&server, &["amy", "ben", "cleo"].map(str::to_owned));
    let text = |values: &[(&'static str, &str)]| -> Vec<(&'static str, Vec<u8>)> {
        values.iter().map(|(name, value)| (*name, value.as_bytes().to_vec())).collect()
    };
    let at = |name: &str| format!("cn={name},{GROUPS}");
    let (amy, ben, doe) = (openldap::dn("amy"), openldap::dn("ben"), openldap::dn("doe"));
    let (payroll, finance, robots) = (at("Payroll"), at(r"Finance\, Berlin"), at("Robots"));
    let person = |name: &'static str, more: &[(&'static str, &str)]| {
        let mut all = vec![("objectClass", "inetOrgPerson"), ("cn", name), ("sn", name)];
        all.extend(more);
        text(&all)
    };
    server.add(&[
        // Without a user name, and with a primary group that lists no members.
        ("cn=gil,ou=people,dc=acme,dc=example".to_owned(), person("gil", &[("mail", "gil@acme.example")])),
        (
            openldap::dn("pam"),
            person(
                "pam",
                &[
                    ("objectClass", "posixAccount"),
                    ("uid", "pam"),
                    ("uidNumber", "700"),
                    ("gidNumber", "70"),
                    ("homeDirectory", "/home/pam"),
                ],
            ),
        ),
        // Groups in a circle, with a member who is gone, and the operator's own account, which is no user.
        (
            finance.clone(),
            text(&[
                ("objectClass", "groupOfNames"),
                ("cn", "Finance, Berlin"),
                ("member", &amy),
                ("member", &doe),
                ("member", &payroll),
                ("member", "uid=gone,ou=people,dc=acme,dc=example"),
                ("member", "cn=norights,ou=services,dc=acme,dc=example"),
            ]),
        ),
        (
            payroll.clone(),
            text(&[
                ("objectClass", "groupOfUniqueNames"),
                ("cn", "Payroll"),
                ("uniqueMember", &ben),
                ("uniqueMember", "cn=gil,ou=people,dc=acme,dc=example"),
                ("uniqueMember", &finance),
            ]),
        ),
        (
            at("desk"),
            text(&[
                ("objectClass", "posixGroup"),
                ("cn", "desk"),
                ("gidNumber", "70"),
                ("memberUid", "cleo"),
                ("memberUid", "*"),
            ]),
        ),
        (
            robots,
            text(&[
                ("objectClass", "groupOfNames"),
                ("cn", "Robots"),
                ("member", "cn=norights,ou=services,dc=acme,dc=example"),
            ]),
        ),
    ]);
    let url = server.value("LDAPS_URL");
    let desk = Desk::new(&ldap_server::directory("acme", openldap::KIND, &server, url, &openldap::protect()));
    let mut all = usernames(&["amy", "ben", "doe"]);
    all.push("email gil@acme.example".to_owned());
    for name in ["Finance, Berlin", "payroll", &finance, &format!(r#"CN="finance, berlin",{GROUPS}"#)] {
        assert_eq!(desk.members(name), all, "{name}");
    }
    assert_eq!(desk.members("desk"), usernames(&["cleo", "pam"]));
    desk.has_none("Robots", "group Robots has no members");
    desk.has_none("*", "Directory acme has no group *");
    desk.has_none(&at("Nobodies"), "has no group cn=Nobodies");
    server.run("stop");
    desk.has_none("desk", "the members of group desk could not be read");
}

#[test]
fn samba_members() {
    let server = Server::samba();
    samba::add(&server, &["amy", "ben", "main"].map(str::to_owned));
    let group = |name: &str, members: &[String]| {
        let mut all = vec![("objectClass", b"group".to_vec()), ("sAMAccountName", name.as_bytes().to_vec())];
        all.extend(members.iter().map(|member| ("member", member.as_bytes().to_vec())));
        (format!("CN={name},OU=Groups,DC=acme,DC=example"), all)
    };
    let at = |name: &str| format!("CN={name},OU=Groups,DC=acme,DC=example");
    server.add(&[
        group("Payroll", &[samba::dn("ben"), samba::dn("doe"), samba::dn("main")]),
        group("Finance (all)", &[samba::dn("amy"), samba::dn("cat"), at("Payroll")]),
        group("Empty", &[]),
    ]);
    // A group is in no list of members where it is a user's primary one.
    let token = server.entry(&at("Payroll"), &["objectSid"]);
    let number = token.bin_attrs["objectSid"][0].last_chunk().map(|last| u32::from_le_bytes(*last)).unwrap();
    server.set(&samba::dn("main"), "primaryGroupID", &[&number.to_string()]);
    let url = server.value("LDAPS_URL");
    let desk = Desk::new(&ldap_server::directory("acme", samba::KIND, &server, url, &json!({})));
    for name in ["finance (ALL)", &at("Finance (all)")] {
        assert_eq!(desk.members(name), usernames(&["amy", "ben", "cat", "doe", "main"]), "{name}");
    }
    assert_eq!(desk.members("Payroll"), usernames(&["ben", "doe", "main"]));
    desk.has_none("Empty", "group Empty has no members");
    desk.has_none("*", "Directory acme has no group *");
}
