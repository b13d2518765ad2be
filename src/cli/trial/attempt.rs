//! Resets of the test user: the operator's own decision, and the calls that the person confirms.
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};

use super::{
    person::Stopped,
    run::{End, Run, SHORT_PASSWORD},
};
use crate::{
    cli::sources::hypothetical::Hypothetical,
    core::{
        Decision, Effect,
        call::Reply,
        decide,
        directory::DirectoryFacts,
        record::Record,
        request::{Action, UserRef},
        seen::Seen,
        user::{LookUp, User},
    },
    directory::{Fenced, Provider},
};

/// The namespace of the request; not a valid name, so that no rule of the Directory names it.
const NAMESPACE: &str = "(try)";
/// Added to the time of the request. Directories show change times in whole seconds: a change made just now must not look like one made
/// after the request.
const TIME_RESOLUTION: SignedDuration = SignedDuration::from_secs(2);

/// The Directory without the conditions that do not apply to a manual test: namespaces, maximal validity and approvals.
pub(super) fn without_conditions(mut facts: DirectoryFacts) -> DirectoryFacts {
    for rule in &mut facts.allow {
        rule.namespaces = vec![NAMESPACE.to_owned()];
        rule.namespace_selector = None;
        rule.max_valid_for = None;
        rule.approvals = None;
    }
    facts
}

/// A user that no directory has, with the fields of `user`, and a record for this user.
pub(super) fn missing_user(provider: &Provider, record: &Record, user: &User) -> (Record, User) {
    let (mut record, mut user) = (record.clone(), user.clone());
    // Ids of Zoho are 64-bit numbers: the largest. Elsewhere a UUID that no generator returns.
    let number = i64::MAX.to_string();
    user.id.id = match provider {
        Provider::Zoho(_) => number.clone(),
        Provider::Keycloak(_) | Provider::OpenLdap(_) | Provider::ActiveDirectory(_) => {
            "00000000-0000-4000-8000-000000000000".to_owned()
        }
    };
    user.email = Some("nobody@credreset-try.invalid".to_owned());
    for (name, value) in &mut user.handle {
        match name.as_str() {
            "zuid" => value.clone_from(&number),
            "dn" => *value = format!("cn=credreset-try,{value}"),
            _ => {}
        }
    }
    record.user.id.clone_from(&user.id.id);
    (record, user)
}

/// How the operator would interpret a reply.
pub(super) fn meaning(reply: &Reply) -> String {
    match reply {
        Reply::Done => "it counts as a success.".to_owned(),
        Reply::NotSent => "nothing was sent.".to_owned(),
        Reply::Throttled { .. } => "the directory asks to be called later.".to_owned(),
        Reply::Denied { code } => format!("{code} counts as an error of the operator's account or settings."),
        Reply::NoSuchUser => "it counts as: no such user.".to_owned(),
        Reply::Rejected { code } => format!("{code} counts as a final refusal."),
        Reply::PasswordRefused { code } => format!("{code} counts as a refusal of the password."),
        Reply::Conflict | Reply::Outdated => "the precondition of the call did not hold.".to_owned(),
        Reply::Unsure => "the reply is neither a clear success nor a clear refusal: it counts as lost.".to_owned(),
    }
}

impl Run<'_> {
    /// Looks the user up. Returns the record of the attempt that the operator would start; or why it would not.
    pub(super) async fn look_up_and_decide(
        &mut self,
        by: &UserRef,
        action: Action,
    ) -> Result<Result<(Record, User), String>, Stopped> {
        let found = self.provider.look_up(by, action.mode()).await;
        let found = match self.person.unless_stopped(found)? {
            Ok(Some(found)) => Seen::Known(found),
            Ok(None) => Seen::Absent,
            Err(why) => Seen::Unknown(why),
        };
        self.note_authenticator();
        Ok(self.decision(by, &found, action).await)
    }

    /// The record of the attempt that the operator would start for this result of a look-up; or why it would not.
    pub(super) async fn decision(
        &self,
        by: &UserRef,
        found: &Seen<LookUp>,
        action: Action,
    ) -> Result<(Record, User), String> {
        let now = Timestamp::now().saturating_add(TIME_RESOLUTION).unwrap_or(Timestamp::MAX);
        let hypothetical = Hypothetical { facts: &self.facts, user: found, labels: None };
        let (mut world, mut decision) = hypothetical.decide(by, action, NAMESPACE, now).await;
        if let Decision::Do(Effect::StorePassword { attempt, .. }) = &decision {
            world.own.password_secret = Some(attempt.clone());
            decision = decide(&world);
        }
        match (decision, found) {
            (Decision::Do(Effect::Open(record)), Seen::Known(LookUp::One(user))) => Ok((*record, *user.clone())),
            (Decision::Rest { view: Some(view), .. }, _) => Err(view.message.replace(NAMESPACE, "of any name")),
            _ => Err("the operator could not decide.".to_owned()),
        }
    }

    /// Sends the call of `record`.
    pub(super) async fn perform(
        &mut self,
        record: &mut Record,
        user: &User,
        password: Option<&SecretString>,
    ) -> Result<Reply, Stopped> {
        let reply = self.send(record, user, password).await;
        // Also for a call that was in flight when the person stopped.
        if let (Some(password), Reply::Done | Reply::Unsure) = (password, &reply) {
            if password.expose_secret() == SHORT_PASSWORD {
                self.short_password_set = true;
            } else {
                self.short_password_set &= reply != Reply::Done;
                self.password_set = true;
            }
        }
        self.person.unless_stopped(reply)
    }

    /// The same, without noting that the test user's password changed.
    pub(super) async fn send(&self, record: &mut Record, user: &User, password: Option<&SecretString>) -> Reply {
        let reply = self.provider.perform(Fenced::by_hand(record.clone()), user, password).await;
        // The call is over, however long the person took to confirm it.
        record.attempt.deadline = Timestamp::now();
        reply
    }

    /// Sends the conditional call of `record` again.
    pub(super) async fn repeat(
        &self,
        record: &mut Record,
        user: &User,
        password: &SecretString,
    ) -> Result<Reply, Stopped> {
        record.expires_at = Timestamp::now().saturating_add(SignedDuration::from_hours(1)).unwrap_or(Timestamp::MAX);
        let reply = self.provider.repeat(record, user, Some(password)).await;
        self.person.unless_stopped(reply)
    }

    /// Ends sessions and a lock-out where the call does not.
    pub(super) async fn clean_up(&mut self, record: &Record) -> Result<(), End> {
        let Some(what) = record.follow_up.after_reset else { return Ok(()) };
        let done = self.provider.clean_up(record, what).await;
        let done = self.person.unless_stopped(done)?;
        self.compare(
            "Separate calls end the sessions or the lock-out that the reset does not end itself.",
            done.map(|()| None).map_err(|why| why.message),
        );
        Ok(())
    }
}

/// Whether its call is conditional and has a precondition.
pub(super) fn is_conditional(record: &Record, user: &User) -> bool {
    record.attempt.conditional && (user.condition.is_some() || record.attempt.baseline.is_some())
}
