//! Which user the request is about, and whether the account can be reset.
use super::closed::{refuse, unreadable};
use crate::core::{
    decision::{Decision, Fact},
    directory::DirectoryFacts,
    reason::Reason,
    request::Request,
    seen::{Seen, Why},
    user::{LookUp, User},
    view::View,
    world::World,
};

pub(super) fn user_found<'a>(
    world: &'a World,
    request: &Request,
    directory: &DirectoryFacts,
) -> Result<&'a User, Decision> {
    let not_done = world.not_done();
    let typed = &request.user;
    match &world.facts.user {
        Seen::Unread => Err(Decision::Read(Fact::User)),
        Seen::Known(LookUp::One(user)) => Ok(user),
        Seen::Known(LookUp::Several(n)) => Err(refuse(View::new(
            Reason::UserAmbiguous,
            format!("{n} users of Directory {} match {typed}: {not_done}. Name the user by id.", directory.name),
        ))),
        Seen::Absent => Err(refuse(View::new(
            Reason::UserNotFound,
            format!("Directory {} has no user {typed}: {not_done}. Check the spelling.", directory.name),
        ))),
        Seen::Unknown(why) => {
            let reason = if why.not_before.is_some() { Reason::Throttled } else { Reason::DirectoryNotReady };
            Err(unreadable(world, request, reason, &format!("User {typed}"), why))
        }
    }
}

pub(super) fn same_user(world: &World, request: &Request, user: &User) -> Result<(), Decision> {
    let not_done = world.not_done();
    match &world.ledger.record {
        Seen::Known(record) if record.user.id != user.id.id => Err(refuse(View::new(
            Reason::UserAmbiguous,
            format!(
                "{} matches another user than when this request was first tried: {not_done}. File a new request that names the user \
                 by id.",
                request.user
            ),
        ))),
        _ => Ok(()),
    }
}

/// Right after the look-up: the same request under another spelling of the user must find its record before any gate that the first
/// attempt has closed, such as the time of the last change.
pub(super) fn not_already_started(world: &World, request: &Request) -> Result<(), Decision> {
    if matches!(world.ledger.record, Seen::Known(_)) {
        return Ok(());
    }
    let unknown = Why::new("the record exists, and its contents were not shown.");
    let why = match &world.ledger.record_by_name {
        Seen::Absent => return Ok(()),
        Seen::Unread => return Err(Decision::Read(Fact::RecordByName)),
        Seen::Unknown(why) => why,
        Seen::Known(()) => &unknown,
    };
    Err(unreadable(world, request, Reason::DirectoryNotReady, "The ledger", why))
}

pub(super) fn user_eligible(world: &World, request: &Request, user: &User) -> Result<(), Decision> {
    let not_done = world.not_done();
    let who = &user.id.name;
    let (reason, message) = if !user.confirmed {
        (
            Reason::UserNotConfirmed,
            format!(
                "{who} has not confirmed the account yet: {not_done}. Ask the user to accept the invitation first."
            ),
        )
    } else if !user.active {
        (
            Reason::UserInactive,
            format!(
                "{who} is not active in the directory: {not_done}. {}",
                user.why_ineligible.as_deref().unwrap_or("Activate the user first.")
            ),
        )
    } else if user.federated {
        (
            Reason::UserFederated,
            format!(
                "{who} signs in through another identity provider: {not_done}. Reset the {} there.",
                request.mode()
            ),
        )
    } else if let Some(why) = &user.why_ineligible {
        (Reason::NotSupported, format!("The {} of {who} cannot be reset: {not_done}. {why}", request.mode()))
    } else {
        return Ok(());
    };
    Err(refuse(View::new(reason, message).about(&user.id)))
}

pub(super) fn unchanged_since_request(
    world: &World,
    request: &Request,
    directory: &DirectoryFacts,
    user: &User,
) -> Result<(), Decision> {
    let not_done = world.not_done();
    match &user.changed_at {
        Seen::Known(at) if *at >= request.requested_at => Err(refuse(
            View::new(
                Reason::ChangedSinceRequest,
                format!(
                    "The {} of {} was changed at {at:.0}, after the reset was requested at {}: {not_done}. File a new request if a \
                     reset is \
                     still wanted.",
                    request.mode(),
                    user.id.name,
                    request.requested_at
                ),
            )
            .about(&user.id),
        )),
        // It is the precondition of the call.
        Seen::Unknown(why)
            if directory.conditional.contains(&request.mode()) && user.condition.is_none() =>
        {
            let what = format!("The last change of the {} of {}", request.mode(), user.id.name);
            Err(unreadable(world, request, Reason::DirectoryNotReady, &what, why))
        }
        _ => Ok(()),
    }
}
