//! Attributes of entries, filters and changes.
use std::{collections::HashSet, fmt::Write as _};

use jiff::{SignedDuration, Timestamp};
use ldap3::{Mod, SearchEntry};

use crate::core::text;

/// The first value of an attribute that is text. Names are compared without regard to case (RFC 4512).
#[must_use]
pub fn value<'a>(entry: &'a SearchEntry, attribute: &str) -> Option<&'a str> {
    values(entry, attribute).next()
}

/// All values of an attribute that are text and not empty.
pub fn values<'a>(entry: &'a SearchEntry, attribute: &str) -> impl Iterator<Item = &'a str> {
    let found = entry.attrs.iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute));
    found.into_iter().flat_map(|(_, values)| values).map(String::as_str).filter(|value| !value.is_empty())
}

/// All values of an attribute, as bytes.
pub fn bytes<'a>(entry: &'a SearchEntry, attribute: &str) -> Vec<&'a [u8]> {
    let text = entry.attrs.iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute));
    let binary = entry.bin_attrs.iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute));
    let text = text.into_iter().flat_map(|(_, values)| values).map(String::as_bytes);
    text.chain(binary.into_iter().flat_map(|(_, values)| values).map(Vec::as_slice)).collect()
}

/// The filter for entries whose `attribute` is `value`, which is escaped (RFC 4515, section 3).
#[must_use]
pub fn equals(attribute: &str, value: &str) -> String {
    format!("({attribute}={})", ldap3::ldap_escape(value))
}

/// The same for a value that is not text.
#[must_use]
pub fn equals_bytes(attribute: &str, value: &[u8]) -> String {
    let mut filter = format!("({attribute}=");
    for byte in value {
        let _ = write!(filter, "\\{byte:02x}");
    }
    filter + ")"
}

/// The end of the second that begins with `at`. The directory shows only the second of a change. A request made within that second may
/// have caused it, at another cluster, so the change must not count as older than the request.
#[must_use]
pub fn end_of_second(at: Timestamp) -> Timestamp {
    at.saturating_add(SignedDuration::from_nanos(999_999_999)).unwrap_or(Timestamp::MAX)
}

/// A change that replaces the values of an attribute. Without values it removes the attribute.
#[must_use]
pub fn replace(attribute: &str, values: impl IntoIterator<Item = Vec<u8>>) -> Mod<Vec<u8>> {
    Mod::Replace(attribute.as_bytes().to_vec(), values.into_iter().collect::<HashSet<_>>())
}

/// `text`, if rules, mails and calls can use it as an address or a name.
#[must_use]
pub fn word(text: &str) -> Option<String> {
    text::is_word(text).then(|| text.to_owned())
}
