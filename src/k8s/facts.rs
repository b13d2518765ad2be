//! Reading the facts that a decision asks for, from the API server and the directory. A fact that
//! cannot be read is Unknown, with the reason.
use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt};
use secrecy::SecretString;
use tokio::sync::OwnedMutexGuard;

use super::{
    admission, approvals,
    directories::Connected,
    liveness::Work,
    metrics::result_class,
    no_answer,
    reconcile::{Error, Term},
};
use crate::{
    api::CredentialResetRecord,
    core::{
        Request,
        approvals::Approval,
        directory::DirectoryFacts,
        driver::Reader,
        finding::Finding,
        record::{Evidence, Record, Settlement},
        seen::{Seen, Why},
        user::LookUp,
        world::{Delivery, SuppliedPassword},
    },
};

/// Reads facts for one reconcile, and keeps what the world does not hold.
pub(super) struct Reading {
    pub(super) term: Arc<Term>,
    pub(super) life: Work,
    /// The object of the record, as last read or written.
    pub(super) record: Option<CredentialResetRecord>,
    /// The name of the record that this reconcile has locked.
    record_lock: Option<(String, OwnedMutexGuard<()>)>,
    /// The supplied password, once it was read and found usable.
    pub(super) supplied: Option<SecretString>,
}

impl Reading {
    pub(super) fn new(term: Arc<Term>, life: Work) -> Self {
        Self { term, life, record: None, record_lock: None, supplied: None }
    }

    /// Makes a record that was read the record of this reconcile. One task at a time works on it: it is
    /// read again after its lock was acquired.
    pub(super) async fn adopt_record(
        &mut self,
        object: Option<CredentialResetRecord>,
    ) -> Result<Option<Record>, Error> {
        self.record = match object {
            Some(object) if self.lock_record(&object.name_any()).await => {
                self.term.operator.ledger.get(&object.name_any()).await?
            }
            found => found,
        };
        Ok(self.record.as_ref().map(CredentialResetRecord::record))
    }

    /// Locks the record of this name. `false`: this reconcile held the lock already.
    async fn lock_record(&mut self, name: &str) -> bool {
        if self.record_lock.as_ref().is_some_and(|(held, _)| held == name) {
            return false;
        }
        self.record_lock = None;
        let lock = self.life.wait_for(self.term.operator.locks.lock(name)).await;
        self.record_lock = Some((name.to_owned(), lock));
        true
    }

    /// The Directory of the record, or of the request while there is no record.
    pub(super) fn connected(&self, request: Option<&Request>) -> Option<Connected> {
        match (&self.record, request) {
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
}

impl Reader for Reading {
    type Error = Error;

    async fn record_by_key(&mut self, request: &Request) -> Result<Option<Record>, Error> {
        let found = self.term.operator.ledger.find(&request.key()).await?;
        self.adopt_record(found).await
    }

    async fn record_by_name(&mut self, name: &str) -> Result<Option<Record>, Error> {
        // Locked before it is read: of two requests for the same thing, one creates the record and the other finds it.
        self.lock_record(name).await;
        let found = self.term.operator.ledger.get(name).await?;
        self.adopt_record(found).await
    }

    async fn directory(&mut self, name: &str, begun: bool) -> Seen<DirectoryFacts> {
        // For an attempt that has started, a pause of the Directory counts at once.
        if begun { self.term.directories.newest(name).await } else { self.term.directories.facts(name) }
    }

    async fn namespace_labels(&mut self, namespace: &str) -> Seen<BTreeMap<String, String>> {
        let api: Api<Namespace> = Api::all(self.term.operator.client.clone());
        match api.get_metadata_opt(namespace).await {
            Ok(Some(namespace)) => Seen::Known(namespace.labels().clone()),
            Ok(None) => Seen::Absent,
            Err(_) => Seen::Unknown(no_answer()),
        }
    }

    async fn user(&mut self, request: &Request) -> Seen<LookUp> {
        let Some(Connected { facts, provider: Some(provider), .. }) = self.connected(Some(request)) else {
            return Seen::Unknown(Why::new("the Directory has no connection yet."));
        };
        self.life.progress();
        let metrics = &self.term.operator.metrics;
        let found =
            metrics.timed(&facts.name, "look-up", provider.look_up(&request.user, request.mode()), result_class).await;
        match found {
            Ok(Some(found)) => Seen::Known(found),
            Ok(None) => Seen::Absent,
            Err(why) => {
                // The cause concerns the Directory, not only this request.
                self.term.directories.check_now(&facts.name);
                Seen::Unknown(why)
            }
        }
    }

    async fn supplied_password(&mut self, namespace: &str, name: &str, key: &str) -> Seen<SuppliedPassword> {
        match self.term.operator.secrets.supplied(namespace, name, key).await {
            Ok(password) => {
                self.supplied = Some(password);
                Seen::Known(SuppliedPassword::Usable)
            }
            Err(seen) => seen,
        }
    }

    async fn delivery(&mut self, request: &Request, name: &str) -> (Seen<Delivery>, Option<Timestamp>) {
        self.term.operator.secrets.delivery(&request.namespace, name).await
    }

    async fn approvals(&mut self, request: &Request) -> Seen<Vec<Approval>> {
        match approvals::read(&self.term.operator.client, request).await {
            Ok(all) => Seen::Known(all),
            Err(unverifiable) => Seen::Unknown(unverifiable.into()),
        }
    }

    async fn finding(&mut self, record: &Record) -> Seen<Finding> {
        let secrets = &self.term.operator.secrets;
        // A delivered password proves that its call was answered: it is delivered only after that.
        if let (Some(delivery), Some(stored)) = (&record.follow_up.deliver_to, &record.attempt.secret)
            && let Ok(Some(stored)) = secrets.stored(stored).await
            && matches!(secrets.delivered(record, delivery, &stored).await, Ok(true))
        {
            return Seen::Known(Finding::Proven(Evidence::Response));
        }
        let Some(Connected { facts, provider: Some(provider), .. }) = self.connected(None) else {
            return Seen::Unknown(Why::new("there is no Directory with its identity."));
        };
        self.life.progress();
        match self.term.operator.metrics.timed(&facts.name, "verify", provider.verify(record), result_class).await {
            Ok(proof) => Seen::Known(proof),
            Err(why) => Seen::Unknown(why),
        }
    }

    async fn superseded(&mut self, record: &Record) -> Seen<bool> {
        match self.term.operator.ledger.superseded(record).await {
            Ok(superseded) => Seen::Known(superseded),
            Err(_) => Seen::Unknown(no_answer()),
        }
    }

    async fn settlements(&mut self, record: &Record) -> Seen<Vec<Settlement>> {
        let operator = &self.term.operator;
        let all = match operator.ledger.settlements_of(&record.name).await {
            Ok(all) if all.is_empty() => return Seen::Absent,
            Ok(all) => all,
            Err(_) => return Seen::Unknown(no_answer()),
        };
        match admission::guarded(&operator.client, &admission::SETTLEMENTS, "who has settled it").await {
            Ok(since) => Seen::Known(all.iter().map(|settlement| settlement.settlement(since)).collect()),
            Err(unverifiable) => Seen::Unknown(unverifiable.into()),
        }
    }
}
