//! The call: one modify of the user's entry, with an assertion.
use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use ldap3::{
    Mod,
    controls::{Assertion, MakeCritical, RawControl},
};
use rand::{TryRng, rngs::SysRng};
use secrecy::{ExposeSecret, SecretString};
use sha1::{Digest, Sha1};

use super::{
    OpenLdap,
    precondition::{assertion, changed_at, has_changed, may_be_this_second},
};
use crate::{
    api::directory::Hash,
    core::{
        call::{Call, Reply},
        record::Record,
        user::User,
    },
    directory::{
        Fenced,
        ldap::{
            PooledConnection,
            answer::{Answer, ask_for_policy},
            entry::replace,
            precondition::{Precondition, force_change, is_in_time, reply_unsent},
        },
    },
};

/// `pwdChangedTime` counts seconds. Two changes within one second look the same, and the precondition would let both through.
const NEXT_SECOND: Duration = Duration::from_millis(1100);

impl OpenLdap {
    /// Sends the call, once.
    pub async fn perform(&self, fenced: Fenced, user: &User, password: Option<&SecretString>) -> Reply {
        let (call, precondition) = (fenced.call().clone(), fenced.precondition().map(str::to_owned));
        let Some(precondition) = precondition.as_deref().and_then(Precondition::parse) else { return Reply::NotSent };
        let answer = match self.send(&precondition, &call, user, password, || fenced.pass()).await {
            Ok((answer, _)) => answer,
            Err(reply) => return reply,
        };
        match answer.number() {
            // The overlay answers with 16 if the password history was changed at the same moment.
            122 | 16 => Reply::Outdated,
            _ => reply(&answer),
        }
    }

    /// Sends the conditional call of `record` again. Calls `may_send` right before.
    pub async fn repeat(
        &self,
        record: &Record,
        precondition: &str,
        user: &User,
        password: Option<&SecretString>,
        may_send: impl FnOnce() -> bool,
    ) -> Reply {
        let Some(precondition) = Precondition::parse(precondition) else { return Reply::NotSent };
        let (answer, connection) = match self.send(&precondition, &record.call, user, password, may_send).await {
            Ok(answered) => answered,
            Err(Reply::NotSent) => {
                let entry = self.entry(&record.user.id).await;
                return reply_unsent(entry, |entry| has_changed(&precondition, entry));
            }
            Err(reply) => return reply,
        };
        match answer.number() {
            122 | 16 => Reply::Conflict,
            // The overlay answers before the server checks the assertion. That the password is too young or too weak shows nothing about
            // the first call. That the password is or was in force does.
            19 => match self.by_id(&connection, &record.user.id).await {
                Err(_) => Reply::Unsure,
                Ok(None) => Reply::NoSuchUser,
                Ok(Some(entry)) if !has_changed(&precondition, &entry) => answer.reply(),
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

    /// Sends one modify. Calls `may_send` right before.
    async fn send(
        &self,
        precondition: &Precondition<'_>,
        call: &Call,
        user: &User,
        password: Option<&SecretString>,
        may_send: impl FnOnce() -> bool,
    ) -> Result<(Answer, PooledConnection), Reply> {
        let force_change_on_login = force_change(call).ok_or(Reply::NotSent)?;
        let (Some(password), Some(dn)) = (password, user.handle.get("dn")) else { return Err(Reply::NotSent) };
        // The server would take it for a hash (RFC 2307, section 5.3), and the user could not sign in with the delivered password.
        if password.expose_secret().starts_with('{') {
            return Err(Reply::PasswordRefused { code: "passwordLooksHashed".to_owned() });
        }
        let connection = self.client.connection_to(precondition.server).await.map_err(|e| e.before_the_call())?;
        // The facts may be those of another server. A flag is never dropped, and a password is never stored in clear.
        let policy = connection.has_policy;
        if !policy && (force_change_on_login || self.hash == Hash::Server) {
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
            Assertion { filter: assertion(&user.id.id, precondition.value).ok_or(Reply::NotSent)? }.critical().into();
        if may_be_this_second(precondition.value) {
            tokio::time::sleep(NEXT_SECOND).await;
        }
        if !may_send() {
            return Err(Reply::NotSent);
        }
        let controls = vec![assertion, ask_for_policy()];
        let answer = self.client.modify(&connection, dn, changes, controls).await.map_err(|e| e.in_the_call())?;
        Ok((answer, connection))
    }
}

/// What an answer means. If a read-only copy answered, the Directory is misconfigured, not the request wrong.
fn reply(answer: &Answer) -> Reply {
    if is_read_only(answer) { Reply::Denied { code: answer.code.to_string() } } else { answer.reply() }
}

/// Whether the server accepts no changes: it refers to the one that does, knows none to refer to, or was made read-only.
pub(super) fn is_read_only(answer: &Answer) -> bool {
    let contains = |words| answer.text.contains(words);
    answer.number() == 10 || answer.number() == 53 && (contains("shadow context") || contains("operation restricted"))
}

/// The password as `{SSHA}`, which every `OpenLDAP` accepts. `None`: the operating system gave no random numbers.
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
