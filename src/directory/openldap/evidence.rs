//! Evidence that the call of a record took effect.
use secrecy::SecretString;

use super::{
    OpenLdap,
    precondition::{changed_at, has_changed},
};
use crate::{
    core::{finding::Finding, record::Record, seen::Why},
    directory::ldap::precondition::{before_sign_in, changed_entry, finding},
};

impl OpenLdap {
    /// Checks whether the call of `record` took effect.
    ///
    /// # Errors
    /// Why the directory could not be asked.
    pub async fn verify(&self, record: &Record) -> Result<Finding, Why> {
        let entry = self.entry(&record.user.id).await.map_err(|e| e.why())?;
        Ok(finding(record, entry.as_ref(), has_changed, changed_at, self.sign_in))
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
