//! Finds the user that a request names, and reads what the gates check.
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use jiff::Timestamp;
use ldap3::{Scope, SearchEntry};

use super::{
    ActiveDirectory, enforces_preconditions, metadata,
    state::{PasswordState, file_time},
};
use crate::{
    core::{
        directory::Feature,
        request::UserRef,
        seen::{Seen, Why},
        user::{LookUp, User, UserId},
    },
    directory::{
        display_name,
        ldap::{
            ANY, Connection,
            answer::Failed,
            entry::{bytes, end_of_second, equals, equals_bytes, value, values, word},
            look_up::{has_value, only_user, unreadable},
            precondition::Precondition,
        },
    },
};

const ATTRIBUTES: [&str; 11] = [
    "objectGUID",
    "sAMAccountName",
    "userPrincipalName",
    "mail",
    "displayName",
    "proxyAddresses",
    "pwdLastSet",
    "userAccountControl",
    "accountExpires",
    "adminCount",
    metadata::ATTRIBUTE,
];

/// `userAccountControl`: disabled.
const DISABLED: u32 = 0x2;
/// The user must sign in with a smart card.
const SMART_CARD: u32 = 0x4_0000;
/// The password never expires: then the must-change mark means nothing.
const NEVER_EXPIRES: u32 = 0x1_0000;
/// Groups whose members administer a domain, by the last number of their ids (\[MS-DTYP\] 2.4.2.4): read-only domain
/// controllers of the enterprise; Domain Admins, domain controllers, certificate publishers, schema, enterprise and policy
/// administrators, read-only controllers, clonable controllers, the two of key administrators.
const IN_DOMAIN: [u32; 11] = [498, 512, 516, 517, 518, 519, 520, 521, 522, 526, 527];
/// The same within every domain, `S-1-5-32`: Administrators, operators of accounts, servers, printers, backups, Replicator.
const BUILT_IN: [u32; 6] = [544, 548, 549, 550, 551, 552];
/// `LDAP_MATCHING_RULE_BIT_AND`.
const ALL_BITS: &str = "1.2.840.113556.1.4.803";
/// `LDAP_MATCHING_RULE_IN_CHAIN`: groups in groups.
const IN_CHAIN: &str = "member:1.2.840.113556.1.4.1941:";
/// Why a user whose password never expires cannot be made to choose another.
const NO_CHANGE: &str = "since the password never expires (userAccountControl, 0x10000): take that mark away, or ask for \
     forceChangeOnLogin: false";
const GROUP: &str = "(objectClass=group)";

/// The names of the domain, as they stand before or after an account name.
#[derive(Debug, Default)]
pub(super) struct Domain {
    /// `ACME`.
    short: Option<String>,
    /// `acme.example`.
    dns: Option<String>,
}

/// Attributes and the values to search them for.
type Names<'a> = Vec<(&'static str, &'a str)>;

/// The attributes under which a user who signs in as `typed` is found. A name such as `ACME\\ann` or `ann@acme.example` is valid although
/// no attribute holds it.
pub(super) fn signs_in<'a>(typed: &'a str, domain: &Domain) -> Names<'a> {
    let is_domain =
        |name: &str| [&domain.short, &domain.dns].into_iter().flatten().any(|own| own.eq_ignore_ascii_case(name));
    let account = match (typed.split_once('\\'), typed.rsplit_once('@')) {
        (Some((name, account)), _) if is_domain(name) => Some(account),
        (None, Some((account, name))) if is_domain(name) => Some(account),
        _ => None,
    };
    let account = account.map(|account| ("sAMAccountName", account));
    [("sAMAccountName", typed), ("userPrincipalName", typed)].into_iter().chain(account).collect()
}

/// A filter for entries with one of these names.
pub(super) fn any(names: &Names<'_>) -> String {
    let all: String = names.iter().map(|(attribute, value)| equals(attribute, value)).collect();
    format!("(|{all})")
}

impl ActiveDirectory {
    /// Finds a user. The server compares names and addresses without regard to case.
    ///
    /// # Errors
    /// Why the directory could not be asked.
    pub async fn look_up(&self, user: &UserRef) -> Result<Option<LookUp>, Why> {
        let connection = self.client.connection().await.map_err(|e| e.why())?;
        let domain = self.domain(&connection).await.map_err(|e| e.why())?;
        let entries = match user {
            UserRef::Id(id) => self.by_id(&connection, id).await.map(|found| found.into_iter().collect()),
            UserRef::Username(name) => self.find(&connection, &signs_in(name, &domain)).await,
            UserRef::Email(email) => {
                let proxy = format!("smtp:{email}");
                self.find(&connection, &vec![("mail", email), ("proxyAddresses", &proxy)]).await
            }
        };
        only_user(entries.map_err(|e| e.why())?, async |entry| self.user(&connection, &domain, entry).await).await
    }

    async fn find(&self, connection: &Connection, names: &Names<'_>) -> Result<Vec<SearchEntry>, Failed> {
        let mut found = self.users(connection, &any(names)).await?;
        found.retain(|entry| names.iter().any(|(attribute, name)| has_value(entry, attribute, name)));
        Ok(found)
    }

    /// The names of the domain; empty if the operator's account may not read them.
    pub(super) async fn domain(&self, connection: &Connection) -> Result<Domain, Failed> {
        let [Some(domain), Some(configuration)] =
            ["defaultNamingContext", "configurationNamingContext"].map(|name| value(&connection.root, name))
        else {
            return Ok(Domain::default());
        };
        let base = format!("CN=Partitions,{configuration}");
        let filter = format!("(&(objectClass=crossRef){})", equals("nCName", domain));
        let found =
            self.client.search(connection, &base, Scope::OneLevel, &filter, &["nETBIOSName", "dnsRoot"]).await?;
        let of = |name: &str| found.first().and_then(|entry| value(entry, name)).map(str::to_owned);
        Ok(Domain { short: of("nETBIOSName"), dns: of("dnsRoot") })
    }

    /// Users that match `filter`. The flag 0x200 of `userAccountControl` excludes computers and the accounts of trusted domains.
    pub(super) async fn users(&self, connection: &Connection, filter: &str) -> Result<Vec<SearchEntry>, Failed> {
        let filter =
            format!("(&(objectCategory=person)(objectClass=user)(userAccountControl:{ALL_BITS}:=512){filter})");
        self.client.search(connection, &self.base, Scope::Subtree, &filter, &ATTRIBUTES).await
    }

    pub(super) async fn by_id(&self, connection: &Connection, id: &str) -> Result<Option<SearchEntry>, Failed> {
        let Some(guid) = guid(id) else { return Ok(None) };
        Ok(self.users(connection, &equals_bytes("objectGUID", &guid)).await?.pop())
    }

    /// The user with this id, as the first server that can be reached shows them.
    pub(super) async fn entry(&self, id: &str) -> Result<Option<SearchEntry>, Failed> {
        let connection = self.client.connection().await?;
        self.by_id(&connection, id).await
    }

    async fn user(&self, connection: &Connection, domain: &Domain, entry: &SearchEntry) -> Result<User, Why> {
        let id = id_of(entry).ok_or_else(|| unreadable("objectGUID"))?;
        let account = value(entry, "sAMAccountName").ok_or_else(|| unreadable("sAMAccountName"))?;
        let name = value(entry, "userPrincipalName").unwrap_or(account);
        let mails: Vec<&str> = values(entry, "mail").collect();
        let state = PasswordState::of(entry).ok_or_else(|| unreadable("pwdLastSet"))?;
        let control = value(entry, "userAccountControl").and_then(|flags| flags.parse().ok());
        let control: u32 = control.ok_or_else(|| unreadable("userAccountControl"))?;
        let changed_at = changed_at(entry);
        // Without the number of changes, 0 is not a precondition: a change from 0 and back to 0 would not show. Where the server does
        // not enforce the precondition, the operator only compares it.
        let conditional = !state.must_change() || state.changes.is_some() || !enforces_preconditions(connection);
        let condition = conditional.then(|| Precondition::text(&state.text(), &connection.server));
        let expired = value(entry, "accountExpires").and_then(file_time).is_some_and(|end| end <= Timestamp::now());
        let active = control & DISABLED == 0 && !expired;
        let sids = self.token(connection, &entry.dn).await.map_err(|e| e.why())?;
        let marked = value(entry, "adminCount").is_some_and(|count| count != "0");
        let own = self.own(connection, domain).await.map_err(|e| e.why())?;
        if own.is_empty() {
            return Err(Why::new("the operator's own account is not found in the domain, and this user may be it."));
        }
        let is_it = |found: &SearchEntry| id_of(found).is_some_and(|known| known == id);
        let protected = self.client.names_of(connection, &self.protected_users, "objectGUID", is_it).await;
        let mut aliases = protected.map_err(|e| e.why())?;
        let names = mails.iter().copied().chain(proxies(entry)).chain([account, name, &entry.dn]);
        aliases.extend(names.map(str::to_owned));
        for name in [&domain.short, &domain.dns].into_iter().flatten() {
            aliases.extend([format!("{name}\\{account}"), format!("{account}@{name}")]);
        }
        Ok(User {
            display_name: display_name(value(entry, "displayName")),
            email: mails.first().and_then(|mail| word(mail)),
            aliases,
            confirmed: true,
            active,
            federated: false,
            administrator: match &sids {
                _ if marked => Seen::Known(true),
                None => Seen::Unknown(Why::new("the operator's account may not read tokenGroups of the user.")),
                Some(sids) => Seen::Known(sids.iter().any(|sid| administers(sid))),
            },
            operator: Seen::Known(own.contains(&id)),
            groups: if self.groups.is_empty() {
                Seen::Unread
            } else {
                let sids = sids.ok_or_else(|| unreadable("tokenGroups"))?;
                Seen::Known(self.groups_of(connection, &entry.dn, &sids).await.map_err(|e| e.why())?)
            },
            changed_at,
            lacks: if control & NEVER_EXPIRES == 0 {
                BTreeMap::new()
            } else {
                [(Feature::ForceChangeOnLogin, NO_CHANGE.to_owned())].into()
            },
            why_ineligible: (active && control & SMART_CARD != 0).then(|| {
                "The account may only sign in with a smart card (userAccountControl, 0x40000), so the new password would let its owner in \
                 at no computer, and be good for whatever asks for passwords alone. Give its owner another card, or take the mark away \
                 and file a new request."
                    .to_owned()
            }),
            factors: Seen::Unread,
            mfa_on: Seen::Unread,
            must_change: Seen::Known(state.must_change()),
            condition,
            handle: BTreeMap::new(),
            id: UserId::new(id, name),
        })
    }

    /// Ids of all security groups that the user is in, including those by nesting and by `primaryGroupID`, which no group lists as a
    /// member. `None`: the operator's account may not read them.
    async fn token(&self, connection: &Connection, dn: &str) -> Result<Option<Vec<Vec<u8>>>, Failed> {
        // The server computes it for a search of one entry only.
        let found = self.client.search(connection, dn, Scope::Base, ANY, &["tokenGroups"]).await?;
        let sids = found.iter().flat_map(|entry| bytes(entry, "tokenGroups"));
        let sids: Vec<Vec<u8>> = sids.map(<[u8]>::to_vec).collect();
        // Every user has a primary group.
        Ok((!sids.is_empty()).then_some(sids))
    }

    /// The groups with these names, each a `sAMAccountName` or a distinguished name, with their ids. Unknown names are left out.
    pub(super) async fn named<'a>(
        &self,
        connection: &Connection,
        names: &'a [String],
    ) -> Result<Vec<(String, &'a String)>, Failed> {
        let domain = value(&connection.root, "defaultNamingContext").unwrap_or(&self.base);
        let mut all = Vec::new();
        for name in names {
            let found = if name.contains('=') {
                self.client.entry(connection, name, GROUP, &["objectGUID"]).await?
            } else {
                let filter = format!("(&{GROUP}{})", equals("sAMAccountName", name));
                let attributes = ["objectGUID", "sAMAccountName"];
                let found = self.client.search(connection, domain, Scope::Subtree, &filter, &attributes).await?;
                found.into_iter().find(|group| has_value(group, "sAMAccountName", name))
            };
            all.extend(found.as_ref().and_then(id_of).map(|id| (id, name)));
        }
        Ok(all)
    }

    /// The groups of the user that rules and protections name, as they spell them.
    async fn groups_of(&self, connection: &Connection, dn: &str, sids: &[Vec<u8>]) -> Result<Vec<String>, Failed> {
        let domain = value(&connection.root, "defaultNamingContext").unwrap_or(&self.base);
        let named = self.named(connection, &self.groups).await?;
        let ids: String = sids.iter().map(|sid| equals_bytes("objectSid", sid)).collect();
        let all: String =
            named.iter().filter_map(|(id, _)| guid(id)).map(|id| equals_bytes("objectGUID", &id)).collect();
        if all.is_empty() {
            return Ok(Vec::new());
        }
        // Distribution groups are not part of the token.
        let filter = format!("(&{GROUP}(|{}{ids})(|{all}))", equals(IN_CHAIN, dn));
        let found = self.client.search(connection, domain, Scope::Subtree, &filter, &["objectGUID"]).await?;
        let found: BTreeSet<String> = found.iter().filter_map(id_of).collect();
        Ok(named.into_iter().filter(|(id, _)| found.contains(id)).map(|(_, name)| name.clone()).collect())
    }
}

/// The addresses at which Exchange accepts mail for the user, in addition to `mail`.
pub(super) fn proxies(entry: &SearchEntry) -> impl Iterator<Item = &str> {
    values(entry, "proxyAddresses").filter_map(|address| {
        let (kind, address) = address.split_once(':')?;
        kind.eq_ignore_ascii_case("smtp").then_some(address)
    })
}

/// When the password was set. Where only the second is known, its end. Unknown: the operator's account may not read it.
pub(super) fn changed_at(entry: &SearchEntry) -> Seen<Timestamp> {
    let set = value(entry, "pwdLastSet").and_then(file_time);
    match (metadata::changes(entry).map(|changes| changes.last), set) {
        (Some(Some(second)), _) => {
            let end = end_of_second(second);
            // The server takes this time right before the change. A later one is the time at which the must-change mark was removed.
            Seen::Known(set.filter(|set| *set <= end).unwrap_or(end))
        }
        (Some(None), _) => Seen::Absent,
        (None, Some(set)) => Seen::Known(set),
        (None, None) => Seen::Unknown(Why::new(
            "the user must change the password, and the operator's account may not read replPropertyMetaData, which shows when it \
             was set.",
        )),
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

/// The bytes of an id, as the directory stores them: little-endian in the first three parts.
pub(super) fn guid(id: &str) -> Option<Vec<u8>> {
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

/// Whether the members of the group with this security id administer the domain. A security id ends with numbers of four bytes (\[MS-DTYP\]
/// 2.4.2.2).
fn administers(sid: &[u8]) -> bool {
    let last = sid.last_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes)).unwrap_or_default();
    // S-1-5-32-...: two parts, of which the first is 32.
    let built_in = sid.len() == 16 && sid.get(8..12) == Some(&32u32.to_le_bytes());
    if built_in { BUILT_IN.contains(&last) } else { IN_DOMAIN.contains(&last) }
}
