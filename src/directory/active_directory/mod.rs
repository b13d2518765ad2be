//! Active Directory, and Samba as its domain controller. The exchanges below were seen on Samba 4.17; names and numbers are
//! those of \[MS-ADTS\].
//!
//! The call is one modify: it replaces `unicodePwd`, deletes the value of `pwdLastSet` that the look-up read, and adds 0 (must change)
//! or -1 (now). If another value is in place by then, the server writes nothing. A user who must change the password already has 0, and
//! an exchange of 0 for 0 is not a precondition: in that case the call adds -1, and a step after it sets 0 again.
//!
//! Whether Windows enforces this precondition has not been tested. If the server is not Samba, the call replaces `pwdLastSet` as it does
//! the password, and is never sent again.
mod call;
mod check;
mod clean_up;
mod evidence;
mod look_up;
mod members;
mod metadata;
mod state;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Mutex};

use jiff::{SignedDuration, Timestamp};

use super::{
    Credentials, NotReady,
    ldap::{Client, Connection, entry::value},
    request_timeout,
};
use crate::{
    api::directory::{self, DirectorySpec},
    core::record::CLOCK_SKEW_MARGIN,
};

const FIELD: &str = "spec.provider.activeDirectory";
/// How Samba begins its `vendorName` (RFC 3045).
const SAMBA: &str = "Samba Team";
/// `pwdLastSet` of a user who must choose another password at the next sign-in.
const MUST_CHANGE: &str = "0";

/// A connection to one domain.
#[derive(Debug)]
pub struct ActiveDirectory {
    pub(super) client: Client,
    base: String,
    sign_in: bool,
    unlock: bool,
    /// Groups that rules and protections name, as they are written there.
    groups: Vec<String>,
    protected: Vec<String>,
    protected_users: Vec<String>,
    /// When this process first tried to set the must-change mark, by the id of the attempt.
    first_tried: Mutex<HashMap<String, Timestamp>>,
    /// How long after it was sent a call may still arrive.
    max_delay: SignedDuration,
}

impl ActiveDirectory {
    /// Creates a connection from `spec`. Sends nothing.
    ///
    /// # Errors
    /// Which field of the Directory or key of its Secret is wrong.
    pub fn connect(
        spec: &DirectorySpec,
        active_directory: &directory::ActiveDirectory,
        credentials: &Credentials,
    ) -> Result<Self, NotReady> {
        Self::new(spec, active_directory, credentials)
            .map_err(|wrong| NotReady::InvalidConfiguration(format!("{wrong}.")))
    }

    fn new(
        spec: &DirectorySpec,
        active_directory: &directory::ActiveDirectory,
        credentials: &Credentials,
    ) -> Result<Self, String> {
        let ldap = &active_directory.ldap;
        let timeout = request_timeout(spec)?;
        Ok(Self {
            client: Client::new(FIELD, ldap, credentials, timeout)?,
            max_delay: SignedDuration::try_from(timeout).unwrap_or(SignedDuration::ZERO) + CLOCK_SKEW_MARGIN,
            first_tried: Mutex::default(),
            base: ldap.base_dn.clone(),
            sign_in: ldap.sign_in,
            unlock: spec.unlock,
            groups: spec.groups().cloned().collect(),
            protected: spec.protect.groups.clone(),
            protected_users: spec.protect.users.clone(),
        })
    }
}

/// Whether the server refuses a modify that deletes a value which is no longer there.
fn enforces_preconditions(connection: &Connection) -> bool {
    value(&connection.root, "vendorName").is_some_and(|vendor| vendor.starts_with(SAMBA))
}
