//! The store: the organization, its state file, and the queued faults.
use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use super::{
    call::Call,
    chaos::Chaos,
    deviation::Deviations,
    fault::{self, Fault, FaultKind},
    options::{Error, Manner, Options},
    organization::{Organization, split_scopes},
    seed,
};

/// The organization, its state file, and the queued faults.
pub(super) struct Store {
    pub(super) organization: Organization,
    pub(super) faults: Vec<Fault>,
    pub(super) chaos: Option<Chaos>,
    pub(super) deviations: Deviations,
    pub(super) manner: Manner,
    file: Option<PathBuf>,
}

impl Store {
    /// Reads the state file, or starts from the seed if there is none yet.
    pub(super) fn open(options: Options) -> Result<Self, Error> {
        let Options { state: file, users, change_times, scopes, reset_password_page: page, token_limit } = options;
        let mut organization = match &file {
            Some(file) => Organization::read(file)?.unwrap_or_else(Organization::seed),
            None => Organization::seed(),
        };
        for account in seed::crowd(users) {
            organization.accounts.entry(account.user.user_id.clone()).or_insert(account);
        }
        if let Some(scopes) = scopes {
            organization.scopes = split_scopes(&scopes);
        }
        let manner = Manner { change_times, page, token_limit };
        let store =
            Self { organization, faults: Vec::new(), chaos: None, deviations: Deviations::default(), manner, file };
        store.save()?;
        Ok(store)
    }

    /// Counts a request and takes its queued fault, or its random one.
    pub(super) fn receive(&mut self, call: Call, user: Option<&str>) -> Option<FaultKind> {
        *self.organization.counts.entry(call).or_default() += 1;
        let id = user.and_then(|name| self.organization.id_of(name));
        let user = id.and_then(|id| self.organization.accounts.get_mut(&id)).map(|account| &mut account.user);
        let Some(user) = user else { return fault::take(&mut self.faults, call, &[]) };
        let mut fault = fault::take(&mut self.faults, call, &[&user.user_id, &user.zuid]);
        if matches!(call, Call::ResetPassword | Call::ResetMfa) {
            fault = fault.or_else(|| self.chaos.as_ref()?.fate(&user.user_id, user.reset_calls.len()));
            user.reset_calls.push(fault.as_ref().map_or_else(|| "none".to_owned(), FaultKind::fate));
        }
        fault
    }

    /// Saves, and logs a failure. The change stays in memory, and the next save tries again.
    pub(super) fn save_or_report(&self) {
        if let Err(error) = self.save() {
            tracing::error!(%error, "the state is not saved");
        }
    }

    /// Writes a new file and renames it, so that the state file is complete at any time.
    pub(super) fn save(&self) -> Result<(), Error> {
        let Some(file) = &self.file else { return Ok(()) };
        let fail = |source| Error::Write { file: file.clone(), source };
        let mut draft = file.clone().into_os_string();
        draft.push(".new");
        let json = serde_json::to_vec(&self.organization).map_err(|error| fail(error.into()))?;
        // The file holds passwords.
        let open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft);
        open.and_then(|mut draft: File| draft.write_all(&json)).and_then(|()| fs::rename(&draft, file)).map_err(fail)
    }
}
