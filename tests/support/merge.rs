//! Merge patches, for the differences of a test from an example.
use serde_json::{Value, json};

/// Applies a JSON merge patch (RFC 7386).
pub fn merge(target: &mut Value, patch: Value) {
    match patch {
        Value::Object(fields) => {
            if !target.is_object() {
                *target = json!({});
            }
            for (name, value) in fields {
                if value.is_null() {
                    target.as_object_mut().unwrap().remove(&name);
                } else {
                    merge(&mut target[&name], value);
                }
            }
        }
        value => *target = value,
    }
}
