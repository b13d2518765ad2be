//! Where `plan`, `explain`, `check` and `try` read facts: a cluster, files and the directories that they describe, or files alone. What
//! the caller may not read, and what could only make the request wait or be a duplicate, is assumed, and the report lists it.
pub(super) mod cluster;
pub(super) mod filed;
pub(super) mod files;
mod git;
pub(super) mod hypothetical;
pub(super) mod inventory;
pub(super) mod manifests;
mod paths;
pub(super) mod users;
mod yaml;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    convert::Infallible,
};

use jiff::Timestamp;
use kube::{Api, ResourceExt};

use self::{cluster::Cluster, inventory::Inventory, users::assumed_user};
use crate::{
    api,
    cli::cluster::{is_forbidden, why_unread},
    core::{
        Decision, Fact, Request, World,
        approvals::Approval,
        decide,
        directory::{DirectoryFacts, Feature},
        driver::{Reader, read},
        finding::Finding,
        record::{Record, Settlement},
        request::Action,
        seen::{Seen, Why},
        user::LookUp,
        view::StatusSummary,
        world::{Delivery, Process, Subject, SuppliedPassword},
    },
    directory::{Credentials, NotReady, Provider},
    k8s::{Unverifiable, approvals},
};

/// Reads for one request; no decision needs as many.
const MAX_READS: usize = 32;

/// What the operator would decide now.
pub struct Assessment {
    /// The facts, as far as they could be read.
    pub world: World,
    /// The decision on them.
    pub decision: Decision,
    /// What was assumed in place of facts that could not be read.
    pub assumed: BTreeSet<String>,
}

/// Where facts come from.
pub struct Sources {
    /// `None`: Directories come from files.
    pub cluster: Option<Cluster>,
    /// The Directories that requests name, by name.
    pub directories: HashMap<String, DirectorySource>,
    /// No directory server is contacted.
    pub offline: bool,
}

/// A Directory: its settings and its connection.
pub struct DirectorySource {
    facts: Seen<DirectoryFacts>,
    /// An error: why users cannot be looked up.
    provider: Result<Provider, Why>,
    /// An assumption that every use of this Directory makes.
    assumed: Option<String>,
    /// What the caller may not read, so that something is assumed instead.
    hidden: Option<Hidden>,
}

/// What of a Directory the caller has no right to read.
enum Hidden {
    /// The Directory itself.
    Directory,
    /// The Secret that users are looked up with.
    Secret(String),
}

impl DirectorySource {
    /// There is no such Directory.
    pub fn absent() -> Self {
        Self {
            facts: Seen::Absent,
            provider: Err(Why::new("there is no such Directory.")),
            assumed: None,
            hidden: None,
        }
    }

    /// A Directory of the cluster, as the operator's last check in its status shows it.
    pub async fn from_cluster(cluster: &Cluster, name: &str) -> Self {
        let api: Api<api::Directory> = Api::all(cluster.client.clone());
        let object = match api.get_opt(name).await {
            Ok(Some(object)) => object,
            Ok(None) => return Self::absent(),
            Err(error) => {
                let hidden = is_forbidden(&error).then_some(Hidden::Directory);
                let why = Why::new(format!("{}.", why_unread(&error, "it")));
                return Self { facts: Seen::Unknown(why.clone()), provider: Err(why), assumed: None, hidden };
            }
        };
        let inventory = Inventory::Cluster(cluster.client.clone(), cluster.secrets.clone());
        let is_own = object.spec.provider.credentials().is_none();
        let (provider, hidden) = match inventory.credentials(&object.spec).await {
            Ok(_) if is_own && !cluster.may_request_tokens().await => {
                let why =
                    "you may not request tokens of the operator's ServiceAccount, with which the Directory signs in.";
                (Err(Why::new(why)), Some(Hidden::Secret(why.to_owned())))
            }
            Ok(credentials) => {
                (inventory.connect(&object.spec, &credentials).map_err(|e| Why::new(e.to_string())), None)
            }
            Err(why) => {
                let secret = object.spec.provider.credentials().map_or("", |named| named.secret.as_str());
                let refused = cluster.secrets.own_metadata().get_metadata_opt(secret).await.err();
                let is_hidden = refused.is_some_and(|error| is_forbidden(&error));
                (Err(Why::new(why.clone())), is_hidden.then_some(Hidden::Secret(why)))
            }
        };
        Self { facts: Seen::Known(object.facts()), provider, assumed: None, hidden }
    }

    /// A Directory from a file, with Secrets from files. Unless `offline`, it is checked as the operator checks it.
    pub async fn from_file(object: &api::Directory, secrets: &HashMap<String, Credentials>, offline: bool) -> Self {
        let facts = match object.settings() {
            Ok(facts) => facts,
            Err(wrong) => {
                let facts =
                    DirectoryFacts { not_ready: Some(wrong.clone()), ..DirectoryFacts::unusable(&object.name_any()) };
                return Self { facts: Seen::Known(facts), provider: Err(Why::new(wrong)), assumed: None, hidden: None };
            }
        };
        let able = DirectoryFacts { supports: Feature::ALL.into(), ..facts.clone() };
        if offline {
            return Self {
                facts: Seen::Known(able),
                provider: Err(Why::new("no directory is contacted with --offline.")),
                assumed: None,
                hidden: None,
            };
        }
        if object.spec.provider.credentials().is_none() {
            let why = "the Directory signs in with the operator's ServiceAccount, and files hold no token of it.";
            let hidden = Some(Hidden::Secret(why.to_owned()));
            return Self { facts: Seen::Known(able), provider: Err(Why::new(why)), assumed: None, hidden };
        }
        let inventory = Inventory::Files(secrets.clone());
        let credentials = match inventory.credentials(&object.spec).await {
            Ok(credentials) => credentials,
            Err(why) => {
                return Self { facts: Seen::Known(able), provider: Err(Why::new(why)), assumed: None, hidden: None };
            }
        };
        let provider = match inventory.connect(&object.spec, &credentials) {
            Ok(provider) => provider,
            Err(wrong) => {
                let facts = DirectoryFacts { not_ready: Some(wrong.to_string()), ..facts };
                let why = Why::new(wrong.to_string());
                return Self { facts: Seen::Known(facts), provider: Err(why), assumed: None, hidden: None };
            }
        };
        let (facts, assumed) = match provider.check(&facts.modes()).await {
            Ok(checked) => (checked.add_to(facts), None),
            // The account in these files may have fewer rights than the operator's own.
            Err(NotReady::PermissionMissing(_)) => (
                able,
                Some(format!("the operator's own account at Directory {} has the rights it needs", object.name_any())),
            ),
            Err(not_ready) => (DirectoryFacts { not_ready: Some(not_ready.to_string()), ..facts }, None),
        };
        Self { facts: Seen::Known(facts), provider: Ok(provider), assumed, hidden: None }
    }

    /// Whether the caller may not read the Directory: nothing is known of its rules.
    pub fn is_hidden(&self) -> bool {
        matches!(self.hidden, Some(Hidden::Directory))
    }
}

impl Sources {
    /// The settings of the Directory of this name, if they are known.
    pub fn directory(&self, name: &str) -> Option<&DirectoryFacts> {
        match &self.directories.get(name)?.facts {
            Seen::Known(directory) => Some(directory),
            _ => None,
        }
    }

    /// Whether the user of this world is one of the directory's, not an assumed one.
    pub fn looks_users_up(&self, world: &World) -> bool {
        let source = world.subject.request().and_then(|request| self.directories.get(&request.directory));
        source.is_some_and(|source| source.provider.is_ok())
    }

    /// Reads facts and decides, until the operator would act or wait.
    pub async fn assess(&self, request: Request, summary: StatusSummary) -> Assessment {
        let now = Timestamp::now();
        let process = Process { holder: "plan".to_owned(), attempt: "plan".to_owned() };
        let mut assumed = BTreeSet::new();
        if request.requested_at > now {
            assumed.insert(format!("it is {} already, when the request starts", request.requested_at));
        }
        let start = now.max(request.requested_at);
        let mut world = World::new(start, process, Subject::Object { request: Box::new(request), status: summary });
        let with_history = self.cluster.as_ref().filter(|cluster| cluster.history_loaded);
        if with_history.is_none() {
            assumed.insert("no reset began in the last hour (records were not read)".to_owned());
        }
        let mut reader = AssumingReader { sources: self, assumed };
        let mut decision = decide(&world);
        for _ in 0..MAX_READS {
            let Decision::Read(fact) = decision else { break };
            if matches!(fact, Fact::Finding | Fact::Superseded | Fact::Settlements) {
                break;
            }
            // A fact that belongs to a record cannot be read for a request: it stays unread, and there is no verdict.
            if read(&mut world, fact, &mut reader).await.is_err() {
                break;
            }
            if let Some(cluster) = with_history {
                cluster.ledger.add_history(&mut world);
            }
            decision = decide(&world);
        }
        Assessment { world, decision, assumed: reader.assumed }
    }
}

/// Reads the facts of one assessment. Where a fact cannot be read, it assumes one and notes that.
struct AssumingReader<'a> {
    sources: &'a Sources,
    assumed: BTreeSet<String>,
}

impl Reader for AssumingReader<'_> {
    type Error = Infallible;

    async fn record_by_key(&mut self, request: &Request) -> Result<Option<Record>, Infallible> {
        let found = match &self.sources.cluster {
            Some(cluster) => cluster.ledger.find(&request.key()).await.map_err(drop),
            None => Err(()),
        };
        Ok(self.record(found))
    }

    async fn record_by_name(&mut self, name: &str) -> Result<Option<Record>, Infallible> {
        let found = match &self.sources.cluster {
            Some(cluster) => cluster.ledger.get(name).await.map_err(drop),
            None => Err(()),
        };
        Ok(self.record(found))
    }

    async fn directory(&mut self, name: &str, _begun: bool) -> Seen<DirectoryFacts> {
        let source = self.sources.directories.get(name);
        self.assumed.extend(source.and_then(|source| source.assumed.clone()));
        source.map_or(Seen::Absent, |source| source.facts.clone())
    }

    async fn namespace_labels(&mut self, namespace: &str) -> Seen<BTreeMap<String, String>> {
        match &self.sources.cluster {
            Some(cluster) => cluster.labels(namespace).await,
            None => Seen::Unknown(Why::new("no cluster was asked.")),
        }
    }

    async fn user(&mut self, request: &Request) -> Seen<LookUp> {
        let Some(source) = self.sources.directories.get(&request.directory) else { return Seen::Absent };
        if let (Action::Password { email_to_user: true, .. }, Seen::Known(directory)) = (&request.action, &source.facts)
            && directory.mail
            && !directory.supports.contains(&Feature::EmailToUser)
        {
            // The mail server may be reachable for the operator alone.
            self.assumed.insert(format!("the operator can send mail with spec.mail of Directory {}", directory.name));
        }
        let provider = match (&source.provider, &source.facts) {
            (Ok(provider), _) => provider,
            (Err(_), Seen::Known(directory)) if self.sources.offline || source.hidden.is_some() => {
                let why = match &source.hidden {
                    Some(Hidden::Secret(why)) => format!(" (no user was looked up: {})", why.trim_end_matches('.')),
                    _ => String::new(),
                };
                let what =
                    "the user exists, is confirmed and active, and is not protected by a group or as an administrator";
                self.assumed.insert(format!("{what}{why}"));
                return Seen::Known(LookUp::One(Box::new(assumed_user(request, directory))));
            }
            (Err(why), _) => return Seen::Unknown(why.clone()),
        };
        match provider.look_up(&request.user, request.mode()).await {
            Ok(Some(found)) => Seen::Known(found),
            Ok(None) => Seen::Absent,
            Err(why) => Seen::Unknown(why),
        }
    }

    async fn supplied_password(&mut self, namespace: &str, name: &str, key: &str) -> Seen<SuppliedPassword> {
        let seen = match &self.sources.cluster {
            Some(cluster) => cluster.secrets.supplied(namespace, name, key).await.map(|_| SuppliedPassword::Usable),
            None => Err(Seen::Unread),
        };
        match seen {
            Ok(usable) => Seen::Known(usable),
            Err(seen @ (Seen::Known(SuppliedPassword::Usable | SuppliedPassword::Unusable(_)) | Seen::Absent)) => seen,
            Err(_) => {
                self.assumed.insert(format!("Secret {namespace}/{name} holds a password in key {key}"));
                Seen::Known(SuppliedPassword::Usable)
            }
        }
    }

    async fn delivery(&mut self, request: &Request, name: &str) -> (Seen<Delivery>, Option<Timestamp>) {
        let namespace = &request.namespace;
        let (seen, created) = match &self.sources.cluster {
            Some(cluster) => cluster.secrets.delivery(namespace, name).await,
            None => (Seen::Unread, None),
        };
        if matches!(seen, Seen::Known(Delivery::Taken) | Seen::Absent) {
            return (seen, created);
        }
        self.assumed.insert(format!("there is no Secret {namespace}/{name} yet"));
        (Seen::Absent, None)
    }

    async fn approvals(&mut self, request: &Request) -> Seen<Vec<Approval>> {
        let Some(cluster) = &self.sources.cluster else { return Seen::Absent };
        match approvals::read(&cluster.client, request).await {
            Ok(all) => Seen::Known(all),
            // The operator cannot read them either.
            Err(Unverifiable::Unguarded(why)) => Seen::Unknown(why),
            // A plan is usually made before the request exists, when there are no approvals.
            Err(Unverifiable::Forbidden(_) | Unverifiable::NoAnswer) => {
                self.assumed.insert("it has no approvals yet (they could not be read)".to_owned());
                Seen::Absent
            }
        }
    }

    async fn finding(&mut self, _record: &Record) -> Seen<Finding> {
        Seen::Unread
    }

    async fn superseded(&mut self, _record: &Record) -> Seen<bool> {
        Seen::Unread
    }

    async fn settlements(&mut self, _record: &Record) -> Seen<Vec<Settlement>> {
        Seen::Unread
    }
}

impl AssumingReader<'_> {
    /// The record of an object. An error: the look-up failed, and no record is assumed.
    fn record(&mut self, found: Result<Option<api::CredentialResetRecord>, ()>) -> Option<Record> {
        found
            .unwrap_or_else(|()| {
                let namespace = self.sources.cluster.as_ref().map(|cluster| &cluster.namespace);
                let place = namespace.map(|name| format!(" in namespace {name}")).unwrap_or_default();
                let what = format!("this request was not carried out before (records{place} were not read)");
                self.assumed.insert(what);
                None
            })
            .map(|object| object.record())
    }
}
