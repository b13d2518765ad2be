//! Secrets: credentials of directories, supplied passwords, and the passwords of attempts, which are
//! stored before the call, delivered once, and deleted when they are no longer needed.
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
        record::{Record, State},
        request::later,
        seen::Seen,
        text,
        world::{Delivery, StepState, SuppliedPassword},
    },
    directory::Credentials,
};

use super::{delete_unchanged, ledger::Ledger, no_answer};

/// Label of the Secrets that hold passwords of attempts.
pub const PASSWORD_LABEL: &str = "credreset.dev/password";
/// Annotation with the name of the record that a Secret belongs to.
const RECORD_ANNOTATION: &str = "credreset.dev/record";
/// Annotation with the time after which a delivered Secret is deleted.
const EXPIRES_ANNOTATION: &str = "credreset.dev/expires-at";
/// Key of the password in a Secret that the operator writes.
const PASSWORD_KEY: &str = "password";
/// Key of the password that is sealed for recipients.
const SEALED_KEY: &str = "password.age";
/// Age below which a password Secret is not deleted: it is created before its record.
const SWEEP_GRACE: SignedDuration = SignedDuration::from_mins(5);

/// The Secrets of the operator's namespace, and of the namespaces of requests.
#[derive(Clone)]
pub struct Secrets {
    client: Client,
    namespace: String,
    /// The subject of a message about a missing right: "The operator" or "You".
    reader: &'static str,
}

impl Secrets {
    /// For the operator in `namespace`.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.to_owned(), reader: "The operator" }
    }

    /// For the user of a command, where the operator is in `namespace`.
    #[must_use]
    pub fn for_caller(client: Client, namespace: &str) -> Self {
        Self { reader: "You", ..Self::new(client, namespace) }
    }

    /// The operator's namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The API of the Secrets of the operator's namespace, without their contents.
    #[must_use]
    pub fn own_metadata(&self) -> Api<PartialObjectMeta<Secret>> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn own(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn in_namespace(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The credentials in a Secret of the operator's namespace, and its resourceVersion.
    ///
    /// # Errors
    /// A message that names the Secret.
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
            Err(kube::Error::Api(status)) if status.code == 403 => Err(format!("{} may not read {at}.", self.reader)),
            Err(_) => Err(format!("{at} could not be read: the API server did not answer.")),
        }
    }

    /// Puts a password into a Secret named after the attempt; returns the Secret's name.
    ///
    /// # Errors
    /// If the API server does not answer, or refuses.
    pub async fn store(&self, attempt: &str, record: &str, stored: &StoredPassword) -> kube::Result<String> {
        let plain = (PASSWORD_KEY, stored.password.expose_secret());
        let sealed = stored.sealed.as_deref().map(|sealed| (SEALED_KEY, sealed));
        let name = format!("credreset-{attempt}");
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(self.namespace.clone()),
                labels: Some(BTreeMap::from([(PASSWORD_LABEL.to_owned(), "true".to_owned())])),
                annotations: Some(BTreeMap::from([(RECORD_ANNOTATION.to_owned(), record.to_owned())])),
                ..ObjectMeta::default()
            },
            immutable: Some(true),
            data: Some(bytes([plain].into_iter().chain(sealed))),
            ..Secret::default()
        };
        match self.own().create(&PostParams::default(), &secret).await {
            Ok(_) => Ok(name),
            // The attempt's id is random: an earlier create of this attempt took effect, and its answer was lost.
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(name),
            Err(error) => Err(error),
        }
    }

    /// The password of an attempt, in the Secret `name`.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn stored(&self, name: &str) -> kube::Result<Option<StoredPassword>> {
        let Some(secret) = self.own().get_opt(name).await? else { return Ok(None) };
        let sealed = text_of(&secret, SEALED_KEY).ok().map(ToOwned::to_owned);
        Ok(password_of(&secret, PASSWORD_KEY).ok().map(|password| StoredPassword { password, sealed }))
    }

    /// Deletes the Secret of an attempt, if it exists.
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

    /// The supplied password, from a Secret of the requester.
    ///
    /// # Errors
    /// The fact for the core if there is no usable password.
    pub async fn supplied(
        &self,
        namespace: &str,
        name: &str,
        key: &str,
    ) -> Result<SecretString, Seen<SuppliedPassword>> {
        match self.in_namespace(namespace).get_opt(name).await {
            Ok(Some(secret)) => match password_of(&secret, key) {
                Ok(password) => match untypable(password.expose_secret()) {
                    None => Ok(password),
                    Some(what) => Err(Seen::Known(SuppliedPassword::Unusable(format!("has a key {key} with {what}")))),
                },
                Err(what) => Err(Seen::Known(SuppliedPassword::Unusable(what))),
            },
            Ok(None) => Err(Seen::Absent),
            Err(kube::Error::Api(status)) if status.code == 403 => Err(Seen::Known(SuppliedPassword::Forbidden)),
            Err(_) => Err(Seen::Unknown(no_answer())),
        }
    }

    /// Whether a Secret of this name is in the way of a delivery, and when it was created. Its contents are not read.
    pub async fn delivery(&self, namespace: &str, name: &str) -> (Seen<Delivery>, Option<Timestamp>) {
        let seen = match self.in_namespace(namespace).get_metadata_opt(name).await {
            Ok(Some(secret)) => {
                return (Seen::Known(Delivery::Taken), secret.creation_timestamp().map(|created| created.0));
            }
            Ok(None) => Seen::Absent,
            Err(kube::Error::Api(status)) if status.code == 403 => Seen::Known(Delivery::Forbidden),
            Err(_) => Seen::Unknown(no_answer()),
        };
        (seen, None)
    }

    /// Creates the delivery Secret of `record`. If it exists with the same password, an earlier delivery created it.
    pub async fn deliver(&self, record: &Record, name: &str, stored: &StoredPassword) -> StepState {
        let namespace = &record.request.namespace;
        let Some(content) = stored.to_deliver(record) else {
            return StepState::Lost(
                "the password could not be delivered: its Secret in the operator's namespace holds no sealed copy. File a new request."
                    .to_owned(),
            );
        };
        let at = format!("Secret {namespace}/{name}");
        let mut annotations = BTreeMap::from([(RECORD_ANNOTATION.to_owned(), record.name.clone())]);
        if let Some(stay) = record.follow_up.expires_after {
            annotations.insert(EXPIRES_ANNOTATION.to_owned(), format!("{:.0}", later(Timestamp::now(), stay)));
        }
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace.clone()),
                annotations: Some(annotations),
                ..ObjectMeta::default()
            },
            data: Some(bytes([content, ("username", &record.user.name)])),
            ..Secret::default()
        };
        match self.in_namespace(namespace).create(&PostParams::default(), &secret).await {
            Ok(_) => StepState::Done,
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                match self.delivered(record, name, stored).await {
                    Ok(true) => StepState::Done,
                    Ok(false) => StepState::Failed(format!(
                        "another client has created {at} meanwhile, and it is not overwritten: delete it, and the password is delivered."
                    )),
                    Err(_) => StepState::Failed(format!("{at} could not be read: the API server did not answer.")),
                }
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                StepState::Impossible(format!("the password could not be delivered: namespace {namespace} is gone."))
            }
            Err(kube::Error::Api(status)) if is_terminating(&status) => StepState::Impossible(format!(
                "the password could not be delivered: namespace {namespace} is being deleted."
            )),
            Err(kube::Error::Api(status)) if status.code == 403 => StepState::Failed(format!(
                "the operator may not create {at}: give its ServiceAccount that right in the namespace (or mind its quota)."
            )),
            Err(kube::Error::Api(status)) => {
                StepState::Failed(format!("{at} could not be created: the API server answered {}.", status.code))
            }
            Err(_) => StepState::Failed(format!("{at} could not be created: the API server did not answer.")),
        }
    }

    /// Whether the delivery Secret of `record` holds this password. It is written only after a proven change.
    ///
    /// # Errors
    /// If the API server does not answer, or refuses.
    pub async fn delivered(&self, record: &Record, name: &str, stored: &StoredPassword) -> kube::Result<bool> {
        let secret = self.in_namespace(&record.request.namespace).get_opt(name).await?;
        let (Some(secret), Some((key, content))) = (secret, stored.to_deliver(record)) else { return Ok(false) };
        Ok(text_of(&secret, key).is_ok_and(|found| found == content))
    }

    /// Deletes the delivered Secret `name` of `record` once it has expired; returns whether it is gone, or is no longer the operator's.
    /// The time is in the Secret: whoever may write it there may let it stay for longer.
    ///
    /// # Errors
    /// If the API server does not answer, or refuses.
    pub async fn expire(&self, record: &Record, name: &str, now: Timestamp) -> kube::Result<bool> {
        let api = self.in_namespace(&record.request.namespace);
        let Some(secret) = api.get_metadata_opt(name).await? else { return Ok(true) };
        let ours = secret.annotations().get(RECORD_ANNOTATION) == Some(&record.name);
        match expiry(&secret.metadata).filter(|_| ours) {
            None => Ok(true),
            Some(at) if now < at => Ok(false),
            Some(_) => {
                let deleted = delete_unchanged(&api, &secret).await?;
                if deleted {
                    let namespace = &record.request.namespace;
                    tracing::info!(
                        namespace,
                        secret = name,
                        record = record.name,
                        "deleted a delivered Secret that has expired"
                    );
                }
                Ok(deleted)
            }
        }
    }

    /// Deletes the password Secrets that no record needs any more; returns how many.
    ///
    /// # Errors
    /// If the API server does not answer, or refuses.
    pub async fn sweep(&self, ledger: &Ledger, now: Timestamp) -> kube::Result<usize> {
        let mut deleted = 0;
        let ours = ListParams::default().labels(PASSWORD_LABEL);
        for secret in self.own().list_metadata(&ours).await?.items {
            // The record of a young one, or the attempt in a released record, may be about to be written.
            let created = secret.creation_timestamp().map_or(now, |t| t.0);
            if now.duration_since(created) < SWEEP_GRACE {
                continue;
            }
            let record = match secret.annotations().get(RECORD_ANNOTATION) {
                Some(record) => ledger.get(record).await?.map(|object| object.record()),
                None => None,
            };
            let named = |record: &Record| record.attempt.secret.as_ref() == Some(&secret.name_any());
            // A record may be kept longer than its password.
            let in_time =
                |record: &Record| now < record.keep_until || matches!(record.state, State::Sent | State::Changed);
            let needed = record.is_some_and(|record| named(&record) && record.needs_password() && in_time(&record));
            if !needed && delete_unchanged(&self.own(), &secret).await? {
                deleted += 1;
            }
        }
        Ok(deleted)
    }
}

/// The password of an attempt, as the operator keeps it.
#[derive(Clone, Debug)]
pub struct StoredPassword {
    /// The password itself.
    pub password: SecretString,
    /// The same, sealed for the recipients that the request names, if it names any.
    pub sealed: Option<String>,
}

impl StoredPassword {
    /// Key and value of what the record's delivery Secret holds. `None`: it is to be sealed, and there is no sealed copy. What was sealed is
    /// never delivered in plain text, even if the record has lost its recipients, as with an older definition of its kind.
    fn to_deliver(&self, record: &Record) -> Option<(&'static str, &str)> {
        match &self.sealed {
            Some(sealed) => Some((SEALED_KEY, sealed)),
            None if record.follow_up.sealed_for.is_empty() => Some((PASSWORD_KEY, self.password.expose_secret())),
            None => None,
        }
    }
}

/// A password that the operator has delivered.
#[derive(Debug)]
pub struct DeliveredPassword {
    /// The password itself, or if it is sealed, what its recipients can open.
    pub password: SecretString,
    /// The Secret as it was read, without its contents.
    secret: ObjectMeta,
}

impl DeliveredPassword {
    /// When the operator deletes the Secret, or within the hour after. `None`: it does not.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        expiry(&self.secret)
    }
}

/// The time after which a delivered Secret is deleted.
fn expiry(secret: &ObjectMeta) -> Option<Timestamp> {
    secret.annotations.as_ref()?.get(EXPIRES_ANNOTATION)?.parse().ok()
}

impl Secrets {
    /// The password that the operator has delivered into a Secret for a record, `sealed` or not.
    ///
    /// # Errors
    /// A sentence that names the Secret: it is not there, may not be read, or belongs to another record.
    pub async fn delivered_password(
        &self,
        namespace: &str,
        name: &str,
        record: &str,
        sealed: bool,
    ) -> Result<DeliveredPassword, String> {
        let key = if sealed { SEALED_KEY } else { PASSWORD_KEY };
        let at = format!("Secret {namespace}/{name}");
        match self.in_namespace(namespace).get_opt(name).await {
            Ok(Some(secret)) if secret.annotations().get(RECORD_ANNOTATION).is_none_or(|of| of != record) => {
                Err(format!("{at} is not the one that the operator has written for this request"))
            }
            Ok(Some(secret)) => {
                let password = password_of(&secret, key).map_err(|wrong| format!("{at} {wrong}"))?;
                Ok(DeliveredPassword { password, secret: secret.metadata })
            }
            Ok(None) => Err(format!(
                "{at} is not there: the password is not delivered, or the Secret was deleted (credreset explain says more)"
            )),
            Err(kube::Error::Api(status)) if status.code == 403 => {
                Err(format!("you may not read {at}: ask an administrator of namespace {namespace}"))
            }
            Err(_) => Err(format!("{at} could not be read: the API server did not answer")),
        }
    }

    /// Deletes the Secret of a delivered password, unless it has changed since it was read. Returns whether it is gone.
    ///
    /// # Errors
    /// If the API server does not answer, or refuses.
    pub async fn delete_delivered(&self, namespace: &str, delivered: &DeliveredPassword) -> kube::Result<bool> {
        let secrets = self.in_namespace(namespace);
        let seen = PartialObjectMeta::<Secret> { metadata: delivered.secret.clone(), ..PartialObjectMeta::default() };
        Ok(delete_unchanged(&secrets, &seen).await? || secrets.get_metadata_opt(&seen.name_any()).await?.is_none())
    }
}

fn bytes<'a>(values: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, ByteString> {
    values.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.as_bytes().to_vec()))).collect()
}

/// The password in `key`. The error completes "Secret NAME ...".
fn password_of(secret: &Secret, key: &str) -> Result<SecretString, String> {
    text_of(secret, key).map(SecretString::from)
}

/// The text in `key`, with the same error.
fn text_of<'a>(secret: &'a Secret, key: &str) -> Result<&'a str, String> {
    let Some(ByteString(value)) = secret.data.as_ref().and_then(|data| data.get(key)) else {
        return Err(format!("has no key {key}"));
    };
    match std::str::from_utf8(value) {
        Ok("") => Err(format!("has an empty key {key}")),
        Err(_) => Err(format!("has a key {key} that is not UTF-8 text: save the password as UTF-8")),
        Ok(text) => Ok(text),
    }
}

/// What makes a password impossible to type, mostly something that an editor or a shell left there. `None`: all of
/// it can be typed. Spaces can. The result names the kind of character only, and shows nothing else of the password.
fn untypable(password: &str) -> Option<&'static str> {
    let ends = [password.chars().next(), password.chars().next_back()];
    if password.starts_with('\u{feff}') {
        Some("a byte order mark at its beginning, which cannot be typed: save the password as UTF-8 without one")
    } else if password.contains('\0') {
        Some("a NUL in it, which cannot be typed and is usual in UTF-16: save the password as UTF-8")
    } else if password.ends_with(['\n', '\r']) {
        Some("a line break at its end, which cannot be typed (echo -n leaves it out)")
    } else if password.contains(['\n', '\r']) {
        Some("a line break in it, which cannot be typed: put the password alone into the key")
    } else if password.contains('\t') {
        Some("a tab in it, which cannot be typed into a form: remove it")
    } else if password.chars().any(text::is_hidden) {
        Some("an invisible character in it, such as a control character or a zero-width space: type the password anew")
    } else if ends.into_iter().flatten().any(|c| c.is_whitespace() && c != ' ') {
        Some("a special space at its beginning or end, such as a no-break space: type the password anew")
    } else {
        None
    }
}

/// Whether the API server refuses because the namespace is being deleted.
fn is_terminating(status: &kube::core::Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}
