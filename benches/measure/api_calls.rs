//! What the operator asks of the API server for one request, so that a bare client can ask the same for others.
use std::{collections::BTreeMap, fmt};

use credreset::api::record::KEY_LABEL;
use kube::Client;
use serde_json::{Value, json};

use crate::{
    load,
    support::{Audited, SYSTEM, Site, TEAM, wait_for},
};

/// Its calls in their order, and objects as the operator left them, by what they are.
pub struct ApiCalls {
    calls: Vec<Audited>,
    left: BTreeMap<&'static str, Value>,
}

impl ApiCalls {
    /// Those of the operator that is at work, for `request`.
    pub fn of(site: &Site, request: &Value) -> Self {
        let name = request["metadata"]["name"].as_str().unwrap();
        let before = site.audit().len();
        load::create(site, vec![request.clone()]);
        site.until(name, "Applied");
        // The Event is the last thing that is written.
        wait_for("the Event", || Self::among(site, name, site.audit().split_off(before)))
    }

    /// `None`: there is no Event yet.
    fn among(site: &Site, name: &str, audited: Vec<Audited>) -> Option<Self> {
        let about_requests =
            ["credentialresets", "credentialresets/status", "credentialresetrecords", "secrets", "events"];
        let mut calls = audited;
        calls.retain(|call| {
            let own_list = call.verb == "list" && call.uri.contains("labelSelector=credreset.dev%2Frequest-key");
            about_requests.contains(&call.resource.as_str())
                && (own_list || !["watch", "list"].contains(&call.verb.as_str()))
        });
        let events = site.get(&["events.events.k8s.io", "-n", TEAM]);
        let mut event = events["items"].as_array()?.iter().find(|event| event["regarding"]["name"] == name)?.clone();
        // Those of the older kind of Event are for reading only.
        event.as_object_mut()?.retain(|field, _| !field.starts_with("deprecated"));
        calls.iter().find(|call| call.resource == "events")?;
        let records = site.records();
        let record = records.into_iter().find(|record| record["spec"]["request"]["name"] == name)?;
        let mut left = BTreeMap::from([
            ("events", event),
            ("credentialresetrecords", record),
            ("credentialresets/status", site.reset(name)),
        ]);
        if calls.iter().any(|call| call.resource == "secrets" && call.writes()) {
            left.insert("secrets", site.get(&["secret", "-n", TEAM, &format!("{name}-password")]));
        }
        Some(Self { calls, left })
    }

    /// Those that write.
    pub fn writes(&self) -> Self {
        let calls = self.calls.iter().filter(|call| call.writes()).cloned().collect();
        Self { calls, left: self.left.clone() }
    }

    /// The same calls, one after the other, for the request called `name`.
    pub async fn make(&self, client: &Client, name: &str) {
        let mut record = Value::Null;
        let last_write = self.calls.iter().rposition(|call| call.verb == "update");
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
                    let mut labels = body["metadata"]["labels"].take();
                    if !labels[KEY_LABEL].is_null() {
                        labels[KEY_LABEL] = json!(name);
                    }
                    body["metadata"] = json!({"name": one, "namespace": call.namespace, "labels": labels});
                    if resource == "credentialresetrecords" {
                        // As it was before the call.
                        let spec = body["spec"].as_object_mut().unwrap();
                        spec.retain(|field, _| field != "evidence" && field != "settledAt");
                        spec.insert("state".to_owned(), json!("Sent"));
                    }
                    ("POST", all)
                }
                "update" => {
                    let settled = std::mem::replace(&mut body, record.clone());
                    if last_write == Some(nth) {
                        body["spec"] = settled["spec"].clone();
                    } else {
                        // Or nothing would be written.
                        body["metadata"]["annotations"] = json!({"call": nth.to_string()});
                    }
                    ("PUT", format!("{all}/{one}"))
                }
                "patch" => {
                    let mut status = body["status"].take();
                    status["conditions"][0]["message"] = json!(format!("call {nth}"));
                    body = json!({"status": status});
                    ("PATCH", format!("{all}/{one}/{sub}"))
                }
                "list" => ("GET", format!("{all}?labelSelector={KEY_LABEL}%3D{name}")),
                "delete" => ("DELETE", format!("{all}/{one}")),
                _ => ("GET", format!("{all}/{one}")),
            };
            let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
            let body = if ["GET", "DELETE"].contains(&method) { Vec::new() } else { body.to_string().into_bytes() };
            let request =
                http::Request::builder().method(method).uri(path).header("content-type", kind).body(body).unwrap();
            match client.request::<Value>(request).await {
                Ok(object) if resource == "credentialresetrecords" && call.verb != "list" => record = object,
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
