//! Carrying out a decision: one effect at a time.
use std::{sync::Arc, time::Duration};

use kube::ResourceExt;
use secrecy::SecretString;

use super::{
    directories::Connected,
    ledger::WriteResult,
    metrics::result_class,
    reconcile::{Error, Reconcile, new_attempt_id},
    secrets::StoredPassword,
};
use crate::{
    api::CredentialResetRecord,
    core::{
        Decision, Effect, Reason, Request, View,
        call::{AfterReset, Call, Reply},
        decide,
        driver::Reader,
        finding::Finding,
        record::{Evidence, Record, State},
        request::PasswordSource,
        seen::{Seen, Why},
        user::LookUp,
        view,
        world::StepState,
    },
    mail::Failure,
    password, sealing,
};

/// The status shows a call that takes longer than this.
const SLOW_CALL: Duration = Duration::from_secs(1);
const NO_RECORD: Error = Error::Bug("an effect on a record, without one");

impl Reconcile {
    fn request(&self) -> Option<&Request> {
        self.world.subject.request()
    }

    fn directory(&self) -> Option<Connected> {
        self.reading.connected(self.request())
    }

    /// Carries one effect out.
    pub(super) async fn carry_out(&mut self, effect: Effect) -> Result<(), Error> {
        let operator = Arc::clone(&self.reading.term.operator);
        match effect {
            Effect::StorePassword { attempt, record, source, sealed_for } => {
                let password = match &source {
                    PasswordSource::Generate { length, kinds } => password::generate(*length, kinds)?,
                    // The password that was read and found usable. `None`: this reconcile has stored it already, and deleted it since.
                    PasswordSource::FromSecret { .. } => {
                        let Some(password) = self.reading.supplied.take() else {
                            self.world.facts.supplied_password = Seen::Unread;
                            return Ok(());
                        };
                        password
                    }
                };
                // Now, since each sealing has another result: what is delivered has to be the same after a crash.
                let sealed = (!sealed_for.is_empty()).then(|| sealing::seal(&password, &sealed_for)).transpose()?;
                let stored = StoredPassword { password, sealed };
                self.world.own.password_secret = Some(operator.secrets.store(&attempt, &record, &stored).await?);
                self.password = Some(stored);
                // Approvals may have been withdrawn meanwhile: they are read again right before the attempt.
                self.world.facts.approvals = Seen::Unread;
            }
            Effect::Open(_) | Effect::TakeOver(_) => self.begin().await?,
            Effect::Send(call) => self.send(call).await?,
            Effect::Repeat(call) => self.repeat(&call).await?,
            Effect::Write(record) => self.write(&record).await?,
            Effect::Deliver { secret } => {
                let state = match self.stored_password().await? {
                    Some(stored) => {
                        let Seen::Known(record) = &self.world.ledger.record else { return Err(NO_RECORD) };
                        operator.secrets.deliver(record, &secret, &stored).await
                    }
                    None => no_password(),
                };
                self.world.own.progress.deliver = state;
                self.remember_progress();
            }
            Effect::AfterReset(what) => {
                self.world.own.progress.after_reset = self.clean_up(what).await;
                self.remember_progress();
            }
            Effect::SignIn => self.sign_in().await?,
            Effect::Mail { to } => {
                self.world.own.progress.mail = self.mail(&to).await?;
                self.remember_progress();
            }
            Effect::DropPassword { secret } => {
                operator.secrets.remove(&secret).await?;
                self.world.own.password_secret = None;
                self.password = None;
            }
        }
        Ok(())
    }

    /// Opens the record or takes it over, after deciding once more while no other task can use up the limits.
    pub(super) async fn begin(&mut self) -> Result<(), Error> {
        let operator = Arc::clone(&self.reading.term.operator);
        // The Directory may have changed: a look-up can take minutes.
        let named = self
            .request()
            .map(|request| request.directory.clone())
            .ok_or(Error::Bug("an attempt without a request"))?;
        self.world.facts.directory = self.reading.term.directories.newest(&named).await;
        let limits = self.reading.life.wait_for(operator.ledger.lock_limits()).await;
        self.refresh();
        let (record, new) = match decide(&self.world) {
            // This is also false if the clock was set meanwhile.
            _ if !self.reading.term.leadership.is_held() => return Ok(()),
            Decision::Do(Effect::Open(record)) => (record, true),
            Decision::Do(Effect::TakeOver(record)) => (record, false),
            _ => return Ok(()),
        };
        let Seen::Known(directory) = &self.world.facts.directory else {
            return Err(Error::Bug("an attempt without a Directory"));
        };
        let timeout = Duration::try_from(directory.limits.request_timeout).unwrap_or_default();
        limits.reserve(&record, timeout);
        let written = match (&self.reading.record, new) {
            (Some(object), false) => operator.ledger.take_over(object, &record).await?,
            _ => operator.ledger.open(&record).await?,
        };
        self.after_write(written);
        Ok(())
    }

    /// Updates the world with the result of a write.
    fn after_write(&mut self, result: WriteResult) {
        let (stored, object) = match result {
            WriteResult::Stored(object) => (true, Some(*object)),
            WriteResult::Conflict(now) => (false, now.map(|object| *object)),
        };
        self.reading.record = object;
        let record = self.reading.record.as_ref().map(CredentialResetRecord::record);
        match record {
            Some(record) if stored => self.world.record_written(record, new_attempt_id),
            now => self.world.write_lost(now),
        }
    }

    /// Sends the attempt's call, if its fence allows it.
    pub(super) async fn send(&mut self, call: Call) -> Result<(), Error> {
        let operator = Arc::clone(&self.reading.term.operator);
        let request = self.request().cloned().ok_or(Error::Bug("a call without a request"))?;
        if self.world.facts.user == Seen::Unread {
            self.world.facts.user = self.reading.user(&request).await;
        }
        let password = self.password().await?;
        let object = self.reading.record.clone().ok_or(NO_RECORD)?;
        let attempt = object.spec.attempt.id.clone();
        let usable = match (&self.world.facts.user, self.directory()) {
            // Since the gates were passed, a refusal of another call may have stopped the Directory.
            (Seen::Known(LookUp::One(user)), Some(Connected { facts, provider: Some(provider), .. }))
                if user.id.id == object.spec.user.id
                    && facts.not_ready.is_none()
                    && (password.is_some() || !call.needs_password()) =>
            {
                Some((user.clone(), facts.name, provider))
            }
            _ => None,
        };
        let Some((user, directory, provider)) = usable else {
            operator.ledger.attempts.set_reply(&attempt, Reply::NotSent);
            return Ok(());
        };
        let kind = if call.needs_password() { "reset-password" } else { "reset-mfa" };
        let Some(fenced) = operator.ledger.attempts.fence(&object, &self.reading.term.leadership) else {
            return Ok(());
        };
        let reply = {
            let performed = provider.perform(fenced, &user, password.as_ref());
            let mut performed = std::pin::pin!(operator.metrics.timed(&directory, kind, performed, reply_class));
            if let Ok(reply) = tokio::time::timeout(SLOW_CALL, &mut performed).await {
                reply
            } else {
                let view = View::of(&object.record(), Reason::Executing, "The call to the directory is under way.");
                // A failure to write the status does not affect the call.
                let (reply, status) = tokio::join!(performed, self.show(&view));
                if let Err(error) = status {
                    tracing::debug!(error = %error, "failed to write the status");
                }
                reply
            }
        };
        let origin = &object.spec.request;
        let request = format!("{}/{}", origin.namespace, origin.name);
        let record = object.name_any();
        tracing::info!(record, request, call = kind, result = reply_class(&reply), "called the directory");
        self.reading.term.directories.record_reply(&directory, &provider, &reply);
        operator.ledger.attempts.set_reply(&attempt, reply);
        Ok(())
    }

    /// Sends a conditional call again. Its reply is the evidence.
    async fn repeat(&mut self, call: &Call) -> Result<(), Error> {
        let Seen::Known(record) = self.world.ledger.record.clone() else { return Err(NO_RECORD) };
        let password = self.password().await?;
        if password.is_none() && call.needs_password() {
            self.world.evidence.finding = self.reading.finding(&record).await;
            return Ok(());
        }
        // The user as the decision has just read them.
        let Seen::Known(LookUp::One(user)) = self.world.facts.user.clone() else {
            return Err(Error::Bug("a repeated call without a user"));
        };
        let Some(Connected { facts, provider: Some(provider), .. }) = self.directory() else {
            self.world.evidence.finding = Seen::Unknown(Why::new("there is no Directory with its identity."));
            return Ok(());
        };
        self.reading.life.progress();
        let repeated = provider.repeat(&record, &user, password.as_ref());
        let reply = self.reading.term.operator.metrics.timed(&facts.name, "repeat", repeated, reply_class).await;
        self.reading.term.directories.record_reply(&facts.name, &provider, &reply);
        tracing::info!(record = record.name, result = reply_class(&reply), "repeated the conditional call");
        self.world.evidence.finding = Finding::of_repeat(reply);
        Ok(())
    }

    /// Ends the sessions, tokens or lock-outs that the call itself has not ended. If this fails, the reset stays in force.
    async fn clean_up(&mut self, what: AfterReset) -> StepState {
        let Seen::Known(record) = self.world.ledger.record.clone() else { return StepState::Pending };
        let Some(Connected { facts, provider: Some(provider), .. }) = self.directory() else {
            return StepState::Failed(
                "its sessions are not ended: there is no Directory with its identity.".to_owned(),
            );
        };
        let call = provider.clean_up(&record, what);
        let done = self.reading.term.operator.metrics.timed(&facts.name, "clean-up", call, result_class).await;
        match done {
            Ok(()) => StepState::Done,
            Err(why) => {
                self.reading.term.directories.check_now(&facts.name);
                StepState::Failed(why.message)
            }
        }
    }

    /// Signs in with the attempt's password, once per attempt. If nothing was sent, the sign-in is still allowed.
    async fn sign_in(&mut self) -> Result<(), Error> {
        let operator = Arc::clone(&self.reading.term.operator);
        let password = self.password().await?;
        let Seen::Known(record) = self.world.ledger.record.clone() else { return Err(NO_RECORD) };
        let (Some(password), Some(Connected { facts, provider: Some(provider), .. })) = (password, self.directory())
        else {
            self.world.evidence.finding =
                Seen::Unknown(Why::new("there is no password, or no Directory, to sign in with."));
            return Ok(());
        };
        operator.ledger.attempts.set_signed_in(&record.attempt.id, true);
        let call = provider.sign_in(&record, &password);
        let signed_in = operator.metrics.timed(&facts.name, "sign-in", call, result_class).await;
        let proven = signed_in == Ok(true);
        let error = signed_in.as_ref().err().map(|why| why.message.clone());
        tracing::info!(record = record.name, proven, error, "signed in to check whether the new password is in force");
        match signed_in {
            Ok(true) => self.world.evidence.finding = Seen::Known(Finding::Proven(Evidence::SignIn)),
            Ok(false) => {}
            Err(why) => {
                operator.ledger.attempts.set_signed_in(&record.attempt.id, false);
                self.world.evidence.finding = Seen::Unknown(why);
            }
        }
        Ok(())
    }

    /// Replaces the record. What only this process knows must not be lost, so it retries until the record is
    /// stored or another process has written it. If the API server refuses the write while this process is
    /// the leader, the write is left to a later reconcile: the refusal may last, and other work waits for the
    /// slot. This does not apply to the evidence of a repeat or a sign-in, which cannot be obtained again.
    pub(super) async fn write(&mut self, record: &Record) -> Result<(), Error> {
        let operator = Arc::clone(&self.reading.term.operator);
        let object = self.reading.record.clone().ok_or(NO_RECORD)?;
        let mut pause = Duration::from_millis(100);
        let unrepeatable = matches!(
            self.world.evidence.finding,
            Seen::Known(Finding::Proven(Evidence::ConditionalWrite | Evidence::SignIn))
        );
        let written = loop {
            match operator.ledger.write(&object, record).await {
                Ok(written) => break written,
                Err(error) if !operator.ledger.attempts.contains(record) => return Err(error.into()),
                Err(error) if is_refusal(&error) && !unrepeatable && self.reading.term.leadership.is_held() => {
                    return Err(error.into());
                }
                Err(error) => {
                    tracing::warn!(record = record.name, error = %error, "failed to write the record; retrying");
                    tokio::time::sleep(pause).await;
                    self.reading.life.progress();
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
            }
        };
        if let WriteResult::Stored(object) = &written {
            let record = object.record();
            if record.state.is_settled() {
                operator.ledger.attempts.set_signed_in(&record.attempt.id, false);
            }
            tracing::info!(record = record.name, state = ?record.state, evidence = ?record.evidence, "wrote the record");
            // A request that has an object is counted when its status is written.
            if self.object.is_none() && (record.state.is_settled() || record.state == State::Unknown) {
                operator.metrics.count_outcome(view::settled(&record, true).reason);
            }
        }
        self.after_write(written);
        Ok(())
    }

    /// Keeps the progress of the follow-up for the next reconcile.
    pub(super) fn remember_progress(&self) {
        if let Seen::Known(record) = &self.world.ledger.record {
            self.reading.term.operator.ledger.attempts.set_progress(&record.attempt.id, &self.world.own.progress);
        }
    }

    /// The password of the record's attempt. `None`: it has none, or its Secret is gone.
    pub(super) async fn password(&mut self) -> Result<Option<SecretString>, Error> {
        Ok(self.stored_password().await?.map(|stored| stored.password))
    }

    /// The same, with its sealed copy.
    async fn stored_password(&mut self) -> Result<Option<StoredPassword>, Error> {
        let Some(name) = self.reading.record.as_ref().and_then(|object| object.spec.attempt.secret.clone()) else {
            return Ok(None);
        };
        if self.password.is_none() || self.world.own.password_secret.as_ref() != Some(&name) {
            self.password = self.reading.term.operator.secrets.stored(&name).await?;
        }
        Ok(self.password.clone())
    }

    /// Mails the password.
    pub(super) async fn mail(&mut self, to: &str) -> Result<StepState, Error> {
        let Some(password) = self.password().await? else { return Ok(no_password()) };
        let Seen::Known(record) = &self.world.ledger.record else { return Err(NO_RECORD) };
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

    /// Writes `view` into the status of the request, if it has an object.
    pub(super) async fn show(&self, view: &View) -> kube::Result<()> {
        if let Some(object) = &self.object {
            let operator = &self.reading.term.operator;
            // The Directory's administrator needs to know, not only the requester.
            if view.reason == Reason::LimitReached && object.status_summary().reason != Some(Reason::LimitReached) {
                self.reading.term.directories.publish_event(&object.spec.directory, "LimitReached", &view.message);
                operator.metrics.count_limit_reached(&object.spec.directory);
            }
            operator.statuses.show(object.clone(), view).await?;
        }
        Ok(())
    }
}

/// Whether the API server has refused the write: by a policy, for a missing right, or because the namespace is being deleted.
fn is_refusal(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 400 | 401 | 403 | 404 | 413 | 422))
}

fn no_password() -> StepState {
    StepState::Lost(
        "the password could not be delivered: its Secret in the operator's namespace is gone. File a new request."
            .to_owned(),
    )
}

/// The label of a call's result in metrics and logs.
fn reply_class(reply: &Reply) -> &'static str {
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
