//! What is known at the moment of a decision. Facts are never guessed: what was not read, or could not be read, says so.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    approvals::{Approval, Approvals},
    ledger::{Evidence, NEVER, Record, Reply, State, UserId},
    plan::CleanUp,
    report::{Outcome, Reason, Shown},
    request::{Factor, Mode, Policy, Request},
};

/// A fact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Seen<T> {
    /// Nobody has looked yet.
    #[default]
    Unread,
    /// It is so.
    Known(T),
    /// It was looked for and is not there.
    Absent,
    /// It could not be read, and why. Not the same as absent: it can only lead to waiting.
    Unknown(Why),
}

/// Why a fact could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Why {
    /// Fixed words and names, never from a response body.
    pub message: String,
    /// The directory asked to be left alone until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
}

impl Why {
    /// A reason without a time.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), not_before: None }
    }
}

/// Everything a decision may look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct World {
    /// This process's wall clock.
    pub now: Timestamp,
    /// This process, and a fresh attempt should one begin.
    pub me: Me,
    /// The request, unless its object is gone.
    pub subject: Subject,
    /// The ledger's record, found by the request's key, or by its name once the user is known.
    #[serde(default)]
    pub record: Seen<Record>,
    /// When the ledger was last asked for the record by its key, by this process's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looked: Option<Timestamp>,
    /// The record, looked for by its name: absent means that nobody has started.
    #[serde(default)]
    pub record_by_name: Seen<()>,
    /// The Directory object and what its last check found.
    #[serde(default)]
    pub directory: Seen<Directory>,
    /// Labels of the request's namespace.
    #[serde(default)]
    pub namespace_labels: Seen<BTreeMap<String, String>>,
    /// The user, as the directory shows it now.
    #[serde(default)]
    pub user: Seen<Found>,
    /// The Secret that an entered password comes from.
    #[serde(default)]
    pub entered: Seen<Entered>,
    /// The Secret that the password is to be delivered to.
    #[serde(default)]
    pub delivery: Seen<Delivery>,
    /// When the Secret was made that is there already, by the API server's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<Timestamp>,
    /// What people who have looked say of an attempt whose outcome is unknown.
    #[serde(default, skip_serializing_if = "is_default")]
    pub settlements: Seen<Vec<Settlement>>,
    /// Approvals that name this request.
    #[serde(default)]
    pub approvals: Seen<Vec<Approval>>,
    /// Records of the same user that are open, or were started within the last hour.
    #[serde(default)]
    pub past: Vec<Arc<Past>>,
    /// When the attempt began that is the last of the Directory's `resetsPerHour`, counted back from the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_since: Option<Timestamp>,
    /// The password Secret that this process has written for its attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<String>,
    /// The attempt that this process itself holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holding: Option<Holding>,
    /// How far this process has come with what remains after the change.
    #[serde(default)]
    pub progress: Progress,
    /// What a look for evidence found.
    #[serde(default)]
    pub proof: Seen<Proof>,
    /// The one sign-in that may tell is this process's to make: it has written so into the record, and has not sent it yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_sign_in: bool,
    /// Whether a later request for the same user and mode has been applied.
    #[serde(default)]
    pub superseded: Seen<bool>,
}

impl World {
    /// One in which nothing has been read yet.
    #[must_use]
    pub fn new(now: Timestamp, me: Me, subject: Subject) -> Self {
        Self {
            now,
            me,
            subject,
            record: Seen::Unread,
            looked: None,
            record_by_name: Seen::Unread,
            directory: Seen::Unread,
            namespace_labels: Seen::Unread,
            user: Seen::Unread,
            entered: Seen::Unread,
            delivery: Seen::Unread,
            taken_at: None,
            settlements: Seen::Unread,
            approvals: Seen::Unread,
            past: Vec::new(),
            full_since: None,
            stored: None,
            holding: None,
            progress: Progress::default(),
            proof: Seen::Unread,
            may_sign_in: false,
            superseded: Seen::Unread,
        }
    }
}

/// Who decides.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Me {
    /// This process, unlike any other before or after it.
    pub holder: String,
    /// Id for an attempt, should one begin now.
    pub attempt: String,
}

/// Whose turn it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Subject {
    /// A request.
    Object {
        /// What it asks for.
        request: Box<Request>,
        /// What its status shows now.
        #[serde(default)]
        shown: Shown,
    },
    /// A record whose object is gone.
    Gone,
}

impl Subject {
    /// The request, if the object is there.
    #[must_use]
    pub fn request(&self) -> Option<&Request> {
        match self {
            Self::Object { request, .. } => Some(request),
            Self::Gone => None,
        }
    }
}

/// What a directory can do besides setting a password or resetting MFA as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Feature {
    /// Set a password.
    ResetPassword,
    /// Reset second factors.
    ResetMFA,
    /// Only some kinds of factors.
    FactorsByKind,
    /// Make the user choose another password at the next sign-in.
    ForceChangeOnLogin,
    /// Sign in without being made to choose another password.
    KeepAfterLogin,
    /// End web sessions.
    ClearWebSessions,
    /// End mobile sessions and API tokens.
    ClearMobileSessionsAndApiTokens,
    /// Mail the new password to the user itself.
    EmailToUser,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::ResetPassword,
        Self::ResetMFA,
        Self::FactorsByKind,
        Self::ForceChangeOnLogin,
        Self::KeepAfterLogin,
        Self::ClearWebSessions,
        Self::ClearMobileSessionsAndApiTokens,
        Self::EmailToUser,
    ];
}

/// How much of "exactly once" a directory allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Guarantee {
    /// A lost answer costs nothing: the same conditional write is repeated.
    ExactlyOnce,
    /// A lost answer can mostly be cleared up by looking.
    Provable,
    /// A lost answer leaves the outcome unknown.
    AtMostOnce,
}

/// A Directory object and its last check.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Directory {
    /// Name of the object.
    pub name: String,
    /// The directory's own identity: renaming the object changes nothing.
    pub identity: String,
    /// What people call this kind of directory.
    pub kind: String,
    /// Nothing is started.
    #[serde(default)]
    pub suspend: bool,
    /// What is wrong, if it is not Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ready: Option<String>,
    /// What it can do.
    pub supports: BTreeSet<Feature>,
    /// Who may reset whom; the first that matches decides.
    #[serde(default)]
    pub allow: Vec<Rule>,
    /// Who is never reset.
    #[serde(default)]
    pub protect: Protect,
    /// How often.
    #[serde(default)]
    pub limits: Limits,
    /// The operator can send mail itself.
    #[serde(default)]
    pub mail: bool,
    /// Why the operator can send no mail now; fixed words, a whole sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail_trouble: Option<String>,
    /// Modes whose call is carried out only if what it changes is as it was before the attempt.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub conditional: BTreeSet<Mode>,
    /// What takes calls of their own after the reset.
    #[serde(default, skip_serializing_if = "is_default")]
    pub apart: CleanUp,
    /// What lives on after a password reset, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remains: Option<String>,
    /// What it asks of passwords, as far as it shows that.
    #[serde(default, skip_serializing_if = "is_default")]
    pub policy: Policy,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Directory {
    /// The modes that its rules are about.
    #[must_use]
    pub fn modes(&self) -> BTreeSet<Mode> {
        self.allow.iter().flat_map(|rule| rule.modes.iter().copied()).collect()
    }

    /// One whose object makes no sense.
    #[must_use]
    pub fn unusable(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            identity: String::new(),
            kind: String::new(),
            suspend: false,
            not_ready: Some("its spec makes no sense.".to_owned()),
            supports: BTreeSet::new(),
            allow: Vec::new(),
            protect: Protect::default(),
            limits: Limits::default(),
            mail: false,
            mail_trouble: None,
            conditional: BTreeSet::new(),
            apart: CleanUp::default(),
            remains: None,
            policy: Policy::default(),
        }
    }
}

/// One rule of a Directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Its name, for messages.
    pub name: String,
    /// Requests from these namespaces.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Requests from namespaces with all of these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<Selector>,
    /// For these modes.
    pub modes: Vec<Mode>,
    /// For these users.
    pub users: Users,
    /// At most this much between `requestedAt` and the deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_valid_for: Option<SignedDuration>,
    /// People who have to approve a request in the cluster, besides whatever review it had before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Approvals>,
}

/// A label selector as Kubernetes defines it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// All of these.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
    /// And all of these.
    #[serde(default)]
    pub match_expressions: Vec<Expression>,
}

/// A requirement of a label selector.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Expression {
    /// The label.
    pub key: String,
    /// How it is compared.
    pub operator: Operator,
    /// With what.
    #[serde(default)]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Operator {
    /// One of the values.
    In,
    /// None of the values.
    NotIn,
    /// Present.
    Exists,
    /// Not present.
    DoesNotExist,
}

impl Selector {
    /// Whether `labels` fulfil all requirements.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|e| {
                let value = labels.get(&e.key);
                match e.operator {
                    Operator::In => value.is_some_and(|v| e.values.contains(v)),
                    Operator::NotIn => value.is_none_or(|v| !e.values.contains(v)),
                    Operator::Exists => value.is_some(),
                    Operator::DoesNotExist => value.is_none(),
                }
            })
    }
}

/// Which users a rule is about. All that are given must match; nothing given matches nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Users {
    /// Domain of the primary e-mail address.
    #[serde(default)]
    pub email_domains: Vec<String>,
    /// Member of one of these.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Really everyone.
    #[serde(default)]
    pub everyone: bool,
}

/// Who is never reset.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Protect {
    /// By e-mail address, name or id.
    pub users: Vec<String>,
    /// By group.
    pub groups: Vec<String>,
    /// Administrators of the directory.
    pub administrators: bool,
}

impl Default for Protect {
    fn default() -> Self {
        Self { users: Vec::new(), groups: Vec::new(), administrators: true }
    }
}

/// How often a Directory may be used.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Attempts started within any hour.
    pub resets_per_hour: u32,
    /// Between two attempts at one user; at most an hour.
    pub min_interval_per_user: SignedDuration,
    /// For one call to the directory.
    pub request_timeout: SignedDuration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            resets_per_hour: 20,
            min_interval_per_user: SignedDuration::from_mins(5),
            request_timeout: SignedDuration::from_secs(15),
        }
    }
}

/// What a look-up found.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Found {
    /// One user.
    One(Box<User>),
    /// Several that fit.
    Several(usize),
}

/// In [`User::handle`]: what a conditional call is bound to, where that is not the time of the last change as such.
pub const CONDITION: &str = "condition";

/// A user, as the directory shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Id and name.
    pub id: UserId,
    /// The primary e-mail address.
    #[serde(default)]
    pub email: Option<String>,
    /// Other names under which a protection may list the user.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Has taken the account over.
    pub confirmed: bool,
    /// May sign in.
    pub active: bool,
    /// The password is kept elsewhere.
    #[serde(default)]
    pub federated: bool,
    /// Second factors, where the directory shows them one by one. Only read for mode MFA.
    #[serde(default, skip_serializing_if = "is_default")]
    pub factors: Seen<Factors>,
    /// Administers the directory.
    pub administrator: Seen<bool>,
    /// Is the account that the operator itself uses.
    pub operator: Seen<bool>,
    /// Groups, by name. Only read where a rule or a protection asks for them.
    #[serde(default)]
    pub groups: Seen<Vec<String>>,
    /// When what the request's mode is about was last changed; absent: never; unknown: the directory does not show it.
    pub changed_at: Seen<Timestamp>,
    /// What the directory can do, but not for this user, and why, with what to do: to complete "... does not support it for USER, ...".
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lacks: BTreeMap<Feature, String>,
    /// Why a reset would not come to what it says, for this user; or, of one who is not active, why that is. With what to do: whole
    /// sentences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hindrance: Option<String>,
    /// Must choose another password already, before any reset. Only read where that makes a difference.
    #[serde(default, skip_serializing_if = "is_default")]
    pub must_change: Seen<bool>,
    /// What the provider itself needs to know of the user for its call, such as a second id.
    #[serde(default)]
    pub handle: BTreeMap<String, String>,
}

/// What a user signs in with besides a password.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Factors {
    /// One by one.
    pub enrolled: Vec<Enrolled>,
    /// Something opens the account that is no second factor: a password, here or elsewhere.
    pub password: bool,
}

/// A second factor of a user, as the directory shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Enrolled {
    /// The directory's own word for its kind.
    pub kind: String,
    /// What a request calls it; none: nothing that the operator removes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<Factor>,
    /// When; none: the directory knows no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// It opens the account without a password.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alone: bool,
    /// Why its user would not be asked to enrol a new one, and what to do: whole sentences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hindered: Option<String>,
}

impl World {
    /// Forgets what was read before a call was sent: no second one goes by what the first may have changed.
    pub fn forget(&mut self) {
        self.directory = Seen::Unread;
        self.namespace_labels = Seen::Unread;
        self.user = Seen::Unread;
        self.entered = Seen::Unread;
        self.delivery = Seen::Unread;
        self.approvals = Seen::Unread;
    }
}

impl User {
    /// What an attempt remembers of the state before it: the provider's own condition, or the change time.
    #[must_use]
    pub fn baseline(&self) -> Option<String> {
        if let Some(condition) = self.handle.get(CONDITION) {
            return Some(condition.clone());
        }
        match &self.changed_at {
            Seen::Known(at) => Some(at.to_string()),
            Seen::Absent => Some(NEVER.to_owned()),
            Seen::Unread | Seen::Unknown(_) => None,
        }
    }
}

/// The Secret of an entered password.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Entered {
    /// A password is there.
    Usable,
    /// Something is wrong with it; fixed words, to complete "Secret NAME ...".
    Unusable(String),
    /// The operator may not read it.
    Forbidden,
}

/// The Secret that is to receive the password.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Delivery {
    /// A Secret of that name exists already.
    Taken,
    /// The operator may not look.
    Forbidden,
}

/// A record in short, for limits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Past {
    /// Name of the record.
    pub record: String,
    /// The directory's identity.
    pub directory_identity: String,
    /// The user's id.
    pub user: String,
    /// What it is about.
    pub mode: Mode,
    /// Where it stands.
    pub state: State,
    /// When its latest attempt began.
    pub started_at: Timestamp,
    /// When its latest attempt is over for everybody.
    pub over: Timestamp,
}

/// An attempt of this very process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holding {
    /// Its id.
    pub attempt: String,
    /// It leads, and there is time enough before the attempt's deadline.
    pub may_send: bool,
    /// What came back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Reply>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replied_at: Option<Timestamp>,
}

/// What somebody says who has looked, or asked the user, where no evidence tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settlement {
    /// Name of the object.
    pub name: String,
    /// The Directory for which admission has asked whether they may say so.
    pub directory: String,
    /// It is in force.
    pub applied: bool,
    /// Who says so: admission has compared it with the caller.
    pub by: String,
    /// How they know.
    pub reason: String,
    /// When, by the API server's clock, which shows no fractions of a second.
    pub created: Timestamp,
    /// Said when no admission policy may have compared who says so with the caller.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unguarded: bool,
}

impl Settlement {
    /// Why it does not count for `record`; words that complete "NAME is".
    pub(super) fn fault(&self, record: &Record) -> Option<&'static str> {
        let before = |at: Timestamp| self.created.as_second() < at.as_second();
        if self.unguarded {
            Some("older than the admission policy (to be said again)")
        } else if self.directory != record.directory {
            Some("for another Directory")
        } else if record.settled_at.is_some_and(before) {
            Some("older than the outcome (to be said again)")
        } else {
            None
        }
    }
}

/// How far one repeatable step has come in this process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StepState {
    /// Not tried.
    #[default]
    Pending,
    /// Done.
    Done,
    /// It failed and is worth another try.
    Failed(String),
    /// It can never be done.
    Impossible(String),
    /// It can never be done, since the password itself is gone.
    Lost(String),
}

/// The steps after the change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// The delivery Secret.
    pub deliver: StepState,
    /// Ending what the call did not end.
    pub clean_up: StepState,
    /// The mail.
    pub mail: StepState,
}

/// What a look for evidence found.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Proof {
    /// The change is in force.
    Proven(Evidence),
    /// The same conditional call, sent again, was turned away: something has changed since before the first, and whether that
    /// was the first is to be looked for.
    Moved,
    /// Something has changed since before the call, and only a sign-in with the attempt's password could tell whether the call
    /// did it; what the directory shows.
    Open(String),
    /// Something has changed since before the call, or may have, and nothing tells that the call did it; what the directory shows.
    Changed(String),
    /// No telling, and no sign of a change since before the call; what the directory shows.
    Nothing(String),
}

impl Shown {
    /// The status says all there is to say.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.outcome.is_some_and(|o| o != Outcome::Unknown)
    }

    /// The status says that a call may have been sent.
    #[must_use]
    pub fn was_under_way(&self) -> bool {
        self.outcome == Some(Outcome::Unknown)
            || matches!(self.reason, Some(Reason::Executing | Reason::Verifying | Reason::Finishing))
    }
}
