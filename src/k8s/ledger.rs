//! The ledger at the API server: the fence before every call. Only here is a [`Fenced`] made.
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, PostParams},
    core::PartialObjectMeta,
    runtime::{WatchStreamExt, watcher},
};
use tokio::time::{Duration, Instant};

use super::{clock::Clock, delete_unchanged, each, hash, lean::Lean, lease::Leadership, lock, turn};
use crate::{
    api::{
        CredentialResetRecord, CredentialResetSettlement,
        record::{HOUR_LABEL, KEY_LABEL, USER_LABEL, hour},
    },
    core::{
        ledger::{Attempt, Record, Reply, State, user_key},
        limits::History,
        world::{Holding, Progress, StepState, World},
    },
    directory::Fenced,
};

/// Selects the records that still move.
pub const OPEN: &str = "spec.state!=Applied,spec.state!=NotApplied,spec.state!=Superseded";

/// After its deadline, an attempt that was never sent and whose record never turned up is forgotten.
const FORGET: Duration = Duration::from_secs(600);

/// What this process alone knows of an attempt of its own. Kept until the record has taken it over, through every failed
/// write: nobody else can tell whether the call was sent, or what came back.
#[derive(Debug)]
struct Held {
    /// On the monotonic clock: nothing is sent that could not end by then, nor by the attempt's own deadline on the clock of the day.
    deadline: Instant,
    /// The longest that the call may take.
    timeout: Duration,
    sent: bool,
    reply: Option<Reply>,
    replied_at: Option<Timestamp>,
    progress: Progress,
}

/// Which manifests have records, so that most need not be looked for: the API server goes through all records for that.
///
/// A key that is not here has no record, but for one that somebody else has written a moment ago. That is a leader whose term is over,
/// which sends no call after it, or somebody who restores. Such a record is still met by its name, which is read from the store
/// before anything is written.
#[derive(Debug, Default)]
struct Keys {
    /// All records have been seen, and the watch goes on.
    complete: bool,
    /// Hashes of keys, some of records that are gone.
    seen: HashSet<u64>,
}

/// What came of a write.
#[derive(Debug)]
pub enum Written {
    /// It is stored, as returned.
    Stored(Box<CredentialResetRecord>),
    /// Somebody else was first; the record as it is now, if it is there.
    Lost(Option<Box<CredentialResetRecord>>),
}

/// The records in the operator's namespace.
#[derive(Debug)]
pub struct Ledger {
    api: Api<CredentialResetRecord>,
    settlements: Api<Lean<CredentialResetSettlement>>,
    /// How long records are kept for audits once nothing else needs them.
    keep: SignedDuration,
    namespace: String,
    holder: String,
    clock: Clock,
    held: Mutex<HashMap<String, Held>>,
    history: Mutex<History>,
    keys: Mutex<Keys>,
    /// Attempts whose one sign-in this process has made.
    signed_in: Mutex<HashSet<String>>,
    /// Held from the question whether there is room within the limits to the reservation of that room.
    pub admission: tokio::sync::Mutex<()>,
}

impl Ledger {
    /// The ledger in `namespace`, for a process called `holder`.
    #[must_use]
    pub fn new(client: Client, namespace: &str, holder: &str, clock: Clock) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
            settlements: Api::namespaced(client, namespace),
            keep: SignedDuration::ZERO,
            namespace: namespace.to_owned(),
            holder: holder.to_owned(),
            clock,
            held: Mutex::default(),
            history: Mutex::default(),
            keys: Mutex::default(),
            signed_in: Mutex::default(),
            admission: tokio::sync::Mutex::default(),
        }
    }

    /// The same, whose records are kept for `keep` longer than the promises need them.
    #[must_use]
    pub fn keeping(self, keep: SignedDuration) -> Self {
        Self { keep, ..self }
    }

    /// The records, to be watched.
    #[must_use]
    pub fn api(&self) -> Api<CredentialResetRecord> {
        self.api.clone()
    }

    /// Reads what limits need: the open records and those of this hour and the last.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn load(&self, now: Timestamp) -> kube::Result<()> {
        *lock(&self.keys) = Keys::default();
        let before = now.saturating_sub(SignedDuration::from_hours(1)).unwrap_or(now);
        let hours = format!("{HOUR_LABEL} in ({},{})", hour(now), hour(before));
        for params in [ListParams::default().fields(OPEN), ListParams::default().labels(&hours)] {
            each(&self.api, params, |object| self.note(&object.record())).await?;
        }
        Ok(())
    }

    /// Takes notice of a record's state, for limits.
    pub fn note(&self, record: &Record) {
        lock(&self.history).note(record.past());
    }

    /// Takes notice of a record that a watch has shown. What this process has written itself is newer.
    pub fn note_seen(&self, record: &Record) {
        let mut history = lock(&self.history);
        let newer =
            history.get(&record.name).is_some_and(|p| p.state.is_settled() || p.started_at > record.attempt.started_at);
        if !newer {
            history.note(record.past());
        }
    }

    /// Lets `world` look back at what limits are counted over.
    pub fn look_back(&self, world: &mut World) {
        let mut history = lock(&self.history);
        history.expire(Timestamp::now());
        history.show(world);
    }

    /// Keeps up which manifests have records, for as long as this is polled: a leader does.
    pub async fn keep_keys(&self) {
        let records: Api<PartialObjectMeta<CredentialResetRecord>> =
            Api::namespaced(self.api.clone().into_client(), &self.namespace);
        // Small pages: nothing waits for them, and what a large one takes of memory stays taken.
        let all = watcher::Config::default().page_size(100);
        let mut events = std::pin::pin!(watcher(records, all).default_backoff());
        while let Some(event) = events.next().await {
            let mut keys = lock(&self.keys);
            match event {
                Ok(watcher::Event::InitApply(record) | watcher::Event::Apply(record)) => {
                    keys.seen.extend(record.labels().get(KEY_LABEL).map(hash));
                }
                Ok(watcher::Event::InitDone) => keys.complete = true,
                Ok(watcher::Event::Delete(_)) => {}
                Ok(watcher::Event::Init) | Err(_) => keys.complete = false,
            }
        }
    }

    /// The record of the same manifest.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn find(&self, key: &str) -> kube::Result<Option<CredentialResetRecord>> {
        {
            let keys = lock(&self.keys);
            if keys.complete && !keys.seen.contains(&hash(&key)) {
                return Ok(None);
            }
        }
        let found = self.api.list(&ListParams::default().labels(&format!("{KEY_LABEL}={key}"))).await?;
        Ok(found.items.into_iter().next())
    }

    /// The record of this name, as most of the API server's members have it.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn get(&self, name: &str) -> kube::Result<Option<CredentialResetRecord>> {
        self.api.get_opt(name).await
    }

    /// What people say of the record of this name.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn settlements_of(&self, name: &str) -> kube::Result<Vec<Lean<CredentialResetSettlement>>> {
        let mut all = Vec::new();
        each(&self.settlements, ListParams::default().fields(&format!("spec.record={name}")), |said| all.push(said))
            .await?;
        Ok(all)
    }

    /// What people say of records, to be watched.
    #[must_use]
    pub fn settlements(&self) -> Api<Lean<CredentialResetSettlement>> {
        self.settlements.clone()
    }

    /// Whether a later request for the same user and mode has been applied.
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

    /// Creates the record: intent, fence and lock in one. A create whose answer was lost and that took effect is ours all the
    /// same: the attempt's id tells.
    ///
    /// # Errors
    /// If it cannot be told whether the record was stored. Should it turn up, this process knows that nothing was sent.
    pub async fn open(&self, record: &Record) -> kube::Result<Written> {
        let object = CredentialResetRecord::of(record, &self.namespace);
        match self.api.create(&PostParams::default(), &object).await {
            Ok(stored) => Ok(self.stored(stored)),
            Err(kube::Error::Api(status)) if status.is_already_exists() => self.lost(record).await,
            Err(error) => {
                if matches!(&error, kube::Error::Api(status) if (400..500).contains(&status.code)) {
                    lock(&self.held).remove(&record.attempt.id);
                    lock(&self.history).forget(&record.name);
                }
                Err(error)
            }
        }
    }

    /// Puts a new attempt into a released record.
    ///
    /// # Errors
    /// As for [`Ledger::open`].
    pub async fn take_over(&self, object: &CredentialResetRecord, record: &Record) -> kube::Result<Written> {
        match self.api.replace(&record.name, &PostParams::default(), &object.with(record)).await {
            Ok(stored) => Ok(self.stored(stored)),
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => self.lost(record).await,
            Err(error) => Err(error),
        }
    }

    /// Replaces the record. A write whose answer was lost and that took effect counts as done. A record that somebody has
    /// deleted is made again (see [`Record::is_made_again`]).
    ///
    /// # Errors
    /// If the API server does not answer, or refuses.
    pub async fn write(&self, object: &CredentialResetRecord, record: &Record) -> kube::Result<Written> {
        match self.api.replace(&record.name, &PostParams::default(), &object.with(record)).await {
            Ok(stored) => Ok(self.stored(stored)),
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {
                match self.get(&record.name).await? {
                    Some(now) if now.record() == *record => Ok(self.stored(now)),
                    Some(now) => Ok(Written::Lost(Some(Box::new(now)))),
                    None if !record.is_made_again() => self.lost(record).await,
                    None => {
                        tracing::warn!(record = record.name, "somebody has deleted the record; it is made again");
                        let object = CredentialResetRecord::of(record, &self.namespace);
                        Ok(self.stored(self.api.create(&PostParams::default(), &object).await?))
                    }
                }
            }
            Err(error) => Err(error),
        }
    }

    fn stored(&self, object: CredentialResetRecord) -> Written {
        let record = object.record();
        self.note(&record);
        if record.state != State::Sent && record.state != State::Changed {
            lock(&self.held).remove(&record.attempt.id);
        }
        Written::Stored(Box::new(object))
    }

    /// The record exists already, or was written by somebody else: ours only if it names our attempt.
    async fn lost(&self, record: &Record) -> kube::Result<Written> {
        let now = self.get(&record.name).await?;
        Ok(match now {
            Some(object) if object.spec.attempt == record.attempt => self.stored(object),
            other => {
                lock(&self.held).remove(&record.attempt.id);
                match &other {
                    Some(object) => self.note(&object.record()),
                    None => lock(&self.history).forget(&record.name),
                }
                Written::Lost(other.map(Box::new))
            }
        })
    }

    /// Reserves room within the limits for the attempt of `record`, whose call takes `timeout` at most, and remembers that
    /// nothing of it was sent yet. To be called before the attempt is written.
    pub fn hold(&self, record: &Record, timeout: Duration) {
        let window = record.attempt.deadline.duration_since(record.attempt.started_at);
        let deadline = Instant::now() + Duration::try_from(window).unwrap_or_default();
        let held =
            Held { deadline, timeout, sent: false, reply: None, replied_at: None, progress: Progress::default() };
        let mut all = lock(&self.held);
        // Attempts whose record never came to be.
        all.retain(|_, held| held.sent || held.deadline + FORGET > Instant::now());
        all.insert(record.attempt.id.clone(), held);
        drop(all);
        lock(&self.keys).seen.insert(hash(&record.request.key));
        self.note(record);
    }

    /// What this process knows of the record's attempt, if it is its own. `leading`: it holds the lease right now.
    #[must_use]
    pub fn holding(&self, record: &Record, leading: bool) -> Option<(Holding, Progress)> {
        let held = lock(&self.held);
        let held = held.get(&record.attempt.id)?;
        let holding = Holding {
            attempt: record.attempt.id.clone(),
            may_send: leading && in_time(&record.attempt, held.deadline, held.timeout) && !held.sent,
            // Sent, and this process has lost track of the answer: as good as no answer.
            reply: held.reply.clone().or_else(|| held.sent.then_some(Reply::Unsure)),
            replied_at: held.replied_at,
        };
        Some((holding, held.progress.clone()))
    }

    /// Whether this process is at work on the attempt of `record`.
    #[must_use]
    pub fn holds(&self, record: &Record) -> bool {
        lock(&self.held).contains_key(&record.attempt.id)
    }

    /// The right to send the call of `object`'s attempt, once: the attempt is this process's own, and the right was never used.
    #[must_use]
    pub fn fence(&self, object: &CredentialResetRecord, leadership: &Leadership) -> Option<Fenced> {
        let record = object.record();
        let mut all = lock(&self.held);
        let held = all.get_mut(&record.attempt.id)?;
        if held.sent || record.state != State::Sent || record.attempt.holder != self.holder {
            return None;
        }
        held.sent = true;
        let (leadership, attempt, expires) = (leadership.clone(), record.attempt.clone(), record.expires_at);
        let (deadline, timeout) = (held.deadline, held.timeout);
        let still = move || leadership.held() && in_time(&attempt, deadline, timeout) && Timestamp::now() < expires;
        Some(Fenced::by_write(record, still))
    }

    /// What came back.
    pub fn replied(&self, attempt: &str, reply: Reply) {
        if let Some(held) = lock(&self.held).get_mut(attempt) {
            held.reply = Some(reply);
            held.replied_at = self.clock.is_right().then(Timestamp::now);
        }
    }

    /// How far the steps after the change have come. What has failed is tried again by the next reconcile.
    pub fn progressed(&self, attempt: &str, progress: &Progress) {
        let lasting = |state: &StepState| match state {
            StepState::Failed(_) => StepState::Pending,
            StepState::Pending | StepState::Done | StepState::Impossible(_) | StepState::Lost(_) => state.clone(),
        };
        if let Some(held) = lock(&self.held).get_mut(attempt) {
            let Progress { deliver, clean_up, mail } = progress;
            held.progress = Progress { deliver: lasting(deliver), clean_up: lasting(clean_up), mail: lasting(mail) };
        }
    }

    /// Whether the one sign-in of the record's attempt is this process's to make: the record says so, and it is not made yet.
    pub fn may_sign_in(&self, record: &Record) -> bool {
        record.sign_in_by.as_ref() == Some(&self.holder) && !lock(&self.signed_in).contains(&record.attempt.id)
    }

    /// Whether this process has made the attempt's one sign-in. It may have been about to, and nothing was sent.
    pub fn signs_in(&self, attempt: &str, made: bool) {
        let mut all = lock(&self.signed_in);
        if made {
            all.insert(attempt.to_owned());
        } else {
            all.remove(attempt);
        }
    }

    /// Deletes the records whose time has passed; returns how many.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn expire(&self, now: Timestamp) -> kube::Result<usize> {
        let mut gone = 0;
        let mut params = ListParams::default().limit(200);
        loop {
            let page = self.api.list(&params).await?;
            for object in &page.items {
                let record = object.record();
                let still_moving = matches!(record.state, State::Sent | State::Changed);
                let until = record.keep_until.saturating_add(self.keep).unwrap_or(Timestamp::MAX);
                if now >= until && !still_moving && delete_unchanged(&self.api, object).await? {
                    gone += 1;
                }
            }
            if !turn(&mut params, &page) {
                return Ok(gone);
            }
        }
    }
}

/// Whether a call that takes `timeout` at most can end before the attempt is over, by both clocks of the machine: while it sleeps one
/// of them stands still. The attempt's times are by the clock of the process that asks.
fn in_time(attempt: &Attempt, deadline: Instant, timeout: Duration) -> bool {
    let now = Timestamp::now();
    let most = SignedDuration::try_from(timeout).unwrap_or(SignedDuration::MAX);
    Instant::now() + timeout <= deadline && attempt.started_at <= now && attempt.deadline.duration_since(now) >= most
}

/// Locks by name, so that no two tasks of this process work on the same request or record.
#[derive(Debug, Default)]
pub struct Locks(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Locks {
    /// Waits for the lock of `name`.
    pub async fn lock(&self, name: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let mutex = {
            let mut locks = lock(&self.0);
            // Nobody holds it or waits for it any more.
            locks.retain(|_, mutex| Arc::strong_count(mutex) > 1);
            Arc::clone(locks.entry(name.to_owned()).or_default())
        };
        mutex.lock_owned().await
    }
}
