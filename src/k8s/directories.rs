//! Directories: each is checked at start, on change and every few minutes, and says so in its status.
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{ObjectReference, Secret},
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
    core::PartialObjectMeta,
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};

use super::{
    events::Events,
    lean::{Lean, PAGE},
    life::Life,
    lock,
    metrics::{Metrics, ok},
    secrets::{PASSWORD_LABEL, Secrets},
    silent,
};
use crate::{
    api::{
        Directory,
        directory::{DirectoryStatus, Refused},
    },
    core::{
        ledger::Reply,
        text,
        world::{self, Seen, Why},
    },
    directory::{Checked, Credentials, NotReady, Provider, mail::Mailer},
};

/// Between two checks of a Directory that is Ready.
const EVERY: Duration = Duration::from_secs(180);
/// Between two checks of one that is not: from this, doubling, to the above.
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// The longest of them while it does not answer: nobody will tell when it does again, and requests wait for that.
const DOWN: Duration = Duration::from_secs(30);
/// Condition of a Directory whose identity another has, too; there while it is so.
const SHARED: &str = "IdentityShared";
/// Condition of a Directory that refuses calls with which the check finds nothing wrong; there while it is so.
const CALLS_REFUSED: &str = "CallsRefused";

/// A Directory with its connection.
#[derive(Clone, Debug)]
pub struct Connected {
    /// What decisions may know of it.
    pub facts: world::Directory,
    /// The connection, if the object describes one.
    pub provider: Option<Arc<Provider>>,
    /// For the operator's own mail.
    pub mailer: Option<Arc<Mailer>>,
}

#[derive(Debug)]
struct Entry {
    connected: Connected,
    /// Uid and generation of the object: its own status writes change neither.
    version: (Option<String>, Option<i64>),
    kick: Arc<Kick>,
    secrets: BTreeSet<String>,
    /// Version of the Secret with the credentials of its connection.
    secret_version: String,
    refusal: Option<Refusal>,
    task: JoinHandle<()>,
}

/// What has a Directory checked before its time, or shown anew.
#[derive(Debug, Default)]
struct Kick {
    now: Notify,
    /// Another has its identity, or no longer has.
    twins: Notify,
    /// A Secret that it names was written.
    secret: Notify,
}

/// The directory's last word on a call.
#[derive(Clone, Debug)]
struct Refusal {
    code: String,
    at: Timestamp,
    secret_version: String,
    /// Why nothing more may be sent with these credentials.
    stop: Option<NotReady>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All Directories that there are.
pub struct Directories {
    client: Client,
    secrets: Secrets,
    events: Events,
    metrics: Metrics,
    life: Life,
    entries: Mutex<Option<HashMap<String, Entry>>>,
    /// Told the name of each Directory that is another than before.
    changed: mpsc::UnboundedSender<String>,
}

impl Directories {
    /// None are known before [`Directories::run`]. `changed` is told the name of each that is another than before.
    #[must_use]
    pub fn new(
        client: Client,
        secrets: Secrets,
        events: Events,
        metrics: Metrics,
        life: Life,
        changed: mpsc::UnboundedSender<String>,
    ) -> Arc<Self> {
        Arc::new(Self { client, secrets, events, metrics, life, entries: Mutex::default(), changed })
    }

    fn with<T>(&self, f: impl FnOnce(&mut Option<HashMap<String, Entry>>) -> T) -> T {
        f(&mut lock(&self.entries))
    }

    fn entry<T>(&self, name: &str, f: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.with(|entries| entries.as_mut()?.get_mut(name).map(f))
    }

    /// The other Directories with this identity.
    fn twins(&self, name: &str, identity: &str) -> BTreeSet<String> {
        self.with(|entries| {
            let others = entries.iter().flatten().filter(|(other, entry)| {
                *other != name && !identity.is_empty() && entry.connected.facts.identity == identity
            });
            others.map(|(other, _)| other.clone()).collect()
        })
    }

    /// What has this identity is no longer, or not yet, all there is: each says so in its status. The directory is not asked for that: of
    /// many that share one, each would be asked for each other.
    fn tell_twins(&self, name: &str, identity: &str) {
        for other in self.twins(name, identity) {
            self.entry(&other, |entry| entry.kick.twins.notify_one());
        }
    }

    /// The Directory `name` is no more.
    fn gone(&self, name: &str) {
        let gone = self.with(|entries| entries.get_or_insert_default().remove(name));
        if let Some(gone) = gone {
            self.tell_twins(name, &gone.connected.facts.identity);
        }
        self.metrics.directory_gone(name);
        self.tell(name);
    }

    /// What is known of the Directory `name`.
    #[must_use]
    pub fn facts(&self, name: &str) -> Seen<world::Directory> {
        self.with(|entries| match entries {
            None => Seen::Unknown(Why::new("the Directories are still being read.")),
            Some(entries) => entries.get(name).map_or(Seen::Absent, |e| Seen::Known(e.connected.facts.clone())),
        })
    }

    /// The same, unless the API server has another one by now: a watch may lag behind, or have failed.
    pub async fn newest(&self, name: &str) -> Seen<world::Directory> {
        let api: Api<Directory> = Api::all(self.client.clone());
        match api.get_metadata_opt(name).await {
            Ok(None) => Seen::Absent,
            Ok(Some(object))
                if self.entry(name, |entry| entry.version == (object.uid(), object.metadata.generation))
                    == Some(true) =>
            {
                self.facts(name)
            }
            Ok(Some(_)) => Seen::Unknown(Why::new("it has just been changed.")),
            Err(_) => Seen::Unknown(silent()),
        }
    }

    /// The connection of the Directory `name`, if it is one.
    #[must_use]
    pub fn connected(&self, name: &str) -> Option<Connected> {
        self.entry(name, |entry| entry.connected.clone())
    }

    /// A Ready Directory with this identity: after an object was renamed, its records still find their directory.
    #[must_use]
    pub fn by_identity(&self, identity: &str) -> Option<Connected> {
        self.with(|entries| {
            let all = entries.as_ref()?;
            all.values().map(|e| &e.connected).find(|c| c.facts.identity == identity && c.provider.is_some()).cloned()
        })
    }

    /// Tells of something in an Event on the Directory `name`.
    pub fn publish_event(&self, name: &str, reason: &str, message: &str) {
        let uid = self.entry(name, |entry| entry.version.0.clone()).flatten();
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
        self.entry(name, |entry| entry.kick.now.notify_one());
    }

    /// What `provider`, the connection of the Directory `name`, has answered to a call. Where it refuses what no check can tell, nothing
    /// more is sent from now on.
    pub fn answered(&self, name: &str, provider: &Arc<Provider>, reply: &Reply) {
        let stopped = self.entry(name, |entry| {
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
                    // A call that was under way beside it takes nothing back.
                    let stays =
                        entry.refusal.as_ref().is_some_and(|r| r.stop.is_some() && r.secret_version == secret_version);
                    if stays && !stopped {
                        return false;
                    }
                    entry.refusal = Some(Refusal { code, at: Timestamp::now(), secret_version, stop });
                    entry.kick.now.notify_one();
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
                        entry.kick.now.notify_one();
                    }
                }
            }
            false
        });
        if stopped == Some(true) {
            self.tell(name);
        }
    }

    /// Ends all checks; what was connected stays so for calls that are under way.
    pub fn end(&self) {
        self.with(|entries| entries.iter_mut().flat_map(HashMap::values_mut).for_each(|entry| entry.task.abort()));
    }

    /// Follows the Directory objects, and the Secrets they name, until dropped.
    pub async fn run(self: Arc<Self>) {
        let all = watcher::Config::default().page_size(PAGE);
        let objects = watcher(Api::<Lean<Directory>>::all(self.client.clone()), all).default_backoff();
        let others = watcher::Config::default().labels(&format!("!{PASSWORD_LABEL}"));
        let secrets: Api<PartialObjectMeta<Secret>> = self.secrets.own_metadata();
        let secrets = watcher(secrets, others).default_backoff();
        tokio::join!(self.follow_objects(objects), self.follow_secrets(secrets));
    }

    async fn follow_objects(
        self: &Arc<Self>,
        events: impl Stream<Item = watcher::Result<watcher::Event<Lean<Directory>>>>,
    ) {
        let mut events = std::pin::pin!(events);
        let mut listed: Option<Vec<Directory>> = None;
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => listed = Some(Vec::new()),
                Ok(watcher::Event::InitApply(Lean(object))) => listed.get_or_insert_default().push(object),
                Ok(watcher::Event::InitDone) => {
                    let objects = listed.take().unwrap_or_default();
                    let names: BTreeSet<String> = objects.iter().map(ResourceExt::name_any).collect();
                    let known: Vec<String> =
                        self.with(|entries| entries.get_or_insert_default().keys().cloned().collect());
                    known.iter().filter(|name| !names.contains(*name)).for_each(|name| self.gone(name));
                    for object in objects {
                        self.apply(object);
                    }
                }
                Ok(watcher::Event::Apply(Lean(object))) => self.apply(object),
                Ok(watcher::Event::Delete(object)) => self.gone(&object.name_any()),
                Err(error) => {
                    self.metrics.failed("watch");
                    tracing::warn!(error = %error, "the Directories cannot be watched");
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
                    self.with(|entries| {
                        for entry in entries.iter().flat_map(HashMap::values).filter(|e| e.secrets.contains(&name)) {
                            entry.kick.secret.notify_one();
                        }
                    });
                }
                Err(error) => {
                    self.metrics.failed("watch");
                    tracing::warn!(error = %error, "the operator's Secrets cannot be watched");
                }
            }
        }
    }

    fn tell(&self, name: &str) {
        // Nobody listens only while the process ends.
        let _ = self.changed.send(name.to_owned());
    }

    /// A Directory object is new or another.
    fn apply(self: &Arc<Self>, object: Directory) {
        let name = object.name_any();
        let kick = Arc::new(Kick::default());
        let spec = &object.spec;
        let mut secrets = BTreeSet::from([spec.provider.credentials().secret.clone()]);
        secrets.extend(spec.mail.iter().filter_map(|mail| Some(mail.smtp.credentials.as_ref()?.secret.clone())));
        let facts = object.settings().map_or_else(
            |wrong| world::Directory { not_ready: Some(wrong), ..world::Directory::unusable(&name) },
            |facts| world::Directory { not_ready: Some("it is being checked.".to_owned()), ..facts },
        );
        let version = (object.uid(), object.meta().generation);
        let new = self.with(|entries| {
            let entries = entries.get_or_insert_default();
            if entries.get(&name).is_some_and(|old| old.version == version) {
                return false;
            }
            let task = tokio::spawn(Arc::clone(self).keep_checking(object, Arc::clone(&kick)));
            let connected = Connected { facts, provider: None, mailer: None };
            let (secret_version, refusal) = (String::new(), None);
            entries.insert(name.clone(), Entry { connected, version, kick, secrets, secret_version, refusal, task });
            true
        });
        if new {
            self.tell(&name);
        }
    }

    async fn keep_checking(self: Arc<Self>, object: Directory, kick: Arc<Kick>) {
        let name = object.name_any();
        let mut current: Option<Connection> = None;
        let mut shown = object.status.clone();
        let mut retry = FIRST_RETRY;
        loop {
            let work = self.life.work();
            let result = self.check(&object, &mut current).await;
            let refused = shown.as_ref().and_then(|shown| shown.refused.as_ref());
            let (result, refusal) = self.publish(&object, current.as_ref(), refused, result);
            self.metrics.directory_ready(&name, result.is_ok());
            self.show(&object, &mut shown, &result, refusal.as_ref(), current.as_ref()).await;
            drop(work);
            let fine = result.is_ok() && current.as_ref().is_none_or(|c| c.mail_trouble.is_none());
            let pause = if fine { EVERY } else { retry };
            let most = if result.is_ok() || matches!(result, Err(NotReady::Unreachable(_))) { DOWN } else { EVERY };
            retry = if fine { FIRST_RETRY } else { (retry * 2).min(most) };
            let known = current.as_ref().filter(|_| fine).map(|c| &c.versions);
            let mut next = std::pin::pin!(tokio::time::sleep(pause));
            loop {
                tokio::select! {
                    () = &mut next => break,
                    () = kick.now.notified() => break,
                    () = kick.twins.notified() => {
                        self.show(&object, &mut shown, &result, refusal.as_ref(), current.as_ref()).await;
                    }
                    // Of a new Secret the watch tells when it may have been read already.
                    () = kick.secret.notified() => {
                        let read = self.credentials(&object).await;
                        if read.ok().map(|read| read.versions).as_ref() != known {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// What is in the Secrets that the Directory names.
    async fn credentials(&self, object: &Directory) -> Result<Read, NotReady> {
        let read = async |secret| self.secrets.credentials(secret).await.map_err(NotReady::InvalidConfiguration);
        let (directory, version) = read(&object.spec.provider.credentials().secret).await?;
        let mut of_both = Read { directory, mail: None, versions: (version, None) };
        if let Some(secret) = object.spec.mail.as_ref().and_then(|mail| mail.smtp.credentials.as_ref()) {
            let (mail, version) = read(&secret.secret).await?;
            (of_both.mail, of_both.versions.1) = (Some(mail), Some(version));
        }
        Ok(of_both)
    }

    /// Connects with the credentials as they are now, and checks.
    async fn check(&self, object: &Directory, current: &mut Option<Connection>) -> Result<Checked, NotReady> {
        let invalid = NotReady::InvalidConfiguration;
        let facts = object.settings().map_err(invalid)?;
        let spec = &object.spec;
        let Read { directory, mail, versions } = self.credentials(object).await?;
        // The old connection is kept while nothing has changed: it knows a token.
        if current.as_ref().is_none_or(|c| c.versions != versions) {
            *current = None;
            let provider = Arc::new(Provider::connect(spec, &directory)?);
            let mailer = spec.mail.as_ref().map(|settings| Mailer::connect(settings, mail.as_ref()));
            let mailer = mailer.transpose().map_err(invalid)?.map(Arc::new);
            *current = Some(Connection { versions, provider, mailer, mail_trouble: None });
        }
        let Some(connection) = current else { return Err(invalid("it has no connection.".to_owned())) };
        let modes = facts.modes();
        let checked = self.metrics.timed(&object.name_any(), "check", connection.provider.check(&modes), ok).await?;
        connection.mail_trouble = match &connection.mailer {
            None => None,
            Some(mailer) => mailer.check().await.err().map(|why| why.to_string()),
        };
        Ok(checked)
    }

    /// Lets decisions know. Returns what they go by: what the check has found, unless a call was refused that the check cannot judge.
    /// `refused`: what an operator has shown before.
    fn publish(
        &self,
        object: &Directory,
        connection: Option<&Connection>,
        refused: Option<&Refused>,
        mut result: Result<Checked, NotReady>,
    ) -> (Result<Checked, NotReady>, Option<Refusal>) {
        let name = object.name_any();
        let mut refusal = None;
        let changed = self.entry(&name, |entry| {
            if let Some(connection) = connection {
                entry.secret_version.clone_from(&connection.versions.0);
                let before =
                    refused.filter(|_| entry.refusal.is_none()).and_then(|refused| connection.refusal(refused));
                entry.refusal = entry.refusal.take().or(before).filter(|r| r.secret_version == entry.secret_version);
            }
            match (&entry.refusal, &result) {
                (Some(Refusal { stop: Some(why), .. }), Ok(_)) => result = Err(why.clone()),
                // It has found the cause.
                (Some(Refusal { stop: None, .. }), Err(_)) => entry.refusal = None,
                _ => {}
            }
            refusal.clone_from(&entry.refusal);
            let mut facts = object.settings().unwrap_or_else(|_| world::Directory::unusable(&name));
            match &result {
                Ok(checked) => {
                    facts = checked.add_to(facts);
                    facts.mail_trouble = connection.and_then(|c| c.mail_trouble.clone());
                }
                Err(not_ready) => {
                    // What it was stays known, so that its records still find it.
                    facts.identity.clone_from(&entry.connected.facts.identity);
                    facts.supports.clone_from(&entry.connected.facts.supports);
                    facts.conditional.clone_from(&entry.connected.facts.conditional);
                    facts.apart = entry.connected.facts.apart;
                    facts.remains.clone_from(&entry.connected.facts.remains);
                    facts.not_ready = Some(not_ready.to_string());
                }
            }
            let (changed, was, is) =
                (entry.connected.facts != facts, entry.connected.facts.identity.clone(), facts.identity.clone());
            entry.connected = Connected {
                facts,
                provider: connection.map(|c| Arc::clone(&c.provider)),
                mailer: connection.and_then(|c| c.mailer.clone()),
            };
            (changed, was, is)
        });
        if let Some((changed, was, is)) = changed {
            if was != is {
                self.tell_twins(&name, &was);
                self.tell_twins(&name, &is);
            }
            if changed {
                self.tell(&name);
            }
        }
        (result, refusal)
    }

    /// Writes the status, if it is another than before.
    async fn show(
        &self,
        object: &Directory,
        shown: &mut Option<DirectoryStatus>,
        result: &Result<Checked, NotReady>,
        refusal: Option<&Refusal>,
        connection: Option<&Connection>,
    ) {
        let trouble = connection.and_then(|c| c.mail_trouble.as_ref());
        let mail = trouble.map_or_else(String::new, |why| {
            format!(" But no mail can be sent: {why} Requests whose password is to be mailed wait.")
        });
        let rights = if object.spec.provider.tells_rights() {
            "holds what the rules need"
        } else {
            "sees what it has to; whether it may set passwords, only a reset tells"
        };
        let (status, reason, message) = match result {
            Ok(checked) => {
                let unknown = checked.unknown_groups().map_or_else(String::new, |why| format!(" But {why}"));
                let said = format!("The directory answers and the operator's account {rights}.{mail}{unknown}");
                ("True", "Connected", text::shown(&said, text::MESSAGE))
            }
            Err(not_ready) => ("False", not_ready.reason(), text::shown(&not_ready.to_string(), text::MESSAGE)),
        };
        let old = shown.as_ref().and_then(|s| s.conditions.iter().find(|c| c.type_ == "Ready"));
        let since = old
            .filter(|c| c.status == status)
            .map_or_else(|| Time(Timestamp::now()), |c| c.last_transition_time.clone());
        let told = old.is_some_and(|c| c.reason == reason);
        let mut next = shown.clone().unwrap_or_default();
        next.observed_generation = object.meta().generation.unwrap_or_default();
        if let Ok(Checked { identity, guarantees, supports, .. }) = result {
            next.identity = Some(identity.clone());
            next.guarantees = Some(*guarantees);
            next.supports = supports.iter().copied().collect();
        }
        next.conditions = vec![Condition {
            type_: "Ready".to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: object.meta().generation,
            last_transition_time: since,
        }];
        next.refused = refusal
            .filter(|refusal| refusal.stop.is_some())
            .map(|refusal| Refused { code: refusal.code.clone(), secret_version: refusal.secret_version.clone() });
        if connection.is_none() {
            // Whether the Secret is the same is not known yet.
            next.refused = next.refused.or_else(|| shown.as_ref()?.refused.clone());
        }
        let name = object.name_any();
        let old = |type_: &str| shown.iter().flat_map(|s| &s.conditions).find(|c| c.type_ == type_);
        let besides = |type_: &str, reason: &str, message: String| Condition {
            type_: type_.to_owned(),
            status: "True".to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: object.meta().generation,
            last_transition_time: old(type_).map_or_else(|| Time(Timestamp::now()), |c| c.last_transition_time.clone()),
        };
        let refused = refusal.filter(|refusal| refusal.stop.is_none()).map(calls_refused);
        let new_refusal = refused.as_ref().filter(|_| old(CALLS_REFUSED).is_none()).cloned();
        next.conditions.extend(refused.map(|message| besides(CALLS_REFUSED, "Denied", message)));
        let twins = self.twins(&name, next.identity.as_deref().unwrap_or_default());
        let alone = old(SHARED).is_none();
        if !twins.is_empty() {
            next.conditions.push(besides(SHARED, "SameIdentity", shared(&twins)));
        }
        if shown.as_ref() == Some(&next) {
            return;
        }
        let api: Api<Lean<Directory>> = Api::all(self.client.clone());
        let mut status = json!(next);
        if next.refused.is_none() {
            status["refused"] = Value::Null; // a merge patch removes only what it names
        }
        match api.patch_status(&name, &PatchParams::default(), &Patch::Merge(json!({ "status": status }))).await {
            Ok(_) => {
                if !told {
                    let message = next.conditions.first().map(|c| c.message.clone()).unwrap_or_default();
                    self.events.publish(object, reason, &message, result.is_err());
                }
                if let Some(message) = new_refusal {
                    self.events.publish(object, CALLS_REFUSED, &message, true);
                }
                if alone && !twins.is_empty() {
                    self.events.publish(object, "SameIdentity", &shared(&twins), true);
                }
                *shown = Some(next);
            }
            Err(error) => {
                tracing::warn!(directory = name, error = %error, "the Directory's status could not be written");
            }
        }
    }
}

/// What a Directory says of calls that are refused.
fn calls_refused(refusal: &Refusal) -> String {
    let Refusal { code, at, .. } = refusal;
    format!(
        "At {at:.0} the directory refused a reset with {code}, though the check finds nothing wrong: look at what the operator's account may do, \
         and at the call's path if spec.provider names one. Such requests are tried again ever more rarely. This is said until a call is \
         answered in another way."
    )
}

/// What a Directory says of others with its identity.
fn shared(twins: &BTreeSet<String>) -> String {
    let names = twins.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
    format!(
        "Directory {names} leads to the same directory as this one, or to a copy of it: records and limits are shared, and a request \
         that was carried out through one of them is over for all. Keep one, unless they are meant to be one."
    )
}

/// What the Secrets of a Directory hold, and their versions.
struct Read {
    directory: Credentials,
    mail: Option<Credentials>,
    versions: (String, Option<String>),
}

/// A connection and the versions of the Secrets that it was made with.
#[derive(Debug)]
struct Connection {
    versions: (String, Option<String>),
    provider: Arc<Provider>,
    mailer: Option<Arc<Mailer>>,
    /// Why no mail can go out, as the last check found.
    mail_trouble: Option<String>,
}

impl Connection {
    /// What an operator has shown of a refusal, if nothing has changed since.
    fn refusal(&self, refused: &Refused) -> Option<Refusal> {
        let Refused { code, secret_version } = refused.clone();
        let stop = Some(self.provider.stopped_by(&code)?);
        Some(Refusal { code, at: Timestamp::now(), secret_version, stop })
    }
}
