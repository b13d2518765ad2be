//! The decisions of a closed gate: refuse, stall or wait.
use jiff::{SignedDuration, Timestamp};

use crate::core::{
    decision::{Decision, Next},
    reason::Reason,
    request::{Request, later},
    seen::Why,
    user::User,
    view::View,
    world::{Subject, World},
};

/// The first pause of a wait whose end no watch reports.
pub(super) const MIN_RECHECK_INTERVAL: SignedDuration = SignedDuration::from_secs(10);

/// The longest pause of such a wait, which may take days.
const MAX_RECHECK_INTERVAL: SignedDuration = SignedDuration::from_mins(5);

/// The first pause after a failed read. If reads from a Directory go on failing, it becomes not Ready and requests wait for it.
pub(super) const MIN_REREAD_INTERVAL: SignedDuration = SignedDuration::from_secs(5);

/// The longest pause after failed reads.
const MAX_REREAD_INTERVAL: SignedDuration = SignedDuration::from_mins(1);

/// Settles the request: nothing was changed, and nothing will be.
pub(super) fn refuse(view: View) -> Decision {
    Decision::rest(view, Next::Never)
}

/// A person must act. The request is checked again when Directories change, and ends with its deadline.
pub(super) fn stall(request: &Request, view: View) -> Decision {
    Decision::rest(view, Next::At(request.deadline()))
}

/// A person must act. No watch reports when that was done, so the request is checked again, ever more rarely.
pub(super) fn recheck(world: &World, request: &Request, view: View) -> Decision {
    // No pause reaches beyond the deadline: a change in the last pause would go unnoticed.
    let left = request.deadline().duration_since(world.now);
    let pause = waited(world).min(left / 2).clamp(MIN_RECHECK_INTERVAL, MAX_RECHECK_INTERVAL);
    Decision::rest(view, Next::At(later(world.now, pause).min(request.deadline())))
}

/// How long the request has waited, according to its status. A pause of that length doubles it.
fn waited(world: &World) -> SignedDuration {
    match &world.subject {
        Subject::Object { status, .. } => {
            status.since.map_or(SignedDuration::ZERO, |since| world.now.duration_since(since))
        }
        Subject::Gone => SignedDuration::ZERO,
    }
}

/// The request goes on by itself at `until`, or when what it waits for changes.
pub(super) fn wait(world: &World, request: &Request, reason: Reason, message: String, until: Timestamp) -> Decision {
    let next = until.max(world.now).min(request.deadline());
    Decision::rest(View::new(reason, message), Next::At(next))
}

/// As [`wait`], with the user in the view.
pub(super) fn wait_about(
    world: &World,
    request: &Request,
    reason: Reason,
    message: String,
    until: Timestamp,
    user: &User,
) -> Decision {
    let mut decision = wait(world, request, reason, message, until);
    if let Decision::Rest { view: Some(view), .. } = &mut decision {
        view.user = Some(user.id.clone());
    }
    decision
}

/// A fact could not be read: waits and reads it again. `what`: the fact, as the beginning of a sentence.
pub(super) fn unreadable(world: &World, request: &Request, reason: Reason, what: &str, why: &Why) -> Decision {
    // A time that has passed would lead to reads without a pause.
    let until = why
        .not_before
        .filter(|at| *at > world.now)
        .unwrap_or_else(|| later(world.now, waited(world).clamp(MIN_REREAD_INTERVAL, MAX_REREAD_INTERVAL)))
        .min(request.deadline());
    wait(
        world,
        request,
        reason,
        format!("{what} could not be read: {} The operator tries again at {until:.0}.", why.message),
        until,
    )
}
