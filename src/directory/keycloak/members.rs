//! The users of a group, for requests that reset them all.
use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    Keycloak,
    look_up::{text_of, unreadable},
};
use crate::{
    core::{request::UserRef, seen::Why},
    directory::members::{GroupNotFound, MAX_MEMBERS, Members, too_many},
};

/// Items of one page.
const PAGE: usize = 100;

impl Keycloak {
    /// The users in the group at this path and in those below it, by their user names.
    ///
    /// # Errors
    /// Why the directory could not be asked.
    pub async fn members(&self, group: &str) -> Result<Members, Why> {
        let found = self.groups_at(group).await.map_err(|not_ready| Why::new(not_ready.to_string()))?;
        let Some(found) = found else {
            return Err(Why::new("the operator's account may not see groups: it needs the role query-groups."));
        };
        let [root] = &found[..] else {
            return Ok(Err(if found.is_empty() { GroupNotFound::Absent } else { GroupNotFound::Several(found.len()) }));
        };
        let (mut names, mut seen, mut below) = (BTreeSet::new(), BTreeSet::new(), vec![root.id.clone()]);
        while let Some(id) = below.pop() {
            if !seen.insert(id.clone()) {
                continue;
            }
            for user in self.all(&["groups", &id, "members"], "the group's members").await? {
                names.insert(text_of(&user, "username").ok_or_else(|| unreadable("username"))?.to_owned());
            }
            for group in self.all(&["groups", &id, "children"], "the groups below the group").await? {
                below.push(text_of(&group, "id").ok_or_else(|| unreadable("group"))?.to_owned());
            }
            if names.len() + seen.len() + below.len() > MAX_MEMBERS {
                return Err(too_many());
            }
        }
        Ok(Ok(names.into_iter().map(UserRef::Username).collect()))
    }

    /// All items of a list that comes in pages.
    async fn all(&self, segments: &[&str], what: &str) -> Result<Vec<Value>, Why> {
        let mut all = Vec::new();
        loop {
            let (first, max) = (all.len().to_string(), PAGE.to_string());
            let query = [("first", first.as_str()), ("max", &max), ("briefRepresentation", "true")];
            let page = self.get(segments, &query).await?.into_list(what)?;
            let is_last = page.len() < PAGE;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
            if all.len() > MAX_MEMBERS {
                return Err(too_many());
            }
        }
    }
}
