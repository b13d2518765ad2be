//! Keycloak's replies are lost at each place on their way: the outcome that the operator reports matches Keycloak's own events.
use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
};

use http::Method;
use serde_json::{Value, json};

use crate::{
    applied, delivered,
    keycloak_server::{Keycloak, Realm, realm_user},
    password,
    proxy::{Action, Armed, Proxy, Rule},
    support::{SYSTEM, Site, condition, message, wait_for},
};

const MUST_CHANGE: &str = "Account is not fully set up";

/// The nth call of this method to this place below the user meets this.
fn rule(method: Method, below: &str, user: &str, nth: usize, action: Action) -> Rule {
    Rule { method, path: format!("/admin/realms/*/users/*/{below}"), about: user.to_owned(), body_has: "", nth, action }
}

/// A user and what befalls the one call.
struct Row<'a> {
    realm: &'a Realm,
    directory: &'static str,
    name: String,
    id: String,
    armed: Arc<Armed>,
}

/// The operator with its Directories: `acme`, which waits long for an answer, `hasty`, which does not, and two that name no client
/// to sign in with: `patient` and `without`, which is hasty.
struct Suite {
    realm: Realm,
    other: Realm,
    site: Site,
    proxy: Proxy,
}

impl Suite {
    fn start() -> Self {
        let server = Keycloak::shared();
        // A call that is held arrives with the token that it was sent with, however long the others take.
        let realm_of = || server.realm(json!({"accessTokenLifespan": 3600}));
        let (realm, other) = (realm_of(), realm_of());
        let site = Site::start();
        let proxy = Proxy::start(&server.url, &[]);
        let spec = |timeout: &str, client: Value| json!({"provider": {"keycloak": {"signInClient": client}}, "limits": {"requestTimeout": timeout}});
        site.keycloak("acme", &realm, &proxy.url, spec("60s", json!("shop")));
        site.keycloak("hasty", &realm, &proxy.url, spec("8s", json!("shop")));
        site.keycloak("patient", &other, &proxy.url, spec("60s", Value::Null));
        site.keycloak("without", &other, &proxy.url, spec("8s", Value::Null));
        Self { realm, other, site, proxy }
    }

    fn row(&self, directory: &'static str, name: &str, action: Action) -> Row<'_> {
        self.row_of(directory, name, action, json!({}))
    }

    fn row_of(&self, directory: &'static str, name: &str, action: Action, user: Value) -> Row<'_> {
        let realm = if ["patient", "without"].contains(&directory) { &self.other } else { &self.realm };
        let id = realm.add_user(name, user);
        let rule = rule(Method::PUT, "reset-password", &id, 1, action);
        Row { realm, directory, name: name.to_owned(), id, armed: self.proxy.arm(rule) }
    }

    fn apply<'a>(&self, rows: impl IntoIterator<Item = &'a Row<'a>>, patch: Value) {
        let manifests: Vec<String> =
            rows.into_iter().map(|row| password(row.directory, &row.name, patch.clone())).collect();
        self.site.apply(&manifests.join("\n---\n"));
    }
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

/// Waits until the outcome is known to be unknown; returns the message.
fn unknown(site: &Site, name: &str) -> String {
    let reset = site.until(name, "OutcomeUnknown");
    assert_eq!(reset["status"]["outcome"], "Unknown", "{name}");
    let msg = message(&reset);
    println!("{name}: {msg}");
    msg
}

#[test]
fn lost_answers() {
    let suite = Suite::start();
    let Suite { realm, site, proxy, .. } = &suite;
    let whole = size_of_reply(realm, proxy);
    println!("the reply has {whole} bytes");
    let mut taken: Vec<Row> =
        (0..20).map(|n| suite.row("acme", &format!("cut-{n:02}"), Action::CutAt(n * whole / 20))).collect();
    taken.push(suite.row("acme", "after", Action::DropReply));
    // No user can sign in for these: there is no client to do it by, or a code would be needed.
    taken.push(suite.row("patient", "unasked", Action::DropReply));
    taken.push(suite.row("patient", "half", Action::CutAt(whole / 2)));
    let coded = json!({"credentials": realm_user("bob")["credentials"]});
    taken.push(suite.row_of("acme", "coded", Action::DropReply, coded));
    let coincident = suite.row("hasty", "coincident", Action::HoldRequest);
    let before = suite.row("hasty", "before", Action::DropRequest);
    let newer = suite.row("hasty", "newer", Action::DropRequest);
    let late = suite.row("hasty", "late", Action::HoldRequest);
    let later = suite.row("hasty", "later", Action::HoldRequest);
    let unproven = suite.row("without", "unproven", Action::HoldRequest);
    let overtaken = [
        suite.row("hasty", "overtaken", Action::DropReply),
        suite.row("hasty", "mistaken", Action::DropRequest),
        suite.row("without", "confused", Action::DropReply),
    ];
    let looks = overtaken
        .each_ref()
        .map(|row| proxy.arm_after(&row.armed, rule(Method::GET, "credentials", &row.id, 1, Action::HoldRequest)));
    let _operator = site.operator();
    for name in ["acme", "hasty", "patient", "without"] {
        site.until_directory(name, "Connected");
    }
    suite.apply(taken.iter().chain([&before, &newer, &late, &unproven, &coincident]).chain(&overtaken), json!({}));
    // Such a password can be signed in with.
    suite.apply([&later], json!({"password": {"forceChangeOnLogin": false}}));

    // A colleague comes while the call is under way, which never arrives.
    wait_for("the call", || coincident.armed.is_hit().then_some(()));
    coincident.realm.reset_by_hand(&coincident.id, "By-a-colleague-1");
    coincident.armed.lose();
    // And one between the call and the look that follows, however long that takes.
    for (row, look) in overtaken.iter().zip(&looks) {
        wait_for(&format!("a look at {}", row.name), || (look.is_hit() && row.armed.is_hit()).then_some(()));
        row.realm.reset_by_hand(&row.id, "By-a-colleague-1");
        look.release();
    }
    // Let through once no client waits for it any more, in general while its effect is still looked for.
    for row in [&late, &unproven] {
        wait_for(&format!("a given-up call for {}", row.name), || {
            let (_, reason) = condition(&site.reset(&row.name), "Ready")?;
            ["Verifying", "OutcomeUnknown"].contains(&reason.as_str()).then_some(())
        });
        row.armed.release();
    }
    for Row { realm, directory, name, id, armed } in &taken {
        let evidence = if *directory == "patient" || name == "coded" { "Marker" } else { "SignIn" };
        assert_eq!(applied(site, name), evidence, "{name}");
        assert!(armed.is_hit(), "{name}");
        assert_eq!(realm.resets(id), 1, "{name}");
    }
    assert_eq!(applied(site, "late"), "SignIn");
    assert_eq!(realm.resets(&late.id), 1);
    assert_eq!(realm.sign_in("late", &delivered(site, "late")), MUST_CHANGE);

    steps_after_the_call_fail(&suite);

    for row in [&before, &newer, &later] {
        let printed = unknown(site, &row.name);
        assert!(printed.contains("unchanged since"), "{printed}");
        assert_eq!(realm.resets(&row.id), 0, "{}", row.name);
        assert_eq!(realm.sign_in(&row.name, &format!("{}-old-1", row.name)), "signed in");
    }
    for row in overtaken.iter().chain([&unproven]) {
        let printed = unknown(site, &row.name);
        assert!(printed.contains("by the call, arriving late, or by another change"), "{printed}");
    }
    unknown(site, "coincident");
    assert_eq!((realm.resets(&coincident.id), realm.failures(&coincident.id)), (1, 1));
    // It may be in force, and is.
    assert_eq!(unproven.realm.sign_in("unproven", &kept(site, "unproven")), MUST_CHANGE);
    assert_eq!(overtaken.each_ref().map(|row| row.realm.resets(&row.id)), [2, 1, 2]);
    // Signed in once: more would lock the user out.
    assert_eq!(overtaken.each_ref().map(|row| row.realm.failures(&row.id)), [1, 1, 0]);
    becomes_known(&suite, &newer, &later);
    assert_eq!(site.reset("before")["status"]["outcome"], "Unknown");
}

/// A call that arrives very late, and one that never did and is asked for anew.
fn becomes_known(Suite { realm, site, .. }: &Suite, newer: &Row, later: &Row) {
    later.armed.release();
    let newest = json!({"user": {"username": "newer"}});
    site.apply(&password("acme", "newest", newest));
    assert_eq!(applied(site, "newest"), "Response");
    assert_eq!(applied(site, "later"), "SignIn");
    assert_eq!((realm.resets(&later.id), realm.resets(&newer.id)), (1, 1));
    let sessions = realm.get(&format!("/users/{}/sessions", later.id));
    assert_eq!(sessions, json!([]), "the sign-in that proved it has left none");
    assert_eq!(realm.sign_in("later", &delivered(site, "later")), "signed in");
    let reset = site.until("newer", "Superseded");
    assert_eq!(reset["status"]["outcome"], "Superseded");
}

/// What is to be ended after the call cannot be for a while: the reset is in force, and its password has been delivered.
fn steps_after_the_call_fail(Suite { realm, site, proxy, .. }: &Suite) {
    let mut rows = Vec::new();
    for (name, place) in [
        ("listing", "users/*/sessions"),
        ("ending", "sessions/*"),
        ("unlocking", "attack-detection/brute-force/users/*"),
    ] {
        let id = realm.add_user(name, json!({}));
        let mut browser = realm.browser();
        assert_eq!(browser.sign_in(name, &format!("{name}-old-1")), "signed in");
        let session = realm.get(&format!("/users/{id}/sessions"))[0]["id"].as_str().unwrap().to_owned();
        let method = if name == "listing" { Method::GET } else { Method::DELETE };
        let about = if name == "ending" { session } else { id.clone() };
        let path = format!("/admin/realms/*/{place}");
        let armed = proxy.arm(Rule { method, path, about, body_has: "", nth: 0, action: Action::Answer(500) });
        rows.push((name, id, browser, armed));
    }
    let manifests: Vec<String> = rows.iter().map(|(name, ..)| password("acme", name, json!({}))).collect();
    site.apply(&manifests.join("\n---\n"));
    for (name, id, browser, armed) in &mut rows {
        let msg = message(&site.until(name, "Finishing"));
        println!("{name}: {msg}");
        assert!(msg.contains("The reset is in force, but") && msg.contains("not"), "{msg}");
        assert_eq!(realm.sign_in(name, &delivered(site, name)), MUST_CHANGE, "{name}");
        // What cannot be ended keeps nothing else from being ended.
        assert_eq!(browser.is_signed_in(), *name != "unlocking", "{name}");
        armed.disarm();
        assert_eq!(applied(site, name), "Response", "{name}");
        assert!(!browser.is_signed_in(), "{name}");
        assert_eq!(realm.resets(id), 1, "{name}");
    }
}
