//! How a world changes: by reading the facts that a decision asks for, and by the results of effects. The operator, `credreset plan`,
//! `credreset check`, the search over interleavings and the lives of tests/decide drive the decision with this, each with its own
//! [`Reader`].
use std::{collections::BTreeMap, future::Future};

use jiff::Timestamp;

use super::{
    approvals::Approval,
    call::Reply,
    decision::{Effect, Fact},
    directory::DirectoryFacts,
    finding::Finding,
    record::{Evidence, Record, Settlement, State, record_name},
    request::{Action, PasswordSource, Request},
    seen::{Seen, Why},
    user::LookUp,
    world::{Delivery, Facts, Own, OwnAttempt, Progress, StepState, SuppliedPassword, World},
};

/// Reads facts: one method for each [`Fact`]. A fact that cannot be read is `Unknown`, with the reason. Only for the ledger's record that
/// is an error, since nothing is decided without it.
pub trait Reader: Send {
    /// Why the record cannot be read.
    type Error;

    /// The record with the request's key.
    fn record_by_key(&mut self, request: &Request) -> impl Future<Output = Result<Option<Record>, Self::Error>> + Send;
    /// The record of this name. `None`: no attempt has begun.
    fn record_by_name(&mut self, name: &str) -> impl Future<Output = Result<Option<Record>, Self::Error>> + Send;
    /// The Directory of this name. `begun`: there is a record, so the object that the API server has now counts.
    fn directory(&mut self, name: &str, begun: bool) -> impl Future<Output = Seen<DirectoryFacts>> + Send;
    /// Labels of the namespace.
    fn namespace_labels(&mut self, namespace: &str) -> impl Future<Output = Seen<BTreeMap<String, String>>> + Send;
    /// The user, at the request's directory.
    fn user(&mut self, request: &Request) -> impl Future<Output = Seen<LookUp>> + Send;
    /// The supplied password, in this key of the Secret.
    fn supplied_password(
        &mut self,
        namespace: &str,
        name: &str,
        key: &str,
    ) -> impl Future<Output = Seen<SuppliedPassword>> + Send;
    /// The Secret that is to receive the password, and when it was created.
    fn delivery(
        &mut self,
        request: &Request,
        name: &str,
    ) -> impl Future<Output = (Seen<Delivery>, Option<Timestamp>)> + Send;
    /// The approvals that name the request.
    fn approvals(&mut self, request: &Request) -> impl Future<Output = Seen<Vec<Approval>>> + Send;
    /// What the directory shows of the attempt.
    fn finding(&mut self, record: &Record) -> impl Future<Output = Seen<Finding>> + Send;
    /// Whether a later request of the same user and mode has been applied.
    fn superseded(&mut self, record: &Record) -> impl Future<Output = Seen<bool>> + Send;
    /// The settlements of the record.
    fn settlements(&mut self, record: &Record) -> impl Future<Output = Seen<Vec<Settlement>>> + Send;
}

/// Why a fact was not read.
#[derive(Debug)]
pub enum Unread<E> {
    /// A defect: no decision on such a world asks for this fact.
    Bug(&'static str),
    /// The reader's own error.
    Reader(E),
}

impl<E> From<E> for Unread<E> {
    fn from(error: E) -> Self {
        Self::Reader(error)
    }
}

/// Reads `fact` into `world`.
///
/// # Errors
/// If the record cannot be read, or if no decision on such a world asks for `fact`.
pub async fn read<R: Reader>(world: &mut World, fact: Fact, reader: &mut R) -> Result<(), Unread<R::Error>> {
    match fact {
        Fact::Finding | Fact::Superseded | Fact::Settlements => read_of_record(world, fact, reader).await,
        _ => read_of_request(world, fact, reader).await,
    }
}

/// Reads a fact of the record. Its object may have been deleted.
async fn read_of_record<R: Reader>(world: &mut World, fact: Fact, reader: &mut R) -> Result<(), Unread<R::Error>> {
    let Seen::Known(record) = &world.ledger.record else { return Err(Unread::Bug("a fact of a record, without one")) };
    match fact {
        Fact::Finding => {
            let own = world.own.attempt.as_ref().filter(|own| own.attempt == record.attempt.id);
            let record = record.call_abandoned_at(own.and_then(|own| own.replied_at));
            world.evidence.finding = reader.finding(&record).await;
        }
        Fact::Superseded => world.evidence.superseded = reader.superseded(record).await,
        _ => world.evidence.settlements = reader.settlements(record).await,
    }
    Ok(())
}

async fn read_of_request<R: Reader>(world: &mut World, fact: Fact, reader: &mut R) -> Result<(), Unread<R::Error>> {
    let Some(request) = world.subject.request().cloned() else {
        return Err(Unread::Bug("a fact of a request, without one"));
    };
    match fact {
        Fact::Record => {
            world.ledger.record_looked_up_at = Some(world.now);
            world.ledger.record_by_name = Seen::Unread;
            let found = reader.record_by_key(&request).await?;
            world.record_read(found);
        }
        Fact::RecordByName => {
            let Some(name) = world.name_of_record() else {
                return Err(Unread::Bug("a record by its name, before the user is known"));
            };
            match reader.record_by_name(&name).await? {
                Some(record) => world.record_read(Some(record)),
                None => world.ledger.record_by_name = Seen::Absent,
            }
        }
        Fact::Directory => {
            let begun = matches!(world.ledger.record, Seen::Known(_));
            world.facts.directory = reader.directory(&request.directory, begun).await;
        }
        Fact::NamespaceLabels => world.facts.namespace_labels = reader.namespace_labels(&request.namespace).await,
        Fact::User => world.facts.user = reader.user(&request).await,
        Fact::SuppliedPassword => {
            let Action::Password { source: PasswordSource::FromSecret { name, key }, .. } = &request.action else {
                return Err(Unread::Bug("a supplied password, where none is named"));
            };
            world.facts.supplied_password = reader.supplied_password(&request.namespace, name, key).await;
        }
        Fact::Delivery => {
            let Action::Password { deliver_to: Some(name), .. } = &request.action else {
                return Err(Unread::Bug("a Secret to deliver to, where none is named"));
            };
            (world.facts.delivery, world.facts.taken_at) = reader.delivery(&request, name).await;
        }
        Fact::Approvals => world.facts.approvals = reader.approvals(&request).await,
        Fact::Finding | Fact::Superseded | Fact::Settlements => {}
    }
    Ok(())
}

impl World {
    /// The name of the record that the request has or would have, once the user is known.
    #[must_use]
    pub fn name_of_record(&self) -> Option<String> {
        let (Seen::Known(directory), Seen::Known(LookUp::One(user)), Some(request)) =
            (&self.facts.directory, &self.facts.user, self.subject.request())
        else {
            return None;
        };
        Some(record_name(&directory.identity, &user.id.id, request.mode(), request.requested_at))
    }

    /// Takes in the record as it was read, or as this process wrote it.
    pub fn record_read(&mut self, record: Option<Record>) {
        let record = record.map_or(Seen::Absent, Seen::Known);
        if let Seen::Known(read) = &record {
            if self.ledger.record != record {
                self.evidence.finding = Seen::Unread;
            }
            // The password is kept until the outcome is known.
            if self.own.password_secret.is_none() && read.needs_password() {
                self.own.password_secret.clone_from(&read.attempt.secret);
            }
        }
        self.ledger.record = record;
    }

    /// Takes in that another write came before this process's own: `now` is the record that is stored instead. `None`: the record was
    /// deleted, and nothing shows any more what happened to it.
    pub fn write_lost(&mut self, now: Option<Record>) {
        self.own.attempt = None;
        if now.is_none() {
            self.ledger.record_by_name = Seen::Unread;
        }
        self.record_read(now);
    }

    /// Takes in that this process wrote `record`. If its attempt is over, another may begin as `next_attempt`. All facts are then read
    /// again, since the first attempt may have changed them.
    pub fn record_written(&mut self, record: Record, next_attempt: impl FnOnce() -> String) {
        if record.state == State::Released || record.state.is_settled() {
            let password_secret = self.own.password_secret.take();
            self.own = Own { password_secret, may_sign_in: self.own.may_sign_in, ..Own::default() };
            self.process.attempt = next_attempt();
            self.facts = Facts::default();
        }
        self.record_read(Some(record));
    }

    /// Takes in what this process knows of the record's attempt, if it holds it: its state now, and the progress of the follow-up when an
    /// earlier reconcile ended. Progress of the current reconcile takes precedence.
    pub fn own_attempt(&mut self, own: Option<(OwnAttempt, Progress)>) {
        let Some((attempt, progress)) = own else { return };
        if self.own.attempt.is_none() {
            self.own.progress = progress;
        }
        self.own.attempt = Some(attempt);
    }
}

impl Progress {
    /// The progress that the next reconcile starts from: a step that has failed is tried again.
    #[must_use]
    pub fn lasting(&self) -> Self {
        let lasting = |state: &StepState| match state {
            StepState::Failed(_) => StepState::Pending,
            StepState::Pending | StepState::Done | StepState::Impossible(_) | StepState::Lost(_) => state.clone(),
        };
        Self { deliver: lasting(&self.deliver), after_reset: lasting(&self.after_reset), mail: lasting(&self.mail) }
    }
}

impl Finding {
    /// What the reply to a repeated conditional call proves.
    #[must_use]
    pub fn of_repeat(reply: Reply) -> Seen<Self> {
        match reply {
            Reply::Done => Seen::Known(Self::Proven(Evidence::ConditionalWrite)),
            Reply::Conflict | Reply::Outdated => Seen::Known(Self::PreconditionBroken),
            Reply::Rejected { code } | Reply::PasswordRefused { code } => {
                Seen::Known(Self::Inconclusive(format!("The same call, sent again, was refused: {code}.")))
            }
            Reply::NoSuchUser => Seen::Known(Self::Inconclusive("The directory no longer knows the user.".to_owned())),
            Reply::NotSent | Reply::Throttled { .. } | Reply::Denied { .. } | Reply::Unsure => {
                Seen::Unknown(Why::new("the same call, sent again, got no conclusive reply."))
            }
        }
    }
}

impl Effect {
    /// Whether it begins a new attempt, which only the leader may do. Any process finishes what is under way.
    #[must_use]
    pub fn starts_attempt(&self) -> bool {
        matches!(self, Self::StorePassword { .. } | Self::Open(_) | Self::TakeOver(_))
    }
}
