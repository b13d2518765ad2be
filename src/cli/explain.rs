//! `credreset explain`: where a request stands, how it came there, and what to do.
use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write as _,
    path::PathBuf,
};

use anyhow::{Context, bail};
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::{Api, Client, ResourceExt, api::ListParams};
use serde_json::Value;

use super::{
    plan::world::{Cluster, Known, Sources, Told},
    replay::Case,
    said,
};
use crate::{
    api::{CredentialReset, CredentialResetApproval, CredentialResetRecord},
    core::{
        Request, World, decide,
        ledger::State,
        text::{MESSAGE, shown},
        world::{Found, Seen},
    },
};

/// What each reason means, and what to do.
const REASONS: &str = include_str!("../../docs/reasons.md");

/// Flags of `credreset explain`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  credreset explain annette-locked-out -n helpdesk
  credreset explain annette-locked-out --dump world.yaml --anonymous   # for a bug report; credreset replay runs it")]
pub struct Args {
    /// Name of the request
    name: String,
    /// Its namespace; that of the kubeconfig's context, if left out
    #[arg(short, long)]
    namespace: Option<String>,
    /// Write what a decision on it looks at into this file. No password is in it
    #[arg(long, value_name = "FILE")]
    dump: Option<PathBuf>,
    /// Other names in that file: of people, groups, rules, namespaces and objects
    #[arg(long, requires = "dump")]
    anonymous: bool,
    /// The operator's namespace
    #[arg(long, env = "CREDRESET_NAMESPACE", default_value = "credreset-system", value_name = "NAMESPACE")]
    operator_namespace: String,
}

/// Prints where a request stands. What the caller may not read is left out, and said to be.
///
/// # Errors
/// If the request cannot be read.
pub fn run(args: Args) -> anyhow::Result<()> {
    super::runtime()?.block_on(explain(args))
}

async fn explain(args: Args) -> anyhow::Result<()> {
    let Args { name, namespace, dump, anonymous, operator_namespace } = args;
    let client = super::cluster().await?;
    let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let requests: Api<CredentialReset> = Api::namespaced(client.clone(), &namespace);
    let object = requests
        .get_opt(&name)
        .await
        .map_err(said)
        .with_context(|| format!("creset {namespace}/{name} could not be read"))?
        .with_context(|| format!("there is no creset {name} in namespace {namespace}"))?;
    let request =
        object.request().map_err(|wrong| anyhow::anyhow!("creset {namespace}/{name} makes no sense: {wrong}"))?;
    let story = Story::read(&client, &object, &request, &operator_namespace).await;
    super::print(&story.told(&object, &request))?;
    if let Some(file) = dump {
        let told = look(client, &operator_namespace, &object, &request).await;
        let text = dumped(told, &name, anonymous)?;
        std::fs::write(&file, text).with_context(|| format!("{} cannot be written", file.display()))?;
        println!("\nwritten: {}", file.display());
    }
    Ok(())
}

/// What happened when.
struct Story {
    record: Option<CredentialResetRecord>,
    moments: Vec<(Timestamp, String)>,
    /// What could not be read.
    hidden: Vec<String>,
}

impl Story {
    async fn read(client: &Client, object: &CredentialReset, request: &Request, operator_namespace: &str) -> Self {
        let mut story = Self { record: None, moments: Vec::new(), hidden: Vec::new() };
        let by = request.requested_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        story.at(request.requested_at, format!("asked for{by}"));
        story.at(request.created, "the object is created");
        let of_this = ListParams::default().fields(&format!("spec.request={}", request.name));
        let approvals: Api<CredentialResetApproval> = Api::namespaced(client.clone(), &request.namespace);
        match approvals.list(&of_this).await {
            Ok(all) => {
                for approval in all.items {
                    let (name, approver) = (approval.name_any(), &approval.spec.approver);
                    let taken_back = if approval.spec.withdrawn { ", and withdrawn since" } else { "" };
                    let at = approval.creation_timestamp().map_or(request.created, |at| at.0);
                    story.at(at, format!("approved by {approver} ({name}){taken_back}"));
                }
            }
            Err(_) => story.hidden.push("approvals".to_owned()),
        }
        if let Some(id) = object.status.as_ref().and_then(|status| status.record.as_ref()) {
            let records: Api<CredentialResetRecord> = Api::namespaced(client.clone(), operator_namespace);
            match records.get_opt(id).await {
                Ok(record) => story.record = record,
                Err(_) => story.hidden.push(format!("record {id} in namespace {operator_namespace}")),
            }
        }
        story.of_record();
        let events: Api<Event> = Api::namespaced(client.clone(), &request.namespace);
        match events.list(&ListParams::default().fields(&format!("regarding.name={}", request.name))).await {
            Ok(all) => {
                for event in
                    all.items.into_iter().filter(|e| e.regarding.as_ref().and_then(|r| r.uid.clone()) == object.uid())
                {
                    let at =
                        event.event_time.map(|at| at.0).or_else(|| event.metadata.creation_timestamp.map(|at| at.0));
                    let reason = event.reason.unwrap_or_default();
                    story.at(at.unwrap_or(request.created), format!("said: {reason}"));
                }
            }
            Err(_) => story.hidden.push("Events".to_owned()),
        }
        let now = Timestamp::now();
        let open = object.shown().outcome.is_none();
        if open && request.deadline() > now {
            story.at(request.deadline(), "after this nothing is started any more");
        }
        story.moments.sort_by_key(|(at, _)| *at);
        story
    }

    fn at(&mut self, at: Timestamp, what: impl Into<String>) {
        self.moments.push((at, what.into()));
    }

    fn of_record(&mut self) {
        let Some(record) = self.record.clone() else { return };
        let spec = record.spec;
        let attempt = &spec.attempt;
        let approved = if attempt.approved_by.is_empty() {
            String::new()
        } else {
            format!(", approved by {}", attempt.approved_by.join(", "))
        };
        let begins = format!(
            "attempt {} begins{approved}: the call is sent by {} or not at all",
            attempt.number, attempt.holder
        );
        self.at(attempt.started_at, begins);
        if let Some(at) = spec.gave_up_at {
            self.at(at, "no answer came to the call");
        }
        let how = spec.evidence.map(|evidence| format!(", by {evidence:?}")).unwrap_or_default();
        let by = spec.settled_by.as_ref().map(|by| format!(", as {by} says")).unwrap_or_default();
        let settled = format!("the outcome is {:?}{how}{by}", spec.state);
        match spec.settled_at {
            Some(at) => self.at(at, settled),
            None if spec.state == State::Released => {
                let why = spec.verdict.map(|verdict| verdict.reason.to_string()).unwrap_or_default();
                self.at(
                    spec.retry_at.unwrap_or(attempt.started_at),
                    format!("it had no effect ({why}), and may be tried again from here on"),
                );
            }
            None => {}
        }
    }

    fn told(&self, object: &CredentialReset, request: &Request) -> String {
        let mut out = String::new();
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(out, "{name:<10} {}", shown(value, MESSAGE));
        };
        let status = object.status.as_ref();
        let stands = object.shown();
        let reason = stands.reason.map_or_else(|| "Pending".to_owned(), |reason| reason.to_string());
        line("request", &format!("{}/{}", request.namespace, request.name));
        let found = status
            .and_then(|s| s.user.as_ref())
            .map(|user| format!(", which is {} ({})", user.name, user.id))
            .unwrap_or_default();
        line("reset", &format!("{} of {}{found} in {}", request.mode(), request.user, request.directory));
        line("because", &request.reason);
        line("stands at", &format!("{reason}: {}", stands.message.as_deref().unwrap_or("not seen yet")));
        let (meaning, advice) = of_reason(&reason);
        line("meaning", meaning);
        line("to do", advice);
        let now = Timestamp::now();
        let mut last = "";
        for (at, what) in &self.moments {
            let name = if *at > now { "to come" } else { "timeline" };
            line(if name == last { "" } else { name }, &format!("{at:.0}  {what}"));
            last = name;
        }
        if !self.hidden.is_empty() {
            line("not seen", &format!("you may not read: {}", self.hidden.join(", ")));
        }
        if let Some(record) = self.record.as_ref().filter(|record| record.spec.state == State::Unknown) {
            for (number, step) in to_settle(record, request).iter().enumerate() {
                line(if number == 0 { "settle it" } else { "" }, &format!("{}. {step}", number + 1));
            }
        }
        out
    }
}

/// What a person can do where nobody knows.
fn to_settle(record: &CredentialResetRecord, request: &Request) -> Vec<String> {
    let spec = &record.spec;
    let at = format!("{} -n {}", request.name, request.namespace);
    let mut steps = vec![format!(
        "The call may have been sent between {:.0} and {:.0}. {}",
        spec.attempt.started_at,
        spec.attempt.deadline,
        spec.note.as_deref().unwrap_or("The directory shows nothing.")
    )];
    steps.push(match (&spec.attempt.secret, spec.finish.deliver_to.is_some()) {
        (Some(secret), _) => format!(
            "Find out which password works: the new one is in Secret {secret} of the operator's namespace until {:.0}. Ask the user whether the \
             old one still does, or try the new one once.",
            spec.keep_until
        ),
        (None, _) => "Ask the user whether a second factor is still asked for, or look in the directory's console.".to_owned(),
    });
    steps.push(format!(
        "If the new one works: credreset settle {at} --applied --reason '...'. It is then delivered as was asked for."
    ));
    steps.push(format!(
        "If the old one works: credreset settle {at} --not-applied --reason '...', and file a new request."
    ));
    steps.push("If nobody can tell: file a new request. Once it is applied, this one is Superseded.".to_owned());
    steps
}

/// Meaning and advice, as docs/reasons.md has them.
fn of_reason(reason: &str) -> (&'static str, &'static str) {
    let row = REASONS.lines().find(|line| line.starts_with(&format!("| `{reason}` |"))).unwrap_or_default();
    let mut cells = row.trim_end_matches('|').split('|').map(str::trim).skip(6);
    (cells.next().unwrap_or("-"), cells.next().unwrap_or("-"))
}

/// What a decision on the request looks at now, as far as the caller may.
async fn look(client: Client, operator_namespace: &str, object: &CredentialReset, request: &Request) -> Told {
    let cluster = Cluster::new(client, operator_namespace, None).await;
    let known = Known::of_cluster(&cluster, &request.directory).await;
    let directories = HashMap::from([(request.directory.clone(), known)]);
    Sources { cluster: Some(cluster), directories, offline: false }.tell(request.clone(), object.shown()).await
}

/// The world and the decision as YAML.
fn dumped(told: Told, name: &str, anonymous: bool) -> anyhow::Result<String> {
    let Told { world, decision, assumed } = told;
    let names = if anonymous { names(&world) } else { BTreeSet::new() };
    let why = if anonymous { "A request, with other names.".to_owned() } else { format!("Request {name}.") };
    let taken: Vec<String> = assumed.into_iter().collect();
    let why = if taken.is_empty() || anonymous { why } else { format!("{why} Assumed: {}.", taken.join("; ")) };
    let case =
        if anonymous { Case { why, ..with_other_names(&world, &names)? } } else { Case { why, world, decision } };
    serde_saphyr::to_string(&case).context("the world has no YAML form")
}

/// The same world with other names, and what is decided on it.
fn with_other_names(world: &World, names: &BTreeSet<String>) -> anyhow::Result<Case> {
    // Longer names first: one may be part of another.
    let mut names: Vec<&String> = names.iter().collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    let others: Vec<(&String, String)> = names
        .into_iter()
        .enumerate()
        .map(|(number, name)| {
            let domain = if name.contains('@') { "@example.org" } else { "" };
            (name, format!("name-{number}{domain}"))
        })
        .collect();
    let mut value = serde_json::to_value(world).context("the world has no JSON form")?;
    replace(&mut value, &others);
    let senseless =
        "with other names it makes no sense any more: dump it without --anonymous, and look what may be shown";
    let mut renamed: World = serde_json::from_value(value).context(senseless)?;
    // What is derived from names fits them again, where it did.
    if let (Some(old), Some(new)) = (world.subject.request(), renamed.subject.request().cloned()) {
        if let (Seen::Known(was), Seen::Known(record)) = (&world.record, &mut renamed.record)
            && was.request.digest == old.digest()
        {
            (record.request.digest, record.request.key) = (new.digest(), new.key());
        }
        if let Seen::Known(approvals) = &mut renamed.approvals {
            for approval in approvals.iter_mut().filter(|approval| approval.digest == old.spec_digest()) {
                approval.digest = new.spec_digest();
            }
        }
    }
    let decision = decide(&renamed);
    if std::mem::discriminant(&decision) != std::mem::discriminant(&decide(world)) {
        bail!(senseless);
    }
    Ok(Case { why: String::new(), world: renamed, decision })
}

fn replace(value: &mut Value, others: &[(&String, String)]) {
    match value {
        Value::String(text) => {
            for (name, other) in others {
                if text.contains(name.as_str()) {
                    *text = text.replace(name.as_str(), other);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, others)),
        Value::Object(map) => map.values_mut().for_each(|item| replace(item, others)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Names of people and of what is theirs.
fn names(world: &World) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    if let Some(request) = world.subject.request() {
        all.extend([
            request.user.typed().to_owned(),
            request.reason.clone(),
            request.name.clone(),
            request.namespace.clone(),
        ]);
        all.extend([request.directory.clone(), request.uid.clone()]);
        all.extend(request.requested_by.clone());
    }
    if let Seen::Known(approvals) = &world.approvals {
        all.extend(approvals.iter().map(|approval| approval.approver.clone()));
    }
    if let Seen::Known(settlements) = &world.settlements {
        all.extend(settlements.iter().flat_map(|said| [said.by.clone(), said.reason.clone()]));
    }
    if let Seen::Known(Found::One(user)) = &world.user {
        all.extend([user.id.id.clone(), user.id.name.clone()]);
        all.extend(user.email.iter().chain(&user.aliases).cloned());
        if let Seen::Known(groups) = &user.groups {
            all.extend(groups.iter().cloned());
        }
        all.extend(user.handle.values().cloned());
    }
    if let Seen::Known(directory) = &world.directory {
        all.extend([directory.identity.clone(), directory.name.clone()]);
        all.extend(directory.protect.users.iter().chain(&directory.protect.groups).cloned());
        for rule in &directory.allow {
            all.insert(rule.name.clone());
            all.extend(rule.namespaces.iter().chain(&rule.users.email_domains).chain(&rule.users.groups).cloned());
        }
    }
    if let Seen::Known(record) = &world.record {
        all.extend([
            record.user.id.clone(),
            record.user.name.clone(),
            record.request.name.clone(),
            record.request.namespace.clone(),
        ]);
        all.extend([record.directory.clone(), record.directory_identity.clone(), record.request.uid.clone()]);
        all.extend(
            record.attempt.approved_by.iter().chain(&record.request.requested_by).chain(&record.settled_by).cloned(),
        );
        all.insert(record.attempt.holder.clone());
    }
    all.extend(world.past.iter().flat_map(|past| [past.user.clone(), past.directory_identity.clone()]));
    all.retain(|name| !name.is_empty());
    all
}
