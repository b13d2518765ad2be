//! Who is meant, and what the guards ask about.
use std::fmt::Write as _;

use jiff::Timestamp;
use ldap3::{Scope, SearchEntry};

use super::{ActiveDirectory, file_time, metadata, must_change_since};
use crate::{
    core::{
        ledger::UserId,
        request::UserRef,
        world::{CONDITION, Found, Seen, User, Why},
    },
    directory::ldap::{Connection, Failed, bytes, equals, equals_bytes, fence::Fence, same_dn, value, values, word},
};

pub(super) const ATTRIBUTES: [&str; 8] = [
    "objectGUID",
    "sAMAccountName",
    "userPrincipalName",
    "mail",
    "pwdLastSet",
    "userAccountControl",
    "accountExpires",
    "adminCount",
];

/// `userAccountControl`: disabled.
const DISABLED: u32 = 0x2;
/// Groups whose members administer a domain, by the last number of their ids (\[MS-DTYP\] 2.4.2.4): read-only domain
/// controllers of the enterprise; Domain Admins, domain controllers, certificate publishers, schema, enterprise and policy
/// administrators, read-only controllers, clonable controllers, the two of key administrators.
const IN_DOMAIN: [u32; 11] = [498, 512, 516, 517, 518, 519, 520, 521, 522, 526, 527];
/// The same within every domain, `S-1-5-32`: Administrators, operators of accounts, servers, printers, backups, Replicator.
const BUILT_IN: [u32; 6] = [544, 548, 549, 550, 551, 552];
/// `LDAP_MATCHING_RULE_IN_CHAIN`: groups in groups.
const IN_CHAIN: &str = "member:1.2.840.113556.1.4.1941:";

impl ActiveDirectory {
    /// Finds a user. The server compares names and addresses without regard to case.
    ///
    /// # Errors
    /// Why it could not be told.
    pub async fn look_up(&self, user: &UserRef) -> Result<Option<Found>, Why> {
        let connection = self.client.connection().await.map_err(|e| e.why())?;
        let found = match user {
            UserRef::Id(id) => self.by_id(&connection, id).await.map(|found| found.into_iter().collect()),
            UserRef::Username(name) => self.find(&connection, &["sAMAccountName", "userPrincipalName"], name).await,
            UserRef::Email(email) => self.find(&connection, &["mail"], email).await,
        };
        match found.map_err(|e| e.why())?.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(Found::One(Box::new(self.user(&connection, one).await?)))),
            several => Ok(Some(Found::Several(several.len()))),
        }
    }

    async fn find(&self, connection: &Connection, names: &[&str], typed: &str) -> Result<Vec<SearchEntry>, Failed> {
        let any: String = names.iter().map(|name| equals(name, typed)).collect();
        let mut found = self.users(connection, &format!("(|{any})")).await?;
        // Matching rules may be more generous.
        let typed = typed.to_lowercase();
        found.retain(|entry| names.iter().any(|name| values(entry, name).any(|known| known.to_lowercase() == typed)));
        Ok(found)
    }

    /// People, not machines.
    async fn users(&self, connection: &Connection, filter: &str) -> Result<Vec<SearchEntry>, Failed> {
        let filter = format!("(&(objectCategory=person)(objectClass=user){filter})");
        let attributes = [&ATTRIBUTES[..], &metadata::ATTRIBUTES].concat();
        self.client.search(connection, &self.base, Scope::Subtree, &filter, &attributes).await
    }

    pub(super) async fn by_id(&self, connection: &Connection, id: &str) -> Result<Option<SearchEntry>, Failed> {
        let Some(guid) = guid(id) else { return Ok(None) };
        Ok(self.users(connection, &equals_bytes("objectGUID", &guid)).await?.pop())
    }

    async fn user(&self, connection: &Connection, entry: &SearchEntry) -> Result<User, Why> {
        let unreadable = |name: &str| Why::new(format!("the directory shows the user without a readable {name}."));
        let id = id_of(entry).ok_or_else(|| unreadable("objectGUID"))?;
        let account = value(entry, "sAMAccountName").ok_or_else(|| unreadable("sAMAccountName"))?;
        let name = value(entry, "userPrincipalName").unwrap_or(account);
        let mails: Vec<&str> = values(entry, "mail").collect();
        let set = value(entry, "pwdLastSet").ok_or_else(|| unreadable("pwdLastSet"))?;
        let control = value(entry, "userAccountControl").and_then(|flags| flags.parse().ok());
        let control: u32 = control.ok_or_else(|| unreadable("userAccountControl"))?;
        let (changed_at, condition) = match file_time(set) {
            Some(at) => (Seen::Known(at), set.to_owned()),
            // The user must change it: `pwdLastSet` does not say since when.
            None => match metadata::last_change(entry) {
                Seen::Known(change) => (Seen::Known(change.at), must_change_since(change.version)),
                Seen::Unknown(why) => return Err(why),
                Seen::Absent | Seen::Unread => (Seen::Absent, must_change_since(0)),
            },
        };
        let expired = value(entry, "accountExpires").and_then(file_time).is_some_and(|end| end <= Timestamp::now());
        let sids = self.token(connection, &entry.dn).await.map_err(|e| e.why())?;
        let marked = value(entry, "adminCount").is_some_and(|count| count != "0");
        let own = self.own(connection).await.map_err(|e| e.why())?.and_then(|own| id_of(&own));
        let aliases = mails.iter().copied().chain([account, name, &entry.dn]).map(str::to_owned).collect();
        Ok(User {
            email: mails.first().and_then(|mail| word(mail)),
            aliases,
            confirmed: true,
            active: control & DISABLED == 0 && !expired,
            federated: false,
            administrator: match &sids {
                _ if marked => Seen::Known(true),
                None => Seen::Unknown(Why::new("the operator's account may not read tokenGroups of the user.")),
                Some(sids) => Seen::Known(sids.iter().any(|sid| administers(sid))),
            },
            operator: match own {
                None => Seen::Unknown(Why::new("the operator's own account is not found.")),
                Some(own) => Seen::Known(own == id),
            },
            groups: if self.groups.is_empty() {
                Seen::Unread
            } else {
                let sids = sids.ok_or_else(|| unreadable("tokenGroups"))?;
                Seen::Known(self.groups_of(connection, &entry.dn, &sids).await.map_err(|e| e.why())?)
            },
            changed_at,
            handle: [
                ("dn".to_owned(), entry.dn.clone()),
                ("userAccountControl".to_owned(), control.to_string()),
                (CONDITION.to_owned(), Fence::text(&condition, &connection.server)),
            ]
            .into(),
            id: UserId::new(id, name),
        })
    }

    /// Ids of all security groups the user is in, in whatever way: also by `primaryGroupID`, which no group lists as a member.
    /// `None`: the account may not see them.
    async fn token(&self, connection: &Connection, dn: &str) -> Result<Option<Vec<Vec<u8>>>, Failed> {
        // Worked out for one entry alone.
        let found = self.client.search(connection, dn, Scope::Base, "(objectClass=*)", &["tokenGroups"]).await?;
        let sids = found.iter().flat_map(|entry| bytes(entry, "tokenGroups"));
        let sids: Vec<Vec<u8>> = sids.map(<[u8]>::to_vec).collect();
        // Everybody has a primary group.
        Ok((!sids.is_empty()).then_some(sids))
    }

    /// By `sAMAccountName` and by distinguished name; as rules and protections spell them where they do.
    async fn groups_of(&self, connection: &Connection, dn: &str, sids: &[Vec<u8>]) -> Result<Vec<String>, Failed> {
        let domain = value(&connection.root, "defaultNamingContext").unwrap_or(&self.base);
        let ids: String = sids.iter().map(|sid| equals_bytes("objectSid", sid)).collect();
        // Those that only mail is sent to have no part in the token.
        let filter = format!("(&(objectClass=group)(|{}{ids}))", equals(IN_CHAIN, dn));
        let found = self.client.search(connection, domain, Scope::Subtree, &filter, &["sAMAccountName"]).await?;
        let mut all = Vec::new();
        for group in &found {
            let account = value(group, "sAMAccountName").map(str::to_lowercase);
            let is = |named: &&String| same_dn(named, &group.dn) || account == Some(named.to_lowercase());
            all.extend(self.groups.iter().filter(is).cloned());
            all.push(group.dn.clone());
        }
        Ok(all)
    }
}

/// `objectGUID` as text.
pub(super) fn id_of(entry: &SearchEntry) -> Option<String> {
    let all = bytes(entry, "objectGUID");
    let mut id = <[u8; 16]>::try_from(*all.first()?).ok()?;
    for part in [0..4, 4..6, 6..8] {
        id.get_mut(part)?.reverse();
    }
    let mut text = String::new();
    for (at, byte) in id.iter().enumerate() {
        let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
        let _ = write!(text, "{dash}{byte:02x}");
    }
    Some(text)
}

/// As it is kept: the first three parts have their bytes turned round.
fn guid(id: &str) -> Option<Vec<u8>> {
    let parts: Vec<&str> = id.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    if lengths != [8, 4, 4, 4, 12] || !id.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit()) {
        return None;
    }
    let mut all = Vec::with_capacity(16);
    for (at, part) in parts.iter().enumerate() {
        let raw = (0..part.len()).step_by(2).map(|i| u8::from_str_radix(part.get(i..i + 2)?, 16).ok());
        let mut raw: Vec<u8> = raw.collect::<Option<_>>()?;
        if at < 3 {
            raw.reverse();
        }
        all.extend(raw);
    }
    Some(all)
}

/// The group's members administer the domain. A security id ends with numbers of four bytes (\[MS-DTYP\] 2.4.2.2).
fn administers(sid: &[u8]) -> bool {
    let last = sid.last_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes)).unwrap_or_default();
    // S-1-5-32-...: two parts, of which the first is 32.
    let built_in = sid.len() == 16 && sid.get(8..12) == Some(&32u32.to_le_bytes());
    if built_in { BUILT_IN.contains(&last) } else { IN_DOMAIN.contains(&last) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A security id: authority 5, and these parts.
    fn sid(parts: &[u32]) -> Vec<u8> {
        let head = [1, u8::try_from(parts.len()).unwrap(), 0, 0, 0, 0, 0, 5];
        head.into_iter().chain(parts.iter().flat_map(|part| part.to_le_bytes())).collect()
    }

    #[test]
    fn ids_as_people_write_them() {
        let raw: Vec<u8> = (0..16).collect();
        let entry = SearchEntry {
            dn: String::new(),
            attrs: std::collections::HashMap::new(),
            bin_attrs: [("objectGUID".to_owned(), vec![raw.clone()])].into(),
        };
        let text = id_of(&entry).unwrap();
        assert_eq!(text, "03020100-0504-0706-0809-0a0b0c0d0e0f");
        assert_eq!(guid(&text), Some(raw));
        for none in [
            "",
            "03020100-0504-0706-0809-0a0b0c0d0e0",
            "03020100-0504-0706-0809-0a0b0c0d0eé",
            "*",
            "0302010005040706080-0a0b0c0d0e0f",
        ] {
            assert_eq!(guid(none), None, "{none}");
        }
    }

    #[test]
    fn who_administers() {
        let domain = [21, 1, 2, 3];
        for administrators in [512, 519, 527] {
            assert!(administers(&sid(&[&domain[..], &[administrators]].concat())));
        }
        assert!(administers(&sid(&[32, 544])));
        for others in
            [sid(&[&domain[..], &[513]].concat()), sid(&[&domain[..], &[544]].concat()), sid(&[32, 545]), Vec::new()]
        {
            assert!(!administers(&others));
        }
    }
}
