//! Each gate is one condition that must be true before the operator sends anything. Their order is the policy: the first closed gate decides.
mod approvals;
mod closed;
mod deadline;
mod delivery;
mod directory;
mod limits;
mod rules;
mod secrets;
mod user;

use approvals::approved;
use closed::refuse;
use deadline::deadline_not_passed;
use delivery::{mail_deliverable, same_delivery};
use directory::{directory_ready, same_directory};
use limits::within_limits;
use rules::{rule_allows, user_not_protected};
use secrets::{no_secret_still_missing, secrets_usable};
use user::{not_already_started, same_user, unchanged_since_request, user_eligible, user_found};

use jiff::Timestamp;

use super::{
    actions::{NotSupported, actions},
    call::Actions,
    decision::{Decision, Next},
    directory::DirectoryFacts,
    reason::Reason,
    request::Request,
    rules::Rule,
    seen::Seen,
    user::{LookUp, User},
    view::View,
    world::World,
};

/// The result of gates that are all open.
pub(super) struct Pass<'a> {
    pub directory: &'a DirectoryFacts,
    pub user: &'a User,
    pub actions: Actions,
    /// The approvers, if the rule requires approvals.
    pub approved_by: Vec<String>,
}

/// Checks all gates.
///
/// # Errors
/// The decision of the first gate that is not open.
pub(super) fn check<'a>(world: &'a World, request: &Request) -> Result<Pass<'a>, Decision> {
    deadline_not_passed(world, request)?;
    let directory = directory_ready(world, request)?;
    same_directory(world, request, directory)?;
    no_secret_still_missing(world, request)?;
    let user = user_found(world, request, directory)?;
    same_user(world, request, user)?;
    not_already_started(world, request)?;
    user_eligible(world, request, user)?;
    user_not_protected(world, request, directory, user)?;
    let rule = rule_allows(world, request, directory, user)?;
    let actions = actions_supported(world, request, directory, user)?;
    same_delivery(world, user, &actions.follow_up)?;
    mail_deliverable(world, request, directory, user, &actions.follow_up)?;
    // Before the Secrets: if a reset was carried out and its record is gone, the delivered password may still exist. A requester who is
    // asked to delete that Secret would delete the password in force.
    unchanged_since_request(world, request, directory, user)?;
    secrets_usable(world, request)?;
    // The last gate that a person has to open: people are not asked to approve a request that a later gate would refuse.
    let approved_by = approved(world, request, directory, rule, user)?;
    within_limits(world, request, directory, user)?;
    Ok(Pass { directory, user, actions, approved_by })
}

/// Whether the limits let the world's request begin now, if every other gate were open.
///
/// # Errors
/// What it waits for, and the time at which to ask again.
pub(super) fn turn(world: &World) -> Result<(), (Reason, Timestamp)> {
    let (Seen::Known(directory), Seen::Known(LookUp::One(user)), Some(request)) =
        (&world.facts.directory, &world.facts.user, world.subject.request())
    else {
        return Ok(());
    };
    match within_limits(world, request, directory, user) {
        Err(Decision::Rest { view: Some(view), next: Next::At(until) }) => Err((view.reason, until)),
        _ => Ok(()),
    }
}

/// Whether what was allowed when the call was sent is still allowed. If not, the call is not sent again.
///
/// # Errors
/// The decision of the first gate that is not open.
pub(super) fn still_allowed(world: &World, request: &Request) -> Result<(), Decision> {
    let directory = directory_ready(world, request)?;
    same_directory(world, request, directory)?;
    let user = user_found(world, request, directory)?;
    same_user(world, request, user)?;
    user_eligible(world, request, user)?;
    user_not_protected(world, request, directory, user)?;
    rule_allows(world, request, directory, user)?;
    actions_supported(world, request, directory, user).map(drop)
}

fn actions_supported(
    world: &World,
    request: &Request,
    directory: &DirectoryFacts,
    user: &User,
) -> Result<Actions, Decision> {
    actions(request, directory, user).map_err(|NotSupported { cause, advice }| {
        let message = format!("{cause}: {}. {advice}", world.not_done());
        refuse(View::new(Reason::NotSupported, message).about(&user.id))
    })
}

/// The rule that allows the request, if the Directory and the user are known.
pub(super) fn rule<'a>(world: &'a World, request: &Request) -> Option<&'a Rule> {
    let directory = directory_ready(world, request).ok()?;
    rule_allows(world, request, directory, user_found(world, request, directory).ok()?).ok()
}
