//! All that the sandbox knows, and its file.
use std::{
    collections::{BTreeMap, VecDeque},
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Error, Options,
    chaos::Chaos,
    fault::{self, Fault},
    seed,
    user::{Account, Person, Secret, Status},
    wire::Request,
};

/// Older calls are forgotten; the counts are not.
const CALLS_KEPT: usize = 1000;
const TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(1);
const TOKEN_WINDOW: SignedDuration = SignedDuration::from_mins(10);
const TOKENS_PER_WINDOW: usize = 10;

/// What a request asks for, for counts and faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Call {
    Token,
    LookUp,
    Groups,
    Role,
    ResetPassword,
    ResetMfa,
    Other,
}

impl Call {
    pub(super) const ALL: [Self; 7] =
        [Self::Token, Self::LookUp, Self::Groups, Self::Role, Self::ResetPassword, Self::ResetMfa, Self::Other];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::LookUp => "look-up",
            Self::Groups => "groups",
            Self::Role => "role",
            Self::ResetPassword => "reset-password",
            Self::ResetMfa => "reset-mfa",
            Self::Other => "other",
        }
    }
}

/// One line of the log of calls.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Logged {
    pub(super) time: Timestamp,
    pub(super) kind: Call,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) user: Option<String>,
    /// Flags with their values, all else as `(given)`.
    pub(super) fields: BTreeMap<String, Value>,
    /// Absent: the connection was closed without an answer.
    pub(super) status: Option<u16>,
    pub(super) fault: Option<String>,
    pub(super) applied: bool,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Mail {
    pub(super) time: Timestamp,
    pub(super) to: String,
    pub(super) subject: String,
    pub(super) body: Secret,
}

/// The flags of a password reset.
#[derive(Clone, Copy, Default)]
pub(super) struct Flags {
    pub(super) must_change: bool,
    pub(super) clear_mobile_sessions_and_api_tokens: bool,
    pub(super) email_user: bool,
}

/// Zoho separates scopes by blanks in one place and by commas in another.
pub(super) fn split_scopes(scopes: &str) -> Vec<String> {
    scopes.split([' ', ',']).filter(|scope| !scope.is_empty()).map(str::to_owned).collect()
}

/// What survives a restart.
#[derive(Serialize, Deserialize)]
pub(super) struct State {
    pub(super) accounts: BTreeMap<String, Account>,
    pub(super) scopes: Vec<String>,
    pub(super) mails: Vec<Mail>,
    pub(super) counts: BTreeMap<Call, u64>,
    pub(super) calls: VecDeque<Logged>,
    /// Access tokens, and when they were given out.
    tokens: BTreeMap<String, Timestamp>,
}

/// The state, where it is kept, and the faults that wait for their calls.
pub(super) struct Store {
    pub(super) state: State,
    pub(super) faults: Vec<Fault>,
    pub(super) chaos: Option<Chaos>,
    pub(super) change_times: bool,
    file: Option<PathBuf>,
}

impl Store {
    /// The state of the file, or the seed if there is none yet.
    pub(super) fn open(options: Options) -> Result<Self, Error> {
        let Options { state: file, users, change_times, scopes } = options;
        let mut state = match &file {
            Some(file) => State::read(file)?.unwrap_or_else(State::seed),
            None => State::seed(),
        };
        for account in seed::crowd(users) {
            state.accounts.entry(account.user.user_id.clone()).or_insert(account);
        }
        if let Some(scopes) = scopes {
            state.scopes = split_scopes(&scopes);
        }
        let store = Self { state, faults: Vec::new(), chaos: None, change_times, file };
        store.save()?;
        Ok(store)
    }

    /// Counts a request and takes the fault that waits for it, or that chaos has for it.
    pub(super) fn receive(&mut self, request: &Request) -> Option<fault::Kind> {
        *self.state.counts.entry(request.call).or_default() += 1;
        let user = request.user.as_deref().and_then(|name| {
            let id = if self.state.accounts.contains_key(name) {
                name.to_owned()
            } else {
                self.state.user_by_zuid(name)?.user_id.clone()
            };
            self.state.accounts.get_mut(&id).map(|account| &mut account.user)
        });
        let Some(user) = user else { return fault::take(&mut self.faults, request.call, &[]) };
        let mut fault = fault::take(&mut self.faults, request.call, &[&user.user_id, &user.zuid]);
        if matches!(request.call, Call::ResetPassword | Call::ResetMfa) {
            fault = fault.or_else(|| self.chaos.as_ref()?.fate(&user.user_id, user.reset_calls.len()));
            user.reset_calls.push(fault.as_ref().map_or_else(|| "none".to_owned(), fault::Kind::fate));
        }
        fault
    }

    /// The change stands in memory whatever the disk says; the next save tries again.
    pub(super) fn save_or_report(&self) {
        if let Err(error) = self.save() {
            tracing::error!(%error, "the state is not saved");
        }
    }

    /// Writes the state beside the file and renames it, so that the file is whole at any time.
    pub(super) fn save(&self) -> Result<(), Error> {
        let Some(file) = &self.file else { return Ok(()) };
        let fail = |source| Error::Write { file: file.clone(), source };
        let mut draft = file.clone().into_os_string();
        draft.push(".new");
        let json = serde_json::to_vec(&self.state).map_err(|error| fail(error.into()))?;
        // The file holds passwords.
        let open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft);
        open.and_then(|mut draft: File| draft.write_all(&json)).and_then(|()| fs::rename(&draft, file)).map_err(fail)
    }
}

impl State {
    fn seed() -> Self {
        Self {
            accounts: seed::accounts().into_iter().map(|account| (account.user.user_id.clone(), account)).collect(),
            scopes: seed::SCOPES.map(str::to_owned).to_vec(),
            mails: Vec::new(),
            counts: BTreeMap::new(),
            calls: VecDeque::new(),
            tokens: BTreeMap::new(),
        }
    }

    fn read(file: &Path) -> Result<Option<Self>, Error> {
        let text = match fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Read { file: file.to_owned(), source }),
        };
        // The parser's own message may quote the file, and the file holds passwords.
        serde_json::from_slice(&text).map(Some).map_err(|error| Error::Parse {
            file: file.to_owned(),
            line: error.line(),
            column: error.column(),
        })
    }

    pub(super) fn users(&self) -> impl Iterator<Item = &Person> {
        self.accounts.values().map(|account| &account.user)
    }

    pub(super) fn user_by_zuid(&self, zuid: &str) -> Option<&Person> {
        self.users().find(|user| user.zuid == zuid)
    }

    pub(super) fn log(&mut self, call: Logged) {
        self.calls.push_back(call);
        if self.calls.len() > CALLS_KEPT {
            self.calls.pop_front();
        }
    }

    /// A new access token, or `None` if too many were asked for lately.
    pub(super) fn issue_token(&mut self, now: Timestamp) -> Option<String> {
        self.tokens.retain(|_, issued| now.duration_since(*issued) < TOKEN_LIFE);
        let lately = self.tokens.values().filter(|issued| now.duration_since(**issued) < TOKEN_WINDOW).count();
        if lately >= TOKENS_PER_WINDOW {
            return None;
        }
        let value = format!("1000.{:032x}", rand::random::<u128>());
        self.tokens.insert(value.clone(), now);
        Some(value)
    }

    pub(super) fn knows_token(&self, value: &str, now: Timestamp) -> bool {
        self.tokens.get(value).is_some_and(|issued| now.duration_since(*issued) < TOKEN_LIFE)
    }

    /// Sets the password. Web sessions end whatever the flags say, as the console has it.
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

    /// Removes all factors. With `turn_off` MFA is off afterwards, else the user enrols again at the next sign-in.
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

    /// Who would be let in with a login and a password; opens no session.
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
