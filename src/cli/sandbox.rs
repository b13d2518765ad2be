//! `credreset sandbox`.
use std::{io::Write, net::SocketAddr, path::PathBuf};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::sandbox::{Options, serve};

/// Flags of `credreset sandbox`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  credreset sandbox
  credreset sandbox --users 300 --change-times --state sandbox.json")]
pub struct Args {
    /// Where it listens; port 0 takes any free one
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// File that keeps its state over a restart
    #[arg(long)]
    state: Option<PathBuf>,
    /// Ordinary users besides the organization's own: user0001@zylker.biz and so on
    #[arg(long, default_value_t = 0)]
    users: usize,
    /// Look-ups show when password and MFA were last changed
    #[arg(long)]
    change_times: bool,
    /// What tokens may be used for, separated by blanks; everything, if left out
    #[arg(long)]
    scopes: Option<String>,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// If it cannot listen, or its state cannot be read.
pub fn run(args: Args) -> anyhow::Result<()> {
    let Args { listen, state, users, change_times, scopes } = args;
    super::runtime()?.block_on(async move {
        let stop = CancellationToken::new();
        super::stop_on_signal(stop.clone())?;
        let listener =
            TcpListener::bind(listen).await.with_context(|| format!("--listen: {listen} cannot be listened on"))?;
        if !listen.ip().is_loopback() {
            eprintln!("credreset: the sandbox is open to the network; everybody may order faults and read mails");
        }
        let address = listener.local_addr().context("--listen")?;
        println!("listening on http://{address}");
        std::io::stdout().flush().context("standard output")?;
        serve(Options { state, users, change_times, scopes }, listener, stop).await.context("the sandbox ended")
    })
}
