//! The plan of one request: what the operator would decide on it now.
use anyhow::{Context, bail};

use super::{Planned, parse::Parsed, set::Member};
use crate::{
    cli::{
        cluster::api_error,
        sources::{Assessment, DirectorySource, Sources},
    },
    core::{
        Request, World,
        actions::{common_steps, impact, steps},
        forecast::{Verdict, forecast},
        seen::Seen,
        user::LookUp,
        view::StatusSummary,
    },
};

/// Plans one request, as if it were alone.
///
/// # Errors
/// If the cluster cannot be read.
pub(super) async fn plan_request(parsed: Parsed, sources: Option<&Sources>) -> anyhow::Result<Member> {
    let Parsed { planned, request } = parsed;
    let alone = |planned| Member { planned, request: None, world: None };
    let Some(request) = request else { return Ok(alone(planned)) };
    let Some(sources) = sources else { return Ok(without_directory(planned, request, "")) };
    let mut request = request;
    let mut summary = StatusSummary::default();
    if let Some(cluster) = &sources.cluster {
        let at = format!("creset {}/{}", request.namespace, request.name);
        let found = cluster
            .object(&request.namespace, &request.name)
            .await
            .map_err(api_error)
            .with_context(|| format!("{at} could not be read"))?;
        if let Some(object) = found {
            let existing = object.request().map_err(|wrong| anyhow::anyhow!("{at} is invalid: {wrong}"))?;
            if existing.spec_digest() != request.spec_digest() {
                return Ok(alone(Planned {
                    reason: Some("Edited".to_owned()),
                    message: Some(format!(
                        "{at} exists with a different spec, and a request never changes: file this one under another name."
                    )),
                    ..planned
                }));
            }
            (request, summary) = (existing, object.status_summary());
        } else if let Some(why) = cluster
            .refusal(&request)
            .await
            .map_err(api_error)
            .context("the permissions of --for-account could not be checked")?
        {
            return Ok(alone(Planned { reason: Some("Forbidden".to_owned()), message: Some(why), ..planned }));
        }
    }
    if sources.directories.get(&request.directory).is_some_and(DirectorySource::is_hidden) {
        return Ok(without_directory(planned, request, " (you may not read it)"));
    }
    let Assessment { world, decision, assumed } = sources.assess(request, summary.clone()).await;
    let Some(forecast) = forecast(&world, &decision) else { bail!("the decision does not converge") };
    let mut verdict = forecast.verdict;
    let mut assumed: Vec<String> = assumed.into_iter().collect();
    let (mut reason, mut message) = match forecast.view {
        Some(view) => (Some(view.reason.to_string()), Some(view.message)),
        None if verdict == Verdict::Nothing => (summary.reason.map(|r| r.to_string()), summary.message),
        None => (None, None),
    };
    let (mut planned_steps, mut planned_impact) = (forecast.steps, forecast.impact);
    if sources.offline && verdict == Verdict::Unclear {
        // A fact that only a cluster or a directory has is an assumption here.
        verdict = Verdict::Allowed;
        assumed.extend(message.take());
        reason = None;
        if let Some(request) = world.subject.request() {
            (planned_steps, planned_impact) = (steps(request), impact(request));
        }
    }
    if verdict == Verdict::Unclear
        && let Some(why) = not_read(&world)
    {
        (reason, message) = (Some("NotReadable".to_owned()), Some(why));
    }
    let (found, display_name) = match &world.facts.user {
        Seen::Known(LookUp::One(user)) if sources.looks_users_up(&world) => {
            (Some(user.id.clone()), user.display_name.clone())
        }
        _ => (None, None),
    };
    let request = world.subject.request().cloned();
    let common_steps = request.as_ref().filter(|_| verdict == Verdict::Allowed).map(common_steps).unwrap_or_default();
    let planned = Planned {
        found,
        display_name,
        verdict,
        reason,
        message,
        rule: forecast.rule.map(|rule| rule.name.clone()),
        approvals: forecast.rule.and_then(|rule| Some(rule.approvals.as_ref()?.count)),
        steps: planned_steps,
        common_steps,
        impact: planned_impact,
        assumed,
        ..planned
    };
    Ok(Member { planned, request, world: Some(Box::new(world)) })
}

/// The plan where nothing is known of the Directory.
fn without_directory(planned: Planned, request: Request, why: &str) -> Member {
    let planned = Planned {
        verdict: Verdict::Allowed,
        steps: steps(&request),
        common_steps: common_steps(&request),
        impact: impact(&request),
        assumed: vec![format!("Directory {} is Ready and has a rule that allows it{why}", request.directory)],
        ..planned
    };
    Member { planned, request: Some(request), world: None }
}

/// Which fact could not be read, and why. A throttled look-up is none: it can be read later.
fn not_read(world: &World) -> Option<String> {
    let request = world.subject.request()?;
    match (&world.facts.directory, &world.facts.user) {
        (Seen::Unknown(why), _) => Some(format!("Directory {} could not be read: {}", request.directory, why.message)),
        (_, Seen::Unknown(why)) if why.not_before.is_none() => {
            Some(format!("User {} could not be looked up: {}", request.user, why.message))
        }
        _ => None,
    }
}
