//! Reading what a decision asks for. What cannot be read is Unknown, with the reason.
use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt};

use super::{
    approvals,
    directories::Connected,
    metrics::ok,
    reconcile::{Error, Run},
    silent,
};
use crate::{
    api::CredentialResetRecord,
    core::{
        Fact, Request,
        ledger::{Evidence, record_name},
        request::{Action, Mode, Source, UserRef},
        world::{self, Entered, Found, Proof, Seen, Settlement, Why},
    },
};

impl Run {
    /// A record was read or written. It is worked on by one task at a time, and read again once it is this one's turn.
    pub(super) async fn found(&mut self, object: Option<CredentialResetRecord>) -> Result<(), Error> {
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

    pub(super) fn took(&mut self, object: CredentialResetRecord) {
        let record = object.record();
        if self.world.record != Seen::Known(record.clone()) {
            self.world.proof = Seen::Unread;
        }
        // Kept until the outcome is known; then it goes.
        if self.world.stored.is_none() && record.needs_password() {
            self.world.stored.clone_from(&record.attempt.secret);
        }
        self.world.record = Seen::Known(record);
        self.record = Some(object);
    }

    /// Returns whether it had to be taken now.
    pub(super) async fn lock_record(&mut self, name: &str) -> bool {
        if self.record_lock.as_ref().is_some_and(|(held, _)| held == name) {
            return false;
        }
        self.record_lock = None;
        let lock = self.life.waits(self.term.operator.locks.lock(name)).await;
        self.record_lock = Some((name.to_owned(), lock));
        true
    }

    pub(super) fn request(&self) -> Option<&Request> {
        self.world.subject.request()
    }

    /// The Directory of the request, or of the record once there is one.
    pub(super) fn directory(&self) -> Option<Connected> {
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

    pub(super) async fn read(&mut self, fact: Fact) -> Result<(), Error> {
        let operator = Arc::clone(&self.term.operator);
        let request = match fact {
            // Of a record, whether or not its object is still there.
            Fact::Proof => {
                self.world.proof = self.proof().await;
                return Ok(());
            }
            Fact::Superseded => {
                self.world.superseded = self.superseded().await;
                return Ok(());
            }
            Fact::Settlements => {
                self.world.settlements = self.settlements().await;
                return Ok(());
            }
            _ => self.request().cloned().ok_or(Error::Restless)?,
        };
        match fact {
            Fact::Record => {
                self.world.looked = Some(Timestamp::now());
                self.world.record_by_name = Seen::Unread;
                let found = operator.ledger.find(&request.key()).await?;
                self.found(found).await?;
            }
            Fact::RecordByName => {
                let (Seen::Known(directory), Seen::Known(Found::One(user))) = (&self.world.directory, &self.world.user)
                else {
                    return Err(Error::Restless);
                };
                let name = record_name(&directory.identity, &user.id.id, request.mode(), request.requested_at);
                // Locked before it is looked for, so that of two requests for the same thing one makes it and one finds it.
                self.lock_record(&name).await;
                match operator.ledger.get(&name).await? {
                    Some(object) => self.took(object),
                    None => self.world.record_by_name = Seen::Absent,
                }
            }
            // Of what has begun the brake counts at once.
            Fact::Directory if self.record.is_some() => self.world.directory = self.newest_directory().await,
            Fact::Directory => self.world.directory = self.term.directories.facts(&request.directory),
            Fact::NamespaceLabels => self.world.namespace_labels = self.namespace_labels(&request.namespace).await,
            Fact::User => self.world.user = self.find(&request.user, request.mode()).await,
            Fact::Entered => {
                let Action::Password { source: Source::FromSecret { name, key }, .. } = &request.action else {
                    return Err(Error::Restless);
                };
                self.world.entered = match operator.secrets.entered(&request.namespace, name, key).await {
                    Ok(password) => {
                        self.entered = Some(password);
                        Seen::Known(Entered::Usable)
                    }
                    Err(seen) => seen,
                };
            }
            Fact::Delivery => {
                let Action::Password { deliver_to: Some(name), .. } = &request.action else {
                    return Err(Error::Restless);
                };
                (self.world.delivery, self.world.taken_at) = operator.secrets.delivery(&request.namespace, name).await;
            }
            Fact::Approvals => self.world.approvals = approvals::read(&operator.client, &request).await,
            Fact::Proof | Fact::Superseded | Fact::Settlements => {}
        }
        Ok(())
    }

    /// The Directory of the request, if what is known of it is what the API server has: a watch may lag behind.
    pub(super) async fn newest_directory(&self) -> Seen<world::Directory> {
        let Some(request) = self.request() else { return Seen::Unread };
        self.term.directories.newest(&request.directory).await
    }

    pub(super) async fn namespace_labels(&self, name: &str) -> Seen<BTreeMap<String, String>> {
        let api: Api<Namespace> = Api::all(self.term.operator.client.clone());
        match api.get_metadata_opt(name).await {
            Ok(Some(namespace)) => Seen::Known(namespace.labels().clone()),
            Ok(None) => Seen::Absent,
            Err(_) => Seen::Unknown(silent()),
        }
    }

    pub(super) async fn find(&self, user: &UserRef, mode: Mode) -> Seen<Found> {
        let Some(Connected { facts, provider: Some(provider), .. }) = self.directory() else {
            return Seen::Unknown(Why::new("the Directory has no connection yet."));
        };
        self.life.goes_on();
        let metrics = &self.term.operator.metrics;
        let found = metrics.timed(&facts.name, "look-up", provider.look_up(user, mode), ok).await;
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

    pub(super) async fn proof(&mut self) -> Seen<Proof> {
        let Seen::Known(record) = self.world.record.clone() else { return Seen::Absent };
        let secrets = &self.term.operator.secrets;
        if let (Some(delivery), Some(stored)) = (&record.finish.deliver_to, &record.attempt.secret)
            && let Ok(Some(password)) = secrets.stored(stored).await
            && matches!(secrets.delivered(&record, delivery, &password).await, Ok(true))
        {
            return Seen::Known(Proof::Proven(Evidence::Response));
        }
        let Some(Connected { facts, provider: Some(provider), .. }) = self.directory() else {
            return Seen::Unknown(Why::new("there is no Directory with its identity."));
        };
        let replied_at =
            self.world.holding.as_ref().filter(|h| h.attempt == record.attempt.id).and_then(|h| h.replied_at);
        let record = record.given_up(replied_at);
        self.life.goes_on();
        let proof = self.term.operator.metrics.timed(&facts.name, "verify", provider.verify(&record), ok).await;
        match proof {
            Ok(proof) => Seen::Known(proof),
            Err(why) => Seen::Unknown(why),
        }
    }

    /// What people say of the record.
    async fn settlements(&self) -> Seen<Vec<Settlement>> {
        let Seen::Known(record) = &self.world.record else { return Seen::Absent };
        let operator = &self.term.operator;
        let all = match operator.ledger.settlements_of(&record.name).await {
            Ok(all) if all.is_empty() => return Seen::Absent,
            Ok(all) => all,
            Err(_) => return Seen::Unknown(silent()),
        };
        match approvals::guarded(&operator.client, &[approvals::SETTLEMENTS], "who has settled it").await {
            Ok(since) => Seen::Known(all.iter().map(|said| said.settlement(since)).collect()),
            Err(why) => Seen::Unknown(why),
        }
    }

    pub(super) async fn superseded(&self) -> Seen<bool> {
        let Seen::Known(record) = &self.world.record else { return Seen::Absent };
        match self.term.operator.ledger.superseded(record).await {
            Ok(superseded) => Seen::Known(superseded),
            Err(_) => Seen::Unknown(silent()),
        }
    }
}
