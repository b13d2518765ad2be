//! The kinds of `credreset.dev/v1alpha1`.
#![allow(clippy::doc_markdown, reason = "these texts are what kubectl explain shows")]
#![allow(clippy::duplicated_attributes, reason = "printcolumn is there once for each column")]
pub mod approval;
mod crds;
mod defaults;
pub mod directory;
pub mod record;
pub mod reset;
pub mod settlement;
pub mod validation;

use serde_json::Value;

pub use approval::CredentialResetApproval;
pub use crds::definitions;
pub use directory::Directory;
pub use record::CredentialResetRecord;
pub use reset::CredentialReset;
pub use settlement::CredentialResetSettlement;

/// The API group of our kinds.
pub const GROUP: &str = "credreset.dev";
/// Group and version, as in a manifest's apiVersion.
pub const API_VERSION: &str = "credreset.dev/v1alpha1";

/// Whether the object's apiVersion has our group, in any version.
#[must_use]
pub fn is_ours(object: &Value) -> bool {
    object["apiVersion"].as_str().and_then(|version| version.split_once('/')).is_some_and(|(group, _)| group == GROUP)
}

/// Parses a duration as the API writes it: `2m`, `24h`, `1h30m`.
///
/// # Errors
/// A sentence fragment that quotes `text`.
pub fn duration(text: &str) -> Result<jiff::SignedDuration, String> {
    text.parse().map_err(|_| format!("{text:?} is not a duration such as 90s, 5m or 24h"))
}
