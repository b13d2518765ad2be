//! The reconcile loop: it loads an item, asks the core for a decision and carries it out, until the
//! core decides to rest. It holds no policy.
use std::{fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{Api, Client, ResourceExt};
use tokio::sync::OwnedMutexGuard;

use super::{
    clock::Clock,
    directories::Directories,
    events::Events,
    facts::Reading,
    lean::Lean,
    lease::Leadership,
    ledger::Ledger,
    liveness::Life,
    locks::Locks,
    metrics::Metrics,
    secrets::{Secrets, StoredPassword},
    status::Statuses,
};
use crate::{
    api::CredentialReset,
    core::{
        Decision, Next, Reason, View, World, decide,
        driver::{Unread, read},
        request::Request,
        seen::Seen,
        world::{Process, Subject},
    },
    password, sealing,
};

/// More decisions than any reset needs. It ends a loop that a defect would make endless.
const MAX_DECISIONS: usize = 64;
/// How often a wrong clock is compared again.
const CLOCK_RECHECK: Duration = Duration::from_secs(1);

/// What all tasks of this process share.
pub struct Operator {
    /// The client of the API server, for kinds that have no module of their own.
    pub client: Client,
    /// The ledger.
    pub ledger: Ledger,
    /// Secrets with passwords and credentials.
    pub secrets: Secrets,
    /// Events.
    pub events: Events,
    /// The status of requests.
    pub statuses: Statuses,
    /// Metrics.
    pub metrics: Metrics,
    /// Liveness.
    pub life: Life,
    /// This machine's clock, compared with the API server's.
    pub clock: Clock,
    /// Locks of requests and records: one task at a time works on each.
    pub locks: Locks,
    /// Name of this process, unique among all processes.
    pub holder: String,
}

/// A term of leadership.
pub struct Term {
    /// What outlives the term.
    pub operator: Arc<Operator>,
    /// Whether the process is still the leader.
    pub leadership: Leadership,
    /// The Directories, which each term reads and checks anew.
    pub directories: Arc<Directories>,
}

/// What to reconcile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    /// A request.
    Request {
        /// Namespace of the request.
        namespace: String,
        /// Name of the request.
        name: String,
    },
    /// The record of this name, whether or not the object of its request still exists.
    Record(String),
}

impl Item {
    /// The request `object`.
    #[must_use]
    pub fn of_request(object: &CredentialReset) -> Self {
        Self::Request { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request { namespace, name } => write!(f, "{namespace}/{name}"),
            Self::Record(name) => f.write_str(name),
        }
    }
}

/// Why a reconcile failed. It is retried a little later.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server did not answer, or refused.
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    /// The operating system provides no random numbers.
    #[error("no password could be generated: {0}")]
    Random(#[from] password::Error),
    /// A password could not be sealed for its recipients.
    #[error("{0}")]
    Sealing(#[from] sealing::Error),
    /// A defect of this program: the decision asks for a fact or an effect that is impossible in its world.
    #[error("a defect of this program: {0}. Please report it")]
    Bug(&'static str),
    /// A defect of this program: the decisions do not end.
    #[error("a defect of this program: {MAX_DECISIONS} decisions did not converge. Please report it")]
    NotConverging,
}

impl Error {
    /// The label of the error in metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Api(_) => "api",
            Self::Random(_) => "random",
            Self::Sealing(_) => "sealing",
            Self::Bug(_) => "bug",
            Self::NotConverging => "not_converging",
        }
    }
}

/// Carries an item as far as possible now. Returns when to reconcile it again.
///
/// # Errors
/// Why it stopped earlier.
pub async fn reconcile(term: &Arc<Term>, item: &Item) -> Result<Next, Error> {
    let Some((mut reconcile, _guard)) = Reconcile::load(Arc::clone(term), item).await? else { return Ok(Next::Never) };
    for _ in 0..MAX_DECISIONS {
        reconcile.reading.life.progress();
        if !reconcile.clock_is_right().await {
            return Ok(Next::Never);
        }
        reconcile.refresh();
        match decide(&reconcile.world) {
            Decision::Read(fact) => read(&mut reconcile.world, fact, &mut reconcile.reading).await?,
            Decision::Do(effect) if effect.starts_attempt() && !term.leadership.is_held() => return Ok(Next::Never),
            Decision::Do(effect) => reconcile.carry_out(effect).await?,
            Decision::Rest { view, next } => {
                if let Some(view) = view {
                    // This process is no longer the leader, so the new leader may have created the record.
                    if view.record.is_none() && !term.leadership.is_held() {
                        return Ok(Next::Never);
                    }
                    reconcile.show(&view).await?;
                }
                return Ok(next);
            }
        }
    }
    Err(Error::NotConverging)
}

/// The state of one reconcile.
pub(super) struct Reconcile {
    pub(super) world: World,
    pub(super) reading: Reading,
    pub(super) object: Option<CredentialReset>,
    /// The password of the attempt.
    pub(super) password: Option<StoredPassword>,
}

impl From<Unread<Error>> for Error {
    fn from(unread: Unread<Self>) -> Self {
        match unread {
            Unread::Bug(what) => Self::Bug(what),
            Unread::Reader(error) => error,
        }
    }
}

impl Reconcile {
    /// Reads the item and locks it. `None`: there is nothing to do.
    async fn load(term: Arc<Term>, item: &Item) -> Result<Option<(Self, OwnedMutexGuard<()>)>, Error> {
        let operator = &term.operator;
        let life = operator.life.start_work();
        let (namespace, name, record) = match item {
            Item::Request { namespace, name } => (namespace.clone(), name.clone(), None),
            Item::Record(name) => {
                let Some(object) = operator.ledger.get(name).await? else { return Ok(None) };
                let origin = object.spec.request.clone();
                (origin.namespace.clone(), origin.name.clone(), Some(object))
            }
        };
        let guard = life.wait_for(operator.locks.lock(&format!("{namespace}/{name}"))).await;
        let api: Api<Lean<CredentialReset>> = Api::namespaced(operator.client.clone(), &namespace);
        // An object that is being deleted requests nothing any more, however long a finalizer keeps it.
        let object = api.get_opt(&name).await?.map(|Lean(object)| object);
        let mut object = object.filter(|object| object.metadata.deletion_timestamp.is_none());
        let request = match &object {
            None => None,
            Some(object) => match object.request() {
                Ok(request) => Some(request),
                Err(wrong) => {
                    let view =
                        View::new(Reason::NotSupported, format!("{wrong}: nothing is sent. File a valid request."));
                    operator.statuses.show(object.clone(), &view).await?;
                    None
                }
            },
        };
        // The object of that name may no longer be the one that the record is about.
        let own = |request: &Request| {
            record
                .as_ref()
                .is_none_or(|r| r.spec.request.digest == request.digest() && r.spec.request.key == request.key())
        };
        let subject = match request.filter(own) {
            Some(request) => {
                let shown = object.as_ref().map(CredentialReset::status_summary).unwrap_or_default();
                Subject::Object { request: Box::new(request), status: shown }
            }
            None if record.is_some() => {
                object = None;
                Subject::Gone
            }
            None => return Ok(None),
        };
        // An object whose status is settled gets no further status. An open record is finished without it.
        let subject = match (subject, &record) {
            (Subject::Object { status: shown, .. }, Some(_)) if shown.is_settled() => {
                object = None;
                Subject::Gone
            }
            (subject, _) => subject,
        };
        let process = Process { holder: operator.holder.clone(), attempt: new_attempt_id() };
        let world = World::new(Timestamp::now(), process, subject);
        let mut reconcile = Self { world, reading: Reading::new(term, life), object, password: None };
        if record.is_some() {
            let record = reconcile.reading.adopt_record(record).await?;
            reconcile.world.record_read(record);
        }
        Ok(Some((reconcile, guard)))
    }

    /// Whether the clock is right. If not, the term ends: with a wrong clock every deadline might seem past, so the
    /// next leader decides. A process that alone knows the reply to its call waits here until the clock is right.
    async fn clock_is_right(&self) -> bool {
        while !self.reading.term.operator.clock.is_right() {
            self.reading.term.leadership.lost.cancel();
            if self.world.own.attempt.is_none() {
                return false;
            }
            tokio::time::sleep(CLOCK_RECHECK).await;
            self.reading.life.progress();
        }
        true
    }

    /// Updates what changes between two decisions without a read: the time, the limits, and this process's own attempt.
    pub(super) fn refresh(&mut self) {
        let Term { operator, leadership, .. } = &*self.reading.term;
        self.world.now = Timestamp::now();
        operator.ledger.add_history(&mut self.world);
        let Seen::Known(record) = &self.world.ledger.record else { return };
        self.world.own.may_sign_in = operator.ledger.attempts.may_sign_in(record);
        let own = operator.ledger.attempts.own(record, leadership.is_held());
        self.world.own_attempt(own);
    }
}

/// An id for a new attempt: 128 random bits in hex. It is unique, not secret.
pub(super) fn new_attempt_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}
