//! The call: one modify of the user's entry.
use ldap3::Mod;
use secrecy::{ExposeSecret, SecretString};

use super::{
    ActiveDirectory, MUST_CHANGE, enforces_preconditions,
    state::{PasswordState, exchange, has_changed},
};
use crate::{
    core::{
        call::{Call, Reply},
        record::Record,
        user::User,
    },
    directory::{
        Fenced,
        ldap::{
            Connection,
            answer::{Answer, Failed},
            entry::replace,
            precondition::{Precondition, force_change, reply_unsent},
        },
    },
};

/// The server stores the current time instead of it.
const NOW: &str = "-1";

impl ActiveDirectory {
    /// Sends the call, once.
    pub async fn perform(&self, fenced: Fenced, user: &User, password: Option<&SecretString>) -> Reply {
        let (call, attempt) = (fenced.call().clone(), fenced.attempt().clone());
        let Some(precondition) = Precondition::before(&attempt) else { return Reply::NotSent };
        // An administrator has set the must-change mark since the first attempt, and no follow-up would set it again.
        let due = PasswordState::parse(precondition.value).is_some_and(|before| before.must_change());
        let marks = fenced.follow_up().after_reset.is_some_and(|what| what.must_change);
        if attempt.conditional && due && !marks && matches!(call, Call::SetPassword { force_change_on_login: true, .. })
        {
            return Reply::Outdated;
        }
        let sent = self.send(&precondition, attempt.conditional, &call, user, password, || fenced.pass()).await;
        match sent {
            Ok(answer) if answer.number() == 16 => Reply::Outdated,
            Ok(answer) => answer.reply(),
            Err(reply) => reply,
        }
    }

    /// Sends the conditional call of `record` again. Calls `may_send` right before.
    pub async fn repeat(
        &self,
        record: &Record,
        precondition: &str,
        user: &User,
        password: Option<&SecretString>,
        may_send: impl FnOnce() -> bool,
    ) -> Reply {
        let Some(precondition) = Precondition::parse(precondition) else { return Reply::NotSent };
        match self.send(&precondition, true, &record.call, user, password, may_send).await {
            Ok(answer) if answer.number() == 16 => Reply::Conflict,
            Ok(answer) => answer.reply(),
            Err(Reply::Outdated) => Reply::Conflict,
            Err(Reply::NotSent) => {
                let entry = self.entry(&record.user.id).await;
                reply_unsent(entry, |entry| has_changed(&precondition, entry))
            }
            Err(reply) => reply,
        }
    }

    /// Sends one modify. Calls `may_send` right before.
    async fn send(
        &self,
        precondition: &Precondition<'_>,
        conditional: bool,
        call: &Call,
        user: &User,
        password: Option<&SecretString>,
        may_send: impl FnOnce() -> bool,
    ) -> Result<Answer, Reply> {
        let force_change_on_login = force_change(call).ok_or(Reply::NotSent)?;
        let (Some(password), Some(before)) = (password, PasswordState::parse(precondition.value)) else {
            return Err(Reply::NotSent);
        };
        let connection = self.client.connection_to(precondition.server).await.map_err(|e| e.before_the_call())?;
        if conditional && !enforces_preconditions(&connection) {
            return Err(Reply::NotSent);
        }
        if conditional && before.must_change() {
            // The operator sets the mark again after a reset, so its absence does not show that there was one. Another process may
            // have done both since the look-up.
            match self.by_id(&connection, &user.id.id).await {
                Ok(Some(entry)) if PasswordState::of(&entry).is_some_and(|now| now.satisfies(precondition)) => {}
                Ok(Some(_)) => return Err(Reply::Outdated),
                Ok(None) => return Err(Reply::NoSuchUser),
                Err(error) => return Err(error.before_the_call()),
            }
        }
        let must_change = force_change_on_login && !(conditional && before.must_change());
        let set = if must_change { MUST_CHANGE } else { NOW };
        let mut changes = vec![replace("unicodePwd", [quoted(password)])];
        if conditional {
            changes.extend(exchange(&before.set, set));
        } else {
            changes.push(replace("pwdLastSet", [set.as_bytes().to_vec()]));
        }
        if self.unlock {
            changes.push(replace("lockoutTime", [b"0".to_vec()]));
        }
        if !may_send() {
            return Err(Reply::NotSent);
        }
        self.modify(&connection, &user.id.id, changes).await.map_err(|error| error.in_the_call())
    }

    /// Changes the user with this id. By id, since another user may have the name by now.
    pub(super) async fn modify(
        &self,
        connection: &Connection,
        id: &str,
        changes: Vec<Mod<Vec<u8>>>,
    ) -> Result<Answer, Failed> {
        self.client.modify(connection, &format!("<GUID={id}>"), changes, Vec::new()).await
    }
}

/// A password as `unicodePwd` takes it: in quotation marks, UTF-16 (\[MS-ADTS\] 3.1.1.3.1.5.1).
pub(super) fn quoted(password: &SecretString) -> Vec<u8> {
    format!("\"{}\"", password.expose_secret()).encode_utf16().flat_map(u16::to_le_bytes).collect()
}
