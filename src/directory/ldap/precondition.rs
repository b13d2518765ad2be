//! The precondition of a call, and what a later read shows about it.
//!
//! A precondition holds at one server. Another server may not have replicated a change that was made there, and would let the same call
//! take effect a second time. How long replication takes cannot be seen from outside. So the precondition names its server, and a call
//! that may have reached that server is sent again to it alone, until the request expires. Meanwhile the operator reads from the other
//! servers: as soon as one of them shows a change, there is evidence.
use jiff::Timestamp;
use ldap3::SearchEntry;

use super::answer::Failed;
use crate::core::{
    call::{Call, Reply},
    finding::Finding,
    record::{Attempt, CLOCK_SKEW_MARGIN, Evidence, Record},
    seen::Why,
};

/// Separates the value from its server.
const SEPARATOR: &str = " at ";

/// A value that one server must still hold for the call to take effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Precondition<'a> {
    /// The attribute's value.
    pub value: &'a str,
    /// The server, as [`super::Connection::server`] names it.
    pub server: &'a str,
}

impl<'a> Precondition<'a> {
    /// The text that an attempt stores as its baseline.
    #[must_use]
    pub fn text(value: &str, server: &str) -> String {
        format!("{value}{SEPARATOR}{server}")
    }

    /// The precondition from the baseline of `attempt`.
    #[must_use]
    pub fn before(attempt: &'a Attempt) -> Option<Self> {
        Self::parse(attempt.baseline.as_deref()?)
    }

    /// Parses the text that an attempt stores.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (value, server) = text.split_once(SEPARATOR)?;
        (!value.is_empty() && !server.is_empty()).then_some(Self { value, server })
    }
}

/// What `entry`, the user as a server shows them, proves about the attempt of `record`. `has_changed`: whether the precondition no longer
/// holds. `changed_at`: when the password was last changed. `sign_in`: the operator may try a sign-in, which can show whether the call
/// made the change.
#[must_use]
pub fn finding(
    record: &Record,
    entry: Option<&SearchEntry>,
    has_changed: impl FnOnce(&Precondition<'_>, &SearchEntry) -> bool,
    changed_at: impl FnOnce(&SearchEntry) -> Option<Timestamp>,
    sign_in: bool,
) -> Finding {
    let Some(entry) = entry else {
        return Finding::Inconclusive("The directory no longer shows the user.".to_owned());
    };
    let Some(precondition) = Precondition::before(&record.attempt) else {
        return Finding::Inconclusive("It is not known how the user was before the call.".to_owned());
    };
    judge(record, has_changed(&precondition, entry), changed_at(entry), sign_in, Timestamp::now())
}

/// The same, of what was read in the entry.
fn judge(record: &Record, changed: bool, at: Option<Timestamp>, sign_in: bool, now: Timestamp) -> Finding {
    let as_of = now.strftime("%H:%M");
    let since = at.map_or_else(|| "at a time that it does not show".to_owned(), |at| format!("at {at}"));
    if !changed {
        return Finding::Inconclusive(format!(
            "The directory shows the {} unchanged since before the call (last changed {since}), as of {as_of} UTC.",
            record.mode
        ));
    }
    let shown = format!("The directory shows the {} as changed {since}, as of {as_of} UTC.", record.mode);
    if sign_in {
        return Finding::NeedsSignIn(shown);
    }
    if at.is_some_and(|at| is_in_time(record, at)) {
        Finding::Proven(Evidence::Marker)
    } else {
        Finding::Changed(shown)
    }
}

/// The reply to a repeated call that was not sent, since the server of its precondition cannot be reached. `found`: the user's entry at
/// another server, which may have replicated the change.
#[must_use]
pub fn reply_unsent(
    found: Result<Option<SearchEntry>, Failed>,
    has_changed: impl FnOnce(&SearchEntry) -> bool,
) -> Reply {
    if found.is_ok_and(|entry| entry.is_some_and(|entry| has_changed(&entry))) {
        Reply::Conflict
    } else {
        Reply::NotSent
    }
}

/// Whether the user must change the password after `call`. `None`: the call asks for what no modify does.
#[must_use]
pub fn force_change(call: &Call) -> Option<bool> {
    match call {
        Call::SetPassword {
            force_change_on_login,
            clear_mobile_sessions_and_api_tokens: false,
            email_to_user: false,
        } => Some(*force_change_on_login),
        _ => None,
    }
}

/// The precondition of the attempt that a sign-in is to prove. `allowed`: the Directory lets the operator try one.
///
/// # Errors
/// Why no sign-in may be tried.
pub fn before_sign_in(record: &Record, allowed: bool) -> Result<Precondition<'_>, Why> {
    if !allowed {
        return Err(Why::new("the Directory says that no sign-in may be tried."));
    }
    let precondition = Precondition::before(&record.attempt);
    precondition.ok_or_else(|| Why::new("it is not known how the user was before the call."))
}

/// The user's entry at the server of a sign-in, which must show the change: another password would count as a failed sign-in there.
///
/// # Errors
/// Why no sign-in is tried at this server.
pub fn changed_entry(
    found: Result<Option<SearchEntry>, Failed>,
    has_changed: impl FnOnce(&SearchEntry) -> bool,
) -> Result<SearchEntry, Why> {
    let entry = found.map_err(|e| e.why())?.ok_or_else(|| Why::new("the directory no longer shows the user."))?;
    if has_changed(&entry) {
        Ok(entry)
    } else {
        Err(Why::new("the server that would be asked does not show the change yet."))
    }
}

/// Whether the attempt can have made a change at this time.
#[must_use]
pub fn is_in_time(record: &Record, at: Timestamp) -> bool {
    let earliest = record.attempt.started_at.saturating_sub(CLOCK_SKEW_MARGIN).unwrap_or(Timestamp::MIN);
    at >= earliest && at <= record.cannot_arrive_after()
}
