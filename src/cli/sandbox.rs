//! `credreset sandbox`: runs the stand-in for Zoho.
use std::{io::Write, net::SocketAddr, path::PathBuf};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::terminal;
use crate::sandbox::{Options, Page, serve};

/// Flags of `credreset sandbox`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  credreset sandbox
  credreset sandbox --users 300 --change-times --state sandbox.json")]
pub struct Args {
    /// Address to listen on; port 0 picks a free port
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// File to keep the state in across restarts
    #[arg(long)]
    state: Option<PathBuf>,
    /// Number of additional users: user0001@zylker.biz and so on
    #[arg(long, default_value_t = 0)]
    users: usize,
    /// Return the times of the last changes of password and MFA in look-ups
    #[arg(long)]
    change_times: bool,
    /// OAuth scopes of tokens, separated by blanks; defaults to all
    #[arg(long)]
    scopes: Option<String>,
    /// The copy of Zoho Mail's page on resetting passwords that the sandbox implements: today, older, oldest
    #[arg(long, value_enum, value_name = "COPY", default_value_t, hide_possible_values = true)]
    reset_password_page: Page,
    /// Issue at most this many tokens within ten minutes, as Zoho does (10); defaults to no limit
    #[arg(long, value_name = "N")]
    token_limit: Option<usize>,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// If it cannot listen, or the state file cannot be read.
pub fn run(args: Args) -> anyhow::Result<()> {
    let Args { listen, state, users, change_times, scopes, reset_password_page, token_limit } = args;
    terminal::runtime()?.block_on(async move {
        let stop = CancellationToken::new();
        terminal::stop_on_signal(&stop)?;
        let listener =
            TcpListener::bind(listen).await.with_context(|| format!("--listen: cannot listen on {listen}"))?;
        if !listen.ip().is_loopback() {
            eprintln!(
                "credreset: the sandbox is reachable from the network: anyone there can inject faults and read mails"
            );
        }
        let address = listener.local_addr().context("--listen")?;
        println!("listening on http://{address}");
        std::io::stdout().flush().context("standard output")?;
        serve(Options { state, users, change_times, scopes, reset_password_page, token_limit }, listener, stop)
            .await
            .context("the sandbox ended")
    })
}
