//! Finds the user that a request names, and reads what the gates check.
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use jiff::Timestamp;
use ldap3::{Scope, SearchEntry};

use super::{
    OpenLdap,
    precondition::{changed_at, generalized_time, precondition},
};
use crate::{
    api::directory::OtherPasswords,
    core::{
        dn::Dn,
        request::UserRef,
        seen::{Seen, Why},
        user::{LookUp, User, UserId},
    },
    directory::{
        display_name,
        ldap::{
            ANY, Connection,
            answer::Failed,
            entry::{equals, value, values, word},
            look_up::{has_value, only_user, unreadable},
        },
    },
};

const ATTRIBUTES: [&str; 13] = [
    "objectClass",
    "entryUUID",
    "uid",
    "mail",
    "displayName",
    "cn",
    "entryCSN",
    "pwdChangedTime",
    "pwdAccountLockedTime",
    "pwdStartTime",
    "pwdEndTime",
    "memberOf",
    "gidNumber",
];
/// More groups than any user is in.
const MAX_GROUPS: usize = 10_000;
/// Matches groups whose members the look-up finds.
pub(super) const GROUP: &str = "(|(member=*)(uniqueMember=*)(memberUid=*)(gidNumber=*))";
/// Object classes whose entries hold passwords in addition to `userPassword`, and the attributes that hold them.
const OTHER_PASSWORDS: [(OtherPasswords, &str, &str); 4] = [
    (OtherPasswords::SambaSamAccount, "sambaSamAccount", "sambaNTPassword and sambaLMPassword"),
    (OtherPasswords::ShadowAccount, "shadowAccount", "shadowLastChange"),
    (OtherPasswords::KrbPrincipalAux, "krbPrincipalAux", "krbPrincipalKey"),
    (OtherPasswords::Krb5KdcEntry, "krb5KDCEntry", "krb5Key"),
];

impl OpenLdap {
    /// Finds a user. The server compares names and addresses without regard to case.
    ///
    /// # Errors
    /// Why the directory could not be asked.
    pub async fn look_up(&self, user: &UserRef) -> Result<Option<LookUp>, Why> {
        let connection = self.client.connection().await.map_err(|e| e.why())?;
        let entries = match user {
            UserRef::Id(id) => self.by_id(&connection, id).await.map(|found| found.into_iter().collect()),
            UserRef::Username(name) => self.find(&connection, "uid", name).await,
            UserRef::Email(email) => self.find(&connection, "mail", email).await,
        };
        only_user(entries.map_err(|e| e.why())?, async |entry| self.user(&connection, entry).await).await
    }

    async fn find(&self, connection: &Connection, attribute: &str, typed: &str) -> Result<Vec<SearchEntry>, Failed> {
        let filter = format!("(&{}{})", self.user_filter, equals(attribute, typed));
        let mut found = self.client.search(connection, &self.base, Scope::Subtree, &filter, &ATTRIBUTES).await?;
        found.retain(|entry| has_value(entry, attribute, typed));
        Ok(found)
    }

    pub(super) async fn by_id(&self, connection: &Connection, id: &str) -> Result<Option<SearchEntry>, Failed> {
        if !is_uuid(id) {
            return Ok(None);
        }
        Ok(self.find(connection, "entryUUID", id).await?.pop())
    }

    /// The user with this id, as the first server that can be reached shows them.
    pub(super) async fn entry(&self, id: &str) -> Result<Option<SearchEntry>, Failed> {
        let connection = self.client.connection().await?;
        self.by_id(&connection, id).await
    }

    async fn user(&self, connection: &Connection, entry: &SearchEntry) -> Result<User, Why> {
        let id = value(entry, "entryUUID").filter(|id| is_uuid(id)).ok_or_else(|| unreadable("entryUUID"))?;
        // The object classes show which other passwords the entry holds.
        value(entry, "objectClass").ok_or_else(|| unreadable("objectClass"))?;
        let mails: Vec<&str> = values(entry, "mail").collect();
        let names: Vec<&str> = values(entry, "uid").collect();
        let name = names.first().or(mails.first()).copied().unwrap_or(&entry.dn);
        let condition = precondition(connection, entry).ok_or_else(|| unreadable("entryCSN"))?;
        let changed_at = match value(entry, "pwdChangedTime") {
            Some(_) => Seen::Known(changed_at(entry).ok_or_else(|| unreadable("pwdChangedTime"))?),
            // Imported, or not changed since the policy was set up.
            None if connection.has_policy => Seen::Absent,
            None => Seen::Unknown(Why::new("without a password policy the server keeps no time of the last change.")),
        };
        let now = Timestamp::now();
        let begun =
            value(entry, "pwdStartTime").is_none_or(|start| generalized_time(start).is_some_and(|at| at <= now));
        let ended = value(entry, "pwdEndTime").is_some_and(|end| generalized_time(end).is_none_or(|end| end <= now));
        let is_it = |found: &SearchEntry| value(found, "entryUUID").is_some_and(|known| known.eq_ignore_ascii_case(id));
        let own = self.client.entry(connection, self.client.bind_dn(), ANY, &["entryUUID"]).await;
        let own = own.map_err(|e| e.why())?.is_some_and(|own| is_it(&own));
        let protected = self.client.names_of(connection, &self.protected_users, "entryUUID", is_it).await;
        let mut aliases = protected.map_err(|e| e.why())?;
        aliases.extend(mails.iter().chain(&names).map(|name| (*name).to_owned()));
        aliases.push(entry.dn.clone());
        // Failed sign-ins do not set this value: an administrator has locked the account for good.
        let active = value(entry, "pwdAccountLockedTime") != Some("000001010000Z") && begun && !ended;
        Ok(User {
            id: UserId::new(id.to_lowercase(), name),
            display_name: display_name(value(entry, "displayName").or(value(entry, "cn"))),
            email: mails.first().and_then(|mail| word(mail)),
            aliases,
            confirmed: true,
            active,
            federated: self.is_federated(connection, &entry.dn).await?,
            administrator: Seen::Unknown(Why::new("OpenLDAP does not show who administers it.")),
            // An account without an entry, such as rootdn, is not a user.
            operator: Seen::Known(own || Dn::of(&entry.dn) == Dn::of(self.client.bind_dn())),
            groups: if self.groups.is_empty() {
                Seen::Unread
            } else {
                Seen::Known(self.groups_of(connection, entry).await?)
            },
            changed_at,
            lacks: BTreeMap::new(),
            why_ineligible: if active { self.other_passwords(entry) } else { None },
            factors: Seen::Unread,
            mfa_on: Seen::Unread,
            must_change: Seen::Unread,
            condition: Some(condition),
            handle: [("dn".to_owned(), entry.dn.clone())].into(),
        })
    }

    /// Whether the user's password is kept elsewhere.
    async fn is_federated(&self, connection: &Connection, dn: &str) -> Result<bool, Why> {
        let Some(filter) = &self.federated_filter else { return Ok(false) };
        // Neither matches if the account may not search by what the filter names.
        for (filter, federated) in [(filter.clone(), true), (format!("(!{filter})"), false)] {
            let found = self.client.entry(connection, dn, &filter, &["1.1"]).await.map_err(|e| e.why())?;
            if found.is_some() {
                return Ok(federated);
            }
        }
        Err(Why::new("the operator's account may not search by what spec.provider.openLDAP.federatedFilter names."))
    }

    /// Which other passwords a reset would leave as they are, and what to do. `None`: it would leave none.
    fn other_passwords(&self, entry: &SearchEntry) -> Option<String> {
        let kept = OTHER_PASSWORDS.iter().filter(|(kind, class, _)| {
            !self.ignored_passwords.contains(kind)
                && values(entry, "objectClass").any(|one| one.eq_ignore_ascii_case(class))
        });
        let kept: Vec<String> = kept.map(|(_, class, what)| format!("{what} (objectClass {class})")).collect();
        (!kept.is_empty()).then(|| {
            format!(
                "The entry keeps more than userPassword, which would stay as it is: {}. Use a tool that changes all of it. Or list the \
                 object class in spec.provider.openLDAP.leaveOtherPasswords, then file a new request.",
                kept.join(", ")
            )
        })
    }

    /// The groups of the user, found by `memberOf` and by search, with the groups that these are in. Only those that rules and protections
    /// name, as they spell them.
    async fn groups_of(&self, connection: &Connection, entry: &SearchEntry) -> Result<Vec<String>, Why> {
        let base = self.groups_base(connection);
        let (mut all, mut below) = (BTreeSet::new(), vec![entry.dn.clone()]);
        let mut found: Vec<String> = values(entry, "memberOf").map(str::to_owned).collect();
        loop {
            // Each group is searched for once.
            for dn in found {
                if all.insert(Dn::of(&dn)) {
                    below.push(dn);
                }
            }
            if all.len() > MAX_GROUPS {
                return Err(Why::new(format!("the directory shows the user in more than {MAX_GROUPS} groups.")));
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
        let mut groups = Vec::new();
        for named in &self.groups {
            // In the spelling of the server, if it shows the group at all.
            let found = self.client.entry(connection, named, ANY, &["1.1"]).await.map_err(|e| e.why())?;
            if all.contains(&Dn::of(found.as_ref().map_or(named, |found| &found.dn))) {
                groups.push(named.clone());
            }
        }
        Ok(groups)
    }

    pub(super) fn groups_base<'a>(&'a self, connection: &'a Connection) -> &'a str {
        self.groups_base.as_deref().or_else(|| self.suffix(connection)).unwrap_or(&self.base)
    }

    /// The naming context of the server that contains the users.
    pub(super) fn suffix<'a>(&self, connection: &'a Connection) -> Option<&'a str> {
        let base = Dn::of(&self.base);
        let above = |context: &&str| base.is_under(&Dn::of(context));
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
