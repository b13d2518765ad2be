//! The kinds of `credreset.dev/v1alpha1`.
#![allow(clippy::doc_markdown, reason = "these texts are what kubectl explain shows")]
#![allow(clippy::duplicated_attributes, reason = "printcolumn is there once for each column")]
pub mod approval;
pub mod directory;
pub mod record;
pub mod reset;
pub mod settlement;
pub mod validation;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

pub use approval::CredentialResetApproval;
pub use directory::Directory;
pub use record::CredentialResetRecord;
pub use reset::CredentialReset;
pub use settlement::CredentialResetSettlement;

/// The custom resource definitions as they are to be installed.
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
    .map(finished)
    .collect()
}

/// What the derive cannot express.
fn finished(crd: CustomResourceDefinition) -> Value {
    let mut crd = serde_json::to_value(crd).unwrap_or_default();
    // Absent and null would be two ways to say the same thing; rules on `has()` know one only.
    drop_nullable(&mut crd);
    // Uninstalling a chart must not delete the kinds, and every request and record with them.
    crd["metadata"]["annotations"]["helm.sh/resource-policy"] = json!("keep");
    if let Some(schema) = crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema") {
        // A rule with fieldPath .metadata.name is refused unless the schema has that field.
        schema["properties"]["metadata"] = json!({"type": "object", "properties": {"name": {"type": "string"}}});
        // What the kind is for stands on the spec's type; the whole object's own text is the derive's.
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

/// `2m`, `24h`, `1h30m`: a duration as the API writes it.
///
/// # Errors
/// Says what is wrong with `text`.
pub fn duration(text: &str) -> Result<jiff::SignedDuration, String> {
    text.parse().map_err(|_| format!("{text:?} is not a duration such as 90s, 5m or 24h"))
}
