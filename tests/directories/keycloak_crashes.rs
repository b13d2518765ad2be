//! The test kills the operator while a call to Keycloak is under way, and loses each call of an MFA reset once: repeating them does no
//! harm.
use http::Method;
use serde_json::json;

use crate::{
    applied, delivered,
    keycloak_server::{Keycloak, realm_user},
    mfa, password,
    proxy::{Action, Armed, Proxy, Rule},
    support::{Site, wait_for},
};

/// The calls of an MFA reset that change something, for a user who has one factor of each kind.
const CALLS: usize = 5;

/// The nth of those calls of this user meets this.
fn mfa_call(proxy: &Proxy, user: &str, nth: usize, action: Action) -> std::sync::Arc<Armed> {
    let (method, path) = match nth {
        0 => (Method::PUT, "/admin/realms/*/users/*"),
        _ => (Method::DELETE, "/admin/realms/*/users/*/credentials/*"),
    };
    proxy.arm(Rule { method, path: path.to_owned(), about: user.to_owned(), body_has: "", nth: nth.max(1), action })
}

#[test]
fn operator_dies_in_every_call() {
    let server = Keycloak::shared();
    let realm = server.realm(json!({}));
    let site = Site::start();
    let proxy = Proxy::start(&server.url, &[]);
    let with_sign_in = json!({"provider": {"keycloak": {"signInClient": "shop"}}, "limits": {"requestTimeout": "60s"}});
    site.keycloak("acme", &realm, &proxy.url, with_sign_in);
    let all_factors = json!({"credentials": realm_user("fay")["credentials"]});

    // Held at their calls: before Keycloak has got it, or after it has answered.
    let mut held = Vec::new();
    for (when, action) in [("before", Action::HoldRequest), ("after", Action::HoldReply)] {
        let name = format!("password-{when}");
        let id = realm.add_user(&name, json!({}));
        let path = "/admin/realms/*/users/*/reset-password".to_owned();
        let rule = Rule { method: Method::PUT, path, about: id.clone(), body_has: "", nth: 1, action };
        held.push((name, id, proxy.arm(rule)));
        for call in 0..CALLS {
            let name = format!("mfa-{call}-{when}");
            let id = realm.add_user(&name, all_factors.clone());
            let armed = mfa_call(&proxy, &id, call, action);
            held.push((name, id, armed));
        }
    }
    let manifest = |name: &str| match name.split('-').next() {
        Some("mfa" | "lost") => mfa("acme", name, json!({})),
        _ => password("acme", name, json!({"password": {"forceChangeOnLogin": false}})),
    };
    let first = site.run(
        site.operator_command(std::path::Path::new(env!("CARGO_BIN_EXE_credreset")), "first", "trace", None)
            .args(["--concurrency", "32"]),
    );
    site.until_directory("acme", "Connected");
    let all: Vec<String> = held.iter().map(|(name, ..)| manifest(name)).collect();
    site.apply(&all.join("\n---\n"));
    for (name, _, call) in &held {
        wait_for(name, || call.is_hit().then_some(()));
    }
    first.kill();
    // What was sent arrives all the same.
    for (.., call) in &held {
        call.release();
    }

    // The next one's calls are lost, each once.
    let mut lost = Vec::new();
    for (when, action) in [("before", Action::DropRequest), ("after", Action::DropReply)] {
        for call in 0..CALLS {
            let name = format!("lost-{call}-{when}");
            let id = realm.add_user(&name, all_factors.clone());
            let armed = mfa_call(&proxy, &id, call, action);
            lost.push((name, id, armed));
        }
    }
    let all: Vec<String> = lost.iter().map(|(name, ..)| manifest(name)).collect();
    site.apply(&all.join("\n---\n"));
    let _second = site.operator_named("second");
    for (name, id, call) in held.iter().chain(&lost) {
        let evidence = applied(&site, name);
        println!("{name}: {evidence}");
        assert!(call.is_hit(), "{name}");
        if name.starts_with("password") {
            assert_eq!(realm.resets(id), 1, "{name}");
            assert_eq!(realm.sign_in(name, &delivered(&site, name)), "signed in", "{name}");
            continue;
        }
        assert_eq!(realm.kinds(id), ["password"], "{name}");
        assert_eq!(realm.user(name)["requiredActions"].as_array().map(Vec::len), Some(4), "{name}");
    }
}
