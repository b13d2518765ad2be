//! `credreset settle`: states the outcome of a reset that the operator could not determine, as the user of the kubeconfig.
use std::io::Write;

use anyhow::{Context, bail};
use kube::{Api, Client, ResourceExt, api::PostParams, core::Resource};

use super::{
    cluster::{api_error, connect, whoami},
    terminal,
};
use crate::{
    api::{
        CredentialReset, CredentialResetRecord, CredentialResetSettlement,
        settlement::{CredentialResetSettlementSpec, SettledOutcome},
    },
    core::{
        record::State,
        text::{MESSAGE, NAME, printable},
    },
};

/// Flags of `credreset settle`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "The operator never sends the call of the reset again. After --applied it does what is left to do: it delivers the \
                  password as requested and ends sessions.

Examples:
  credreset settle annette-locked-out --applied --reason 'She signed in with the new password, by phone, HELP-4711'
  credreset settle annette-locked-out --not-applied --reason 'The old password still works, by phone, HELP-4711'"
)]
pub struct Args {
    /// Name of the request, or of its record if the request was deleted
    name: String,
    /// Namespace of the request; defaults to that of the kubeconfig's context
    #[arg(short, long)]
    namespace: Option<String>,
    /// The reset took effect
    #[arg(long, required_unless_present = "not_applied", conflicts_with = "not_applied")]
    applied: bool,
    /// The reset changed nothing
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
}

/// Shows the record, asks for confirmation, and creates the settlement.
///
/// # Errors
/// If there is no record, its outcome is not Unknown, the user does not confirm, or the API server refuses the settlement.
pub fn run(args: Args) -> anyhow::Result<()> {
    terminal::runtime()?.block_on(settle(args))
}

async fn settle(args: Args) -> anyhow::Result<()> {
    let Args { name, namespace, applied, not_applied: _, reason, yes, operator_namespace } = args;
    if !(8..=1024).contains(&reason.chars().count()) {
        bail!("--reason must have 8 to 1024 characters");
    }
    let client = connect().await?;
    let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let record = record_of(&client, &namespace, &name, &operator_namespace).await?;
    let spec = &record.spec;
    let id = record.meta().name.clone().unwrap_or_default();
    if spec.state != State::Unknown {
        bail!("record {id} is {:?}: only an outcome that is Unknown can be settled", spec.state);
    }
    let user_name = whoami(&client).await?;
    let mut out = std::io::stdout().lock();
    let outcome = if applied { "applied: the reset took effect" } else { "not applied: nothing was changed" };
    for (what, value) in [
        (
            "reset",
            format!(
                "{} of {} ({}) in {}",
                crate::core::Mode::from(spec.mode),
                spec.user.name,
                spec.user.id,
                spec.directory
            ),
        ),
        ("requester", spec.request.requested_by.clone().unwrap_or_else(|| "(unknown)".to_owned())),
        ("sent", format!("between {:.0} and {:.0}", spec.attempt.started_at, spec.attempt.deadline)),
        ("evidence", spec.note.clone().unwrap_or_else(|| "none".to_owned())),
        ("outcome", outcome.to_owned()),
    ] {
        writeln!(out, "{what:<10} {}", printable(&value, MESSAGE)).context("standard output")?;
    }
    let question = format!("Settle this as {}? It cannot be undone.", printable(&user_name, NAME));
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
    let requests: Api<CredentialReset> = Api::namespaced(client.clone(), namespace);
    let records: Api<CredentialResetRecord> = Api::namespaced(client.clone(), operator_namespace);
    let request = requests
        .get_opt(name)
        .await
        .map_err(api_error)
        .with_context(|| format!("creset {namespace}/{name} could not be read"))?;
    let id = match request {
        Some(request) => request.status.and_then(|status| status.record).with_context(|| {
            format!("creset {namespace}/{name} has no record: no call was sent, so there is nothing to settle")
        })?,
        None => name.to_owned(),
    };
    let unreadable = || format!("record {id} in namespace {operator_namespace} could not be read");
    records.get_opt(&id).await.map_err(api_error).with_context(unreadable)?.with_context(|| {
        format!("there is neither a creset {name} in namespace {namespace} nor a record {id} in {operator_namespace}")
    })
}
