//! `credreset replay`: repeats a decision on a dumped world. `explain --dump` writes such files, and tests/cases are some.
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::sources::manifests;
use crate::core::{
    Decision, World, decide,
    text::{MESSAGE, NAME, printable},
};

/// Flags of `credreset replay`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  credreset explain annette-locked-out --dump world.yaml --anonymous && credreset replay world.yaml")]
pub struct Args {
    /// File written by `credreset explain --dump`
    file: PathBuf,
}

/// A world and the decision on it.
#[derive(Serialize, Deserialize)]
pub(super) struct Case {
    /// What the case shows.
    pub why: String,
    /// The facts.
    pub world: World,
    /// The decision on them.
    pub decision: Decision,
}

/// Decides again and prints the decision.
///
/// # Errors
/// If the file is not a dumped world.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let Case { why, world, decision } = read(&args.file)?;
    let now = decide(&world);
    println!("# {}", printable(&why, MESSAGE));
    println!("# {}", if now == decision { "The decision is unchanged." } else { "The decision has changed." });
    for line in serde_saphyr::to_string(&now).context("the decision has no YAML form")?.lines() {
        println!("{}", printable(line, MESSAGE));
    }
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Case> {
    let text = manifests::text(file)?;
    serde_saphyr::from_str(&text).map_err(|error| {
        let message = error.to_string();
        let first = printable(message.lines().next().unwrap_or_default(), NAME);
        anyhow::anyhow!("{} was not written by `credreset explain --dump`: {first}", file.display())
    })
}
