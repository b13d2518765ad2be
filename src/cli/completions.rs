//! `credreset completions`: prints a completion script.
use std::io::Write;

use anyhow::Context;
use clap_complete::Shell;

/// Flags of `credreset completions`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  source <(credreset completions bash)
  credreset completions zsh > ~/.zfunc/_credreset
  credreset completions fish > ~/.config/fish/completions/credreset.fish
  credreset completions powershell | Out-String | Invoke-Expression")]
pub struct Args {
    /// Shell to print the script for
    shell: Shell,
}

/// Prints the completion script.
///
/// # Errors
/// If standard output cannot be written to.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(None), "credreset", &mut script);
    std::io::stdout().write_all(&script).context("standard output")
}
