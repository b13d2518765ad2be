//! The bare client: the operator's calls and nothing else.
use std::thread;

use kube::Client;
use serde_json::{Value, json};

use crate::{
    api_calls::ApiCalls,
    load::{self, Done},
    support::Site,
};

/// The calls that were made to the sandbox for one request.
pub struct SandboxCalls {
    http: reqwest::Client,
    url: String,
    token: String,
    calls: Vec<Value>,
}

impl SandboxCalls {
    /// Its last calls, up to and with the one that has reset the user: those since it looked the user up, which begins with the account of
    /// the address.
    pub fn last(site: &Site) -> Self {
        let url = site.sandbox.url.clone();
        let mut calls = site.sandbox.get("/sandbox/calls").as_array().unwrap().clone();
        let first = calls.iter().rposition(|call| call["kind"] == "role");
        calls.drain(..first.expect("a look-up"));
        let grant = "refresh_token=1000.sandbox-refresh-token&client_id=1000.SANDBOX&client_secret=sandbox-client-secret\
                     &grant_type=refresh_token";
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let asked = http
            .post(format!("{url}/oauth/v2/token"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(grant);
        let answer: Value = load::runtime().block_on(async { asked.send().await.unwrap().json().await.unwrap() });
        let token = answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        Self { http, url, token, calls }
    }

    pub async fn make(&self) {
        for call in &self.calls {
            let (method, path) = (call["method"].as_str().unwrap(), call["path"].as_str().unwrap());
            let list = path.ends_with("/users") || path.ends_with("/groups");
            let query = if list { "?page=1&per_page=200&include=emails" } else { "" };
            let request = self
                .http
                .request(method.parse().unwrap(), format!("{}{path}{query}", self.url))
                .header("authorization", format!("Zoho-oauthtoken {}", self.token));
            let fields = call["fields"].as_object().unwrap();
            let request = if fields.is_empty() {
                request
            } else {
                let mut body = call["fields"].clone();
                for (name, value) in body.as_object_mut().unwrap().iter_mut().filter(|(_, value)| value.is_string()) {
                    *value = json!(if name == "password" { "Of-a-bare-client-1" } else { "Sandbox-admin-pw-1" });
                }
                request.json(&body)
            };
            let answer = request.send().await.unwrap();
            assert!(answer.status().is_success(), "{method} {path}: {}", answer.status());
            answer.bytes().await.unwrap();
        }
    }
}

/// What a bare client makes for each request.
#[derive(Clone, Copy)]
pub struct Calls<'a> {
    pub api: &'a ApiCalls,
    pub directory: Option<&'a SandboxCalls>,
}

impl Calls<'_> {
    pub async fn make(self, client: &Client, name: &str) {
        if let Some(directory) = self.directory {
            directory.make().await;
        }
        self.api.make(client, name).await;
    }

    /// Makes them for each of these requests, for so many at once. Returns how many were done in a second, and how many seconds of
    /// a processor it took.
    pub fn work(self, site: &Site, done: &Done, names: &[String], at_once: usize) -> (f64, f64) {
        let kubeconfig = site.service_account(None);
        done.forget();
        thread::scope(|scope| {
            let clients = scope.spawn(|| {
                load::at_once(names, at_once, async |next| {
                    let client = load::client(&kubeconfig).await;
                    while let Some(name) = next() {
                        self.make(&client, name).await;
                    }
                })
            });
            let (rate, _) = done.rate(u32::try_from(names.len()).unwrap(), || 0.0);
            (rate, clients.join().unwrap())
        })
    }
}
