//! `credreset replay`, and what it reads: a world that a decision was made on, as `explain --dump` writes it and tests/cases keep it.
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::core::{
    Decision, World, decide,
    text::{MESSAGE, NAME, shown},
};

/// Flags of `credreset replay`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  credreset explain annette-locked-out --dump world.yaml --anonymous && credreset replay world.yaml")]
pub struct Args {
    /// What `credreset explain --dump` has written
    file: PathBuf,
}

/// A world and the decision on it.
#[derive(Serialize, Deserialize)]
pub(super) struct Case {
    /// What this shows.
    pub why: String,
    /// What was known.
    pub world: World,
    /// What was decided.
    pub decision: Decision,
}

/// Decides once more, and prints the decision.
///
/// # Errors
/// If the file is no such world.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let Case { why, world, decision } = read(&args.file)?;
    let now = decide(&world);
    println!("# {}", shown(&why, MESSAGE));
    println!(
        "# {}",
        if now == decision { "The decision is as it was." } else { "The decision is another than it was." }
    );
    for line in serde_saphyr::to_string(&now).context("the decision has no YAML form")?.lines() {
        println!("{}", shown(line, MESSAGE));
    }
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Case> {
    let text = super::plan::manifests::text(file)?;
    serde_saphyr::from_str(&text).map_err(|error| {
        let said = error.to_string();
        let first = shown(said.lines().next().unwrap_or_default(), NAME);
        anyhow::anyhow!("{} is not what `credreset explain --dump` writes: {first}", file.display())
    })
}
