//! Whether the request is within its time: not too early, and not past its deadline.
use jiff::SignedDuration;

use super::{
    closed::{MIN_RECHECK_INTERVAL, MIN_REREAD_INTERVAL, refuse, wait},
    directory::directory_ready,
    user::{not_already_started, user_found},
};
use crate::core::{
    decision::{Decision, Fact, Next},
    reason::{Reason, Truth},
    record::CLOCK_SKEW_MARGIN,
    request::{Request, later},
    seen::Seen,
    view::View,
    world::{Subject, World},
};

/// How far `requestedAt` may be ahead of the object's creation, since clocks differ. A reset far ahead happens when its approvers no
/// longer think of it, and no `maxValidFor` bounds it.
const MAX_AHEAD: SignedDuration = SignedDuration::from_hours(1);

pub(super) fn deadline_not_passed(world: &World, request: &Request) -> Result<(), Decision> {
    let not_done = world.not_done();
    let now = world.now;
    // By both clocks: no process starts an object that was created too late.
    if request.created >= request.deadline() {
        return Err(refuse(View::new(
            Reason::Lapsed,
            format!("This request ended at {}, before this object was created: {not_done}.", request.deadline()),
        )));
    }
    if now >= request.keep_until() {
        return Err(refuse(View {
            succeeded: Truth::Unknown,
            ..View::new(
                Reason::Lapsed,
                format!(
                    "This request ended at {} and its record is no longer kept: what happened then is no longer known. \
                     Nothing was sent now.",
                    request.deadline()
                ),
            )
        }));
    }
    if now >= request.deadline() {
        no_process_can_start(world, request)?;
        return Err(refuse(expired(world, request)));
    }
    if request.restored && !matches!(world.ledger.record, Seen::Known(_)) {
        return Err(refuse(View::new(
            Reason::RestoredFromBackup,
            "This object was restored from a backup and there is no record of it: it is never started. File a new request if \
             the reset is still wanted.",
        )));
    }
    // The creation time is from the API server's clock, in whole seconds.
    if request.requested_at > later(request.created, MAX_AHEAD.saturating_add(CLOCK_SKEW_MARGIN)) {
        return Err(refuse(View::new(
            Reason::NotSupported,
            format!(
                "spec.requestedAt is {}, more than an hour after this object was created at {}: {not_done}. File a request whose \
                 requestedAt is the time in UTC at which the reset was requested.",
                request.requested_at, request.created
            ),
        )));
    }
    if request.requested_at > now {
        return Err(wait(
            world,
            request,
            Reason::NotYetValid,
            format!("spec.requestedAt is in the future: the request starts at {}.", request.requested_at),
            request.requested_at,
        ));
    }
    Ok(())
}

/// The deadline counts as passed once no other process can have started the request, even if its clock is as far behind as allowed, and
/// after reading the ledger from then on, also for the same request under another spelling of the user.
fn no_process_can_start(world: &World, request: &Request) -> Result<(), Decision> {
    let sure = later(request.deadline(), CLOCK_SKEW_MARGIN);
    if world.now < sure {
        return Err(Decision::Rest { view: None, next: Next::At(sure) });
    }
    if world.ledger.record_looked_up_at.is_none_or(|at| at < sure) {
        return Err(Decision::Read(Fact::Record));
    }
    let found = directory_ready(world, request)
        .and_then(|directory| user_found(world, request, directory))
        .and_then(|_| not_already_started(world, request));
    let unread = matches!(world.facts.directory, Seen::Unknown(_))
        || matches!(world.facts.user, Seen::Unknown(_))
        || matches!(world.ledger.record_by_name, Seen::Unknown(_) | Seen::Known(()));
    match found {
        Err(read @ Decision::Read(_)) => Err(read),
        // A short failure does not decide, but a directory that cannot be queried does not keep a request from ending.
        Err(_) if unread && world.now < later(sure, MIN_RECHECK_INTERVAL) => {
            Err(Decision::Rest { view: None, next: Next::At(later(world.now, MIN_REREAD_INTERVAL)) })
        }
        // There is no record. Or the Directory cannot be used, or has no such user: for this object nothing was sent.
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The view of a request that was not started in time, with what prevented it.
fn expired(world: &World, request: &Request) -> View {
    let not_done = world.not_done();
    let blocked = match &world.subject {
        Subject::Object { status, .. } => match (status.reason, status.message.as_deref()) {
            (Some(reason), Some(message)) if reason != Reason::Pending => {
                format!(" It waited for: {reason}: {message}")
            }
            _ => " No operator was running in that time.".to_owned(),
        },
        Subject::Gone => String::new(),
    };
    View::new(
        Reason::Expired,
        format!(
            "The request could not be started before {}: {not_done}.{blocked} File a new request.",
            request.deadline()
        ),
    )
}
