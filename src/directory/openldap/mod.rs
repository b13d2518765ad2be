//! `OpenLDAP`, with overlay ppolicy or without it. The exchanges below were seen on slapd 2.5.
//!
//! The call is one modify with an assertion (RFC 4528). With ppolicy that is `pwdChangedTime`, which moves with the password
//! alone: failed sign-ins move `entryCSN`. Without it there is no such time, and `entryCSN` moves with any change of the entry.
mod condition;
mod user;

use std::collections::BTreeSet;

use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use ldap3::{
    Mod, Scope,
    controls::{Assertion, MakeCritical, RawControl},
};
use rand::{TryRng, rngs::SysRng};
use secrecy::{ExposeSecret, SecretString};
use sha1::{Digest, Sha1};

use super::{
    Checked, Credentials, Fenced, NotReady,
    ldap::{
        ANY, Client, Connection, Lease,
        answer::{Answer, Failed, ask_for_policy, no_such_group, not_ready},
        entry::{replace, value},
        fence::{Fence, is_in_time, judge},
    },
};
use crate::{
    api::directory::{self, DirectorySpec, Guarantees, Hash, OtherPasswords},
    core::{
        dn::Dn,
        ledger::{Record, Reply},
        plan::{CleanUp, Once},
        request::Mode,
        text,
        world::{Feature, Guarantee, Proof, User, Why},
    },
};
use condition::{SECOND, assertion, changed_at, is_of_this_second, moved};
use user::is_uuid;

const WHERE: &str = "spec.provider.openLDAP";

/// A connection to one directory.
#[derive(Debug)]
pub struct OpenLdap {
    client: Client,
    base: String,
    groups_base: Option<String>,
    user_filter: String,
    hash: Hash,
    sign_in: bool,
    /// Who has the password elsewhere.
    federated: Option<String>,
    /// Of whose other passwords nobody minds that they stay.
    left: Vec<OtherPasswords>,
    /// Groups that rules and protections are about, as they are written there.
    groups: Vec<String>,
    protected: Vec<String>,
    protected_users: Vec<String>,
}

impl OpenLdap {
    /// A connection as `spec` describes it. Sends nothing.
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
                "{:?} is no group of OpenLDAP's: spec.allow and spec.protect name them by their distinguished name, such as \
                 cn=desk,ou=groups,dc=acme,dc=example",
                text::shown(group, text::NAME)
            ));
        }
        let user_filter = user_filter.clone().unwrap_or_else(|| "(objectClass=inetOrgPerson)".to_owned());
        let filters = [("userFilter", Some(&user_filter)), ("federatedFilter", federated_filter.as_ref())];
        for (field, filter) in filters {
            if filter.is_some_and(|filter| ldap3::parse_filter(filter).is_err() || !filter.starts_with('(')) {
                return Err(format!("{WHERE}.{field} is no filter such as (objectClass=inetOrgPerson)"));
            }
        }
        Ok(Self {
            client: Client::new(WHERE, ldap, credentials, super::ldap::timeout(spec)?)?,
            base: ldap.base_dn.clone(),
            groups_base: groups_base_dn.clone(),
            user_filter,
            hash: *hash,
            sign_in: ldap.sign_in,
            federated: federated_filter.clone(),
            left: leave_other_passwords.clone(),
            groups: spec.groups().cloned().collect(),
            protected: spec.protect.groups.clone(),
            protected_users: spec.protect.users.clone(),
        })
    }

    /// Signs in, and looks at the entries that everything hangs on.
    ///
    /// # Errors
    /// Why the directory cannot be used.
    pub async fn check(&self, _modes: &BTreeSet<Mode>) -> Result<Checked, NotReady> {
        let connection = self.client.connection().await.map_err(|e| not_ready(&e))?;
        if !connection.has_policy && self.hash == Hash::Server {
            return Err(NotReady::InvalidConfiguration(format!(
                "the server applies no password policy (overlay ppolicy), so it would keep passwords in clear: say {WHERE}.hash: \
                 SSHA, or add the overlay with ppolicy_hash_cleartext."
            )));
        }
        let found = self.client.search(&connection, &self.base, Scope::Base, ANY, &["entryUUID"]).await;
        if found.map_err(|e| not_ready(&e))?.is_empty() {
            return Err(NotReady::InvalidConfiguration(format!(
                "{WHERE}.baseDN: there is no such entry, or the operator's account may not see it."
            )));
        }
        // In the way that a user's groups are found: else it would protect nobody.
        for group in &self.protected {
            let found =
                self.client.entry(&connection, group, user::GROUP, &["1.1"]).await.map_err(|e| not_ready(&e))?;
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
        if let Some(filter) = &self.federated {
            // It holds or it does not, unless what it names is unknown or may not be searched by.
            let either = format!("(|{filter}(!{filter}))");
            let told = self.client.entry(&connection, &self.base, &either, &["1.1"]).await;
            if told.map_err(|e| not_ready(&e))?.is_none() {
                return Err(NotReady::InvalidConfiguration(format!(
                    "{WHERE}.federatedFilter names an attribute that the server does not know, or that the operator's account may not \
                     search by: nobody would be found to have the password elsewhere."
                )));
            }
        }
        // Not that of baseDN: a user found under two of them is one.
        let suffix = self.suffix(&connection).ok_or_else(|| {
            NotReady::InvalidConfiguration(format!("{WHERE}.baseDN is under none of the server's namingContexts."))
        })?;
        let found = self.client.search(&connection, suffix, Scope::Base, ANY, &["entryUUID", "objectClass"]).await;
        let found = found.map_err(|e| not_ready(&e))?;
        let shown = found.first().filter(|entry| value(entry, "objectClass").is_some());
        let id = shown.and_then(|entry| value(entry, "entryUUID")).filter(|id| is_uuid(id)).ok_or_else(|| {
            NotReady::PermissionMissing(format!(
                "the operator's account may not read entryUUID and objectClass of {}: it needs to read the entries from there down to the users.",
                text::shown(suffix, text::NAME)
            ))
        })?;
        self.takes_changes(&connection).await?;
        let mut supports = BTreeSet::from([Feature::ResetPassword, Feature::KeepAfterLogin, Feature::ClearWebSessions]);
        if connection.has_policy {
            supports.insert(Feature::ForceChangeOnLogin);
        }
        Ok(Checked {
            identity: format!("openldap:{}#{id}", suffix.to_lowercase()),
            guarantees: Guarantees { password: Guarantee::ExactlyOnce, mfa: None },
            supports,
            // It keeps no sessions, and a reset ends a lock-out by itself.
            apart: CleanUp::default(),
            remains: Some(if self.left.is_empty() {
                "Applications that the user is signed in to know nothing of it."
            } else {
                "Applications that the user is signed in to know nothing of it, and what spec.provider.openLDAP.leaveOtherPasswords \
                 names stays as it was in the user's entry."
            }),
            unknown_groups,
            policy: crate::core::request::Policy::default(),
        })
    }

    /// A change on a condition that never holds: nothing that may be read tells a read-only copy from the server that it is
    /// a copy of, and requests had better wait than be refused one after the other.
    async fn takes_changes(&self, connection: &Connection) -> Result<(), NotReady> {
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
        // The next check begins with the first server again.
        self.client.forget(connection);
        let (server, code) = (&connection.server, &answer.code);
        Err(if self.client.is_first(connection) {
            NotReady::InvalidConfiguration(format!(
                "{server} is a read-only copy ({code}): put the server that takes changes first in {WHERE}.urls."
            ))
        } else {
            NotReady::Unreachable(format!(
                "no server of {WHERE}.urls before {server} is reached, and that is a read-only copy ({code})."
            ))
        })
    }

    /// Sends the call, once.
    pub async fn perform(&self, fenced: Fenced, once: &Once, user: &User, password: Option<&SecretString>) -> Reply {
        let condition = fenced.condition().map(str::to_owned);
        let Some(fence) = condition.as_deref().and_then(Fence::parse) else { return Reply::NotSent };
        let answer = match self.send(&fence, once, user, password, || fenced.pass()).await {
            Ok((answer, _)) => answer,
            Err(reply) => return reply,
        };
        match answer.number() {
            // The other is what the overlay answers where the history was changed at the same moment.
            122 | 16 => Reply::Outdated,
            _ => reply(&answer),
        }
    }

    /// Sends it again.
    pub async fn repeat(
        &self,
        record: &Record,
        condition: &str,
        once: &Once,
        user: &User,
        password: Option<&SecretString>,
        may: impl FnOnce() -> bool,
    ) -> Reply {
        let Some(fence) = Fence::parse(condition) else { return Reply::NotSent };
        let (answer, connection) = match self.send(&fence, once, user, password, may).await {
            Ok(answered) => answered,
            Err(Reply::NotSent) => return self.seen_elsewhere(record, &fence).await,
            Err(reply) => return reply,
        };
        match answer.number() {
            122 | 16 => Reply::Conflict,
            // The overlay answers before the condition is looked at. What it says of a password that is too young, or too
            // weak, says nothing of the first call; that it is in force, or was, does.
            19 => match self.by_id(&connection, &record.user.id).await {
                Err(_) => Reply::Unsure,
                Ok(None) => Reply::NoSuchUser,
                Ok(Some(entry)) if !moved(&fence, &entry) => answer.reply(),
                Ok(Some(entry)) => {
                    let at = changed_at(&entry);
                    let in_force = answer.text.contains("not being changed from existing value");
                    let was = answer.text.contains("in history of old passwords")
                        && at.is_some_and(|at| is_in_time(record, at));
                    if in_force || was { Reply::Done } else { Reply::Conflict }
                }
            },
            _ => reply(&answer),
        }
    }

    /// The server of the condition is not to be reached: another may have heard of the change.
    async fn seen_elsewhere(&self, record: &Record, fence: &Fence<'_>) -> Reply {
        let Ok(connection) = self.client.connection().await else { return Reply::NotSent };
        match self.by_id(&connection, &record.user.id).await {
            Ok(Some(entry)) if moved(fence, &entry) => Reply::Conflict,
            _ => Reply::NotSent,
        }
    }

    /// One modify. `may` is asked right before.
    async fn send(
        &self,
        fence: &Fence<'_>,
        once: &Once,
        user: &User,
        password: Option<&SecretString>,
        may: impl FnOnce() -> bool,
    ) -> Result<(Answer, Lease), Reply> {
        let Once::SetPassword {
            force_change_on_login,
            clear_mobile_sessions_and_api_tokens: false,
            email_to_user: false,
        } = once
        else {
            return Err(Reply::NotSent);
        };
        let (Some(password), Some(dn)) = (password, user.handle.get("dn")) else { return Err(Reply::NotSent) };
        // The server takes it for a hash (RFC 2307, section 5.3), and nobody could sign in with what was delivered.
        if password.expose_secret().starts_with('{') {
            return Err(Reply::PasswordRefused { code: "passwordLooksHashed".to_owned() });
        }
        let connection = self.client.connection_to(fence.server).await.map_err(|e| e.before_the_call())?;
        // The gates may have seen another server. A flag is never dropped, nor is a password kept in clear.
        let policy = connection.has_policy;
        if !policy && (*force_change_on_login || self.hash == Hash::Server) {
            return Err(Reply::NotSent);
        }
        let value = match self.hash {
            Hash::Server => password.expose_secret().as_bytes().to_vec(),
            Hash::SSHA => ssha(password).ok_or(Reply::NotSent)?,
        };
        let mut changes: Vec<Mod<Vec<u8>>> = vec![replace("userPassword", [value])];
        if policy {
            changes.push(replace("pwdReset", force_change_on_login.then(|| b"TRUE".to_vec())));
        }
        let assertion: RawControl =
            Assertion { filter: assertion(&user.id.id, fence.value).ok_or(Reply::NotSent)? }.critical().into();
        if is_of_this_second(fence.value) {
            tokio::time::sleep(SECOND).await;
        }
        if !may() {
            return Err(Reply::NotSent);
        }
        let controls = vec![assertion, ask_for_policy()];
        let answer = self.client.modify(&connection, dn, changes, controls).await.map_err(|e| e.in_the_call())?;
        Ok((answer, connection))
    }

    /// Looks whether the call of `record` took effect.
    ///
    /// # Errors
    /// Why it could not be asked.
    pub async fn verify(&self, record: &Record) -> Result<Proof, Why> {
        let connection = self.client.connection().await.map_err(|e| e.why())?;
        let Some(entry) = self.by_id(&connection, &record.user.id).await.map_err(|e| e.why())? else {
            return Ok(Proof::Nothing("The directory no longer shows the user.".to_owned()));
        };
        let Some(fence) = Fence::before(&record.attempt) else {
            return Ok(Proof::Nothing("It is not known how the user was before the call.".to_owned()));
        };
        let at = changed_at(&entry);
        Ok(judge(record, moved(&fence, &entry), at, self.sign_in, Timestamp::now()))
    }

    /// Whether `password` opens the account of `record`'s user. One who must change it is let in that far.
    ///
    /// # Errors
    /// Why it was not sent. It may be asked again.
    pub async fn sign_in(&self, record: &Record, password: &SecretString) -> Result<bool, Why> {
        if !self.sign_in {
            return Err(Why::new("the Directory says that no sign-in may be tried."));
        }
        let fence = Fence::before(&record.attempt);
        let fence = fence.ok_or_else(|| Why::new("it is not known how the user was before the call."))?;
        let connection = self.client.connection_rather_to(fence.server).await.map_err(|e| e.why())?;
        let found = self.by_id(&connection, &record.user.id).await;
        let entry = found.map_err(|e| e.why())?.ok_or_else(|| Why::new("the directory no longer shows the user."))?;
        if !moved(&fence, &entry) {
            return Err(Why::new("the server that would be asked does not show the change yet."));
        }
        Ok(self.client.sign_in(&connection.url, &entry.dn, password).await?.is_some_and(|answer| answer.number() == 0))
    }
}

/// What an answer means, that of a copy included: it is the Directory that is not as it should be, not the request.
fn reply(answer: &Answer) -> Reply {
    if is_read_only(answer) { Reply::Denied { code: answer.code.to_string() } } else { answer.reply() }
}

/// The server takes no changes: it refers to the one that does, or has nowhere to refer to, or was made read-only.
fn is_read_only(answer: &Answer) -> bool {
    let says = |words| answer.text.contains(words);
    answer.number() == 10 || answer.number() == 53 && (says("shadow context") || says("operation restricted"))
}

/// `{SSHA}`, which every `OpenLDAP` knows. `None`: the operating system gave no random numbers.
fn ssha(password: &SecretString) -> Option<Vec<u8>> {
    let mut salt = [0; 8];
    SysRng.try_fill_bytes(&mut salt).ok()?;
    let mut hash = Sha1::new();
    hash.update(password.expose_secret());
    hash.update(salt);
    let salted = [hash.finalize().as_slice(), salt.as_slice()].concat();
    Some(format!("{{SSHA}}{}", BASE64_STANDARD.encode(salted)).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_holds_password_and_salt() {
        let hash = String::from_utf8(ssha(&SecretString::from("secret")).unwrap()).unwrap();
        let raw = BASE64_STANDARD.decode(hash.strip_prefix("{SSHA}").unwrap()).unwrap();
        let (digest, salt) = raw.split_at(20);
        assert_eq!(digest, Sha1::digest([b"secret", salt].concat()).as_slice());
        assert_eq!(salt.len(), 8);
    }
}
