//! Carrying out what was decided: one durable effect at a time.
use std::{sync::Arc, time::Duration};

use kube::ResourceExt;
use secrecy::SecretString;

use super::{
    directories::Connected,
    ledger::Written,
    metrics::ok,
    reconcile::{Error, Run, fresh_attempt},
    status,
};
use crate::{
    core::{
        Decision, Effect, Reason, View, decide,
        ledger::{Evidence, Record, Reply, State},
        plan::{CleanUp, Once},
        report,
        request::Source,
        world::{Found, Progress, Proof, Seen, StepState, Why},
    },
    directory::{mail::Failure, password},
};

/// A call that takes longer than this is told of in the status.
const SLOW: Duration = Duration::from_secs(1);

impl Run {
    pub(super) async fn carry_out(&mut self, effect: Effect) -> Result<(), Error> {
        let operator = Arc::clone(&self.term.operator);
        match effect {
            Effect::StorePassword { attempt, record, source } => {
                let password = match &source {
                    Source::Generate { length, kinds } => password::generate(*length, kinds)?,
                    // The very one that was found usable; gone if it was stored before and dropped.
                    Source::FromSecret { .. } => {
                        let Some(password) = self.entered.take() else {
                            self.world.entered = Seen::Unread;
                            return Ok(());
                        };
                        password
                    }
                };
                self.world.stored = Some(operator.secrets.store(&attempt, &record, &password).await?);
                self.password = Some(password);
                // They may have been withdrawn meanwhile: they are read right before the attempt.
                self.world.approvals = Seen::Unread;
            }
            Effect::Open(_) | Effect::TakeOver(_) => self.begin().await?,
            Effect::Send(once) => self.send(once).await?,
            Effect::Repeat(once) => self.repeat(&once).await?,
            Effect::Write(record) => self.write(&record).await?,
            Effect::Deliver { secret } => {
                let state = match self.password().await? {
                    Some(password) => {
                        let Seen::Known(record) = &self.world.record else { return Err(Error::Restless) };
                        operator.secrets.deliver(record, &secret, &password).await
                    }
                    None => no_password(),
                };
                self.world.progress.deliver = state;
                self.remember_progress();
            }
            Effect::CleanUp(what) => {
                self.world.progress.clean_up = self.clean_up(what).await;
                self.remember_progress();
            }
            Effect::SignIn => self.sign_in().await?,
            Effect::Mail { to } => {
                self.world.progress.mail = self.mail(&to).await?;
                self.remember_progress();
            }
            Effect::DropPassword { secret } => {
                operator.secrets.remove(&secret).await?;
                self.world.stored = None;
                self.password = None;
            }
        }
        Ok(())
    }

    /// Opens the record, or takes it over. Whether there is room within the limits is asked once more, with nobody else
    /// asking at the same time.
    pub(super) async fn begin(&mut self) -> Result<(), Error> {
        let operator = Arc::clone(&self.term.operator);
        // A look-up may have taken minutes.
        self.world.directory = self.newest_directory().await;
        let admission = self.life.waits(operator.ledger.admission.lock()).await;
        self.look_around();
        let (record, new) = match decide(&self.world) {
            // Nor is an attempt begun by a clock that was set meanwhile.
            _ if !self.term.leadership.held() => return Ok(()),
            Decision::Do(Effect::Open(record)) => (record, true),
            Decision::Do(Effect::TakeOver(record)) => (record, false),
            _ => return Ok(()),
        };
        let Seen::Known(directory) = &self.world.directory else { return Err(Error::Restless) };
        let timeout = Duration::try_from(directory.limits.request_timeout).unwrap_or_default();
        operator.ledger.hold(&record, timeout);
        drop(admission);
        let written = match (&self.record, new) {
            (Some(object), false) => operator.ledger.take_over(object, &record).await?,
            _ => operator.ledger.open(&record).await?,
        };
        self.written(written);
        Ok(())
    }

    pub(super) fn written(&mut self, written: Written) {
        match written {
            Written::Stored(object) => self.took(*object),
            Written::Lost(Some(object)) => {
                self.world.holding = None;
                self.took(*object);
            }
            // Deleted by somebody: nothing says any more what happened to it.
            Written::Lost(None) => {
                self.record = None;
                self.world.record = Seen::Absent;
                self.world.record_by_name = Seen::Unread;
                self.world.holding = None;
            }
        }
    }

    pub(super) async fn send(&mut self, once: Once) -> Result<(), Error> {
        let operator = Arc::clone(&self.term.operator);
        let request = self.request().cloned().ok_or(Error::Restless)?;
        if self.world.user == Seen::Unread {
            self.world.user = self.find(&request.user, request.mode()).await;
        }
        let password = self.password().await?;
        let object = self.record.clone().ok_or(Error::Restless)?;
        let attempt = object.spec.attempt.id.clone();
        let usable = match (&self.world.user, self.directory()) {
            // Another call may have stopped the Directory since the gates were passed.
            (Seen::Known(Found::One(user)), Some(Connected { facts, provider: Some(provider), .. }))
                if user.id.id == object.spec.user.id
                    && facts.not_ready.is_none()
                    && (password.is_some() || !once.needs_password()) =>
            {
                Some((user.clone(), facts.name, provider))
            }
            _ => None,
        };
        let Some((user, directory, provider)) = usable else {
            operator.ledger.replied(&attempt, Reply::NotSent);
            return Ok(());
        };
        let kind = if once.needs_password() { "reset-password" } else { "reset-mfa" };
        let Some(fenced) = operator.ledger.fence(&object, &self.term.leadership) else { return Ok(()) };
        let reply = {
            let call = provider.perform(fenced, &once, &user, password.as_ref());
            let mut call = std::pin::pin!(operator.metrics.timed(&directory, kind, call, result_of));
            if let Ok(reply) = tokio::time::timeout(SLOW, &mut call).await {
                reply
            } else {
                let view = View::of(&object.record(), Reason::Executing, "The call to the directory is under way.");
                // The call goes on whatever becomes of the status.
                let (reply, shown) = tokio::join!(call, self.show(&view));
                if let Err(error) = shown {
                    tracing::debug!(error = %error, "the status could not be written");
                }
                reply
            }
        };
        tracing::info!(record = object.name_any(), call = kind, result = result_of(&reply), "called the directory");
        self.term.directories.answered(&directory, &provider, &reply);
        operator.ledger.replied(&attempt, reply);
        Ok(())
    }

    /// Sends a conditional call again, and takes the answer for what it proves.
    async fn repeat(&mut self, once: &Once) -> Result<(), Error> {
        let Seen::Known(record) = self.world.record.clone() else { return Err(Error::Restless) };
        let password = self.password().await?;
        if password.is_none() && once.needs_password() {
            self.world.proof = self.proof().await;
            return Ok(());
        }
        // As the decision saw him, right before.
        let Seen::Known(Found::One(user)) = self.world.user.clone() else { return Err(Error::Restless) };
        let Some(Connected { facts, provider: Some(provider), .. }) = self.directory() else {
            self.world.proof = Seen::Unknown(Why::new("there is no Directory with its identity."));
            return Ok(());
        };
        self.life.goes_on();
        let call = provider.repeat(&record, once, &user, password.as_ref());
        let reply = self.term.operator.metrics.timed(&facts.name, "repeat", call, result_of).await;
        self.term.directories.answered(&facts.name, &provider, &reply);
        tracing::info!(record = record.name, result = result_of(&reply), "repeated the conditional call");
        self.world.proof = match reply {
            Reply::Done => Seen::Known(Proof::Proven(Evidence::ConditionalWrite)),
            Reply::Conflict | Reply::Outdated => Seen::Known(Proof::Moved),
            Reply::Rejected { code } | Reply::PasswordRefused { code } => {
                Seen::Known(Proof::Nothing(format!("The same call, sent again, was refused: {code}.")))
            }
            Reply::NoSuchUser => Seen::Known(Proof::Nothing("The directory no longer knows the user.".to_owned())),
            Reply::NotSent | Reply::Throttled { .. } | Reply::Denied { .. } | Reply::Unsure => {
                Seen::Unknown(Why::new("the same call, sent again, got no answer that tells."))
            }
        };
        Ok(())
    }

    /// Ends what the call itself has not ended. It stays in force whatever becomes of this.
    async fn clean_up(&mut self, what: CleanUp) -> StepState {
        let Seen::Known(record) = self.world.record.clone() else { return StepState::Pending };
        let Some(Connected { facts, provider: Some(provider), .. }) = self.directory() else {
            return StepState::Failed(
                "its sessions are not ended: there is no Directory with its identity.".to_owned(),
            );
        };
        let call = provider.clean_up(&record, what);
        let done = self.term.operator.metrics.timed(&facts.name, "clean-up", call, ok).await;
        match done {
            Ok(()) => StepState::Done,
            Err(why) => {
                self.term.directories.check_now(&facts.name);
                StepState::Failed(why.message)
            }
        }
    }

    /// The one sign-in with the attempt's password. Where nothing was sent, it is still to be made.
    async fn sign_in(&mut self) -> Result<(), Error> {
        let operator = Arc::clone(&self.term.operator);
        let password = self.password().await?;
        let Seen::Known(record) = self.world.record.clone() else { return Err(Error::Restless) };
        let (Some(password), Some(Connected { facts, provider: Some(provider), .. })) = (password, self.directory())
        else {
            self.world.proof = Seen::Unknown(Why::new("there is no password, or no Directory, to sign in with."));
            return Ok(());
        };
        operator.ledger.signs_in(&record.attempt.id, true);
        let call = provider.sign_in(&record, &password);
        let signed_in = operator.metrics.timed(&facts.name, "sign-in", call, ok).await;
        let proven = signed_in == Ok(true);
        let error = signed_in.as_ref().err().map(|why| why.message.clone());
        tracing::info!(
            record = record.name,
            proven,
            error,
            "signed in with the new password, to see whether it is in force"
        );
        match signed_in {
            Ok(true) => self.world.proof = Seen::Known(Proof::Proven(Evidence::SignIn)),
            Ok(false) => {}
            Err(why) => {
                operator.ledger.signs_in(&record.attempt.id, false);
                self.world.proof = Seen::Unknown(why);
            }
        }
        Ok(())
    }

    /// Replaces the record. What only this process knows must not be lost, so it is tried until it is stored or somebody else
    /// has written the record. A write that the API server refuses is tried again in another turn, while this process leads: it
    /// may be refused for long, and others wait for the turn. But not what a repeat or a sign-in has told: neither tells it again.
    pub(super) async fn write(&mut self, record: &Record) -> Result<(), Error> {
        let operator = Arc::clone(&self.term.operator);
        let object = self.record.clone().ok_or(Error::Restless)?;
        let mut pause = Duration::from_millis(100);
        let told_once =
            matches!(self.world.proof, Seen::Known(Proof::Proven(Evidence::ConditionalWrite | Evidence::SignIn)));
        let written = loop {
            match operator.ledger.write(&object, record).await {
                Ok(written) => break written,
                Err(error) if !operator.ledger.holds(record) => return Err(error.into()),
                Err(error) if is_refusal(&error) && !told_once && self.term.leadership.held() => {
                    return Err(error.into());
                }
                Err(error) => {
                    tracing::warn!(record = record.name, error = %error, "the record could not be written; trying again");
                    tokio::time::sleep(pause).await;
                    self.life.goes_on();
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
            }
        };
        if let Written::Stored(object) = &written {
            let record = object.record();
            if record.state.is_settled() {
                operator.ledger.signs_in(&record.attempt.id, false);
            }
            tracing::info!(record = record.name, state = ?record.state, evidence = ?record.evidence, "wrote the record");
            if record.state == State::Released || record.state.is_settled() {
                self.world.holding = None;
                self.world.progress = Progress::default();
                self.world.me.attempt = fresh_attempt();
                self.world.forget();
            }
            // What has an object is counted when that shows it.
            if self.object.is_none() && (record.state.is_settled() || record.state == State::Unknown) {
                operator.metrics.told(report::settled(&record, true).reason);
            }
        }
        self.written(written);
        Ok(())
    }

    pub(super) fn remember_progress(&self) {
        if let Seen::Known(record) = &self.world.record {
            self.term.operator.ledger.progressed(&record.attempt.id, &self.world.progress);
        }
    }

    /// The password of the record's attempt.
    pub(super) async fn password(&mut self) -> Result<Option<SecretString>, Error> {
        let Some(name) = self.record.as_ref().and_then(|object| object.spec.attempt.secret.clone()) else {
            return Ok(None);
        };
        if self.password.is_none() || self.world.stored.as_ref() != Some(&name) {
            self.password = self.term.operator.secrets.stored(&name).await?;
        }
        Ok(self.password.clone())
    }

    pub(super) async fn mail(&mut self, to: &str) -> Result<StepState, Error> {
        let Some(password) = self.password().await? else { return Ok(no_password()) };
        let Seen::Known(record) = &self.world.record else { return Err(Error::Restless) };
        let Some(mailer) = self.directory().and_then(|d| d.mailer) else {
            return Ok(StepState::Failed(
                "the mail could not be sent: the Directory has no usable spec.mail.".to_owned(),
            ));
        };
        Ok(match mailer.send(to, &record.user.name, &password).await {
            Ok(()) => StepState::Done,
            Err(Failure::Temporary(why)) => StepState::Failed(format!("the mail could not be sent: {why}")),
            Err(Failure::Permanent(why)) => StepState::Impossible(format!("the mail was not sent: {why}")),
        })
    }

    pub(super) async fn show(&self, view: &View) -> kube::Result<()> {
        if let Some(object) = &self.object {
            let operator = &self.term.operator;
            // Whoever keeps the Directory must hear of it, not only whoever waits.
            if view.reason == Reason::LimitReached && object.shown().reason != Some(Reason::LimitReached) {
                self.term.directories.publish_event(&object.spec.directory, "LimitReached", &view.message);
                operator.metrics.limit_reached(&object.spec.directory);
            }
            status::show(&operator.client, &operator.events, &operator.metrics, object.clone(), view).await?;
        }
        Ok(())
    }
}

/// The API server has understood the write, and does not want it: a policy, a right that is missing, a namespace that goes.
fn is_refusal(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 400 | 401 | 403 | 404 | 413 | 422))
}

fn no_password() -> StepState {
    StepState::Lost(
        "the password could not be delivered: its Secret in the operator's namespace is gone. File a new request."
            .to_owned(),
    )
}

fn result_of(reply: &Reply) -> &'static str {
    match reply {
        Reply::Done => "done",
        Reply::NotSent => "not-sent",
        Reply::Throttled { .. } => "throttled",
        Reply::Denied { .. } => "denied",
        Reply::NoSuchUser => "no-such-user",
        Reply::Rejected { .. } | Reply::PasswordRefused { .. } => "rejected",
        Reply::Conflict | Reply::Outdated => "conflict",
        Reply::Unsure => "unsure",
    }
}
