//! `credreset run`: runs the operator.
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, anyhow};
use jiff::SignedDuration;
use kube::{Api, Client, api::ListParams};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{cluster::Access, terminal};
use crate::{
    api::{
        API_VERSION, CredentialReset, CredentialResetApproval, CredentialResetRecord, CredentialResetSettlement,
        Directory,
    },
    k8s::{
        client::{builder, client},
        clock::Clock,
        controller,
        events::Events,
        http_server::{self, Admin},
        lease,
        ledger::Ledger,
        liveness::Life,
        locks::Locks,
        metrics::Metrics,
        reconcile::Operator,
        secrets::Secrets,
        status::Statuses,
    },
    telemetry,
};

/// Flags of `credreset run`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  credreset run
  KUBECONFIG=~/.kube/config credreset run --namespace credreset-system --listen 127.0.0.1:8080")]
pub struct Args {
    /// The operator's namespace, with its records, password Secrets, credentials of Directories and Lease
    #[arg(long, env = "CREDRESET_NAMESPACE", default_value = "credreset-system")]
    namespace: String,
    /// Name of this process in the Lease, records and Events; usually the Pod's name
    #[arg(long, env = "CREDRESET_IDENTITY", default_value = "local")]
    identity: String,
    /// Address to serve /livez, /readyz and /metrics on
    #[arg(long, env = "CREDRESET_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Requests to process at the same time for each Directory, 1 to 64
    #[arg(long, env = "CREDRESET_CONCURRENCY", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    concurrency: u16,
    /// Days to keep records for audits after their requests have ended, 0 to 3650. The operator keeps each about a day longer in any case
    #[arg(long, env = "CREDRESET_KEEP_RECORDS", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=3650), value_name = "DAYS")]
    keep_records: u16,
    /// Seconds to wait on SIGTERM for calls in flight; keep it below terminationGracePeriodSeconds
    #[arg(long, env = "CREDRESET_GRACE", default_value_t = 25)]
    grace: u64,
    /// Format of logs
    #[arg(long, env = "CREDRESET_LOG_FORMAT", default_value = "human")]
    log_format: telemetry::Format,
    /// What to log: a level (error, warn, info, debug, trace), or targets with levels as in credreset=debug,kube=warn
    #[arg(long, env = "CREDRESET_LOG", default_value = "info")]
    log: String,
}

/// Runs the operator until SIGTERM or SIGINT.
///
/// # Errors
/// One sentence: the invalid setting.
pub fn run(args: Args) -> anyhow::Result<()> {
    telemetry::init(args.log_format, &args.log).map_err(|wrong| anyhow!("--log: {wrong}"))?;
    terminal::runtime()?.block_on(operate(args))
}

async fn operate(args: Args) -> anyhow::Result<()> {
    let Args { namespace, identity, listen, concurrency, keep_records, grace, log_format: _, log: _ } = args;
    let stop = CancellationToken::new();
    terminal::stop_on_signal(&stop)?;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("--listen: cannot listen on {listen}"))?;
    let listen = listener.local_addr().context("--listen")?;
    let config = Access::default().config().await?;
    let life = Life::default();
    let client = client(config.clone(), &life).context("the Kubernetes configuration cannot be used")?;
    // Calls for the lease must fail fast; the elector retries them itself.
    let mut lease_config = config;
    lease_config.default_retry = false;
    let clock = Clock::default();
    // The elector calls every second or two, often enough to compare clocks with the API server.
    let lease_client = builder(lease_config, &life)
        .context("the Kubernetes configuration cannot be used")?
        .with_layer(&tower::layer::layer_fn(|service| clock.watching(service)))
        .build();

    let metrics = Metrics::default();
    metrics.watch_clock(clock.clone());
    let ready = Arc::new(AtomicBool::new(false));
    let served = CancellationToken::new();
    let admin = Admin { metrics: metrics.clone(), ready: Arc::clone(&ready), life: life.clone() };
    let admin_server = tokio::spawn(http_server::serve(listener, admin, served.clone()));
    tracing::info!(%listen, namespace, identity, version = env!("CARGO_PKG_VERSION"), "started");

    let holder = format!("{identity}/{:016x}", rand::random::<u64>());
    let tasks = TaskTracker::new();
    let events = Events::new(client.clone(), &identity);
    let operator = Arc::new(Operator {
        client: client.clone(),
        ledger: Ledger::new(client.clone(), &namespace, &holder, clock.clone())
            .with_retention(SignedDuration::from_hours(24 * i64::from(keep_records))),
        secrets: Secrets::new(client.clone(), &namespace),
        statuses: Statuses::new(client.clone(), events.clone(), metrics.clone()),
        events,
        metrics: metrics.clone(),
        clock: clock.clone(),
        life: life.clone(),
        locks: Locks::default(),
        holder: holder.clone(),
    });
    let serve = async {
        reachable(&client, &namespace).await;
        ready.store(true, Ordering::Relaxed); // a standby is ready as well
        while !stop.is_cancelled() {
            let elector = lease::Elector::new(
                Api::namespaced(lease_client.clone(), &namespace),
                lease::Config::new(lease::NAME, &holder, keep_records),
                clock.clone(),
            );
            let Some((leadership, renewal)) = elector.acquire(stop.clone()).await else { break };
            metrics.set_leading(true);
            life.set_leading(true);
            if let Err(error) =
                Box::pin(controller::run(Arc::clone(&operator), leadership.clone(), concurrency, tasks.clone(), &stop))
                    .await
            {
                tracing::warn!(error = %error, "the ledger could not be read: stepping down");
            }
            metrics.set_leading(false);
            life.set_leading(false);
            if stop.is_cancelled() {
                // Calls in flight end before the lease is released, as far as the grace period allows.
                tasks.close();
                tasks.wait().await;
            }
            leadership.release.cancel();
            if let Err(error) = renewal.await {
                tracing::error!(error = %error, "the task that renews the lease failed");
            }
        }
        // Also those of earlier terms: replies to their calls, which only this process has, must still be written to the records.
        tasks.close();
        tasks.wait().await;
    };
    tokio::select! {
        () = serve => {}
        () = async { stop.cancelled().await; tokio::time::sleep(Duration::from_secs(grace)).await } => {
            tracing::warn!(grace, "not all tasks ended within the grace period");
        }
    }
    served.cancel();
    let _ = timeout(Duration::from_secs(1), admin_server).await;
    tracing::info!("ended");
    Ok(())
}

/// Waits until the API server answers and has our kinds.
async fn reachable(client: &Client, namespace: &str) {
    let few = ListParams::default().limit(1);
    loop {
        let kinds = async {
            Api::<Directory>::all(client.clone()).list(&few).await?;
            Api::<CredentialReset>::all(client.clone()).list(&few).await?;
            Api::<CredentialResetApproval>::all(client.clone()).list(&few).await?;
            Api::<CredentialResetRecord>::namespaced(client.clone(), namespace).list(&few).await?;
            Api::<CredentialResetSettlement>::namespaced(client.clone(), namespace).list(&few).await?;
            kube::Result::Ok(())
        };
        match kinds.await {
            Ok(()) => return,
            Err(kube::Error::Api(status)) if status.code == 404 => tracing::warn!(
                "the API server does not know {API_VERSION}: install the definitions (kubectl apply -f crds/, or: credreset crds | \
                 kubectl apply -f -)"
            ),
            Err(error) => tracing::warn!(error = %error, "the API server cannot be used yet"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
