//! Users: as named on the command line, as looked up, and as assumed where no directory is contacted.
use std::collections::BTreeMap;

use crate::{
    core::{
        Request,
        directory::DirectoryFacts,
        request::{Mode, UserRef},
        rules::Rule,
        seen::{Seen, Why},
        user::{LookUp, User, UserId},
    },
    directory::Provider,
};

/// The user that a request names, with everything that the rules ask for: what is refused for this user is refused for any.
pub fn assumed_user(request: &Request, directory: &DirectoryFacts) -> User {
    let may_apply = |rule: &&Rule| {
        rule.modes.contains(&request.mode())
            && (rule.namespaces.contains(&request.namespace) || rule.namespace_selector.is_some())
    };
    let rules: Vec<&Rule> = directory.allow.iter().filter(may_apply).collect();
    let typed = request.user.typed();
    let email = match &request.user {
        UserRef::Email(address) => Some(address.clone()),
        // An address that the first rule with a domain allows.
        UserRef::Username(_) | UserRef::Id(_) => Some(
            rules
                .iter()
                .find_map(|rule| rule.users.email_domains.first())
                .map_or_else(String::new, |d| format!("{typed}@{d}")),
        ),
    };
    let groups =
        rules.iter().flat_map(|rule| rule.users.groups.clone()).filter(|g| !directory.protect.groups.contains(g));
    User {
        id: UserId { id: typed.to_owned(), name: typed.to_owned() },
        display_name: None,
        email,
        aliases: Vec::new(),
        confirmed: true,
        active: true,
        federated: false,
        administrator: Seen::Known(false),
        operator: Seen::Known(false),
        groups: Seen::Known(groups.collect()),
        changed_at: Seen::Absent,
        lacks: BTreeMap::new(),
        why_ineligible: None,
        factors: Seen::Unread,
        mfa_on: Seen::Unread,
        must_change: Seen::Known(false),
        condition: None,
        handle: BTreeMap::new(),
    }
}

/// Looks a user up by a name of unknown kind: as an e-mail address if it has an `@`, then as a user name, then as an id.
///
/// # Errors
/// If the directory could not be asked.
pub async fn look_up(provider: &Provider, typed: &str, mode: Mode) -> Result<Option<(UserRef, LookUp)>, Why> {
    let email = typed.contains('@').then(|| UserRef::Email(typed.to_owned()));
    for by in email.into_iter().chain([UserRef::Username(typed.to_owned()), UserRef::Id(typed.to_owned())]) {
        if let Some(found) = provider.look_up(&by, mode).await? {
            return Ok(Some((by, found)));
        }
    }
    Ok(None)
}

/// Parses a user on the command line: not blank.
///
/// # Errors
/// If it is blank.
pub fn parse_name(typed: &str) -> Result<String, &'static str> {
    if typed.trim().is_empty() { Err("empty: neither an address, nor a name, nor an id") } else { Ok(typed.to_owned()) }
}
