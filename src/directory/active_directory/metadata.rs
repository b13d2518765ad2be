//! How often and when a password was set, independently of `pwdLastSet`: from the replication metadata of `unicodePwd`, which changes
//! with every change of the password and with nothing else.
//!
//! `replPropertyMetaData` has a header of 16 bytes (version 1 in the first four, the number of entries in the third four), then 48
//! bytes for each attribute: its id, how often it was changed, the time of the last change in seconds since 1601, and which server
//! made the change (\[MS-DRSR\] 4.1.10.2.22; numbers are little-endian).
use jiff::Timestamp;
use ldap3::SearchEntry;

use crate::directory::ldap::entry::bytes;

/// The attribute that holds it.
pub(super) const ATTRIBUTE: &str = "replPropertyMetaData";

/// The id of `unicodePwd` (1.2.840.113556.1.4.90) within replication.
const UNICODE_PWD: u32 = 0x0009_005A;
/// Seconds from 1601 to 1970.
const EPOCH: i64 = 11_644_473_600;
const HEADER: usize = 16;
const ENTRY: usize = 48;

/// The changes of a password.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// How often the password was changed.
    pub number: u32,
    /// The second of the last change. `None`: the password was never changed.
    pub last: Option<Timestamp>,
}

/// The changes of this user's password. `None`: the operator's account may not read them, or they cannot be decoded.
pub(super) fn changes(entry: &SearchEntry) -> Option<Changes> {
    let all = bytes(entry, ATTRIBUTE);
    let all = all.first()?;
    let number = |bytes: &[u8], at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let count = usize::try_from(number(all, 8)?).ok()?;
    let entries = all.get(HEADER..)?;
    // If it was cut short, the entry of the password may be missing.
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
