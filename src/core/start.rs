//! A request without a record, or with one whose attempt had no effect.
use jiff::SignedDuration;

use super::{
    decision::{Decision, Effect, Next},
    gates,
    reason::{Outcome, Reason},
    record::{Attempt, CALL_SLACK, Record, record_name},
    request::{Action, Request, later},
    view::{StatusSummary, View},
    world::World,
};

/// No record, or a released one: through the gates, then on to the call.
pub(super) fn start(world: &World, request: &Request, released: Option<&Record>) -> Decision {
    let pass = match gates::check(world, request) {
        Ok(pass) => pass,
        Err(decision @ Decision::Read(_)) => return decision,
        Err(decision) => {
            // A gate has closed since the password was stored: another one will be generated.
            return match &world.own.password_secret {
                Some(secret) => Decision::Do(Effect::DropPassword { secret: secret.clone() }),
                None => with_record(decision, released),
            };
        }
    };
    let name = record_name(&pass.directory.identity, &pass.user.id.id, request.mode(), request.requested_at);
    if let Action::Password { source, sealed_for, .. } = &request.action
        && world.own.password_secret.is_none()
    {
        let source = source.within(&pass.directory.policy);
        let (attempt, sealed_for) = (world.process.attempt.clone(), sealed_for.clone());
        return Decision::Do(Effect::StorePassword { attempt, record: name, source, sealed_for });
    }
    let window = pass.directory.limits.request_timeout.saturating_add(CALL_SLACK);
    let attempt = Attempt {
        id: world.process.attempt.clone(),
        number: released.map_or(1, |r| r.attempt.number.saturating_add(1)),
        holder: world.process.holder.clone(),
        started_at: world.now,
        deadline: later(world.now, window),
        secret: world.own.password_secret.clone(),
        baseline: pass.user.baseline(),
        conditional: pass.directory.conditional.contains(&request.mode()),
        approved_by: pass.approved_by,
        regenerated: released.map_or(0, |r| {
            let refused = r.refusal.as_ref().is_some_and(|why| why.reason == Reason::Rejected);
            if refused { r.attempt.regenerated.saturating_add(1) } else { r.attempt.regenerated }
        }),
    };
    Decision::Do(match released {
        Some(record) => Effect::TakeOver(Box::new(record.take_over(attempt))),
        None => Effect::Open(Box::new(Record::open(
            request,
            pass.directory.identity.clone(),
            pass.user.id.clone(),
            pass.actions,
            attempt,
        ))),
    })
}

/// Adds the released record of a request that waits at a gate to its status. A refusal ends the record.
fn with_record(decision: Decision, released: Option<&Record>) -> Decision {
    match (decision, released) {
        (Decision::Rest { view: Some(view), next }, Some(record)) => Decision::Rest {
            view: Some(Box::new(View {
                user: Some(record.user.clone()),
                record: Some(record.name.clone()),
                started_at: Some(record.attempt.started_at),
                ..*view
            })),
            next,
        },
        (decision, _) => decision,
    }
}

pub(super) fn conflict(world: &World, request: &Request, record: &Record) -> Decision {
    // A password that was stored before the other request's record was found belongs to no attempt.
    if let Some(secret) = &world.own.password_secret
        && record.attempt.secret.as_ref() != Some(secret)
    {
        return Decision::Do(Effect::DropPassword { secret: secret.clone() });
    }
    let view = View {
        evidence: None,
        started_at: None,
        completed_at: None,
        ..View::of(
            record,
            Reason::ConflictingRequest,
            format!(
                "A request for the same user, mode and requestedAt with other contents was filed as {}/{}: this one was not carried out. \
                 If it is wanted, file it with its own requestedAt (this one has {}).",
                record.request.namespace, record.request.name, request.requested_at
            ),
        )
    };
    Decision::rest(view, Next::Never)
}

/// The status shows that a call may have been sent, but no record is found: it was deleted, or the request is another spelling of one that
/// has a record. The operator looks for that record, but starts nothing.
pub(super) fn without_record(world: &World, request: &Request, status: &StatusSummary, decision: Decision) -> Decision {
    if matches!(decision, Decision::Read(_) | Decision::Do(Effect::DropPassword { .. })) {
        return decision;
    }
    let keep_until = request.keep_until();
    let next = if world.now < keep_until {
        Next::At(later(world.now, SignedDuration::from_mins(10)).min(keep_until))
    } else {
        Next::Never
    };
    if status.outcome == Some(Outcome::Unknown) {
        return Decision::Rest { view: None, next };
    }
    let view = View::new(
        Reason::OutcomeUnknown,
        "This request was under way, and its record no longer exists: the reset may or may not be in force, and nothing is sent \
         again. Ask the user to sign in before you file a new request.",
    );
    Decision::rest(view, next)
}
