//! How fast resets are on a real Keycloak, against a bare client that makes the same calls on the same server in the same run:
//! `make bench`.
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    applied,
    env::Site,
    keycloak_server::{Keycloak, Realm},
    password,
    proxy::Proxy,
    rate::{self, RESETS, run_on},
};

/// What is asked for, of the bare client's rate.
const LIMIT: f64 = 0.9;

/// Resets per second, from Keycloak's own times.
fn rate(realm: &Realm, ids: &[String]) -> f64 {
    let events = realm.get("/admin-events?operationTypes=ACTION&max=10000");
    let of_these = events.as_array().unwrap().iter().filter(|event| {
        let path = event["resourcePath"].as_str().unwrap();
        ids.iter().any(|id| *path == format!("users/{id}/reset-password"))
    });
    let times: Vec<f64> = of_these.map(|event| event["time"].as_f64().unwrap() / 1000.0).collect();
    assert_eq!(times.len(), ids.len(), "one reset each");
    rate::rate(&times)
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
    rate::at_once(names, async |next| {
        while let Some(name) = next() {
            bare.reset(name).await;
        }
    });
}

#[test]
#[ignore = "a benchmark: make bench"]
fn benchmark() {
    // Keycloak has a processor of its own, as it has machines of its own: what is compared is how busy it is kept.
    run_on(0);
    let server = Keycloak::own();
    run_on(1);
    let realm = server.realm(json!({}));
    let users = |kind: &str, count: usize| -> (Vec<String>, Vec<String>) {
        let names = rate::names(kind, count);
        let ids = names.iter().map(|name| realm.add_user(name, json!({}))).collect();
        (names, ids)
    };
    let site = Site::start();
    let proxy = Proxy::start(&server.url, &[]);
    let timeout = json!({"limits": {"requestTimeout": "60s"}});
    // Suspended, so that all requests are there before the first is carried out.
    let mut suspended = timeout.clone();
    suspended["suspend"] = json!(true);
    site.keycloak("acme", &realm, &server.url, suspended);
    site.keycloak("counted", &realm, &proxy.url, timeout);
    let _operator = rate::operator(&site);
    for name in ["acme", "counted"] {
        site.until_directory(name, "Connected");
    }
    // The server is warm before anything counts.
    let (names, _) = users("warm", 60);
    bare(&realm, &names);
    let (before, before_ids) = users("before", RESETS / 2);
    let (names, ids) = users("operator", RESETS);
    let (after, after_ids) = users("after", RESETS / 2);
    bare(&realm, &before);
    rate::carry_out(&site, "acme", &names, &json!({}));
    bare(&realm, &after);
    let bare = f64::midpoint(rate(&realm, &before_ids), rate(&realm, &after_ids));
    let ours = rate(&realm, &ids);

    let one = realm.add_user("one", json!({}));
    site.apply(&password("counted", "one", json!({})));
    applied(&site, "one");
    let calls = proxy.calls().iter().filter(|call| call.contains(&one) || call.contains("username=one&")).count();
    rate::report(&[
        json!({"name": "resets on Keycloak, of a bare client's rate", "value": ours, "limit": bare, "ratio": ours / bare, "unit": "resets/s"}),
        json!({"name": "calls to Keycloak per password reset", "value": calls, "limit": 7, "unit": "calls"}),
    ]);
    println!("bare before {:.2}, after {:.2}", rate(&realm, &before_ids), rate(&realm, &after_ids));
    assert!(ours / bare >= LIMIT && calls <= 7, "short of the limits");
}
