//! Keycloak or the operator's account there is not as it should be: each case has its reason, and nothing is done twice.
use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

use crate::{
    applied,
    keycloak_server::{CLIENT, CLIENT_SECRET, Keycloak, Realm},
    password,
    proxy::{Action, Proxy, Rule},
    refused,
    support::{Site, TEAM, message, wait_for},
};

#[test]
fn what_is_away() {
    let site = Site::start();
    let _operator = site.operator();
    directories_that_are_not_ready(&site);
    what_goes_away_before_the_call(&site);
}

/// Messages of Directories that cannot be used.
fn directories_that_are_not_ready(site: &Site) {
    let server = Keycloak::shared();
    let [realm, rotated, disabled, gone] = std::array::from_fn(|_| server.realm(json!({})));
    let proxy = Proxy::start(&server.url, &[]);
    let tokens = |realm: &str, action| Rule {
        method: Method::POST,
        path: format!("/realms/{realm}/protocol/openid-connect/token"),
        about: String::new(),
        body_has: "",
        nth: 0,
        action,
    };
    let down = proxy.arm(tokens(&realm.name, Action::Answer(503)));

    let url = &server.url;
    for name in ["wrong-secret", "no-client", "norole", "readonly", "blind"] {
        site.keycloak(name, &realm, url, json!({}));
    }
    site.keycloak_secret("wrong-secret", CLIENT, "not-the-secret-of-it");
    site.keycloak_secret("no-client", "no-such-client", "secret-of-no-client");
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
    site.until_directory("tls", "Connected");
    for (name, reason, expected) in [
        ("wrong-secret", "CredentialsRefused", &[][..]),
        ("no-client", "CredentialsRefused", &[]),
        ("norole", "PermissionMissing", &["manage-users", "view-clients", "query-users"]),
        ("readonly", "PermissionMissing", &["manage-users", "view-clients"]),
        ("blind", "PermissionMissing", &["view-clients"]),
        ("unreachable", "Unreachable", &[]),
        ("untrusted", "Unreachable", &[]),
        ("tokens-down", "Unreachable", &[]),
    ] {
        let msg = site.until_directory(name, reason);
        println!("{name}: {reason}: {msg}");
        assert!(expected.iter().all(|role| msg.contains(role)), "{msg}");
        assert!(name != "blind" || !msg.contains("manage-users"), "{msg}");
    }

    // A request waits, and says for what; it goes on when that is fixed.
    site.apply(&password("tokens-down", "ann", json!({})));
    let msg = message(&site.until("ann", "DirectoryNotReady"));
    println!("tokens-down: {msg}");
    down.disarm();
    assert_eq!(applied(site, "ann"), "Response");
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
        site.kubectl(&["patch", "secret", "-n", crate::support::SYSTEM, &secret, "--type=merge", "-p", &data]);
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
    assert_eq!(applied(site, "bob"), "Response");
    let client = json!({"enabled": true});
    disabled.admin(Method::PUT, &format!("/clients/{}", disabled.client(CLIENT)), Some(client));
    site.until_directory("disabled", "Connected");
    refused(site, "fay", "Expired");
}

/// What the operator may do, and whom it may do it to, changes between look-up and call.
fn what_goes_away_before_the_call(site: &Site) {
    let server = Keycloak::shared();
    let realm = server.realm(json!({}));
    let proxy = Proxy::start(&server.url, &[]);
    site.keycloak("going", &realm, &proxy.url, json!({"limits": {"requestTimeout": "60s"}}));
    site.until_directory("going", "Connected");
    let asked = |name: &str| {
        let path = "/admin/realms/*/users/*/reset-password".to_owned();
        let id = realm.add_user(name, json!({}));
        let rule =
            Rule { method: Method::PUT, path, about: id.clone(), body_has: "", nth: 1, action: Action::HoldRequest };
        let call = proxy.arm(rule);
        site.apply(&password("going", name, json!({})));
        wait_for("the call", || call.is_hit().then_some(()));
        (id, call)
    };

    // The user.
    let (gus, call) = asked("gus");
    realm.admin(Method::DELETE, &format!("/users/{gus}"), None);
    call.release();
    let msg = refused(site, "gus", "UserNotFound");
    assert!(msg.contains("nothing was changed"), "{msg}");

    // The rights: nothing took effect, and it waits until they are back.
    let (hal, call) = asked("hal");
    let account = realm.id("service-account-credreset");
    let manager = realm.client("realm-management");
    let role = realm.get(&format!("/clients/{manager}/roles/manage-users"));
    let roles = format!("/users/{account}/role-mappings/clients/{manager}");
    realm.admin(Method::DELETE, &roles, Some(json!([role])));
    if keeps_roles() {
        end_tokens(&realm);
    }
    call.release();
    let msg = site.until_directory("going", "PermissionMissing");
    assert!(msg.contains("manage-users"), "{msg}");
    site.until("hal", "DirectoryNotReady");
    assert_eq!(realm.resets(&hal), 0);
    realm.admin(Method::POST, &roles, Some(json!([role])));
    if keeps_roles() {
        end_tokens(&realm);
    }
    assert_eq!(applied(site, "hal"), "Response");
    assert_eq!(realm.resets(&hal), 1);

    // The token: another is fetched.
    let (ivy, call) = asked("ivy");
    end_tokens(&realm);
    call.release();
    assert_eq!(applied(site, "ivy"), "Response");
    assert_eq!(realm.resets(&ivy), 1);
}

/// Until its token expires, an account has the roles there that it had when it got the token.
fn keeps_roles() -> bool {
    std::env::var("KEYCLOAK_VERSION").is_ok_and(|version| version.starts_with("26.2."))
}

/// A client with a token needs another. Keycloak counts whole seconds here.
fn end_tokens(realm: &Realm) {
    let second = || jiff::Timestamp::now().as_second();
    let given_by = second();
    wait_for("the next second", || (second() > given_by).then_some(()));
    realm.set(json!({"notBefore": second()}));
}

/// Keycloak is restarted in the middle of 100 resets.
#[test]
fn restart_in_the_middle() {
    const USERS: usize = 100;
    let server = Keycloak::own();
    // So that the second half is still to come.
    let realm = server.realm(json!({"passwordPolicy": "length(8)"}));
    let name = |n: usize| format!("user-{n:03}");
    let ids: BTreeMap<String, String> = (0..USERS).map(|n| (name(n), realm.add_user(&name(n), json!({})))).collect();
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
    let events = || realm.get("/admin-events?operationTypes=ACTION&max=1000").as_array().unwrap().clone();
    let so_far = wait_for("a third of them", || Some(events().len()).filter(|done| *done >= USERS / 3));
    server.run("stop");
    server.run("up");
    let outcome = ["wait", "--for=jsonpath={.status.outcome}", "--timeout=600s", "creset", "--all", "-n", TEAM];
    site.kubectl(&outcome);
    println!("stopped when {so_far} were done; {} in the end", events().len());
    let reported = |status: &Value| {
        status["outcome"] == "Applied"
            || status["conditions"].to_string().contains("The directory shows the Password as changed at")
    };
    // A slow server may commit a call whose caller has given up, also after the outcome: the operator looks again.
    let (resets, events) = wait_for("each change to be reported", || {
        let (resets, events) = (site.get(&["creset", "-n", TEAM]), events());
        let all = resets["items"].as_array().unwrap();
        let is_known = |reset: &Value| {
            let path = format!("users/{}/reset-password", ids[reset["metadata"]["name"].as_str().unwrap()]);
            reported(&reset["status"]) || !events.iter().any(|event| event["resourcePath"] == path)
        };
        all.iter().all(is_known).then_some((resets, events))
    });
    let template =
        r#"go-template={{range .items}}{{.metadata.name}} {{index .data "password" | base64decode}}{{"\n"}}{{end}}"#;
    let secrets = site.kubectl(&["get", "secrets", "-n", TEAM, "-o", template]);
    let delivered: BTreeMap<&str, &str> = secrets.lines().filter_map(|line| line.split_once(' ')).collect();
    let mut seen = BTreeMap::<String, usize>::new();
    for reset in resets["items"].as_array().unwrap() {
        let (name, status) = (reset["metadata"]["name"].as_str().unwrap(), &reset["status"]);
        let outcome = status["outcome"].as_str().unwrap();
        *seen.entry(format!("{outcome} {}", status["evidence"])).or_default() += 1;
        let path = format!("users/{}/reset-password", ids[name]);
        let count = events.iter().filter(|event| event["resourcePath"] == path).count();
        let reported = reported(status);
        let (password, expected) = match outcome {
            "Applied" => (delivered[&*format!("{name}-password")].to_owned(), "Account is not fully set up"),
            "Unknown" if reported => (format!("{name}-old-1"), "Invalid user credentials"),
            "Unknown" => (format!("{name}-old-1"), "signed in"),
            _ => panic!("{name}: {status:#}"),
        };
        assert_eq!(count, usize::from(reported), "{name}: {status:#}");
        assert_eq!(realm.sign_in(name, &password), expected, "{name}: {status:#}");
    }
    println!("{seen:?}");
    assert_eq!(seen.values().sum::<usize>(), USERS);
}
