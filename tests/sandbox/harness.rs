//! A sandbox for each test, and functions that call it.
use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use credreset::sandbox::{self, ADMIN_PASSWORD, CLIENT_ID, CLIENT_SECRET, Options, REFRESH_TOKEN};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, redirect};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

pub const USERS: &str = "/directory/api/v2/orgs/700012345/users";
pub const ANNETTE: &str = "/directory/api/v2/orgs/700012345/users/700012399";
pub const ANNETTE_ACCOUNT: &str = "/api/organization/800012345/accounts/800012399";
pub const NEW: &str = "Correct-horse-9";

/// A server of its own for each test; ends with it.
pub struct Sandbox {
    pub url: String,
    pub http: Client,
    task: JoinHandle<Result<(), sandbox::Error>>,
    shutdown: DropGuard,
}

impl Sandbox {
    pub async fn start(options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(sandbox::serve(options, listener, shutdown.clone()));
        let http = Client::builder().no_proxy().redirect(redirect::Policy::none()).build().unwrap();
        Self { url, http, task, shutdown: shutdown.drop_guard() }
    }

    pub async fn new() -> Self {
        Self::start(Options::default()).await
    }

    pub async fn stop(self) {
        drop(self.shutdown);
        self.task.await.unwrap().unwrap();
    }

    /// Asks for a token, with one field of the form changed.
    pub async fn token_reply(&self, changed: &str, value: &str) -> (StatusCode, Value) {
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", CLIENT_ID),
            ("client_secret", CLIENT_SECRET),
            ("refresh_token", REFRESH_TOKEN),
        ]
        .map(|(name, default)| (name, if name == changed { value } else { default }));
        let reply = self.http.post(format!("{}/oauth/v2/token", self.url)).form(&form).send().await.unwrap();
        (reply.status(), reply.json().await.unwrap())
    }

    pub async fn token(&self) -> String {
        let (_, reply) = self.token_reply("", "").await;
        reply["access_token"].as_str().expect("a token").to_owned()
    }

    pub fn request(&self, token: &str, method: Method, path: &str, body: Value) -> RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if !token.is_empty() {
            request = request.header("Authorization", format!("Zoho-oauthtoken {token}"));
        }
        match body {
            Value::Null => request,
            body => request.json(&body),
        }
    }

    pub async fn send(&self, token: &str, method: Method, path: &str, body: Value) -> reqwest::Result<Response> {
        self.request(token, method, path, body).send().await
    }

    /// Waits until so many calls of a kind have arrived.
    pub async fn received(&self, call: &str, count: u64) {
        while self.show("/counts").await[call].as_u64().unwrap() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn call(&self, token: &str, method: Method, path: &str, body: Value) -> (u16, Value) {
        let reply = self.send(token, method, path, body).await.unwrap();
        (reply.status().as_u16(), reply.json().await.unwrap())
    }

    pub async fn get(&self, token: &str, path: &str) -> (u16, Value) {
        self.call(token, Method::GET, path, Value::Null).await
    }

    pub async fn control(&self, method: Method, path: &str, body: Value) -> Value {
        let reply = self.send("", method.clone(), &format!("/sandbox{path}"), body).await.unwrap();
        let (status, text) = (reply.status(), reply.text().await.unwrap());
        assert!(status.is_success(), "{method} {path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub async fn show(&self, path: &str) -> Value {
        self.control(Method::GET, path, Value::Null).await
    }

    pub async fn annette(&self) -> Value {
        self.show("/users/700012399").await
    }

    pub async fn fault(&self, call: &str, mut fault: Value) {
        fault["call"] = call.into();
        self.control(Method::POST, "/faults", json!([fault])).await;
    }

    pub async fn set_scopes(&self, scopes: &str) {
        let request = self.http.post(format!("{}/sandbox/scopes", self.url)).json(scopes);
        request.send().await.unwrap().error_for_status().unwrap();
    }

    pub async fn sign_in(&self, email: &str, password: &str) -> String {
        let reply = self.control(Method::POST, "/sign-in", json!({"email": email, "password": password})).await;
        reply["result"].as_str().unwrap().to_owned()
    }

    pub async fn reset_password(&self, token: &str) -> reqwest::Result<Response> {
        self.send(token, Method::POST, &format!("{ANNETTE}/password"), reset(NEW)).await
    }

    pub async fn page(&self) -> String {
        self.page_with(&[]).await
    }

    pub async fn page_with(&self, query: &[(&str, &str)]) -> String {
        self.http.get(&self.url).query(query).send().await.unwrap().text().await.unwrap()
    }

    /// Presses a button of the page, as a browser does on a page of this kind of site. The page is not loaded again.
    pub async fn click(&self, call: &str, fault: &str, site: &str) -> StatusCode {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let form = [("call", call), ("fault", fault)];
        let request = client.post(format!("{}/faults", self.url)).header("sec-fetch-site", site).form(&form);
        request.send().await.unwrap().status()
    }
}

pub fn reset(password: &str) -> Value {
    json!({
        "password": password,
        "force_change": true,
        "clear_mobile_sessions_and_api_tokens": true,
        "email_user": true,
        "admin_password": ADMIN_PASSWORD,
    })
}

/// A file name of its own, removed at the end.
pub struct TempFile(pub PathBuf);

impl TempFile {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("credreset-sandbox-{}-{number}.json", std::process::id())))
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
