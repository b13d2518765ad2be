//! Answers that are lost on their way from Keycloak, at every place: what is said fits what Keycloak's own events count.
use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
};

use http::Method;
use serde_json::json;

use crate::{
    applied, delivered,
    env::{SYSTEM, Site, message, wait_for},
    keycloak_server::{Keycloak, Realm, realm_user},
    mfa, password,
    proxy::{Action, Armed, Proxy, Rule},
};

/// The nth call of this method to this place below the user meets this.
fn rule(method: Method, below: &str, user: &str, nth: usize, action: Action) -> Rule {
    Rule { method, path: format!("/admin/realms/*/users/*/{below}"), about: user.to_owned(), says: "", nth, action }
}

fn on_reset(proxy: &Proxy, user: &str, action: Action) -> Arc<Armed> {
    proxy.arm(rule(Method::PUT, "reset-password", user, 1, action))
}

/// A user and what befalls the one call.
struct Row {
    name: String,
    id: String,
    armed: Arc<Armed>,
}

fn row(realm: &Realm, proxy: &Proxy, name: &str, action: Action) -> Row {
    let id = realm.add_user(name, json!({}));
    let armed = on_reset(proxy, &id, action);
    Row { name: name.to_owned(), id, armed }
}

/// The size of the reply to a reset as the proxy gives it, head and all.
fn size_of_reply(realm: &Realm, proxy: &Proxy) -> usize {
    let id = realm.add_user("whole", json!({}));
    let token = realm.operators_token();
    let address = proxy.url.strip_prefix("http://").unwrap();
    let body = json!({"type": "password", "value": "Just-for-its-size-1", "temporary": true}).to_string();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "PUT /admin/realms/{}/users/{id}/reset-password HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        realm.name,
        body.len()
    )
    .unwrap();
    let mut reply = Vec::new();
    let mut byte = [0];
    while !reply.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&reply));
        reply.push(byte[0]);
    }
    assert!(reply.starts_with(b"HTTP/1.1 204"), "{}", String::from_utf8_lossy(&reply));
    reply.len()
}

/// The password that is kept of an attempt whose outcome is not known.
fn kept(site: &Site, name: &str) -> String {
    let record = site.reset(name)["status"]["record"].as_str().unwrap().to_owned();
    let record = site.get(&["crecord", "-n", SYSTEM, &record]);
    site.secret(SYSTEM, record["spec"]["attempt"]["secret"].as_str().unwrap(), "password")
}

/// Waits until the outcome is known to be unknown; returns what is said.
fn unknown(site: &Site, name: &str) -> String {
    let reset = site.until(name, "OutcomeUnknown");
    assert_eq!(reset["status"]["outcome"], "Unknown", "{name}");
    let said = message(&reset);
    println!("{name}: {said}");
    said
}

#[test]
fn lost_answers() {
    let server = Keycloak::shared();
    // One Directory names a client to sign in with, the other does not.
    let (realm, without) = (server.realm(json!({})), server.realm(json!({})));
    let site = Site::start();
    let proxy = Proxy::start(&server.url, &[]);
    let timeout = json!({"requestTimeout": "8s"});
    site.keycloak(
        "acme",
        &realm,
        &proxy.url,
        json!({"provider": {"keycloak": {"signInClient": "shop"}}, "limits": timeout}),
    );
    site.keycloak("without", &without, &proxy.url, json!({"limits": timeout}));

    let whole = size_of_reply(&realm, &proxy);
    println!("the reply has {whole} bytes");
    let cuts = (0..20).map(|n| row(&realm, &proxy, &format!("cut-{n:02}"), Action::CutAt(n * whole / 20)));
    let mut taken: Vec<Row> = cuts.collect();
    taken.push(row(&realm, &proxy, "after", Action::DropReply));
    let before = row(&realm, &proxy, "before", Action::DropRequest);
    let newer = row(&realm, &proxy, "newer", Action::DropRequest);
    let late = row(&realm, &proxy, "late", Action::HoldRequest);
    let later = row(&realm, &proxy, "later", Action::HoldRequest);
    let unproven = row(&without, &proxy, "unproven", Action::HoldRequest);
    // A colleague comes between the call and the look that follows.
    let overtaken = [
        row(&realm, &proxy, "overtaken", Action::DropReply),
        row(&realm, &proxy, "mistaken", Action::DropRequest),
        row(&without, &proxy, "confused", Action::DropReply),
    ];
    let looks =
        overtaken.each_ref().map(|row| proxy.arm(rule(Method::GET, "credentials", &row.id, 2, Action::HoldRequest)));

    let _operator = site.operator();
    for name in ["acme", "without"] {
        site.until_directory(name, "Connected");
    }
    let directory = |name: &str| if ["unproven", "confused"].contains(&name) { "without" } else { "acme" };
    let others = [&before, &newer, &late, &later, &unproven];
    let all = taken.iter().chain(others).chain(&overtaken);
    let manifests: Vec<String> = all.map(|row| password(directory(&row.name), &row.name, json!({}))).collect();
    site.apply(&manifests.join("\n---\n"));

    for (row, look) in overtaken.iter().zip(&looks) {
        wait_for(&format!("a look at {}", row.name), || look.is_hit().then_some(()));
        let realm = if directory(&row.name) == "acme" { &realm } else { &without };
        realm.reset_by_hand(&row.id, "By-a-colleague-1");
        look.release();
    }
    for row in &taken {
        assert_eq!(applied(&site, &row.name), "Marker", "{}", row.name);
        assert!(row.armed.is_hit(), "{}", row.name);
        assert_eq!(realm.resets(&row.id), 1, "{}", row.name);
        assert_eq!(
            realm.sign_in(&row.name, &delivered(&site, &row.name)),
            "Account is not fully set up",
            "{}",
            row.name
        );
    }
    // Let through once nobody waits for it any more, but while its effect is still looked for.
    wait_for("the end of the call", || message(&site.reset("late")).contains("nothing is sent again").then_some(()));
    late.armed.release();
    unproven.armed.release();
    assert_eq!(applied(&site, "late"), "SignIn");
    assert_eq!(realm.resets(&late.id), 1);
    assert_eq!(realm.sign_in("late", &delivered(&site, "late")), "Account is not fully set up");

    for row in [&before, &newer, &later] {
        let said = unknown(&site, &row.name);
        assert!(said.contains("unchanged since"), "{said}");
        assert_eq!(realm.resets(&row.id), 0, "{}", row.name);
        assert_eq!(realm.sign_in(&row.name, &format!("{}-old-1", row.name)), "signed in");
    }
    let said = unknown(&site, "unproven");
    assert!(!said.contains("unchanged since"), "{said}");
    assert_eq!(
        without.sign_in("unproven", &kept(&site, "unproven")),
        "Account is not fully set up",
        "kept, as it may be in force"
    );
    for row in &overtaken {
        let said = unknown(&site, &row.name);
        assert!(!said.contains("unchanged since"), "{said}");
    }
    assert_eq!(
        overtaken
            .each_ref()
            .map(|row| (if directory(&row.name) == "acme" { &realm } else { &without }).resets(&row.id)),
        [2, 1, 2]
    );

    // What is unknown becomes known.
    later.armed.release();
    site.apply(
        &password("acme", "newer", json!({}))
            .replace(r#""name":"newer","#, r#""name":"newest","#)
            .replace("newer-password", "newest-password"),
    );
    assert_eq!(applied(&site, "newest"), "Response");
    assert_eq!(applied(&site, "later"), "SignIn");
    assert_eq!((realm.resets(&later.id), realm.resets(&newer.id)), (1, 1));
    let reset = site.until("newer", "Superseded");
    assert_eq!(reset["status"]["outcome"], "Superseded");
    assert_eq!(site.reset("before")["status"]["outcome"], "Unknown");
}

/// Every call of an MFA reset is lost once, in either way: it is sent again until all is done.
#[test]
fn lost_answers_of_mfa() {
    let server = Keycloak::shared();
    let realm = server.realm(json!({}));
    let site = Site::start();
    let proxy = Proxy::start(&server.url, &[]);
    site.keycloak("acme", &realm, &proxy.url, json!({"limits": {"requestTimeout": "8s"}}));
    let credentials = realm_user("fay")["credentials"].clone();
    let mut rows = Vec::new();
    for action in [Action::DropRequest, Action::DropReply] {
        for call in 0..5 {
            let name = format!("{}-{call}", if action == Action::DropRequest { "before" } else { "after" });
            let id = realm.add_user(&name, json!({ "credentials": credentials }));
            let (method, path) = match call {
                0 => (Method::PUT, "/admin/realms/*/users/*".to_owned()),
                _ => (Method::DELETE, "/admin/realms/*/users/*/credentials/*".to_owned()),
            };
            let armed = proxy.arm(Rule { method, path, about: id.clone(), says: "", nth: call.max(1), action });
            rows.push(Row { name, id, armed });
        }
    }
    let _operator = site.operator();
    site.until_directory("acme", "Connected");
    let manifests: Vec<String> = rows.iter().map(|row| mfa("acme", &row.name, json!({}))).collect();
    site.apply(&manifests.join("\n---\n"));
    for row in &rows {
        println!("{}: {}", row.name, applied(&site, &row.name));
        assert!(row.armed.is_hit(), "{}", row.name);
        assert_eq!(realm.kinds(&row.id), ["password"], "{}", row.name);
        assert_eq!(realm.user(&row.name)["requiredActions"].as_array().unwrap().len(), 4, "{}", row.name);
    }
}
