//! The precondition of a call: the time of the last change or, without ppolicy, the version of the entry.
use jiff::{SignedDuration, Timestamp, civil::DateTime, fmt::strtime, tz::TimeZone};
use ldap3::SearchEntry;

use crate::{
    core::user::NEVER_CHANGED,
    directory::ldap::{
        Connection,
        entry::{end_of_second, equals, value},
        precondition::Precondition,
    },
};

/// The clocks of the server and of this process differ by less than this.
const MAX_CLOCK_DIFFERENCE: SignedDuration = SignedDuration::from_mins(5);

/// The precondition for a call, as text. `None`: the operator's account may not read what it needs.
pub(super) fn precondition(connection: &Connection, entry: &SearchEntry) -> Option<String> {
    Some(Precondition::text(current(connection, entry)?, &connection.server))
}

fn current<'a>(connection: &Connection, entry: &'a SearchEntry) -> Option<&'a str> {
    match value(entry, "pwdChangedTime") {
        Some(time) => Some(time),
        None if connection.has_policy => Some(NEVER_CHANGED),
        None => value(entry, "entryCSN"),
    }
}

/// Whether `entry` shows that the precondition no longer holds. An attribute that is not shown has not changed: `entry` may come from
/// another server than that of the precondition, and that one may not apply the same policy.
pub(super) fn has_changed(precondition: &Precondition<'_>, entry: &SearchEntry) -> bool {
    let attribute = if precondition.value.contains('#') { "entryCSN" } else { "pwdChangedTime" };
    value(entry, attribute).is_some_and(|now| now != precondition.value)
}

/// The filter that matches while nothing has changed. It names the id, since another user may have the name by now.
pub(super) fn assertion(id: &str, value: &str) -> Option<String> {
    let unchanged = if value == NEVER_CHANGED {
        "(!(pwdChangedTime=*))".to_owned()
    } else if value.contains('#') {
        equals("entryCSN", value)
    } else {
        generalized_time(value).map(|_| equals("pwdChangedTime", value))?
    };
    Some(format!("(&{}{unchanged})", equals("entryUUID", id)))
}

/// Whether the server's clock may still show the second of that change.
pub(super) fn may_be_this_second(value: &str) -> bool {
    generalized_time(value).is_some_and(|at| Timestamp::now().duration_since(at) < MAX_CLOCK_DIFFERENCE)
}

/// The latest time at which the password was changed, according to the entry.
pub(super) fn changed_at(entry: &SearchEntry) -> Option<Timestamp> {
    value(entry, "pwdChangedTime").and_then(generalized_time).map(end_of_second)
}

/// The whole second of a generalized time (RFC 4517, section 3.3.13), as servers write it: `20261124185646Z`, with or without
/// a fraction.
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
        assert_eq!(assertion(id, NEVER_CHANGED), of("(!(pwdChangedTime=*))"));
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
        assert!(!may_be_this_second("20200101000000Z"));
        assert!(!may_be_this_second(NEVER_CHANGED));
        assert!(may_be_this_second("20991231235959Z"), "a clock that is ahead");
    }
}
