//! `credreset ready`: waits for /readyz of an operator. `helm test` runs it, in a Pod whose image has only this program.
use std::time::Duration;

use anyhow::{anyhow, bail};
use reqwest::{Client, StatusCode};
use tokio::time::{Instant, sleep};
use url::Url;

use super::terminal;
use crate::{
    core::text,
    http::{self, Failed},
};

/// Flags of `credreset ready`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  credreset ready http://credreset.credreset-system:8080 --timeout 120")]
pub struct Args {
    /// URL of an operator or its Service, with scheme and port
    url: Url,
    /// Seconds to wait, 1 to 3600
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

/// Returns once the operator is ready.
///
/// # Errors
/// If it is not ready within the timeout; has its last answer.
pub fn run(args: Args) -> anyhow::Result<()> {
    let Args { url, timeout } = args;
    let address = http::join(&url, "/readyz");
    let client = http::client(None, Duration::from_secs(5), true).map_err(|wrong| anyhow!(wrong))?;
    terminal::runtime()?.block_on(async {
        let end = Instant::now() + Duration::from_secs(timeout);
        loop {
            let Err(why) = check(&client, &address).await else { break };
            if Instant::now() >= end {
                bail!("no operator is ready at {address}: {why}");
            }
            sleep(Duration::from_secs(1)).await;
        }
        println!("ready: {address}");
        Ok(())
    })
}

async fn check(client: &Client, address: &Url) -> Result<(), String> {
    let answer = client.get(address.clone()).send().await.map_err(|error| Failed::from(error).to_string())?;
    let status = answer.status();
    let body = http::body(answer).await.map_err(|why| why.to_string())?;
    if status == StatusCode::OK {
        return Ok(());
    }
    Err(format!("{status}, {}", text::printable(&String::from_utf8_lossy(&body), text::MESSAGE)))
}
