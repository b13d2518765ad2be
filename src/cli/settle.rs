//! `credreset settle`.
use std::io::Write;

use anyhow::{Context, bail};
use kube::{Api, Client, ResourceExt, api::PostParams, core::Resource};

use super::{approve::whoami, said};
use crate::{
    api::{
        CredentialReset, CredentialResetRecord, CredentialResetSettlement,
        settlement::{CredentialResetSettlementSpec, Said},
    },
    core::{
        ledger::State,
        text::{MESSAGE, NAME, shown},
    },
};

/// Flags of `credreset settle`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "The reset's own call is never sent again. Said to be applied, what remains of it is done: the kept password is delivered as the request \
                  asks, sessions are ended.

Examples:
  credreset settle annette-locked-out --applied --reason 'She signed in with the new password, by phone, HELP-4711'
  credreset settle annette-locked-out --not-applied --reason 'The old password still works, by phone, HELP-4711'"
)]
pub struct Args {
    /// Name of the request, or of its record where the request is gone
    name: String,
    /// Namespace of the request; that of the kubeconfig's context, if left out
    #[arg(short, long)]
    namespace: Option<String>,
    /// The reset is in force
    #[arg(long, required_unless_present = "not_applied", conflicts_with = "not_applied")]
    applied: bool,
    /// Nothing was changed
    #[arg(long)]
    not_applied: bool,
    /// How that is known: 8 to 1024 characters
    #[arg(long, short)]
    reason: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// The operator's namespace
    #[arg(long, env = "CREDRESET_NAMESPACE", default_value = "credreset-system", value_name = "NAMESPACE")]
    operator_namespace: String,
}

/// Says how a reset went whose outcome nobody could find out, as the user of the kubeconfig.
///
/// # Errors
/// What is missing, was refused or declined.
pub fn run(args: Args) -> anyhow::Result<()> {
    super::runtime()?.block_on(settle(args))
}

async fn settle(args: Args) -> anyhow::Result<()> {
    let Args { name, namespace, applied, not_applied: _, reason, yes, operator_namespace } = args;
    if !(8..=1024).contains(&reason.chars().count()) {
        bail!("--reason has 8 to 1024 characters");
    }
    let client = super::cluster().await?;
    let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let record = record_of(&client, &namespace, &name, &operator_namespace).await?;
    let spec = &record.spec;
    let id = record.meta().name.clone().unwrap_or_default();
    if spec.state != State::Unknown {
        bail!("record {id} is {:?}: only what is Unknown can be settled", spec.state);
    }
    let me = whoami(&client).await?;
    let mut out = std::io::stdout().lock();
    let word = if applied { "in force" } else { "not carried out: nothing was changed" };
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
        ("asked by", spec.request.requested_by.clone().unwrap_or_else(|| "(not said)".to_owned())),
        ("sent", format!("between {:.0} and {:.0}", spec.attempt.started_at, spec.attempt.deadline)),
        ("seen", spec.note.clone().unwrap_or_else(|| "nothing".to_owned())),
        ("you say", word.to_owned()),
    ] {
        writeln!(out, "{what:<10} {}", shown(&value, MESSAGE)).context("standard output")?;
    }
    let question = format!("Say so as {}? It cannot be taken back.", shown(&me, NAME));
    super::confirm(&mut out, yes, &question, "not settled")?;
    let settlement = CredentialResetSettlement {
        metadata: kube::core::ObjectMeta {
            // Nobody can take the name of another's word.
            generate_name: Some(format!("{id}-")),
            // It goes with the record.
            owner_references: record.owner_ref(&()).map(|owner| vec![owner]),
            ..kube::core::ObjectMeta::default()
        },
        spec: CredentialResetSettlementSpec {
            record: id,
            directory: spec.directory.clone(),
            outcome: if applied { Said::Applied } else { Said::NotApplied },
            reason,
            settled_by: me,
        },
    };
    let api: Api<CredentialResetSettlement> = Api::namespaced(client, &operator_namespace);
    let made = api
        .create(&PostParams::default(), &settlement)
        .await
        .map_err(said)
        .context("the settlement was not accepted")?;
    writeln!(out, "settled: csettlement/{}; the operator takes it from here", made.name_any())
        .context("standard output")
}

/// The record of a request, or of that name.
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
        .map_err(said)
        .with_context(|| format!("creset {namespace}/{name} could not be read"))?;
    let id = match request {
        Some(request) => request.status.and_then(|status| status.record).with_context(|| {
            format!("creset {namespace}/{name} has no record: nothing was sent, so there is nothing to settle")
        })?,
        None => name.to_owned(),
    };
    let unreadable = || format!("record {id} in namespace {operator_namespace} could not be read");
    records.get_opt(&id).await.map_err(said).with_context(unreadable)?.with_context(|| {
        format!("there is no creset {name} in namespace {namespace}, nor a record {id} in {operator_namespace}")
    })
}
