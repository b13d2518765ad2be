//! One file per command.
pub mod approve;
pub mod audit;
pub mod check;
pub mod completions;
pub mod crds;
pub mod explain;
pub mod man;
pub mod new;
pub mod plan;
pub mod ready;
pub mod replay;
pub mod run;
pub mod sandbox;
pub mod settle;
pub mod wait;

use std::{
    ffi::OsStr,
    fmt::Write as _,
    io::{IsTerminal, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use comfy_table::Table;
use hyper_util::client::proxy::matcher::Matcher;
use jiff::{SignedDuration, Span, SpanRelativeTo};
use kube::{
    Client, Config,
    config::{InferConfigError, KubeConfigOptions},
};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    core::text::is_hidden,
    k8s::{client::client, life::Life},
};

/// Password and MFA resets as reviewed Kubernetes objects, each carried out at most once.
#[derive(Parser, Debug)]
#[command(
    version,
    about,
    after_help = "Exit codes: 0, ended as asked; 1, failed, or wrong arguments, with one sentence that says why. plan, wait and check have more: see \
                  their --help.

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
    /// Say what would come of requests, and change nothing
    Plan(plan::Args),
    /// Tell where a request stands, how it came there, and what to do
    Explain(explain::Args),
    /// Say how a reset went whose outcome nobody could find out
    Settle(settle::Args),
    /// Decide once more on what `explain --dump` has written
    Replay(replay::Args),
    /// Approve a request in the cluster, where its Directory's rule asks for that
    Approve(approve::Args),
    /// Wait until an operator says that it is ready; for helm test
    Ready(ready::Args),
    /// Wait until requests are settled, or need somebody
    Wait(wait::Args),
    /// Say what stands in the way of a Directory, and of a user in it
    Check(check::Args),
    /// Who reset whom: the records of the operator
    Audit(audit::Args),
    /// Run a stand-in for a directory, for demos and tests
    Sandbox(sandbox::Args),
    /// Print the custom resource definitions, for kubectl apply
    #[command(after_help = "Examples:\n  credreset crds | kubectl apply --server-side -f -")]
    Crds,
    /// Print what makes a shell complete commands and flags
    Completions(completions::Args),
    /// Write manual pages
    Man(man::Args),
}

/// The command line, as it is called under the name `program`: kubectl finds a plugin by its file's name.
fn command(program: Option<&OsStr>) -> clap::Command {
    let is_plugin = program.map(Path::new).and_then(Path::file_stem) == Some(OsStr::new("kubectl-creset"));
    Cli::command().bin_name(if is_plugin { "kubectl creset" } else { "credreset" })
}

/// Runs the command that the arguments name.
///
/// # Errors
/// A sentence for people; the process then ends with exit code 1.
pub fn main() -> anyhow::Result<ExitCode> {
    let parsed = command(std::env::args_os().next().as_deref()).try_get_matches();
    let command = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(Cli { command }) => command,
        Err(usage) if usage.use_stderr() => anyhow::bail!(in_a_sentence(&usage.render().to_string())),
        Err(help) => {
            help.print().context("standard output")?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    match command {
        Command::Plan(args) => return plan::run(args),
        Command::Wait(args) => return wait::run(args),
        Command::Check(args) => return check::run(args),
        Command::Run(args) => run::run(args)?,
        Command::New(args) => new::run(&args)?,
        Command::Explain(args) => explain::run(args)?,
        Command::Settle(args) => settle::run(args)?,
        Command::Replay(args) => replay::run(&args)?,
        Command::Approve(args) => approve::run(args)?,
        Command::Ready(args) => ready::run(args)?,
        Command::Audit(args) => audit::run(args)?,
        Command::Sandbox(args) => sandbox::run(args)?,
        Command::Crds => crds::run()?,
        Command::Completions(args) => completions::run(&args)?,
        Command::Man(args) => man::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What is wrong with arguments, of a text of several lines that ends with the usage.
fn in_a_sentence(text: &str) -> String {
    let (wrong, usage) = text.split_once("Usage: ").unwrap_or((text, ""));
    let said: Vec<&str> = wrong.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let command: Vec<&str> =
        usage.split_whitespace().take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase())).collect();
    let command = if command.is_empty() { "credreset".to_owned() } else { command.join(" ") };
    format!("{} ({command} --help says more)", said.join(" ").trim_start_matches("error: "))
}

/// How the API server is reached.
async fn kubernetes() -> Result<Config, InferConfigError> {
    let Ok(mut config) = Config::from_kubeconfig(&KubeConfigOptions::default()).await else {
        return Config::infer().await;
    };
    // kube 5.0 looks for the proxy in NO_PROXY, not for the API server.
    let set = |names: [&str; 2]| names.into_iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    let direct = set(["NO_PROXY", "no_proxy"]).unwrap_or_default();
    if Matcher::builder().all("http://any").no(direct).build().intercept(&config.cluster_url).is_none() {
        config.proxy_url = None;
    } else if config.proxy_url.is_none() {
        config.proxy_url = set(["HTTPS_PROXY", "https_proxy"]).and_then(|proxy| proxy.parse().ok());
    }
    Ok(config)
}

/// The cluster of the kubeconfig, if it knows our kinds.
///
/// # Errors
/// One sentence: what is missing.
async fn cluster() -> anyhow::Result<Client> {
    let config = kubernetes().await.map_err(|_| anyhow::anyhow!("no Kubernetes configuration: set KUBECONFIG"))?;
    let url = config.cluster_url.to_string();
    let client = client(config, &Life::default()).context("the Kubernetes configuration cannot be used")?;
    match client.list_api_group_resources("credreset.dev/v1alpha1").await {
        Ok(_) => Ok(client),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            anyhow::bail!("the API server at {url} does not know credreset.dev/v1alpha1: install chart credreset-crds")
        }
        Err(kube::Error::Api(status)) => Err(said(kube::Error::Api(status))),
        Err(_) => anyhow::bail!("the API server at {url} does not answer"),
    }
}

/// What the API server said, without the wrapping.
fn said(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => {
            anyhow::anyhow!(crate::core::text::shown(&status.message, crate::core::text::MESSAGE))
        }
        error => error.into(),
    }
}

/// For whom a report is written.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Text,
    Json,
}

/// A report as programs read it. What would not be seen, or act on a terminal, is escaped.
fn json(report: &impl Serialize) -> anyhow::Result<String> {
    let text = serde_json::to_string_pretty(report).context("the report has no JSON form")? + "\n";
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) && c != '\n' {
            // Within a string: there are no others outside of strings.
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    Ok(out)
}

/// Writes what was asked for to standard output.
fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("standard output")
}

/// Asks on the terminal, unless `yes` was said before.
///
/// # Errors
/// `no`, or that there is nobody to ask.
fn confirm(out: &mut impl Write, yes: bool, question: &str, no: &'static str) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        anyhow::bail!("standard input is no terminal, so nobody can be asked: read the above, then add --yes");
    }
    write!(out, "\n{question} [y/N] ").context("standard output")?;
    out.flush().context("standard output")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("standard input")?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(anyhow::anyhow!(no)) }
}

/// `90s`, `24h`, `30d`, `2w`: a duration as people type it. A day has 24 hours.
fn duration(text: &str) -> Result<SignedDuration, String> {
    text.parse::<Span>()
        .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
        .ok()
        .filter(SignedDuration::is_positive)
        .ok_or_else(|| "not a duration such as 90s, 24h or 30d".to_owned())
}

/// Columns with blanks between them, for a terminal.
fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(head);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
}

/// In one thread: these programs wait more than they compute, and handing work from one thread to another took longer than the work.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime could not be started")
}

/// Has SIGTERM and SIGINT cancel `stop`.
fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
    let mut int = signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?;
    tokio::spawn(async move {
        tokio::select! { _ = term.recv() => {} _ = int.recv() => {} }
        tracing::info!("asked to end");
        stop.cancel();
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    #[test]
    fn a_report_hides_nothing() {
        let report = json!({"name": "a\u{202e}b\u{9b}2J\u{7f}\u{e0041}é\n"});
        let text = super::json(&report).unwrap();
        assert!(!text.chars().any(|c| super::is_hidden(c) && c != '\n'), "{text:?}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), report);
    }
}
