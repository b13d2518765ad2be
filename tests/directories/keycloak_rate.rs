//! How fast resets are on a real Keycloak, against a bare client that makes the same calls on the same server in the same run:
//! `make bench`.
use std::{fs, process::Command, sync::Arc};

use futures::{StreamExt, stream};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    applied,
    env::{Site, TEAM, path},
    keycloak_server::{Keycloak, Realm},
    password,
    proxy::Proxy,
};

const RESETS: usize = 200;
const AT_ONCE: usize = 8;
/// What is asked for, of the bare client's rate.
const LIMIT: f64 = 0.9;

/// Resets per second, from Keycloak's own times of the first and the last.
fn rate(realm: &Realm, ids: &[String]) -> f64 {
    let events = realm.get("/admin-events?operationTypes=ACTION&max=10000");
    let of_these = events.as_array().unwrap().iter().filter(|event| {
        let path = event["resourcePath"].as_str().unwrap();
        ids.iter().any(|id| *path == format!("users/{id}/reset-password"))
    });
    let times: Vec<i64> = of_these.map(|event| event["time"].as_i64().unwrap()).collect();
    assert_eq!(times.len(), ids.len(), "one reset each");
    let (first, last) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    #[allow(clippy::cast_precision_loss, reason = "milliseconds of a minute or so")]
    let seconds = (last - first) as f64 / 1000.0;
    f64::from(u32::try_from(times.len() - 1).unwrap()) / seconds
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
    let bare = Arc::new(Bare {
        client: reqwest::Client::builder().no_proxy().build().unwrap(),
        admin: format!("{}/admin/realms/{}", realm.server.url, realm.name),
        token: realm.operators_token(),
        manager: realm.client("realm-management"),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let resets = names.iter().cloned().map(|name| {
        let bare = Arc::clone(&bare);
        async move { bare.reset(&name).await }
    });
    let resets: Vec<_> = resets.collect();
    runtime.block_on(stream::iter(resets).buffer_unordered(AT_ONCE).collect::<Vec<()>>());
}

/// This process, and those that it starts from now on, run on this processor alone.
fn run_on(processor: usize) {
    let (processor, own) = (processor.to_string(), std::process::id().to_string());
    let done = Command::new("taskset").args(["--all-tasks", "--cpu-list", "--pid", &processor, &own]).output();
    assert!(done.expect("taskset").status.success(), "the benchmark needs two processors");
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
        let names: Vec<String> = (0..count).map(|n| format!("{kind}-{n:03}")).collect();
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
    let _operator = site.run(
        site.operator_command(std::path::Path::new(env!("CARGO_BIN_EXE_credreset")), "op", "info", None)
            .args(["--concurrency", &AT_ONCE.to_string()]),
    );
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
    let manifests: Vec<String> = names.iter().map(|name| password("acme", name, json!({}))).collect();
    site.apply(&manifests.join("\n---\n"));
    site.kubectl(&["patch", "directory", "acme", "--type=merge", "-p", r#"{"spec":{"suspend":false}}"#]);
    // By one process: the machine is needed otherwise.
    site.kubectl(&["wait", "--for=condition=Succeeded", "--timeout=300s", "creset", "--all", "-n", TEAM]);
    for name in &names {
        assert_eq!(applied(&site, name), "Response", "{name}");
    }
    bare(&realm, &after);
    let bare = f64::midpoint(rate(&realm, &before_ids), rate(&realm, &after_ids));
    let ours = rate(&realm, &ids);

    let one = realm.add_user("one", json!({}));
    site.apply(&password("counted", "one", json!({})));
    applied(&site, "one");
    let calls = proxy.calls().iter().filter(|call| call.contains(&one) || call.contains("username=one&")).count();
    let figures = json!([
        {"name": "resets on Keycloak, of a bare client's rate", "value": ours, "limit": bare, "ratio": ours / bare, "unit": "resets/s"},
        {"name": "calls to Keycloak per password reset", "value": calls, "limit": 7, "unit": "calls"},
    ]);
    println!("{figures:#}");
    println!("bare before {:.2}, after {:.2}", rate(&realm, &before_ids), rate(&realm, &after_ids));
    fs::write(path("target/benchmarks.json"), figures.to_string()).unwrap();
    assert!(ours / bare >= LIMIT && calls <= 7, "short of the limits");
}
