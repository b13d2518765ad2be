//! `credreset plan`: forecasts what the operator would do with requests, for their review. Changes nothing.
mod parse;
mod render;

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, bail};
use futures::StreamExt;
use rayon::prelude::*;
use serde::Serialize;

use self::parse::{Parsed, parse, refuse_duplicates};
use super::{
    cluster::{Access, api_error, connect},
    sources::{Assessment, DirectorySource, Sources, cluster::Cluster, files, manifests},
    terminal::{self, ReviewOutput},
};
use crate::{
    api::validation::Rules,
    core::{
        Request, World,
        actions::{impact, steps},
        forecast::{Verdict, forecast},
        seen::Seen,
        user::{LookUp, UserId},
        view::StatusSummary,
    },
};

/// Reason of a document that is not a request, or that tools read differently.
const NOT_PLANNED: &str = "NotPlanned";
/// Look-ups at the same time; few, since others use the directory as well.
const CONCURRENT_LOOK_UPS: usize = 8;

/// Flags of `credreset plan`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Exit codes: 0, every request is allowed or needs no reset; 2, one is refused; 3, one cannot be determined; 1, an error.

Examples:
  credreset plan resets/annette.yaml
  credreset plan resets --base origin/main --output markdown --for-account system:serviceaccount:helpdesk:credreset-pipeline
  credreset plan resets --directories directories --offline"
)]
pub struct Args {
    /// A manifest, a folder (with all folders below it), or - for standard input
    #[arg(value_name = "FILE|DIR|-")]
    path: PathBuf,
    /// Read Directories and the Secrets they name from this file or folder, instead of from a cluster
    #[arg(long, value_name = "FILE|DIR")]
    directories: Option<PathBuf>,
    /// Contact neither a cluster nor a directory: check the schema and the rules alone
    #[arg(long)]
    offline: bool,
    /// Plan only requests that differ from this commit, such as the base of a pull request
    #[arg(long, value_name = "COMMIT")]
    base: Option<String>,
    /// Check that this user, such as a pipeline's account, may create the requests
    #[arg(long, value_name = "USER", conflicts_with_all = ["offline", "directories"])]
    for_account: Option<String>,
    /// Namespace of manifests without one
    #[arg(long, short)]
    namespace: Option<String>,
    /// The operator's namespace
    #[arg(long, env = "CREDRESET_NAMESPACE", default_value = "credreset-system", value_name = "NAMESPACE")]
    operator_namespace: String,
    /// Format of the plan; markdown is for a comment on a pull request
    #[arg(long, short, value_enum, default_value_t = ReviewOutput::Text)]
    output: ReviewOutput,
    #[command(flatten)]
    access: Access,
}

/// The plan of one request.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Planned {
    /// Path of its file.
    file: String,
    /// Namespace of the object.
    namespace: String,
    /// Name of the object.
    name: String,
    /// Name of the Directory.
    directory: String,
    /// Password or MFA.
    mode: String,
    /// The user, as in the manifest.
    user: String,
    /// The user, as in the directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<UserId>,
    /// What the operator would do.
    verdict: Verdict,
    /// A reason of the API, or Invalid, Forbidden, Edited, Deleted, Repeated; `NotReadable`: a fact could not be read; `NotPlanned`: not a request, or one that tools read
    /// differently.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Why it is refused, or what it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// The rule of the Directory that allows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    /// Number of approvals that it needs in the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    approvals: Option<u32>,
    /// What the operator would do, in order.
    steps: Vec<String>,
    /// Consequences for the user; each completes "The user ...".
    impact: Vec<String>,
    /// Assumptions in place of facts that were not read.
    assumed: Vec<String>,
    /// The reason in the manifest.
    request_reason: String,
    /// User name of the requester in the manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_by: Option<String>,
    /// Digest of the spec, which approvals in the cluster refer to.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
}

/// What `--output json` prints.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Report {
    /// The worst of the verdicts.
    verdict: Verdict,
    /// One for each request.
    requests: Vec<Planned>,
}

/// Prints the plan. The exit code depends on the worst verdict.
///
/// # Errors
/// If manifests, the cluster or Directories cannot be read.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    terminal::runtime()?.block_on(plan(args))
}

async fn plan(args: Args) -> anyhow::Result<ExitCode> {
    let Args { path, directories, offline, base, for_account, namespace, operator_namespace, output, access } = args;
    let all = match &base {
        None => manifests::read(&path)?,
        Some(base) => manifests::changed(&path, base)?,
    };
    if base.is_none() {
        manifests::require_some(&path, &all)?;
    }
    let rules = Rules::new().map_err(anyhow::Error::msg).context("the rules of the API cannot be read")?;
    let cluster = if offline || directories.is_some() {
        None
    } else {
        let client = connect(&access).await?;
        let namespace = client.default_namespace().to_owned();
        Some((Cluster::new(client, &operator_namespace, for_account).await, namespace))
    };
    let (cluster, default_namespace) = cluster.unzip();
    let namespace = namespace.or(default_namespace);
    let parse = |manifest| parse(manifest, namespace.as_deref(), &rules);
    let mut parsed: Vec<Parsed> = all.into_par_iter().map(parse).collect();
    refuse_duplicates(&mut parsed);
    let wanted: BTreeSet<String> = parsed.iter().filter_map(|p| Some(p.request.as_ref()?.directory.clone())).collect();
    let directories = match (&cluster, &directories) {
        (Some(cluster), _) => {
            let mut sources = HashMap::new();
            for name in wanted {
                sources.insert(name.clone(), DirectorySource::from_cluster(cluster, &name).await);
            }
            Some(sources)
        }
        (None, Some(path)) => Some(files::directory_sources(path, &wanted, offline).await?),
        (None, None) => None,
    };
    let sources = directories.map(|directories| Sources { cluster, directories, offline });
    let planned = futures::stream::iter(parsed)
        .map(|parsed| plan_request(parsed, sources.as_ref()))
        .buffered(CONCURRENT_LOOK_UPS)
        .collect::<Vec<anyhow::Result<Planned>>>()
        .await;
    let requests = planned.into_iter().collect::<anyhow::Result<Vec<Planned>>>()?;
    let verdict = requests.iter().map(|p| p.verdict).max().unwrap_or(Verdict::Nothing);
    let report = Report { verdict, requests };
    let text = match output {
        ReviewOutput::Text => render::text(&report),
        ReviewOutput::Markdown => render::markdown(&report),
        ReviewOutput::Json => terminal::json(&report)?,
    };
    terminal::print(&text)?;
    Ok(match verdict {
        Verdict::Nothing | Verdict::Allowed => ExitCode::SUCCESS,
        Verdict::Refused => ExitCode::from(2),
        Verdict::Unclear => ExitCode::from(3),
    })
}

async fn plan_request(parsed: Parsed, sources: Option<&Sources>) -> anyhow::Result<Planned> {
    let Parsed { planned, request } = parsed;
    let Some(request) = request else { return Ok(planned) };
    let Some(sources) = sources else { return Ok(without_directory(planned, &request, "")) };
    let mut request = request;
    let mut summary = StatusSummary::default();
    if let Some(cluster) = &sources.cluster {
        let at = format!("creset {}/{}", request.namespace, request.name);
        let found = cluster
            .object(&request.namespace, &request.name)
            .await
            .map_err(api_error)
            .with_context(|| format!("{at} could not be read"))?;
        if let Some(object) = found {
            let existing = object.request().map_err(|wrong| anyhow::anyhow!("{at} is invalid: {wrong}"))?;
            if existing.spec_digest() != request.spec_digest() {
                return Ok(Planned {
                    reason: Some("Edited".to_owned()),
                    message: Some(format!(
                        "{at} exists with a different spec, and a request never changes: file this one under another name."
                    )),
                    ..planned
                });
            }
            (request, summary) = (existing, object.status_summary());
        } else if let Some(why) = cluster
            .refusal(&request)
            .await
            .map_err(api_error)
            .context("the permissions of --for-account could not be checked")?
        {
            return Ok(Planned { reason: Some("Forbidden".to_owned()), message: Some(why), ..planned });
        }
    }
    if sources.directories.get(&request.directory).is_some_and(DirectorySource::is_hidden) {
        return Ok(without_directory(planned, &request, " (you may not read it)"));
    }
    let Assessment { world, decision, assumed } = sources.assess(request, summary.clone()).await;
    let Some(forecast) = forecast(&world, &decision) else { bail!("the decision does not converge") };
    let mut verdict = forecast.verdict;
    let mut assumed: Vec<String> = assumed.into_iter().collect();
    let (mut reason, mut message) = match forecast.view {
        Some(view) => (Some(view.reason.to_string()), Some(view.message)),
        None if verdict == Verdict::Nothing => (summary.reason.map(|r| r.to_string()), summary.message),
        None => (None, None),
    };
    let (mut planned_steps, mut planned_impact) = (forecast.steps, forecast.impact);
    if sources.offline && verdict == Verdict::Unclear {
        // A fact that only a cluster or a directory has is an assumption here.
        verdict = Verdict::Allowed;
        assumed.extend(message.take());
        reason = None;
        if let Some(request) = world.subject.request() {
            (planned_steps, planned_impact) = (steps(request), impact(request));
        }
    }
    if verdict == Verdict::Unclear
        && let Some(why) = not_read(&world)
    {
        (reason, message) = (Some("NotReadable".to_owned()), Some(why));
    }
    let found = match &world.facts.user {
        Seen::Known(LookUp::One(user)) if sources.looks_users_up(&world) => Some(user.id.clone()),
        _ => None,
    };
    Ok(Planned {
        found,
        verdict,
        reason,
        message,
        rule: forecast.rule.map(|rule| rule.name.clone()),
        approvals: forecast.rule.and_then(|rule| Some(rule.approvals.as_ref()?.count)),
        steps: planned_steps,
        impact: planned_impact,
        assumed,
        ..planned
    })
}

/// The plan where nothing is known of the Directory.
fn without_directory(planned: Planned, request: &Request, why: &str) -> Planned {
    Planned {
        verdict: Verdict::Allowed,
        steps: steps(request),
        impact: impact(request),
        assumed: vec![format!("Directory {} is Ready and has a rule that allows it{why}", request.directory)],
        ..planned
    }
}

/// Which fact could not be read, and why. A throttled look-up is none: it can be read later.
fn not_read(world: &World) -> Option<String> {
    let request = world.subject.request()?;
    match (&world.facts.directory, &world.facts.user) {
        (Seen::Unknown(why), _) => Some(format!("Directory {} could not be read: {}", request.directory, why.message)),
        (_, Seen::Unknown(why)) if why.not_before.is_none() => {
            Some(format!("User {} could not be looked up: {}", request.user, why.message))
        }
        _ => None,
    }
}
