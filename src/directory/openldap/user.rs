//! Who is meant, and what the guards ask about.
use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt::Write as _,
};

use jiff::Timestamp;
use ldap3::{Scope, SearchEntry};

use super::{
    OpenLdap,
    condition::{changed_at, condition, generalized_time},
};
use crate::{
    core::{
        ledger::UserId,
        request::UserRef,
        text::{plain_dn, same_dn},
        world::{CONDITION, Found, Seen, User, Why},
    },
    directory::ldap::{
        Connection,
        answer::Failed,
        entry::{equals, is_under, value, values, word},
    },
};

const ATTRIBUTES: [&str; 9] = [
    "entryUUID",
    "uid",
    "mail",
    "entryCSN",
    "pwdChangedTime",
    "pwdAccountLockedTime",
    "pwdEndTime",
    "memberOf",
    "gidNumber",
];
/// More groups than anybody has.
const GROUPS: usize = 10_000;
/// What has members, as far as they are looked for.
pub(super) const GROUP: &str = "(|(member=*)(uniqueMember=*)(memberUid=*)(gidNumber=*))";

impl OpenLdap {
    /// Finds a user. The server compares names and addresses without regard to case.
    ///
    /// # Errors
    /// Why it could not be told.
    pub async fn look_up(&self, user: &UserRef) -> Result<Option<Found>, Why> {
        let connection = self.client.connection().await.map_err(|e| e.why())?;
        let mut found = match user {
            UserRef::Id(id) => self.by_id(&connection, id).await.map_err(|e| e.why())?.into_iter().collect(),
            UserRef::Username(name) => self.find(&connection, "uid", name).await.map_err(|e| e.why())?,
            UserRef::Email(email) => self.find(&connection, "mail", email).await.map_err(|e| e.why())?,
        };
        match (found.pop(), found.len()) {
            (None, _) => Ok(None),
            (Some(one), 0) => Ok(Some(Found::One(Box::new(self.user(&connection, &one).await?)))),
            (Some(_), more) => Ok(Some(Found::Several(more + 1))),
        }
    }

    async fn find(&self, connection: &Connection, attribute: &str, typed: &str) -> Result<Vec<SearchEntry>, Failed> {
        let filter = format!("(&{}{})", self.user_filter, equals(attribute, typed));
        let mut found = self.client.search(connection, &self.base, Scope::Subtree, &filter, &ATTRIBUTES).await?;
        // Matching rules may be more generous.
        let typed = typed.to_lowercase();
        found.retain(|entry| values(entry, attribute).any(|known| known.to_lowercase() == typed));
        Ok(found)
    }

    pub(super) async fn by_id(&self, connection: &Connection, id: &str) -> Result<Option<SearchEntry>, Failed> {
        if !is_uuid(id) {
            return Ok(None);
        }
        Ok(self.find(connection, "entryUUID", id).await?.pop())
    }

    async fn user(&self, connection: &Connection, entry: &SearchEntry) -> Result<User, Why> {
        let unreadable = |name: &str| Why::new(format!("the directory shows the user without a readable {name}."));
        let id = value(entry, "entryUUID").filter(|id| is_uuid(id)).ok_or_else(|| unreadable("entryUUID"))?;
        let mails: Vec<&str> = values(entry, "mail").collect();
        let names: Vec<&str> = values(entry, "uid").collect();
        let name = names.first().or(mails.first()).copied().unwrap_or(&entry.dn);
        let condition = condition(connection, entry).ok_or_else(|| unreadable("entryCSN"))?;
        let changed_at = match value(entry, "pwdChangedTime") {
            Some(_) => Seen::Known(changed_at(entry).ok_or_else(|| unreadable("pwdChangedTime"))?),
            // Imported, or never changed since the policy has been there.
            None if connection.has_policy => Seen::Absent,
            None => Seen::Unknown(Why::new("without a password policy the server keeps no time of the last change.")),
        };
        let now = Timestamp::now();
        let ended = value(entry, "pwdEndTime").is_some_and(|end| generalized_time(end).is_none_or(|end| end <= now));
        Ok(User {
            id: UserId::new(id.to_lowercase(), name),
            email: mails.first().and_then(|mail| word(mail)),
            aliases: mails.iter().chain(&names).map(|name| (*name).to_owned()).chain([entry.dn.clone()]).collect(),
            confirmed: true,
            // The one value that failed sign-ins do not set: an administrator has locked the account for good.
            active: value(entry, "pwdAccountLockedTime") != Some("000001010000Z") && !ended,
            federated: false,
            administrator: Seen::Unknown(Why::new("OpenLDAP does not show who administers it.")),
            operator: Seen::Known(same_dn(&entry.dn, self.client.bind_dn())),
            groups: if self.groups.is_empty() {
                Seen::Unread
            } else {
                Seen::Known(self.groups_of(connection, entry).await?)
            },
            changed_at,
            lacks: BTreeMap::new(),
            hindrance: None,
            factors: Seen::Unread,
            must_change: Seen::Unread,
            handle: [("dn".to_owned(), entry.dn.clone()), (CONDITION.to_owned(), condition)].into(),
        })
    }

    /// By `memberOf` and by search, with those above; as rules and protections spell them where they do.
    async fn groups_of(&self, connection: &Connection, entry: &SearchEntry) -> Result<Vec<String>, Why> {
        let base = self.groups_base(connection);
        let (mut all, mut below) = (BTreeMap::new(), vec![entry.dn.clone()]);
        let mut found: Vec<String> = values(entry, "memberOf").map(str::to_owned).collect();
        loop {
            // Each is looked at once.
            for dn in found {
                if let Entry::Vacant(new) = all.entry(plain_dn(&dn)) {
                    new.insert(dn.clone());
                    below.push(dn);
                }
            }
            if all.len() > GROUPS {
                return Err(Why::new(format!("the directory shows the user in more than {GROUPS} groups.")));
            }
            if below.is_empty() {
                break;
            }
            let mut filter = "(|".to_owned();
            for dn in below.drain(..) {
                filter += &equals("member", &dn);
                filter += &equals("uniqueMember", &dn);
            }
            for uid in values(entry, "uid") {
                filter += &equals("memberUid", uid);
            }
            // A primary group does not list its members.
            for number in values(entry, "gidNumber") {
                let _ = write!(filter, "(&(objectClass=posixGroup){})", equals("gidNumber", number));
            }
            let groups = self.client.search(connection, base, Scope::Subtree, &(filter + ")"), &["1.1"]).await;
            found = groups.map_err(|e| e.why())?.into_iter().map(|group| group.dn).collect();
        }
        let named: BTreeMap<String, &String> = self.groups.iter().map(|named| (plain_dn(named), named)).collect();
        Ok(all.into_iter().map(|(plain, dn)| named.get(&plain).map_or(dn, |named| (*named).clone())).collect())
    }

    pub(super) fn groups_base<'a>(&'a self, connection: &'a Connection) -> &'a str {
        self.groups_base.as_deref().or_else(|| self.suffix(connection)).unwrap_or(&self.base)
    }

    /// The top of the tree that the users are in.
    pub(super) fn suffix<'a>(&self, connection: &'a Connection) -> Option<&'a str> {
        let above = |context: &&str| is_under(&self.base, context);
        values(&connection.root, "namingContexts").filter(above).max_by_key(|context| context.len())
    }
}

pub(super) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(at, b)| if matches!(at, 8 | 13 | 18 | 23) { b == b'-' } else { b.is_ascii_hexdigit() })
}
