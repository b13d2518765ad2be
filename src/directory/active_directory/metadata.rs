//! How often and when a password was set, whatever `pwdLastSet` says: the replication metadata of `unicodePwd`, which every
//! change of it moves and nothing else does.
//!
//! `replPropertyMetaData` has a head of 16 bytes (version 1 in the first four, the number of entries in the third four), then 48
//! bytes for each attribute: its id, how often it was changed, the time of the last change in seconds since 1601, and whose
//! change it was (\[MS-DRSR\] 4.1.10.2.22; numbers are little-endian).
use jiff::Timestamp;
use ldap3::SearchEntry;

use crate::directory::ldap::entry::bytes;

/// Read with a user.
pub(super) const ATTRIBUTE: &str = "replPropertyMetaData";

/// The id of `unicodePwd` (1.2.840.113556.1.4.90) within replication.
const UNICODE_PWD: u32 = 0x0009_005A;
/// Seconds from 1601 to 1970.
const EPOCH: i64 = 11_644_473_600;
const HEAD: usize = 16;
const ENTRY: usize = 48;

/// What is known of the changes of a password.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// How many there were.
    pub number: u32,
    /// The second of the last one, if there was one.
    pub last: Option<Timestamp>,
}

/// Of this user. `None`: the account may not see it.
pub(super) fn changes(entry: &SearchEntry) -> Option<Changes> {
    let all = bytes(entry, ATTRIBUTE);
    let all = all.first()?;
    let number = |bytes: &[u8], at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let count = usize::try_from(number(all, 8)?).ok()?;
    let entries = all.get(HEAD..)?;
    // Cut short, it may lack the very one.
    if number(all, 0)? != 1 || entries.len() / ENTRY < count {
        return None;
    }
    for entry in entries.chunks_exact(ENTRY).take(count) {
        if number(entry, 0)? == UNICODE_PWD {
            let seconds = i64::from_le_bytes(entry.get(8..16)?.try_into().ok()?);
            let last = Timestamp::from_second(seconds.checked_sub(EPOCH)?).ok()?;
            return Some(Changes { number: number(entry, 4)?, last: Some(last) });
        }
    }
    Some(Changes::default())
}
