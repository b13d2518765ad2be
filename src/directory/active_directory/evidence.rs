//! Evidence that the call of a record took effect.
use ldap3::SearchEntry;
use secrecy::SecretString;

use super::{
    ActiveDirectory,
    look_up::changed_at,
    state::{PasswordState, has_changed},
};
use crate::{
    core::{
        finding::Finding,
        record::Record,
        seen::{Seen, Why},
    },
    directory::ldap::precondition::{before_sign_in, changed_entry, finding},
};

/// What the server answers the right password where something else keeps the user out: the password must be changed; the account is
/// disabled, or has expired; sign-in is not allowed at this hour, or from this computer.
const RIGHT_PASSWORD: [&str; 5] = ["data 773", "data 533", "data 701", "data 530", "data 531"];

impl ActiveDirectory {
    /// Checks whether the call of `record` took effect.
    ///
    /// # Errors
    /// Why the directory could not be asked.
    pub async fn verify(&self, record: &Record) -> Result<Finding, Why> {
        let entry = self.entry(&record.user.id).await.map_err(|e| e.why())?;
        // Without `pwdLastSet` the entry shows nothing.
        let entry = entry.filter(|entry| PasswordState::of(entry).is_some());
        let changed_at = |entry: &SearchEntry| match changed_at(entry) {
            Seen::Known(at) => Some(at),
            Seen::Absent | Seen::Unread | Seen::Unknown(_) => None,
        };
        Ok(finding(record, entry.as_ref(), has_changed, changed_at, self.sign_in))
    }

    /// Whether the user of `record` can sign in with `password`, or could if nothing else kept the user out.
    ///
    /// # Errors
    /// Why the password was not sent. The sign-in may be tried again.
    pub async fn sign_in(&self, record: &Record, password: &SecretString) -> Result<bool, Why> {
        let precondition = before_sign_in(record, self.sign_in)?;
        let connection = self.client.connection_rather_to(precondition.server).await.map_err(|e| e.why())?;
        let found = self.by_id(&connection, &record.user.id).await;
        let entry = changed_entry(found, |entry| has_changed(&precondition, entry))?;
        let Some(answer) = self.client.sign_in(&connection.url, &entry.dn, password).await? else { return Ok(false) };
        let detail = answer.code.detail.as_deref().unwrap_or_default();
        Ok(answer.number() == 0 || (answer.number() == 49 && RIGHT_PASSWORD.contains(&detail)))
    }
}
