//! Keycloak or the operator's account there is not as it should be: each case has its reason, and nothing is done twice.
use http::Method;
use serde_json::{Value, json};

use crate::{
    applied, delivered,
    env::{Site, TEAM, message, wait_for},
    keycloak_server::{CLIENT, CLIENT_SECRET, Keycloak},
    password,
    proxy::{Action, Proxy, Rule},
    refused,
};

/// What is said of Directories that cannot be used.
#[test]
fn directories_that_are_not_ready() {
    let server = Keycloak::shared();
    let [realm, rotated, disabled, gone] = std::array::from_fn(|_| server.realm(json!({})));
    let site = Site::start();
    let proxy = Proxy::start(&server.url, &[]);
    let tokens = |realm: &str, action| Rule {
        method: Method::POST,
        path: format!("/realms/{realm}/protocol/openid-connect/token"),
        about: String::new(),
        says: "",
        nth: 0,
        action,
    };
    let down = proxy.arm(tokens(&realm.name, Action::Answer(503)));

    let url = &server.url;
    for name in ["wrong-secret", "no-client", "norole", "readonly", "blind"] {
        site.keycloak(name, &realm, url, json!({}));
    }
    site.keycloak_secret("wrong-secret", CLIENT, "not-the-secret-of-it");
    site.keycloak_secret("no-client", "nobody", "secret-of-nobody");
    site.keycloak_secret("norole", "credreset-norole", "norole-secret");
    site.keycloak_secret("readonly", "credreset-readonly", "readonly-secret");
    site.keycloak_secret("blind", "credreset-blind", "blind-secret");
    site.keycloak("rotated", &rotated, url, json!({}));
    site.keycloak("disabled", &disabled, url, json!({}));
    site.keycloak("gone", &gone, url, json!({}));
    site.keycloak("unreachable", &realm, "http://127.0.0.1:1", json!({}));
    site.keycloak("tokens-down", &realm, &proxy.url, json!({}));
    let https = |bundle: Value| json!({"provider": {"keycloak": {"caBundle": bundle}}});
    site.keycloak("tls", &realm, &server.https_url, https(json!(server.ca)));
    site.keycloak("untrusted", &realm, &server.https_url, https(Value::Null));
    let _operator = site.operator();

    site.until_directory("tls", "Connected");
    for (name, reason, says) in [
        ("wrong-secret", "CredentialsRefused", &[][..]),
        ("no-client", "CredentialsRefused", &[]),
        ("norole", "PermissionMissing", &["manage-users", "view-clients"]),
        ("readonly", "PermissionMissing", &["manage-users", "view-clients"]),
        ("blind", "PermissionMissing", &["view-clients"]),
        ("unreachable", "Unreachable", &[]),
        ("untrusted", "Unreachable", &[]),
        ("tokens-down", "Unreachable", &[]),
    ] {
        let said = site.until_directory(name, reason);
        println!("{name}: {reason}: {said}");
        assert!(says.iter().all(|role| said.contains(role)), "{said}");
        assert!(name != "blind" || !said.contains("manage-users"), "{said}");
    }

    // A request waits, and says for what; it goes on when that is mended.
    site.apply(&password("tokens-down", "ann", json!({})));
    let told = message(&site.until("ann", "DirectoryNotReady"));
    println!("tokens-down: {told}");
    down.disarm();
    assert_eq!(applied(&site, "ann"), "Response");
    assert_eq!(realm.resets(&realm.id("ann")), 1);

    // While in use: the secret is rotated, the client disabled, the realm deleted.
    for name in ["rotated", "disabled", "gone"] {
        site.until_directory(name, "Connected");
    }
    let secret = rotated.rotate_secret();
    let client = disabled.client(CLIENT);
    disabled.admin(Method::PUT, &format!("/clients/{client}"), Some(json!({"enabled": false})));
    gone.delete();
    // Looked at again because of the Secret, whose value is as old as before.
    for (name, value) in [("rotated", CLIENT_SECRET), ("disabled", CLIENT_SECRET), ("gone", CLIENT_SECRET)] {
        let data = json!({"stringData": {"client-secret": value, "note": "another version"}}).to_string();
        let secret = format!("{name}-keycloak");
        site.kubectl(&["patch", "secret", "-n", crate::env::SYSTEM, &secret, "--type=merge", "-p", &data]);
    }
    for (name, reason) in
        [("rotated", "CredentialsRefused"), ("disabled", "CredentialsRefused"), ("gone", "InvalidConfiguration")]
    {
        println!("{name}: {reason}: {}", site.until_directory(name, reason));
    }
    let named = |directory: &str, user: &str| password(directory, user, json!({"validFor": "20s"}));
    site.apply(&[password("rotated", "bob", json!({})), named("gone", "fay")].join("\n---\n"));
    for name in ["bob", "fay"] {
        site.until(name, "DirectoryNotReady");
    }
    site.keycloak_secret("rotated", CLIENT, &secret);
    assert_eq!(applied(&site, "bob"), "Response");
    let client = json!({"enabled": true});
    disabled.admin(Method::PUT, &format!("/clients/{}", disabled.client(CLIENT)), Some(client));
    site.until_directory("disabled", "Connected");
    refused(&site, "fay", "Expired");
}

/// What the operator may do, and whom it may do it to, changes between look-up and call.
#[test]
fn what_goes_away_before_the_call() {
    let server = Keycloak::shared();
    let realm = server.realm(json!({}));
    let site = Site::start();
    let proxy = Proxy::start(&server.url, &[]);
    site.keycloak("acme", &realm, &proxy.url, json!({"limits": {"requestTimeout": "60s"}}));
    let _operator = site.operator();
    site.until_directory("acme", "Connected");
    let asked = |name: &str| {
        let path = "/admin/realms/*/users/*/reset-password".to_owned();
        let id = realm.id(name);
        let rule = Rule { method: Method::PUT, path, about: id.clone(), says: "", nth: 1, action: Action::HoldRequest };
        let call = proxy.arm(rule);
        site.apply(&password("acme", name, json!({})));
        wait_for("the call", || call.is_hit().then_some(()));
        (id, call)
    };

    // The user.
    let (ann, call) = asked("ann");
    realm.admin(Method::DELETE, &format!("/users/{ann}"), None);
    call.release();
    let said = refused(&site, "ann", "UserNotFound");
    assert!(said.contains("nothing was changed"), "{said}");

    // The rights: nothing took effect, and it waits until they are back.
    let (bob, call) = asked("bob");
    let account = realm.id("service-account-credreset");
    let manager = realm.client("realm-management");
    let role = realm.get(&format!("/clients/{manager}/roles/manage-users"));
    let roles = format!("/users/{account}/role-mappings/clients/{manager}");
    realm.admin(Method::DELETE, &roles, Some(json!([role])));
    call.release();
    let said = site.until_directory("acme", "PermissionMissing");
    assert!(said.contains("manage-users"), "{said}");
    site.until("bob", "DirectoryNotReady");
    assert_eq!(realm.resets(&bob), 0);
    realm.admin(Method::POST, &roles, Some(json!([role])));
    assert_eq!(applied(&site, "bob"), "Response");
    assert_eq!(realm.resets(&bob), 1);

    // The token: another is fetched.
    let (key, call) = asked("key");
    // Keycloak counts whole seconds here.
    let second = || jiff::Timestamp::now().as_second();
    let given_by = second();
    wait_for("the next second", || (second() > given_by).then_some(()));
    realm.set(json!({"notBefore": second()}));
    call.release();
    assert_eq!(applied(&site, "key"), "Response");
    assert_eq!(realm.resets(&key), 1);
}

/// Keycloak is restarted in the middle of 100 resets.
#[test]
fn restart_in_the_middle() {
    const USERS: usize = 100;
    let server = Keycloak::own();
    // So that the second half is still to come.
    let realm = server.realm(json!({"passwordPolicy": "length(8)"}));
    let name = |n: usize| format!("user-{n:03}");
    let ids: Vec<String> = (0..USERS).map(|n| realm.add_user(&name(n), json!({}))).collect();
    let site = Site::start();
    site.keycloak(
        "acme",
        &realm,
        &server.url,
        json!({"provider": {"keycloak": {"signInClient": "shop"}}, "limits": {"requestTimeout": "10s"}}),
    );
    let _operator = site.operator();
    site.until_directory("acme", "Connected");
    let all: Vec<String> = (0..USERS).map(|n| password("acme", &name(n), json!({}))).collect();
    site.apply(&all.join("\n---\n"));
    let done = || {
        let all = site.get(&["creset", "-n", TEAM, "--field-selector", "status.outcome=Applied"]);
        all["items"].as_array().unwrap().len()
    };
    let so_far = wait_for("a third of them", || Some(done()).filter(|done| *done >= USERS / 3));
    server.run("stop");
    println!("stopped after {so_far}, when {} were done", done());
    assert!(done() < USERS);
    server.run("up");
    let mut open = usize::MAX;
    while open > 0 {
        open = wait_for("another outcome", || {
            let all = site.get(&["creset", "-n", TEAM, "--field-selector", "status.outcome="]);
            Some(all["items"].as_array().unwrap().len()).filter(|now| *now < open)
        });
    }
    let mut evidence = std::collections::BTreeMap::<String, usize>::new();
    for (n, id) in ids.iter().enumerate() {
        let (status, resets) = (site.reset(&name(n))["status"].clone(), realm.resets(id));
        let outcome = status["outcome"].as_str().unwrap();
        *evidence.entry(format!("{outcome} {}", status["evidence"])).or_default() += 1;
        let (password, says) = match outcome {
            "Applied" => (delivered(&site, &name(n)), "Account is not fully set up"),
            "Unknown" => (format!("{}-old-1", name(n)), "signed in"),
            _ => panic!("{}: {status:#}", name(n)),
        };
        assert_eq!(realm.sign_in(&name(n), &password), says, "{}: {status:#}", name(n));
        assert_eq!(resets, usize::from(outcome == "Applied"), "{}: {status:#}", name(n));
    }
    println!("{evidence:?}");
}
