//! How a test says what is different.
use serde_json::{Value, json};

/// RFC 7386.
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
