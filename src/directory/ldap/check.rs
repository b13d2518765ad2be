//! What the checks of Directories share.
use ldap3::Scope;

use super::{ANY, Client, Connection, answer::not_ready};
use crate::directory::NotReady;

impl Client {
    /// Checks that the operator's account sees the entry `base`. `field` names the settings, `attribute` one that every entry has.
    ///
    /// # Errors
    /// Why the directory cannot be used.
    pub async fn check_base(
        &self,
        connection: &Connection,
        field: &str,
        base: &str,
        attribute: &'static str,
    ) -> Result<(), NotReady> {
        let found = self.search(connection, base, Scope::Base, ANY, &[attribute]).await.map_err(|e| not_ready(&e))?;
        if found.is_empty() {
            return Err(NotReady::InvalidConfiguration(format!(
                "{field}.baseDN: there is no such entry, or the operator's account may not see it."
            )));
        }
        Ok(())
    }
}
