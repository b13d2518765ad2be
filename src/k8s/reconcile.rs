//! Load, decide, carry out: until the core says rest. No policy is here.
use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{Api, Client, ResourceExt};
use secrecy::SecretString;
use tokio::sync::OwnedMutexGuard;

use super::{
    admin::Metrics,
    directories::{Connected, Directories},
    events::Events,
    lease::Leadership,
    ledger::{Ledger, Locks, Written},
    secrets::Secrets,
    status,
};
use crate::{
    api::{CredentialReset, CredentialResetRecord},
    core::{
        Decision, Effect, Fact, Next, Reason, View, World, decide,
        ledger::{Record, Reply, State},
        plan::Once,
        request::{Action, Request, Source, UserRef},
        world::{Entered, Found, Me, Progress, Proof, Seen, StepState, Subject, Why},
    },
    directory::{mail::Failure, password},
};

/// A call that takes longer than this is told of in the status.
const SLOW: Duration = Duration::from_secs(1);
/// More decisions than any reset needs: an end to a loop that should not be.
const MOST: usize = 64;

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
                    run.show(&view).await?;
                }
                return Ok(next);
            }
        }
    }
    Err(Error::Restless)
}

/// One item's work, with what was read for it.
struct Run {
    term: Arc<Term>,
    world: World,
    object: Option<CredentialReset>,
    record: Option<CredentialResetRecord>,
    record_lock: Option<(String, OwnedMutexGuard<()>)>,
    password: Option<SecretString>,
}

impl Run {
    async fn load(term: Arc<Term>, item: &Item) -> Result<Option<(Self, OwnedMutexGuard<()>)>, Error> {
        let operator = &term.operator;
        let (namespace, name, record) = match item {
            Item::Request(namespace, name) => (namespace.clone(), name.clone(), None),
            Item::Record(name) => {
                let Some(object) = operator.ledger.get(name).await? else { return Ok(None) };
                let origin = object.spec.request.clone();
                (origin.namespace.clone(), origin.name.clone(), Some(object))
            }
        };
        let guard = operator.locks.lock(&format!("{namespace}/{name}")).await;
        let api: Api<CredentialReset> = Api::namespaced(operator.client.clone(), &namespace);
        let mut object = api.get_opt(&name).await?;
        let request = match &object {
            None => None,
            Some(object) => match object.request() {
                Ok(request) => Some(request),
                Err(wrong) => {
                    let view = View::new(
                        Reason::NotSupported,
                        format!("{wrong}: nothing was sent. File a request that is right."),
                    );
                    status::show(&operator.client, &operator.events, object.clone(), &view).await?;
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
        let mut run = Self { term, world, object, record: None, record_lock: None, password: None };
        if let Some(object) = record {
            run.found(Some(object)).await?;
        }
        Ok(Some((run, guard)))
    }

    /// What may have changed since the last decision without anything having been read.
    fn look_around(&mut self) {
        let ledger = &self.term.operator.ledger;
        self.world.now = Timestamp::now();
        self.world.past = ledger.past(self.world.now);
        if let Some((holding, progress)) =
            self.record.as_ref().and_then(|object| ledger.holding(&object.record(), self.term.leadership.held()))
        {
            // What an earlier reconcile has done; this one knows better what it does itself.
            if self.world.holding.is_none() {
                self.world.progress = progress;
            }
            self.world.holding = Some(holding);
        }
    }

    /// A record was read or written. It is worked on by one task at a time, and read again once it is this one's turn.
    async fn found(&mut self, object: Option<CredentialResetRecord>) -> Result<(), Error> {
        let Some(mut object) = object else {
            self.record = None;
            self.world.record = Seen::Absent;
            return Ok(());
        };
        if self.lock_record(&object.name_any()).await {
            match self.term.operator.ledger.get(&object.name_any()).await? {
                Some(fresh) => object = fresh,
                None => return Box::pin(self.found(None)).await,
            }
        }
        self.took(object);
        Ok(())
    }

    fn took(&mut self, object: CredentialResetRecord) {
        let record = object.record();
        if self.world.record != Seen::Known(record.clone()) {
            self.world.proof = Seen::Unread;
        }
        // Kept until the outcome is known; then it goes.
        if self.world.stored.is_none() && matches!(record.state, State::Sent | State::Changed | State::Unknown) {
            self.world.stored.clone_from(&record.attempt.secret);
        }
        self.world.record = Seen::Known(record);
        self.record = Some(object);
    }

    /// Returns whether it had to be taken now.
    async fn lock_record(&mut self, name: &str) -> bool {
        if self.record_lock.as_ref().is_some_and(|(held, _)| held == name) {
            return false;
        }
        self.record_lock = None;
        self.record_lock = Some((name.to_owned(), self.term.operator.locks.lock(name).await));
        true
    }

    fn request(&self) -> Option<&Request> {
        self.world.subject.request()
    }

    /// The Directory of the request, or of the record once there is one.
    fn directory(&self) -> Option<Connected> {
        match (&self.record, self.request()) {
            (Some(object), _) => {
                let named = self.term.directories.connected(&object.spec.directory);
                named
                    .filter(|d| d.facts.identity == object.spec.directory_identity)
                    .or_else(|| self.term.directories.by_identity(&object.spec.directory_identity))
            }
            (None, Some(request)) => self.term.directories.connected(&request.directory),
            (None, None) => None,
        }
    }

    async fn read(&mut self, fact: Fact) -> Result<(), Error> {
        let operator = Arc::clone(&self.term.operator);
        let Some(request) = self.request().cloned() else {
            match fact {
                Fact::Proof => self.world.proof = self.proof().await,
                Fact::Superseded => self.world.superseded = self.superseded().await,
                _ => return Err(Error::Restless),
            }
            return Ok(());
        };
        match fact {
            Fact::Record => {
                let found = operator.ledger.find(&request.key()).await?;
                self.found(found).await?;
            }
            Fact::RecordByName => {
                let (Seen::Known(directory), Seen::Known(Found::One(user))) = (&self.world.directory, &self.world.user)
                else {
                    return Err(Error::Restless);
                };
                let name = crate::core::ledger::record_name(
                    &directory.identity,
                    &user.id.id,
                    request.mode(),
                    request.requested_at,
                );
                // Locked before it is looked for, so that of two requests for the same thing one makes it and one finds it.
                self.lock_record(&name).await;
                match operator.ledger.get(&name).await? {
                    Some(object) => self.took(object),
                    None => self.world.record_by_name = Seen::Absent,
                }
            }
            Fact::Directory => self.world.directory = self.term.directories.facts(&request.directory),
            Fact::NamespaceLabels => self.world.namespace_labels = self.namespace_labels(&request.namespace).await,
            Fact::User => self.world.user = self.look_up(&request.user).await,
            Fact::Entered => {
                let Action::Password { source: Source::FromSecret { name, key }, .. } = &request.action else {
                    return Err(Error::Restless);
                };
                self.world.entered = match operator.secrets.entered(&request.namespace, name, key).await {
                    Ok(_) => Seen::Known(Entered::Usable),
                    Err(seen) => seen,
                };
            }
            Fact::Delivery => {
                let Action::Password { deliver_to: Some(name), .. } = &request.action else {
                    return Err(Error::Restless);
                };
                self.world.delivery = operator.secrets.delivery(&request.namespace, name).await;
            }
            Fact::Proof => self.world.proof = self.proof().await,
            Fact::Superseded => self.world.superseded = self.superseded().await,
        }
        Ok(())
    }

    async fn namespace_labels(&self, name: &str) -> Seen<std::collections::BTreeMap<String, String>> {
        let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.term.operator.client.clone());
        match api.get_metadata_opt(name).await {
            Ok(Some(namespace)) => Seen::Known(namespace.labels().clone()),
            Ok(None) => Seen::Absent,
            Err(_) => Seen::Unknown(Why::new("the API server did not answer.")),
        }
    }

    async fn look_up(&self, user: &UserRef) -> Seen<Found> {
        let (Some(request), Some(directory)) = (self.request(), self.directory()) else {
            return Seen::Unknown(Why::new("the Directory has no connection yet."));
        };
        let Some(provider) = &directory.provider else {
            return Seen::Unknown(Why::new("the Directory has no connection yet."));
        };
        let facts = &directory.facts;
        let groups = !facts.protect.groups.is_empty() || facts.allow.iter().any(|rule| !rule.users.groups.is_empty());
        let found = provider.look_up(user, request.mode(), groups).await;
        self.term.operator.metrics.call(&facts.name, "look-up", if found.is_ok() { "ok" } else { "error" });
        match found {
            Ok(Some(found)) => Seen::Known(found),
            Ok(None) => Seen::Absent,
            Err(why) => {
                // Whatever stood in the way concerns the Directory, not this request alone.
                self.term.directories.check_now(&facts.name);
                Seen::Unknown(why)
            }
        }
    }

    async fn proof(&mut self) -> Seen<Proof> {
        let Seen::Known(record) = self.world.record.clone() else { return Seen::Absent };
        let secrets = &self.term.operator.secrets;
        if let (Some(delivery), Some(stored)) = (&record.finish.deliver_to, &record.attempt.secret)
            && let Ok(Some(password)) = secrets.stored(stored).await
            && matches!(secrets.delivered(&record, delivery, &password).await, Ok(true))
        {
            return Seen::Known(Proof::Proven(crate::core::ledger::Evidence::Response));
        }
        let Some(Connected { facts, provider: Some(provider), .. }) = self.directory() else {
            return Seen::Unknown(Why::new("there is no Directory with its identity."));
        };
        let proof = provider.verify(&record).await;
        self.term.operator.metrics.call(&facts.name, "verify", if proof.is_ok() { "ok" } else { "error" });
        match proof {
            Ok(proof) => Seen::Known(proof),
            Err(why) => Seen::Unknown(why),
        }
    }

    async fn superseded(&self) -> Seen<bool> {
        let Seen::Known(record) = &self.world.record else { return Seen::Absent };
        match self.term.operator.ledger.superseded(record).await {
            Ok(superseded) => Seen::Known(superseded),
            Err(_) => Seen::Unknown(Why::new("the API server did not answer.")),
        }
    }

    async fn carry_out(&mut self, effect: Effect) -> Result<(), Error> {
        let operator = Arc::clone(&self.term.operator);
        match effect {
            Effect::StorePassword { attempt, record, source } => {
                let password = match &source {
                    Source::Generate { length } => password::generate(*length)?,
                    Source::FromSecret { name, key } => {
                        let namespace = self.request().map(|r| r.namespace.clone()).unwrap_or_default();
                        match operator.secrets.entered(&namespace, name, key).await {
                            Ok(password) => password,
                            Err(seen) => {
                                self.world.entered = seen;
                                return Ok(());
                            }
                        }
                    }
                };
                self.world.stored = Some(operator.secrets.store(&attempt, &record, &password).await?);
                self.password = Some(password);
            }
            Effect::Open(_) | Effect::TakeOver(_) => self.begin().await?,
            Effect::Send(once) => self.send(once).await?,
            Effect::Write(record) => self.write(&record).await?,
            Effect::Deliver { secret } => {
                let state = match self.password().await? {
                    Some(password) => {
                        let Seen::Known(record) = &self.world.record else { return Err(Error::Restless) };
                        operator.secrets.deliver(record, &secret, &password).await
                    }
                    None => no_password(),
                };
                self.world.progress.deliver = state;
                self.remember_progress();
            }
            Effect::Mail { to } => {
                self.world.progress.mail = self.mail(&to).await?;
                self.remember_progress();
            }
            Effect::DropPassword { secret } => {
                operator.secrets.remove(&secret).await?;
                self.world.stored = None;
                self.password = None;
            }
        }
        Ok(())
    }

    /// Opens the record, or takes it over. Whether there is room within the limits is asked once more, with nobody else
    /// asking at the same time.
    async fn begin(&mut self) -> Result<(), Error> {
        let operator = Arc::clone(&self.term.operator);
        let admission = operator.ledger.admission.lock().await;
        self.look_around();
        let (record, new) = match decide(&self.world) {
            Decision::Do(Effect::Open(record)) => (record, true),
            Decision::Do(Effect::TakeOver(record)) => (record, false),
            _ => return Ok(()),
        };
        let Seen::Known(directory) = &self.world.directory else { return Err(Error::Restless) };
        let timeout = Duration::try_from(directory.limits.request_timeout).unwrap_or_default();
        operator.ledger.hold(&record, timeout);
        drop(admission);
        let written = match (&self.record, new) {
            (Some(object), false) => operator.ledger.take_over(object, &record).await?,
            _ => operator.ledger.open(&record).await?,
        };
        self.written(written);
        Ok(())
    }

    fn written(&mut self, written: Written) {
        match written {
            Written::Stored(object) => self.took(*object),
            Written::Lost(Some(object)) => {
                self.world.holding = None;
                self.took(*object);
            }
            // Deleted by somebody: nothing says any more what happened to it.
            Written::Lost(None) => {
                self.record = None;
                self.world.record = Seen::Absent;
                self.world.record_by_name = Seen::Unread;
                self.world.holding = None;
            }
        }
    }

    async fn send(&mut self, once: Once) -> Result<(), Error> {
        let operator = Arc::clone(&self.term.operator);
        let request = self.request().cloned().ok_or(Error::Restless)?;
        if self.world.user == Seen::Unread {
            self.world.user = self.look_up(&request.user).await;
        }
        let password = self.password().await?;
        let object = self.record.clone().ok_or(Error::Restless)?;
        let attempt = object.spec.attempt.id.clone();
        let (user, directory) = match (&self.world.user, self.directory()) {
            (Seen::Known(Found::One(user)), Some(directory)) if user.id.id == object.spec.user.id => {
                (user.clone(), directory)
            }
            _ => {
                operator.ledger.replied(&attempt, Reply::NotSent);
                return Ok(());
            }
        };
        let (Some(provider), true) = (directory.provider, password.is_some() || once == Once::ResetMfa) else {
            operator.ledger.replied(&attempt, Reply::NotSent);
            return Ok(());
        };
        let Some(fenced) = operator.ledger.fence(&object, &self.term.leadership) else { return Ok(()) };
        let reply = {
            let call = provider.perform(fenced, &once, &user, password.as_ref());
            let mut call = std::pin::pin!(call);
            if let Ok(reply) = tokio::time::timeout(SLOW, &mut call).await {
                reply
            } else {
                let view = View::of(&object.record(), Reason::Executing, "The call to the directory is under way.");
                // The call goes on whatever becomes of the status.
                let (reply, shown) = tokio::join!(call, self.show(&view));
                if let Err(error) = shown {
                    tracing::debug!(error = %error, "the status could not be written");
                }
                reply
            }
        };
        let kind = if once == Once::ResetMfa { "reset-mfa" } else { "reset-password" };
        operator.metrics.call(&directory.facts.name, kind, result_of(&reply));
        tracing::info!(record = object.name_any(), call = kind, result = result_of(&reply), "called the directory");
        if reply == Reply::Denied {
            self.term.directories.check_now(&directory.facts.name);
        }
        operator.ledger.replied(&attempt, reply);
        Ok(())
    }

    /// Replaces the record. What only this process knows must not be lost, so it is tried until it is stored or somebody else
    /// has written the record.
    async fn write(&mut self, record: &Record) -> Result<(), Error> {
        let operator = Arc::clone(&self.term.operator);
        let object = self.record.clone().ok_or(Error::Restless)?;
        let mut pause = Duration::from_millis(100);
        let written = loop {
            match operator.ledger.write(&object, record).await {
                Ok(written) => break written,
                Err(error) if !operator.ledger.holds(record) => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(record = record.name, error = %error, "the record could not be written; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
            }
        };
        if let Written::Stored(object) = &written {
            let record = object.record();
            tracing::info!(record = record.name, state = ?record.state, evidence = ?record.evidence, "wrote the record");
            if record.state == State::Released || record.state.is_settled() {
                self.world.holding = None;
                self.world.progress = Progress::default();
                self.world.me.attempt = fresh_attempt();
            }
            if record.state.is_settled() || record.state == State::Unknown {
                operator.metrics.settled(&record);
            }
        }
        self.written(written);
        Ok(())
    }

    fn remember_progress(&self) {
        if let Seen::Known(record) = &self.world.record {
            self.term.operator.ledger.progressed(&record.attempt.id, &self.world.progress);
        }
    }

    /// The password of the record's attempt.
    async fn password(&mut self) -> Result<Option<SecretString>, Error> {
        let Some(name) = self.record.as_ref().and_then(|object| object.spec.attempt.secret.clone()) else {
            return Ok(None);
        };
        if self.password.is_none() || self.world.stored.as_ref() != Some(&name) {
            self.password = self.term.operator.secrets.stored(&name).await?;
        }
        Ok(self.password.clone())
    }

    async fn mail(&mut self, to: &str) -> Result<StepState, Error> {
        let Some(password) = self.password().await? else { return Ok(no_password()) };
        let Seen::Known(record) = &self.world.record else { return Err(Error::Restless) };
        let Some(mailer) = self.directory().and_then(|d| d.mailer) else {
            return Ok(StepState::Failed(
                "the mail could not be sent: the Directory has no usable spec.mail.".to_owned(),
            ));
        };
        Ok(match mailer.send(to, &record.user.name, &password).await {
            Ok(()) => StepState::Done,
            Err(Failure::Temporary(why)) => StepState::Failed(format!("the mail could not be sent: {why}")),
            Err(Failure::Permanent(why)) => StepState::Impossible(format!("the mail was not sent: {why}")),
        })
    }

    async fn show(&self, view: &View) -> kube::Result<()> {
        if let Some(object) = &self.object {
            let operator = &self.term.operator;
            status::show(&operator.client, &operator.events, object.clone(), view).await?;
        }
        Ok(())
    }
}

fn no_password() -> StepState {
    StepState::Impossible(
        "the password could not be delivered: its Secret in the operator's namespace is gone. File a new request."
            .to_owned(),
    )
}

fn result_of(reply: &Reply) -> &'static str {
    match reply {
        Reply::Done => "done",
        Reply::NotSent => "not-sent",
        Reply::Throttled { .. } => "throttled",
        Reply::Denied => "denied",
        Reply::NoSuchUser => "no-such-user",
        Reply::Rejected { .. } => "rejected",
        Reply::Conflict => "conflict",
        Reply::Unsure => "unsure",
    }
}

/// 128 random bits in hex: no secret, but nobody else's either.
fn fresh_attempt() -> String {
    format!("{:032x}", rand::random::<u128>())
}
