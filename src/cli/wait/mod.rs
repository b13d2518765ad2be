//! `credreset wait`: waits until requests are finished, or need attention. Changes nothing.
mod progress;
mod render;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, bail};
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Client, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use serde::Serialize;

use self::progress::Progress;
use super::{
    cluster::{Access, api_error, connect},
    sources::manifests::{self, Change},
    terminal::{self, ReviewOutput},
};
use crate::{
    api::CredentialReset,
    core::{
        reason::{Outcome, Reason},
        text::{MESSAGE, is_object_name, printable},
    },
};

/// Flags of `credreset wait`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "An argument is a file or folder if that exists, else a name; creset/NAME is always a name. A request given by name \
                  must exist. A request from a manifest may not exist yet; without --timeout, wait waits for it indefinitely.

Exit codes, the first that applies: 3, the outcome of a request is unknown; 2, one was refused, has expired or needs attention; 4, one \
                  was still open at --timeout; 0, all were applied, or had ended before; 1, an error.

Examples:
  credreset wait resets --timeout 10m
  credreset wait annette-locked-out -n helpdesk
  credreset wait --selector incident=inc-88 -n helpdesk --output json"
)]
pub struct Args {
    /// Files or folders with manifests, - for standard input, or names of requests
    #[arg(value_name = "FILE|DIR|-|NAME", required_unless_present = "selector", conflicts_with = "selector")]
    what: Vec<String>,
    /// Wait for requests with these labels, such as incident=inc-88
    #[arg(long, short = 'l', value_name = "LABELS")]
    selector: Option<String>,
    /// Namespace of names, and of manifests without one; defaults to that of the kubeconfig's context
    #[arg(long, short)]
    namespace: Option<String>,
    /// Maximal time to wait
    #[arg(long, value_parser = terminal::duration, value_name = "DURATION")]
    timeout: Option<SignedDuration>,
    /// Format of the report; markdown is for a comment on a pull request
    #[arg(long, short, value_enum, default_value_t = ReviewOutput::Text)]
    output: ReviewOutput,
    #[command(flatten)]
    access: Access,
}

/// Phase of a request, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Phase {
    /// Nothing more will happen, and no action is needed: applied, or ended before.
    Done,
    /// In progress, or not in the cluster yet.
    Open,
    /// Refused, expired, deleted, or waiting until an administrator or the requester fixes something.
    NeedsAttention,
    /// It is unknown whether the reset took effect.
    Unknown,
}

/// A request that is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Waited {
    /// Namespace of the object.
    namespace: String,
    /// Name of the object.
    name: String,
    /// Its phase.
    phase: Phase,
    /// The user's name in the directory; as in the manifest until it was looked up.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// The outcome in its status; none while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    /// The reason in its status.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    /// The message in its status: what happened, or what it waits for and until when.
    message: String,
    /// Its deadline: the operator does not start the reset after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    deadline: Option<Timestamp>,
}

/// What `--output json` prints.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The timeout elapsed before all requests were finished.
    timed_out: bool,
    /// The requests.
    requests: Vec<Waited>,
}

impl Waited {
    fn absent((namespace, name): (String, String), phase: Phase, message: &str) -> Self {
        let message = message.to_owned();
        Self { namespace, name, phase, user: None, outcome: None, reason: None, message, deadline: None }
    }

    fn of(object: &CredentialReset) -> Self {
        let status = object.status.clone().unwrap_or_default();
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
        let request = object.request();
        let found = status.user.map(|user| user.name);
        let summary = object.status_summary();
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            phase: match ready.map(|ready| ready.status.as_str()) {
                Some("True") => Phase::Done,
                Some("False") if status.outcome == Some(Outcome::Unknown) => Phase::Unknown,
                Some("False") => Phase::NeedsAttention,
                _ => Phase::Open,
            },
            user: found.or_else(|| Some(request.as_ref().ok()?.user.to_string())),
            outcome: status.outcome,
            reason: summary.reason,
            message: summary.message.unwrap_or_default(),
            deadline: request.ok().map(|request| request.deadline()),
        }
    }

    fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Reason and message, with control characters escaped.
    fn why(&self) -> String {
        let reason = self.reason.map_or_else(String::new, |reason| format!("{reason}: "));
        printable(&format!("{reason}{}", self.message), MESSAGE)
    }
}

/// The requests to wait for.
enum Wanted {
    /// By labels, in one namespace.
    Labels(String),
    /// By namespace and name. True: the name is an argument, and the request must exist.
    Named(BTreeMap<(Option<String>, String), bool>),
}

/// Waits and prints the report. The exit code depends on the worst phase.
///
/// # Errors
/// If a manifest cannot be read, a named request does not exist, or requests cannot be watched.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    terminal::runtime()?.block_on(wait(args))
}

async fn wait(args: Args) -> anyhow::Result<ExitCode> {
    let Args { what, selector, namespace, timeout, output, access } = args;
    let wanted = match selector {
        Some(labels) => Wanted::Labels(labels),
        None => Wanted::Named(named(&what, namespace.as_ref())?),
    };
    let client = connect(&access).await?;
    let default_namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let mut watch = Watch::new(wanted, default_namespace);
    let finished = watch.follow(client);
    let timed_out = match timeout {
        None => finished.await.map(|()| false)?,
        Some(limit) => match tokio::time::timeout(limit.unsigned_abs(), finished).await {
            Ok(ended) => ended.map(|()| false)?,
            Err(_) => true,
        },
    };
    watch.progress.end();
    let report = Report { timed_out, requests: watch.requests.into_values().collect() };
    let worst = report.requests.iter().map(|request| request.phase).max();
    let text = match output {
        ReviewOutput::Text => render::text(&report),
        ReviewOutput::Markdown => render::markdown(&report),
        ReviewOutput::Json => terminal::json(&report)?,
    };
    terminal::print(&text)?;
    Ok(match worst {
        Some(Phase::Unknown) => ExitCode::from(3),
        Some(Phase::NeedsAttention) => ExitCode::from(2),
        Some(Phase::Open) => ExitCode::from(4),
        None if timed_out => ExitCode::from(4),
        Some(Phase::Done) | None => ExitCode::SUCCESS,
    })
}

/// The requests of the arguments: of manifests, and by name.
fn named(what: &[String], namespace: Option<&String>) -> anyhow::Result<BTreeMap<(Option<String>, String), bool>> {
    let mut all = BTreeMap::new();
    for word in what {
        let path = Path::new(word);
        let name = word.strip_prefix("creset/").filter(|name| is_object_name(name));
        if let Some(name) = name.or_else(|| Some(word.as_str()).filter(|word| is_object_name(word) && !path.exists())) {
            // A mistyped file name is more likely than a request of such a name.
            if path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json") {
                bail!("{word} cannot be read: there is no such file (creset/{word} would be a request of that name)");
            }
            all.insert((namespace.cloned(), name.to_owned()), true);
            continue;
        }
        let found = manifests::read(path)?;
        manifests::require_some(path, &found)?;
        for manifest in found {
            match manifest.change {
                Change::Other(_) => continue,
                Change::Unclear(why) => bail!("{}: {why}", manifest.file),
                Change::Added | Change::Edited | Change::Deleted => {}
            }
            let of = |field: &str| manifest.object["metadata"][field].as_str().map(str::to_owned);
            let name = of("name").filter(|name| is_object_name(name));
            let name = name.with_context(|| format!("{}: a CredentialReset has no valid name", manifest.file))?;
            all.entry((of("namespace").or_else(|| namespace.cloned()), name)).or_insert(false);
        }
    }
    Ok(all)
}

/// The watched requests.
struct Watch {
    /// What to watch, by namespace.
    selectors: BTreeMap<String, watcher::Config>,
    /// The requests to wait for. `None`: all that the selector matches.
    named: Option<BTreeMap<(String, String), bool>>,
    requests: BTreeMap<(String, String), Waited>,
    /// Those that have changed since they were shown.
    changed: BTreeSet<(String, String)>,
    progress: Progress,
}

impl Watch {
    fn new(wanted: Wanted, default_namespace: String) -> Self {
        let mut selectors = BTreeMap::new();
        let mut requests = BTreeMap::new();
        let named = match wanted {
            Wanted::Labels(labels) => {
                selectors.insert(default_namespace, watcher::Config::default().labels(&labels));
                None
            }
            Wanted::Named(names) => {
                let names: BTreeMap<(String, String), bool> = names
                    .into_iter()
                    .map(|((namespace, name), must)| {
                        ((namespace.unwrap_or_else(|| default_namespace.clone()), name), must)
                    })
                    .collect();
                for (namespace, name) in names.keys() {
                    let several = names.keys().filter(|(other, _)| other == namespace).count() > 1;
                    let config = watcher::Config::default();
                    let config = if several { config } else { config.fields(&format!("metadata.name={name}")) };
                    selectors.insert(namespace.clone(), config);
                }
                for key in names.keys() {
                    let missing = Waited::absent(key.clone(), Phase::Open, "It is not in the cluster yet.");
                    requests.insert(key.clone(), missing);
                }
                Some(names)
            }
        };
        Self { selectors, named, requests, changed: BTreeSet::new(), progress: Progress::new() }
    }

    /// Returns when no request is open.
    async fn follow(&mut self, client: Client) -> anyhow::Result<()> {
        let streams = self.selectors.iter().map(|(namespace, config)| {
            let api: Api<CredentialReset> = Api::namespaced(client.clone(), namespace);
            let events = watcher::watcher(api, config.clone()).default_backoff();
            let namespace = namespace.clone();
            events.map(move |event| (namespace.clone(), event)).boxed()
        });
        let mut events = stream::select_all(streams.collect::<Vec<_>>());
        let mut listed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut ready: BTreeSet<String> = BTreeSet::new();
        while let Some((namespace, event)) = events.next().await {
            match event {
                Ok(Event::Init) => drop(listed.insert(namespace, BTreeSet::new())),
                Ok(Event::InitApply(object)) => {
                    listed.entry(namespace).or_default().insert(object.name_any());
                    self.update(&object);
                }
                Ok(Event::InitDone) => {
                    let there = listed.remove(&namespace).unwrap_or_default();
                    self.compare_list(&namespace, &there)?;
                    ready.insert(namespace);
                }
                Ok(Event::Apply(object)) => self.update(&object),
                Ok(Event::Delete(object)) => self.remove((namespace, object.name_any())),
                Err(error) => check_error(&namespace, error)?,
            }
            if ready.len() < self.selectors.len() {
                continue;
            }
            self.progress.show(&self.requests, &std::mem::take(&mut self.changed));
            if !self.requests.values().any(|request| request.phase == Phase::Open) {
                return Ok(());
            }
        }
        bail!("the watch has ended")
    }

    fn update(&mut self, object: &CredentialReset) {
        let seen = Waited::of(object);
        let key = (seen.namespace.clone(), seen.name.clone());
        if self.named.as_ref().is_none_or(|named| named.contains_key(&key)) {
            self.change(key, seen);
        }
    }

    fn remove(&mut self, key: (String, String)) {
        if self.requests.get(&key).is_some_and(|known| known.deadline.is_some()) {
            let message =
                "It was deleted meanwhile. The operator finishes a reset that had begun; its record has the outcome.";
            let gone = Waited::absent(key.clone(), Phase::NeedsAttention, message);
            self.change(key, gone);
        }
    }

    /// Called with all requests of a namespace: handles those that are missing.
    fn compare_list(&mut self, namespace: &str, there: &BTreeSet<String>) -> anyhow::Result<()> {
        let known: Vec<String> =
            self.requests.keys().filter(|key| key.0 == namespace).map(|key| key.1.clone()).collect();
        for name in known.into_iter().filter(|name| !there.contains(name)) {
            let key = (namespace.to_owned(), name);
            let seen = self.requests.get(&key).is_some_and(|known| known.deadline.is_some());
            if !seen && self.named.as_ref().and_then(|named| named.get(&key)) == Some(&true) {
                bail!(
                    "there is no request {} in namespace {namespace}: if it is in another one, add -n NAMESPACE",
                    key.1
                );
            }
            self.remove(key);
        }
        if self.requests.is_empty() {
            bail!("no request in namespace {namespace} has these labels");
        }
        Ok(())
    }

    fn change(&mut self, key: (String, String), now: Waited) {
        if self.requests.get(&key) != Some(&now) {
            self.changed.insert(key.clone());
            self.requests.insert(key, now);
        }
    }
}

/// An error if the watch can never work; other failures are retried.
fn check_error(namespace: &str, error: watcher::Error) -> anyhow::Result<()> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
            if matches!(status.code, 400 | 401 | 403 | 404) =>
        {
            Err(api_error(kube::Error::Api(status)))
                .with_context(|| format!("the requests of namespace {namespace} cannot be watched"))
        }
        _ => Ok(()),
    }
}
