//! `credreset crds`: prints the custom resource definitions, which are generated from src/api, or writes them to files.
use std::{fs, path::PathBuf};

use anyhow::Context;

use super::terminal::print;
use crate::api;

/// Flags of `credreset crds`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  credreset crds | kubectl apply --server-side -f -
  credreset crds --into crds   # a file for each kind")]
pub struct Args {
    /// Write one file for each kind to this folder, instead of all to standard output
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
}

/// Prints the definitions as one YAML stream, or writes a file for each.
///
/// # Errors
/// If standard output or a file cannot be written.
pub fn run(Args { into }: Args) -> anyhow::Result<()> {
    let all = files()?;
    let Some(folder) = into else {
        let stream = all.into_iter().fold(String::new(), |stream, (_, text)| stream + "---\n" + &text);
        return print(&stream);
    };
    fs::create_dir_all(&folder).with_context(|| format!("could not create the folder {}", folder.display()))?;
    for (name, text) in all {
        let file = folder.join(name);
        fs::write(&file, text).with_context(|| format!("could not write {}", file.display()))?;
    }
    Ok(())
}

/// File names and contents: one definition each, as YAML.
///
/// # Errors
/// If a definition has no YAML form.
pub fn files() -> anyhow::Result<Vec<(String, String)>> {
    let file = |definition: &serde_json::Value| {
        let plural = definition["spec"]["names"]["plural"].as_str().context("a definition without a name")?;
        let text = serde_saphyr::to_string(definition)?.trim_end().to_owned() + "\n";
        Ok((format!("{plural}.yaml"), text))
    };
    api::definitions().iter().map(file).collect()
}
