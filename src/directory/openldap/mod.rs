//! `OpenLDAP`, with overlay ppolicy or without it. The exchanges below were seen on slapd 2.5.
//!
//! The call is one modify with an assertion (RFC 4528). With ppolicy the assertion is about `pwdChangedTime`, which changes with the
//! password only, whereas failed sign-ins change `entryCSN`. Without ppolicy there is no such time, and the assertion is about
//! `entryCSN`, which changes with any change of the entry.
mod call;
mod check;
mod evidence;
mod look_up;
mod members;
mod precondition;

use super::{Credentials, NotReady, ldap::Client, request_timeout};
use crate::{
    api::directory::{self, DirectorySpec, Hash, OtherPasswords},
    core::text,
};

const FIELD: &str = "spec.provider.openLDAP";

/// A connection to one directory.
#[derive(Debug)]
pub struct OpenLdap {
    pub(super) client: Client,
    base: String,
    groups_base: Option<String>,
    user_filter: String,
    hash: Hash,
    sign_in: bool,
    /// The filter for users whose password is kept elsewhere.
    federated_filter: Option<String>,
    /// Kinds of other passwords that a reset may leave as they are.
    ignored_passwords: Vec<OtherPasswords>,
    /// Groups that rules and protections name, as they are written there.
    groups: Vec<String>,
    protected: Vec<String>,
    protected_users: Vec<String>,
}

impl OpenLdap {
    /// Creates a connection from `spec`. Sends nothing.
    ///
    /// # Errors
    /// Which field of the Directory or key of its Secret is wrong.
    pub fn connect(
        spec: &DirectorySpec,
        openldap: &directory::OpenLdap,
        credentials: &Credentials,
    ) -> Result<Self, NotReady> {
        Self::new(spec, openldap, credentials).map_err(|wrong| NotReady::InvalidConfiguration(format!("{wrong}.")))
    }

    fn new(spec: &DirectorySpec, openldap: &directory::OpenLdap, credentials: &Credentials) -> Result<Self, String> {
        let directory::OpenLdap { ldap, user_filter, groups_base_dn, hash, federated_filter, leave_other_passwords } =
            openldap;
        if spec.protect.administrators {
            return Err("OpenLDAP does not show who administers it: list its administrators in spec.protect.users or \
                 spec.protect.groups, and say spec.protect.administrators: false"
                .to_owned());
        }
        if let Some(group) = spec.groups().find(|group| !group.contains('=')) {
            return Err(format!(
                "{:?} is not the name of an OpenLDAP group: spec.allow and spec.protect name them by their distinguished name, such as \
                 cn=desk,ou=groups,dc=acme,dc=example",
                text::printable(group, text::NAME)
            ));
        }
        let user_filter = user_filter.clone().unwrap_or_else(|| "(objectClass=inetOrgPerson)".to_owned());
        let filters = [("userFilter", Some(&user_filter)), ("federatedFilter", federated_filter.as_ref())];
        for (field, filter) in filters {
            if filter.is_some_and(|filter| ldap3::parse_filter(filter).is_err() || !filter.starts_with('(')) {
                return Err(format!("{FIELD}.{field} is not a filter such as (objectClass=inetOrgPerson)"));
            }
        }
        Ok(Self {
            client: Client::new(FIELD, ldap, credentials, request_timeout(spec)?)?,
            base: ldap.base_dn.clone(),
            groups_base: groups_base_dn.clone(),
            user_filter,
            hash: *hash,
            sign_in: ldap.sign_in,
            federated_filter: federated_filter.clone(),
            ignored_passwords: leave_other_passwords.clone(),
            groups: spec.groups().cloned().collect(),
            protected: spec.protect.groups.clone(),
            protected_users: spec.protect.users.clone(),
        })
    }
}
