//! Whether the server accepts changes with an assertion, and whether the operator's account can see what a reset needs.
use std::collections::BTreeSet;

use ldap3::{
    Scope,
    controls::{Assertion, MakeCritical, RawControl},
};

use super::{
    FIELD, OpenLdap,
    call::is_read_only,
    look_up::{GROUP, is_uuid},
};
use crate::{
    api::directory::{Guarantees, Hash},
    core::{
        call::AfterReset,
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
            entry::{replace, value},
        },
    },
};

impl OpenLdap {
    /// Signs in, and reads the entries that every look-up depends on.
    ///
    /// # Errors
    /// Why the directory cannot be used.
    pub async fn check(&self, _modes: &BTreeSet<Mode>) -> Result<Checked, NotReady> {
        let connection = self.client.connection().await.map_err(|e| not_ready(&e))?;
        if !connection.has_policy && self.hash == Hash::Server {
            return Err(NotReady::InvalidConfiguration(format!(
                "the server applies no password policy (overlay ppolicy), so it would keep passwords in clear: say {FIELD}.hash: \
                 SSHA, or add the overlay with ppolicy_hash_cleartext."
            )));
        }
        self.client.check_base(&connection, FIELD, &self.base, "entryUUID").await?;
        // The look-up of a user's groups must be able to find it: otherwise it would protect no user.
        for group in &self.protected {
            let found = self.client.entry(&connection, group, GROUP, &["1.1"]).await.map_err(|e| not_ready(&e))?;
            let base = Dn::of(self.groups_base(&connection));
            if found.is_none_or(|found| !Dn::of(&found.dn).is_under(&base)) {
                return Err(no_such_group(group));
            }
        }
        let mut unknown_groups = Vec::new();
        for group in self.groups.iter().filter(|group| !self.protected.contains(group)) {
            if self.client.entry(&connection, group, ANY, &["1.1"]).await.map_err(|e| not_ready(&e))?.is_none() {
                unknown_groups.push(group.clone());
            }
        }
        if let Some(filter) = &self.federated_filter {
            // The filter or its negation matches, unless it names an attribute that is unknown or may not be searched by.
            let either = format!("(|{filter}(!{filter}))");
            let matched = self.client.entry(&connection, &self.base, &either, &["1.1"]).await;
            if matched.map_err(|e| not_ready(&e))?.is_none() {
                return Err(NotReady::InvalidConfiguration(format!(
                    "{FIELD}.federatedFilter names an attribute that the server does not know, or that the operator's account may not \
                     search by: no user would be recognized as having the password elsewhere."
                )));
            }
        }
        // Not the id of baseDN: a user who is found under two base DNs is one user.
        let suffix = self.suffix(&connection).ok_or_else(|| {
            NotReady::InvalidConfiguration(format!("{FIELD}.baseDN is under none of the server's namingContexts."))
        })?;
        let found = self.client.search(&connection, suffix, Scope::Base, ANY, &["entryUUID", "objectClass"]).await;
        let found = found.map_err(|e| not_ready(&e))?;
        let shown = found.first().filter(|entry| value(entry, "objectClass").is_some());
        let id = shown.and_then(|entry| value(entry, "entryUUID")).filter(|id| is_uuid(id)).ok_or_else(|| {
            NotReady::PermissionMissing(format!(
                "the operator's account may not read entryUUID and objectClass of {}: it needs to read the entries from there down to the users.",
                text::printable(suffix, text::NAME)
            ))
        })?;
        self.accepts_changes(&connection).await?;
        let mut supports = BTreeSet::from([Feature::ResetPassword, Feature::KeepAfterLogin, Feature::ClearWebSessions]);
        if connection.has_policy {
            supports.insert(Feature::ForceChangeOnLogin);
        }
        Ok(Checked {
            identity: format!("openldap:{}#{id}", suffix.to_lowercase()),
            guarantees: Guarantees { password: Guarantee::ExactlyOnce, mfa: None },
            supports,
            // The server keeps no sessions, and the call ends a lock-out.
            separate_calls: AfterReset::default(),
            not_ended: Some(if self.ignored_passwords.is_empty() {
                "Applications that the user is signed in to know nothing of it."
            } else {
                "Applications that the user is signed in to know nothing of it, and what spec.provider.openLDAP.leaveOtherPasswords \
                 names stays as it was in the user's entry."
            }),
            unknown_groups,
            policy: Policy::default(),
        })
    }

    /// Tries a change with an assertion that never holds. Nothing that the account may read distinguishes a read-only copy from the
    /// server that it copies, and it is better to let requests wait than to refuse one after the other.
    async fn accepts_changes(&self, connection: &Connection) -> Result<(), NotReady> {
        let never: RawControl = Assertion { filter: "(!(objectClass=*))".to_owned() }.critical().into();
        let change = vec![replace("description", [])];
        let answer = self.client.modify(connection, &self.base, change, vec![never]).await;
        let answer = answer.map_err(|e| not_ready(&e))?;
        match answer.number() {
            122 => return Ok(()),
            51 | 52 => return Err(not_ready(&Failed::Answered(answer.code))),
            _ if is_read_only(&answer) => {}
            _ => {
                return Err(NotReady::InvalidConfiguration(format!(
                    "the server does not keep conditions (assertion control, RFC 4528): it answers {} where it should refuse.",
                    answer.code
                )));
            }
        }
        // So that the next check begins with the first server again.
        self.client.forget(connection);
        let (server, code) = (&connection.server, &answer.code);
        Err(if self.client.is_first(connection) {
            NotReady::InvalidConfiguration(format!(
                "{server} is a read-only copy ({code}): put the server that takes changes first in {FIELD}.urls."
            ))
        } else {
            NotReady::Unreachable(format!(
                "no server of {FIELD}.urls before {server} is reached, and that is a read-only copy ({code})."
            ))
        })
    }
}
