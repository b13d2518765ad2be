//! The objects that tests apply and read.
use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{LABEL, TEAM, merge};

/// `seconds` from now, precise enough that no two requests of a test share it.
pub fn time(seconds: i64) -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds)).to_string()
}

/// A request for a generated password, delivered to Secret `NAME-password`, asked for a moment ago; `patch` is merged into it.
pub fn password_reset(name: &str, email: &str, patch: Value) -> String {
    let mut object = json!({
        "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialReset",
        "metadata": {"name": name, "namespace": TEAM, "labels": {LABEL: ""}},
        "spec": {
            "directory": "zylker", "user": {"email": email}, "mode": "Password",
            "password": {"generate": {"length": 20}, "deliverTo": {"secret": format!("{name}-password")}},
            "requestedAt": time(-1), "reason": "Locked out, HELP-4711",
        },
    });
    merge(&mut object, patch);
    object.to_string()
}

/// A request for an MFA reset; `patch` is merged into it.
pub fn mfa_reset(name: &str, email: &str, patch: Value) -> String {
    let mut object = json!({
        "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialReset",
        "metadata": {"name": name, "namespace": TEAM, "labels": {LABEL: ""}},
        "spec": {
            "directory": "zylker", "user": {"email": email}, "mode": "MFA", "mfa": {"confirm": email},
            "requestedAt": time(-1), "reason": "Lost her phone, HELP-4712",
        },
    });
    merge(&mut object, patch);
    object.to_string()
}

/// A condition of a request, as (status, reason).
pub fn condition(object: &Value, kind: &str) -> Option<(String, String)> {
    let all = object["status"]["conditions"].as_array()?;
    let found = all.iter().find(|c| c["type"] == kind)?;
    Some((found["status"].as_str()?.to_owned(), found["reason"].as_str()?.to_owned()))
}

/// The message of a request's `Ready` condition.
pub fn message(object: &Value) -> String {
    let all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    all.iter().find(|c| c["type"] == "Ready").and_then(|c| c["message"].as_str()).unwrap_or_default().to_owned()
}

/// The rules of a Role or `ClusterRole` as (group, resource, verb).
pub fn rules(document: &Value) -> BTreeSet<(String, String, String)> {
    let mut all = BTreeSet::new();
    let texts =
        |value: &Value| value.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    for rule in document["rules"].as_array().into_iter().flatten() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    all.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    all
}
