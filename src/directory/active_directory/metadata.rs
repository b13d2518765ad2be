//! When a password was set, where `pwdLastSet` says only that it must be changed: the replication metadata of `unicodePwd`,
//! which every change of it moves and nothing else.
//!
//! Windows shows them as XML (`msDS-ReplAttributeMetaData`, \[MS-ADTS\] 3.1.1.4.5.16), both it and Samba as they are kept
//! (`replPropertyMetaData`): a head of 16 bytes (version 1 in the first four, the number of entries in the third four), then
//! 48 bytes for each attribute: its id, its version, the time of the change in seconds since 1601, and whose change it was.
use jiff::Timestamp;
use ldap3::SearchEntry;

use crate::{
    core::world::{Seen, Why},
    directory::ldap::{bytes, end_of_second, values},
};

/// Read with a user.
pub(super) const ATTRIBUTES: [&str; 2] = ["replPropertyMetaData", "msDS-ReplAttributeMetaData"];

/// The id of `unicodePwd` (1.2.840.113556.1.4.90) within replication.
const UNICODE_PWD: u32 = 0x0009_005A;
/// Seconds from 1601 to 1970.
const EPOCH: i64 = 11_644_473_600;
const HEAD: usize = 16;
const ENTRY: usize = 48;

/// A change of the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// How often it has been changed.
    pub version: u32,
    /// When, at the latest.
    pub at: Timestamp,
}

/// The last change of the password. Unknown: the account may not see it.
pub(super) fn last_change(entry: &SearchEntry) -> Seen<Change> {
    let hidden = || {
        Seen::Unknown(Why::new(
            "the directory does not show replPropertyMetaData, so it cannot be told when a password was set that must be changed.",
        ))
    };
    if let Some(kept) = bytes(entry, "replPropertyMetaData").first() {
        return kept_at(kept).unwrap_or_else(hidden);
    }
    let mut shown = values(entry, "msDS-ReplAttributeMetaData").peekable();
    if shown.peek().is_none() {
        return hidden();
    }
    let change = |xml: &str| {
        let at = end_of_second(between(xml, "ftimeLastOriginatingChange")?.parse().ok()?);
        Some(Change { version: between(xml, "dwVersion")?.parse().ok()?, at })
    };
    match shown.find(|xml| between(xml, "pszAttributeName") == Some("unicodePwd")) {
        Some(xml) => change(xml).map_or_else(hidden, Seen::Known),
        None => Seen::Absent,
    }
}

fn kept_at(kept: &[u8]) -> Option<Seen<Change>> {
    let number = |bytes: &[u8], at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    if number(kept, 0)? != 1 {
        return None;
    }
    let count = usize::try_from(number(kept, 8)?).ok()?;
    let entries = kept.get(HEAD..)?;
    // Cut short, it may lack the very one.
    if entries.len() / ENTRY < count {
        return None;
    }
    for entry in entries.chunks_exact(ENTRY).take(count) {
        if number(entry, 0)? == UNICODE_PWD {
            let seconds = i64::from_le_bytes(entry.get(8..16)?.try_into().ok()?);
            let at = Timestamp::from_second(seconds.checked_sub(EPOCH)?).ok()?;
            return Some(Seen::Known(Change { version: number(entry, 4)?, at: end_of_second(at) }));
        }
    }
    Some(Seen::Absent)
}

fn between<'a>(xml: &'a str, tag: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{tag}>"))?;
    Some(rest.split_once(&format!("</{tag}>"))?.0)
}
