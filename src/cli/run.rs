//! `credreset run`: the operator.
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

use crate::{
    api::{CredentialReset, CredentialResetApproval, CredentialResetRecord, CredentialResetSettlement, Directory},
    k8s::{
        admin::{self, Admin},
        client::{builder, client},
        clock::Clock,
        controller,
        events::Events,
        lease,
        ledger::{Ledger, Locks},
        life::Life,
        metrics::Metrics,
        reconcile::Operator,
        secrets::Secrets,
    },
    telemetry,
};

/// Name of the Lease of the leader.
const LEASE: &str = "credreset";

/// Flags of `credreset run`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  credreset run
  KUBECONFIG=~/.kube/config credreset run --namespace credreset-system --listen 127.0.0.1:8080")]
pub struct Args {
    /// The operator's own namespace: records, password Secrets, credentials of Directories, the leader's Lease
    #[arg(long, env = "CREDRESET_NAMESPACE", default_value = "credreset-system")]
    namespace: String,
    /// Name of this process in Leases, records and Events; mostly the Pod's name
    #[arg(long, env = "CREDRESET_IDENTITY", default_value = "local")]
    identity: String,
    /// Where /livez, /readyz and /metrics are served
    #[arg(long, env = "CREDRESET_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Requests of one Directory that are worked on at the same time, 1 to 64
    #[arg(long, env = "CREDRESET_CONCURRENCY", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    concurrency: u16,
    /// Days that records are kept for audits, beyond the day or so that the promises need them, 0 to 3650
    #[arg(long, env = "CREDRESET_KEEP_RECORDS", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=3650), value_name = "DAYS")]
    keep_records: u16,
    /// On SIGTERM: how long calls under way may still take, in seconds. Keep it below terminationGracePeriodSeconds
    #[arg(long, env = "CREDRESET_GRACE", default_value_t = 25)]
    grace: u64,
    /// How logs are written
    #[arg(long, env = "CREDRESET_LOG_FORMAT", default_value = "human")]
    log_format: telemetry::Format,
    /// What is logged: a level (error, warn, info, debug, trace), or targets with levels as in credreset=debug,kube=warn
    #[arg(long, env = "CREDRESET_LOG", default_value = "info")]
    log: String,
}

/// Runs the operator until SIGTERM or SIGINT.
///
/// # Errors
/// One sentence: what of the configuration is wrong, or what could not be reached.
pub fn run(args: Args) -> anyhow::Result<()> {
    telemetry::init(args.log_format, &args.log).map_err(|wrong| anyhow!("--log: {wrong}"))?;
    super::runtime()?.block_on(operate(args))
}

async fn operate(args: Args) -> anyhow::Result<()> {
    let Args { namespace, identity, listen, concurrency, keep_records, grace, log_format: _, log: _ } = args;
    let stop = CancellationToken::new();
    super::stop_on_signal(stop.clone())?;
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("--listen: {listen} cannot be listened on"))?;
    let listen = listener.local_addr().context("--listen")?;
    let config =
        super::kubernetes().await.context("no Kubernetes configuration: set KUBECONFIG, or run in a cluster")?;
    let life = Life::default();
    let client = client(config.clone(), &life).context("the Kubernetes configuration cannot be used")?;
    // A lease must fail fast; retries are its own.
    let mut lease_config = config;
    lease_config.default_retry = false;
    let clock = Clock::default();
    // Asked every second or two: often enough to compare clocks.
    let lease_client = builder(lease_config, &life)
        .context("the Kubernetes configuration cannot be used")?
        .with_layer(&tower::layer::layer_fn(|service| clock.watching(service)))
        .build();

    let metrics = Metrics::default();
    metrics.watch_clock(clock.clone());
    let ready = Arc::new(AtomicBool::new(false));
    let served = CancellationToken::new();
    let admin = Admin { metrics: metrics.clone(), ready: Arc::clone(&ready), life: life.clone() };
    let admin_server = tokio::spawn(admin::serve(listener, admin, served.clone()));
    tracing::info!(%listen, namespace, identity, version = env!("CARGO_PKG_VERSION"), "started");

    let holder = format!("{identity}/{:016x}", rand::random::<u64>());
    let tasks = TaskTracker::new();
    let operator = Arc::new(Operator {
        client: client.clone(),
        ledger: Ledger::new(client.clone(), &namespace, &holder, clock.clone())
            .keeping(SignedDuration::from_hours(24 * i64::from(keep_records))),
        secrets: Secrets::new(client.clone(), &namespace),
        events: Events::new(client.clone(), &identity),
        metrics: metrics.clone(),
        clock: clock.clone(),
        life: life.clone(),
        locks: Locks::default(),
        holder: holder.clone(),
    });
    let serve = async {
        reachable(&client, &namespace).await;
        ready.store(true, Ordering::Relaxed); // a standby is ready, too
        while !stop.is_cancelled() {
            let elector = lease::Elector::new(
                Api::namespaced(lease_client.clone(), &namespace),
                lease::Config::new(LEASE, &holder),
                clock.clone(),
            );
            let Some((leadership, renewal)) = elector.acquire(stop.clone()).await else { break };
            metrics.leading(true);
            life.leads(true);
            if let Err(error) =
                Box::pin(controller::run(Arc::clone(&operator), leadership.clone(), concurrency, tasks.clone(), &stop))
                    .await
            {
                tracing::warn!(error = %error, "the ledger could not be read: giving the lead away");
            }
            metrics.leading(false);
            life.leads(false);
            if stop.is_cancelled() {
                // Calls under way end before the lease is let go, as far as the grace period allows.
                tasks.close();
                tasks.wait().await;
            }
            leadership.release.cancel();
            if let Err(error) = renewal.await {
                tracing::error!(error = %error, "the lease's task ended badly");
            }
        }
        // Of an earlier term, too: what came back of its calls is still to be written down, and nobody else knows it.
        tasks.close();
        tasks.wait().await;
    };
    tokio::select! {
        () = serve => {}
        () = async { stop.cancelled().await; tokio::time::sleep(Duration::from_secs(grace)).await } => {
            tracing::warn!(grace, "not everything ended within the grace period");
        }
    }
    served.cancel();
    let _ = timeout(Duration::from_secs(1), admin_server).await;
    tracing::info!("ended");
    Ok(())
}

/// Waits until the API server answers and knows our kinds.
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
                "the API server does not know credreset.dev/v1alpha1: install the definitions (credreset crds | kubectl apply -f -)"
            ),
            Err(error) => tracing::warn!(error = %error, "the API server cannot be used yet"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
