//! Active Directory, and Samba as its domain controller. The exchanges below were seen on Samba 4.17; names and numbers are
//! those of \[MS-ADTS\].
//!
//! The call is one modify: `unicodePwd` is replaced, the value of `pwdLastSet` that was read is deleted, and 0 (must change)
//! or -1 (now) is added. Where another value is in place by then, nothing is written. A user who must change already has 0, and
//! from 0 to 0 is no condition: then the call adds -1, and 0 comes back with a step of its own.
//!
//! That Windows keeps the condition, too, nobody has tried. Where the server is none of Samba's, `pwdLastSet` is replaced like the
//! password, and a call is not sent again.
mod metadata;
#[cfg(test)]
mod tests;
mod user;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use ldap3::{Mod, Scope, SearchEntry};
use secrecy::{ExposeSecret, SecretString};

use super::{
    Checked, Credentials, Fenced, NotReady,
    ldap::{
        ANY, Client, Connection,
        answer::{Answer, Failed, no_such_group, not_ready},
        entry::{replace, value, values},
        fence::{Fence, judge},
    },
};
use crate::{
    api::directory::{self, DirectorySpec, Guarantees},
    core::{
        dn::Dn,
        ledger::{Evidence, MARGIN, Record, Reply},
        plan::{CleanUp, Once},
        request::Mode,
        text,
        world::{Feature, Guarantee, Proof, Seen, User, Why},
    },
};

const WHERE: &str = "spec.provider.activeDirectory";
/// What a server says of itself in `supportedCapabilities` (\[MS-ADTS\] 3.1.1.3.4.3): it serves an Active Directory; it keeps a
/// copy that cannot be written to.
const ACTIVE_DIRECTORY: &str = "1.2.840.113556.1.4.800";
const READ_ONLY: &str = "1.2.840.113556.1.4.1920";
/// How Samba begins its `vendorName` (RFC 3045).
const SAMBA: &str = "Samba Team";
/// What the right password is answered where something else keeps its owner out: it must be changed, the account is
/// disabled, or has expired; not at this hour, not from this computer.
const RIGHT_BUT: [&str; 5] = ["data 773", "data 533", "data 701", "data 530", "data 531"];
/// Longer than anybody waits for a step after the call.
const FORGET: SignedDuration = SignedDuration::from_hours(24 * 14);
/// `pwdLastSet` of a user who must choose another password at the next sign-in.
const MUST_CHANGE: &str = "0";
/// The server stores the time in its place.
const NOW: &str = "-1";

/// A connection to one domain.
#[derive(Debug)]
pub struct ActiveDirectory {
    client: Client,
    base: String,
    sign_in: bool,
    unlock: bool,
    /// Groups that rules and protections are about, as they are written there.
    groups: Vec<String>,
    protected: Vec<String>,
    protected_users: Vec<String>,
    /// When it was first asked whether a user may be marked, by attempt.
    asked: Mutex<HashMap<String, Timestamp>>,
    /// How long a call may be on its way.
    arrival: SignedDuration,
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
        let made = timeout.and_then(|timeout| Ok((Client::new(WHERE, ldap, credentials, timeout)?, timeout)));
        let (client, timeout) = made.map_err(|wrong| NotReady::InvalidConfiguration(format!("{wrong}.")))?;
        Ok(Self {
            client,
            arrival: SignedDuration::try_from(timeout).unwrap_or(SignedDuration::ZERO) + MARGIN,
            asked: Mutex::default(),
            base: ldap.base_dn.clone(),
            sign_in: ldap.sign_in,
            unlock: spec.unlock,
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
        let is = async |dn: &str, attribute: &'static str| {
            let found = self.client.search(&connection, dn, Scope::Base, ANY, &[attribute]).await;
            found.map_err(|e| not_ready(&e)).map(|found| found.into_iter().next())
        };
        let wrong = |what: &str| NotReady::InvalidConfiguration(format!("{WHERE}.{what}"));
        let server = is("", "supportedCapabilities").await?;
        let can = |oid: &str| server.iter().any(|root| values(root, "supportedCapabilities").any(|one| one == oid));
        if !can(ACTIVE_DIRECTORY) {
            return Err(wrong("urls: the server does not say that it is a domain controller of an Active Directory."));
        }
        if can(READ_ONLY) {
            return Err(wrong("urls: the server is a read-only domain controller: name those that can be written to."));
        }
        let domain = value(&connection.root, "defaultNamingContext").unwrap_or_default();
        if !Dn::of(&self.base).is_under(&Dn::of(domain)) {
            return Err(wrong(&format!("baseDN is not in the server's domain, {}.", text::shown(domain, text::NAME))));
        }
        if is(&self.base, "objectGUID").await?.is_none() {
            return Err(wrong("baseDN: there is no such entry, or the operator's account may not see it."));
        }
        let known = self.named(&connection, &self.groups).await.map_err(|e| not_ready(&e))?;
        let unknown = self.groups.iter().filter(|group| known.iter().all(|(_, name)| name != group));
        let (protected, allowed): (Vec<&String>, Vec<&String>) =
            unknown.partition(|group| self.protected.contains(group));
        if let Some(group) = protected.first() {
            return Err(no_such_group(group));
        }
        let unknown_groups = allowed.into_iter().cloned().collect();
        // Not that of baseDN: a user found under two of them is one.
        let id = is(domain, "objectGUID").await?.as_ref().and_then(user::id_of).ok_or_else(|| {
            let domain = text::shown(domain, text::NAME);
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
        self.takes_changes(&connection).await?;
        let exact = keeps_conditions(&connection);
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
            // It keeps no sessions, and a lock-out ends with the call.
            apart: CleanUp { must_change: exact, ..CleanUp::default() },
            remains: Some("Kerberos tickets that the user has, and sessions opened with them, live until they expire."),
            policy: crate::core::request::Policy::default(),
            unknown_groups,
        })
    }

    /// A change that can never be made, since it takes away what is not there: of a copy for searching, which a global catalog is, nothing
    /// that may be read tells the port.
    async fn takes_changes(&self, connection: &Connection) -> Result<(), NotReady> {
        const NO_VALUE: &[u8] = b"credreset: does this server take changes? 5a0f6c0e-6d0b-4c35-9d5c-8f1c7a4b2f0e";
        let change = vec![Mod::Delete(b"description".to_vec(), [NO_VALUE.to_vec()].into())];
        let answer = self.client.modify(connection, &self.base, change, Vec::new()).await.map_err(|e| not_ready(&e))?;
        match answer.reply() {
            Reply::Denied { .. } => {}
            Reply::Unsure | Reply::Throttled { .. } => return Err(not_ready(&Failed::Answered(answer.code))),
            // No such value, or no right.
            _ => return Ok(()),
        }
        // The next check begins with the first server again.
        self.client.forget(connection);
        Err(NotReady::InvalidConfiguration(format!(
            "{WHERE}.urls: {} takes no changes ({}). The ports 3268 and 3269 are those of the global catalog: name the controller's own, \
             636, or 389 with startTLS.",
            text::shown(connection.url.as_str(), text::NAME),
            answer.code
        )))
    }

    /// The ids of the accounts that the operator's own may be: its name may be given out in two ways. Empty: it is not found.
    async fn own(&self, connection: &Connection, known_as: &user::Domain) -> Result<Vec<String>, Failed> {
        let name = self.client.bind_dn();
        let found = if name.contains('=') {
            self.client.entry(connection, name, ANY, &["objectGUID"]).await?.into_iter().collect()
        } else {
            let domain = value(&connection.root, "defaultNamingContext").unwrap_or_default();
            let filter = user::any(&user::signs_in(name, known_as));
            self.client.search(connection, domain, Scope::Subtree, &filter, &["objectGUID"]).await?
        };
        Ok(found.iter().filter_map(user::id_of).collect())
    }

    /// Sends the call, once.
    pub async fn perform(&self, fenced: Fenced, once: &Once, user: &User, password: Option<&SecretString>) -> Reply {
        let attempt = fenced.attempt().clone();
        let Some(fence) = Fence::before(&attempt) else { return Reply::NotSent };
        // Told to choose another password since the first attempt, so that nothing would set the mark again.
        let due = State::parse(fence.value).is_some_and(|before| before.must_change());
        let marks = fenced.finish().clean_up.is_some_and(|what| what.must_change);
        if attempt.conditional && due && !marks && matches!(once, Once::SetPassword { force_change_on_login: true, .. })
        {
            return Reply::Outdated;
        }
        let answer = match self.send(&fence, attempt.conditional, once, user, password, || fenced.pass()).await {
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
        match self.send(&fence, true, once, user, password, may).await {
            Ok(answer) if answer.number() == 16 => Reply::Conflict,
            Ok(answer) => answer.reply(),
            Err(Reply::Outdated) => Reply::Conflict,
            // The server of the condition is not to be reached: another may have heard of the change.
            Err(Reply::NotSent) => match self.seen(&record.user.id).await {
                Ok(Some((now, _))) if !now.is(&fence) => Reply::Conflict,
                _ => Reply::NotSent,
            },
            Err(reply) => reply,
        }
    }

    /// One modify. `may` is asked right before.
    async fn send(
        &self,
        fence: &Fence<'_>,
        conditional: bool,
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
        let (Some(password), Some(before)) = (password, State::parse(fence.value)) else { return Err(Reply::NotSent) };
        let connection = self.client.connection_to(fence.server).await.map_err(|e| e.before_the_call())?;
        if conditional && !keeps_conditions(&connection) {
            return Err(Reply::NotSent);
        }
        if conditional && before.must_change() {
            // The mark is set again after a reset, so that its absence is no sign of one. Since the look-up somebody else may
            // have been through both.
            match self.by_id(&connection, &user.id.id).await {
                Ok(Some(entry)) if State::of(&entry).is_some_and(|now| now.is(fence)) => {}
                Ok(Some(_)) => return Err(Reply::Outdated),
                Ok(None) => return Err(Reply::NoSuchUser),
                Err(error) => return Err(error.before_the_call()),
            }
        }
        let must_change = *force_change_on_login && !(conditional && before.must_change());
        let set = if must_change { MUST_CHANGE } else { NOW };
        let mut changes = vec![replace("unicodePwd", [quoted(password)])];
        if conditional {
            changes.extend(exchange(&before.set, set));
        } else {
            changes.push(replace("pwdLastSet", [set.as_bytes().to_vec()]));
        }
        if self.unlock {
            changes.push(replace("lockoutTime", [b"0".to_vec()]));
        }
        if !may() {
            return Err(Reply::NotSent);
        }
        self.modify(&connection, &user.id.id, changes).await.map_err(|error| error.in_the_call())
    }

    /// By its id: whoever has its name by now is somebody else.
    async fn modify(&self, connection: &Connection, id: &str, changes: Vec<Mod<Vec<u8>>>) -> Result<Answer, Failed> {
        self.client.modify(connection, &format!("<GUID={id}>"), changes, Vec::new()).await
    }

    /// Sets the must-change mark where the call could not.
    ///
    /// # Errors
    /// What is not done, and why.
    pub async fn clean_up(&self, record: &Record, what: CleanUp) -> Result<(), Why> {
        let Some(fence) = Fence::before(&record.attempt) else { return Ok(()) };
        let Some(before) = State::parse(fence.value).filter(State::must_change) else { return Ok(()) };
        if !what.must_change {
            return Ok(());
        }
        let not = |why: &str| Why::new(format!("the user need not choose another password yet: {why}."));
        // One of the calls may still be on its way, and would find the condition as it was.
        let answered = matches!(record.evidence, None | Some(Evidence::Response)) && record.adopted_by.is_none();
        if !answered && !self.is_quiet(record) {
            return Err(not("the call whose answer was lost must not find the mark should it arrive again"));
        }
        // Where the call was made: elsewhere it may not be known yet.
        let connection = self.client.connection_to(fence.server).await.map_err(|e| not(&e.to_string()))?;
        let found = self.by_id(&connection, &record.user.id).await.map_err(|e| not(&e.to_string()))?;
        let Some(entry) = found else { return Ok(()) };
        let Some(now) = State::of(&entry) else { return Err(not("the directory does not show pwdLastSet")) };
        // Somebody has changed the password since, most likely its owner.
        let once = before.changes.map(|number| number.wrapping_add(1));
        if now.must_change() || now.changes.is_some() && now.changes != once {
            return Ok(());
        }
        match self.modify(&connection, &record.user.id, exchange(&now.set, MUST_CHANGE).into()).await {
            Ok(answer) if answer.number() == 0 => Ok(()),
            Ok(answer) => Err(not(&format!("the directory answered {}", answer.code))),
            Err(error) => Err(not(&error.to_string())),
        }
    }

    /// No call of `record`'s can arrive any more. A repeat may have been sent long after the first, but not since it became known
    /// that one took effect; that was before this process first asked here.
    fn is_quiet(&self, record: &Record) -> bool {
        let now = Timestamp::now();
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|_, since| now.duration_since(*since) < FORGET);
        let since = *asked.entry(record.attempt.id.clone()).or_insert(now);
        now >= record.over() && now.duration_since(since) >= self.arrival
    }

    /// How the user is now, and when the password was set last.
    async fn seen(&self, id: &str) -> Result<Option<(State, Option<Timestamp>)>, Failed> {
        let connection = self.client.connection().await?;
        let Some(entry) = self.by_id(&connection, id).await? else { return Ok(None) };
        let at = match user::changed_at(&entry) {
            Seen::Known(at) => Some(at),
            Seen::Absent | Seen::Unread | Seen::Unknown(_) => None,
        };
        Ok(State::of(&entry).map(|state| (state, at)))
    }

    /// Looks whether the call of `record` took effect.
    ///
    /// # Errors
    /// Why it could not be asked.
    pub async fn verify(&self, record: &Record) -> Result<Proof, Why> {
        let Some(fence) = Fence::before(&record.attempt) else {
            return Ok(Proof::Nothing("It is not known how the user was before the call.".to_owned()));
        };
        Ok(match self.seen(&record.user.id).await.map_err(|e| e.why())? {
            None => Proof::Nothing("The directory no longer shows the user.".to_owned()),
            Some((now, at)) => judge(record, !now.is(&fence), at, self.sign_in, Timestamp::now()),
        })
    }

    /// Whether `password` opens the account of `record`'s user, or would if nothing else kept its owner out.
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
        if State::of(&entry).is_none_or(|now| now.is(&fence)) {
            return Err(Why::new("the server that would be asked does not show the change yet."));
        }
        let Some(answer) = self.client.sign_in(&connection.url, &entry.dn, password).await? else { return Ok(false) };
        let detail = answer.code.detail.as_deref().unwrap_or_default();
        Ok(answer.number() == 0 || (answer.number() == 49 && RIGHT_BUT.contains(&detail)))
    }
}

/// What the call is conditional on, and what tells it from what looks alike.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    /// `pwdLastSet`.
    set: String,
    /// How often the password was changed. `None`: the account may not see it.
    changes: Option<u32>,
}

impl State {
    fn of(entry: &SearchEntry) -> Option<Self> {
        let set = value(entry, "pwdLastSet")?.to_owned();
        Some(Self { set, changes: metadata::changes(entry).map(|changes| changes.number) })
    }

    /// As a [`Fence`] remembers it.
    fn text(&self) -> String {
        self.changes.map_or_else(|| self.set.clone(), |number| format!("{}#{number}", self.set))
    }

    fn parse(text: &str) -> Option<Self> {
        let (set, changes) = match text.split_once('#') {
            Some((set, number)) => (set, Some(number.parse().ok()?)),
            None => (text, None),
        };
        set.parse::<i64>().ok().map(|_| Self { set: set.to_owned(), changes })
    }

    fn must_change(&self) -> bool {
        self.set == MUST_CHANGE
    }

    /// Nothing has moved.
    fn is(&self, fence: &Fence<'_>) -> bool {
        Self::parse(fence.value).is_some_and(|before| {
            before.set == self.set && (before.changes.is_none() || before.changes == self.changes)
        })
    }
}

/// It refuses a modify that deletes a value which is not there any more.
fn keeps_conditions(connection: &Connection) -> bool {
    value(&connection.root, "vendorName").is_some_and(|vendor| vendor.starts_with(SAMBA))
}

/// The `pwdLastSet` that was read goes, another comes: both or neither.
fn exchange(old: &str, new: &str) -> [Mod<Vec<u8>>; 2] {
    let name = b"pwdLastSet".to_vec();
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
