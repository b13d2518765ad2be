//! `credreset wait`: until requests are settled, or need somebody. Watches them, and changes nothing.
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::Path,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use futures::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Client, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use serde::Serialize;

use super::{
    Output,
    plan::manifests::{self, Change},
    said,
};
use crate::{
    api::CredentialReset,
    core::{
        report::{Outcome, Reason},
        text::{MESSAGE, NAME, is_object_name, shown},
    },
};

/// Bytes of a message in the table.
const CUT: usize = 80;

/// Flags of `credreset wait`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "What exists as a file or folder is taken for one; creset/NAME is always a name. A name must be there; a manifest's request that \
                  is not in the cluster yet is waited for, without end unless --timeout says one. Every other ends with its deadline.

Exit codes, the first that is true: 3, of one it cannot be told whether it took effect; 2, one is refused, has expired or needs somebody; 4, \
                  one was still open at --timeout; 0, all are applied, or were over before; 1, failed.

Examples:
  credreset wait resets --timeout 10m
  credreset wait annette-locked-out -n helpdesk
  credreset wait --selector incident=inc-88 -n helpdesk --output json"
)]
pub struct Args {
    /// Files or folders with manifests, - for standard input, or names of requests
    #[arg(value_name = "FILE|DIR|-|NAME", required_unless_present = "selector", conflicts_with = "selector")]
    what: Vec<String>,
    /// Requests of the namespace with these labels, such as incident=inc-88
    #[arg(long, short = 'l', value_name = "LABELS")]
    selector: Option<String>,
    /// Namespace of names, and of manifests that name none; that of the kubeconfig's context, if left out
    #[arg(long, short)]
    namespace: Option<String>,
    /// Wait no longer than this
    #[arg(long, value_parser = super::duration, value_name = "DURATION")]
    timeout: Option<SignedDuration>,
    /// For people, or for programs
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Where a request stands, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Standing {
    /// Nothing more will happen, and nobody need look: applied, or over before.
    Done,
    /// Work goes on, or the request is not in the cluster yet.
    Open,
    /// Refused, expired, deleted, or waiting for somebody to mend something.
    NeedsSomebody,
    /// It cannot be told whether it took effect.
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
    /// Where it stands.
    standing: Standing,
    /// The user, as the directory names it, or as typed while that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// As in its status; none while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    /// As in its status.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    /// What happened, or what it waits for and until when.
    message: String,
    /// The request's own deadline: nothing is started after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    deadline: Option<Timestamp>,
}

/// What `--output json` prints.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The time was over before all were settled.
    timed_out: bool,
    /// Each that was waited for.
    requests: Vec<Waited>,
}

impl Waited {
    fn absent((namespace, name): (String, String), standing: Standing, message: &str) -> Self {
        let message = message.to_owned();
        Self { namespace, name, standing, user: None, outcome: None, reason: None, message, deadline: None }
    }

    fn of(object: &CredentialReset) -> Self {
        let status = object.status.clone().unwrap_or_default();
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
        let request = object.request();
        let found = status.user.map(|user| user.name);
        let shown = object.shown();
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            standing: match ready.map(|ready| ready.status.as_str()) {
                Some("True") => Standing::Done,
                Some("False") if status.outcome == Some(Outcome::Unknown) => Standing::Unknown,
                Some("False") => Standing::NeedsSomebody,
                _ => Standing::Open,
            },
            user: found.or_else(|| Some(request.as_ref().ok()?.user.to_string())),
            outcome: status.outcome,
            reason: shown.reason,
            message: shown.message.unwrap_or_default(),
            deadline: request.ok().map(|request| request.deadline()),
        }
    }

    fn at(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Reason and message, for a terminal.
    fn why(&self) -> String {
        let reason = self.reason.map_or_else(String::new, |reason| format!("{reason}: "));
        shown(&format!("{reason}{}", self.message), MESSAGE)
    }
}

/// What is to be waited for.
enum Wanted {
    /// By labels, in one namespace.
    Labels(String),
    /// By name. Those of names that somebody typed must be there.
    Named(BTreeMap<(Option<String>, String), bool>),
}

/// Waits, prints, and says by its exit code what came of it.
///
/// # Errors
/// What could not be read, is not there, or may not be watched.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    super::runtime()?.block_on(wait(args))
}

async fn wait(args: Args) -> anyhow::Result<ExitCode> {
    let Args { what, selector, namespace, timeout, output } = args;
    let wanted = match selector {
        Some(labels) => Wanted::Labels(labels),
        None => Wanted::Named(named(&what, namespace.as_ref())?),
    };
    let client = super::cluster().await?;
    let usual = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let mut watch = Watch::new(wanted, usual);
    let settled = watch.follow(client);
    let timed_out = match timeout {
        None => settled.await.map(|()| false)?,
        Some(most) => match tokio::time::timeout(most.unsigned_abs(), settled).await {
            Ok(ended) => ended.map(|()| false)?,
            Err(_) => true,
        },
    };
    watch.progress.end();
    let report = Report { timed_out, requests: watch.requests.into_values().collect() };
    let worst = report.requests.iter().map(|request| request.standing).max();
    let text = match output {
        Output::Text => text(&report),
        Output::Json => super::json(&report)?,
    };
    super::print(&text)?;
    Ok(match worst {
        Some(Standing::Unknown) => ExitCode::from(3),
        Some(Standing::NeedsSomebody) => ExitCode::from(2),
        Some(Standing::Open) => ExitCode::from(4),
        None if timed_out => ExitCode::from(4),
        Some(Standing::Done) | None => ExitCode::SUCCESS,
    })
}

/// The requests that files hold, or that are named.
fn named(what: &[String], namespace: Option<&String>) -> anyhow::Result<BTreeMap<(Option<String>, String), bool>> {
    let mut all = BTreeMap::new();
    for word in what {
        let path = Path::new(word);
        let name = word.strip_prefix("creset/").filter(|name| is_object_name(name));
        if let Some(name) = name.or_else(|| Some(word.as_str()).filter(|word| is_object_name(word) && !path.exists())) {
            // A file's name that was mistyped is more likely than a request of such a name.
            if path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json") {
                bail!("{word} cannot be read: there is no such file (creset/{word} would be a request of that name)");
            }
            all.insert((namespace.cloned(), name.to_owned()), true);
            continue;
        }
        let found = manifests::read(path)?;
        manifests::some(path, &found)?;
        for manifest in found {
            match manifest.change {
                Change::Other(_) => continue,
                Change::Unclear(why) => bail!("{}: {why}", manifest.file),
                Change::Added | Change::Edited | Change::Deleted => {}
            }
            let of = |field: &str| manifest.object["metadata"][field].as_str().map(str::to_owned);
            let name = of("name").filter(|name| is_object_name(name));
            let name =
                name.with_context(|| format!("{}: a CredentialReset has no name, or none that can be", manifest.file))?;
            all.entry((of("namespace").or_else(|| namespace.cloned()), name)).or_insert(false);
        }
    }
    Ok(all)
}

/// What is seen of the requests.
struct Watch {
    /// What to watch in each namespace.
    selectors: BTreeMap<String, watcher::Config>,
    /// The requests that count; all that are seen, if they were not named.
    named: Option<BTreeMap<(String, String), bool>>,
    requests: BTreeMap<(String, String), Waited>,
    progress: Progress,
}

impl Watch {
    fn new(wanted: Wanted, usual: String) -> Self {
        let mut selectors = BTreeMap::new();
        let mut requests = BTreeMap::new();
        let named = match wanted {
            Wanted::Labels(labels) => {
                selectors.insert(usual, watcher::Config::default().labels(&labels));
                None
            }
            Wanted::Named(names) => {
                let names: BTreeMap<(String, String), bool> = names
                    .into_iter()
                    .map(|((namespace, name), must)| ((namespace.unwrap_or_else(|| usual.clone()), name), must))
                    .collect();
                for (namespace, name) in names.keys() {
                    let several = names.keys().filter(|(other, _)| other == namespace).count() > 1;
                    let config = watcher::Config::default();
                    let config = if several { config } else { config.fields(&format!("metadata.name={name}")) };
                    selectors.insert(namespace.clone(), config);
                }
                for key in names.keys() {
                    let missing = Waited::absent(key.clone(), Standing::Open, "It is not in the cluster yet.");
                    requests.insert(key.clone(), missing);
                }
                Some(names)
            }
        };
        Self { selectors, named, requests, progress: Progress::new() }
    }

    /// Returns when no request is open any more.
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
                    self.see(&object);
                }
                Ok(Event::InitDone) => {
                    let there = listed.remove(&namespace).unwrap_or_default();
                    self.compare(&namespace, &there)?;
                    ready.insert(namespace);
                }
                Ok(Event::Apply(object)) => self.see(&object),
                Ok(Event::Delete(object)) => self.lose((namespace, object.name_any())),
                Err(error) => refused(&namespace, error)?,
            }
            if ready.len() < self.selectors.len() {
                continue;
            }
            self.progress.show(&self.requests);
            if !self.requests.values().any(|request| request.standing == Standing::Open) {
                return Ok(());
            }
        }
        bail!("the watch has ended")
    }

    fn see(&mut self, object: &CredentialReset) {
        let seen = Waited::of(object);
        let key = (seen.namespace.clone(), seen.name.clone());
        if self.named.as_ref().is_none_or(|named| named.contains_key(&key)) {
            self.change(key, seen);
        }
    }

    fn lose(&mut self, key: (String, String)) {
        if self.requests.get(&key).is_some_and(|known| known.deadline.is_some()) {
            let message = "It was deleted meanwhile. What had begun is finished, and is in its record.";
            let gone = Waited::absent(key.clone(), Standing::NeedsSomebody, message);
            self.change(key, gone);
        }
    }

    /// All that there is in a namespace is known.
    fn compare(&mut self, namespace: &str, there: &BTreeSet<String>) -> anyhow::Result<()> {
        let known: Vec<String> =
            self.requests.keys().filter(|key| key.0 == namespace).map(|key| key.1.clone()).collect();
        for name in known.into_iter().filter(|name| !there.contains(name)) {
            let key = (namespace.to_owned(), name);
            let seen = self.requests.get(&key).is_some_and(|known| known.deadline.is_some());
            if !seen && self.named.as_ref().and_then(|named| named.get(&key)) == Some(&true) {
                bail!("there is no creset {} in namespace {namespace}", key.1);
            }
            self.lose(key);
        }
        if self.requests.is_empty() {
            bail!("no creset in namespace {namespace} has these labels");
        }
        Ok(())
    }

    fn change(&mut self, key: (String, String), now: Waited) {
        if self.requests.get(&key) != Some(&now) {
            self.progress.change(&now);
            self.requests.insert(key, now);
        }
    }
}

/// What was said about a watch that will never work; else it is tried again.
fn refused(namespace: &str, error: watcher::Error) -> anyhow::Result<()> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
            if matches!(status.code, 400 | 401 | 403 | 404) =>
        {
            Err(said(kube::Error::Api(status)))
                .with_context(|| format!("the requests of namespace {namespace} cannot be watched"))
        }
        _ => Ok(()),
    }
}

/// On standard error: a bar on a terminal, else a line for each change.
struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    fn new() -> Self {
        let bar = ProgressBar::new(0);
        if bar.is_hidden() {
            return Self { bar: None };
        }
        if let Ok(style) = ProgressStyle::with_template("[{bar:30}] {pos}/{len} {elapsed} {wide_msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar: Some(bar) }
    }

    /// One has changed.
    fn change(&self, request: &Waited) {
        if self.bar.is_none() {
            // Nobody reads it any more, perhaps; the end is on standard output.
            let _ = writeln!(std::io::stderr(), "{}: {}", request.at(), request.why());
        }
    }

    /// How far all are.
    fn show(&self, all: &BTreeMap<(String, String), Waited>) {
        let Some(bar) = &self.bar else { return };
        let open: Vec<&Waited> = all.values().filter(|request| request.standing == Standing::Open).collect();
        if bar.length() == Some(0) {
            bar.enable_steady_tick(Duration::from_secs(1));
        }
        bar.set_length(all.len() as u64);
        bar.set_position((all.len() - open.len()) as u64);
        // Whose deadline comes first is what one would look at.
        let first = open.into_iter().min_by_key(|request| request.deadline);
        bar.set_message(first.map(|request| format!("{}: {}", request.at(), request.why())).unwrap_or_default());
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

fn text(report: &Report) -> String {
    let rows = report.requests.iter().map(|request| {
        [
            request.at(),
            shown(request.user.as_deref().unwrap_or("-"), NAME),
            request.outcome.map_or_else(|| "-".to_owned(), |outcome| format!("{outcome:?}")),
            request.reason.map_or_else(|| "-".to_owned(), |reason| reason.to_string()),
            shown(&request.message, CUT),
        ]
    });
    let table = super::table(["REQUEST", "USER", "OUTCOME", "REASON", "MESSAGE"], rows);
    let open = report.requests.iter().filter(|request| request.standing == Standing::Open);
    let open: Vec<String> = open
        .map(|request| {
            let until = request.deadline.map_or_else(String::new, |at| format!(" (at most until {at:.0})"));
            format!("{} waits{until}: {}\n", request.at(), request.why())
        })
        .collect();
    let count = |standing| report.requests.iter().filter(|request| request.standing == standing).count();
    let parts = [
        (Standing::Done, "done"),
        (Standing::Open, "open"),
        (Standing::NeedsSomebody, "to be looked at"),
        (Standing::Unknown, "unknown"),
    ];
    let parts = parts.into_iter().map(|(standing, word)| (count(standing), word)).filter(|(n, _)| *n > 0);
    let parts: Vec<String> = parts.map(|(n, word)| format!("{n} {word}")).collect();
    let end = if report.timed_out { "the time is over: " } else { "" };
    format!("{table}\n{}{end}{}\n", open.concat(), parts.join(", "))
}
