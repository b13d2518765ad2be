//! The port to a directory: look up, perform, verify, check. Providers are an enum, matched exhaustively.
pub mod active_directory;
pub mod http;
pub mod keycloak;
pub mod ldap;
pub mod mail;
pub mod openldap;
pub mod password;
#[cfg(test)]
mod tests;
pub mod zoho;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;
use url::Url;

use crate::{
    api::directory::{self, DirectorySpec, Guarantees},
    core::{
        ledger::{Attempt, Finish, Record, Reply},
        plan::{CleanUp, Once},
        request::{Mode, Policy, UserRef},
        text,
        world::{self, Feature, Found, Proof, User, Why},
    },
};

/// For all calls of one task together, each of which has a time limit of its own: longer than it takes to page through the largest
/// organization. A directory decides how many it takes.
const LONGEST: Duration = Duration::from_secs(900);

/// The contents of a credentials Secret.
pub type Credentials = BTreeMap<String, SecretString>;

/// The value of a key of a credentials Secret, without the line break that editors and `echo` leave at its end, nor blanks around what is
/// no password. `None`: there is nothing else in it, or no such key.
#[must_use]
pub fn credential(credentials: &Credentials, key: &str) -> Option<SecretString> {
    let value = credentials.get(key)?.expose_secret();
    let value = if key.ends_with("password") { value.trim_end_matches(['\r', '\n']) } else { value.trim() };
    (!value.trim().is_empty()).then(|| SecretString::from(value))
}

/// The same, of a Secret that must have it.
///
/// # Errors
/// Which key is missing.
pub fn needed(credentials: &Credentials, secret: &str, key: &str) -> Result<SecretString, String> {
    credential(credentials, key).ok_or_else(|| format!("Secret {secret} has no key {key}, or it is empty"))
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

/// The right to send one call. Only the creation of a record, or its take-over from `Released`, yields one; sending uses it up.
pub struct Fenced {
    record: Record,
    still: Box<dyn Fn() -> bool + Send + Sync>,
}

impl std::fmt::Debug for Fenced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fenced").field("record", &self.record.name).finish_non_exhaustive()
    }
}

impl Fenced {
    /// To be called by the ledger's store alone, with the record as the API server has just stored it. `still`: this process
    /// leads, and there is time enough before the attempt's deadline and the request's.
    pub(crate) fn by_write(record: Record, still: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { record, still: Box::new(still) }
    }

    /// What the call's effect is conditional on, where it is: the state that the attempt saw.
    #[must_use]
    pub fn condition(&self) -> Option<&str> {
        condition(&self.record)
    }

    /// The attempt that the call belongs to.
    #[must_use]
    pub fn attempt(&self) -> &Attempt {
        &self.record.attempt
    }

    /// What the operator has to do after the call.
    #[must_use]
    pub fn finish(&self) -> &Finish {
        &self.record.finish
    }

    /// To be asked right before the request goes out, when everything else has been fetched: false means that nothing may be
    /// sent any more.
    #[must_use]
    pub fn pass(self) -> bool {
        (self.still)()
    }
}

/// What must still be so at the directory for the call of `record`'s attempt to take effect.
fn condition(record: &Record) -> Option<&str> {
    record.attempt.baseline.as_deref().filter(|_| record.attempt.conditional)
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The directory's own identity.
    pub identity: String,
    /// How much of "exactly once" it allows.
    pub guarantees: Guarantees,
    /// What it can do.
    pub supports: BTreeSet<Feature>,
    /// What of a reset takes calls of their own, to be made after it.
    pub apart: CleanUp,
    /// What a reset leaves alive and the operator cannot end, as a sentence.
    pub remains: Option<&'static str>,
    /// What it asks of passwords, as far as it shows that.
    pub policy: Policy,
    /// Groups of rules that the operator's account does not see: nobody is found to be in them.
    pub unknown_groups: Vec<String>,
}

impl Checked {
    /// What is said of groups that rules name in vain.
    #[must_use]
    pub fn unknown_groups(&self) -> Option<String> {
        let names: Vec<String> = self.unknown_groups.iter().map(|name| text::shown(name, text::NAME)).collect();
        (!names.is_empty()).then(|| {
            format!(
                "spec.allow names {}, and the operator's account sees no such group: nobody is in it.",
                names.join("; ")
            )
        })
    }

    /// Adds what was found to what the Directory's object says.
    #[must_use]
    pub fn add_to(&self, said: world::Directory) -> world::Directory {
        let Self { identity, guarantees, supports, apart, remains, policy, unknown_groups: _ } = self;
        world::Directory {
            identity: identity.clone(),
            supports: supports.clone(),
            conditional: guarantees.conditional(),
            apart: *apart,
            remains: remains.map(str::to_owned),
            policy: policy.clone(),
            ..said
        }
    }
}

/// Why a Directory cannot be used. The text says what is wrong and what to do; it has fixed words and names only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// It does not answer, or asks to be left alone.
    #[error("{0}")]
    Unreachable(String),
    /// It refuses the operator's credentials.
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
            Self::Unreachable(_) => "Unreachable",
            Self::CredentialsRefused(_) => "CredentialsRefused",
            Self::PermissionMissing(_) => "PermissionMissing",
            Self::InvalidConfiguration(_) => "InvalidConfiguration",
        }
    }
}

/// The addresses that `spec` leads to; what is none is left out.
#[must_use]
pub fn addresses(spec: &DirectorySpec) -> Vec<Url> {
    let texts = match &spec.provider {
        directory::Provider::Zoho(zoho) => zoho::addresses(zoho).map(Vec::from).unwrap_or_default(),
        directory::Provider::Keycloak(keycloak) => vec![keycloak.url.clone()],
        directory::Provider::OpenLdap(openldap) => openldap.ldap.urls.clone(),
        directory::Provider::ActiveDirectory(domain) => domain.ldap.urls.clone(),
    };
    texts.iter().filter_map(|text| Url::parse(text).ok()).filter(|url| url.host_str().is_some()).collect()
}

impl Provider {
    /// A connection as `spec` describes it. Sends nothing.
    ///
    /// # Errors
    /// [`NotReady::InvalidConfiguration`] says which field or key is wrong.
    pub fn connect(spec: &DirectorySpec, credentials: &Credentials) -> Result<Self, NotReady> {
        Ok(match &spec.provider {
            directory::Provider::Zoho(zoho) => Self::Zoho(zoho::Zoho::connect(spec, zoho, credentials)?),
            directory::Provider::Keycloak(keycloak) => {
                Self::Keycloak(keycloak::Keycloak::connect(spec, keycloak, credentials)?)
            }
            directory::Provider::OpenLdap(openldap) => {
                Self::OpenLdap(openldap::OpenLdap::connect(spec, openldap, credentials)?)
            }
            directory::Provider::ActiveDirectory(domain) => {
                Self::ActiveDirectory(active_directory::ActiveDirectory::connect(spec, domain, credentials)?)
            }
        })
    }

    /// Signs in, and checks that the operator's account holds what each of `modes` needs.
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
        timeout(LONGEST, task).await.unwrap_or_else(|_| Err(NotReady::Unreachable(late().message)))
    }

    /// Finds a user, with groups if the Directory's rules or protections name some. `None`: the directory knows no such user.
    ///
    /// # Errors
    /// Why it could not be told.
    pub async fn look_up(&self, user: &UserRef, mode: Mode) -> Result<Option<Found>, Why> {
        let task = async {
            match self {
                Self::Zoho(zoho) => zoho.look_up(user, mode).await,
                Self::Keycloak(keycloak) => keycloak.look_up(user, mode).await,
                Self::OpenLdap(openldap) => Box::pin(openldap.look_up(user)).await,
                Self::ActiveDirectory(domain) => Box::pin(domain.look_up(user)).await,
            }
        };
        timeout(LONGEST, task).await.unwrap_or_else(|_| Err(late()))
    }

    /// Sends the one call that is not repeated: one request, no retries, no redirects.
    pub async fn perform(&self, fenced: Fenced, once: &Once, user: &User, password: Option<&SecretString>) -> Reply {
        let task = async {
            match self {
                Self::Zoho(zoho) => zoho.perform(fenced, once, user, password).await,
                Self::Keycloak(keycloak) => Box::pin(keycloak.perform(fenced, once, user, password)).await,
                Self::OpenLdap(openldap) => Box::pin(openldap.perform(fenced, once, user, password)).await,
                Self::ActiveDirectory(domain) => Box::pin(domain.perform(fenced, once, user, password)).await,
            }
        };
        timeout(LONGEST, task).await.unwrap_or(Reply::Unsure)
    }

    /// Why nothing more may be sent with these credentials, if the call was refused with `code`.
    #[must_use]
    pub fn stopped_by(&self, code: &str) -> Option<NotReady> {
        match self {
            Self::Zoho(zoho) => zoho.stopped_by(code),
            // Whatever they send with a call, they have signed in with at the check.
            Self::Keycloak(_) | Self::OpenLdap(_) | Self::ActiveDirectory(_) => None,
        }
    }

    /// Sends the conditional call of `record`'s attempt again, with the same password and on the same condition: it takes effect
    /// at most once however often it is sent. A call without a condition is not sent, nor is one after the request's end.
    pub async fn repeat(&self, record: &Record, once: &Once, user: &User, password: Option<&SecretString>) -> Reply {
        let Some(condition) = condition(record) else { return Reply::NotSent };
        let in_time = || jiff::Timestamp::now() < record.expires_at;
        let task = async {
            match self {
                Self::Zoho(zoho) => zoho.repeat(condition, once, user, password, in_time).await,
                Self::Keycloak(keycloak) => keycloak.repeat(once, user, in_time).await,
                Self::OpenLdap(openldap) => {
                    Box::pin(openldap.repeat(record, condition, once, user, password, in_time)).await
                }
                Self::ActiveDirectory(domain) => {
                    Box::pin(domain.repeat(record, condition, once, user, password, in_time)).await
                }
            }
        };
        timeout(LONGEST, task).await.unwrap_or(Reply::Unsure)
    }

    /// Ends what the call of `record` itself does not end. May be called again.
    ///
    /// # Errors
    /// What is not ended, and why.
    pub async fn clean_up(&self, record: &Record, what: CleanUp) -> Result<(), Why> {
        let task = async {
            match self {
                Self::Zoho(_) | Self::OpenLdap(_) => Ok(()),
                Self::Keycloak(keycloak) => keycloak.clean_up(record, what).await,
                Self::ActiveDirectory(domain) => Box::pin(domain.clean_up(record, what)).await,
            }
        };
        timeout(LONGEST, task).await.unwrap_or_else(|_| Err(late()))
    }

    /// Whether `password` opens the account of `record`'s user. A wrong one counts towards a lock-out: to be asked once for each
    /// attempt. False proves nothing.
    ///
    /// # Errors
    /// Why it was not sent. It may be asked again.
    pub async fn sign_in(&self, record: &Record, password: &SecretString) -> Result<bool, Why> {
        let task = async {
            match self {
                Self::Zoho(_) => Err(Why::new("there is no way to sign in.")),
                Self::Keycloak(keycloak) => keycloak.sign_in(record, password).await,
                Self::OpenLdap(openldap) => Box::pin(openldap.sign_in(record, password)).await,
                Self::ActiveDirectory(domain) => Box::pin(domain.sign_in(record, password)).await,
            }
        };
        timeout(LONGEST, task).await.unwrap_or(Ok(false))
    }

    /// Looks for evidence that the attempt of `record` took effect. Reads only.
    ///
    /// # Errors
    /// Why the directory could not be asked.
    pub async fn verify(&self, record: &Record) -> Result<Proof, Why> {
        let task = async {
            match self {
                Self::Zoho(zoho) => zoho.verify(record).await,
                Self::Keycloak(keycloak) => keycloak.verify(record).await,
                Self::OpenLdap(openldap) => Box::pin(openldap.verify(record)).await,
                Self::ActiveDirectory(domain) => Box::pin(domain.verify(record)).await,
            }
        };
        timeout(LONGEST, task).await.unwrap_or_else(|_| Err(late()))
    }
}

fn late() -> Why {
    Why::new("the directory's answers were still not at their end after 15 minutes.")
}
