//! Whether the new password can reach the user.
use super::closed::{refuse, wait_about};
use crate::core::{
    call::FollowUp, decision::Decision, directory::DirectoryFacts, reason::Reason, request::Request, seen::Seen,
    user::User, view::View, world::World,
};

pub(super) fn same_delivery(world: &World, user: &User, follow_up: &FollowUp) -> Result<(), Decision> {
    match &world.ledger.record {
        Seen::Known(record) if delivery(&record.follow_up) != delivery(follow_up) => Err(refuse(
            View::new(
                Reason::NotSupported,
                "The delivery of the password has changed since this request was first tried: nothing was \
                     sent. File a new request.",
            )
            .about(&user.id),
        )),
        _ => Ok(()),
    }
}

/// Where the password goes.
fn delivery(FollowUp { deliver_to, sealed_for, mail_to, .. }: &FollowUp) -> impl PartialEq {
    (deliver_to, sealed_for, mail_to)
}

/// A password that cannot be mailed would lock the user out, so the request waits for the mail server.
pub(super) fn mail_deliverable(
    world: &World,
    request: &Request,
    directory: &DirectoryFacts,
    user: &User,
    follow_up: &FollowUp,
) -> Result<(), Decision> {
    let not_done = world.not_done();
    match &directory.mail_trouble {
        Some(why) if follow_up.mail_to.is_some() => Err(wait_about(
            world,
            request,
            Reason::DirectoryNotReady,
            format!(
                "The new password of {} is to be mailed, and Directory {} cannot send mail: {why} Therefore {not_done}; the request \
                 waits until \
                 {:.0}.",
                user.id.name,
                directory.name,
                request.deadline()
            ),
            request.deadline(),
            user,
        )),
        _ => Ok(()),
    }
}
