//! Passwords in Secrets: kept from before the call until delivered, delivered once, swept when nobody needs them.
use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
    core::{ObjectMeta, PartialObjectMeta},
};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    core::{
        ledger::{Record, State},
        text,
        world::{Delivery, Entered, Seen, StepState},
    },
    directory::Credentials,
};

use super::{delete_unchanged, ledger::Ledger, silent};

/// Label of the Secrets that hold passwords of attempts.
pub const PASSWORD_LABEL: &str = "credreset.dev/password";
/// Annotation: the record that a Secret belongs to.
const RECORD: &str = "credreset.dev/record";
/// Key of a password within a Secret.
const PASSWORD: &str = "password";
/// Between the making of a password Secret and that of its record.
const GRACE: SignedDuration = SignedDuration::from_mins(5);

/// Secrets of the operator's namespace, and of those that requests name.
#[derive(Clone)]
pub struct Secrets {
    client: Client,
    namespace: String,
}

impl Secrets {
    /// With `namespace` as the operator's own.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.to_owned() }
    }

    /// What Secrets there are in the operator's namespace, without their contents.
    #[must_use]
    pub fn own_metadata(&self) -> Api<PartialObjectMeta<Secret>> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn own(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn of(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The credentials in a Secret of the operator's namespace, and its resourceVersion.
    ///
    /// # Errors
    /// A sentence that names the Secret.
    pub async fn credentials(&self, name: &str) -> Result<(Credentials, String), String> {
        let at = format!("Secret {}/{name}", self.namespace);
        match self.own().get_opt(name).await {
            Ok(Some(secret)) => {
                let version = secret.resource_version().unwrap_or_default();
                let mut values = Credentials::new();
                for (key, ByteString(bytes)) in secret.data.unwrap_or_default() {
                    let text = String::from_utf8(bytes).map_err(|_| format!("{at}: key {key} is not UTF-8 text."))?;
                    values.insert(key, SecretString::from(text));
                }
                Ok((values, version))
            }
            Ok(None) => Err(format!("{at} does not exist. Create it with the directory's credentials.")),
            Err(kube::Error::Api(status)) if status.code == 403 => Err(format!("The operator may not read {at}.")),
            Err(_) => Err(format!("{at} could not be read: the API server did not answer.")),
        }
    }

    /// Puts a password into a Secret named after the attempt; returns the Secret's name.
    ///
    /// # Errors
    /// If the API server does not answer, or refuses.
    pub async fn store(&self, attempt: &str, record: &str, password: &SecretString) -> kube::Result<String> {
        let name = format!("credreset-{attempt}");
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(self.namespace.clone()),
                labels: Some(BTreeMap::from([(PASSWORD_LABEL.to_owned(), "true".to_owned())])),
                annotations: Some(BTreeMap::from([(RECORD.to_owned(), record.to_owned())])),
                ..ObjectMeta::default()
            },
            immutable: Some(true),
            data: Some(bytes([(PASSWORD, password.expose_secret())])),
            ..Secret::default()
        };
        match self.own().create(&PostParams::default(), &secret).await {
            Ok(_) => Ok(name),
            // The attempt's id is random: it was our own create, whose answer was lost.
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(name),
            Err(error) => Err(error),
        }
    }

    /// The password of an attempt.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn stored(&self, name: &str) -> kube::Result<Option<SecretString>> {
        Ok(self.own().get_opt(name).await?.and_then(|secret| password_of(&secret, PASSWORD).ok()))
    }

    /// Deletes the Secret of an attempt, if it is there.
    ///
    /// # Errors
    /// If the API server does not answer, or refuses.
    pub async fn remove(&self, name: &str) -> kube::Result<()> {
        match self.own().delete(name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The password that somebody entered.
    ///
    /// # Errors
    /// What the core is to know where there is none to use.
    pub async fn entered(&self, namespace: &str, name: &str, key: &str) -> Result<SecretString, Seen<Entered>> {
        match self.of(namespace).get_opt(name).await {
            Ok(Some(secret)) => match password_of(&secret, key) {
                Ok(password) => match untypable(password.expose_secret()) {
                    None => Ok(password),
                    Some(what) => Err(Seen::Known(Entered::Unusable(format!("has a key {key} with {what}")))),
                },
                Err(what) => Err(Seen::Known(Entered::Unusable(what))),
            },
            Ok(None) => Err(Seen::Absent),
            Err(kube::Error::Api(status)) if status.code == 403 => Err(Seen::Known(Entered::Forbidden)),
            Err(_) => Err(Seen::Unknown(silent())),
        }
    }

    /// Whether a Secret of that name stands in the way of a delivery, and when it was made. Its contents are not read.
    pub async fn delivery(&self, namespace: &str, name: &str) -> (Seen<Delivery>, Option<Timestamp>) {
        let seen = match self.of(namespace).get_metadata_opt(name).await {
            Ok(Some(secret)) => return (Seen::Known(Delivery::Taken), secret.creation_timestamp().map(|made| made.0)),
            Ok(None) => Seen::Absent,
            Err(kube::Error::Api(status)) if status.code == 403 => Seen::Known(Delivery::Forbidden),
            Err(_) => Seen::Unknown(silent()),
        };
        (seen, None)
    }

    /// Writes the delivery Secret of `record`; one with the very same password is taken for our own.
    pub async fn deliver(&self, record: &Record, name: &str, password: &SecretString) -> StepState {
        let namespace = &record.request.namespace;
        let at = format!("Secret {namespace}/{name}");
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace.clone()),
                annotations: Some(BTreeMap::from([(RECORD.to_owned(), record.name.clone())])),
                ..ObjectMeta::default()
            },
            data: Some(bytes([(PASSWORD, password.expose_secret()), ("username", &record.user.name)])),
            ..Secret::default()
        };
        match self.of(namespace).create(&PostParams::default(), &secret).await {
            Ok(_) => StepState::Done,
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                match self.delivered(record, name, password).await {
                    Ok(true) => StepState::Done,
                    Ok(false) => StepState::Failed(format!(
                        "{at} was made by somebody else in the meantime and is not overwritten: delete it, and the password is delivered."
                    )),
                    Err(_) => StepState::Failed(format!("{at} could not be read: the API server did not answer.")),
                }
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                StepState::Impossible(format!("the password could not be delivered: namespace {namespace} is gone."))
            }
            Err(kube::Error::Api(status)) if status.code == 403 && status.message.contains("being terminated") => {
                StepState::Impossible(format!(
                    "the password could not be delivered: namespace {namespace} is being deleted."
                ))
            }
            Err(kube::Error::Api(status)) if status.code == 403 => StepState::Failed(format!(
                "the operator may not create {at}: give its ServiceAccount that right in the namespace (or mind its quota)."
            )),
            Err(kube::Error::Api(status)) => {
                StepState::Failed(format!("{at} could not be created: the API server answered {}.", status.code))
            }
            Err(_) => StepState::Failed(format!("{at} could not be created: the API server did not answer.")),
        }
    }

    /// Whether the delivery Secret of `record` holds this password: it is written only after a proven change.
    ///
    /// # Errors
    /// If the API server does not answer, or refuses.
    pub async fn delivered(&self, record: &Record, name: &str, password: &SecretString) -> kube::Result<bool> {
        let secret = self.of(&record.request.namespace).get_opt(name).await?;
        let found = secret.as_ref().and_then(|secret| password_of(secret, PASSWORD).ok());
        Ok(found.is_some_and(|found| found.expose_secret() == password.expose_secret()))
    }

    /// Deletes password Secrets that no record needs any more; returns how many.
    ///
    /// # Errors
    /// If the API server does not answer, or refuses.
    pub async fn sweep(&self, ledger: &Ledger, now: Timestamp) -> kube::Result<usize> {
        let mut gone = 0;
        let ours = ListParams::default().labels(PASSWORD_LABEL);
        for secret in self.own().list_metadata(&ours).await?.items {
            // A young one may be about to get its record, or an attempt that takes a released record over.
            let made = secret.creation_timestamp().map_or(now, |t| t.0);
            if now.duration_since(made) < GRACE {
                continue;
            }
            let record = match secret.annotations().get(RECORD) {
                Some(record) => ledger.get(record).await?.map(|object| object.record()),
                None => None,
            };
            let named = |record: &Record| record.attempt.secret.as_ref() == Some(&secret.name_any());
            // A record may be kept for longer than its password.
            let in_time =
                |record: &Record| now < record.keep_until || matches!(record.state, State::Sent | State::Changed);
            let needed = record.is_some_and(|record| named(&record) && record.needs_password() && in_time(&record));
            if !needed && delete_unchanged(&self.own(), &secret).await? {
                gone += 1;
            }
        }
        Ok(gone)
    }
}

fn bytes<const N: usize>(values: [(&str, &str); N]) -> BTreeMap<String, ByteString> {
    values.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.as_bytes().to_vec()))).collect()
}

/// The password under `key`; what is wrong with it completes "Secret NAME ...".
fn password_of(secret: &Secret, key: &str) -> Result<SecretString, String> {
    let Some(ByteString(value)) = secret.data.as_ref().and_then(|data| data.get(key)) else {
        return Err(format!("has no key {key}"));
    };
    match std::str::from_utf8(value) {
        Ok("") => Err(format!("has an empty key {key}")),
        Err(_) => Err(format!("has a key {key} that is not UTF-8 text: save the password as UTF-8")),
        Ok(text) => Ok(SecretString::from(text)),
    }
}

/// What of a password nobody would type, mostly left there by an editor or a shell; none: all of it can be typed. It tells of what kind
/// that is, and no more of the password. Blanks may be typed.
fn untypable(password: &str) -> Option<&'static str> {
    let ends = [password.chars().next(), password.chars().next_back()];
    if password.starts_with('\u{feff}') {
        Some("a byte order mark at its beginning, which nobody can type: save the password as UTF-8 without one")
    } else if password.contains('\0') {
        Some("a NUL in it, which nobody can type and UTF-16 has everywhere: save the password as UTF-8")
    } else if password.ends_with(['\n', '\r']) {
        Some("a line break at its end, which nobody can type (echo -n leaves it out)")
    } else if password.contains(['\n', '\r']) {
        Some("a line break in it, which nobody can type: put the password alone into the key")
    } else if password.contains('\t') {
        Some("a tab in it, which nobody can type into a form: take it out")
    } else if password.chars().any(text::is_hidden) {
        Some(
            "a character in it that is not seen, such as a control character or a zero-width space: type the password anew",
        )
    } else if ends.into_iter().flatten().any(|c| c.is_whitespace() && c != ' ') {
        Some(
            "a blank at its beginning or end that is not the space bar's, such as a no-break space: type the password anew",
        )
    } else {
        None
    }
}
