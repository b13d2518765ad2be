//! The command line: one file or folder for each command. Commands share [`cluster`], [`terminal`] and [`sources`].
pub mod approve;
pub mod audit;
pub mod check;
mod cluster;
pub mod completions;
pub mod crds;
pub mod explain;
pub mod list;
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
pub mod version;
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
    /// List requests, what is to be done first
    List(list::Args),
    /// Show the status of requests, their timelines and the next step
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
    /// Show the versions of this program and of the operator
    Version(version::Args),
    /// Print a shell completion script
    Completions(completions::Args),
    /// Write manual pages
    Man(man::Args),
}

/// The name of the kubectl plugin that `program` is: what follows `prefix` in its file's name.
fn plugin(program: Option<&OsStr>, prefix: &str) -> Option<String> {
    let stem = Path::new(program?).file_stem()?.to_str()?;
    stem.strip_prefix(prefix).map(str::to_owned)
}

/// The clap command. `program` is the name it was called by: kubectl finds the plugin `kubectl-credreset` by its file's name.
fn command(program: Option<&OsStr>) -> clap::Command {
    Cli::command()
        .bin_name(plugin(program, "kubectl-").map_or_else(|| "credreset".to_owned(), |name| format!("kubectl {name}")))
}

/// Runs the command that the arguments name.
///
/// # Errors
/// A sentence for the user; the process then ends with exit code 1.
pub fn main() -> anyhow::Result<ExitCode> {
    completions::answer_shell();
    let mut words = std::env::args_os();
    let program = words.next();
    if plugin(program.as_deref(), "kubectl_complete-").is_some() {
        completions::answer_kubectl(words)?;
        return Ok(ExitCode::SUCCESS);
    }
    let parsed = command(program.as_deref()).try_get_matches();
    let command = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(Cli { command }) => command,
        Err(usage) if usage.use_stderr() => anyhow::bail!(usage_error(&usage)),
        Err(help) => {
            help.print().context(STANDARD_OUTPUT)?;
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
        Command::List(args) => list::run(args)?,
        Command::Explain(args) => explain::run(args)?,
        Command::Password(args) => password::run(args)?,
        Command::Settle(args) => settle::run(args)?,
        Command::Replay(args) => replay::run(&args)?,
        Command::Approve(args) => approve::run(args)?,
        Command::Version(args) => version::run(args)?,
        Command::Ready(args) => ready::run(args)?,
        Command::Sandbox(args) => sandbox::run(args)?,
        Command::Crds(args) => crds::run(args)?,
        Command::Completions(args) => completions::run(&args)?,
        Command::Man(args) => man::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// One sentence from clap's error, which has several lines and ends with the usage.
fn usage_error(usage: &clap::Error) -> String {
    let text = usage.render().to_string();
    let (wrong, usage) = text.split_once("Usage: ").unwrap_or((&text, ""));
    let lines: Vec<&str> = wrong
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("For more information, try"))
        .collect();
    let words: Vec<&str> =
        usage.split_whitespace().take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase())).collect();
    let command = if words.is_empty() { "credreset".to_owned() } else { words.join(" ") };
    let what = lines.join(" ");
    let what = what.trim_start_matches("error: ");
    let better = BETTER.iter().find(|(missing, _)| what.starts_with(MISSING) && what.contains(missing));
    format!("{} (see {command} --help)", better.map_or(what, |(_, better)| better))
}

/// How clap begins to say that arguments are missing.
const MISSING: &str = "the following required arguments were not provided:";

/// What to say of missing arguments instead. Of two answers, neither is named alone: a person in a hurry types what is asked for.
const BETTER: [(&str, &str); 2] = [
    (
        "<--applied|--not-applied>",
        "say which: --applied (the reset is in force) or --not-applied (nothing was changed); and say in --reason how you know",
    ),
    ("<USERS>...", "whose credentials? credreset new NAME@DOMAIN -d DIRECTORY -r REASON"),
];

/// Whether the reader of standard output has gone, as `head` does after ten lines: that is no error of this program.
#[must_use]
pub fn reader_has_gone(error: &anyhow::Error) -> bool {
    let is_closed = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    };
    error.chain().any(|cause| cause.to_string() == STANDARD_OUTPUT) && error.chain().any(is_closed)
}

/// Context of errors of standard output.
const STANDARD_OUTPUT: &str = "standard output";
