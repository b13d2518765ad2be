//! Defaults of fields, for serde.

pub(super) fn yes() -> bool {
    true
}

pub(super) fn one() -> i32 {
    1
}

pub(super) fn twenty() -> i32 {
    20
}

pub(super) fn five_minutes() -> String {
    "5m".to_owned()
}

pub(super) fn fifteen_seconds() -> String {
    "15s".to_owned()
}

pub(super) fn one_day() -> String {
    "24h".to_owned()
}

/// Key of a Secret that holds a password.
pub(super) fn password_key() -> String {
    "password".to_owned()
}

/// `observedGeneration` until the operator has read the object.
pub(super) fn never_observed() -> i64 {
    -1
}
