//! `credreset man`: writes manual pages.
use std::{fs, path::PathBuf};

use anyhow::Context;

/// Flags of `credreset man`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  credreset man ~/.local/share/man/man1 && man credreset-plan")]
pub struct Args {
    /// Folder to write the pages to, such as /usr/local/share/man/man1
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes a page for credreset and one for each command.
///
/// # Errors
/// If the folder cannot be written to.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let folder = &args.folder;
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be created", folder.display()))?;
    clap_mangen::generate_to(super::command(None), folder)
        .with_context(|| format!("{} cannot be written to", folder.display()))
}
