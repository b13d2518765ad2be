//! Groups by their ids: a path is text, and a group's name may hold a slash.
use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::Value;

use super::{
    Keycloak, is_segment,
    look_up::{text_of, unreadable},
};
use crate::{
    core::{text, world::Why},
    directory::NotReady,
};

/// More groups, and a longer way up from one, than anybody has.
const GROUPS: usize = 10_000;
const LEVELS: usize = 100;

/// The groups that a path of the Directory's means.
#[derive(Clone, Debug)]
pub(super) struct Named {
    path: String,
    /// Several, where a protected path can mean several.
    groups: Vec<Group>,
    protected: bool,
}

#[derive(Clone, Debug)]
struct Group {
    id: String,
    /// As Keycloak writes it. It does not tell which group it is, but that another is not below it.
    path: String,
    /// The one above.
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
    /// What the Directory's paths mean. `None`: the operator's account does not see groups, which are then left out of a user's list
    /// without a word, and a protected one would protect nobody.
    pub(super) async fn named_groups(&self) -> Result<Option<Vec<Named>>, NotReady> {
        let [protected, allowed] = &self.groups;
        if protected.is_empty() && allowed.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let listed = self.asked(Method::GET, &["groups"], &[("max", "1")]).await?;
        if self.shown(listed, "its groups")?.is_none() {
            return Ok(None);
        }
        let mut all = Vec::new();
        for path in protected.iter().chain(allowed).collect::<BTreeSet<_>>() {
            let protected = protected.contains(path);
            let Some(mut groups) = self.groups_at(path).await? else { return Ok(None) };
            if protected && groups.is_empty() {
                return Err(NotReady::InvalidConfiguration(format!(
                    "spec.protect.groups names {}, and there is no such group: it would protect nobody.",
                    text::shown(path, text::NAME)
                )));
            }
            // To whom something is allowed is what Keycloak itself takes the path for: names without a slash come first.
            if !protected {
                groups.truncate(1);
            }
            all.push(Named { path: path.clone(), groups, protected });
        }
        Ok(Some(all))
    }

    /// The groups that `path` can mean. A slash within a name is written as it is or, as some servers do, `~/`.
    async fn groups_at(&self, path: &str) -> Result<Option<Vec<Group>>, NotReady> {
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
        let answer = self.asked(Method::GET, &segments, &[("search", name), ("exact", "true")]).await?;
        let what = format!("the look-up of group {}, which the Directory names,", text::shown(path, text::NAME));
        let Some(all) = self.shown(answer, &what)? else { return Ok(None) };
        let all = all.as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(Some(all.iter().filter(|group| text_of(group, "name") == Some(name)).find_map(Group::of)))
    }

    /// The paths of the Directory's whose groups the user is in, or in one below. `None`: nobody asks for them.
    pub(super) async fn groups_of(&self, id: &str, named: &[Named]) -> Result<Option<Vec<String>>, Why> {
        if self.groups.iter().all(Vec::is_empty) {
            return Ok(None);
        }
        let answer = self.get(&["users", id, "groups"], &[("briefRepresentation", "true")]).await?;
        let own = answer.into_list("the look-up of the user's groups")?;
        if own.len() > GROUPS {
            return Err(Why::new(format!("the directory shows the user in more than {GROUPS} groups.")));
        }
        // One that is not shown might be the one that protects the user.
        let own: Vec<Group> = own.iter().map(Group::of).collect::<Option<_>>().ok_or_else(|| unreadable("group"))?;
        let mut known = BTreeMap::new();
        let mut member = Vec::new();
        for Named { path, groups, protected } in named {
            // Deleted and made again since the last check it has another id.
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

    /// Whether `one` is `group`, or below it. What is above a group is kept in `known`.
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
        for _ in 0..LEVELS {
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

/// The parts of a path between its slashes, but for those that are written as part of a name.
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
