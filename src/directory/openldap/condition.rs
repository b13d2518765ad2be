//! What a call is conditional on.
use jiff::{SignedDuration, Timestamp, civil::DateTime, fmt::strtime, tz::TimeZone};
use ldap3::SearchEntry;

use crate::{
    core::ledger::NEVER,
    directory::ldap::{
        Connection,
        entry::{end_of_second, equals, value},
        fence::Fence,
    },
};

/// `pwdChangedTime` counts seconds: two changes within one look alike, and the condition would let both through.
pub(super) const SECOND: std::time::Duration = std::time::Duration::from_millis(1100);
/// A change that is older than this was in another second, however wrong the clocks are.
const LONG_AGO: SignedDuration = SignedDuration::from_mins(5);

/// What a call is conditional on. `None`: the account may not see it.
pub(super) fn condition(connection: &Connection, entry: &SearchEntry) -> Option<String> {
    Some(Fence::text(fence_value(connection, entry)?, &connection.server))
}

fn fence_value<'a>(connection: &Connection, entry: &'a SearchEntry) -> Option<&'a str> {
    match value(entry, "pwdChangedTime") {
        Some(time) => Some(time),
        None if connection.has_policy => Some(NEVER),
        None => value(entry, "entryCSN"),
    }
}

/// The condition does not hold any more. What cannot be seen has not moved: the server that is looked at need not be that of the
/// condition, nor apply the policy that it does.
pub(super) fn moved(fence: &Fence<'_>, entry: &SearchEntry) -> bool {
    let attribute = if fence.value.contains('#') { "entryCSN" } else { "pwdChangedTime" };
    value(entry, attribute).is_some_and(|now| now != fence.value)
}

/// The filter that says that nothing has moved. With the id, since somebody else may have the name by now.
pub(super) fn assertion(id: &str, value: &str) -> Option<String> {
    let unmoved = if value == NEVER {
        "(!(pwdChangedTime=*))".to_owned()
    } else if value.contains('#') {
        equals("entryCSN", value)
    } else {
        generalized_time(value).map(|_| equals("pwdChangedTime", value))?
    };
    Some(format!("(&{}{unmoved})", equals("entryUUID", id)))
}

/// It may be that the server's clock still shows the second of that change.
pub(super) fn is_of_this_second(value: &str) -> bool {
    generalized_time(value).is_some_and(|at| Timestamp::now().duration_since(at) < LONG_AGO)
}

/// When the entry says that its password was changed, at the latest.
pub(super) fn changed_at(entry: &SearchEntry) -> Option<Timestamp> {
    value(entry, "pwdChangedTime").and_then(generalized_time).map(end_of_second)
}

/// The whole second of a generalized time (RFC 4517, section 3.3.13), as servers write it: `20261124185646Z`, with a fraction or
/// without.
pub(super) fn generalized_time(text: &str) -> Option<Timestamp> {
    let digits = text.strip_suffix('Z')?;
    let whole = digits.split(['.', ',']).next()?;
    let time: DateTime = strtime::parse("%Y%m%d%H%M%S", whole).ok()?.to_datetime().ok()?;
    time.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_condition_is_what_was_read() {
        let id = "6a7d5c0e-5d7c-103f-9d6e-0123456789ab";
        let of = |filter: &str| Some(format!("(&(entryUUID={id}){filter})"));
        assert_eq!(assertion(id, "20261124185646Z"), of("(pwdChangedTime=20261124185646Z)"));
        assert_eq!(assertion(id, NEVER), of("(!(pwdChangedTime=*))"));
        let csn = "20261124185646.123456Z#000000#000#000000";
        assert_eq!(assertion(id, csn), of(&format!("(entryCSN={csn})")));
        assert_eq!(assertion(id, "anything)(uid=*"), None);
    }

    #[test]
    fn times_as_servers_write_them() {
        let at: Timestamp = "2026-11-24T18:56:46Z".parse().unwrap();
        for text in ["20261124185646Z", "20261124185646.25Z", "20261124185646,25Z"] {
            assert_eq!(generalized_time(text), Some(at), "{text}");
        }
        for text in ["", "Z", "2026112418Z", "20261324185646Z", "20261124185646+0100", "20261124185646"] {
            assert_eq!(generalized_time(text), None, "{text}");
        }
        assert!(!is_of_this_second("20200101000000Z"));
        assert!(!is_of_this_second(NEVER));
        assert!(is_of_this_second("20991231235959Z"), "a clock that is ahead");
    }
}
