//! `credreset settle`: states the outcome of a reset that the operator could not determine, as the user of the kubeconfig.
use std::io::Write;

use anyhow::{Context, bail};
use clap::ArgGroup;
use kube::{Api, Client, ResourceExt, api::PostParams, core::Resource};

use super::{
    cluster::{Access, api_error, connect, find_request, request_name, requester, whoami},
    terminal::{self, Page, Tone},
};
use crate::{
    api::{
        CredentialResetRecord, CredentialResetSettlement,
        settlement::{CredentialResetSettlementSpec, SettledOutcome},
    },
    core::{
        Mode,
        record::State,
        text::{NAME, printable},
    },
};

/// Flags of `credreset settle`.
#[derive(clap::Args, Debug)]
#[command(
    group(ArgGroup::new("outcome").args(["applied", "not_applied"]).required(true)),
    after_help = "The operator never sends the call of the reset again. After --applied it does what is left to do: it delivers the \
                  password as requested and ends sessions.

Examples:
  credreset settle annette-locked-out --applied --reason 'She signed in with the new password, by phone, HELP-4711'
  credreset settle annette-locked-out --not-applied --reason 'The old password still works, by phone, HELP-4711'"
)]
pub struct Args {
    /// Name of the request, or of its record if the request was deleted; creset/NAME is a request
    #[arg(value_parser = request_name)]
    name: String,
    /// Namespace of the request; defaults to that of the kubeconfig's context
    #[arg(short, long)]
    namespace: Option<String>,
    /// The reset is in force: the NEW password works, or MFA is reset
    #[arg(long)]
    applied: bool,
    /// Nothing was changed: the OLD password still works, or MFA is as it was
    #[arg(long)]
    not_applied: bool,
    /// How you know: 8 to 1024 characters
    #[arg(long, short)]
    reason: String,
    /// Settle without asking for confirmation
    #[arg(short, long)]
    yes: bool,
    /// The operator's namespace
    #[arg(long, env = "CREDRESET_NAMESPACE", default_value = "credreset-system", value_name = "NAMESPACE")]
    operator_namespace: String,
    #[command(flatten)]
    access: Access,
}

/// Shows the record, asks for confirmation, and creates the settlement.
///
/// # Errors
/// If there is no record, its outcome is not Unknown, the user does not confirm, or the API server refuses the settlement.
pub fn run(args: Args) -> anyhow::Result<()> {
    terminal::runtime()?.block_on(settle(args))
}

async fn settle(args: Args) -> anyhow::Result<()> {
    let Args { name, namespace, applied, not_applied: _, reason, yes, operator_namespace, access } = args;
    if !(8..=1024).contains(&reason.chars().count()) {
        bail!("--reason must have 8 to 1024 characters");
    }
    let client = connect(&access).await?;
    let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let record = record_of(&client, &namespace, &name, &operator_namespace).await?;
    let spec = &record.spec;
    let id = record.meta().name.clone().unwrap_or_default();
    if spec.state != State::Unknown {
        bail!("record {id} is {:?}: a person can settle only an outcome that is Unknown", spec.state);
    }
    let user_name = whoami(&client).await?;
    let you_say = match (Mode::from(spec.mode), applied) {
        (Mode::Password, true) => "the NEW password works",
        (Mode::Password, false) => "the OLD password still works",
        (Mode::MFA, true) => "MFA is reset",
        (Mode::MFA, false) => "MFA is as it was",
    };
    let mut page = Page::new(11);
    for (what, value) in [
        (
            "reset",
            format!("{} of {}, id {}, in {}", Mode::from(spec.mode), spec.user.name, spec.user.id, spec.directory),
        ),
        ("requester", requester(spec.request.requested_by.as_deref(), spec.request.filed_by.as_deref())),
        ("sent", format!("between {:.0} and {:.0}", spec.attempt.started_at, spec.attempt.deadline)),
        ("evidence", spec.note.clone().unwrap_or_else(|| "none".to_owned())),
    ] {
        page.line(what, &value);
    }
    page.toned("you say", Tone::Heading, you_say);
    terminal::print(&page.text())?;
    let question = format!("Settle this as {}? It cannot be undone.", printable(&user_name, NAME));
    let mut out = std::io::stdout().lock();
    terminal::confirm(&mut out, yes, &question, "not settled")?;
    let settlement = CredentialResetSettlement {
        metadata: kube::core::ObjectMeta {
            // A generated name: another user cannot occupy it beforehand.
            generate_name: Some(format!("{id}-")),
            // Deleted with the record.
            owner_references: record.owner_ref(&()).map(|owner| vec![owner]),
            ..kube::core::ObjectMeta::default()
        },
        spec: CredentialResetSettlementSpec {
            record: id,
            directory: spec.directory.clone(),
            outcome: if applied { SettledOutcome::Applied } else { SettledOutcome::NotApplied },
            reason,
            settled_by: user_name,
        },
    };
    let api: Api<CredentialResetSettlement> = Api::namespaced(client, &operator_namespace);
    let created = api
        .create(&PostParams::default(), &settlement)
        .await
        .map_err(api_error)
        .context("the settlement was not accepted")?;
    writeln!(out, "settled: csettlement/{}; the operator does the rest", created.name_any()).context("standard output")
}

/// The record of the request of this name, or the record of this name.
async fn record_of(
    client: &Client,
    namespace: &str,
    name: &str,
    operator_namespace: &str,
) -> anyhow::Result<CredentialResetRecord> {
    let records: Api<CredentialResetRecord> = Api::namespaced(client.clone(), operator_namespace);
    let request = find_request(client, namespace, name).await?;
    let id = match request {
        Some(request) => request.status.and_then(|status| status.record).with_context(|| {
            format!("request {namespace}/{name} has no record: no call was sent, so there is nothing to settle")
        })?,
        None => name.to_owned(),
    };
    let unreadable = || format!("record {id} in namespace {operator_namespace} could not be read");
    records.get_opt(&id).await.map_err(api_error).with_context(unreadable)?.with_context(|| {
        format!("there is neither a request {name} in namespace {namespace} nor a record {id} in {operator_namespace}")
    })
}
