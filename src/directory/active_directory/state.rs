//! The state of a password before the call, which is the precondition of the call.
use jiff::Timestamp;
use ldap3::{Mod, SearchEntry};

use super::{MUST_CHANGE, metadata};
use crate::directory::ldap::{entry::value, precondition::Precondition};

/// The value that the call exchanges, and the number of changes, which shows a change that restored that value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PasswordState {
    /// `pwdLastSet`.
    pub(super) set: String,
    /// How often the password was changed. `None`: the operator's account may not read it.
    pub(super) changes: Option<u32>,
}

impl PasswordState {
    /// `None`: the operator's account may not read `pwdLastSet`.
    pub(super) fn of(entry: &SearchEntry) -> Option<Self> {
        let set = value(entry, "pwdLastSet")?.to_owned();
        Some(Self { set, changes: metadata::changes(entry).map(|changes| changes.number) })
    }

    /// The value of a [`Precondition`].
    pub(super) fn text(&self) -> String {
        self.changes.map_or_else(|| self.set.clone(), |number| format!("{}#{number}", self.set))
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (set, changes) = match text.split_once('#') {
            Some((set, number)) => (set, Some(number.parse().ok()?)),
            None => (text, None),
        };
        set.parse::<i64>().ok().map(|_| Self { set: set.to_owned(), changes })
    }

    pub(super) fn must_change(&self) -> bool {
        self.set == MUST_CHANGE
    }

    /// Whether the password has not changed since.
    pub(super) fn satisfies(&self, precondition: &Precondition<'_>) -> bool {
        Self::parse(precondition.value).is_some_and(|before| {
            before.set == self.set && (before.changes.is_none() || before.changes == self.changes)
        })
    }
}

/// Whether `entry` shows that the precondition no longer holds.
pub(super) fn has_changed(precondition: &Precondition<'_>, entry: &SearchEntry) -> bool {
    PasswordState::of(entry).is_some_and(|now| !now.satisfies(precondition))
}

/// Replaces the `pwdLastSet` that was read by another value. The server makes both changes or neither.
pub(super) fn exchange(old: &str, new: &str) -> [Mod<Vec<u8>>; 2] {
    let name = b"pwdLastSet".to_vec();
    let one = |value: &str| [value.as_bytes().to_vec()].into();
    [Mod::Delete(name.clone(), one(old)), Mod::Add(name, one(new))]
}

/// A time in steps of 100 ns since 1601. `None`: `text` is 0, the largest value (never), or not a number.
pub(super) fn file_time(text: &str) -> Option<Timestamp> {
    const EPOCH: i128 = 116_444_736_000_000_000;
    let steps: i128 = text.parse::<i64>().ok().filter(|steps| *steps > 0 && *steps < i64::MAX)?.into();
    Timestamp::from_nanosecond((steps - EPOCH) * 100).ok()
}
