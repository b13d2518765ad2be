//! Whether the Secrets that the request names are as they must be.
use super::closed::{recheck, unreadable};
use crate::core::{
    decision::{Decision, Fact},
    reason::Reason,
    record::CLOCK_SKEW_MARGIN,
    request::{Action, PasswordSource, Request, later},
    seen::Seen,
    view::View,
    world::{Delivery, Subject, SuppliedPassword, World},
};

/// For a request that was stopped by a Secret alone: checks that Secret first, and the user again only once the Secret has changed, so
/// that waiting costs the directory no call. If the Secret was created since, all other gates come before the advice to delete it: it
/// may have been delivered for the same request under another spelling, and hold the password in force.
pub(super) fn no_secret_still_missing(world: &World, request: &Request) -> Result<(), Decision> {
    let Subject::Object { status, .. } = &world.subject else { return Ok(()) };
    let (Some(Reason::SecretMissing | Reason::SecretForbidden | Reason::DeliveryConflict), Some(since)) =
        (status.reason, status.since)
    else {
        return Ok(());
    };
    match secrets_usable(world, request) {
        Err(Decision::Rest { .. })
            if world.facts.delivery == Seen::Known(Delivery::Taken)
                && world.facts.taken_at.is_none_or(|created| later(created, CLOCK_SKEW_MARGIN) >= since) =>
        {
            Ok(())
        }
        stalled => stalled,
    }
}

pub(super) fn secrets_usable(world: &World, request: &Request) -> Result<(), Decision> {
    let not_done = world.not_done();
    let Action::Password { source, deliver_to, .. } = &request.action else { return Ok(()) };
    let namespace = &request.namespace;
    let forbidden = |name: &str, verb: &str| {
        let message = format!(
            "The operator may not {verb} Secret {namespace}/{name}: {not_done}. Grant its ServiceAccount that right in the namespace."
        );
        recheck(world, request, View::new(Reason::SecretForbidden, message))
    };
    if let PasswordSource::FromSecret { name, key } = source {
        let missing = |what: &str| {
            recheck(
                world,
                request,
                View::new(
                    Reason::SecretMissing,
                    format!(
                        "Secret {namespace}/{name} {what}: {not_done}. The request waits for it until {}.",
                        request.deadline()
                    ),
                ),
            )
        };
        match &world.facts.supplied_password {
            Seen::Unread => return Err(Decision::Read(Fact::SuppliedPassword)),
            Seen::Known(SuppliedPassword::Usable) => {}
            Seen::Known(SuppliedPassword::Unusable(what)) => return Err(missing(what)),
            Seen::Known(SuppliedPassword::Forbidden) => return Err(forbidden(name, "read")),
            Seen::Absent => return Err(missing(&format!("does not exist (its key {key} should hold the password)"))),
            Seen::Unknown(why) => {
                return Err(unreadable(
                    world,
                    request,
                    Reason::SecretMissing,
                    &format!("Secret {namespace}/{name}"),
                    why,
                ));
            }
        }
    }
    let Some(name) = deliver_to else { return Ok(()) };
    match &world.facts.delivery {
        Seen::Unread => Err(Decision::Read(Fact::Delivery)),
        Seen::Absent => Ok(()),
        Seen::Known(Delivery::Taken) => Err(recheck(
            world,
            request,
            View::new(
                Reason::DeliveryConflict,
                format!(
                    "Secret {namespace}/{name} exists already and is not overwritten: {not_done}. Delete it, and the request goes on \
                     until {}.",
                    request.deadline()
                ),
            ),
        )),
        Seen::Known(Delivery::Forbidden) => Err(forbidden(name, "read and create")),
        Seen::Unknown(why) => {
            Err(unreadable(world, request, Reason::DirectoryNotReady, &format!("Secret {namespace}/{name}"), why))
        }
    }
}
