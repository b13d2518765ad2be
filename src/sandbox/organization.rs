//! The organization: accounts, scopes, mail, tokens and the log of calls.
use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    fs,
    io::ErrorKind,
    path::Path,
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    call::{Call, Flags, Logged},
    options::Error,
    seed,
    user::{Account, Person, Secret, Status},
};

/// How many calls the log keeps. The counts include all calls.
const CALLS_KEPT: usize = 1000;
const TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(1);
const TOKEN_WINDOW: SignedDuration = SignedDuration::from_mins(10);

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Mail {
    pub(super) time: Timestamp,
    pub(super) to: String,
    pub(super) subject: String,
    pub(super) body: Secret,
}

/// Splits scopes, which Zoho separates by blanks in one place and by commas in another.
pub(super) fn split_scopes(scopes: &str) -> Vec<String> {
    scopes.split([' ', ',']).filter(|scope| !scope.is_empty()).map(str::to_owned).collect()
}

/// What survives a restart.
#[derive(Serialize, Deserialize)]
pub(super) struct Organization {
    pub(super) accounts: BTreeMap<String, Account>,
    pub(super) scopes: Vec<String>,
    pub(super) mails: Vec<Mail>,
    pub(super) counts: BTreeMap<Call, u64>,
    pub(super) calls: VecDeque<Logged>,
    /// Access tokens, and when they were issued.
    tokens: BTreeMap<String, Timestamp>,
}

impl Organization {
    pub(super) fn seed() -> Self {
        Self {
            accounts: seed::accounts().into_iter().map(|account| (account.user.user_id.clone(), account)).collect(),
            scopes: seed::SCOPES.map(str::to_owned).to_vec(),
            mails: Vec::new(),
            counts: BTreeMap::new(),
            calls: VecDeque::new(),
            tokens: BTreeMap::new(),
        }
    }

    pub(super) fn read(file: &Path) -> Result<Option<Self>, Error> {
        let text = match fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Read { file: file.to_owned(), source }),
        };
        // The parser's own message may quote the file, which holds passwords.
        serde_json::from_slice(&text).map(Some).map_err(|error| Error::Parse {
            file: file.to_owned(),
            line: error.line(),
            column: error.column(),
        })
    }

    pub(super) fn users(&self) -> impl Iterator<Item = &Person> {
        self.accounts.values().map(|account| &account.user)
    }

    /// The id of the user with this id, zuid, or e-mail address that only one user has.
    pub(super) fn id_of(&self, name: &str) -> Option<String> {
        if self.accounts.contains_key(name) {
            return Some(name.to_owned());
        }
        self.account_of(name).map(|user| user.user_id.clone())
    }

    /// The user with this zuid, or with this e-mail address if only one user has it.
    pub(super) fn account_of(&self, name: &str) -> Option<&Person> {
        if !name.contains('@') {
            return self.users().find(|user| user.zuid == name);
        }
        let mut all = self.users().filter(|user| user.has_address(name));
        all.next().filter(|_| all.next().is_none())
    }

    /// Addresses that several users have, in lower case. At Zoho only one account has an address, so none of them has confirmed it.
    pub(super) fn shared_addresses(&self) -> HashSet<String> {
        let mut known = HashSet::new();
        self.users()
            .flat_map(|user| &user.emails)
            .map(|email| email.to_lowercase())
            .filter(|email| !known.insert(email.clone()))
            .collect()
    }

    pub(super) fn log(&mut self, call: Logged) {
        self.calls.push_back(call);
        if self.calls.len() > CALLS_KEPT {
            self.calls.pop_front();
        }
    }

    /// A new access token. `None`: `limit` were requested lately.
    pub(super) fn issue_token(&mut self, now: Timestamp, limit: Option<usize>) -> Option<String> {
        self.tokens.retain(|_, issued| now.duration_since(*issued) < TOKEN_LIFE);
        let lately = self.tokens.values().filter(|issued| now.duration_since(**issued) < TOKEN_WINDOW).count();
        if limit.is_some_and(|limit| lately >= limit) {
            return None;
        }
        let value = format!("1000.{:032x}", rand::random::<u128>());
        self.tokens.insert(value.clone(), now);
        Some(value)
    }

    pub(super) fn knows_token(&self, value: &str, now: Timestamp) -> bool {
        self.tokens.get(value).is_some_and(|issued| now.duration_since(*issued) < TOKEN_LIFE)
    }

    /// Sets the password. Web sessions end whatever the flags are, as in the console.
    pub(super) fn reset_password(&mut self, user_id: &str, password: &str, flags: Flags, now: Timestamp) {
        let Some(Account { user, password: current }) = self.accounts.get_mut(user_id) else { return };
        let Flags { must_change, clear_mobile_sessions_and_api_tokens, email_user } = flags;
        *current = Secret::new(password);
        user.must_change = must_change;
        user.locked = false;
        user.web_sessions = 0;
        if clear_mobile_sessions_and_api_tokens {
            user.mobile_sessions = 0;
            user.api_tokens = 0;
        }
        user.password_changed_time = Some(now.as_millisecond());
        user.password_resets += 1;
        user.password_reset_times.push(now);
        if let (true, Some(to)) = (email_user, user.emails.first()) {
            self.mails.push(Mail {
                time: now,
                to: to.clone(),
                subject: "Your password was reset".to_owned(),
                body: Secret::new(format!("Hello {},\n\nyour new password is: {password}\n", user.full_name())),
            });
        }
    }

    /// Removes all factors. With `turn_off` MFA is off afterwards; without it the user enrols again at the next sign-in.
    pub(super) fn reset_mfa(&mut self, user_id: &str, turn_off: bool, now: Timestamp) {
        let Some(Account { user, .. }) = self.accounts.get_mut(user_id) else { return };
        user.factors.clear();
        if turn_off {
            user.mfa_enabled = false;
        }
        user.mfa_changed_time = Some(now.as_millisecond());
        user.mfa_resets += 1;
        user.mfa_reset_times.push(now);
    }

    /// The result of a sign-in with a login and a password. It opens no session.
    pub(super) fn sign_in(&self, login: &str, password: &str) -> &'static str {
        let named = |account: &&Account| account.user.emails.first().is_some_and(|email| email == login);
        let account = self
            .accounts
            .values()
            .find(named)
            .or_else(|| self.accounts.values().find(|account| account.user.answers_to(login)));
        match account {
            Some(Account { user, .. }) if user.user_status == Status::Inactive => "inactive",
            Some(Account { user, password: current }) if current.is(password) => match user {
                Person { locked: true, .. } => "locked",
                Person { must_change: true, .. } => "must-change",
                _ => "ok",
            },
            _ => "wrong",
        }
    }
}
