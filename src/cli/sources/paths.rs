//! Paths of manifests: how they are displayed, and which files count.
use std::path::Path;

use anyhow::Context;

use crate::core::text::{MESSAGE, printable};

/// A path for a message.
pub(super) fn display_name(path: &Path) -> String {
    printable(&path.display().to_string(), MESSAGE)
}

/// Checks that this is a regular file: a link may lead out of what was reviewed, and a pipe may never end.
pub(super) fn check_regular(file: &Path) -> anyhow::Result<()> {
    let name = display_name(file);
    let kind = file.symlink_metadata().with_context(|| format!("{name} cannot be read"))?.file_type();
    if kind.is_file() { Ok(()) } else { Err(not_regular(&name)) }
}

pub(super) fn not_regular(name: &str) -> anyhow::Error {
    anyhow::anyhow!("{name} is not a regular file: a folder with links or pipes is not planned")
}

/// Whether the name ends in .yaml, .yml or .json.
pub(super) fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e.eq_ignore_ascii_case(known)))
}
