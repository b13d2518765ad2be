//! Whether the Directory is ready, and names the same directory as at the first attempt.
use super::{
    closed::{stall, unreadable, wait},
    rules::{concerns_namespace, not_allowed},
};
use crate::core::{
    decision::{Decision, Fact},
    directory::DirectoryFacts,
    reason::Reason,
    request::Request,
    seen::Seen,
    view::View,
    world::World,
};

pub(super) fn directory_ready<'a>(world: &'a World, request: &Request) -> Result<&'a DirectoryFacts, Decision> {
    let directory = match &world.facts.directory {
        Seen::Unread => return Err(Decision::Read(Fact::Directory)),
        Seen::Known(directory) => directory,
        Seen::Absent => {
            return Err(stall(
                request,
                View::new(
                    Reason::DirectoryMissing,
                    format!(
                        "There is no Directory named {}. Create it, or file a request that names another one.",
                        request.directory
                    ),
                ),
            ));
        }
        Seen::Unknown(why) => {
            return Err(unreadable(
                world,
                request,
                Reason::DirectoryNotReady,
                &format!("Directory {}", request.directory),
                why,
            ));
        }
    };
    if directory.suspend {
        return Err(wait(
            world,
            request,
            Reason::DirectorySuspended,
            format!(
                "Directory {} is suspended: nothing is started until spec.suspend is false. The request waits until {:.0}.",
                directory.name,
                request.deadline()
            ),
            request.deadline(),
        ));
    }
    if let Some(not_ready) = &directory.not_ready {
        return Err(wait(
            world,
            request,
            Reason::DirectoryNotReady,
            format!(
                "Directory {} is not Ready: {not_ready} The request waits until {:.0}.",
                directory.name,
                request.deadline()
            ),
            request.deadline(),
        ));
    }
    // Before the look-up: a request that no rule can allow costs the directory no call, and shows its requester nothing about users.
    let mut candidates = false;
    for rule in &directory.allow {
        candidates |= rule.modes.contains(&request.mode()) && concerns_namespace(world, request, rule)?;
    }
    if candidates { Ok(directory) } else { Err(not_allowed(world, request, directory, None)) }
}

pub(super) fn same_directory(world: &World, request: &Request, directory: &DirectoryFacts) -> Result<(), Decision> {
    let not_done = world.not_done();
    match &world.ledger.record {
        Seen::Known(record) if record.directory_identity != directory.identity => Err(stall(
            request,
            View::new(
                Reason::DirectoryMissing,
                format!(
                    "Directory {} names another directory than when this request was first tried: {not_done}. Change it back, or \
                     file a new request.",
                    directory.name
                ),
            ),
        )),
        _ => Ok(()),
    }
}
