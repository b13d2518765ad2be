//! One file per command.
pub mod approve;
pub mod crds;
pub mod new;
pub mod run;
pub mod sandbox;

use anyhow::Context;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Password and MFA resets as reviewed Kubernetes objects, each carried out at most once.
#[derive(Parser, Debug)]
#[command(
    version,
    about,
    after_help = "Exit codes: 0, ended as asked; 1, failed, with one sentence that says why; 2, wrong arguments."
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
    /// Approve a request in the cluster, where its Directory's rule asks for that
    Approve(approve::Args),
    /// Run a stand-in for a directory, for demos and tests
    Sandbox(sandbox::Args),
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
        Command::New(args) => new::run(&args),
        Command::Approve(args) => approve::run(args),
        Command::Sandbox(args) => sandbox::run(args),
        Command::Crds => crds::run(),
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

/// A small runtime: these programs wait more than they compute.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().context("the runtime could not be started")
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
