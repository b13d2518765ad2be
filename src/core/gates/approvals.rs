//! Whether the request has the approvals that the rule requires.
use super::closed::{unreadable, wait_about};
use crate::core::{
    approvals::distinct_people,
    decision::{Decision, Fact},
    directory::DirectoryFacts,
    reason::Reason,
    request::Request,
    rules::Rule,
    seen::Seen,
    text,
    user::User,
    world::World,
};

/// How many approvers a record stores.
const MAX_APPROVERS: usize = 64;

/// The approvers, or the wait for approvals.
pub(super) fn approved(
    world: &World,
    request: &Request,
    directory: &DirectoryFacts,
    rule: &Rule,
    user: &User,
) -> Result<Vec<String>, Decision> {
    let Some(wanted) = &rule.approvals else { return Ok(Vec::new()) };
    let all = match &world.facts.approvals {
        Seen::Unread => return Err(Decision::Read(Fact::Approvals)),
        Seen::Known(all) => all.as_slice(),
        Seen::Absent => &[],
        Seen::Unknown(why) => {
            return Err(unreadable(world, request, Reason::AwaitingApproval, "The approvals of this request", why));
        }
    };
    let mut approvers = Vec::new();
    let mut faults = Vec::new();
    for approval in all {
        match approval.fault(request, wanted, user) {
            Some(fault) => faults.push(format!("{} is {fault}", text::printable(&approval.name, text::NAME))),
            None => approvers.push(approval.approver.clone()),
        }
    }
    // Two approvals by one person count as one.
    let mut approvers = distinct_people(approvers);
    let count = usize::try_from(wanted.count).unwrap_or(usize::MAX);
    if approvers.len() >= count {
        approvers.truncate(MAX_APPROVERS);
        return Ok(approvers);
    }
    let by = match (&request.requested_by, wanted.distinct_from_requester) {
        (Some(requester), true) => format!(" by others than {}", text::printable(requester, text::NAME)),
        _ => String::new(),
    };
    faults.sort_unstable();
    faults.truncate(8);
    let faults = if faults.is_empty() { String::new() } else { format!(" Not counted: {}.", faults.join(", ")) };
    let message = format!(
        "Rule {} of Directory {name} requires {count} approval{s}{by}, and has {given}.{faults} Users with the verb approve on \
         directories/{name} \
         can approve until {:.0}: credreset approve {} -n {}",
        rule.name,
        request.deadline(),
        request.name,
        request.namespace,
        name = directory.name,
        s = if count == 1 { "" } else { "s" },
        given = if approvers.is_empty() { "none".to_owned() } else { approvers.len().to_string() },
    );
    Err(wait_about(world, request, Reason::AwaitingApproval, message, request.deadline(), user))
}
