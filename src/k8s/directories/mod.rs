//! The Directories. Each is checked at the start, on change and every few minutes, and the result is written into its status.
mod check;
mod status;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::PartialObjectMeta,
    runtime::{WatchStreamExt, watcher},
};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};

use super::{
    events::Events,
    identity::OwnAccount,
    lean::{Guarded, Lean, PAGE},
    liveness::Life,
    lock,
    metrics::Metrics,
    no_answer,
    secrets::{PASSWORD_LABEL, Secrets},
};
use crate::{
    api::Directory,
    core::{
        call::Reply,
        directory::DirectoryFacts,
        seen::{Seen, Why},
    },
    directory::{NotReady, Provider},
    mail::Mailer,
};

/// A Directory with its connection.
#[derive(Clone, Debug)]
pub struct Connected {
    /// The facts that decisions use.
    pub facts: DirectoryFacts,
    /// The connection, if the object describes one.
    pub provider: Option<Arc<Provider>>,
    /// The connection to the mail server, if the object describes one.
    pub mailer: Option<Arc<Mailer>>,
}

/// Uid and generation of a Directory object: its own status writes change neither.
type Version = (Option<String>, Option<i64>);

/// What this process keeps of a Directory.
#[derive(Debug)]
struct Entry {
    connected: Connected,
    version: Version,
    triggers: Arc<Triggers>,
    /// Names of the Secrets that it names.
    secrets: BTreeSet<String>,
    /// resourceVersion of the Secret with the credentials of its connection.
    secret_version: String,
    refusal: Option<Refusal>,
    /// Checks it until aborted.
    task: JoinHandle<()>,
}

/// What wakes the task that checks a Directory.
#[derive(Debug, Default)]
struct Triggers {
    /// To check it now.
    check: Notify,
    /// The Directories with the same identity have changed: to write the status again.
    identity: Notify,
    /// A Secret that it names was written: to check it if the credentials have changed.
    secret: Notify,
}

/// A refusal of a call by the directory.
#[derive(Clone, Debug)]
struct Refusal {
    code: String,
    at: Timestamp,
    /// resourceVersion of the Secret with the refused credentials.
    secret_version: String,
    /// Why nothing more may be sent with these credentials. `None`: the refusal does not stop the Directory.
    stop: Option<NotReady>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All Directories.
pub struct Directories {
    client: Client,
    secrets: Secrets,
    /// Signs the operator in where a Directory names no Secret.
    identity: Arc<OwnAccount>,
    events: Events,
    metrics: Metrics,
    life: Life,
    /// By name. `None`: they were not listed yet.
    entries: Mutex<Option<HashMap<String, Entry>>>,
    /// Gets the name of each Directory that has changed.
    changed: mpsc::UnboundedSender<String>,
}

impl Directories {
    /// They are not known before [`Directories::run`]. `changed` gets the name of each Directory that has changed.
    #[must_use]
    pub fn new(
        client: Client,
        secrets: Secrets,
        events: Events,
        metrics: Metrics,
        life: Life,
        changed: mpsc::UnboundedSender<String>,
    ) -> Arc<Self> {
        let identity = Arc::new(OwnAccount::new(client.clone(), secrets.namespace()));
        Arc::new(Self { client, secrets, identity, events, metrics, life, entries: Mutex::default(), changed })
    }

    fn with_entries<T>(&self, f: impl FnOnce(&mut Option<HashMap<String, Entry>>) -> T) -> T {
        f(&mut lock(&self.entries))
    }

    fn with_entry<T>(&self, name: &str, f: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.with_entries(|entries| entries.as_mut()?.get_mut(name).map(f))
    }

    /// The other Directories with this identity.
    fn same_identity(&self, name: &str, identity: &str) -> BTreeSet<String> {
        self.with_entries(|entries| {
            let others = entries.iter().flatten().filter(|(other, entry)| {
                *other != name && !identity.is_empty() && entry.connected.facts.identity == identity
            });
            others.map(|(other, _)| other.clone()).collect()
        })
    }

    /// Has the other Directories with this identity write their status again, since the Directories with it have changed.
    /// They are not checked for that: of many that share a directory, a change of one would make all others call it.
    fn notify_same_identity(&self, name: &str, identity: &str) {
        for other in self.same_identity(name, identity) {
            self.with_entry(&other, |entry| entry.triggers.identity.notify_one());
        }
    }

    /// Removes the Directory `name`, which was deleted.
    fn remove(&self, name: &str) {
        let removed = self.with_entries(|entries| entries.get_or_insert_default().remove(name));
        if let Some(removed) = removed {
            self.notify_same_identity(name, &removed.connected.facts.identity);
        }
        self.metrics.remove_directory(name);
        self.notify(name);
    }

    /// The facts of the Directory `name`.
    #[must_use]
    pub fn facts(&self, name: &str) -> Seen<DirectoryFacts> {
        self.with_entries(|entries| match entries {
            None => Seen::Unknown(Why::new("the Directories are still being read.")),
            Some(entries) => entries.get(name).map_or(Seen::Absent, |e| Seen::Known(e.connected.facts.clone())),
        })
    }

    /// The facts of the Directory `name`, unless the object at the API server has changed: a watch may lag behind, or have failed.
    pub async fn newest(&self, name: &str) -> Seen<DirectoryFacts> {
        let api: Api<Directory> = Api::all(self.client.clone());
        match api.get_metadata_opt(name).await {
            Ok(None) => Seen::Absent,
            Ok(Some(object))
                if self.with_entry(name, |entry| entry.version == (object.uid(), object.metadata.generation))
                    == Some(true) =>
            {
                self.facts(name)
            }
            Ok(Some(_)) => Seen::Unknown(Why::new("it has just been changed.")),
            Err(_) => Seen::Unknown(no_answer()),
        }
    }

    /// The Directory `name` with its connection. `None`: there is no such Directory.
    #[must_use]
    pub fn connected(&self, name: &str) -> Option<Connected> {
        self.with_entry(name, |entry| entry.connected.clone())
    }

    /// A connected Directory with this identity: after an object was renamed, its records still find their directory.
    #[must_use]
    pub fn by_identity(&self, identity: &str) -> Option<Connected> {
        self.with_entries(|entries| {
            let all = entries.as_ref()?;
            all.values().map(|e| &e.connected).find(|c| c.facts.identity == identity && c.provider.is_some()).cloned()
        })
    }

    /// Publishes a warning Event about the Directory `name`.
    pub fn publish_event(&self, name: &str, reason: &str, message: &str) {
        let uid = self.with_entry(name, |entry| entry.version.0.clone()).flatten();
        let reference = ObjectReference {
            api_version: Some(Directory::api_version(&()).into_owned()),
            kind: Some(Directory::kind(&()).into_owned()),
            name: Some(name.to_owned()),
            uid,
            ..ObjectReference::default()
        };
        self.events.publish_to(reference, reason, message, true);
    }

    /// Has the Directory `name` checked now.
    pub fn check_now(&self, name: &str) {
        self.with_entry(name, |entry| entry.triggers.check.notify_one());
    }

    /// Takes the reply to a call by `provider`, the connection of the Directory `name`. If the directory
    /// refuses it for a cause that no check can find, nothing more is sent from now on.
    pub fn record_reply(&self, name: &str, provider: &Arc<Provider>, reply: &Reply) {
        let stopped = self.with_entry(name, |entry| {
            let current = entry.connected.provider.as_ref().is_some_and(|current| Arc::ptr_eq(current, provider));
            match reply {
                _ if !current => return false,
                Reply::Denied { code } => {
                    let stop = provider.stopped_by(code);
                    if let Some(why) = &stop {
                        entry.connected.facts.not_ready = Some(why.to_string());
                    }
                    let stopped = stop.is_some();
                    let (code, secret_version) = (code.clone(), entry.secret_version.clone());
                    // The reply to a concurrent call does not replace a refusal that stops the Directory.
                    let keep =
                        entry.refusal.as_ref().is_some_and(|r| r.stop.is_some() && r.secret_version == secret_version);
                    if keep && !stopped {
                        return false;
                    }
                    entry.refusal = Some(Refusal { code, at: Timestamp::now(), secret_version, stop });
                    entry.triggers.check.notify_one();
                    return stopped;
                }
                Reply::NotSent | Reply::Throttled { .. } | Reply::Unsure => {}
                Reply::Done
                | Reply::NoSuchUser
                | Reply::Rejected { .. }
                | Reply::PasswordRefused { .. }
                | Reply::Conflict
                | Reply::Outdated => {
                    if entry.refusal.take_if(|refusal| refusal.stop.is_none()).is_some() {
                        entry.triggers.check.notify_one();
                    }
                }
            }
            false
        });
        if stopped == Some(true) {
            self.notify(name);
        }
    }

    /// Ends all checks. The connections stay for the calls in flight.
    pub fn abort_checks(&self) {
        self.with_entries(|entries| {
            entries.iter_mut().flat_map(HashMap::values_mut).for_each(|entry| entry.task.abort());
        });
    }

    /// Follows the Directory objects, and the Secrets they name, until dropped.
    pub async fn run(self: Arc<Self>) {
        let all = watcher::Config::default().page_size(PAGE);
        let objects = watcher(Api::<Guarded<Directory>>::all(self.client.clone()), all).default_backoff();
        let others = watcher::Config::default().labels(&format!("!{PASSWORD_LABEL}"));
        let secrets: Api<PartialObjectMeta<Secret>> = self.secrets.own_metadata();
        let secrets = watcher(secrets, others).default_backoff();
        tokio::join!(self.follow_objects(objects), self.follow_secrets(secrets));
    }

    async fn follow_objects(
        self: &Arc<Self>,
        events: impl Stream<Item = watcher::Result<watcher::Event<Guarded<Directory>>>>,
    ) {
        let mut events = std::pin::pin!(events);
        let mut listed: Option<Vec<Guarded<Directory>>> = None;
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => listed = Some(Vec::new()),
                Ok(watcher::Event::InitApply(object)) => listed.get_or_insert_default().push(object),
                Ok(watcher::Event::InitDone) => {
                    let objects = listed.take().unwrap_or_default();
                    let names: BTreeSet<String> = objects.iter().map(ResourceExt::name_any).collect();
                    let old: Vec<String> =
                        self.with_entries(|entries| entries.get_or_insert_default().keys().cloned().collect());
                    old.iter().filter(|name| !names.contains(*name)).for_each(|name| self.remove(name));
                    for object in objects {
                        self.apply(object);
                    }
                }
                Ok(watcher::Event::Apply(object)) => self.apply(object),
                Ok(watcher::Event::Delete(object)) => self.remove(&object.name_any()),
                Err(error) => {
                    self.metrics.count_error("watch");
                    tracing::warn!(error = %error, "the watch of Directories failed; retrying");
                }
            }
        }
    }

    async fn follow_secrets(
        &self,
        events: impl Stream<Item = watcher::Result<watcher::Event<PartialObjectMeta<Secret>>>>,
    ) {
        let mut events = std::pin::pin!(events.touched_objects());
        while let Some(event) = events.next().await {
            match event {
                Ok(secret) => {
                    let name = secret.name_any();
                    self.with_entries(|entries| {
                        for entry in entries.iter().flat_map(HashMap::values).filter(|e| e.secrets.contains(&name)) {
                            entry.triggers.secret.notify_one();
                        }
                    });
                }
                Err(error) => {
                    self.metrics.count_error("watch");
                    tracing::warn!(error = %error, "the watch of the operator's Secrets failed; retrying");
                }
            }
        }
    }

    /// Reports that the Directory `name` has changed.
    fn notify(&self, name: &str) {
        // Fails only while the process ends.
        let _ = self.changed.send(name.to_owned());
    }

    /// Takes over a Directory object. If it is new or its spec has changed, its checks start again.
    fn apply(self: &Arc<Self>, object: Guarded<Directory>) {
        let (name, uid) = (object.name_any(), object.uid());
        let object = match object.0 {
            Ok(Lean(object)) => object,
            Err(unreadable) => {
                unreadable.log::<Directory>();
                self.metrics.set_directory_ready(&name, false);
                let not_ready = Some(format!("the operator cannot read the object: {}.", unreadable.why));
                let facts = DirectoryFacts { not_ready, ..DirectoryFacts::unusable(&name) };
                // Another version than any readable object has: a status alone can make it readable again.
                return self.replace(&name, (uid, None), facts, BTreeSet::new(), |_| tokio::spawn(async {}));
            }
        };
        let spec = &object.spec;
        let mut secrets: BTreeSet<String> =
            spec.provider.credentials().map(|named| named.secret.clone()).into_iter().collect();
        secrets.extend(spec.mail.iter().filter_map(|mail| Some(mail.smtp.credentials.as_ref()?.secret.clone())));
        let facts = object.settings().map_or_else(
            |wrong| DirectoryFacts { not_ready: Some(wrong), ..DirectoryFacts::unusable(&name) },
            |facts| DirectoryFacts { not_ready: Some("it is being checked.".to_owned()), ..facts },
        );
        let version = (uid, object.meta().generation);
        self.replace(&name, version, facts, secrets, |triggers| {
            tokio::spawn(Arc::clone(self).keep_checking(object, triggers))
        });
    }

    /// Replaces the entry of the Directory `name`, unless it has this version. `check` starts the task that checks it.
    fn replace(
        &self,
        name: &str,
        version: Version,
        facts: DirectoryFacts,
        secrets: BTreeSet<String>,
        check: impl FnOnce(Arc<Triggers>) -> JoinHandle<()>,
    ) {
        let new = self.with_entries(|entries| {
            let entries = entries.get_or_insert_default();
            if entries.get(name).is_some_and(|old| old.version == version) {
                return false;
            }
            let triggers = Arc::new(Triggers::default());
            let task = check(Arc::clone(&triggers));
            let connected = Connected { facts, provider: None, mailer: None };
            let (secret_version, refusal) = (String::new(), None);
            entries.insert(
                name.to_owned(),
                Entry { connected, version, triggers, secrets, secret_version, refusal, task },
            );
            true
        });
        if new {
            self.notify(name);
        }
    }
}
