//! The last gate: how often, counted over records, so that a restart changes nothing.
use jiff::{SignedDuration, Timestamp};

use super::{
    Decision,
    gates::wait_about,
    ledger::{
        State::{Applied, Changed, NotApplied, Released, Sent, Superseded, Unknown},
        record_name,
    },
    report::Reason,
    request::{Request, later},
    world::{Directory, Past, User, World},
};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// A user's attempts one at a time and apart; a Directory's within its hour.
pub(super) fn check(world: &World, request: &Request, directory: &Directory, user: &User) -> Result<(), Decision> {
    let now = world.now;
    let own = record_name(&directory.identity, &user.id.id, request.mode(), request.requested_at);
    // There may be thousands: what tells them apart at once is asked first.
    let here: Vec<&Past> = world
        .past
        .iter()
        .map(AsRef::as_ref)
        .filter(|p| (p.user != user.id.id || p.record != own) && p.directory_identity == directory.identity)
        .collect();
    let busy = here
        .iter()
        .filter(|p| p.user == user.id.id)
        .filter_map(|p| {
            let interval = later(p.started_at, directory.limits.min_interval_per_user);
            match p.state {
                Sent | Changed | Unknown => Some(p.over.max(interval)),
                Applied | Superseded => Some(interval),
                NotApplied | Released => None,
            }
        })
        .max()
        .filter(|until| *until > now);
    if let Some(until) = busy {
        let message = format!(
            "Another reset of {} was started a short while ago: this one starts at {until:.0} at the earliest.",
            user.id.name
        );
        return Err(wait_about(world, request, Reason::UserBusy, message, until, user));
    }
    let mut started: Vec<Timestamp> =
        here.iter().filter(|p| p.state != Released).map(|p| p.started_at).filter(|at| later(*at, HOUR) > now).collect();
    let allowed = usize::try_from(directory.limits.resets_per_hour).unwrap_or(usize::MAX);
    if started.len() >= allowed {
        started.sort_unstable();
        // The one that must be more than an hour ago before there is room.
        let until = started
            .len()
            .checked_sub(allowed)
            .and_then(|i| started.get(i))
            .map_or(request.deadline(), |at| later(*at, HOUR));
        let message = format!(
            "Directory {} allows {allowed} resets an hour and that many were started: this one starts at {until:.0} at the earliest.",
            directory.name
        );
        return Err(wait_about(world, request, Reason::LimitReached, message, until, user));
    }
    Ok(())
}
