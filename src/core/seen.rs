//! A fact that was read, or why it was not. Facts are never guessed.
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A fact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Seen<T> {
    /// It was not read yet.
    #[default]
    Unread,
    /// It was read.
    Known(T),
    /// It was looked for and does not exist.
    Absent,
    /// It could not be read, and why. Unlike `Absent`, it can only lead to waiting.
    Unknown(Why),
}

/// Why a fact could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Why {
    /// A sentence of fixed words and names, never from a response body.
    pub message: String,
    /// The directory throttles calls until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
}

impl Why {
    /// A reason without a time. It is shown between other sentences, so a full stop is added where it has none.
    pub fn new(message: impl Into<String>) -> Self {
        let mut message = message.into();
        if !message.ends_with('.') {
            message.push('.');
        }
        Self { message, not_before: None }
    }

    /// A reason with the time before which the directory must not be asked again.
    pub fn until(message: impl Into<String>, not_before: Timestamp) -> Self {
        Self { not_before: Some(not_before), ..Self::new(message) }
    }
}

/// Whether serde can leave the value out.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
