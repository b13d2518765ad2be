//! What comes from outside, and may be anything: objects that people write, and a server that sends too much.
#![cfg(test)]
use serde_json::{Value, json};

#[path = "../support/mod.rs"]
mod support;

mod ldap;
mod objects;

/// A Directory object.
fn directory() -> Value {
    json!({
        "apiVersion": "credreset.dev/v1alpha1", "kind": "Directory", "metadata": {"name": "zylker"},
        "spec": {
            "provider": {"zoho": {
                "urls": {"accounts": "https://a.example", "api": "https://b.example/x", "mail": "https://c.example"},
                "organization": "70", "zoid": "80", "credentials": {"secret": "zylker-zoho"},
                "resetPassword": {"method": "POST", "path": "/v2/${user.id}", "body": {"password": "${password}", "list": ["${user.email}"]}},
                "lookUp": {"passwordChangedAt": "changed"}, "caBundle": null,
            }},
            "allow": [{
                "name": "staff", "namespaces": ["helpdesk"], "modes": ["Password"], "users": {"emailDomains": ["zylker.biz"]}, "maxValidFor": "24h",
                "approvals": {"count": 1, "distinctFromRequester": true},
                "namespaceSelector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]},
            }],
            "protect": {"users": ["ceo@zylker.biz"], "groups": ["Board"]},
            "limits": {"resetsPerHour": 20, "minIntervalPerUser": "5m", "requestTimeout": "15s"},
        },
    })
}
