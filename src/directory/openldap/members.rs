//! The users of a group, for requests that reset them all.
use std::collections::{BTreeMap, BTreeSet};

use ldap3::{Scope, SearchEntry};

use super::{OpenLdap, look_up::GROUP};
use crate::{
    core::{dn::Dn, request::UserRef, seen::Why},
    directory::{
        ldap::{
            Connection,
            answer::Failed,
            entry::{equals, value, values},
        },
        members::{GroupNotFound, MAX_MEMBERS, Members, too_many},
    },
};

const GROUP_ATTRIBUTES: [&str; 5] = ["objectClass", "member", "uniqueMember", "memberUid", "gidNumber"];
const USER_ATTRIBUTES: [&str; 3] = ["entryUUID", "uid", "mail"];

impl OpenLdap {
    /// The users in the group with this distinguished name or `cn`, and in the groups within it: by `uid`, or if one has none, by `mail` or
    /// `entryUUID`.
    ///
    /// # Errors
    /// Why the directory could not be asked.
    pub async fn members(&self, group: &str) -> Result<Members, Why> {
        let connection = self.client.connection().await.map_err(|e| e.why())?;
        let mut found = self.groups_named(&connection, group).await.map_err(|e| e.why())?;
        let (Some(root), 0) = (found.pop(), found.len()) else {
            return Ok(Err(match found.len() {
                0 => GroupNotFound::Absent,
                more => GroupNotFound::Several(more + 1),
            }));
        };
        let (mut users, mut seen, mut below) = (BTreeMap::new(), BTreeSet::from([Dn::of(&root.dn)]), vec![root]);
        while let Some(group) = below.pop() {
            let (found, groups) = self.in_group(&connection, &group).await.map_err(|e| e.why())?;
            for user in found {
                let name = |attribute: &str| value(&user, attribute).map(str::to_owned);
                let by = name("uid").map(UserRef::Username).or_else(|| name("mail").map(UserRef::Email));
                let by = by.or_else(|| name("entryUUID").map(UserRef::Id)).ok_or_else(|| {
                    Why::new("the directory shows a member of the group without a readable uid, mail or entryUUID.")
                })?;
                users.insert(Dn::of(&user.dn), by);
            }
            below.extend(groups.into_iter().filter(|group| seen.insert(Dn::of(&group.dn))));
            if users.len() + seen.len() > MAX_MEMBERS {
                return Err(too_many());
            }
        }
        Ok(Ok(users.into_values().collect()))
    }

    async fn groups_named(&self, connection: &Connection, name: &str) -> Result<Vec<SearchEntry>, Failed> {
        if name.contains('=') {
            return Ok(self.client.entry(connection, name, GROUP, &GROUP_ATTRIBUTES).await?.into_iter().collect());
        }
        let filter = format!("(&{GROUP}{})", equals("cn", name));
        // Users may have a gidNumber, too: what makes a group of them is what a group alone has.
        let groups = format!("(&{filter}(!{}))", self.user_filter);
        self.client.search(connection, self.groups_base(connection), Scope::Subtree, &groups, &GROUP_ATTRIBUTES).await
    }

    /// The users and the groups that `group` has itself. Members outside the base of users, or that `userFilter` leaves out, are none.
    async fn in_group(
        &self,
        connection: &Connection,
        group: &SearchEntry,
    ) -> Result<(Vec<SearchEntry>, Vec<SearchEntry>), Failed> {
        let (mut users, mut groups) = (Vec::new(), Vec::new());
        let base = Dn::of(&self.base);
        for dn in values(group, "member").chain(values(group, "uniqueMember")) {
            let is_user = Dn::of(dn).is_under(&base);
            let user = if is_user {
                self.client.entry(connection, dn, &self.user_filter, &USER_ATTRIBUTES).await?
            } else {
                None
            };
            match user {
                Some(user) => users.push(user),
                None => groups.extend(self.client.entry(connection, dn, GROUP, &GROUP_ATTRIBUTES).await?),
            }
        }
        let mut filters = vec![equals("memberOf", &group.dn)];
        filters.extend(values(group, "memberUid").map(|uid| equals("uid", uid)));
        // A primary group does not list its members.
        if values(group, "objectClass").any(|class| class.eq_ignore_ascii_case("posixGroup")) {
            filters.extend(values(group, "gidNumber").map(|number| equals("gidNumber", number)));
        }
        for some in filters.chunks(100) {
            let filter = format!("(&{}(|{}))", self.user_filter, some.concat());
            users.extend(self.client.search(connection, &self.base, Scope::Subtree, &filter, &USER_ATTRIBUTES).await?);
        }
        Ok((users, groups))
    }
}
