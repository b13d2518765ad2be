//! Approvals in the cluster: which of them count, and how many people they are.
use serde::{Deserialize, Serialize};

use super::{
    request::Request,
    rules::{Approvals, Rule},
    text,
    user::User,
};

/// An approval object of the request's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// Name of the object.
    pub name: String,
    /// User name of the approver: admission has compared it with the caller.
    pub approver: String,
    /// The Directory for which admission has checked that the approver may approve.
    pub directory: String,
    /// Digest of the request's spec, as the approver saw it.
    pub digest: String,
    /// Id of the user whom the directory showed to the approver. The digest is about the name that was typed, which may be another user's
    /// by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Whether the approver has withdrawn it.
    #[serde(default)]
    pub withdrawn: bool,
    /// Created when perhaps no admission policy compared the approver with the caller.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unguarded: bool,
}

impl Approval {
    /// Why it does not count for `request` under a rule that requires `wanted`: words that complete "NAME is".
    pub(super) fn fault(&self, request: &Request, wanted: &Approvals, user: &User) -> Option<&'static str> {
        if self.withdrawn {
            Some("withdrawn")
        } else if self.unguarded {
            Some("older than the admission policies (to be given again)")
        } else if self.digest != request.spec_digest() {
            Some("for another digest")
        } else if self.directory != request.directory {
            Some("for another Directory")
        } else if self.user.as_ref().is_some_and(|approved| *approved != user.id.id) {
            Some("for another user than the directory shows now (to be given again)")
        } else if wanted.distinct_from_requester
            && request.requested_by.as_ref().is_some_and(|requester| may_be_same_person(requester, &self.approver))
        {
            Some("by the requester")
        } else {
            None
        }
    }
}

/// What identifies a person in a user name, however it is spelt: `oidc:Hana@Zylker.biz`, `https://sso.zylker.biz#hana` and ` hana` are one
/// person. The prefix of an authenticator is ignored, since one person may sign in through two of them.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Person {
    /// Without the domain.
    name: String,
    /// `None`: the user name has no domain, so it may be any. People with a domain sort first.
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

/// Whether two user names may be those of one person. Where that is not clear they count as one, so another person has to approve.
#[must_use]
pub fn may_be_same_person(one: &str, other: &str) -> bool {
    Person::of(one).may_be(&Person::of(other))
}

/// The user names that are certainly of different people, in the order of the names.
pub(super) fn distinct_people(mut names: Vec<String>) -> Vec<String> {
    names.sort_by_cached_key(|name| Person::of(name));
    let mut people: Vec<Person> = Vec::new();
    names.retain(|name| {
        let person = Person::of(name);
        // Names that may be those of several people come last.
        let new = !people.iter().any(|other| other.may_be(&person));
        if new {
            people.push(person);
        }
        new
    });
    names
}

/// Why a rule that requires other approvers than the requester cannot be applied: the request names no person to compare them with. A
/// program does not count as one: a person who may act as a `ServiceAccount` requests as that account, and approves under their own name.
pub(super) fn missing_requester(request: &Request, rule: &Rule) -> Option<String> {
    if !rule.approvals.as_ref().is_some_and(|wanted| wanted.distinct_from_requester) {
        return None;
    }
    match request.requested_by.as_ref().filter(|name| !text::folded(name).is_empty()) {
        None => Some("spec.requestedBy does not name one".to_owned()),
        // The API server's prefix for ServiceAccounts, nodes and its own users.
        Some(name) if text::folded(name).starts_with("system:") => {
            Some(format!("{}, which spec.requestedBy names, is not a person", text::printable(name, text::NAME)))
        }
        Some(_) => None,
    }
}
