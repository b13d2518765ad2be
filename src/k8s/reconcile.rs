//! Load, decide, carry out: until the core says rest. No policy is here.
use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{Api, Client};
use secrecy::SecretString;
use tokio::sync::OwnedMutexGuard;

use super::{
    clock::Clock,
    directories::Directories,
    events::Events,
    lean::Lean,
    lease::Leadership,
    ledger::{Ledger, Locks},
    life::{Life, Work},
    metrics::Metrics,
    secrets::Secrets,
    status,
};
use crate::{
    api::{CredentialReset, CredentialResetRecord},
    core::{
        Decision, Effect, Next, Reason, View, World, decide,
        request::Request,
        world::{Me, Seen, Subject},
    },
    directory::password,
};

/// More decisions than any reset needs: an end to a loop that should not be.
const MOST: usize = 64;
/// Between two looks whether a clock that was wrong is right again.
const CLOCK: Duration = Duration::from_secs(1);

/// What all work of this process shares.
pub struct Operator {
    /// For what has no adapter of its own.
    pub client: Client,
    /// The ledger.
    pub ledger: Ledger,
    /// Passwords in Secrets.
    pub secrets: Secrets,
    /// Events.
    pub events: Events,
    /// Counters.
    pub metrics: Metrics,
    /// Signs of life.
    pub life: Life,
    /// This machine's clock, as it compares.
    pub clock: Clock,
    /// One task at a time for each request and each record.
    pub locks: Locks,
    /// This process, unlike any other before or after it.
    pub holder: String,
}

/// A term of leadership.
pub struct Term {
    /// The process.
    pub operator: Arc<Operator>,
    /// Its lease.
    pub leadership: Leadership,
    /// The directories, as this term sees them.
    pub directories: Arc<Directories>,
}

/// What to work on.
#[derive(Clone, Debug)]
pub enum Item {
    /// The request of this namespace and name.
    Request(String, String),
    /// The record of this name, whether or not its request's object is still there.
    Record(String),
}

/// Why work stopped short. It is taken up again a little later.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server did not answer, or refused.
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    /// The random numbers of the operating system are not to be had.
    #[error("no password could be drawn: {0}")]
    Random(#[from] password::Error),
    /// A defect of this program.
    #[error("the decision did not come to rest")]
    Restless,
}

impl Error {
    /// For metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Api(_) => "api",
            Self::Random(_) => "random",
            Self::Restless => "restless",
        }
    }
}

/// Carries an item as far as it goes now; returns when to look again.
///
/// # Errors
/// Why it stopped short.
pub async fn reconcile(term: &Arc<Term>, item: &Item) -> Result<Next, Error> {
    let Some((mut run, _guard)) = Run::load(Arc::clone(term), item).await? else { return Ok(Next::Never) };
    for _ in 0..MOST {
        run.life.goes_on();
        if !run.right_time().await {
            return Ok(Next::Never);
        }
        run.look_around();
        match decide(&run.world) {
            Decision::Read(fact) => run.read(fact).await?,
            // A new attempt is the leader's business; what is under way is finished in any case.
            Decision::Do(Effect::StorePassword { .. } | Effect::Open(_) | Effect::TakeOver(_))
                if !term.leadership.held() =>
            {
                return Ok(Next::Never);
            }
            Decision::Do(effect) => run.carry_out(effect).await?,
            Decision::Rest { view, next } => {
                if let Some(view) = view {
                    // That there is no record may have changed since this process led.
                    if view.record.is_none() && !term.leadership.held() {
                        return Ok(Next::Never);
                    }
                    run.show(&view).await?;
                }
                return Ok(next);
            }
        }
    }
    Err(Error::Restless)
}

/// One item's work, with what was read for it.
pub(super) struct Run {
    pub(super) term: Arc<Term>,
    pub(super) life: Work,
    pub(super) world: World,
    pub(super) object: Option<CredentialReset>,
    pub(super) record: Option<CredentialResetRecord>,
    pub(super) record_lock: Option<(String, OwnedMutexGuard<()>)>,
    /// What somebody entered, as it was found usable.
    pub(super) entered: Option<SecretString>,
    /// The password of the attempt.
    pub(super) password: Option<SecretString>,
}

impl Run {
    async fn load(term: Arc<Term>, item: &Item) -> Result<Option<(Self, OwnedMutexGuard<()>)>, Error> {
        let operator = &term.operator;
        let life = operator.life.work();
        let (namespace, name, record) = match item {
            Item::Request(namespace, name) => (namespace.clone(), name.clone(), None),
            Item::Record(name) => {
                let Some(object) = operator.ledger.get(name).await? else { return Ok(None) };
                let origin = object.spec.request.clone();
                (origin.namespace.clone(), origin.name.clone(), Some(object))
            }
        };
        let guard = life.waits(operator.locks.lock(&format!("{namespace}/{name}"))).await;
        let api: Api<Lean<CredentialReset>> = Api::namespaced(operator.client.clone(), &namespace);
        // One that is being deleted asks for nothing any more, however long somebody's finalizer keeps it.
        let object = api.get_opt(&name).await?.map(|Lean(object)| object);
        let mut object = object.filter(|object| object.metadata.deletion_timestamp.is_none());
        let request = match &object {
            None => None,
            Some(object) => match object.request() {
                Ok(request) => Some(request),
                Err(wrong) => {
                    let view = View::new(
                        Reason::NotSupported,
                        format!("{wrong}: nothing was sent. File a request that is right."),
                    );
                    status::show(&operator.client, &operator.events, &operator.metrics, object.clone(), &view).await?;
                    None
                }
            },
        };
        // The object of that name may be another one than the record's by now.
        let own = |request: &Request| {
            record
                .as_ref()
                .is_none_or(|r| r.spec.request.digest == request.digest() && r.spec.request.key == request.key())
        };
        let subject = match request.filter(own) {
            Some(request) => {
                let shown = object.as_ref().map(CredentialReset::shown).unwrap_or_default();
                Subject::Object { request: Box::new(request), shown }
            }
            None if record.is_some() => {
                object = None;
                Subject::Gone
            }
            None => return Ok(None),
        };
        // An object whose status is settled has been told everything; a record that still moves is finished without it.
        let subject = match (subject, &record) {
            (Subject::Object { shown, .. }, Some(_)) if shown.is_settled() => {
                object = None;
                Subject::Gone
            }
            (subject, _) => subject,
        };
        let me = Me { holder: operator.holder.clone(), attempt: fresh_attempt() };
        let world = World::new(Timestamp::now(), me, subject);
        let mut run =
            Self { term, life, world, object, record: None, record_lock: None, entered: None, password: None };
        if let Some(object) = record {
            run.found(Some(object)).await?;
        }
        Ok(Some((run, guard)))
    }

    /// Nothing is decided by a clock that is wrong: everything would be over. The term ends, and whoever leads next looks at it. What
    /// this process alone knows of an attempt of its own waits until the clock is right.
    async fn right_time(&self) -> bool {
        while !self.term.operator.clock.is_right() {
            self.term.leadership.lost.cancel();
            if self.world.holding.is_none() {
                return false;
            }
            tokio::time::sleep(CLOCK).await;
            self.life.goes_on();
        }
        true
    }

    /// What may have changed since the last decision without anything having been read.
    pub(super) fn look_around(&mut self) {
        self.world.now = Timestamp::now();
        self.term.operator.ledger.look_back(&mut self.world);
        let Seen::Known(record) = &self.world.record else { return };
        let leading = self.term.leadership.held();
        self.world.may_sign_in = self.term.operator.ledger.may_sign_in(record);
        if let Some((holding, progress)) = self.term.operator.ledger.holding(record, leading) {
            // What an earlier reconcile has done; this one knows better what it does itself.
            if self.world.holding.is_none() {
                self.world.progress = progress;
            }
            self.world.holding = Some(holding);
        }
    }
}

/// 128 random bits in hex: no secret, but nobody else's either.
pub(super) fn fresh_attempt() -> String {
    format!("{:032x}", rand::random::<u128>())
}
