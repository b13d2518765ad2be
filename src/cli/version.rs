//! `credreset version`: the versions of this program and of the operator, and whether an operator leads.
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease};
use kube::{
    Api, Client, ResourceExt,
    api::ListParams,
    core::{ApiResource, DynamicObject},
};
use serde::Serialize;
use serde_json::Value;

use super::{
    cluster::{Access, connect, why_unread},
    terminal::{self, Output, Page, Tone, paint, with_progress},
};
use crate::{
    core::text::{NAME, printable},
    k8s::lease,
};

/// Labels of the operator's Deployment, which the chart sets.
const DEPLOYMENT: &str = "app.kubernetes.io/name=credreset";

/// Flags of `credreset version`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "The operator's version comes from its Deployment, and the leader from its Lease, both in the operator's namespace. What you \
                  may not read there is named.

Examples:
  credreset version
  credreset version --client
  credreset version --output json"
)]
pub struct Args {
    /// Only the version of this program: contact no cluster
    #[arg(long)]
    client: bool,
    /// The operator's namespace
    #[arg(long, env = "CREDRESET_NAMESPACE", default_value = "credreset-system", value_name = "NAMESPACE")]
    operator_namespace: String,
    /// Format of the versions
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    access: Access,
}

/// What `--output json` prints.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Version of this program.
    pub(super) client: String,
    /// The operator's Deployments in its namespace; with --client, absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) operators: Option<Vec<Operator>>,
    /// The process that may start resets now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) leader: Option<Leader>,
    /// Whether the Lease could be read.
    #[serde(skip)]
    pub(super) lease_read: bool,
    /// What could not be found out, and why.
    notes: Vec<String>,
}

/// A Deployment of the operator.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operator {
    /// Name of the Deployment.
    pub(super) name: String,
    /// Its label `app.kubernetes.io/version`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
    /// Image of its container.
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    /// Pods that are ready.
    ready: i32,
    /// Pods that it should have.
    replicas: i32,
}

/// The holder of the Lease.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Leader {
    /// Name of the process.
    pub(super) holder: String,
    /// When it last renewed the Lease.
    #[schemars(with = "String", extend("format" = "date-time"))]
    renewed_at: Timestamp,
    /// Whether the Lease has not run out, by the clock of this machine.
    pub(super) holds: bool,
}

/// Prints the versions.
///
/// # Errors
/// If there is no cluster.
pub fn run(args: Args) -> anyhow::Result<()> {
    terminal::runtime()?.block_on(version(args))
}

async fn version(args: Args) -> anyhow::Result<()> {
    let Args { client: only_client, operator_namespace, output, access } = args;
    let report = if only_client {
        Report::of_client()
    } else {
        let client = connect(&access).await?;
        with_progress("asking the cluster", Report::of(&client, &operator_namespace)).await
    };
    let text = match output {
        Output::Text => text(&report),
        Output::Json => terminal::json(&report)?,
    };
    terminal::print(&text)
}

impl Report {
    fn of_client() -> Self {
        let client = env!("CARGO_PKG_VERSION").to_owned();
        Self { client, operators: None, leader: None, lease_read: false, notes: Vec::new() }
    }

    /// What the operator's namespace shows.
    pub(super) async fn of(client: &Client, namespace: &str) -> Self {
        let mut report = Self::of_client();
        report.read(client, namespace).await;
        report
    }

    async fn read(&mut self, client: &Client, namespace: &str) {
        // The types of all that a Deployment may hold would make the program larger by megabytes.
        let kind = ApiResource::erase::<Deployment>(&());
        let deployments: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
        match deployments.list(&ListParams::default().labels(DEPLOYMENT)).await {
            Ok(all) => {
                if all.items.is_empty() {
                    self.notes.push(format!("there is no Deployment of the operator in namespace {namespace}"));
                }
                self.operators = Some(all.items.iter().map(Operator::of).collect());
            }
            Err(error) => self.notes.push(unread("Deployments", namespace, &error)),
        }
        let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
        match leases.get_opt(lease::NAME).await {
            Ok(lease) => {
                self.lease_read = true;
                self.leader = lease.and_then(|lease| Leader::of(&lease));
                if self.leader.is_none() {
                    self.notes.push(format!("no operator leads in namespace {namespace}"));
                }
            }
            Err(error) => self.notes.push(unread("the Lease", namespace, &error)),
        }
    }
}

fn unread(what: &str, namespace: &str, error: &kube::Error) -> String {
    format!("{what} in namespace {namespace}: {}", why_unread(error, "it"))
}

impl Operator {
    fn of(deployment: &DynamicObject) -> Self {
        let field = |pointer: &str| deployment.data.pointer(pointer);
        let number = |pointer: &str| field(pointer).and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok());
        Self {
            name: deployment.name_any(),
            version: deployment.labels().get("app.kubernetes.io/version").cloned(),
            image: field("/spec/template/spec/containers/0/image").and_then(Value::as_str).map(ToOwned::to_owned),
            ready: number("/status/readyReplicas").unwrap_or_default(),
            replicas: number("/spec/replicas").unwrap_or(1),
        }
    }
}

impl Leader {
    fn of(lease: &Lease) -> Option<Self> {
        let spec = lease.spec.as_ref()?;
        let holder = spec.holder_identity.clone().filter(|holder| !holder.is_empty())?;
        let renewed_at = spec.renew_time.as_ref()?.0;
        let seconds = i64::from(spec.lease_duration_seconds.unwrap_or_default());
        let holds = Timestamp::now().duration_since(renewed_at).as_secs() <= seconds;
        Some(Self { holder, renewed_at, holds })
    }
}

fn text(report: &Report) -> String {
    let mut page = Page::new(10);
    page.line("client", &report.client);
    for operator in report.operators.iter().flatten() {
        let version = operator.version.as_deref().unwrap_or("unknown version");
        let image = operator.image.as_deref().unwrap_or("no image");
        let ready = format!("{} of {} Pods ready", operator.ready, operator.replicas);
        let tone = if operator.ready > 0 { Tone::Good } else { Tone::Bad };
        let version =
            if version == report.client { version.to_owned() } else { format!("{version}, unlike this program") };
        page.painted(
            "operator",
            &format!("{} ({}), {}", printable(&version, NAME), printable(image, NAME), paint(tone, &ready)),
        );
    }
    match &report.leader {
        Some(leader) if leader.holds => page.line("leader", &leader.holder),
        Some(leader) => page.toned(
            "leader",
            Tone::Bad,
            &format!("none: {} was the last, until {:.0}", leader.holder, leader.renewed_at),
        ),
        None => {}
    }
    for note in &report.notes {
        page.line("", note);
    }
    page.text()
}
