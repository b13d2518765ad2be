//! The users of a group, for requests that reset them all.
use std::collections::BTreeMap;

use ldap3::Scope;

use super::{
    ActiveDirectory,
    look_up::{guid, id_of},
};
use crate::{
    core::{request::UserRef, seen::Why},
    directory::{
        ldap::entry::{bytes, equals, equals_bytes, value},
        members::{GroupNotFound, MAX_MEMBERS, Members, too_many},
    },
};

/// `LDAP_MATCHING_RULE_IN_CHAIN`: members of members.
const MEMBER_OF: &str = "memberOf:1.2.840.113556.1.4.1941:";

impl ActiveDirectory {
    /// The users in the group with this `sAMAccountName` or distinguished name, and in the groups within it, also those whose primary
    /// group is one of them: by `sAMAccountName`.
    ///
    /// # Errors
    /// Why the directory could not be asked.
    pub async fn members(&self, group: &str) -> Result<Members, Why> {
        let connection = self.client.connection().await.map_err(|e| e.why())?;
        let name = [group.to_owned()];
        let named = self.named(&connection, &name).await.map_err(|e| e.why())?;
        let Some(id) = named.first().and_then(|(id, _)| guid(id)) else { return Ok(Err(GroupNotFound::Absent)) };
        let domain = value(&connection.root, "defaultNamingContext").unwrap_or(&self.base);
        let search = async |filter: String| {
            let attributes = ["objectSid"];
            let found = self.client.search(&connection, domain, Scope::Subtree, &filter, &attributes).await;
            found.map_err(|e| e.why())
        };
        let mut groups = search(equals_bytes("objectGUID", &id)).await?;
        let Some(root) = groups.first().map(|root| equals(MEMBER_OF, &root.dn)) else {
            return Ok(Err(GroupNotFound::Absent));
        };
        groups.extend(search(format!("(&(objectClass=group){root})")).await?);
        let mut filters = vec![root];
        // No group lists those whose primary group it is: they name the last number of its id.
        let last = |sid: &[u8]| sid.last_chunk().map(|last| u32::from_le_bytes(*last));
        let numbers = groups.iter().filter_map(|group| bytes(group, "objectSid").first().and_then(|sid| last(sid)));
        filters.extend(numbers.map(|number| equals("primaryGroupID", &number.to_string())));
        let mut users = BTreeMap::new();
        for some in filters.chunks(100) {
            let found = self.users(&connection, &format!("(|{})", some.concat())).await.map_err(|e| e.why())?;
            for user in found {
                let unreadable = |what: &str| {
                    Why::new(format!("the directory shows a member of the group without a readable {what}."))
                };
                let id = id_of(&user).ok_or_else(|| unreadable("objectGUID"))?;
                let name = value(&user, "sAMAccountName").ok_or_else(|| unreadable("sAMAccountName"))?;
                users.insert(id, UserRef::Username(name.to_owned()));
            }
            if users.len() > MAX_MEMBERS {
                return Err(too_many());
            }
        }
        Ok(Ok(users.into_values().collect()))
    }
}
