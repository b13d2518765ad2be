//! What a plan can know: from a cluster, from files and the directories they describe, or from files alone. What the caller may not
//! look at, and what would only make the request wait or repeat itself, is assumed, and the plan says so.
use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    core::v1::Namespace,
};
use kube::{Api, Client, ResourceExt, api::PostParams};

use crate::{
    api::{self, CredentialReset},
    core::{
        Decision, Fact, Request, World, decide,
        ledger::{Record, UserId, record_name},
        report::Shown,
        request::{Action, Source, UserRef},
        world::{Delivery, Directory, Entered, Feature, Found, Me, Rule, Seen, Subject, User, Why},
    },
    directory::{Credentials, NotReady, Provider},
    k8s::{approvals, clock::Clock, ledger::Ledger, secrets::Secrets},
};

/// More than any request needs to read.
const MOST: usize = 32;

/// A world as far as it is known, the decision on it, and what was assumed.
pub struct Told {
    pub world: World,
    pub decision: Decision,
    pub assumed: BTreeSet<String>,
}

/// Where facts come from.
pub struct Sources {
    pub cluster: Option<Cluster>,
    pub directories: HashMap<String, Known>,
    /// The directories themselves are not asked.
    pub offline: bool,
}

/// What is known of a Directory.
pub struct Known {
    facts: Seen<Directory>,
    provider: Result<Provider, Why>,
    assumed: Option<String>,
}

/// A cluster, seen as the user of the kubeconfig.
pub struct Cluster {
    client: Client,
    namespace: String,
    ledger: Ledger,
    secrets: Secrets,
    /// Whether limits could be read.
    limits: bool,
    /// Who will create the requests.
    creator: Option<String>,
}

impl Cluster {
    /// Reads what limits are counted over, if the caller may.
    pub async fn new(client: Client, namespace: &str, creator: Option<String>) -> Self {
        let ledger = Ledger::new(client.clone(), namespace, "plan", Clock::default());
        let limits = ledger.load(Timestamp::now()).await.is_ok();
        let secrets = Secrets::new(client.clone(), namespace);
        Self { client, namespace: namespace.to_owned(), ledger, secrets, limits, creator }
    }

    /// The object of that name, if there is one.
    pub async fn object(&self, namespace: &str, name: &str) -> kube::Result<Option<CredentialReset>> {
        Api::namespaced(self.client.clone(), namespace).get_opt(name).await
    }

    /// Why whoever creates the request may not.
    ///
    /// # Errors
    /// What the API server says where it does not tell.
    pub async fn refusal(&self, request: &Request) -> kube::Result<Option<String>> {
        let Request { namespace, directory, .. } = request;
        let Some(who) = &self.creator else { return Ok(None) };
        if !self.may(who, Some(namespace), "create", "credentialresets", None).await? {
            return Ok(Some(format!("{who} may not create credentialresets in namespace {namespace}.")));
        }
        if !self.may(who, None, "use", "directories", Some(directory)).await? {
            return Ok(Some(format!("{who} needs the verb use on directories/{directory} to ask for a reset in it.")));
        }
        match &request.requested_by {
            Some(by)
                if (by != who || who.starts_with("system:"))
                    && !self.may(who, None, "vouch", "directories", Some(directory)).await? =>
            {
                let what =
                    if by == who { "is a person's, and no program's such as" } else { "names somebody else than" };
                Ok(Some(format!(
                    "spec.requestedBy {what} {who}, who needs the verb vouch on directories/{directory} for that."
                )))
            }
            _ => Ok(None),
        }
    }

    async fn may(
        &self,
        who: &str,
        namespace: Option<&String>,
        verb: &str,
        resource: &str,
        name: Option<&String>,
    ) -> kube::Result<bool> {
        let attributes = ResourceAttributes {
            group: Some("credreset.dev".to_owned()),
            resource: Some(resource.to_owned()),
            verb: Some(verb.to_owned()),
            namespace: namespace.cloned(),
            name: name.cloned(),
            ..ResourceAttributes::default()
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                resource_attributes: Some(attributes),
                user: Some(who.to_owned()),
                groups: Some(groups_of(who)),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answer = Api::all(self.client.clone()).create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    async fn labels(&self, namespace: &str) -> Seen<BTreeMap<String, String>> {
        match Api::<Namespace>::all(self.client.clone()).get_metadata_opt(namespace).await {
            Ok(Some(object)) => Seen::Known(object.labels().clone()),
            Ok(None) => Seen::Absent,
            Err(_) => Seen::Unknown(Why::new("you may not read it.")),
        }
    }
}

/// Groups that everybody is in who has that name.
fn groups_of(user: &str) -> Vec<String> {
    let account = user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let more = account
        .map(|(namespace, _)| ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")]);
    std::iter::once("system:authenticated".to_owned()).chain(more.into_iter().flatten()).collect()
}

/// The contents of a Secret of the operator's namespace, read by whoever runs the command.
///
/// # Errors
/// A sentence that names the Secret.
pub async fn credentials(secrets: &Secrets, name: &str) -> Result<Credentials, String> {
    let found = secrets.credentials(name).await.map(|(credentials, _)| credentials);
    found.map_err(|why| why.replace("The operator may not", "You may not"))
}

impl Known {
    /// A Directory that is not there.
    pub fn absent() -> Self {
        Self { facts: Seen::Absent, provider: Err(Why::new("there is no such Directory.")), assumed: None }
    }

    /// One of a cluster: the operator has checked it, and says so in its status.
    pub async fn of_cluster(cluster: &Cluster, name: &str) -> Self {
        let api: Api<api::Directory> = Api::all(cluster.client.clone());
        let object = match api.get_opt(name).await {
            Ok(Some(object)) => object,
            Ok(None) => return Self::absent(),
            Err(error) => {
                let why = Why::new(match error {
                    kube::Error::Api(status) if status.code == 403 => "you may not read it.",
                    _ => "the API server did not answer.",
                });
                return Self { facts: Seen::Unknown(why.clone()), provider: Err(why), assumed: None };
            }
        };
        let provider = match credentials(&cluster.secrets, &object.spec.provider.credentials().secret).await {
            Ok(credentials) => Provider::connect(&object.spec, &credentials).map_err(|e| Why::new(e.to_string())),
            Err(why) => Err(Why::new(why)),
        };
        Self { facts: Seen::Known(object.known()), provider, assumed: None }
    }

    /// One from a file, with the Secrets beside it.
    pub async fn of_file(object: &api::Directory, secrets: &HashMap<String, Credentials>, offline: bool) -> Self {
        let facts = match object.settings() {
            Ok(facts) => facts,
            Err(wrong) => {
                let facts = Directory { not_ready: Some(wrong.clone()), ..Directory::unusable(&object.name_any()) };
                return Self { facts: Seen::Known(facts), provider: Err(Why::new(wrong)), assumed: None };
            }
        };
        let able = Directory { supports: Feature::ALL.into(), ..facts.clone() };
        if offline {
            return Self {
                facts: Seen::Known(able),
                provider: Err(Why::new("it is not asked offline.")),
                assumed: None,
            };
        }
        let name = &object.spec.provider.credentials().secret;
        let Some(credentials) = secrets.get(name) else {
            let why = Why::new(format!("Secret {name} is not among the files that --directories names."));
            return Self { facts: Seen::Known(able), provider: Err(why), assumed: None };
        };
        let provider = match Provider::connect(&object.spec, credentials) {
            Ok(provider) => provider,
            Err(wrong) => {
                let facts = Directory { not_ready: Some(wrong.to_string()), ..facts };
                return Self { facts: Seen::Known(facts), provider: Err(Why::new(wrong.to_string())), assumed: None };
            }
        };
        let (facts, assumed) = match provider.check(&facts.modes()).await {
            Ok(checked) => (checked.add_to(facts), None),
            // Whoever plans may well have fewer rights than the operator.
            Err(NotReady::PermissionMissing(_)) => (
                able,
                Some(format!("the operator's own account at Directory {} has the rights it needs", object.name_any())),
            ),
            Err(not_ready) => (Directory { not_ready: Some(not_ready.to_string()), ..facts }, None),
        };
        Self { facts: Seen::Known(facts), provider: Ok(provider), assumed }
    }
}

impl Sources {
    /// Reads and decides until something would be done, or the request would rest.
    pub async fn tell(&self, request: Request, shown: Shown) -> Told {
        let now = Timestamp::now();
        let me = Me { holder: "plan".to_owned(), attempt: "plan".to_owned() };
        let mut assumed = BTreeSet::new();
        if request.requested_at > now {
            assumed.insert(format!("it is {} already, when the request starts", request.requested_at));
        }
        let start = now.max(request.requested_at);
        let mut world = World::new(start, me, Subject::Object { request: Box::new(request), shown });
        let counted = self.cluster.as_ref().filter(|cluster| cluster.limits);
        if counted.is_none() {
            assumed.insert("no limit is reached".to_owned());
        }
        for _ in 0..MOST {
            if let Some(cluster) = counted {
                cluster.ledger.look_back(&mut world);
            }
            match decide(&world) {
                Decision::Read(fact) if !matches!(fact, Fact::Proof | Fact::Superseded | Fact::Settlements) => {
                    self.read(&mut world, fact, &mut assumed).await;
                }
                decision => return Told { world, decision, assumed },
            }
        }
        let decision = decide(&world);
        Told { world, decision, assumed }
    }

    async fn read(&self, world: &mut World, fact: Fact, assumed: &mut BTreeSet<String>) {
        let Some(request) = world.subject.request().cloned() else { return };
        let cluster = self.cluster.as_ref();
        let namespace = &request.namespace;
        match fact {
            Fact::Record => {
                world.looked = Some(world.now);
                let found = match cluster {
                    Some(cluster) => cluster.ledger.find(&request.key()).await.map_err(drop),
                    None => Err(()),
                };
                world.record = self.recorded(found, assumed);
            }
            Fact::RecordByName => {
                let (Seen::Known(directory), Seen::Known(Found::One(user))) = (&world.directory, &world.user) else {
                    return;
                };
                let name = record_name(&directory.identity, &user.id.id, request.mode(), request.requested_at);
                let found = match cluster {
                    Some(cluster) => cluster.ledger.get(&name).await.map_err(drop),
                    None => Err(()),
                };
                match self.recorded(found, assumed) {
                    Seen::Known(record) => world.record = Seen::Known(record),
                    _ => world.record_by_name = Seen::Absent,
                }
            }
            Fact::Directory => {
                let known = self.directories.get(&request.directory);
                world.directory = known.map_or(Seen::Absent, |known| known.facts.clone());
                assumed.extend(known.and_then(|known| known.assumed.clone()));
            }
            Fact::NamespaceLabels => {
                world.namespace_labels = match cluster {
                    Some(cluster) => cluster.labels(namespace).await,
                    None => Seen::Unknown(Why::new("no cluster was asked.")),
                };
            }
            Fact::User => world.user = self.user(&request, assumed).await,
            Fact::Entered => {
                let Action::Password { source: Source::FromSecret { name, key }, .. } = &request.action else { return };
                let seen = match cluster {
                    Some(cluster) => match cluster.secrets.entered(namespace, name, key).await {
                        Ok(_) => Seen::Known(Entered::Usable),
                        Err(seen) => seen,
                    },
                    None => Seen::Unread,
                };
                world.entered = if matches!(seen, Seen::Known(Entered::Usable | Entered::Unusable(_)) | Seen::Absent) {
                    seen
                } else {
                    assumed.insert(format!("Secret {namespace}/{name} holds a password in key {key}"));
                    Seen::Known(Entered::Usable)
                };
            }
            Fact::Delivery => {
                let Action::Password { deliver_to: Some(name), .. } = &request.action else { return };
                let seen = match cluster {
                    Some(cluster) => cluster.secrets.delivery(namespace, name).await.0,
                    None => Seen::Unread,
                };
                world.delivery = if matches!(seen, Seen::Known(Delivery::Taken) | Seen::Absent) {
                    seen
                } else {
                    assumed.insert(format!("there is no Secret {namespace}/{name} yet"));
                    Seen::Absent
                };
            }
            Fact::Approvals => {
                // Mostly there are none yet: whoever plans does so before anybody approves.
                let read = match cluster {
                    Some(cluster) => approvals::read(&cluster.client, &request).await,
                    None => Seen::Absent,
                };
                world.approvals = if matches!(read, Seen::Known(_)) { read } else { Seen::Absent };
            }
            Fact::Proof | Fact::Superseded | Fact::Settlements => {}
        }
    }

    /// `found` is an error if it could not be looked for.
    fn recorded(
        &self,
        found: Result<Option<api::CredentialResetRecord>, ()>,
        assumed: &mut BTreeSet<String>,
    ) -> Seen<Record> {
        match found {
            Ok(Some(object)) => Seen::Known(object.record()),
            Ok(None) => Seen::Absent,
            Err(()) => {
                let whose = self.cluster.as_ref().map(|c| format!(" in namespace {}", c.namespace)).unwrap_or_default();
                assumed
                    .insert(format!("this very request was not carried out before (no record was looked for{whose})"));
                Seen::Absent
            }
        }
    }

    async fn user(&self, request: &Request, assumed: &mut BTreeSet<String>) -> Seen<Found> {
        let Some(known) = self.directories.get(&request.directory) else { return Seen::Absent };
        let provider = match (&known.provider, &known.facts) {
            (Ok(provider), _) => provider,
            (Err(_), Seen::Known(directory)) if self.offline => {
                assumed.insert(
                    "the user is there, confirmed, active and not protected by a group or as an administrator"
                        .to_owned(),
                );
                return Seen::Known(Found::One(Box::new(supposed(request, directory))));
            }
            (Err(why), _) => return Seen::Unknown(why.clone()),
        };
        match provider.look_up(&request.user, request.mode()).await {
            Ok(Some(found)) => Seen::Known(found),
            Ok(None) => Seen::Absent,
            Err(why) => Seen::Unknown(why),
        }
    }
}

/// The user whom a request names, as the rules would like it best: what is refused then is refused in any case.
fn supposed(request: &Request, directory: &Directory) -> User {
    let concerned = |rule: &&Rule| {
        rule.modes.contains(&request.mode())
            && (rule.namespaces.contains(&request.namespace) || rule.namespace_selector.is_some())
    };
    let rules: Vec<&Rule> = directory.allow.iter().filter(concerned).collect();
    let typed = request.user.typed();
    let email = match &request.user {
        UserRef::Email(address) => Some(address.clone()),
        // Whatever address the first rule wants.
        UserRef::Username(_) | UserRef::Id(_) => Some(
            rules
                .iter()
                .find_map(|rule| rule.users.email_domains.first())
                .map_or_else(String::new, |d| format!("{typed}@{d}")),
        ),
    };
    let groups =
        rules.iter().flat_map(|rule| rule.users.groups.clone()).filter(|g| !directory.protect.groups.contains(g));
    User {
        id: UserId { id: typed.to_owned(), name: typed.to_owned() },
        email,
        aliases: Vec::new(),
        confirmed: true,
        active: true,
        federated: false,
        administrator: Seen::Known(false),
        operator: Seen::Known(false),
        groups: Seen::Known(groups.collect()),
        changed_at: Seen::Absent,
        lacks: BTreeMap::new(),
        hindrance: None,
        factors: Seen::Unread,
        must_change: Seen::Known(false),
        handle: BTreeMap::new(),
    }
}
