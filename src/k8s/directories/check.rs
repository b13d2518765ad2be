//! Connects to the directory of each Directory and checks it, repeatedly.
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use tokio::time::Duration;

use super::{Connected, Directories, Refusal, Triggers};
use crate::{
    api::{Directory, directory::Refused},
    core::directory::DirectoryFacts,
    directory::{Checked, Credentials, NotReady, Provider},
    k8s::metrics::result_class,
    mail::Mailer,
};

/// The pause between two checks of a Directory that is Ready, and the longest pause of one that is not.
const CHECK_INTERVAL: Duration = Duration::from_secs(180);
/// The pause after the first failed check. It doubles with each further one.
const MIN_RETRY: Duration = Duration::from_secs(2);
/// The longest pause while the directory does not answer. Only a check finds out that it answers again, and requests wait for that.
const MAX_RETRY_WHILE_DOWN: Duration = Duration::from_secs(30);

impl Directories {
    /// Checks `object` until the task is aborted.
    pub(super) async fn keep_checking(self: Arc<Self>, object: Directory, triggers: Arc<Triggers>) {
        let name = object.name_any();
        let mut current: Option<Connection> = None;
        let mut status = object.status.clone();
        let mut retry = MIN_RETRY;
        loop {
            let work = self.life.start_work();
            let result = self.check(&object, &mut current).await;
            let refused = status.as_ref().and_then(|status| status.refused.as_ref());
            let (result, refusal) = self.update_entry(&object, current.as_ref(), refused, result);
            self.metrics.set_directory_ready(&name, result.is_ok());
            self.write_status(&object, &mut status, &result, refusal.as_ref(), current.as_ref()).await;
            drop(work);
            let fine = result.is_ok() && current.as_ref().is_none_or(|c| c.mail_trouble.is_none());
            let pause = if fine { CHECK_INTERVAL } else { retry };
            let longest = match result {
                Ok(_) | Err(NotReady::Unreachable(_) | NotReady::Throttled(_)) => MAX_RETRY_WHILE_DOWN,
                Err(_) => CHECK_INTERVAL,
            };
            retry = if fine { MIN_RETRY } else { (retry * 2).min(longest) };
            let checked = current.as_ref().filter(|_| fine).map(|c| &c.versions);
            let mut next = std::pin::pin!(tokio::time::sleep(pause));
            loop {
                tokio::select! {
                    () = &mut next => break,
                    () = triggers.check.notified() => break,
                    () = triggers.identity.notified() => {
                        self.write_status(&object, &mut status, &result, refusal.as_ref(), current.as_ref()).await;
                    }
                    // The check may already have read the version of the Secret that the watch reports.
                    () = triggers.secret.notified() => {
                        let read = self.credentials(&object).await;
                        if read.ok().map(|read| read.versions).as_ref() != checked {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Reads the Secrets that the Directory names.
    async fn credentials(&self, object: &Directory) -> Result<ReadCredentials, NotReady> {
        let read = async |secret| self.secrets.credentials(secret).await.map_err(NotReady::InvalidConfiguration);
        let (directory, version) = match object.spec.provider.credentials() {
            Some(named) => read(&named.secret).await?,
            None => (Credentials::new(), String::new()),
        };
        let mut all = ReadCredentials { directory, mail: None, versions: (version, None) };
        if let Some(secret) = object.spec.mail.as_ref().and_then(|mail| mail.smtp.credentials.as_ref()) {
            let (mail, version) = read(&secret.secret).await?;
            (all.mail, all.versions.1) = (Some(mail), Some(version));
        }
        Ok(all)
    }

    /// Connects with the credentials as they are now, and checks.
    async fn check(&self, object: &Directory, current: &mut Option<Connection>) -> Result<Checked, NotReady> {
        let invalid = NotReady::InvalidConfiguration;
        let facts = object.settings().map_err(invalid)?;
        let spec = &object.spec;
        let ReadCredentials { directory, mail, versions } = self.credentials(object).await?;
        // While nothing has changed, the old connection is kept, because it holds a token.
        if current.as_ref().is_none_or(|c| c.versions != versions) {
            *current = None;
            let provider = Arc::new(Provider::connect(spec, &directory)?.identified_by(self.identity.clone()));
            let mailer = spec.mail.as_ref().map(|settings| Mailer::connect(settings, mail.as_ref()));
            let mailer = mailer.transpose().map_err(invalid)?.map(Arc::new);
            *current = Some(Connection { versions, provider, mailer, mail_trouble: None });
        }
        let Some(connection) = current else { return Err(invalid("it has no connection.".to_owned())) };
        let modes = facts.modes();
        let checked =
            self.metrics.timed(&object.name_any(), "check", connection.provider.check(&modes), result_class).await?;
        connection.mail_trouble = match &connection.mailer {
            None => None,
            Some(mailer) => mailer.check().await.err().map(|why| why.to_string()),
        };
        Ok(checked)
    }

    /// Updates the facts that decisions use. Returns the result that they contain: the one of the check, unless the directory has
    /// refused a call for a cause that no check can find. `refused`: the refusal in the status, which may be from an earlier process.
    fn update_entry(
        &self,
        object: &Directory,
        connection: Option<&Connection>,
        refused: Option<&Refused>,
        mut result: Result<Checked, NotReady>,
    ) -> (Result<Checked, NotReady>, Option<Refusal>) {
        let name = object.name_any();
        let mut refusal = None;
        let update = self.with_entry(&name, |entry| {
            if let Some(connection) = connection {
                entry.secret_version.clone_from(&connection.versions.0);
                let shown = refused.filter(|_| entry.refusal.is_none()).and_then(|refused| connection.refusal(refused));
                entry.refusal = entry.refusal.take().or(shown).filter(|r| r.secret_version == entry.secret_version);
            }
            match (&entry.refusal, &result) {
                (Some(Refusal { stop: Some(why), .. }), Ok(_)) => result = Err(why.clone()),
                // The check has found the cause of the refusal.
                (Some(Refusal { stop: None, .. }), Err(_)) => entry.refusal = None,
                _ => {}
            }
            refusal.clone_from(&entry.refusal);
            let mut facts = object.settings().unwrap_or_else(|_| DirectoryFacts::unusable(&name));
            match &result {
                Ok(checked) => {
                    facts = checked.add_to(facts);
                    facts.mail_trouble = connection.and_then(|c| c.mail_trouble.clone());
                }
                Err(not_ready) => {
                    // The last known facts stay, so that its records still find the Directory.
                    facts.identity.clone_from(&entry.connected.facts.identity);
                    facts.supports.clone_from(&entry.connected.facts.supports);
                    facts.conditional.clone_from(&entry.connected.facts.conditional);
                    facts.separate_calls = entry.connected.facts.separate_calls;
                    facts.not_ended.clone_from(&entry.connected.facts.not_ended);
                    facts.not_ready = Some(not_ready.to_string());
                }
            }
            let changed = entry.connected.facts != facts;
            let (before, after) = (entry.connected.facts.identity.clone(), facts.identity.clone());
            entry.connected = Connected {
                facts,
                provider: connection.map(|c| Arc::clone(&c.provider)),
                mailer: connection.and_then(|c| c.mailer.clone()),
            };
            (changed, before, after)
        });
        if let Some((changed, before, after)) = update {
            if before != after {
                self.notify_same_identity(&name, &before);
                self.notify_same_identity(&name, &after);
            }
            if changed {
                self.notify(&name);
            }
        }
        (result, refusal)
    }
}

/// The contents of the Secrets that a Directory names.
struct ReadCredentials {
    directory: Credentials,
    mail: Option<Credentials>,
    /// resourceVersion of each Secret.
    versions: (String, Option<String>),
}

/// A connection to a directory.
#[derive(Debug)]
pub(super) struct Connection {
    /// resourceVersion of each Secret whose credentials it uses.
    versions: (String, Option<String>),
    provider: Arc<Provider>,
    mailer: Option<Arc<Mailer>>,
    /// Why no mail can be sent, by the last check.
    pub(super) mail_trouble: Option<String>,
}

impl Connection {
    /// The refusal that the status shows. `None`: it would not stop this provider.
    fn refusal(&self, refused: &Refused) -> Option<Refusal> {
        let Refused { code, secret_version } = refused.clone();
        let stop = Some(self.provider.stopped_by(&code)?);
        Some(Refusal { code, at: Timestamp::now(), secret_version, stop })
    }
}
