//! What becomes of a request, and the commands that people run for it.
mod accounting;
mod auditor;
mod commands;
mod console_form;
mod habits;
mod incident;
mod injection;
mod password;
mod plan;
mod refusals;
mod set;
mod settle;

use serde_json::{Value, json};

use crate::support::{Site, TEAM, template};

fn user(name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name})
}

/// Hana is of the help desk: she may ask for resets in Directory zylker, and read delivered passwords.
fn help_desk(site: &Site) {
    let values = [
        format!("namespaces={}", json!([TEAM])),
        format!("passwordReaders={}", json!([user("hana")])),
        format!("access={}", json!([{"directory": "zylker", "verbs": ["use"], "subjects": [user("hana")]}])),
    ];
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let is_hers = |object: &Value| {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        name == "credreset-read-passwords" || name.starts_with("credreset-use-zylker")
    };
    let mut roles: Vec<Value> = template(&values).unwrap().into_iter().filter(is_hers).collect();
    assert_eq!(roles.len(), 4, "{roles:#?}");
    roles.push(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "test-request", "namespace": TEAM},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "credreset-request"},
        "subjects": [user("hana"), user("ina")],
    }));
    site.apply_own(roles);
}
