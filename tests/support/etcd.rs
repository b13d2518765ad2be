//! Objects that tests write directly into etcd: resets of the past, and objects that admission would refuse.
use std::{collections::BTreeMap, ops::Range, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::Site;

/// etcd's limit for one transaction (`--max-txn-ops`).
const AT_ONCE: usize = 128;
/// How the names of requests begin that carry much.
const LADEN: &str = "laden-";
/// Where the API server keeps them.
const KINDS: [&str; 2] = ["credentialresets", "credentialresetrecords"];

/// By its JSON gateway: a hundred thousand objects would take the API server a quarter of an hour.
pub struct Etcd {
    runtime: Runtime,
    http: reqwest::Client,
    /// A settled request and its record, as an operator left them, by what they are.
    model: BTreeMap<&'static str, (String, String)>,
}

impl Etcd {
    /// Of a cluster of the tests' own with one reset, the model of all others.
    pub fn of(site: &Site) -> Self {
        let socket = site.kubeconfig().parent().unwrap().join("etcd.sock");
        let http = reqwest::Client::builder().unix_socket(socket).no_proxy().build().unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let mut etcd = Self { runtime, http, model: BTreeMap::new() };
        for kind in KINDS {
            let prefix = format!("/registry/credreset.dev/{kind}/");
            let end = format!("/registry/credreset.dev/{kind}0");
            let answer = etcd.post("range", json!({"key": encode(&prefix), "range_end": encode(&end)}));
            let [one] = answer["kvs"].as_array().unwrap().as_slice() else { panic!("{answer}") };
            etcd.model.insert(kind, (decode(&one["key"]), decode(&one["value"])));
        }
        etcd
    }

    fn post(&self, what: &str, body: Value) -> Value {
        self.runtime.block_on(async {
            let answer = self.http.post(format!("http://localhost/v3/kv/{what}")).json(&body).send().await.unwrap();
            assert!(answer.status().is_success(), "etcd: {}", answer.text().await.unwrap());
            answer.json().await.unwrap()
        })
    }

    /// Copies of the model, of which nothing but the names and ids differ. They are of yesterday.
    pub fn copy(&self, numbers: Range<usize>) {
        let yesterday = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24);
        let puts: Vec<Value> = numbers
            .flat_map(|n| {
                self.model.values().map(move |(key, value)| {
                    let mut object: Value = serde_json::from_str(value).unwrap();
                    let name = format!("{}-{n:06}", object["metadata"]["name"].as_str().unwrap());
                    let key = format!("{}/{name}", Path::new(key).parent().unwrap().display());
                    let metadata = object["metadata"].as_object_mut().unwrap();
                    metadata["uid"] = json!(format!("00000000-0000-4000-8000-{n:012}"));
                    metadata["name"] = json!(name);
                    metadata["creationTimestamp"] = json!(yesterday.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
                    if let Some(labels) = metadata.get_mut("labels") {
                        labels["credreset.dev/hour"] = json!("2026010100");
                        labels["credreset.dev/request-key"] = json!(format!("{n:040}"));
                    }
                    json!({"request_put": {"key": encode(&key), "value": encode(&object.to_string())}})
                })
            })
            .collect();
        for some in puts.chunks(AT_ONCE) {
            self.post("txn", json!({ "success": some }));
        }
    }

    /// Open requests for Directory `directory`, and as many approvals of the model, each with these labels.
    pub fn lade(&self, numbers: Range<usize>, directory: &str, labels: &Value) {
        let (key, value) = &self.model["credentialresets"];
        let mut request: Value = serde_json::from_str(value).unwrap();
        request.as_object_mut().unwrap().remove("status");
        request["metadata"].as_object_mut().unwrap().remove("managedFields");
        request["metadata"]["labels"] = labels.clone();
        let mut approval = request.clone();
        approval["kind"] = json!("CredentialResetApproval");
        approval["spec"] = json!({
            "request": request["metadata"]["name"], "directory": directory, "digest": "0".repeat(64), "approver": "olga", "withdrawn": false,
        });
        request["spec"]["directory"] = json!(directory);
        let folder = Path::new(key).parent().unwrap().display().to_string();
        for number in numbers {
            for (object, folder) in [
                (&mut request, folder.clone()),
                (&mut approval, folder.replace("/credentialresets/", "/credentialresetapprovals/")),
            ] {
                let name = format!("{LADEN}{number:06}");
                object["metadata"]["name"] = json!(name);
                object["metadata"]["uid"] = json!(format!("00000000-0000-4000-9000-{number:012}"));
                self.post(
                    "put",
                    json!({"key": encode(&format!("{folder}/{name}")), "value": encode(&object.to_string())}),
                );
            }
        }
    }

    /// Deletes what [`Etcd::lade`] has made.
    pub fn unlade(&self) {
        let folder = Path::new(&self.model["credentialresets"].0).parent().unwrap().display().to_string();
        for folder in [folder.clone(), folder.replace("/credentialresets/", "/credentialresetapprovals/")] {
            let [first, end] = ["", "~"].map(|last| encode(&format!("{folder}/{LADEN}{last}")));
            self.post("deleterange", json!({"key": first, "range_end": end}));
        }
    }

    /// Bytes of one settled reset: request and record, with their keys.
    pub fn size(&self) -> f64 {
        let bytes = self.model.values().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        f64::from(u32::try_from(bytes).unwrap())
    }
}

fn encode(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}

fn decode(value: &Value) -> String {
    String::from_utf8(BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap()).unwrap()
}
