//! What the operator asks of the API server for one request, so that a bare client can ask the same for others.
use std::{collections::BTreeMap, fmt, path::Path};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use crate::{
    asked,
    env::{Audited, SYSTEM, Site, TEAM, password_reset},
};

/// Its calls in their order, and objects as the operator left them, by what they are.
pub struct ApiCalls {
    calls: Vec<Audited>,
    left: BTreeMap<&'static str, Value>,
}

impl ApiCalls {
    /// Those for the request called `name`, among all that were audited. `None`: there is no Event yet, which comes last.
    pub fn of(site: &Site, name: &str, audited: Vec<Audited>) -> Option<Self> {
        let about_requests =
            ["credentialresets", "credentialresets/status", "credentialresetrecords", "secrets", "events"];
        let mut calls = audited;
        calls.retain(|call| {
            about_requests.contains(&call.resource.as_str()) && !["watch", "list"].contains(&call.verb.as_str())
        });
        let events = site.get(&["events.events.k8s.io", "-n", TEAM]);
        let mut event = events["items"].as_array()?.iter().find(|event| event["regarding"]["name"] == name)?.clone();
        // Those of the older kind of Event are for reading only.
        event.as_object_mut()?.retain(|field, _| !field.starts_with("deprecated"));
        calls.iter().find(|call| call.resource == "events")?;
        let records = site.records();
        let record = records.into_iter().find(|record| record["spec"]["request"]["name"] == name)?;
        let secret = site.get(&["secret", "-n", TEAM, &format!("{name}-password")]);
        let left = [
            ("events", event),
            ("credentialresetrecords", record),
            ("secrets", secret),
            ("credentialresets/status", site.reset(name)),
        ];
        Some(Self { calls, left: left.into() })
    }

    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Requests of these names, of which a status can be written. No operator is there.
    pub fn make_room(site: &Site, names: &[String]) {
        let request = |name: &String| asked(&password_reset(name, "", json!({})), "acme", name, json!({}));
        site.apply(&names.iter().map(request).collect::<Vec<_>>().join("\n---\n"));
    }

    pub async fn client(kubeconfig: &Path) -> Client {
        let config = Kubeconfig::read_from(kubeconfig).unwrap();
        Client::try_from(Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap()).unwrap()
    }

    /// The same calls, one after the other, for the request called `name`.
    pub async fn make(&self, client: &Client, name: &str) {
        let mut record = Value::Null;
        for (nth, call) in self.calls.iter().enumerate() {
            let (resource, sub) = call.resource.split_once('/').unwrap_or((&call.resource, ""));
            let group = match call.group.as_str() {
                "" => "/api/v1".to_owned(),
                "events.k8s.io" => "/apis/events.k8s.io/v1".to_owned(),
                group => format!("/apis/{group}/v1alpha1"),
            };
            let all = format!("{group}/namespaces/{}/{resource}", call.namespace);
            let one = if resource == "credentialresets" { name.to_owned() } else { format!("bare-{name}") };
            let mut body = self.left.get(call.resource.as_str()).cloned().unwrap_or_default();
            let (method, path) = match call.verb.as_str() {
                "create" => {
                    body["metadata"] =
                        json!({"name": one, "namespace": call.namespace, "labels": body["metadata"]["labels"]});
                    ("POST", all)
                }
                "update" => {
                    body = record.clone();
                    // Or nothing would be written.
                    body["metadata"]["annotations"] = json!({"call": nth.to_string()});
                    ("PUT", format!("{all}/{one}"))
                }
                "patch" => {
                    let mut status = body["status"].take();
                    status["conditions"][0]["message"] = json!(format!("call {nth}"));
                    body = json!({"status": status});
                    ("PATCH", format!("{all}/{one}/{sub}"))
                }
                verb => (if verb == "delete" { "DELETE" } else { "GET" }, format!("{all}/{one}")),
            };
            let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
            let body = if ["GET", "DELETE"].contains(&method) { Vec::new() } else { body.to_string().into_bytes() };
            let request =
                http::Request::builder().method(method).uri(path).header("content-type", kind).body(body).unwrap();
            match client.request::<Value>(request).await {
                Ok(object) if resource == "credentialresetrecords" => record = object,
                Ok(_) => {}
                Err(kube::Error::Api(status)) if u64::from(status.code) == call.code => {}
                Err(error) => panic!("{} {}: {error}", call.verb, call.resource),
            }
        }
    }
}

impl fmt::Display for ApiCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = self.calls.iter().map(|call| {
            let place = if call.namespace == SYSTEM { "own " } else { "" };
            format!("{} {place}{}", call.verb, call.resource)
        });
        f.write_str(&calls.collect::<Vec<_>>().join(", "))
    }
}
