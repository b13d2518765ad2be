//! `credreset sandbox`: a stand-in directory server.
use std::{
    io::{Write, stdout},
    net::SocketAddr,
    path::PathBuf,
};

use anyhow::Context;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::sandbox::{self, Options};

/// Serve a stand-in for a Zoho organization, for the demo and for tests.
///
/// It speaks the wire format of Zoho, holds users with public passwords and fails on request. It proves nothing about
/// Zoho's servers.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address and port; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Keep the state in this file, readable by its owner only; without it the state ends with the process
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Add so many ordinary users: user0001@zylker.biz and so on
    #[arg(long, value_name = "N", default_value_t = 0)]
    users: usize,
    /// Let look-ups tell when password and MFA changed last
    #[arg(long)]
    change_times: bool,
    /// Scopes that tokens get, separated by blanks or commas [default: all that the operator can use]
    #[arg(long, value_name = "SCOPES")]
    scopes: Option<String>,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// If the address cannot be listened on, or the state file cannot be read or written.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let Args { listen, state, users, change_times, scopes } = args;
    let shutdown = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        eprintln!("warning: the sandbox is open to the network on {address}; its passwords are public");
    }
    let mut out = stdout();
    writeln!(out, "listening on http://{address}")?;
    out.flush()?;
    let options = Options { state, users, change_times, scopes };
    let signalled = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        signalled.cancel();
    });
    Ok(sandbox::serve(options, listener, shutdown).await?)
}
