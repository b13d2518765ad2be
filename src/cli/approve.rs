//! `credreset approve`: approves a request as the user of the kubeconfig, or withdraws that approval.
use std::io::Write;

use anyhow::{Context, bail};
use jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams},
    core::Resource,
};
use serde_json::json;

use super::{
    cluster::{api_error, connect, whoami},
    terminal,
};
use crate::{
    api::{CredentialReset, CredentialResetApproval, approval::CredentialResetApprovalSpec},
    core::{
        Request, actions,
        approvals::may_be_same_person,
        text::{self, printable},
    },
};

/// Flags of `credreset approve`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  credreset approve annette-locked-out -n helpdesk
  credreset approve annette-locked-out -n helpdesk --withdraw")]
pub struct Args {
    /// Name of the request
    name: String,
    /// Namespace of the request; defaults to that of the kubeconfig's context
    #[arg(short, long)]
    namespace: Option<String>,
    /// Approve without asking for confirmation
    #[arg(short, long)]
    yes: bool,
    /// Withdraw your approval, as long as the reset has not begun
    #[arg(long)]
    withdraw: bool,
}

/// Shows what the operator would do, asks for confirmation, and creates the approval.
///
/// # Errors
/// If the request is missing or over, the user does not confirm, or the API server refuses the approval.
pub fn run(args: Args) -> anyhow::Result<()> {
    terminal::runtime()?.block_on(approve(args))
}

async fn approve(args: Args) -> anyhow::Result<()> {
    let Args { name, namespace, yes, withdraw } = args;
    let client = connect().await?;
    let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let requests: Api<CredentialReset> = Api::namespaced(client.clone(), &namespace);
    let approvals: Api<CredentialResetApproval> = Api::namespaced(client.clone(), &namespace);
    let user_name = whoami(&client).await?;
    let read = async || {
        let object = requests.get_opt(&name).await.map_err(api_error);
        object.with_context(|| format!("creset {namespace}/{name} could not be read"))
    };
    if withdraw {
        withdraw_own(&approvals, &name, &user_name).await?;
        // Read after the withdrawal: a reset that begins from now on begins without the approval.
        let begun = read().await?.is_some_and(|object| {
            object.status_summary().outcome.is_some() || object.status.is_some_and(|status| status.record.is_some())
        });
        if begun {
            bail!(
                "too late: creset {namespace}/{name} had already begun. For its outcome see: kubectl get creset -n {namespace} {name}"
            );
        }
        return Ok(());
    }
    let object = read().await?.with_context(|| format!("there is no creset {name} in namespace {namespace}"))?;
    let request = object.request().map_err(|wrong| anyhow::anyhow!("creset {namespace}/{name} is invalid: {wrong}"))?;
    if let Some(outcome) = object.status_summary().outcome {
        bail!("creset {namespace}/{name} already has its outcome ({outcome:?}): there is nothing to approve");
    }
    if Timestamp::now() >= request.deadline() {
        bail!("creset {namespace}/{name} ended at {}: file a new request", request.deadline());
    }
    let digest = request.spec_digest();
    let shown = object.status.as_ref().and_then(|status| status.digest.as_ref());
    if let Some(shown) = shown.filter(|shown| **shown != digest) {
        bail!(
            "creset {namespace}/{name} has status.digest {shown}, but this program computes {digest}: use a credreset of the operator's \
             version"
        );
    }
    let mut out = std::io::stdout().lock();
    out.write_all(review(&object, &request).as_bytes()).context("standard output")?;
    if request.requested_by.as_ref().is_some_and(|requester| may_be_same_person(requester, &user_name)) {
        writeln!(
            out,
            "\nYou requested this reset yourself. Where a rule requires a different approver, your approval does not count."
        )?;
    }
    terminal::confirm(
        &mut out,
        yes,
        &format!("Approve this as {}?", printable(&user_name, text::NAME)),
        "not approved",
    )?;
    let approval = CredentialResetApproval {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", name.get(..50).unwrap_or(&name).trim_end_matches(['.', '-']))),
            // Deleted with the request.
            owner_references: object.owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: CredentialResetApprovalSpec {
            request: name.clone(),
            directory: request.directory.clone(),
            digest,
            user: object.status.as_ref().and_then(|status| status.user.as_ref()).map(|user| user.id.clone()),
            approver: user_name,
            withdrawn: false,
        },
    };
    let created = approvals
        .create(&PostParams::default(), &approval)
        .await
        .map_err(api_error)
        .context("the approval was not accepted")?;
    writeln!(out, "approved: capproval/{}", created.name_any())?;
    Ok(())
}

async fn withdraw_own(approvals: &Api<CredentialResetApproval>, name: &str, user_name: &str) -> anyhow::Result<()> {
    let for_request = ListParams::default().fields(&format!("spec.request={name}"));
    let all = approvals.list(&for_request).await.map_err(api_error).context("the approvals could not be read")?;
    let own: Vec<_> = all.items.iter().filter(|a| a.spec.approver == user_name && !a.spec.withdrawn).collect();
    if own.is_empty() {
        bail!("there is no approval of {name} by {} to withdraw", printable(user_name, text::NAME));
    }
    let patch = Patch::Merge(json!({"spec": {"withdrawn": true}}));
    for approval in own {
        let approval = approval.name_any();
        approvals
            .patch(&approval, &PatchParams::default(), &patch)
            .await
            .map_err(api_error)
            .with_context(|| format!("capproval/{approval} was not withdrawn"))?;
        println!("withdrawn: capproval/{approval}");
    }
    Ok(())
}

/// The request and the steps that an approval is for. Texts of the request are printed with control characters escaped.
fn review(object: &CredentialReset, request: &Request) -> String {
    let found = object.status.as_ref().and_then(|s| s.user.as_ref());
    let user = match found {
        Some(user) => format!("{}, in the directory {} ({})", request.user, user.name, user.id),
        None => format!("{}, not looked up yet", request.user),
    };
    let summary = object.status_summary();
    let status = format!(
        "{}: {}",
        summary.reason.map_or_else(|| "Pending".to_owned(), |reason| reason.to_string()),
        summary.message.as_deref().unwrap_or("not read by the operator yet")
    );
    let requester = request.requested_by.as_deref().unwrap_or("(unknown)");
    let facts = [
        ("request", format!("{}/{}", request.namespace, request.name)),
        ("user", user),
        ("directory", request.directory.clone()),
        ("requester", format!("{requester}, at {:.0}", request.requested_at)),
        ("reason", request.reason.clone()),
        ("deadline", format!("{:.0}", request.deadline())),
        ("status", status),
        ("digest", request.spec_digest()),
    ]
    .map(|(what, value)| format!("{what:<10} {}", printable(&value, text::MESSAGE)));
    let steps = actions::steps(request);
    let steps: Vec<String> =
        steps.iter().enumerate().map(|(i, step)| format!("{:>3}. {}", i + 1, printable(step, text::MESSAGE))).collect();
    format!("{}\n\nWhat the operator will do, once:\n{}\n", facts.join("\n"), steps.join("\n"))
}
