//! Evidence that the call of a record took effect.
use jiff::Timestamp;
use secrecy::SecretString;

use super::{ActiveDirectory, look_up::changed_at, state::PasswordState};
use crate::{
    core::{
        finding::Finding,
        record::Record,
        seen::{Seen, Why},
    },
    directory::ldap::{
        answer::Failed,
        precondition::{Precondition, before_sign_in, changed_entry, judge},
    },
};

/// What the server answers the right password where something else keeps the user out: the password must be changed; the account is
/// disabled, or has expired; sign-in is not allowed at this hour, or from this computer.
const RIGHT_PASSWORD: [&str; 5] = ["data 773", "data 533", "data 701", "data 530", "data 531"];

impl ActiveDirectory {
    /// The user's password state, and when the password was last set. `None`: the directory shows no such user, or not its `pwdLastSet`.
    pub(super) async fn password_state(&self, id: &str) -> Result<Option<(PasswordState, Option<Timestamp>)>, Failed> {
        let connection = self.client.connection().await?;
        let Some(entry) = self.by_id(&connection, id).await? else { return Ok(None) };
        let at = match changed_at(&entry) {
            Seen::Known(at) => Some(at),
            Seen::Absent | Seen::Unread | Seen::Unknown(_) => None,
        };
        Ok(PasswordState::of(&entry).map(|state| (state, at)))
    }

    /// Checks whether the call of `record` took effect.
    ///
    /// # Errors
    /// Why the directory could not be asked.
    pub async fn verify(&self, record: &Record) -> Result<Finding, Why> {
        let Some(precondition) = Precondition::before(&record.attempt) else {
            return Ok(Finding::Inconclusive("It is not known how the user was before the call.".to_owned()));
        };
        Ok(match self.password_state(&record.user.id).await.map_err(|e| e.why())? {
            None => Finding::Inconclusive("The directory no longer shows the user.".to_owned()),
            Some((now, at)) => judge(record, !now.satisfies(&precondition), at, self.sign_in, Timestamp::now()),
        })
    }

    /// Whether the user of `record` can sign in with `password`, or could if nothing else kept the user out.
    ///
    /// # Errors
    /// Why the password was not sent. The sign-in may be tried again.
    pub async fn sign_in(&self, record: &Record, password: &SecretString) -> Result<bool, Why> {
        let precondition = before_sign_in(record, self.sign_in)?;
        let connection = self.client.connection_rather_to(precondition.server).await.map_err(|e| e.why())?;
        let found = self.by_id(&connection, &record.user.id).await;
        let entry =
            changed_entry(found, |entry| PasswordState::of(entry).is_some_and(|now| !now.satisfies(&precondition)))?;
        let Some(answer) = self.client.sign_in(&connection.url, &entry.dn, password).await? else { return Ok(false) };
        let detail = answer.code.detail.as_deref().unwrap_or_default();
        Ok(answer.number() == 0 || (answer.number() == 49 && RIGHT_PASSWORD.contains(&detail)))
    }
}
