//! The ledger at the API server: the records in the operator's namespace, and what this process knows beyond them.
mod attempts;
mod keys;

use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use tokio::{sync::MutexGuard, time::Duration};

use self::keys::Keys;
use super::{
    clock::Clock,
    delete_unchanged, for_each_page,
    lean::{Guarded, Lean},
    lock,
};
use crate::{
    api::{
        CredentialResetRecord, CredentialResetSettlement,
        record::{HOUR_LABEL, KEY_LABEL, USER_LABEL, hour},
    },
    core::{
        history::History,
        record::{Record, State, user_key},
        world::World,
    },
};

pub use attempts::Attempts;

/// Field selector of the records that still need work.
pub const OPEN: &str = "spec.state!=Applied,spec.state!=NotApplied,spec.state!=Superseded";

/// The result of a write.
#[derive(Debug)]
pub enum WriteResult {
    /// The record is stored, as returned.
    Stored(Box<CredentialResetRecord>),
    /// Another process wrote first. The record as it is now; `None`: it does not exist.
    Conflict(Option<Box<CredentialResetRecord>>),
}

/// The records in the operator's namespace.
#[derive(Debug)]
pub struct Ledger {
    api: Api<CredentialResetRecord>,
    settlements: Api<Guarded<CredentialResetSettlement>>,
    /// How long records are kept for audits after nothing else needs them.
    retention: SignedDuration,
    namespace: String,
    /// The attempts of this process.
    pub attempts: Attempts,
    history: Mutex<History>,
    keys: Keys,
    limits: tokio::sync::Mutex<()>,
}

/// The right to reserve room within the limits. One task at a time has it.
#[derive(Debug)]
pub struct LimitGuard<'a> {
    ledger: &'a Ledger,
    _only: MutexGuard<'a, ()>,
}

impl LimitGuard<'_> {
    /// Reserves room for the attempt of `record`, whose call takes `timeout` at most, and remembers that nothing of it was sent
    /// yet. To be called before the attempt is written.
    pub fn reserve(self, record: &Record, timeout: Duration) {
        self.ledger.attempts.insert(record, timeout);
        self.ledger.keys.insert(&record.request.key);
        self.ledger.note(record);
    }
}

impl Ledger {
    /// The ledger in `namespace`, for a process called `holder`.
    #[must_use]
    pub fn new(client: Client, namespace: &str, holder: &str, clock: Clock) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
            settlements: Api::namespaced(client, namespace),
            retention: SignedDuration::ZERO,
            namespace: namespace.to_owned(),
            attempts: Attempts::new(holder, clock),
            history: Mutex::default(),
            keys: Keys::default(),
            limits: tokio::sync::Mutex::default(),
        }
    }

    /// The same ledger, which keeps records for `retention` after nothing else needs them.
    #[must_use]
    pub fn with_retention(self, retention: SignedDuration) -> Self {
        Self { retention, ..self }
    }

    /// The API of the records, for a watch.
    #[must_use]
    pub fn api(&self) -> Api<CredentialResetRecord> {
        self.api.clone()
    }

    /// Reads the records that limits count: the open ones, and those of this hour and the last.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn load(&self, now: Timestamp) -> kube::Result<()> {
        self.keys.clear();
        let before = now.saturating_sub(SignedDuration::from_hours(1)).unwrap_or(now);
        let hours = format!("{HOUR_LABEL} in ({},{})", hour(now), hour(before));
        for params in [ListParams::default().fields(OPEN), ListParams::default().labels(&hours)] {
            for_each_page(&self.api, params, |object| self.note(&object.record())).await?;
        }
        Ok(())
    }

    /// Counts a record for the limits.
    pub fn note(&self, record: &Record) {
        lock(&self.history).insert(record.summary());
    }

    /// Counts a record from a watch for the limits. What this process has written itself is newer.
    pub fn note_watched(&self, record: &Record) {
        let mut history = lock(&self.history);
        let newer =
            history.get(&record.name).is_some_and(|p| p.state.is_settled() || p.started_at > record.attempt.started_at);
        if !newer {
            history.insert(record.summary());
        }
    }

    /// Puts into `world` what the limits count.
    pub fn add_history(&self, world: &mut World) {
        let mut history = lock(&self.history);
        history.expire(Timestamp::now());
        history.fill_in(world);
    }

    /// What the limits count now.
    #[must_use]
    pub fn history(&self) -> History {
        let mut history = lock(&self.history);
        history.expire(Timestamp::now());
        history.clone()
    }

    /// Waits for the right to reserve room within the limits. It is held from the decision that there is room until
    /// [`LimitGuard::reserve`].
    pub async fn lock_limits(&self) -> LimitGuard<'_> {
        LimitGuard { ledger: self, _only: self.limits.lock().await }
    }

    /// Keeps the index of the keys that have records, until dropped. The leader does.
    pub async fn watch_keys(&self) {
        self.keys.watch(Api::namespaced(self.api.clone().into_client(), &self.namespace)).await;
    }

    /// The record with this key, which is the same for the same manifest.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn find(&self, key: &str) -> kube::Result<Option<CredentialResetRecord>> {
        if !self.keys.may_contain(key) {
            return Ok(None);
        }
        let found = self.api.list(&ListParams::default().labels(&format!("{KEY_LABEL}={key}"))).await?;
        Ok(found.items.into_iter().next())
    }

    /// The record of this name, by a quorum read.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn get(&self, name: &str) -> kube::Result<Option<CredentialResetRecord>> {
        self.api.get_opt(name).await
    }

    /// The settlements of the record of this name.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn settlements_of(&self, name: &str) -> kube::Result<Vec<Lean<CredentialResetSettlement>>> {
        let mut all = Vec::new();
        let of_record = ListParams::default().fields(&format!("spec.record={name}"));
        // An unreadable settlement does not count.
        for_each_page(&self.settlements, of_record, |settlement| all.extend(settlement.readable())).await?;
        Ok(all)
    }

    /// The API of the settlements, for a watch.
    #[must_use]
    pub fn settlements(&self) -> Api<Guarded<CredentialResetSettlement>> {
        self.settlements.clone()
    }

    /// Whether a later request for the same user and mode was applied.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn superseded(&self, record: &Record) -> kube::Result<bool> {
        let user = user_key(&record.directory_identity, &record.user.id);
        let all = self.api.list(&ListParams::default().labels(&format!("{USER_LABEL}={user}"))).await?;
        Ok(all.items.iter().any(|other| {
            other.spec.state == State::Applied
                && other.record().mode == record.mode
                && other.spec.attempt.started_at > record.attempt.started_at
        }))
    }

    /// Creates the record: intent, fence and lock in one. A create whose answer was lost and that took effect counts as this
    /// process's: the record then holds the id of its attempt.
    ///
    /// # Errors
    /// If it is not known whether the record was stored. Should it appear later, this process knows that nothing was sent.
    pub async fn open(&self, record: &Record) -> kube::Result<WriteResult> {
        let object = CredentialResetRecord::of(record, &self.namespace);
        match self.api.create(&PostParams::default(), &object).await {
            Ok(stored) => Ok(self.after_store(stored)),
            Err(kube::Error::Api(status)) if status.is_already_exists() => self.resolve_conflict(record).await,
            Err(error) => {
                if matches!(&error, kube::Error::Api(status) if (400..500).contains(&status.code)) {
                    self.attempts.remove(record);
                    lock(&self.history).remove(&record.name);
                }
                Err(error)
            }
        }
    }

    /// Puts a new attempt into a released record.
    ///
    /// # Errors
    /// As for [`Ledger::open`].
    pub async fn take_over(&self, object: &CredentialResetRecord, record: &Record) -> kube::Result<WriteResult> {
        match self.api.replace(&record.name, &PostParams::default(), &object.with(record)).await {
            Ok(stored) => Ok(self.after_store(stored)),
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {
                self.resolve_conflict(record).await
            }
            Err(error) => Err(error),
        }
    }

    /// Replaces the record. A write whose answer was lost and that took effect counts as done. A record that was deleted is created
    /// again (see [`Record::recreate_if_deleted`]).
    ///
    /// # Errors
    /// If the API server does not answer, or refuses.
    pub async fn write(&self, object: &CredentialResetRecord, record: &Record) -> kube::Result<WriteResult> {
        match self.api.replace(&record.name, &PostParams::default(), &object.with(record)).await {
            Ok(stored) => Ok(self.after_store(stored)),
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {
                match self.get(&record.name).await? {
                    Some(now) if now.record() == *record => Ok(self.after_store(now)),
                    Some(now) => Ok(WriteResult::Conflict(Some(Box::new(now)))),
                    None if !record.recreate_if_deleted() => self.resolve_conflict(record).await,
                    None => {
                        tracing::warn!(record = record.name, "the record was deleted: creating it again");
                        let object = CredentialResetRecord::of(record, &self.namespace);
                        Ok(self.after_store(self.api.create(&PostParams::default(), &object).await?))
                    }
                }
            }
            Err(error) => Err(error),
        }
    }

    fn after_store(&self, object: CredentialResetRecord) -> WriteResult {
        let record = object.record();
        self.note(&record);
        if record.state != State::Sent && record.state != State::Changed {
            self.attempts.remove(&record);
        }
        WriteResult::Stored(Box::new(object))
    }

    /// The record existed already, or has changed, or is gone: it counts as stored only if it holds this process's attempt.
    async fn resolve_conflict(&self, record: &Record) -> kube::Result<WriteResult> {
        let now = self.get(&record.name).await?;
        Ok(match now {
            Some(object) if object.spec.attempt == record.attempt => self.after_store(object),
            other => {
                self.attempts.remove(record);
                match &other {
                    Some(object) => self.note(&object.record()),
                    None => lock(&self.history).remove(&record.name),
                }
                WriteResult::Conflict(other.map(Box::new))
            }
        })
    }

    /// Deletes the record of `object` if its retention has ended; returns whether it did.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn delete_expired(&self, object: &CredentialResetRecord, now: Timestamp) -> kube::Result<bool> {
        let record = object.record();
        let still_moving = matches!(record.state, State::Sent | State::Changed);
        let until = record.keep_until.saturating_add(self.retention).unwrap_or(Timestamp::MAX);
        Ok(now >= until && !still_moving && delete_unchanged(&self.api, object).await?)
    }
}
