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
    cluster::{Access, api_error, connect, find_request, request, request_name, requester, whoami},
    explain::{tone, what},
    terminal::{self, Page},
};
use crate::{
    api::{CredentialReset, CredentialResetApproval, approval::CredentialResetApprovalSpec},
    core::{
        Outcome, Reason, Request, actions,
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
    /// Name of the request; creset/NAME is one, too
    #[arg(value_parser = request_name)]
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
    #[command(flatten)]
    access: Access,
}

/// Shows what the operator would do, asks for confirmation, and creates the approval.
///
/// # Errors
/// If the request is missing or over, the user does not confirm, or the API server refuses the approval.
pub fn run(args: Args) -> anyhow::Result<()> {
    terminal::runtime()?.block_on(approve(args))
}

async fn approve(args: Args) -> anyhow::Result<()> {
    let Args { name, namespace, yes, withdraw, access } = args;
    let client = connect(&access).await?;
    let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let approvals: Api<CredentialResetApproval> = Api::namespaced(client.clone(), &namespace);
    let user_name = whoami(&client).await?;
    if withdraw {
        withdraw_own(&approvals, &name, &user_name).await?;
        // Read after the withdrawal: a reset that begins from now on begins without the approval.
        let begun = find_request(&client, &namespace, &name).await?.is_some_and(|object| {
            object.status_summary().outcome.is_some() || object.status.is_some_and(|status| status.record.is_some())
        });
        if begun {
            bail!(
                "too late: request {namespace}/{name} had already begun. For its outcome see: credreset explain {name} -n {namespace}"
            );
        }
        return Ok(());
    }
    let object = request(&client, &namespace, &name).await?;
    let request =
        object.request().map_err(|wrong| anyhow::anyhow!("request {namespace}/{name} is invalid: {wrong}"))?;
    if let Some(over) = over(&object) {
        bail!("request {namespace}/{name} is over: {over}. There is nothing to approve.");
    }
    if Timestamp::now() >= request.deadline() {
        bail!("request {namespace}/{name} expired at {:.0}: file a new request", request.deadline());
    }
    let digest = request.spec_digest();
    let shown = object.status.as_ref().and_then(|status| status.digest.as_ref());
    if let Some(shown) = shown.filter(|shown| **shown != digest) {
        bail!(
            "request {namespace}/{name} has status.digest {shown}, but this program computes {digest}: use a credreset of the operator's \
             version"
        );
    }
    terminal::print(&review(&object, &request))?;
    let mut out = std::io::stdout().lock();
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
    writeln!(out, "approved: capproval/{}", created.name_any()).context("standard output")
}

/// What became of a request that has its outcome.
fn over(object: &CredentialReset) -> Option<String> {
    let status = object.status.as_ref()?;
    let at = status.completion_time.as_ref().map_or_else(String::new, |at| format!(" at {:.0}", at.0));
    Some(match status.outcome? {
        Outcome::Applied => format!("the reset is in force, as was known{at}"),
        Outcome::Unknown => "it is not known whether the reset is in force".to_owned(),
        Outcome::NotApplied | Outcome::Superseded | Outcome::Lapsed => {
            let reason = object.status_summary().reason.map_or_else(String::new, |r| format!(" ({})", r.words()));
            format!("it ended{at} without a reset{reason}")
        }
    })
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
        terminal::print(&format!("withdrawn: capproval/{approval}\n"))?;
    }
    Ok(())
}

/// The request and the steps that an approval is for. Texts of the request are printed with control characters escaped.
fn review(object: &CredentialReset, request: &Request) -> String {
    let summary = object.status_summary();
    let reason = summary.reason.unwrap_or(Reason::Pending);
    let message = summary.message.as_deref().unwrap_or("Waiting for the operator to read it.");
    let requester = requester(request.requested_by.as_deref(), request.filed_by.as_deref());
    let mut page = Page::new(11);
    page.line("request", &format!("{}/{}", request.namespace, request.name));
    page.line("reset", &what(object, request));
    page.line("requester", &format!("{requester}, at {:.0}", request.requested_at));
    page.line("reason", &request.reason);
    page.line("deadline", &format!("{:.0}", request.deadline()));
    let status = terminal::paint(tone(reason), &reason.to_string());
    page.painted("status", &format!("{status}: {}", printable(message, text::MESSAGE)));
    page.line("digest", &request.spec_digest());
    page.gap();
    let mut steps = Page::new(5);
    for (number, step) in actions::steps(request).iter().enumerate() {
        steps.line(&format!("{:>3}.", number + 1), step);
    }
    format!("{}What the operator will do, once:\n{}", page.text(), steps.text())
}
