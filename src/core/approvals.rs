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
    /// Id of the user whom the directory showed to the approver. The digest is about what was typed, which may be somebody else's by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
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
    fn fault(&self, request: &Request, wanted: &Approvals, user: &User) -> Option<&'static str> {
        if self.withdrawn {
            Some("withdrawn")
        } else if self.unguarded {
            Some("older than the admission policies (to be given again)")
        } else if self.digest != request.spec_digest() {
            Some("for another digest")
        } else if self.directory != request.directory {
            Some("for another Directory")
        } else if self.user.as_ref().is_some_and(|seen| *seen != user.id.id) {
            Some("for another user than the directory shows now (to be given again)")
        } else if wanted.distinct_from_requester
            && request.requested_by.as_ref().is_some_and(|requester| may_be_one(requester, &self.approver))
        {
            Some("by the requester")
        } else {
            None
        }
    }
}

/// What tells people apart in a user name, however it is spelt: `oidc:Hana@Zylker.biz`, `https://sso.zylker.biz#hana` and ` hana` are
/// one. What an authenticator puts in front of its names tells nothing, since somebody may sign in through two of them.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Person {
    /// Without the domain.
    name: String,
    /// None: not said, and then it may be any. People with one come first.
    domain: std::cmp::Reverse<Option<String>>,
}

impl Person {
    fn of(name: &str) -> Self {
        let plain = text::folded(name);
        let (local, domain) = match plain.rsplit_once('@') {
            Some((local, domain)) if !local.is_empty() && !domain.is_empty() => (local, Some(domain.to_owned())),
            _ => (plain.as_str(), None),
        };
        let name = local.rsplit([':', '#', '/', '|', '\\']).next().filter(|name| !name.is_empty()).unwrap_or(local);
        Self { name: name.to_owned(), domain: std::cmp::Reverse(domain) }
    }

    fn may_be(&self, other: &Self) -> bool {
        let (mine, theirs) = (&self.domain.0, &other.domain.0);
        self.name == other.name && (mine.is_none() || theirs.is_none() || mine == theirs)
    }
}

/// Whether two user names may be one person's. Where that is not clear they are: then somebody else has to approve.
#[must_use]
pub fn may_be_one(one: &str, other: &str) -> bool {
    Person::of(one).may_be(&Person::of(other))
}

/// As many of these user names as are certainly different people, in the order of their names.
fn different(mut names: Vec<String>) -> Vec<String> {
    names.sort_by_cached_key(|name| Person::of(name));
    let mut people: Vec<Person> = Vec::new();
    names.retain(|name| {
        let person = Person::of(name);
        // Those who may be several come after these.
        let new = !people.iter().any(|known| known.may_be(&person));
        if new {
            people.push(person);
        }
        new
    });
    names
}

/// Why a rule that wants others than the requester has nobody to compare approvers with. A program is nobody: whoever may act as a
/// `ServiceAccount` asks as it, and approves as himself.
pub(super) fn nobody_to_differ_from(request: &Request, rule: &Rule) -> Option<String> {
    if !rule.approvals.as_ref().is_some_and(|wanted| wanted.distinct_from_requester) {
        return None;
    }
    match request.requested_by.as_ref().filter(|name| !text::folded(name).is_empty()) {
        None => Some("spec.requestedBy does not say who that is".to_owned()),
        // So the API server calls ServiceAccounts, nodes, and its own.
        Some(name) if text::folded(name).starts_with("system:") => {
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
        match approval.fault(request, wanted, user) {
            Some(fault) => faults.push(format!("{} is {fault}", text::shown(&approval.name, text::NAME))),
            None => approvers.push(approval.approver.clone()),
        }
    }
    // Two by one person are one.
    let mut approvers = different(approvers);
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
