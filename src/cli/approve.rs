//! `credreset approve`.
use std::io::Write;

use anyhow::{Context, bail};
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams},
    core::Resource,
};
use serde_json::json;

use super::said;
use crate::{
    api::{CredentialReset, CredentialResetApproval, approval::CredentialResetApprovalSpec},
    core::{
        Request,
        approvals::may_be_one,
        plan,
        text::{self, shown},
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
    /// Its namespace; that of the kubeconfig's context, if left out
    #[arg(short, long)]
    namespace: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Take back what you have approved, as long as the reset has not begun
    #[arg(long)]
    withdraw: bool,
}

/// Shows what would be done, asks, and approves it as the user of the kubeconfig.
///
/// # Errors
/// What is missing, was refused or declined.
pub fn run(args: Args) -> anyhow::Result<()> {
    super::runtime()?.block_on(approve(args))
}

async fn approve(args: Args) -> anyhow::Result<()> {
    let Args { name, namespace, yes, withdraw } = args;
    let client = super::cluster().await?;
    let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let requests: Api<CredentialReset> = Api::namespaced(client.clone(), &namespace);
    let approvals: Api<CredentialResetApproval> = Api::namespaced(client.clone(), &namespace);
    let me = whoami(&client).await?;
    let read = async || {
        let found = requests.get_opt(&name).await.map_err(said);
        found.with_context(|| format!("creset {namespace}/{name} could not be read"))
    };
    if withdraw {
        take_back(&approvals, &name, &me).await?;
        // Asked afterwards: whatever begins from now on begins without it.
        let begun = read().await?.is_some_and(|object| {
            object.shown().outcome.is_some() || object.status.is_some_and(|status| status.record.is_some())
        });
        if begun {
            bail!(
                "it was too late: creset {namespace}/{name} had begun already. See what came of it: kubectl get creset -n {namespace} {name}"
            );
        }
        return Ok(());
    }
    let object = read().await?.with_context(|| format!("there is no creset {name} in namespace {namespace}"))?;
    let request =
        object.request().map_err(|wrong| anyhow::anyhow!("creset {namespace}/{name} makes no sense: {wrong}"))?;
    if let Some(outcome) = object.shown().outcome {
        bail!("creset {namespace}/{name} is settled already ({outcome:?}): there is nothing to approve");
    }
    if Timestamp::now() >= request.deadline() {
        bail!("creset {namespace}/{name} ended at {}: file a new request", request.deadline());
    }
    let digest = request.spec_digest();
    if let Some(told) = object.status.as_ref().and_then(|status| status.digest.as_ref()).filter(|told| **told != digest)
    {
        bail!(
            "creset {namespace}/{name} has status.digest {told}, and to this program its digest is {digest}: use the credreset of the \
             operator's version"
        );
    }
    let mut out = std::io::stdout().lock();
    out.write_all(review(&object, &request).as_bytes()).context("standard output")?;
    if request.requested_by.as_ref().is_some_and(|requester| may_be_one(requester, &me)) {
        writeln!(
            out,
            "\nYou have asked for this yourself. Where a rule wants somebody else, your approval does not count."
        )?;
    }
    super::confirm(&mut out, yes, &format!("Approve this as {}?", shown(&me, text::NAME)), "not approved")?;
    let approval = CredentialResetApproval {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", name.get(..50).unwrap_or(&name).trim_end_matches(['.', '-']))),
            // It goes with the request.
            owner_references: object.owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: CredentialResetApprovalSpec {
            request: name.clone(),
            directory: request.directory.clone(),
            digest,
            user: object.status.as_ref().and_then(|status| status.user.as_ref()).map(|user| user.id.clone()),
            approver: me,
            withdrawn: false,
        },
    };
    let made = approvals
        .create(&PostParams::default(), &approval)
        .await
        .map_err(said)
        .context("the approval was not accepted")?;
    writeln!(out, "approved: capproval/{}", made.name_any())?;
    Ok(())
}

/// The user name that the API server knows the caller by.
pub(super) async fn whoami(client: &Client) -> anyhow::Result<String> {
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = api
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .map_err(said)
        .context("the API server does not say who you are")?;
    let user = review.status.and_then(|status| status.user_info).and_then(|user| user.username);
    user.context("the API server does not say who you are")
}

async fn take_back(approvals: &Api<CredentialResetApproval>, name: &str, me: &str) -> anyhow::Result<()> {
    let of_this = ListParams::default().fields(&format!("spec.request={name}"));
    let all = approvals.list(&of_this).await.map_err(said).context("the approvals could not be read")?;
    let own: Vec<_> = all.items.iter().filter(|a| a.spec.approver == me && !a.spec.withdrawn).collect();
    if own.is_empty() {
        bail!("there is no approval of {name} by {} to withdraw", shown(me, text::NAME));
    }
    let patch = Patch::Merge(json!({"spec": {"withdrawn": true}}));
    for approval in own {
        let approval = approval.name_any();
        approvals
            .patch(&approval, &PatchParams::default(), &patch)
            .await
            .map_err(said)
            .with_context(|| format!("capproval/{approval} was not withdrawn"))?;
        println!("withdrawn: capproval/{approval}");
    }
    Ok(())
}

/// What somebody approves, in words. Nothing that somebody typed reaches the terminal as it is.
fn review(object: &CredentialReset, request: &Request) -> String {
    let status = object.status.as_ref();
    let found = status.and_then(|s| s.user.as_ref());
    let user = match found {
        Some(user) => format!("{}, found as {} ({})", request.user, user.name, user.id),
        None => format!("{}, not looked up yet", request.user),
    };
    let said = object.shown();
    let stands = format!(
        "{}: {}",
        said.reason.map_or_else(|| "Pending".to_owned(), |reason| reason.to_string()),
        said.message.as_deref().unwrap_or("not seen yet")
    );
    let by = request.requested_by.as_deref().unwrap_or("(not said)");
    let facts = [
        ("request", format!("{}/{}", request.namespace, request.name)),
        ("user", user),
        ("directory", request.directory.clone()),
        ("asked by", format!("{by}, for {:.0}", request.requested_at)),
        ("reason", request.reason.clone()),
        ("ends", format!("{:.0}", request.deadline())),
        ("stands at", stands),
        ("digest", request.spec_digest()),
    ]
    .map(|(what, value)| format!("{what:<10} {}", shown(&value, text::MESSAGE)));
    let steps = plan::steps(request);
    let steps: Vec<String> =
        steps.iter().enumerate().map(|(i, step)| format!("{:>3}. {}", i + 1, shown(step, text::MESSAGE))).collect();
    format!("{}\n\nWhat will be done, once:\n{}\n", facts.join("\n"), steps.join("\n"))
}
