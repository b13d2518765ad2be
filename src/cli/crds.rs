//! `credreset crds`.
use std::io::Write;

use anyhow::Context;

use crate::api;

/// Prints the custom resource definitions as one YAML stream.
///
/// # Errors
/// If standard output cannot be written to.
pub fn run() -> anyhow::Result<()> {
    std::io::stdout().write_all(yaml()?.as_bytes()).context("could not write the definitions")
}

/// The definitions as one YAML stream.
///
/// # Errors
/// If a definition has no YAML form.
pub fn yaml() -> anyhow::Result<String> {
    api::definitions().iter().try_fold(String::new(), |stream, definition| {
        Ok(stream + "---\n" + serde_saphyr::to_string(definition)?.trim_end() + "\n")
    })
}
