//! One file per command.
pub mod crds;
pub mod run;

use clap::{Parser, Subcommand};

/// Password and MFA resets as reviewed Kubernetes objects, each carried out at most once.
#[derive(Parser, Debug)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the operator
    Run(run::Args),
    /// Print the custom resource definitions, for kubectl apply
    Crds,
}

/// Runs the command that the arguments name.
///
/// # Errors
/// A sentence for people; the process then ends with exit code 1. Wrong arguments end it with 2.
pub fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Crds => crds::run(),
    }
}
