//! The interface to a directory: check, look up, perform, repeat, clean up, verify. Providers are an enum, matched exhaustively.
pub mod active_directory;
pub mod identity;
pub mod keycloak;
pub mod ldap;
pub mod members;
pub mod openldap;
mod rest;
#[cfg(test)]
mod tests;
pub mod watch;
pub mod zoho;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;
use url::Url;

use identity::Identity;
use watch::Watch;

use crate::{
    api::directory::{self, DirectorySpec, Guarantees},
    core::{
        call::{AfterReset, Call, FollowUp, Reply},
        directory::{DirectoryFacts, Feature},
        finding::Finding,
        record::{Attempt, MAX_LOOK_UP, Record},
        request::{Mode, Policy, UserRef},
        seen::Why,
        text,
        user::{LookUp, User},
    },
};

/// For all requests of one task together, each of which has a timeout of its own. The directory determines how many a task takes. Longer
/// than it takes to page through the largest organization.
const TASK_TIMEOUT: Duration = Duration::from_secs(MAX_LOOK_UP.as_secs().unsigned_abs());

/// The contents of a credentials Secret.
pub type Credentials = BTreeMap<String, SecretString>;

/// The value of a key of a credentials Secret, without the line break that editors and `echo` leave at its end and, unless it is a
/// password, without blanks around it. `None`: the key is missing, or its value is blank.
#[must_use]
pub fn credential(credentials: &Credentials, key: &str) -> Option<SecretString> {
    let value = credentials.get(key)?.expose_secret();
    let value = if key.ends_with("password") { value.trim_end_matches(['\r', '\n']) } else { value.trim() };
    (!value.trim().is_empty()).then(|| SecretString::from(value))
}

/// The value of a key that Secret `secret` must have.
///
/// # Errors
/// Which key is missing.
pub fn required(credentials: &Credentials, secret: &str, key: &str) -> Result<SecretString, String> {
    credential(credentials, key).ok_or_else(|| format!("Secret {secret} has no key {key}, or it is empty"))
}

/// The timeout of one request.
///
/// # Errors
/// If the Directory has none that is valid.
fn request_timeout(spec: &DirectorySpec) -> Result<Duration, String> {
    let timeout =
        crate::api::duration(&spec.limits.request_timeout).map_err(|e| format!("spec.limits.requestTimeout: {e}"))?;
    Ok(Duration::try_from(timeout).unwrap_or_default())
}

/// The guarded value, even if a thread panicked with the lock: no operation leaves it inconsistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection to a directory.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there are few of them")]
pub enum Provider {
    /// Zoho Directory.
    Zoho(zoho::Zoho),
    /// A realm of Keycloak.
    Keycloak(keycloak::Keycloak),
    /// `OpenLDAP`.
    OpenLdap(openldap::OpenLdap),
    /// Active Directory, and Samba as its domain controller.
    ActiveDirectory(active_directory::ActiveDirectory),
}

/// The right to send one call. Only creating a record, or taking one over from `Released`, yields it. Sending uses it up.
pub struct Fenced {
    record: Record,
    may_send: Box<dyn Fn() -> bool + Send + Sync>,
}

impl std::fmt::Debug for Fenced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fenced").field("record", &self.record.name).finish_non_exhaustive()
    }
}

impl Fenced {
    /// Only for the ledger's store, with the record as the API server has just stored it. `may_send`: this process is still the leader, and
    /// enough time is left before the attempt's deadline and the request's expiry.
    pub(crate) fn by_write(record: Record, may_send: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { record, may_send: Box::new(may_send) }
    }

    /// Only for `credreset try`, where a person has typed the user's name twice and approves the call.
    pub(crate) fn by_hand(record: Record) -> Self {
        Self { record, may_send: Box::new(|| true) }
    }

    /// The call to send.
    #[must_use]
    pub fn call(&self) -> &Call {
        &self.record.call
    }

    /// The precondition of the call, if it is conditional: the state that the attempt saw.
    #[must_use]
    pub fn precondition(&self) -> Option<&str> {
        precondition(&self.record)
    }

    /// The attempt that the call belongs to.
    #[must_use]
    pub fn attempt(&self) -> &Attempt {
        &self.record.attempt
    }

    /// What the operator does after the change.
    #[must_use]
    pub fn follow_up(&self) -> &FollowUp {
        &self.record.follow_up
    }

    /// Uses up the right, immediately before the request is sent and after everything else has been fetched. False: nothing may be sent any
    /// more.
    #[must_use]
    pub fn pass(self) -> bool {
        (self.may_send)()
    }
}

/// What must still hold at the directory for the call of `record` to take effect. `None`: the call is not conditional.
fn precondition(record: &Record) -> Option<&str> {
    record.attempt.baseline.as_deref().filter(|_| record.attempt.conditional)
}

/// Result of a successful check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The identity of the directory, which is independent of how it is addressed.
    pub identity: String,
    /// How much of "exactly once" the directory allows.
    pub guarantees: Guarantees,
    /// The features that the directory supports.
    pub supports: BTreeSet<Feature>,
    /// What the operator ends with separate calls after a reset.
    pub separate_calls: AfterReset,
    /// What remains valid after a reset and the operator cannot end, as a sentence.
    pub not_ended: Option<&'static str>,
    /// The password policy, as far as the directory shows it.
    pub policy: Policy,
    /// Groups that rules name and the operator's account does not see. No user counts as a member.
    pub unknown_groups: Vec<String>,
}

impl Checked {
    /// The warning about groups that rules name and that do not exist. `None`: there are none.
    #[must_use]
    pub fn unknown_groups(&self) -> Option<String> {
        let names: Vec<String> = self.unknown_groups.iter().map(|name| text::printable(name, text::NAME)).collect();
        (!names.is_empty()).then(|| {
            format!(
                "spec.allow names {}, and the operator's account sees no such group: no user is in it.",
                names.join("; ")
            )
        })
    }

    /// The facts of the Directory object, with the result of the check.
    #[must_use]
    pub fn add_to(&self, facts: DirectoryFacts) -> DirectoryFacts {
        let Self { identity, guarantees, supports, separate_calls, not_ended, policy, unknown_groups: _ } = self;
        DirectoryFacts {
            identity: identity.clone(),
            supports: supports.clone(),
            conditional: guarantees.conditional(),
            separate_calls: *separate_calls,
            not_ended: not_ended.map(str::to_owned),
            policy: policy.clone(),
            ..facts
        }
    }
}

/// Why a Directory cannot be used. The text says what is wrong and what to do. It contains fixed texts and names only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// The directory does not answer.
    #[error("{0}")]
    Unreachable(String),
    /// The directory answers the operator's account again only after the time that the text names.
    #[error("{0}")]
    Throttled(String),
    /// The directory refuses the operator's credentials.
    #[error("{0}")]
    CredentialsRefused(String),
    /// The operator's account lacks a right.
    #[error("{0}")]
    PermissionMissing(String),
    /// The Directory object or its Secret is wrong.
    #[error("{0}")]
    InvalidConfiguration(String),
}

impl NotReady {
    /// The reason of the `Ready` condition.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) | Self::Throttled(_) => "Unreachable",
            Self::CredentialsRefused(_) => "CredentialsRefused",
            Self::PermissionMissing(_) => "PermissionMissing",
            Self::InvalidConfiguration(_) => "InvalidConfiguration",
        }
    }
}

/// The addresses that the operator connects to, as `spec` describes them. Invalid ones are left out.
#[must_use]
pub fn addresses(spec: &DirectorySpec) -> Vec<Url> {
    let texts = match &spec.provider {
        directory::ProviderSpec::Zoho(zoho) => zoho::addresses(zoho).map(Vec::from).unwrap_or_default(),
        directory::ProviderSpec::Keycloak(keycloak) => vec![keycloak.url.clone()],
        directory::ProviderSpec::OpenLdap(openldap) => openldap.ldap.urls.clone(),
        directory::ProviderSpec::ActiveDirectory(domain) => domain.ldap.urls.clone(),
    };
    texts.iter().filter_map(|text| Url::parse(text).ok()).filter(|url| url.host_str().is_some()).collect()
}

impl Provider {
    /// Creates a connection from `spec`. Sends nothing.
    ///
    /// # Errors
    /// [`NotReady::InvalidConfiguration`] says which field or key is wrong.
    pub fn connect(spec: &DirectorySpec, credentials: &Credentials) -> Result<Self, NotReady> {
        Ok(match &spec.provider {
            directory::ProviderSpec::Zoho(zoho) => Self::Zoho(zoho::Zoho::connect(spec, zoho, credentials)?),
            directory::ProviderSpec::Keycloak(keycloak) => {
                Self::Keycloak(keycloak::Keycloak::connect(spec, keycloak, credentials)?)
            }
            directory::ProviderSpec::OpenLdap(openldap) => {
                Self::OpenLdap(openldap::OpenLdap::connect(spec, openldap, credentials)?)
            }
            directory::ProviderSpec::ActiveDirectory(domain) => {
                Self::ActiveDirectory(active_directory::ActiveDirectory::connect(spec, domain, credentials)?)
            }
        })
    }

    /// This connection, which signs in with tokens of `identity` where the Directory asks for that.
    #[must_use]
    pub fn identified_by(mut self, identity: Arc<dyn Identity>) -> Self {
        if let Self::Keycloak(keycloak) = &mut self {
            keycloak.identify(identity);
        }
        self
    }

    /// This connection, on which nothing is sent that `watch` has not approved.
    #[must_use]
    pub fn watched_by(mut self, watch: Arc<dyn Watch>) -> Self {
        let watch = Some(watch);
        match &mut self {
            Self::Zoho(zoho) => zoho.http.watch = watch,
            Self::Keycloak(keycloak) => keycloak.http.watch = watch,
            Self::OpenLdap(openldap) => openldap.client.watch = watch,
            Self::ActiveDirectory(domain) => domain.client.watch = watch,
        }
        self
    }

    /// The timeout for all requests of one task together. A person who approves them may take as long as necessary.
    fn task_timeout(&self) -> Duration {
        let watch = match self {
            Self::Zoho(zoho) => &zoho.http.watch,
            Self::Keycloak(keycloak) => &keycloak.http.watch,
            Self::OpenLdap(openldap) => &openldap.client.watch,
            Self::ActiveDirectory(domain) => &domain.client.watch,
        };
        if watch.is_some() { watch::NO_TIMEOUT } else { TASK_TIMEOUT }
    }

    /// Signs in, and checks that the operator's account has the rights that each of `modes` needs.
    ///
    /// # Errors
    /// Why the directory cannot be used.
    pub async fn check(&self, modes: &BTreeSet<Mode>) -> Result<Checked, NotReady> {
        let task = async {
            match self {
                Self::Zoho(zoho) => zoho.check(modes).await,
                // Both modes need the same.
                Self::Keycloak(keycloak) => keycloak.check().await,
                Self::OpenLdap(openldap) => Box::pin(openldap.check(modes)).await,
                Self::ActiveDirectory(domain) => Box::pin(domain.check(modes)).await,
            }
        };
        timeout(self.task_timeout(), task).await.unwrap_or_else(|_| Err(NotReady::Unreachable(timed_out().message)))
    }

    /// Finds a user, with groups if the Directory's rules or protections name any. `None`: the directory has no such user.
    ///
    /// # Errors
    /// Why the directory could not be asked.
    pub async fn look_up(&self, user: &UserRef, mode: Mode) -> Result<Option<LookUp>, Why> {
        let task = async {
            match self {
                Self::Zoho(zoho) => zoho.look_up(user, mode).await,
                Self::Keycloak(keycloak) => Box::pin(keycloak.look_up(user, mode)).await,
                Self::OpenLdap(openldap) => Box::pin(openldap.look_up(user)).await,
                Self::ActiveDirectory(domain) => Box::pin(domain.look_up(user)).await,
            }
        };
        timeout(self.task_timeout(), task).await.unwrap_or_else(|_| Err(timed_out()))
    }

    /// Sends the call that `fenced` allows: one request, no retries, no redirects.
    pub async fn perform(&self, fenced: Fenced, user: &User, password: Option<&SecretString>) -> Reply {
        let task = async {
            match self {
                Self::Zoho(zoho) => Box::pin(zoho.perform(fenced, user, password)).await,
                Self::Keycloak(keycloak) => Box::pin(keycloak.perform(fenced, user, password)).await,
                Self::OpenLdap(openldap) => Box::pin(openldap.perform(fenced, user, password)).await,
                Self::ActiveDirectory(domain) => Box::pin(domain.perform(fenced, user, password)).await,
            }
        };
        timeout(self.task_timeout(), task).await.unwrap_or(Reply::Unsure)
    }

    /// Why nothing more may be sent with these credentials, if the call was refused with `code`.
    #[must_use]
    pub fn stopped_by(&self, code: &str) -> Option<NotReady> {
        match self {
            Self::Zoho(zoho) => zoho.stopped_by(code),
            // They send the same credentials with a call as with the sign-in of the check.
            Self::Keycloak(_) | Self::OpenLdap(_) | Self::ActiveDirectory(_) => None,
        }
    }

    /// Sends the conditional call of `record` again, with the same password and precondition: it takes effect at most once, however often
    /// it is sent. Sends nothing if the call is not conditional, or the request has expired.
    pub async fn repeat(&self, record: &Record, user: &User, password: Option<&SecretString>) -> Reply {
        let Some(precondition) = precondition(record) else { return Reply::NotSent };
        let in_time = || jiff::Timestamp::now() < record.expires_at;
        let task = async {
            match self {
                Self::Zoho(zoho) => Box::pin(zoho.repeat(record, precondition, user, password, in_time)).await,
                Self::Keycloak(keycloak) => Box::pin(keycloak.repeat(record, user, in_time)).await,
                Self::OpenLdap(openldap) => {
                    Box::pin(openldap.repeat(record, precondition, user, password, in_time)).await
                }
                Self::ActiveDirectory(domain) => {
                    Box::pin(domain.repeat(record, precondition, user, password, in_time)).await
                }
            }
        };
        timeout(self.task_timeout(), task).await.unwrap_or(Reply::Unsure)
    }

    /// Does what the call of `record` itself cannot do, such as ending sessions. May be repeated.
    ///
    /// # Errors
    /// What is not done, and why.
    pub async fn clean_up(&self, record: &Record, what: AfterReset) -> Result<(), Why> {
        let task = async {
            match self {
                Self::Zoho(_) | Self::OpenLdap(_) => Ok(()),
                Self::Keycloak(keycloak) => keycloak.clean_up(record, what).await,
                Self::ActiveDirectory(domain) => Box::pin(domain.clean_up(record, what)).await,
            }
        };
        timeout(self.task_timeout(), task).await.unwrap_or_else(|_| Err(timed_out()))
    }

    /// Whether the user of `record` can sign in with `password`. A wrong password counts towards a lock-out, so call this once for each
    /// attempt. False proves nothing.
    ///
    /// # Errors
    /// Why the password was not sent. The sign-in may be tried again.
    pub async fn sign_in(&self, record: &Record, password: &SecretString) -> Result<bool, Why> {
        let task = async {
            match self {
                Self::Zoho(_) => Err(Why::new("there is no way to sign in.")),
                Self::Keycloak(keycloak) => keycloak.sign_in(record, password).await,
                Self::OpenLdap(openldap) => Box::pin(openldap.sign_in(record, password)).await,
                Self::ActiveDirectory(domain) => Box::pin(domain.sign_in(record, password)).await,
            }
        };
        timeout(self.task_timeout(), task).await.unwrap_or(Ok(false))
    }

    /// Looks for evidence that the call of `record` took effect. Reads only.
    ///
    /// # Errors
    /// Why the directory could not be asked.
    pub async fn verify(&self, record: &Record) -> Result<Finding, Why> {
        let task = async {
            match self {
                Self::Zoho(zoho) => zoho.verify(record).await,
                Self::Keycloak(keycloak) => keycloak.verify(record).await,
                Self::OpenLdap(openldap) => Box::pin(openldap.verify(record)).await,
                Self::ActiveDirectory(domain) => Box::pin(domain.verify(record)).await,
            }
        };
        timeout(self.task_timeout(), task).await.unwrap_or_else(|_| Err(timed_out()))
    }
}

/// What people call a user, from the names that the directory shows. `None`: they are blank.
fn display_name<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let name = names.into_iter().map(str::trim).filter(|name| !name.is_empty()).collect::<Vec<_>>().join(" ");
    (!name.is_empty()).then(|| text::printable(&name, text::NAME))
}

fn timed_out() -> Why {
    Why::new("the directory's answers were still not at their end after 15 minutes.")
}
