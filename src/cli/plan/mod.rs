//! `credreset plan`: what would come of requests, for whoever reviews them. Changes nothing.
pub(super) mod manifests;
mod words;
pub(super) mod world;
mod yaml;

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use futures::StreamExt;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::ResourceExt;
use rayon::prelude::*;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;

use crate::{
    api::{self, CredentialReset, validation::Rules},
    core::{
        Request,
        forecast::{Verdict, forecast},
        ledger::UserId,
        report::Shown,
        text,
        world::Seen,
    },
    directory::Credentials,
};
use manifests::{Change, Manifest};
use world::{Cluster, Known, Sources, Told};

/// Reason of what is no request that every tool reads alike.
const NOT_PLANNED: &str = "NotPlanned";
/// Look-ups at the same time: a directory is not there for us alone.
const AT_ONCE: usize = 8;

/// Flags of `credreset plan`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Exit codes: 0, all are allowed, or nothing more happens; 2, one is refused; 3, one cannot be told; 1, failed.

Examples:
  credreset plan resets/annette.yaml
  credreset plan resets --base origin/main --output markdown --as system:serviceaccount:helpdesk:credreset-pipeline
  credreset plan resets --directories directories --offline"
)]
pub struct Args {
    /// A file, a folder with all below it, or - for standard input
    #[arg(value_name = "FILE|DIR|-")]
    path: PathBuf,
    /// Take Directories, and the Secrets they name, from this file or folder, and ask no cluster
    #[arg(long, value_name = "FILE|DIR")]
    directories: Option<PathBuf>,
    /// Ask neither a cluster nor a directory: schema, rules of the schema and of Directories
    #[arg(long)]
    offline: bool,
    /// Plan only what differs from this commit, such as a pull request's base
    #[arg(long, value_name = "COMMIT")]
    base: Option<String>,
    /// Ask whether this user, who will create the requests, may; such as a pipeline's account
    #[arg(long = "as", value_name = "USER", conflicts_with_all = ["offline", "directories"])]
    creator: Option<String>,
    /// Namespace of manifests that name none
    #[arg(long, short)]
    namespace: Option<String>,
    /// The operator's namespace
    #[arg(long, env = "CREDRESET_NAMESPACE", default_value = "credreset-system", value_name = "NAMESPACE")]
    operator_namespace: String,
    /// For people, for a pull request's comment, or for programs
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// How a plan is written.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Text,
    Markdown,
    Json,
}

/// What a plan says of one request.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Planned {
    /// The file.
    file: String,
    /// Namespace of the object.
    namespace: String,
    /// Name of the object.
    name: String,
    /// The Directory.
    directory: String,
    /// Password or MFA.
    mode: String,
    /// The user, as typed.
    user: String,
    /// The user, as the directory names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<UserId>,
    /// In a word.
    verdict: Verdict,
    /// A reason of the API, or Invalid, Forbidden, Edited, Deleted, Repeated; `NotPlanned` of what is no request that every tool reads alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What stands in the way, or what it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// The rule of the Directory that allows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    /// So many people have to approve it in the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    approvals: Option<u32>,
    /// What would be done, in this order.
    steps: Vec<String>,
    /// What that is for the user; completes "The user ...".
    cost: Vec<String>,
    /// What was not looked at and is taken to be so.
    assumed: Vec<String>,
    /// Why, in the words of who asked.
    asked_because: String,
    /// Who asks, as the request says.
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_by: Option<String>,
    /// What an approval in the cluster would be for.
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

/// Plans, prints, and says by its exit code what came of it.
///
/// # Errors
/// What could not be read or reached.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    super::runtime()?.block_on(plan(args))
}

async fn plan(args: Args) -> anyhow::Result<ExitCode> {
    let Args { path, directories, offline, base, creator, namespace, operator_namespace, output } = args;
    let all = match &base {
        None => manifests::read(&path)?,
        Some(base) => manifests::changed(&path, base)?,
    };
    if base.is_none() {
        manifests::some(&path, &all)?;
    }
    let rules = Rules::new().map_err(anyhow::Error::msg).context("the rules of the API cannot be read")?;
    let cluster = if offline || directories.is_some() {
        None
    } else {
        let client = super::cluster().await?;
        let namespace = client.default_namespace().to_owned();
        Some((Cluster::new(client, &operator_namespace, creator).await, namespace))
    };
    let (cluster, usual) = cluster.unzip();
    let namespace = namespace.or(usual);
    let parse = |manifest| parse(manifest, namespace.as_deref(), &rules);
    let mut parsed: Vec<Parsed> = all.into_par_iter().map(parse).collect();
    refuse_repeated(&mut parsed);
    let wanted: BTreeSet<String> = parsed.iter().filter_map(|p| Some(p.request.as_ref()?.directory.clone())).collect();
    let known = match (&cluster, &directories) {
        (Some(cluster), _) => {
            let mut known = HashMap::new();
            for name in wanted {
                known.insert(name.clone(), Known::of_cluster(cluster, &name).await);
            }
            Some(known)
        }
        (None, Some(path)) => Some(from_files(path, &wanted, offline).await?),
        (None, None) => None,
    };
    let sources = known.map(|directories| Sources { cluster, directories, offline });
    let planned = futures::stream::iter(parsed)
        .map(|parsed| tell(parsed, sources.as_ref()))
        .buffered(AT_ONCE)
        .collect::<Vec<anyhow::Result<Planned>>>()
        .await;
    let requests = planned.into_iter().collect::<anyhow::Result<Vec<Planned>>>()?;
    let verdict = requests.iter().map(|p| p.verdict).max().unwrap_or(Verdict::Nothing);
    let report = Report { verdict, requests };
    let text = match output {
        Output::Text => words::text(&report),
        Output::Markdown => words::markdown(&report),
        Output::Json => super::json(&report)?,
    };
    super::print(&text)?;
    Ok(match verdict {
        Verdict::Nothing | Verdict::Allowed => ExitCode::SUCCESS,
        Verdict::Refused => ExitCode::from(2),
        Verdict::Unclear => ExitCode::from(3),
    })
}

/// A manifest, and its request if it makes one.
struct Parsed {
    planned: Planned,
    request: Option<Request>,
}

fn parse(mut manifest: Manifest, namespace: Option<&str>, rules: &Rules) -> Parsed {
    if manifest.object["metadata"]["namespace"].is_null()
        && let (Some(namespace), true) = (namespace, manifest.object["metadata"].is_object())
    {
        manifest.object["metadata"]["namespace"] = Value::from(namespace);
    }
    let Manifest { file, object, change } = manifest;
    let of = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let typed =
        ["email", "username", "id"].map(|by| of(&format!("/spec/user/{by}"))).into_iter().find(|t| !t.is_empty());
    let planned = Planned {
        file,
        namespace: of("/metadata/namespace"),
        name: of("/metadata/name"),
        directory: of("/spec/directory"),
        mode: of("/spec/mode"),
        user: typed.unwrap_or_default(),
        found: None,
        verdict: Verdict::Refused,
        reason: None,
        message: None,
        rule: None,
        approvals: None,
        steps: Vec::new(),
        cost: Vec::new(),
        assumed: Vec::new(),
        asked_because: of("/spec/reason"),
        requested_by: Some(of("/spec/requestedBy")).filter(|by| !by.is_empty()),
        digest: None,
    };
    let refuse = |reason: &str, message: String| Parsed {
        planned: Planned { reason: Some(reason.to_owned()), message: Some(message), ..planned.clone() },
        request: None,
    };
    match change {
        Change::Added => {}
        Change::Other(why) | Change::Unclear(why) => return refuse(NOT_PLANNED, why),
        Change::Edited => {
            return refuse(
                "Edited",
                "A request never changes, and the API server refuses this edit. Leave the old file as it was, and file a new request \
                 under another name, with its own requestedAt."
                    .to_owned(),
            );
        }
        Change::Deleted => {
            let mut deleted = refuse(
                "Deleted",
                "The object goes. A reset that has not begun never begins; one that was carried out stays, and so does its record."
                    .to_owned(),
            );
            deleted.planned.verdict = Verdict::Nothing;
            return deleted;
        }
    }
    if planned.namespace.is_empty() {
        return refuse("Invalid", "metadata.namespace is missing: name it there or by --namespace.".to_owned());
    }
    let faults = rules.faults(&object);
    if !faults.is_empty() {
        return refuse("Invalid", format!("The API server refuses it. {}.", faults.join("; ")));
    }
    let request =
        match serde_json::from_value::<CredentialReset>(object).map_err(|e| e.to_string()).and_then(|o| o.request()) {
            Ok(request) => Request { created: jiff::Timestamp::now(), ..request },
            Err(wrong) => return refuse("Invalid", format!("{wrong}.")),
        };
    Parsed { planned: Planned { digest: Some(request.spec_digest()), ..planned }, request: Some(request) }
}

/// Of two requests that come to one, only the first is made.
fn refuse_repeated(all: &mut [Parsed]) {
    let (mut names, mut asked) = (HashMap::new(), HashMap::new());
    for Parsed { planned, request: made } in all {
        let Some(request) = made else { continue };
        let (namespace, name) = (&request.namespace, &request.name);
        // What the ledger takes for one request.
        let user = request.user.typed().to_lowercase();
        let same = (request.directory.clone(), user, request.mode(), request.requested_at);
        let repeated = if let Some(other) = names.insert((namespace.clone(), name.clone()), planned.file.clone()) {
            format!(
                "{other} has another CredentialReset {namespace}/{name}: one of them replaces the other. Rename it."
            )
        } else if let Some(other) = asked.insert(same, planned.file.clone()) {
            format!(
                "{other} asks for the same reset of the same user at the same requestedAt: only one of them is carried out. Remove one."
            )
        } else {
            continue;
        };
        (planned.reason, planned.message, planned.digest) = (Some("Repeated".to_owned()), Some(repeated), None);
        *made = None;
    }
}

/// The Directories of a file or folder that requests name.
async fn from_files(path: &Path, wanted: &BTreeSet<String>, offline: bool) -> anyhow::Result<HashMap<String, Known>> {
    let (directories, secrets) = described(path, !offline)?;
    let mut known: HashMap<String, Known> = wanted.iter().map(|name| (name.clone(), Known::absent())).collect();
    for object in directories.iter().filter(|object| wanted.contains(&object.name_any())) {
        known.insert(object.name_any(), Known::of_file(object, &secrets, offline).await);
    }
    Ok(known)
}

/// The Directories in a file or folder, and the Secrets beside them by name.
pub(super) fn described(
    path: &Path,
    with_secrets: bool,
) -> anyhow::Result<(Vec<api::Directory>, HashMap<String, Credentials>)> {
    let mut directories = Vec::new();
    let mut secrets = HashMap::new();
    for (file, object) in manifests::all(path)? {
        let wrong = |e: serde_json::Error| anyhow::anyhow!("{file}: {e}");
        if object["kind"] == "Directory"
            && object["apiVersion"].as_str().is_some_and(|v| v.starts_with("credreset.dev/"))
        {
            directories.push(serde_json::from_value::<api::Directory>(object).map_err(wrong)?);
        } else if object["kind"] == "Secret" && object["apiVersion"] == "v1" && with_secrets {
            // What is wrong with it is not repeated: it may be a password.
            let name = text::shown(object["metadata"]["name"].as_str().unwrap_or_default(), text::NAME);
            let secret: Secret = serde_json::from_value(object).map_err(|_| {
                anyhow::anyhow!(
                    "{file}: a value of Secret {name} is none: data is base64, stringData text, in quotes where it is a number or yes"
                )
            })?;
            secrets.insert(secret.name_any(), contents(secret));
        }
    }
    Ok((directories, secrets))
}

fn contents(secret: Secret) -> Credentials {
    let data = secret
        .data
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(key, ByteString(bytes))| Some((key, String::from_utf8(bytes).ok()?)));
    let all = data.chain(secret.string_data.unwrap_or_default());
    all.map(|(key, value)| (key, SecretString::from(value))).collect()
}

async fn tell(parsed: Parsed, sources: Option<&Sources>) -> anyhow::Result<Planned> {
    let Parsed { planned, request } = parsed;
    let Some(request) = request else { return Ok(planned) };
    let Some(sources) = sources else {
        return Ok(Planned {
            verdict: Verdict::Allowed,
            steps: crate::core::plan::steps(&request),
            cost: crate::core::plan::cost(&request),
            assumed: vec![format!("Directory {} is Ready and has a rule that allows it", request.directory)],
            ..planned
        });
    };
    let mut request = request;
    let mut shown = Shown::default();
    if let Some(cluster) = &sources.cluster {
        let at = format!("creset {}/{}", request.namespace, request.name);
        let found = cluster
            .object(&request.namespace, &request.name)
            .await
            .map_err(super::said)
            .with_context(|| format!("{at} could not be read"))?;
        if let Some(object) = found {
            let there = object.request().map_err(|wrong| anyhow::anyhow!("{at} makes no sense: {wrong}"))?;
            if there.spec_digest() != request.spec_digest() {
                return Ok(Planned {
                    reason: Some("Edited".to_owned()),
                    message: Some(format!(
                        "There is a {at} with another spec, and a request never changes: file this one under another name."
                    )),
                    ..planned
                });
            }
            (request, shown) = (there, object.shown());
        } else if let Some(why) = cluster
            .refusal(&request)
            .await
            .map_err(super::said)
            .context("whether --as may create it could not be asked")?
        {
            return Ok(Planned { reason: Some("Forbidden".to_owned()), message: Some(why), ..planned });
        }
    }
    let Told { world, decision, assumed } = sources.tell(request, shown.clone()).await;
    let Some(forecast) = forecast(&world, &decision) else { bail!("the decision does not come to rest") };
    let mut verdict = forecast.verdict;
    let mut assumed: Vec<String> = assumed.into_iter().collect();
    let (mut reason, mut message) = match forecast.view {
        Some(view) => (Some(view.reason.to_string()), Some(view.message)),
        None if verdict == Verdict::Nothing => (shown.reason.map(|r| r.to_string()), shown.message),
        None => (None, None),
    };
    let (mut steps, mut cost) = (forecast.steps, forecast.cost);
    if sources.offline && verdict == Verdict::Unclear {
        // What only a cluster or a directory can tell is no objection here.
        verdict = Verdict::Allowed;
        assumed.extend(message.take());
        reason = None;
        if let Some(request) = world.subject.request() {
            (steps, cost) = (crate::core::plan::steps(request), crate::core::plan::cost(request));
        }
    }
    let found = match &world.user {
        Seen::Known(crate::core::world::Found::One(user)) if !sources.offline => Some(user.id.clone()),
        _ => None,
    };
    Ok(Planned {
        found,
        verdict,
        reason,
        message,
        rule: forecast.rule.map(|rule| rule.name.clone()),
        approvals: forecast.rule.and_then(|rule| Some(rule.approvals.as_ref()?.count)),
        steps,
        cost,
        assumed,
        ..planned
    })
}
