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
            && request.requested_by.as_ref().is_some_and(|requester| person(requester) == person(&self.approver))
        {
            Some("by the requester")
        } else {
            None
        }
    }
}

/// What one person is, however spelt: the requester may have been typed, and an authenticator may take a name in two spellings.
fn person(name: &str) -> String {
    name.trim().to_lowercase()
}

/// Why a rule that wants others than the requester has nobody to compare approvers with. A program is nobody: whoever may act as a
/// `ServiceAccount` asks as it, and approves as himself.
pub(super) fn nobody_to_differ_from(request: &Request, rule: &Rule) -> Option<String> {
    if !rule.approvals.as_ref().is_some_and(|wanted| wanted.distinct_from_requester) {
        return None;
    }
    match &request.requested_by {
        None => Some("spec.requestedBy does not say who that is".to_owned()),
        // So the API server calls ServiceAccounts, nodes, and its own.
        Some(name) if person(name).starts_with("system:") => {
            Some(format!("{}, whom spec.requestedBy names, is no person", text::shown(name, text::NAME)))
        }
        Some(_) => None,
    }
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
    approvers.sort_unstable_by_key(|name| person(name));
    approvers.dedup_by_key(|name| person(name));
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
