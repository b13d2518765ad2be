//! The command line: one file or folder for each command. Commands share [`cluster`], [`terminal`] and [`sources`].
pub mod approve;
pub mod audit;
pub mod check;
mod cluster;
pub mod completions;
pub mod crds;
pub mod explain;
pub mod man;
mod markdown;
pub mod new;
pub mod password;
pub mod plan;
pub mod ready;
pub mod replay;
pub mod run;
pub mod sandbox;
pub mod settle;
mod sources;
mod terminal;
pub mod trial;
pub mod wait;

use std::{ffi::OsStr, path::Path, process::ExitCode};

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Password and MFA resets as reviewed Kubernetes objects, each carried out at most once.
#[derive(Parser, Debug)]
#[command(
    version,
    about,
    after_help = "Exit codes: 0, success; 1, an error or invalid arguments, with one sentence on standard error. plan, wait, check, \
                  audit and try have more: see their --help.

Examples:
  credreset new annette.c@zylker.biz -d zylker -r 'Locked out, HELP-4711' --into resets
  credreset plan resets
  kubectl apply -f resets && credreset wait resets"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the operator
    Run(run::Args),
    /// Write manifests of requests
    New(new::Args),
    /// Show what the operator would do with requests, without changing anything
    Plan(plan::Args),
    /// Show the status of a request, its timeline and the next step
    Explain(explain::Args),
    /// Show a delivered password to the person who hands it over
    Password(password::Args),
    /// State the outcome of a reset that the operator could not determine
    Settle(settle::Args),
    /// Repeat the decision on a file written by `explain --dump`
    Replay(replay::Args),
    /// Approve a request, where a rule of its Directory requires approvals
    Approve(approve::Args),
    /// Wait until an operator is ready; for helm test
    Ready(ready::Args),
    /// Wait until requests are finished, or need attention
    Wait(wait::Args),
    /// Check the setup of a Directory, and whether a user in it can be reset
    Check(check::Args),
    /// Reset a test user call by call, and compare the directory's behaviour with what the operator relies on
    Try(trial::Args),
    /// List past resets from the operator's records
    Audit(audit::Args),
    /// Run a stand-in for Zoho, for demos and tests
    Sandbox(sandbox::Args),
    /// Print the custom resource definitions, for kubectl apply
    Crds(crds::Args),
    /// Print a shell completion script
    Completions(completions::Args),
    /// Write manual pages
    Man(man::Args),
}

/// The clap command. `program` is the name it was called by: kubectl finds the plugin `kubectl-creset` by its file's name.
fn command(program: Option<&OsStr>) -> clap::Command {
    let is_plugin = program.map(Path::new).and_then(Path::file_stem) == Some(OsStr::new("kubectl-creset"));
    Cli::command().bin_name(if is_plugin { "kubectl creset" } else { "credreset" })
}

/// Runs the command that the arguments name.
///
/// # Errors
/// A sentence for the user; the process then ends with exit code 1.
pub fn main() -> anyhow::Result<ExitCode> {
    let parsed = command(std::env::args_os().next().as_deref()).try_get_matches();
    let command = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(Cli { command }) => command,
        Err(usage) if usage.use_stderr() => anyhow::bail!(usage_error(&usage.render().to_string())),
        Err(help) => {
            help.print().context("standard output")?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    match command {
        Command::Plan(args) => return plan::run(args),
        Command::Wait(args) => return wait::run(args),
        Command::Check(args) => return check::run(args),
        Command::Try(args) => return trial::run(args),
        Command::Audit(args) => return audit::run(args),
        Command::Run(args) => run::run(args)?,
        Command::New(args) => new::run(&args)?,
        Command::Explain(args) => explain::run(args)?,
        Command::Password(args) => password::run(args)?,
        Command::Settle(args) => settle::run(args)?,
        Command::Replay(args) => replay::run(&args)?,
        Command::Approve(args) => approve::run(args)?,
        Command::Ready(args) => ready::run(args)?,
        Command::Sandbox(args) => sandbox::run(args)?,
        Command::Crds(args) => crds::run(args)?,
        Command::Completions(args) => completions::run(&args)?,
        Command::Man(args) => man::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// One sentence from clap's error, which has several lines and ends with the usage.
fn usage_error(text: &str) -> String {
    let (wrong, usage) = text.split_once("Usage: ").unwrap_or((text, ""));
    let lines: Vec<&str> = wrong.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let command: Vec<&str> =
        usage.split_whitespace().take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase())).collect();
    let command = if command.is_empty() { "credreset".to_owned() } else { command.join(" ") };
    format!("{} (see {command} --help)", lines.join(" ").trim_start_matches("error: "))
}
