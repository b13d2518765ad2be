//! `credreset explain`: shows the status of requests, their timelines and the next step.
mod dump;
mod history;

use std::{collections::HashMap, path::PathBuf};

use anyhow::{Context, bail};
use jiff::Timestamp;
use kube::{Api, Client, ResourceExt, api::ListParams};
use serde::Serialize;

use self::history::History;
use super::{
    cluster::{Access, api_error, connect, request, request_name},
    password::{self, AppliedReset, Handover},
    terminal::{self, Output, Page, Tone, Zone, with_progress},
};
use crate::{
    api::{CredentialReset, CredentialResetRecord},
    core::{
        Mode, Reason, Request,
        reason::Truth,
        record::State,
        text::{MESSAGE, printable},
    },
    k8s,
};

/// Columns before the texts.
const MARGIN: usize = 11;

/// Flags of `credreset explain`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  credreset explain annette-locked-out -n helpdesk
  credreset explain -l incident=inc-88 -n helpdesk
  credreset explain annette-locked-out --dump world.yaml --anonymous   # for a bug report; credreset replay runs it")]
pub struct Args {
    /// Names of requests; creset/NAME is one, too
    #[arg(value_name = "NAME", value_parser = request_name, required_unless_present = "selector", conflicts_with = "selector")]
    names: Vec<String>,
    /// Explain the requests with these labels, such as incident=inc-88
    #[arg(long, short = 'l', value_name = "LABELS")]
    selector: Option<String>,
    /// Namespace of the requests; defaults to that of the kubeconfig's context
    #[arg(short, long)]
    namespace: Option<String>,
    /// With --selector: the requests of all namespaces
    #[arg(short = 'A', long, requires = "selector", conflicts_with = "namespace")]
    all_namespaces: bool,
    /// Write the facts that the operator decides on to this file, without passwords; for one request
    #[arg(long, value_name = "FILE", conflicts_with = "selector")]
    dump: Option<PathBuf>,
    /// Replace names of people, groups, rules, namespaces and objects in that file
    #[arg(long, requires = "dump")]
    anonymous: bool,
    /// The operator's namespace
    #[arg(long, env = "CREDRESET_NAMESPACE", default_value = "credreset-system", value_name = "NAMESPACE")]
    operator_namespace: String,
    /// Format of the explanation
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Time zone of the timeline in text; local is that of this machine, or of TZ
    #[arg(long, value_enum, default_value_t = Zone::Utc, value_name = "ZONE")]
    time: Zone,
    #[command(flatten)]
    access: Access,
}

/// Prints the status of each request. What the caller may not read is not shown, and listed as such.
///
/// # Errors
/// If a request cannot be read, or the dump cannot be written.
pub fn run(args: Args) -> anyhow::Result<()> {
    terminal::runtime()?.block_on(explain(args))
}

async fn explain(args: Args) -> anyhow::Result<()> {
    let Args { names, selector, namespace, all_namespaces, dump, anonymous, operator_namespace, output, time, access } =
        args;
    time.check()?;
    if dump.is_some() && names.len() != 1 {
        bail!("--dump writes the facts of one request: name one");
    }
    let client = connect(&access).await?;
    let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let mut objects = Vec::new();
    for name in &names {
        objects.push(request(&client, &namespace, name).await?);
    }
    if let Some(labels) = selector {
        objects = selected(&client, Some(namespace).filter(|_| !all_namespaces), &labels).await?;
    }
    let mut report = Report { requests: Vec::new() };
    // Of each namespace, once.
    let mut resets = HashMap::new();
    for object in &objects {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let request =
            object.request().map_err(|wrong| anyhow::anyhow!("request {namespace}/{name} is invalid: {wrong}"))?;
        let read = History::read(&client, object, &request, &operator_namespace);
        let history = with_progress("reading the history", read).await;
        let handover = match password::delivered(object) {
            Ok((secret, _)) if object.status_summary().reason == Some(Reason::Applied) => {
                if !resets.contains_key(&namespace) {
                    resets.insert(namespace.clone(), AppliedReset::all(&client, &namespace).await);
                }
                Some(password::handover(&client, object, &secret, &resets[&namespace]).await)
            }
            _ => None,
        };
        report.requests.push(Explained::of(object, &request, history, handover.as_ref()));
        if let Some(file) = &dump {
            let assess = Box::pin(dump::assess(client.clone(), &operator_namespace, object, &request));
            let assessment = with_progress("asking what the operator would do now", assess).await;
            let text = dump::dump_text(assessment, &name, anonymous)?;
            std::fs::write(file, text).with_context(|| format!("{} cannot be written", file.display()))?;
            eprintln!("written: {}", printable(&file.display().to_string(), MESSAGE));
        }
    }
    let text = match output {
        Output::Text => report.requests.iter().map(|one| one.text(time)).collect::<Vec<_>>().join("\n"),
        Output::Json => terminal::json(&report)?,
    };
    terminal::print(&text)
}

/// The requests with these labels; at least one. `namespace` is `None` for all namespaces.
async fn selected(client: &Client, namespace: Option<String>, labels: &str) -> anyhow::Result<Vec<CredentialReset>> {
    let (api, place) = match &namespace {
        Some(namespace) => (Api::namespaced(client.clone(), namespace), format!("namespace {namespace}")),
        None => (Api::all(client.clone()), "the cluster".to_owned()),
    };
    let mut all = Vec::new();
    let wanted = ListParams::default().labels(labels);
    let listed = k8s::for_each_page(&api, wanted, |object| all.push(object)).await.map_err(api_error);
    listed.with_context(|| format!("the requests of {place} could not be listed"))?;
    if all.is_empty() {
        bail!("no request in {place} has these labels");
    }
    Ok(all)
}

/// What `--output json` prints.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Report {
    /// The requests.
    requests: Vec<Explained>,
}

/// A request.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// Namespace of the request.
    namespace: String,
    /// Name of the request.
    name: String,
    /// What is reset, whose, and in which Directory.
    reset: String,
    /// The reason in the request.
    request_reason: String,
    /// The reason of its conditions.
    reason: Reason,
    /// The message of its conditions.
    message: String,
    /// What that reason means.
    meaning: String,
    /// What a person should do now.
    next_step: String,
    /// What happened, in order; also its deadline, which may be to come.
    timeline: Vec<Entry>,
    /// What is not shown, since the caller may not read it.
    not_shown: Vec<String>,
    /// Steps for a person who settles an unknown outcome.
    steps_to_settle: Vec<String>,
}

/// An entry of a timeline.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Entry {
    /// The time.
    #[schemars(with = "String", extend("format" = "date-time"))]
    at: Timestamp,
    /// What happened.
    what: String,
}

impl Explained {
    fn of(object: &CredentialReset, request: &Request, history: History, handover: Option<&Handover>) -> Self {
        let summary = object.status_summary();
        let reason = summary.reason.unwrap_or(Reason::Pending);
        let next_step = match reason {
            Reason::OutcomeUnknown if history.record().is_some() => {
                "Find out before you do anything else, as below.".to_owned()
            }
            Reason::OutcomeUnknown => {
                "Find out before you do anything else: ask a person who may settle it, and who sees here how."
                    .to_owned()
            }
            reason => next_step(reason, object, request, handover),
        };
        let unknown = history.record().filter(|record| record.spec.state == State::Unknown);
        Self {
            namespace: request.namespace.clone(),
            name: request.name.clone(),
            reset: what(object, request),
            request_reason: request.reason.clone(),
            reason,
            message: summary.message.unwrap_or_else(|| "Waiting for the operator to read it.".to_owned()),
            meaning: reason.meaning().to_owned(),
            next_step,
            steps_to_settle: unknown.map(|record| steps_to_settle(record, request)).unwrap_or_default(),
            not_shown: history.not_shown().map(str::to_owned).collect(),
            timeline: history.into_events().map(|(at, what)| Entry { at, what }).collect(),
        }
    }

    /// For people.
    fn text(&self, zone: Zone) -> String {
        let mut page = Page::new(MARGIN);
        page.line("request", &format!("{}/{}", self.namespace, self.name));
        page.line("reset", &self.reset);
        page.line("reason", &self.request_reason);
        let tone = tone(self.reason);
        let status = terminal::paint(tone, &format!("{}{}", terminal::symbol(tone).trim_start(), self.reason));
        page.painted("status", &format!("{status}: {}", printable(&self.message, MESSAGE)));
        page.line("meaning", &self.meaning);
        page.line("next step", &self.next_step);
        let now = Timestamp::now();
        let mut last = "";
        for Entry { at, what } in &self.timeline {
            let name = if *at > now { "upcoming" } else { "timeline" };
            page.line(if name == last { "" } else { name }, &format!("{}  {what}", zone.time(*at)));
            last = name;
        }
        for (number, what) in self.not_shown.iter().enumerate() {
            page.line(if number == 0 { "not shown" } else { "" }, what);
        }
        for (number, step) in self.steps_to_settle.iter().enumerate() {
            page.line(if number == 0 { "settle" } else { "" }, &format!("{}. {step}", number + 1));
        }
        page.text()
    }
}

/// What a reason tells the reader.
pub(super) fn tone(reason: Reason) -> Tone {
    match reason.conditions() {
        (Truth::True, Truth::True, _) => Tone::Good,
        (Truth::False, ..) => Tone::Bad,
        (Truth::Unknown, ..) => Tone::Waiting,
        (Truth::True, ..) => Tone::Plain,
    }
}

/// Whose credentials are reset, and where: as the request names the user, and as the directory does.
pub(super) fn what(object: &CredentialReset, request: &Request) -> String {
    let found = object.status.as_ref().and_then(|status| status.user.as_ref());
    let user = match found {
        Some(found) if found.name == request.user.typed() => format!("{}, id {}", found.name, found.id),
        Some(found) => format!("{}, who is {}, id {}", request.user, found.name, found.id),
        None => format!("{}, not looked up yet", request.user),
    };
    format!("{} of {user}, in {}", request.mode(), request.directory)
}

/// What a person should do now. The password of a reset that is in force has to reach its user.
pub(super) fn next_step(
    reason: Reason,
    object: &CredentialReset,
    request: &Request,
    handover: Option<&Handover>,
) -> String {
    let Request { name, namespace, .. } = request;
    match handover {
        Some(Handover::Replaced(by)) => {
            return format!(
                "None: {by} has set another password since. credreset explain {by} -n {namespace} says more."
            );
        }
        Some(Handover::Deleted) => {
            return "The delivered password has been deleted: if the user does not have it, file a new request."
                .to_owned();
        }
        Some(Handover::Waits) | None => {}
    }
    if reason == Reason::Applied && request.mode() == Mode::MFA {
        return "Tell the user to enrol a new second factor at the next sign-in.".to_owned();
    }
    let is_delivered = reason == Reason::Applied && password::delivered(object).is_ok();
    let Some(password) = object.spec.password.as_ref().filter(|_| is_delivered) else {
        return reason.advice().replace("NAME -n NAMESPACE", &format!("{} -n {}", request.name, request.namespace));
    };
    let must_change =
        if password.force_change_on_login { " The user has to choose another one at the next sign-in." } else { "" };
    let user = object.status.as_ref().and_then(|status| status.user.as_ref());
    let user = user.map_or_else(|| "the user".to_owned(), |user| user.name.clone());
    let key = if password::is_sealed(object) { " --identity FILE, with your private key" } else { "" };
    format!("Give {user} the new password: credreset password {name} -n {namespace}{key}.{must_change}")
}

/// Steps for a person who determines the outcome of a reset that the operator could not.
fn steps_to_settle(record: &CredentialResetRecord, request: &Request) -> Vec<String> {
    let spec = &record.spec;
    let at = format!("{} -n {}", request.name, request.namespace);
    let (new, old, find_out) = match (Mode::from(spec.mode), &spec.attempt.secret) {
        (Mode::Password, Some(secret)) => (
            "the NEW password works",
            "the OLD password still works",
            format!(
                "Find out which password works. The new one is in Secret {secret} of the operator's namespace until {:.0}. Ask the \
                 user whether the old one still works, or try the new one once.",
                spec.keep_until
            ),
        ),
        (Mode::Password, None) => (
            "the NEW password works",
            "the OLD password still works",
            "Ask the user which password works: the old one, or the new one.".to_owned(),
        ),
        (Mode::MFA, _) => (
            "the directory asks for no second factor any more",
            "the directory still asks for it",
            "Ask the user whether the directory still asks for a second factor, or look in its console.".to_owned(),
        ),
    };
    vec![
        format!(
            "The call may have been sent between {:.0} and {:.0}. {}",
            spec.attempt.started_at,
            spec.attempt.deadline,
            spec.note.as_deref().unwrap_or("The directory shows no change.")
        ),
        find_out,
        format!(
            "If {new}: credreset settle {at} --applied --reason '...'. The operator then delivers it as requested."
        ),
        format!("If {old}: credreset settle {at} --not-applied --reason '...', and file a new request."),
        "If it cannot be determined: file a new request. Once that is applied, this one becomes Superseded.".to_owned(),
    ]
}
