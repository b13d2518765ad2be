//! Evidence that the call of a record took effect.
use jiff::Timestamp;
use secrecy::SecretString;

use super::{
    OpenLdap,
    precondition::{changed_at, has_changed},
};
use crate::{
    core::{finding::Finding, record::Record, seen::Why},
    directory::ldap::precondition::{Precondition, before_sign_in, changed_entry, judge},
};

impl OpenLdap {
    /// Checks whether the call of `record` took effect.
    ///
    /// # Errors
    /// Why the directory could not be asked.
    pub async fn verify(&self, record: &Record) -> Result<Finding, Why> {
        let connection = self.client.connection().await.map_err(|e| e.why())?;
        let Some(entry) = self.by_id(&connection, &record.user.id).await.map_err(|e| e.why())? else {
            return Ok(Finding::Inconclusive("The directory no longer shows the user.".to_owned()));
        };
        let Some(precondition) = Precondition::before(&record.attempt) else {
            return Ok(Finding::Inconclusive("It is not known how the user was before the call.".to_owned()));
        };
        let at = changed_at(&entry);
        Ok(judge(record, has_changed(&precondition, &entry), at, self.sign_in, Timestamp::now()))
    }

    /// Whether the user of `record` can sign in with `password`. A user who must change it can.
    ///
    /// # Errors
    /// Why the password was not sent. The sign-in may be tried again.
    pub async fn sign_in(&self, record: &Record, password: &SecretString) -> Result<bool, Why> {
        let precondition = before_sign_in(record, self.sign_in)?;
        let connection = self.client.connection_rather_to(precondition.server).await.map_err(|e| e.why())?;
        let found = self.by_id(&connection, &record.user.id).await;
        let entry = changed_entry(found, |entry| has_changed(&precondition, entry))?;
        Ok(self.client.sign_in(&connection.url, &entry.dn, password).await?.is_some_and(|answer| answer.number() == 0))
    }
}
