//! Groups, compared by their ids: a path is ambiguous, since a group's name may contain a slash.
use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::Value;

use super::{
    Keycloak, is_segment,
    look_up::{text_of, unreadable},
};
use crate::{
    core::{seen::Why, text},
    directory::NotReady,
};

/// More groups than any user is in.
const MAX_GROUPS: usize = 10_000;
/// More levels than any tree of groups has.
const MAX_LEVELS: usize = 100;

/// A path in the Directory, and the groups that it names.
#[derive(Clone, Debug)]
pub(super) struct NamedGroup {
    path: String,
    /// Several if a protected path is ambiguous.
    groups: Vec<Group>,
    protected: bool,
}

impl NamedGroup {
    /// The path, if there is no such group.
    pub(super) fn unknown(&self) -> Option<&String> {
        Some(&self.path).filter(|_| self.groups.is_empty())
    }
}

#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) id: String,
    /// As Keycloak writes it. It does not identify the group, but it excludes groups that are not below it.
    path: String,
    /// Id of the group above.
    parent: Option<String>,
}

impl Group {
    fn of(value: &Value) -> Option<Self> {
        Some(Self {
            id: text_of(value, "id").filter(|id| is_segment(id))?.to_owned(),
            path: text_of(value, "path")?.to_owned(),
            parent: text_of(value, "parentId").filter(|id| is_segment(id)).map(str::to_owned),
        })
    }
}

impl Keycloak {
    /// The groups that the Directory's paths name. `None`: the operator's account may not see groups. Keycloak then silently leaves them
    /// out of a user's list, and a protected one would protect no user.
    pub(super) async fn named_groups(&self) -> Result<Option<Vec<NamedGroup>>, NotReady> {
        let (protected, allowed) = (&self.protected_groups, &self.allowed_groups);
        if protected.is_empty() && allowed.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let listed = self.request(Method::GET, &["groups"], &[("max", "1")]).await?;
        if self.shown(listed, "its groups")?.is_none() {
            return Ok(None);
        }
        let mut all = Vec::new();
        for path in protected.iter().chain(allowed).collect::<BTreeSet<_>>() {
            let protected = protected.contains(path);
            let Some(mut groups) = self.groups_at(path).await? else { return Ok(None) };
            if protected && groups.is_empty() {
                return Err(NotReady::InvalidConfiguration(format!(
                    "spec.protect.groups names {}, and there is no such group: it would protect no user.",
                    text::printable(path, text::NAME)
                )));
            }
            // For an allowed group, the path means what Keycloak itself takes it for: names without a slash come first.
            if !protected {
                groups.truncate(1);
            }
            all.push(NamedGroup { path: path.clone(), groups, protected });
        }
        Ok(Some(all))
    }

    /// The groups that `path` can mean. A slash within a name is written as `/` or, by some servers, as `~/`.
    pub(super) async fn groups_at(&self, path: &str) -> Result<Option<Vec<Group>>, NotReady> {
        let parts = parts(path);
        let (mut found, mut below) = (Vec::new(), vec![(None::<Group>, parts.as_slice())]);
        while let Some((above, parts)) = below.pop() {
            if parts.is_empty() {
                found.extend(above);
                continue;
            }
            let mut next = Vec::new();
            for taken in 1..=parts.len() {
                let Some(group) = self.group_named(above.as_ref(), &parts[..taken].join("/"), path).await? else {
                    return Ok(None);
                };
                next.extend(group.map(|group| (Some(group), &parts[taken..])));
            }
            below.extend(next.into_iter().rev());
        }
        Ok(Some(found))
    }

    /// The group `name` below `above`, or at the top. Outer `None`: the operator's account may not see groups.
    async fn group_named(
        &self,
        above: Option<&Group>,
        name: &str,
        path: &str,
    ) -> Result<Option<Option<Group>>, NotReady> {
        let segments = match above {
            Some(group) => vec!["groups", &group.id, "children"],
            None => vec!["groups"],
        };
        let answer = self.request(Method::GET, &segments, &[("search", name), ("exact", "true")]).await?;
        let what = format!("the look-up of group {}, which the Directory names,", text::printable(path, text::NAME));
        let Some(all) = self.shown(answer, &what)? else { return Ok(None) };
        let all = all.as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(Some(all.iter().filter(|group| text_of(group, "name") == Some(name)).find_map(Group::of)))
    }

    /// The paths in the Directory whose groups, or groups below them, the user is in. `None`: the Directory names no groups.
    pub(super) async fn groups_of(&self, id: &str, named: &[NamedGroup]) -> Result<Option<Vec<String>>, Why> {
        if self.protected_groups.is_empty() && self.allowed_groups.is_empty() {
            return Ok(None);
        }
        let answer = self.get(&["users", id, "groups"], &[("briefRepresentation", "true")]).await?;
        let own = answer.into_list("the look-up of the user's groups")?;
        if own.len() > MAX_GROUPS {
            return Err(Why::new(format!("the directory shows the user in more than {MAX_GROUPS} groups.")));
        }
        // A group that is not shown might be the one that protects the user.
        let own: Vec<Group> = own.iter().map(Group::of).collect::<Option<_>>().ok_or_else(|| unreadable("group"))?;
        let mut known = BTreeMap::new();
        let mut member = Vec::new();
        for NamedGroup { path, groups, protected } in named {
            // A group that was deleted and created again since the last check has another id.
            let mut is_in = *protected && own.iter().any(|one| one.path == *path);
            for group in groups {
                for one in &own {
                    is_in = is_in || self.is_within(one, group, &mut known).await?;
                }
            }
            if is_in {
                member.push(path.clone());
            }
        }
        Ok(Some(member))
    }

    /// Whether `one` is `group`, or below it. `known` caches the parent of each group.
    async fn is_within(
        &self,
        one: &Group,
        group: &Group,
        known: &mut BTreeMap<String, Option<String>>,
    ) -> Result<bool, Why> {
        if one.id == group.id {
            return Ok(true);
        }
        if !one.path.strip_prefix(&group.path).is_some_and(|rest| rest.starts_with('/')) {
            return Ok(false);
        }
        let mut above = one.parent.clone();
        for _ in 0..MAX_LEVELS {
            let Some(id) = above else { return Ok(false) };
            if id == group.id {
                return Ok(true);
            }
            above = if let Some(parent) = known.get(&id) {
                parent.clone()
            } else {
                let shown = self.get(&["groups", &id], &[]).await?.into_read("the look-up of the user's groups")?;
                let parent = Group::of(&shown).ok_or_else(|| unreadable("group"))?.parent;
                known.insert(id, parent.clone());
                parent
            };
        }
        Err(Why::new("the directory shows a group of the user with a path without end."))
    }
}

/// The parts of a path between its slashes. A `~/` is a slash within a name.
fn parts(path: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for piece in path.split('/') {
        match parts.last_mut() {
            Some(last) if last.ends_with('~') => {
                last.pop();
                last.push('/');
                last.push_str(piece);
            }
            _ => parts.push(piece.to_owned()),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}
