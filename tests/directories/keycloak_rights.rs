//! The rights that docs/keycloak.md gives to the operator's account, by the very commands that stand there: they are enough for all
//! that a reset does, and each of the fine-grained ones is missed.
use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use crate::{
    applied, delivered,
    keycloak::enrols,
    keycloak_server::{CLIENT, Keycloak, Realm},
    mfa, password, refused,
    support::{SYSTEM, Site, blocks, message, wait_for},
};

const ADMIN_PASSWORD: &str = "admin-old-1";

/// A user who administers the server, as the page has it, with password `NAME-old-1`. Tests do so by a client.
pub fn administrator(server: &Arc<Keycloak>, name: &str) {
    let master = Realm::of(server, "master");
    let id = master.add_user(name, json!({}));
    let role = master.get("/roles/admin");
    master.admin(Method::POST, &format!("/users/{id}/role-mappings/realm"), Some(json!([role])));
}

/// Gives the operator's account its rights anew, as the page has it in these blocks.
fn set_up(realm: &Realm, rights: Vec<String>, site: &Site, directory: &str) {
    realm.admin(Method::DELETE, &format!("/clients/{}", realm.client(CLIENT)), None);
    let commands = blocks("docs/keycloak.md", "sh sign-in").concat() + &rights.concat();
    let secret = realm.commands(ADMIN_PASSWORD, &commands);
    site.keycloak(directory, realm, &realm.server.url, json!({}));
    site.keycloak_secret(directory, CLIENT, secret.trim());
}

/// What each of the account's rights is for: look-up and guards, password, sessions of both kinds, factors, lock-out.
fn all_works(realm: &Realm, site: &Site, directory: &str) {
    let name = |user: &str| format!("{user}-{directory}");
    let [ann, bob, boss, root] = ["ann", "bob", "boss", "root"].map(name);
    let board = realm.get("/group-by-path/Board")["id"].as_str().unwrap().to_owned();
    let credentials = crate::keycloak_server::realm_user("bob")["credentials"].clone();
    realm.add_user(&ann, json!({"realmRoles": ["offline_access"]}));
    let locked_out = realm.add_user(&bob, json!({ "credentials": credentials }));
    let protected = realm.add_user(&boss, json!({}));
    realm.admin(Method::PUT, &format!("/users/{protected}/groups/{board}"), None);
    let administrator = realm.add_user(&root, json!({}));
    let manager = realm.client("realm-management");
    let role = realm.get(&format!("/clients/{manager}/roles/view-events"));
    realm.admin(Method::POST, &format!("/users/{administrator}/role-mappings/clients/{manager}"), Some(json!([role])));
    let old = format!("{ann}-old-1");
    let tokens = [false, true].map(|offline| realm.refresh_token(&ann, &old, offline));
    realm.lock_out(&bob, &locked_out);

    let all = json!({"password": {"clearMobileSessionsAndApiTokens": true}});
    site.apply(
        &[
            password(directory, &ann, all),
            mfa(directory, &bob, json!({})),
            password(directory, &boss, json!({})),
            password(directory, &root, json!({})),
        ]
        .join("\n---\n"),
    );
    assert_eq!(applied(site, &ann), "Response");
    assert_eq!(realm.sign_in(&ann, &delivered(site, &ann)), "Account is not fully set up");
    assert_eq!(tokens.each_ref().map(|token| realm.lives(token)), [false; 2]);
    applied(site, &bob);
    assert_eq!(realm.kinds(&locked_out), ["password"]);
    assert!(!realm.is_locked_out(&locked_out));
    enrols(realm, &bob, "bob-old-1");
    for name in [&boss, &root] {
        refused(site, name, "UserProtected");
    }
}

/// What else the account can do, as statuses: what the table of docs/keycloak.md says.
fn other_rights(realm: &Realm, site: &Site, directory: &str) -> [u16; 5] {
    let secret = site.secret(SYSTEM, &format!("{directory}-keycloak"), "client-secret");
    realm.admin(Method::POST, "/clients", Some(json!({"clientId": "other", "publicClient": false})));
    let (other, user) = (realm.client("other"), realm.add_user("victim", json!({})));
    let board = realm.get("/group-by-path/Board")["id"].as_str().unwrap().to_owned();
    let role = realm.get("/roles/staff");
    [
        (Method::POST, "/users".to_owned(), json!({"username": "newcomer"})),
        (Method::POST, format!("/users/{user}/role-mappings/realm"), json!([role])),
        (Method::PUT, format!("/users/{user}/groups/{board}"), Value::Null),
        (Method::POST, "/groups".to_owned(), json!({"name": "New"})),
        (Method::GET, format!("/clients/{other}/client-secret"), Value::Null),
    ]
    .map(|(method, path, body)| realm.as_operator(&secret, method, &path, Some(body).filter(|body| !body.is_null())))
}

/// The realm's fine-grained permissions (Server Administration, "Delegating realm administration using permissions").
struct Permissions<'a> {
    realm: &'a Realm,
    server: String,
}

impl<'a> Permissions<'a> {
    fn of(realm: &'a Realm) -> Self {
        Self { realm, server: format!("/clients/{}/authz/resource-server", realm.client("admin-permissions")) }
    }

    /// A policy that holds for every user without this role of the realm.
    fn deny(&self, policy: &str, role: &str) {
        let role = self.realm.get(&format!("/roles/{role}"))["id"].clone();
        let body = json!({"name": policy, "roles": [{ "id": role }], "logic": "NEGATIVE"});
        self.realm.admin(Method::POST, &format!("{}/policy/role", self.server), Some(body));
    }

    /// On all of this kind, if `one` is empty.
    fn add(&self, name: &str, kind: &str, one: &str, scopes: &[&str], policy: &str) {
        let one: Vec<&str> = Some(one).filter(|one| !one.is_empty()).into_iter().collect();
        let body =
            json!({"name": name, "resourceType": kind, "resources": one, "scopes": scopes, "policies": [policy]});
        self.realm.admin(Method::POST, &format!("{}/permission/scope", self.server), Some(body));
    }

    fn remove(&self, name: &str) {
        let found = self.realm.get(&format!("{}/permission?name={name}", self.server));
        let id = found[0]["id"].as_str().unwrap_or_else(|| panic!("{name}: {found}"));
        self.realm.admin(Method::DELETE, &format!("{}/permission/scope/{id}", self.server), None);
    }
}

/// Has the Directory looked at again, since its Secret has changed, and waits until it says so.
fn until_message(site: &Site, directory: &str, change: &str, fits: impl Fn(&str) -> bool) {
    let note = json!({"stringData": {"note": change}}).to_string();
    site.kubectl(&["patch", "secret", "-n", SYSTEM, &format!("{directory}-keycloak"), "--type=merge", "-p", &note]);
    let msg = wait_for(&format!("the message after {change}"), || {
        Some(message(&site.get(&["directory", directory]))).filter(|msg| fits(msg))
    });
    println!("{directory}, {change}: {msg}");
}

#[test]
fn rights_as_documented() {
    let server = Keycloak::shared();
    let site = Site::start();
    let [roles, fine] = std::array::from_fn(|_| server.realm(json!({})));
    administrator(&server, "admin");
    set_up(&roles, blocks("docs/keycloak.md", "sh roles"), &site, "roles");
    set_up(&fine, blocks("docs/keycloak.md", "sh permissions"), &site, "fine");
    let no_group = json!({"protect": {"groups": ["/Board", "/Bored"]}});
    site.keycloak("misspelt", &roles, &server.url, no_group);
    let secret = site.secret(SYSTEM, "roles-keycloak", "client-secret");
    site.keycloak_secret("misspelt", CLIENT, &secret);
    let _operator = site.operator();
    for (realm, directory) in [(&roles, "roles"), (&fine, "fine")] {
        site.until_directory(directory, "Connected");
        all_works(realm, &site, directory);
    }
    assert_eq!(other_rights(&roles, &site, "roles"), [201, 204, 204, 201, 200]);
    assert_eq!(other_rights(&fine, &site, "fine"), [201, 403, 403, 403, 403]);
    assert!(site.until_directory("misspelt", "InvalidConfiguration").contains("/Bored"));

    // Users who are exempted.
    let permissions = Permissions::of(&fine);
    permissions.deny("others", "credreset");
    for (name, scopes, reason, done) in [
        ("hidden", &["view", "manage"][..], "UserNotFound", "nothing is sent"),
        ("locked", &["manage"], "Rejected", "nothing was changed"),
    ] {
        let id = fine.add_user(name, json!({}));
        permissions.add(name, "Users", &id, scopes, "others");
        site.apply(&password("fine", name, json!({})));
        assert!(refused(&site, name, reason).contains(done), "{name}");
        assert_eq!(fine.resets(&id), 0, "{name}");
    }

    // Permissions for all users are unanimous.
    let (users, clients) = ("manage-users", "view-clients");
    permissions.add("of-others", "Users", "", &["view"], "others");
    until_message(&site, "fine", "a foreign permission", |msg| msg.contains(users));
    permissions.remove("of-others");
    until_message(&site, "fine", "without it", |msg| !msg.contains(users));
    // Each of ours is taken away.
    permissions.remove("credreset-groups");
    until_message(&site, "fine", "without a view of groups", |msg| msg.contains("view for all groups"));
    permissions.remove("credreset-administrators");
    until_message(&site, "fine", "without a view of the client", |msg| msg.contains(clients) && !msg.contains(users));
    permissions.remove("credreset-users");
    until_message(&site, "fine", "without users", |msg| msg.contains(clients) && msg.contains(users));
    // The members of one group are not enough, even if the operator's own user is one of them.
    let board = fine.get("/group-by-path/Board")["id"].as_str().unwrap().to_owned();
    let own = fine.id("service-account-credreset");
    fine.admin(Method::PUT, &format!("/users/{own}/groups/{board}"), None);
    permissions.add("members", "Groups", &board, &["view", "view-members", "manage-members"], "credreset");
    permissions.add("client", "Clients", &fine.client("realm-management"), &["view"], "credreset");
    until_message(&site, "fine", "with one group", |msg| msg.contains(users) && !msg.contains(clients));
}
