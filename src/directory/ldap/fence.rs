//! The condition of a call, and what a look at it afterwards tells.
//!
//! A condition holds at one server. Another may not have heard yet of a change that was made here, and would let the same call
//! through a second time; how long that takes nobody can say from outside. So the server is part of the condition, and a call
//! that may have reached it is sent again to it alone, until the request ends. Meanwhile the others are looked at: as soon as
//! one of them shows a change, there is evidence.
use jiff::Timestamp;

use crate::core::{
    ledger::{Attempt, Evidence, MARGIN, Record},
    world::Proof,
};

/// Between the value and its server.
const AT: &str = " at ";

/// What must still be so at one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence<'a> {
    /// The attribute's value.
    pub value: &'a str,
    /// The server, as [`super::Connection::server`] names it.
    pub server: &'a str,
}

impl<'a> Fence<'a> {
    /// As an attempt remembers it.
    #[must_use]
    pub fn text(value: &str, server: &str) -> String {
        format!("{value}{AT}{server}")
    }

    /// What was so before the attempt.
    #[must_use]
    pub fn before(attempt: &'a Attempt) -> Option<Self> {
        Self::parse(attempt.baseline.as_deref()?)
    }

    /// What an attempt remembers.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (value, server) = text.split_once(AT)?;
        (!value.is_empty() && !server.is_empty()).then_some(Self { value, server })
    }
}

/// What is seen of the attempt of `record`: `moved` says whether its condition still holds, `at` when the password was changed
/// last. `sign_in`: whether a sign-in may clear it up.
#[must_use]
pub fn judge(record: &Record, moved: bool, at: Option<Timestamp>, sign_in: bool, now: Timestamp) -> Proof {
    let as_of = now.strftime("%H:%M");
    let since = at.map_or_else(|| "at a time that it does not show".to_owned(), |at| format!("at {at}"));
    if !moved {
        return Proof::Nothing(format!(
            "The directory shows the {} unchanged since before the call (last changed {since}), as of {as_of} UTC.",
            record.mode
        ));
    }
    let shown = format!("The directory shows the {} as changed {since}, as of {as_of} UTC.", record.mode);
    if sign_in {
        return Proof::Open(shown);
    }
    if at.is_some_and(|at| is_in_time(record, at)) { Proof::Proven(Evidence::Marker) } else { Proof::Changed(shown) }
}

/// The change may have been made by the attempt.
#[must_use]
pub fn is_in_time(record: &Record, at: Timestamp) -> bool {
    let earliest = record.attempt.started_at.saturating_sub(MARGIN).unwrap_or(Timestamp::MIN);
    at >= earliest && at <= record.over()
}
