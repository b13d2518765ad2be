//! How fast passwords are reset on a real Keycloak, over the rate of a bare client that makes the same calls on the same server.
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    figures::{Figure, Figures, Goal, Progress},
    keycloak_server::{Keycloak, Realm},
    load::{self, Done, run_on},
    proxy::Proxy,
    support::Site,
};

const ROUNDS: usize = 5;
/// In each round, by operator and by bare client.
const RESETS: usize = 60;
/// As many as the operator carries out at once.
const AT_ONCE: usize = 8;

/// Resets per second, from Keycloak's own times.
fn rate(realm: &Realm, ids: &[String]) -> f64 {
    let events = realm.get("/admin-events?operationTypes=ACTION&max=10000");
    let of_these = events.as_array().unwrap().iter().filter(|event| {
        let path = event["resourcePath"].as_str().unwrap();
        ids.iter().any(|id| *path == format!("users/{id}/reset-password"))
    });
    let times: Vec<f64> = of_these.map(|event| event["time"].as_f64().unwrap() / 1000.0).collect();
    assert_eq!(times.len(), ids.len(), "one reset each");
    load::rate(&times)
}

/// The calls of the operator, and nothing else.
struct Bare {
    client: reqwest::Client,
    admin: String,
    token: String,
    manager: String,
}

impl Bare {
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let request = self.client.request(method, format!("{}{path}", self.admin)).bearer_auth(&self.token);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let response = request.send().await.unwrap();
        assert!(response.status().is_success(), "{path}: {}", response.status());
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default()
    }

    async fn reset(&self, name: &str) {
        let found = self.call(Method::GET, &format!("/users?username={name}&exact=true"), None).await;
        let id = found[0]["id"].as_str().unwrap();
        let (credentials, groups) =
            (format!("/users/{id}/credentials"), format!("/users/{id}/groups?briefRepresentation=true"));
        let roles = format!("/users/{id}/role-mappings/clients/{}/composite?briefRepresentation=true", self.manager);
        tokio::join!(
            self.call(Method::GET, &credentials, None),
            self.call(Method::GET, &roles, None),
            self.call(Method::GET, &groups, None),
        );
        let password = json!({"type": "password", "value": format!("Of-{name}-a-new-one-1"), "temporary": true});
        self.call(Method::PUT, &format!("/users/{id}/reset-password"), Some(password)).await;
        self.call(Method::DELETE, &format!("/attack-detection/brute-force/users/{id}"), None).await;
        self.call(Method::GET, &format!("/users/{id}/sessions"), None).await;
    }
}

fn bare(realm: &Realm, names: &[String]) {
    let bare = Bare {
        client: reqwest::Client::builder().no_proxy().build().unwrap(),
        admin: format!("{}/admin/realms/{}", realm.server.url, realm.name),
        token: realm.operators_token(),
        manager: realm.client("realm-management"),
    };
    load::at_once(names, AT_ONCE, async |next| {
        while let Some(name) = next() {
            bare.reset(name).await;
        }
    });
}

/// The bare client does what the operator does.
fn counted(site: &Site, realm: &Realm) {
    let proxy = Proxy::start(&realm.server.url, &[]);
    site.keycloak("counted", realm, &proxy.url, json!({}));
    let id = realm.add_user("counted", json!({}));
    let operator = load::operator(site, "op");
    load::create(site, vec![load::password("counted", "counted", json!({}))]);
    site.until("counted", "Applied");
    assert_eq!(operator.stop(), Some(0));
    let calls = proxy.calls().iter().filter(|call| call.contains(&id) || call.contains("username=counted&")).count();
    assert_eq!(calls, 7, "{:?}", proxy.calls());
    site.kubectl(&["delete", "directory", "counted"]);
}

pub fn measure(figures: &mut Figures) {
    let mut progress = Progress::begin(&format!("keycloak_rate: {ROUNDS} rounds of {RESETS}, {AT_ONCE} at once"));
    // Keycloak has a processor of its own, as it has machines of its own: what is compared is how busy it is kept.
    run_on(Some(0));
    let server = Keycloak::own();
    run_on(Some(1));
    // Its passwords are hashed as they are elsewhere.
    let realm = server.realm(json!({"passwordPolicy": "length(8) and passwordHistory(3)"}));
    let users = |kind: &str| -> (Vec<String>, Vec<String>) {
        let names = load::names(kind, RESETS);
        let ids = names.iter().map(|name| realm.add_user(name, json!({}))).collect();
        (names, ids)
    };
    let site = load::site(&[]);
    let limits = json!({"requestTimeout": "60s", "resetsPerHour": 100_000});
    site.keycloak("acme", &realm, &server.url, json!({ "limits": limits }));
    let done = Done::watch(&site);
    counted(&site, &realm);
    // The server is warm before anything counts.
    bare(&realm, &users("warm").0);
    progress.report("Keycloak is there and warm");
    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        let (names, bare_ids) = users(&format!("bare{round}"));
        bare(&realm, &names);
        let (names, ids) = users(&format!("op{round}"));
        let requests = names.iter().map(|name| load::password("acme", name, json!({}))).collect();
        load::carry_out(&site, &done, requests);
        let both = (rate(&realm, &ids), rate(&realm, &bare_ids));
        progress.report(&format!("round {round}: operator {:.1}/s, bare client {:.1}/s", both.0, both.1));
        rounds.push(both);
    }
    run_on(None);
    figures.add(Figure { name: "keycloak_rate", unit: "resets/s", rounds, goal: Goal::Ratio(0.9) });
}
