//! Active Directory, and Samba as its domain controller. The exchanges below were seen on Samba 4.17; names and numbers are
//! those of \[MS-ADTS\].
//!
//! The call is one modify: `unicodePwd` is replaced, the value of `pwdLastSet` that was read is deleted, and 0 (must change)
//! or -1 (now) is added. Where another value is in place by then, nothing is written.
mod metadata;
#[cfg(test)]
mod tests;
mod user;

use std::collections::BTreeSet;

use jiff::Timestamp;
use ldap3::{Mod, Scope, SearchEntry};
use secrecy::{ExposeSecret, SecretString};

use super::{
    Checked, Credentials, Fenced, NotReady,
    ldap::{
        Answer, Client, Connection, Failed, equals,
        fence::{Fence, is_in_time, judge},
        replace, value,
    },
};
use crate::{
    api::directory::{self, DirectorySpec, Guarantees},
    core::{
        ledger::{Record, Reply},
        plan::{CleanUp, Once},
        request::Mode,
        text,
        world::{Feature, Guarantee, Proof, Seen, User, Why},
    },
};

const WHERE: &str = "spec.provider.activeDirectory";
/// `userAccountControl`: the password never expires, so that it need never be changed.
const NEVER_EXPIRES: u32 = 0x1_0000;
/// What the right password is answered where something else keeps its owner out: it must be changed, the account is disabled.
const RIGHT_BUT: [&str; 2] = ["data 773", "data 533"];
/// `pwdLastSet` of a user who must choose another password at the next sign-in.
const MUST_CHANGE: &str = "0";

/// A connection to one domain.
#[derive(Debug)]
pub struct ActiveDirectory {
    client: Client,
    base: String,
    sign_in: bool,
    unlock: bool,
    /// Groups that rules and protections are about, as they are written there.
    groups: Vec<String>,
}

impl ActiveDirectory {
    /// A connection as `spec` describes it. Sends nothing.
    ///
    /// # Errors
    /// Which field of the Directory or key of its Secret is wrong.
    pub fn connect(
        spec: &DirectorySpec,
        active_directory: &directory::ActiveDirectory,
        credentials: &Credentials,
    ) -> Result<Self, NotReady> {
        let ldap = &active_directory.ldap;
        let timeout = super::ldap::timeout(spec);
        let client = timeout.and_then(|timeout| Client::new(WHERE, ldap, credentials, timeout));
        Ok(Self {
            client: client.map_err(|wrong| NotReady::InvalidConfiguration(format!("{wrong}.")))?,
            base: ldap.base_dn.clone(),
            sign_in: ldap.sign_in,
            unlock: spec.unlock,
            groups: spec.groups().cloned().collect(),
        })
    }

    /// Signs in, and looks at the entries that everything hangs on.
    ///
    /// # Errors
    /// Why the directory cannot be used.
    pub async fn check(&self, _modes: &BTreeSet<Mode>) -> Result<Checked, NotReady> {
        let connection = self.client.connection().await.map_err(|e| super::ldap::not_ready(&e))?;
        let found = self.client.search(&connection, &self.base, Scope::Base, "(objectClass=*)", &["objectGUID"]).await;
        if found.map_err(|e| super::ldap::not_ready(&e))?.is_empty() {
            return Err(NotReady::InvalidConfiguration(format!(
                "{WHERE}.baseDN: there is no such entry, or the operator's account may not see it."
            )));
        }
        let Some(domain) = value(&connection.root, "defaultNamingContext") else {
            return Err(NotReady::InvalidConfiguration(
                "the server does not say which domain it serves: it is no Active Directory.".to_owned(),
            ));
        };
        // Not that of baseDN: a user found under two of them is one.
        let found = self.client.search(&connection, domain, Scope::Base, "(objectClass=*)", &["objectGUID"]).await;
        let found = found.map_err(|e| super::ldap::not_ready(&e))?;
        let id = found.first().and_then(user::id_of).ok_or_else(|| {
            NotReady::PermissionMissing(format!(
                "the operator's account may not read objectGUID of {}.",
                text::shown(domain, text::NAME)
            ))
        })?;
        let own = self.own(&connection).await.map_err(|e| super::ldap::not_ready(&e))?.ok_or_else(|| {
            NotReady::InvalidConfiguration(
                "the operator's account is not found in the domain under the name that bind-dn gives it: write its distinguished \
                 name or its userPrincipalName."
                    .to_owned(),
            )
        })?;
        // Of its own entry it may read the least.
        if let Seen::Unknown(why) = metadata::last_change(&own) {
            return Err(NotReady::PermissionMissing(why.message));
        }
        Ok(Checked {
            identity: format!("activedirectory:{}#{id}", domain.to_lowercase()),
            guarantees: Guarantees { password: Guarantee::ExactlyOnce, mfa: Guarantee::AtMostOnce },
            supports: BTreeSet::from([
                Feature::ResetPassword,
                Feature::ForceChangeOnLogin,
                Feature::KeepAfterLogin,
                Feature::ClearWebSessions,
            ]),
            // It keeps no sessions, and a lock-out ends with the call. From 0 to 0 is no condition: then the mark is set later.
            apart: CleanUp { must_change: true, ..CleanUp::default() },
        })
    }

    /// The operator's own account.
    async fn own(&self, connection: &Connection) -> Result<Option<SearchEntry>, Failed> {
        let (name, domain) =
            (self.client.bind_dn(), value(&connection.root, "defaultNamingContext").unwrap_or_default());
        let attributes = [&["objectGUID"][..], &metadata::ATTRIBUTES].concat();
        let found = match name.split_once('\\') {
            _ if name.contains('=') => {
                self.client.search(connection, name, Scope::Base, "(objectClass=*)", &attributes).await?
            }
            Some((_, account)) => {
                let filter = equals("sAMAccountName", account);
                self.client.search(connection, domain, Scope::Subtree, &filter, &attributes).await?
            }
            None => {
                let filter = equals("userPrincipalName", name);
                self.client.search(connection, domain, Scope::Subtree, &filter, &attributes).await?
            }
        };
        Ok(found.into_iter().next())
    }

    /// Sends the call, once.
    pub async fn perform(&self, fenced: Fenced, once: &Once, user: &User, password: Option<&SecretString>) -> Reply {
        let condition = fenced.condition().map(str::to_owned);
        let Some(fence) = condition.as_deref().and_then(Fence::parse) else { return Reply::NotSent };
        let answer = match self.send(&fence, once, user, password, || fenced.pass()).await {
            Ok(answer) => answer,
            Err(reply) => return reply,
        };
        if answer.number() == 16 { Reply::Outdated } else { answer.reply() }
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
        match self.send(&fence, once, user, password, may).await {
            Ok(answer) if answer.number() == 16 => Reply::Conflict,
            Ok(answer) => answer.reply(),
            // The server of the condition is not to be reached: another may have heard of the change.
            Err(Reply::NotSent) => match self.seen(record, &fence).await {
                Ok(Some((_, true, _))) => Reply::Conflict,
                _ => Reply::NotSent,
            },
            Err(reply) => reply,
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
    ) -> Result<Answer, Reply> {
        let Once::SetPassword {
            force_change_on_login,
            clear_mobile_sessions_and_api_tokens: false,
            email_to_user: false,
        } = once
        else {
            return Err(Reply::NotSent);
        };
        let (Some(password), Some(dn)) = (password, user.handle.get("dn")) else { return Err(Reply::NotSent) };
        let control = user.handle.get("userAccountControl").and_then(|flags| flags.parse::<u32>().ok()).unwrap_or(0);
        // The mark would be written, and mean nothing.
        if *force_change_on_login && control & NEVER_EXPIRES != 0 {
            return Err(Reply::Rejected { code: "passwordNeverExpires".to_owned() });
        }
        let had_to_change = had_to_change(fence);
        let connection = self.client.connection_to(fence.server).await.map_err(|e| e.before_the_call())?;
        let old = if had_to_change { MUST_CHANGE } else { fence.value };
        let new = if *force_change_on_login && !had_to_change { MUST_CHANGE } else { "-1" };
        let mut changes = vec![replace("unicodePwd", [quoted(password)])];
        changes.extend(replace_value("pwdLastSet", old, new));
        if had_to_change {
            // The 0 may be another by now, after a reset that has been here and gone.
            let entry = self.by_id(&connection, &user.id.id).await.map_err(|e| e.before_the_call())?;
            if entry.is_none_or(|entry| condition_of(&entry).is_none_or(|now| now != fence.value)) {
                return Err(Reply::Outdated);
            }
        }
        if self.unlock {
            changes.push(replace("lockoutTime", [b"0".to_vec()]));
        }
        if !may() {
            return Err(Reply::NotSent);
        }
        self.client.modify(&connection, dn, changes, Vec::new()).await.map_err(|error| match error {
            Failed::NoConnection => Reply::NotSent,
            _ => Reply::Unsure,
        })
    }

    /// Sets the must-change mark where the call could not: the user had it before, and from 0 to 0 is no condition.
    ///
    /// # Errors
    /// What is not done, and why.
    pub async fn clean_up(&self, record: &Record, what: CleanUp) -> Result<(), Why> {
        let Some(fence) = record.attempt.baseline.as_deref().and_then(Fence::parse) else { return Ok(()) };
        if !what.must_change || !had_to_change(&fence) {
            return Ok(());
        }
        let not = |why: &str| Why::new(format!("the user need not choose another password yet: {why}."));
        // A call on its way that was bound to the 0 from before must not find it again.
        if Timestamp::now() < record.over() {
            return Err(not(&format!("the mark is set at {:.0}, when no other call can be on its way", record.over())));
        }
        // Where the call was made: elsewhere it may not be known yet.
        let connection = self.client.connection_to(fence.server).await.map_err(|e| not(&e.to_string()))?;
        let found = self.by_id(&connection, &record.user.id).await.map_err(|e| not(&e.to_string()))?;
        let Some(entry) = found else { return Ok(()) };
        let Some(now) = value(&entry, "pwdLastSet") else { return Err(not("the directory does not show pwdLastSet")) };
        // Somebody has changed it since, most likely its owner.
        if now == MUST_CHANGE || !file_time(now).is_some_and(|at| is_in_time(record, at)) {
            return Ok(());
        }
        let changes = replace_value("pwdLastSet", now, MUST_CHANGE).into();
        match self.client.modify(&connection, &entry.dn, changes, Vec::new()).await {
            Ok(answer) if answer.number() == 0 => Ok(()),
            Ok(answer) => Err(not(&format!("the directory answered {}", answer.code))),
            Err(error) => Err(not(&error.to_string())),
        }
    }

    /// The user of `record` as an entry, whether the condition does not hold any more, and when the password was set last.
    async fn seen(
        &self,
        record: &Record,
        fence: &Fence<'_>,
    ) -> Result<Option<(SearchEntry, bool, Option<Timestamp>)>, Failed> {
        let connection = self.client.connection().await?;
        let Some(entry) = self.by_id(&connection, &record.user.id).await? else { return Ok(None) };
        let now = value(&entry, "pwdLastSet");
        let at = now.and_then(file_time).or_else(|| match metadata::last_change(&entry) {
            Seen::Known(change) => Some(change.at),
            Seen::Absent | Seen::Unread | Seen::Unknown(_) => None,
        });
        let moved = condition_of(&entry).is_some_and(|now| now != fence.value);
        Ok(Some((entry, moved, at)))
    }

    /// Looks whether the call of `record` took effect.
    ///
    /// # Errors
    /// Why it could not be asked.
    pub async fn verify(&self, record: &Record) -> Result<Proof, Why> {
        let Some(fence) = record.attempt.baseline.as_deref().and_then(Fence::parse) else {
            return Ok(Proof::Nothing("It is not known how the user was before the call.".to_owned()));
        };
        Ok(match self.seen(record, &fence).await.map_err(|e| e.why())? {
            None => Proof::Nothing("The directory no longer shows the user.".to_owned()),
            Some((_, moved, at)) => judge(record, moved, at, self.sign_in, Timestamp::now()),
        })
    }

    /// Whether `password` opens the account of `record`'s user, or would if nothing else kept its owner out.
    pub async fn sign_in(&self, record: &Record, password: &SecretString) -> bool {
        if !self.sign_in {
            return false;
        }
        let Ok(connection) = self.client.connection().await else { return false };
        let Ok(Some(entry)) = self.by_id(&connection, &record.user.id).await else { return false };
        let Ok(answer) = self.client.sign_in(&entry.dn, password).await else { return false };
        let detail = answer.code.detail.as_deref().unwrap_or_default();
        answer.number() == 0 || (answer.number() == 49 && RIGHT_BUT.contains(&detail))
    }
}

/// The condition of a user who must change the password already: there have been so many of them.
fn must_change_since(version: u32) -> String {
    format!("{MUST_CHANGE}/{version}")
}

fn had_to_change(fence: &Fence<'_>) -> bool {
    fence.value.starts_with("0/")
}

/// What a call that finds this entry is bound to. `None`: the account may not see it.
fn condition_of(entry: &SearchEntry) -> Option<String> {
    let set = value(entry, "pwdLastSet")?;
    if set != MUST_CHANGE {
        return Some(set.to_owned());
    }
    match metadata::last_change(entry) {
        Seen::Known(change) => Some(must_change_since(change.version)),
        Seen::Absent => Some(must_change_since(0)),
        Seen::Unread | Seen::Unknown(_) => None,
    }
}

/// The value that was read goes, another comes: both or neither.
fn replace_value(attribute: &str, old: &str, new: &str) -> [Mod<Vec<u8>>; 2] {
    let name = attribute.as_bytes().to_vec();
    let one = |value: &str| [value.as_bytes().to_vec()].into();
    [Mod::Delete(name.clone(), one(old)), Mod::Add(name, one(new))]
}

/// A password as `unicodePwd` takes it: in quotation marks, UTF-16 (\[MS-ADTS\] 3.1.1.3.1.5.1).
fn quoted(password: &SecretString) -> Vec<u8> {
    format!("\"{}\"", password.expose_secret()).encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// Steps of 100 ns since 1601. `None`: none, or never.
fn file_time(text: &str) -> Option<Timestamp> {
    const EPOCH: i128 = 116_444_736_000_000_000;
    let steps: i128 = text.parse::<i64>().ok().filter(|steps| *steps > 0 && *steps < i64::MAX)?.into();
    Timestamp::from_nanosecond((steps - EPOCH) * 100).ok()
}
