//! The must-change mark of a user who had it before the reset, which the call itself cannot set.
use jiff::{SignedDuration, Timestamp};

use super::{
    ActiveDirectory, MUST_CHANGE,
    state::{PasswordState, exchange},
};
use crate::{
    core::{
        call::AfterReset,
        record::{Evidence, Record},
        seen::Why,
    },
    directory::{ldap::precondition::Precondition, lock},
};

/// How long `first_tried` keeps an attempt. Longer than an operator tries a follow-up.
const RETENTION: SignedDuration = SignedDuration::from_hours(24 * 14);

impl ActiveDirectory {
    /// Sets the must-change mark where the call could not. May be repeated.
    ///
    /// # Errors
    /// Why the mark is not set.
    pub async fn clean_up(&self, record: &Record, what: AfterReset) -> Result<(), Why> {
        let Some(precondition) = Precondition::before(&record.attempt) else { return Ok(()) };
        let Some(before) = PasswordState::parse(precondition.value).filter(PasswordState::must_change) else {
            return Ok(());
        };
        if !what.must_change {
            return Ok(());
        }
        let not_set = |why: &str| Why::new(format!("the user need not choose another password yet: {why}."));
        // A call that arrives late would find its precondition fulfilled.
        let answered = matches!(record.evidence, None | Some(Evidence::Response)) && record.repeated_by.is_none();
        if !answered && !self.no_call_can_arrive(record) {
            return Err(not_set("the call whose answer was lost must not find the mark should it arrive again"));
        }
        // At the server that took the call: another may not have replicated the change yet.
        let connection = self.client.connection_to(precondition.server).await.map_err(|e| not_set(&e.to_string()))?;
        let found = self.by_id(&connection, &record.user.id).await.map_err(|e| not_set(&e.to_string()))?;
        let Some(entry) = found else { return Ok(()) };
        let Some(now) = PasswordState::of(&entry) else {
            return Err(not_set("the directory does not show pwdLastSet"));
        };
        // The password was changed again since, most likely by the user.
        let after_the_call = before.changes.map(|number| number.wrapping_add(1));
        if now.must_change() || now.changes.is_some() && now.changes != after_the_call {
            return Ok(());
        }
        match self.modify(&connection, &record.user.id, exchange(&now.set, MUST_CHANGE).into()).await {
            Ok(answer) if answer.number() == 0 => Ok(()),
            Ok(answer) => Err(not_set(&format!("the directory answered {}", answer.code))),
            Err(error) => Err(not_set(&error.to_string())),
        }
    }

    /// Whether no call of `record` can arrive any more. A repeat may have been sent long after the first call, but not since the operator
    /// learned that one took effect, which was before this process first tried to set the mark.
    fn no_call_can_arrive(&self, record: &Record) -> bool {
        let now = Timestamp::now();
        let mut first_tried = lock(&self.first_tried);
        first_tried.retain(|_, since| now.duration_since(*since) < RETENTION);
        let since = *first_tried.entry(record.attempt.id.clone()).or_insert(now);
        now >= record.cannot_arrive_after() && now.duration_since(since) >= self.max_delay
    }
}
