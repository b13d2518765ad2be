//! The custom resource definitions: those that kube derives from the types, with what the derive cannot express.
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::{CredentialReset, CredentialResetApproval, CredentialResetRecord, CredentialResetSettlement, Directory};

/// The custom resource definitions, as the chart installs them.
#[must_use]
pub fn definitions() -> Vec<Value> {
    [
        Directory::crd(),
        CredentialReset::crd(),
        CredentialResetApproval::crd(),
        CredentialResetSettlement::crd(),
        CredentialResetRecord::crd(),
    ]
    .into_iter()
    .map(complete)
    .collect()
}

/// Adds what the derive cannot express.
pub(super) fn complete(crd: CustomResourceDefinition) -> Value {
    let mut crd = serde_json::to_value(crd).unwrap_or_default();
    // Absent and null would mean the same, but rules with `has()` know only one of them.
    drop_nullable(&mut crd);
    // Uninstalling a chart must not delete the kinds, and every request and record with them.
    crd["metadata"]["annotations"]["helm.sh/resource-policy"] = json!("keep");
    if let Some(schema) = crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema") {
        // A rule with fieldPath .metadata.name is refused unless the schema has that field.
        schema["properties"]["metadata"] = json!({"type": "object", "properties": {"name": {"type": "string"}}});
        // The kind is described on the type of its spec; the derive gives the object a text of its own.
        schema["description"] =
            std::mem::replace(&mut schema["properties"]["spec"]["description"], json!("What is wanted."));
    }
    crd
}

fn drop_nullable(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("nullable");
            if let Some(Value::Array(values)) = map.get_mut("enum") {
                values.retain(|v| !v.is_null());
            }
            map.values_mut().for_each(drop_nullable);
        }
        Value::Array(values) => values.iter_mut().for_each(drop_nullable),
        _ => {}
    }
}
