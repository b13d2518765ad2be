//! The rights that docs/keycloak.md gives to the operator's account, by the very commands that stand there: they are enough for all
//! that a reset does, and each of the fine-grained ones is missed.
use http::Method;
use serde_json::json;

use crate::{
    applied, delivered,
    env::{SYSTEM, Site, message, text, wait_for},
    keycloak_server::{CLIENT, Keycloak, Realm},
    mfa, password, refused,
};

/// Gives the operator's account its rights anew, as the document has it under this heading.
fn set_up(realm: &Realm, heading: &str, site: &Site, directory: &str) {
    realm.admin(Method::DELETE, &format!("/clients/{}", realm.client(CLIENT)), None);
    let document = text("docs/keycloak.md");
    let (_, section) = document.split_once(&format!("\n### {heading}\n")).expect("the heading is in docs/keycloak.md");
    let (_, block) = section.split_once("```sh\n").unwrap();
    let (commands, _) = block.split_once("```").unwrap();
    assert!(commands.starts_with("realm=acme\n"), "{commands}");
    let secret = realm.commands(&commands.replacen("realm=acme", &format!("realm={}", realm.name), 1));
    site.keycloak(directory, realm, &realm.server.url, json!({}));
    site.keycloak_secret(directory, CLIENT, secret.trim());
}

/// What each of the account's rights is for: look-up and guards, password, sessions of both kinds, factors, lock-out.
fn all_works(realm: &Realm, site: &Site, directory: &str) {
    let name = |user: &str| format!("{user}-{directory}");
    let [ann, bob, boss, root] = ["ann", "bob", "boss", "root"].map(name);
    let desk = realm.get("/group-by-path/Board")["id"].as_str().unwrap().to_owned();
    let credentials = crate::keycloak_server::realm_user("bob")["credentials"].clone();
    realm.add_user(&ann, json!({"realmRoles": ["offline_access"]}));
    let locked_out = realm.add_user(&bob, json!({ "credentials": credentials }));
    let protected = realm.add_user(&boss, json!({}));
    realm.admin(Method::PUT, &format!("/users/{protected}/groups/{desk}"), None);
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
    for name in [&boss, &root] {
        refused(site, name, "UserProtected");
    }
}

#[test]
fn rights_as_documented() {
    let server = Keycloak::shared();
    let site = Site::start();
    let [roles, permissions] = std::array::from_fn(|_| server.realm(json!({})));
    set_up(&roles, "With roles", &site, "roles");
    set_up(&permissions, "With fine-grained permissions", &site, "permissions");
    let _operator = site.operator();
    for (realm, directory) in [(&roles, "roles"), (&permissions, "permissions")] {
        site.until_directory(directory, "Connected");
        all_works(realm, &site, directory);
    }

    // One after another is taken away.
    let server = format!("/clients/{}/authz/resource-server", permissions.client("admin-permissions"));
    for (permission, said) in [
        ("credreset-groups", "view for all groups"),
        ("credreset-administrators", "view-clients"),
        ("credreset-users", "manage-users"),
    ] {
        let found = permissions.get(&format!("{server}/permission?name={permission}"));
        let id = found[0]["id"].as_str().unwrap_or_else(|| panic!("{permission}: {found}"));
        permissions.admin(Method::DELETE, &format!("{server}/permission/scope/{id}"), None);
        // Looked at again because of the Secret.
        let note = json!({"stringData": {"note": permission}}).to_string();
        site.kubectl(&["patch", "secret", "-n", SYSTEM, "permissions-keycloak", "--type=merge", "-p", &note]);
        site.until_directory("permissions", "PermissionMissing");
        let message = wait_for(&format!("what is missing without {permission}"), || {
            Some(message(&site.get(&["directory", "permissions"]))).filter(|message| message.contains(said))
        });
        println!("without {permission}: {message}");
    }
}
