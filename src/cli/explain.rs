//! `credreset explain`: shows the status of a request, its timeline and the next step.
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
    cluster::{api_error, connect},
    password,
    replay::Case,
    sources::{Assessment, DirectorySource, Sources, cluster::Cluster},
    terminal,
};
use crate::{
    api::{CredentialReset, CredentialResetApproval, CredentialResetRecord},
    core::{
        Reason, Request, World, decide,
        record::{Origin, State},
        seen::Seen,
        text::{MESSAGE, printable},
        user::LookUp,
    },
    directory::ldap::precondition::Precondition,
};

/// Flags of `credreset explain`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  credreset explain annette-locked-out -n helpdesk
  credreset explain annette-locked-out --dump world.yaml --anonymous   # for a bug report; credreset replay runs it")]
pub struct Args {
    /// Name of the request
    name: String,
    /// Namespace of the request; defaults to that of the kubeconfig's context
    #[arg(short, long)]
    namespace: Option<String>,
    /// Write the facts that the operator decides on to this file, without passwords
    #[arg(long, value_name = "FILE")]
    dump: Option<PathBuf>,
    /// Replace names of people, groups, rules, namespaces and objects in that file
    #[arg(long, requires = "dump")]
    anonymous: bool,
    /// The operator's namespace
    #[arg(long, env = "CREDRESET_NAMESPACE", default_value = "credreset-system", value_name = "NAMESPACE")]
    operator_namespace: String,
}

/// Prints the status of a request. What the caller may not read is left out, and listed as such.
///
/// # Errors
/// If the request cannot be read, or the dump cannot be written.
pub fn run(args: Args) -> anyhow::Result<()> {
    terminal::runtime()?.block_on(explain(args))
}

async fn explain(args: Args) -> anyhow::Result<()> {
    let Args { name, namespace, dump, anonymous, operator_namespace } = args;
    let client = connect().await?;
    let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let requests: Api<CredentialReset> = Api::namespaced(client.clone(), &namespace);
    let object = requests
        .get_opt(&name)
        .await
        .map_err(api_error)
        .with_context(|| format!("creset {namespace}/{name} could not be read"))?
        .with_context(|| format!("there is no creset {name} in namespace {namespace}"))?;
    let request = object.request().map_err(|wrong| anyhow::anyhow!("creset {namespace}/{name} is invalid: {wrong}"))?;
    let history = History::read(&client, &object, &request, &operator_namespace).await;
    terminal::print(&history.render(&object, &request))?;
    if let Some(file) = dump {
        let assessment = assess(client, &operator_namespace, &object, &request).await;
        let text = dump_text(assessment, &name, anonymous)?;
        std::fs::write(&file, text).with_context(|| format!("{} cannot be written", file.display()))?;
        println!("\nwritten: {}", file.display());
    }
    Ok(())
}

/// The events of a request.
struct History {
    record: Option<CredentialResetRecord>,
    /// Times and texts; also the deadline, which may be to come.
    events: Vec<(Timestamp, String)>,
    /// What the caller may not read.
    unreadable: Vec<String>,
}

impl History {
    async fn read(client: &Client, object: &CredentialReset, request: &Request, operator_namespace: &str) -> Self {
        let mut history = Self { record: None, events: Vec::new(), unreadable: Vec::new() };
        let by = request.requested_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        history.at(request.requested_at, format!("requested{by}"));
        history.at(request.created, "the object was created");
        let for_request = ListParams::default().fields(&format!("spec.request={}", request.name));
        let approvals: Api<CredentialResetApproval> = Api::namespaced(client.clone(), &request.namespace);
        match approvals.list(&for_request).await {
            Ok(all) => {
                for approval in all.items {
                    let (name, approver) = (approval.name_any(), &approval.spec.approver);
                    let withdrawn = if approval.spec.withdrawn { ", withdrawn since" } else { "" };
                    let at = approval.creation_timestamp().map_or(request.created, |at| at.0);
                    history.at(at, format!("approved by {approver} ({name}){withdrawn}"));
                }
            }
            Err(_) => history.unreadable.push("approvals".to_owned()),
        }
        if let Some(id) = object.status.as_ref().and_then(|status| status.record.as_ref()) {
            let records: Api<CredentialResetRecord> = Api::namespaced(client.clone(), operator_namespace);
            match records.get_opt(id).await {
                Ok(record) => history.record = record,
                Err(_) => history.unreadable.push(format!("record {id} in namespace {operator_namespace}")),
            }
        }
        history.add_record();
        let events: Api<Event> = Api::namespaced(client.clone(), &request.namespace);
        match events.list(&ListParams::default().fields(&format!("regarding.name={}", request.name))).await {
            Ok(all) => {
                for event in
                    all.items.into_iter().filter(|e| e.regarding.as_ref().and_then(|r| r.uid.clone()) == object.uid())
                {
                    let at =
                        event.event_time.map(|at| at.0).or_else(|| event.metadata.creation_timestamp.map(|at| at.0));
                    let reason = event.reason.unwrap_or_default();
                    history.at(at.unwrap_or(request.created), format!("Event: {reason}"));
                }
            }
            Err(_) => history.unreadable.push("Events".to_owned()),
        }
        let now = Timestamp::now();
        let open = object.status_summary().outcome.is_none();
        if open && request.deadline() > now {
            history.at(request.deadline(), "deadline: the operator does not start the reset after this");
        }
        history.events.sort_by_key(|(at, _)| *at);
        history
    }

    fn at(&mut self, at: Timestamp, what: impl Into<String>) {
        self.events.push((at, what.into()));
    }

    fn add_record(&mut self) {
        let Some(record) = self.record.clone() else { return };
        let spec = record.spec;
        let attempt = &spec.attempt;
        let approved = if attempt.approved_by.is_empty() {
            String::new()
        } else {
            format!(", approved by {}", attempt.approved_by.join(", "))
        };
        let begins = format!("attempt {} began{approved}: only {} may send its call", attempt.number, attempt.holder);
        self.at(attempt.started_at, begins);
        if let Some(at) = spec.gave_up_at {
            self.at(at, "the operator gave up waiting for a reply to the call");
        }
        let how = spec.evidence.map(|evidence| format!(", by {evidence:?}")).unwrap_or_default();
        let by = spec.settled_by.as_ref().map(|by| format!(", settled by {by}")).unwrap_or_default();
        let settled = format!("the outcome is {:?}{how}{by}", spec.state);
        match spec.settled_at {
            Some(at) => self.at(at, settled),
            None if spec.state == State::Released => {
                let why = spec.refusal.map(|refusal| refusal.reason.to_string()).unwrap_or_default();
                self.at(
                    spec.retry_at.unwrap_or(attempt.started_at),
                    format!("the call had no effect ({why}); the operator may try again from here on"),
                );
            }
            None => {}
        }
    }

    fn render(&self, object: &CredentialReset, request: &Request) -> String {
        let mut out = String::new();
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(out, "{name:<10} {}", printable(value, MESSAGE));
        };
        let status = object.status.as_ref();
        let summary = object.status_summary();
        let reason = summary.reason.unwrap_or(Reason::Pending);
        line("request", &format!("{}/{}", request.namespace, request.name));
        let found = status
            .and_then(|s| s.user.as_ref())
            .map(|user| format!(", in the directory {} ({}),", user.name, user.id))
            .unwrap_or_default();
        line("reset", &format!("{} of {}{found} in {}", request.mode(), request.user, request.directory));
        line("reason", &request.reason);
        line("status", &format!("{reason}: {}", summary.message.as_deref().unwrap_or("not read by the operator yet")));
        line("meaning", reason.meaning());
        line("next step", &next_step(reason, object, request));
        let now = Timestamp::now();
        let mut last = "";
        for (at, what) in &self.events {
            let name = if *at > now { "upcoming" } else { "timeline" };
            line(if name == last { "" } else { name }, &format!("{at:.0}  {what}"));
            last = name;
        }
        if !self.unreadable.is_empty() {
            line("left out", &format!("you may not read: {}", self.unreadable.join(", ")));
        }
        if let Some(record) = self.record.as_ref().filter(|record| record.spec.state == State::Unknown) {
            for (number, step) in steps_to_settle(record, request).iter().enumerate() {
                line(if number == 0 { "settle" } else { "" }, &format!("{}. {step}", number + 1));
            }
        }
        out
    }
}

/// What a person should do now. The password of a reset that is in force has to reach its user.
fn next_step(reason: Reason, object: &CredentialReset, request: &Request) -> String {
    let is_delivered = reason == Reason::Applied && password::delivered(object).is_ok();
    let Some(password) = object.spec.password.as_ref().filter(|_| is_delivered) else {
        return reason.advice().to_owned();
    };
    let must_change =
        if password.force_change_on_login { " The user has to choose another one at the next sign-in." } else { "" };
    let Request { name, namespace, .. } = request;
    format!("Give the user the new password: credreset password {name} -n {namespace}.{must_change}")
}

/// Steps for a person who determines the outcome of a reset that the operator could not.
fn steps_to_settle(record: &CredentialResetRecord, request: &Request) -> Vec<String> {
    let spec = &record.spec;
    let at = format!("{} -n {}", request.name, request.namespace);
    let mut steps = vec![format!(
        "The call may have been sent between {:.0} and {:.0}. {}",
        spec.attempt.started_at,
        spec.attempt.deadline,
        spec.note.as_deref().unwrap_or("The directory shows no change.")
    )];
    steps.push(match (&spec.attempt.secret, spec.finish.deliver_to.is_some()) {
        (Some(secret), _) => format!(
            "Find out which password works. The new one is in Secret {secret} of the operator's namespace until {:.0}. Ask the user \
             whether the old one still works, or try the new one once.",
            spec.keep_until
        ),
        (None, _) => "Ask the user whether the directory still asks for a second factor, or look in its console.".to_owned(),
    });
    steps.push(format!(
        "If the new one works: credreset settle {at} --applied --reason '...'. The operator then delivers it as requested."
    ));
    steps.push(format!(
        "If the old one works: credreset settle {at} --not-applied --reason '...', and file a new request."
    ));
    steps.push(
        "If it cannot be determined: file a new request. Once that is applied, this one becomes Superseded.".to_owned(),
    );
    steps
}

/// What the operator would decide now, as far as the caller may read the facts.
async fn assess(client: Client, operator_namespace: &str, object: &CredentialReset, request: &Request) -> Assessment {
    let cluster = Cluster::new(client, operator_namespace, None).await;
    let source = DirectorySource::from_cluster(&cluster, &request.directory).await;
    let directories = HashMap::from([(request.directory.clone(), source)]);
    Sources { cluster: Some(cluster), directories, offline: false }
        .assess(request.clone(), object.status_summary())
        .await
}

/// The world and the decision as YAML.
fn dump_text(assessment: Assessment, name: &str, anonymous: bool) -> anyhow::Result<String> {
    let Assessment { world, decision, assumed } = assessment;
    let names = if anonymous { names(&world) } else { BTreeSet::new() };
    let why = if anonymous { "A request, with names replaced.".to_owned() } else { format!("Request {name}.") };
    let assumed: Vec<String> = assumed.into_iter().collect();
    let why = if assumed.is_empty() || anonymous { why } else { format!("{why} Assumed: {}.", assumed.join("; ")) };
    let case =
        if anonymous { Case { why, ..with_names_replaced(&world, &names)? } } else { Case { why, world, decision } };
    serde_saphyr::to_string(&case).context("the world has no YAML form")
}

/// The same world with other names, and the decision on it.
fn with_names_replaced(world: &World, names: &BTreeSet<String>) -> anyhow::Result<Case> {
    // Longer names first: a name may be part of another.
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
    let invalid =
        "the request is invalid with names replaced: dump it without --anonymous, and replace the names by hand";
    let mut renamed: World = serde_json::from_value(value).context(invalid)?;
    // Digests and keys are derived from names: those that matched before match again.
    if let (Some(old), Some(new)) = (world.subject.request(), renamed.subject.request().cloned()) {
        if let (Seen::Known(was), Seen::Known(record)) = (&world.ledger.record, &mut renamed.ledger.record)
            && was.request.digest == old.digest()
        {
            (record.request.digest, record.request.key) = (new.digest(), new.key());
        }
        if let Seen::Known(approvals) = &mut renamed.facts.approvals {
            for approval in approvals.iter_mut().filter(|approval| approval.digest == old.spec_digest()) {
                approval.digest = new.spec_digest();
            }
        }
    }
    let decision = decide(&renamed);
    if std::mem::discriminant(&decision) != std::mem::discriminant(&decide(world)) {
        bail!(invalid);
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

/// Names of people, groups, rules, namespaces and objects, and ids.
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
        all.extend(request.requested_by.iter().chain(&request.filed_by).cloned());
    }
    if let Seen::Known(approvals) = &world.facts.approvals {
        all.extend(approvals.iter().map(|approval| approval.approver.clone()));
    }
    if let Seen::Known(settlements) = &world.evidence.settlements {
        all.extend(settlements.iter().flat_map(|settlement| [settlement.by.clone(), settlement.reason.clone()]));
    }
    if let Seen::Known(LookUp::One(user)) = &world.facts.user {
        all.extend([user.id.id.clone(), user.id.name.clone()]);
        all.extend(user.email.iter().chain(&user.aliases).cloned());
        if let Seen::Known(groups) = &user.groups {
            all.extend(groups.iter().cloned());
        }
        all.extend(user.handle.values().chain(&user.condition).cloned());
    }
    if let Seen::Known(directory) = &world.facts.directory {
        all.extend([directory.identity.clone(), directory.name.clone()]);
        all.extend(directory.protect.users.iter().chain(&directory.protect.groups).cloned());
        for rule in &directory.allow {
            all.insert(rule.name.clone());
            all.extend(rule.namespaces.iter().chain(&rule.users.email_domains).chain(&rule.users.groups).cloned());
        }
    }
    if let Seen::Known(record) = &world.ledger.record {
        all.extend([
            record.user.id.clone(),
            record.user.name.clone(),
            record.request.name.clone(),
            record.request.namespace.clone(),
        ]);
        all.extend([record.directory.clone(), record.directory_identity.clone(), record.request.uid.clone()]);
        let Origin { requested_by, filed_by, reason, .. } = &record.request;
        all.extend(requested_by.iter().chain(filed_by).chain(reason).cloned());
        all.extend(record.attempt.approved_by.iter().chain(&record.settled_by).cloned());
        all.insert(record.attempt.holder.clone());
        // An LDAP directory's baseline ends with the server that it was read from.
        all.extend(Precondition::before(&record.attempt).map(|precondition| precondition.server.to_owned()));
    }
    all.extend(world.ledger.past.iter().flat_map(|past| [past.user.clone(), past.directory_identity.clone()]));
    all.retain(|name| !name.is_empty());
    all
}
