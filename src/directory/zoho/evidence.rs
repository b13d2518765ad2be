//! Evidence that the call of a record took effect.
use jiff::Timestamp;

use super::{Zoho, look_up::zuid_of};
use crate::core::{finding::Finding, record::Record, request::UserRef, seen::Why, user::SWITCHED_ON};

impl Zoho {
    /// Checks whether the call of `record` took effect: by the time of the last change, or by MFA that was on and is off.
    ///
    /// # Errors
    /// Why the directory could not be asked.
    pub async fn verify(&self, record: &Record) -> Result<Finding, Why> {
        let (found, _) = self.find(&UserRef::Id(record.user.id.clone()), None).await?;
        let Some(user) = found.first() else {
            return Ok(Finding::Inconclusive("The directory no longer shows the user.".to_owned()));
        };
        // Only attempts with the default call have this baseline.
        if record.attempt.baseline.as_deref() == Some(SWITCHED_ON) {
            let account = self.account(&zuid_of(user)?).await?;
            return Ok(record.finding_by_state(&account.mfa_on, Timestamp::now()));
        }
        Ok(record.finding_by_change_time(&self.changed(user, record.mode)?, Timestamp::now()))
    }
}
