//! The time that an audit covers, from its flags.
use jiff::{
    Timestamp, ToSpan,
    civil::{Date, date},
    tz::TimeZone,
};

use crate::cli::terminal;

/// A month or a quarter of a year, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Period {
    /// Its first moment.
    pub(super) since: Timestamp,
    /// The first moment after it.
    pub(super) until: Timestamp,
}

impl Period {
    fn of(first: Date, months: i64) -> Option<Self> {
        let start = |day: Date| day.to_zoned(TimeZone::UTC).ok().map(|start| start.timestamp());
        Some(Self { since: start(first)?, until: start(first.checked_add(months.months()).ok()?)? })
    }
}

/// Parses `--since` and `--until`.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    let day = |day: Date| day.to_zoned(TimeZone::UTC).ok().map(|start| start.timestamp());
    text.parse::<Timestamp>()
        .ok()
        .or_else(|| text.parse::<Date>().ok().and_then(day))
        .or_else(|| Timestamp::now().checked_sub(terminal::duration(text).ok()?).ok())
        .ok_or_else(|| "neither a duration such as 30d, nor a day such as 2026-11-01, nor an RFC 3339 time".to_owned())
}

/// Parses `--month`.
pub(super) fn month(text: &str) -> Result<Period, String> {
    let first = (text.len() == 7).then(|| format!("{text}-01").parse::<Date>().ok()).flatten();
    first.and_then(|first| Period::of(first, 1)).ok_or_else(|| "not a month such as 2026-07".to_owned())
}

/// Parses `--quarter`.
pub(super) fn quarter(text: &str) -> Result<Period, String> {
    let parsed = text.split_once(['Q', 'q']).and_then(|(year, quarter)| {
        let year: i16 = year.trim_end_matches('-').parse().ok().filter(|year| (1..=9999).contains(year))?;
        let quarter: i8 = quarter.parse().ok().filter(|quarter| (1..=4).contains(quarter))?;
        Period::of(date(year, 3 * quarter - 2, 1), 3)
    });
    parsed.ok_or_else(|| "not a quarter of a year such as 2026Q3".to_owned())
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn times() {
        assert_eq!(moment("2026-11-01"), Ok("2026-11-01T00:00:00Z".parse().unwrap()));
        assert_eq!(moment("2026-11-01T09:00:00+01:00"), Ok("2026-11-01T08:00:00Z".parse().unwrap()));
        let before = Timestamp::now();
        let ago = moment("30d").unwrap().saturating_add(SignedDuration::from_hours(720)).unwrap();
        assert!((before..=Timestamp::now()).contains(&ago), "{ago}");
        for wrong in ["", "yesterday", "-1h", "1month", "2026-13-01"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn months_and_quarters() {
        let period = |since: &str, until: &str| Period {
            since: format!("{since}T00:00:00Z").parse().unwrap(),
            until: format!("{until}T00:00:00Z").parse().unwrap(),
        };
        assert_eq!(month("2026-07"), Ok(period("2026-07-01", "2026-08-01")));
        assert_eq!(month("2026-12"), Ok(period("2026-12-01", "2027-01-01")));
        for (text, expected) in [
            ("2026Q1", period("2026-01-01", "2026-04-01")),
            ("2026q3", period("2026-07-01", "2026-10-01")),
            ("2026-Q4", period("2026-10-01", "2027-01-01")),
        ] {
            assert_eq!(quarter(text), Ok(expected), "{text}");
        }
        for wrong in ["", "2026", "2026-7", "2026-13", "2026-07-01", "-026-07", "07-2026"] {
            assert!(month(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "Q", "Q3", "2026Q", "2026Q0", "2026Q5", "2026-07", "99999Q1", "-5Q1", "2026Q-1"] {
            assert!(quarter(wrong).is_err(), "{wrong}");
        }
    }
}
