//! `credreset plan`: forecasts what the operator would do with requests, for their review. Changes nothing.
mod comment;
mod groups;
mod parse;
mod progress;
mod request;
mod set;
mod text;

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use futures::StreamExt;
use jiff::Timestamp;
use rayon::prelude::*;
use serde::Serialize;

use self::{
    parse::{Parsed, parse, refuse_duplicates},
    progress::Progress,
    request::plan_request,
    set::{Member, Queue},
};
use super::{
    cluster::{Access, connect},
    markdown,
    sources::{DirectorySource, Sources, cluster::Cluster, filed::Filed, files, manifests},
    terminal::{self, ReviewOutput},
};
use crate::{
    api::validation::Rules,
    core::{
        forecast::Verdict,
        text::{MESSAGE, printable},
        user::UserId,
    },
};

/// Reason of a document that is not a request, or that tools read differently.
const NOT_PLANNED: &str = "NotPlanned";
/// Look-ups at the same time; few, since others use the directory as well.
const CONCURRENT_LOOK_UPS: usize = 8;

/// Flags of `credreset plan`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Exit codes: 0, every request is allowed or needs no reset; 2, one is refused; 3, one cannot be determined, or a user has two; 1, an error.

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
    /// With --output markdown: maximal size of the comment; what does not fit is left out, row by row
    #[arg(long, value_name = "BYTES", default_value_t = markdown::MAX_BYTES as u64, value_parser = clap::value_parser!(u64).range(2000..))]
    max_bytes: u64,
    /// Also write the comment to this file, with every request, whatever its size
    #[arg(long, value_name = "FILE")]
    whole: Option<PathBuf>,
    /// With --output markdown: address of the whole plan, such as the job's page, for what the comment leaves out
    #[arg(long, value_name = "URL", value_parser = comment::link)]
    link: Option<String>,
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
    /// What people call the user, as in the directory. It identifies nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<String>,
    /// What the operator would do.
    verdict: Verdict,
    /// A reason of the API, or Invalid, Forbidden, Edited, Deleted, Repeated; Twice: another open request resets the same user;
    /// `NotReadable`: a fact could not be read; `NotPlanned`: not a request, or one that tools read differently.
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
    /// When the limits let it begin, if that is not at once; others of the set come first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    starts_at: Option<Timestamp>,
    /// Where the password goes: a Secret, or mail to the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    password_to: Option<String>,
    /// What the operator would do, in order.
    steps: Vec<String>,
    /// The same without the names of the user and of the Secret, to find the requests that differ in nothing else.
    #[serde(skip)]
    common_steps: Vec<String>,
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

impl Planned {
    /// The operator would not carry it out as it is, or one cannot know.
    fn stop(&mut self, verdict: Verdict, reason: &str, message: String) {
        (self.verdict, self.reason, self.message) = (verdict, Some(reason.to_owned()), Some(message));
        self.starts_at = None;
        self.steps.clear();
        self.common_steps.clear();
        self.impact.clear();
    }
}

/// What `--output json` prints.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Report {
    /// The worst of the verdicts.
    verdict: Verdict,
    /// One for each request.
    requests: Vec<Planned>,
    /// How the limits affect the set, for each Directory whose limits are known.
    queues: Vec<Queue>,
}

/// Prints the plan. The exit code depends on the worst verdict.
///
/// # Errors
/// If manifests, the cluster or Directories cannot be read.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    terminal::runtime()?.block_on(plan(args))
}

async fn plan(args: Args) -> anyhow::Result<ExitCode> {
    let output = (args.output, args.max_bytes, args.whole.clone(), args.link.clone());
    let report = report(args).await?;
    let (output, max_bytes, whole, link) = output;
    if let Some(file) = whole {
        fs::write(&file, comment::whole(&report))
            .with_context(|| format!("{} cannot be written", printable(&file.display().to_string(), MESSAGE)))?;
    }
    let text = match output {
        ReviewOutput::Text => text::text(&report),
        ReviewOutput::Markdown => {
            comment::bounded(&report, usize::try_from(max_bytes).unwrap_or(usize::MAX), link.as_deref())
        }
        ReviewOutput::Json => terminal::json(&report)?,
    };
    terminal::print(&text)?;
    Ok(match report.verdict {
        Verdict::Nothing | Verdict::Allowed => ExitCode::SUCCESS,
        Verdict::Refused => ExitCode::from(2),
        Verdict::Unclear => ExitCode::from(3),
    })
}

async fn report(args: Args) -> anyhow::Result<Report> {
    let Args { path, directories, offline, base, for_account, namespace, operator_namespace, access, .. } = args;
    let all = match &base {
        None => manifests::read(&path)?,
        Some(base) => manifests::changed(&path, base)?,
    };
    if base.is_none() {
        manifests::require_some(&path, &all)?;
    }
    let progress = Progress::new(all.len());
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
    let requests = || parsed.iter().filter_map(|parsed| parsed.request.as_ref());
    let wanted: BTreeSet<String> = requests().map(|request| request.directory.clone()).collect();
    let filed = match &cluster {
        Some(cluster) => {
            Filed::list(&cluster.client, &requests().map(|request| request.namespace.clone()).collect()).await
        }
        None => Filed::default(),
    };
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
        .inspect(|_| progress.advance())
        .collect::<Vec<anyhow::Result<Member>>>()
        .await;
    let mut members = planned.into_iter().collect::<anyhow::Result<Vec<Member>>>()?;
    if let Some(assumed) = &filed.assumed {
        let allowed = members.iter_mut().filter(|member| member.planned.verdict == Verdict::Allowed);
        allowed.for_each(|member| member.planned.assumed.push(assumed.clone()));
    }
    set::mark_twice(&mut members, sources.as_ref(), &filed);
    let queues = sources.map(|sources| set::queue(&mut members, &sources, &filed)).unwrap_or_default();
    let requests: Vec<Planned> = members.into_iter().map(|member| member.planned).collect();
    let verdict = requests.iter().map(|p| p.verdict).max().unwrap_or(Verdict::Nothing);
    Ok(Report { verdict, requests, queues })
}
