//! Whether the server is a domain controller that accepts changes, and whether the operator's account can see what a reset needs.
use std::collections::BTreeSet;

use ldap3::{Mod, Scope};

use super::{
    ActiveDirectory, FIELD, enforces_preconditions,
    look_up::{Domain, any, id_of, signs_in},
};
use crate::{
    api::directory::Guarantees,
    core::{
        call::{AfterReset, Reply},
        directory::{Feature, Guarantee},
        dn::Dn,
        request::{Mode, Policy},
        text,
    },
    directory::{
        Checked, NotReady,
        ldap::{
            ANY, Connection,
            answer::{Failed, no_such_group, not_ready},
            entry::{value, values},
        },
    },
};

/// Values of `supportedCapabilities` (\[MS-ADTS\] 3.1.1.3.4.3): the server serves an Active Directory; its copy is read-only.
const ACTIVE_DIRECTORY: &str = "1.2.840.113556.1.4.800";
const READ_ONLY: &str = "1.2.840.113556.1.4.1920";

impl ActiveDirectory {
    /// Signs in, and reads the entries that every look-up depends on.
    ///
    /// # Errors
    /// Why the directory cannot be used.
    pub async fn check(&self, _modes: &BTreeSet<Mode>) -> Result<Checked, NotReady> {
        let connection = self.client.connection().await.map_err(|e| not_ready(&e))?;
        let read = async |dn: &str, attribute: &'static str| {
            let found = self.client.search(&connection, dn, Scope::Base, ANY, &[attribute]).await;
            found.map_err(|e| not_ready(&e)).map(|found| found.into_iter().next())
        };
        let wrong = |what: &str| NotReady::InvalidConfiguration(format!("{FIELD}.{what}"));
        let server = read("", "supportedCapabilities").await?;
        let supports =
            |oid: &str| server.iter().any(|root| values(root, "supportedCapabilities").any(|one| one == oid));
        if !supports(ACTIVE_DIRECTORY) {
            return Err(wrong("urls: the server does not say that it is a domain controller of an Active Directory."));
        }
        if supports(READ_ONLY) {
            return Err(wrong("urls: the server is a read-only domain controller: name those that can be written to."));
        }
        let domain = value(&connection.root, "defaultNamingContext").unwrap_or_default();
        if !Dn::of(&self.base).is_under(&Dn::of(domain)) {
            return Err(wrong(&format!(
                "baseDN is not in the server's domain, {}.",
                text::printable(domain, text::NAME)
            )));
        }
        self.client.check_base(&connection, FIELD, &self.base, "objectGUID").await?;
        let known = self.named(&connection, &self.groups).await.map_err(|e| not_ready(&e))?;
        let unknown = self.groups.iter().filter(|group| known.iter().all(|(_, name)| name != group));
        let (protected, allowed): (Vec<&String>, Vec<&String>) =
            unknown.partition(|group| self.protected.contains(group));
        if let Some(group) = protected.first() {
            return Err(no_such_group(group));
        }
        let unknown_groups = allowed.into_iter().cloned().collect();
        // Not the id of baseDN: a user who is found under two base DNs is one user.
        let id = read(domain, "objectGUID").await?.as_ref().and_then(id_of).ok_or_else(|| {
            let domain = text::printable(domain, text::NAME);
            NotReady::PermissionMissing(format!("the operator's account may not read objectGUID of {domain}."))
        })?;
        let known_as = self.domain(&connection).await.map_err(|e| not_ready(&e))?;
        if self.own(&connection, &known_as).await.map_err(|e| not_ready(&e))?.is_empty() {
            return Err(NotReady::InvalidConfiguration(
                "the operator's account is not found in the domain under the name that bind-dn gives it: write its \
                 distinguished name or its userPrincipalName."
                    .to_owned(),
            ));
        }
        self.accepts_changes(&connection).await?;
        let exact = enforces_preconditions(&connection);
        Ok(Checked {
            identity: format!("activedirectory:{}#{id}", domain.to_lowercase()),
            guarantees: Guarantees {
                password: if exact { Guarantee::ExactlyOnce } else { Guarantee::Provable },
                mfa: None,
            },
            supports: BTreeSet::from([
                Feature::ResetPassword,
                Feature::ForceChangeOnLogin,
                Feature::KeepAfterLogin,
                Feature::ClearWebSessions,
            ]),
            // The server keeps no sessions, and the call ends a lock-out.
            separate_calls: AfterReset { must_change: exact, ..AfterReset::default() },
            not_ended: Some(
                "Kerberos tickets that the user has, and sessions opened with them, live until they expire.",
            ),
            policy: Policy::default(),
            unknown_groups,
        })
    }

    /// Tries a change that can never be made, since it deletes a value that is not there. A global catalog holds a copy for searching, and
    /// nothing that the account may read shows that its port was used.
    async fn accepts_changes(&self, connection: &Connection) -> Result<(), NotReady> {
        const NO_VALUE: &[u8] = b"credreset: does this server take changes? 5a0f6c0e-6d0b-4c35-9d5c-8f1c7a4b2f0e";
        let change = vec![Mod::Delete(b"description".to_vec(), [NO_VALUE.to_vec()].into())];
        let answer = self.client.modify(connection, &self.base, change, Vec::new()).await.map_err(|e| not_ready(&e))?;
        match answer.reply() {
            Reply::Denied { .. } => {}
            Reply::Unsure | Reply::Throttled { .. } => return Err(not_ready(&Failed::Answered(answer.code))),
            // The value is not there, or the account lacks the right.
            _ => return Ok(()),
        }
        // So that the next check begins with the first server again.
        self.client.forget(connection);
        Err(NotReady::InvalidConfiguration(format!(
            "{FIELD}.urls: {} takes no changes ({}). The ports 3268 and 3269 are those of the global catalog: name the controller's own, \
             636, or 389 with startTLS.",
            text::printable(connection.url.as_str(), text::NAME),
            answer.code
        )))
    }

    /// The ids of the accounts that may be the operator's own: two accounts may go by its name. Empty: none is found.
    pub(super) async fn own(&self, connection: &Connection, known_as: &Domain) -> Result<Vec<String>, Failed> {
        let name = self.client.bind_dn();
        let found = if name.contains('=') {
            self.client.entry(connection, name, ANY, &["objectGUID"]).await?.into_iter().collect()
        } else {
            let domain = value(&connection.root, "defaultNamingContext").unwrap_or_default();
            let filter = any(&signs_in(name, known_as));
            self.client.search(connection, domain, Scope::Subtree, &filter, &["objectGUID"]).await?
        };
        Ok(found.iter().filter_map(id_of).collect())
    }
}
