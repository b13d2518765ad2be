//! Limits, counted over records, so that a restart does not reset them.
use super::closed::wait_about;
use crate::core::{
    decision::Decision,
    directory::DirectoryFacts,
    history::HOUR,
    reason::Reason,
    record::{
        State::{Applied, Changed, NotApplied, Released, Sent, Superseded, Unknown},
        record_name,
    },
    request::{Request, later},
    user::User,
    world::World,
};

/// One attempt at a time for each user, with `minIntervalPerUser` between them, and at most `resetsPerHour` for the Directory.
pub(super) fn within_limits(
    world: &World,
    request: &Request,
    directory: &DirectoryFacts,
    user: &User,
) -> Result<(), Decision> {
    let now = world.now;
    let own = record_name(&directory.identity, &user.id.id, request.mode(), request.requested_at);
    let busy = world
        .ledger
        .past
        .iter()
        .filter(|p| p.user == user.id.id && p.directory_identity == directory.identity && p.record != own)
        .filter_map(|p| {
            let interval = later(p.started_at, directory.limits.min_interval_per_user);
            match p.state {
                Sent | Changed | Unknown => Some(p.cannot_arrive_after.max(interval)),
                Applied | Superseded => Some(interval),
                NotApplied | Released => None,
            }
        })
        .max()
        .filter(|until| *until > now);
    if let Some(until) = busy {
        let message = format!(
            "Another reset of {} was started recently: this one starts at {until:.0} at the earliest.",
            user.id.name
        );
        return Err(wait_about(world, request, Reason::UserBusy, message, until, user));
    }
    let allowed = directory.limits.resets_per_hour;
    let full = if allowed == 0 {
        Some(request.deadline())
    } else {
        world.ledger.hourly_limit_reached_at.map(|at| later(at, HOUR))
    };
    if let Some(until) = full.filter(|until| *until > now) {
        let message = format!(
            "Directory {} allows {allowed} resets an hour, and that many were started: this one starts at {until:.0} at the earliest.",
            directory.name
        );
        return Err(wait_about(world, request, Reason::LimitReached, message, until, user));
    }
    Ok(())
}
