//! The gate of rules that ask for approvals in the cluster.
use serde::{Deserialize, Serialize};

use super::{
    Decision, Fact,
    gates::{unreadable, wait_about},
    report::Reason,
    request::Request,
    text,
    world::{Directory, Rule, Seen, User, World},
};

/// What a rule asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approvals {
    /// So many people.
    pub count: u32,
    /// None of them is who asked.
    pub distinct_from_requester: bool,
}

/// What an approval object of the request's namespace says about the request it names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// Name of the object.
    pub name: String,
    /// Who approved: admission has compared it with the caller.
    pub approver: String,
    /// The Directory for which admission has asked whether the approver may approve.
    pub directory: String,
    /// Of the request's spec, as the approver saw it.
    pub digest: String,
    /// Taken back.
    #[serde(default)]
    pub withdrawn: bool,
    /// Given when no admission policy may have compared the approver with the caller.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unguarded: bool,
}

/// As many as a record has room for.
const MOST: usize = 64;

impl Approval {
    /// Why it does not count for `request` under a rule that asks for `wanted`; words that complete "NAME is".
    fn fault(&self, request: &Request, wanted: &Approvals) -> Option<&'static str> {
        if self.withdrawn {
            Some("withdrawn")
        } else if self.unguarded {
            Some("older than the admission policies (to be given again)")
        } else if self.digest != request.spec_digest() {
            Some("for another digest")
        } else if self.directory != request.directory {
            Some("for another Directory")
        } else if wanted.distinct_from_requester
            && request.requested_by.as_ref().is_some_and(|requester| same_person(requester, &self.approver))
        {
            Some("by the requester")
        } else {
            None
        }
    }
}

/// The requester may have been typed; the approver is as the API server knows people.
fn same_person(requester: &str, approver: &str) -> bool {
    requester.trim().to_lowercase() == approver.trim().to_lowercase()
}

/// Who has approved, or the wait for who has to.
pub(super) fn check(
    world: &World,
    request: &Request,
    directory: &Directory,
    rule: &Rule,
    user: &User,
) -> Result<Vec<String>, Decision> {
    let Some(wanted) = &rule.approvals else { return Ok(Vec::new()) };
    let all = match &world.approvals {
        Seen::Unread => return Err(Decision::Read(Fact::Approvals)),
        Seen::Known(all) => all.as_slice(),
        Seen::Absent => &[],
        Seen::Unknown(why) => {
            return Err(unreadable(world, request, Reason::AwaitingApproval, "the approvals of this request", why));
        }
    };
    let mut approvers = Vec::new();
    let mut faults = Vec::new();
    for approval in all {
        match approval.fault(request, wanted) {
            Some(fault) => faults.push(format!("{} is {fault}", text::shown(&approval.name, text::NAME))),
            None => approvers.push(approval.approver.clone()),
        }
    }
    // Two by one person are one.
    approvers.sort_unstable();
    approvers.dedup();
    let count = usize::try_from(wanted.count).unwrap_or(usize::MAX);
    if approvers.len() >= count {
        approvers.truncate(MOST);
        return Ok(approvers);
    }
    let by = match (&request.requested_by, wanted.distinct_from_requester) {
        (Some(requester), true) => format!(" by others than {}", text::shown(requester, text::NAME)),
        _ => String::new(),
    };
    faults.sort_unstable();
    faults.truncate(8);
    let faults = if faults.is_empty() { String::new() } else { format!(" Not counted: {}.", faults.join(", ")) };
    let message = format!(
        "Rule {} of Directory {name} asks for {count} approval{s}{by}, and {given} is given.{faults} Whoever has the verb approve on directories/{name} \
         can give it until {:.0}: credreset approve {} -n {}",
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
