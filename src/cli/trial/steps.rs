//! The steps of a test, in order.
use std::collections::BTreeSet;

use secrecy::SecretString;

use super::{
    attempt::{is_conditional, meaning, missing_user, without_conditions},
    expectations,
    mask::Mask,
    person::{Choice, Person},
    report::{Report, Verdict},
    run::{End, Run, SHORT_PASSWORD, SKIPPED, password_file, reset},
};
use crate::{
    api::{
        self,
        directory::{Hash, ProviderSpec},
    },
    cli::sources::users::look_up,
    core::{
        call::Reply,
        directory::{DirectoryFacts, Feature},
        record::Record,
        request::{Action, Mode, UserRef},
        seen::Seen,
        text::{MESSAGE, printable},
        user::{LookUp, User},
    },
    directory::Provider,
};

/// Runs all steps and returns the report.
pub(super) async fn all(
    person: &Person,
    provider: &Provider,
    object: &api::Directory,
    facts: DirectoryFacts,
    typed: &str,
    mask: Mask,
) -> Report {
    let directory = facts.kind.clone();
    let mut run = Run::new(person, provider, &object.spec.provider, without_conditions(facts), mask);
    let ended = run.all(typed).await;
    run.close();
    let mut stopped = match ended {
        Ok(()) => None,
        Err(End::Stopped) => Some("you stopped it.".to_owned()),
        Err(End::Because(why)) => Some(why),
    };
    if let Some(why) = &stopped {
        person.say(&format!("\nEnded early: {}", printable(why, MESSAGE)));
    }
    if run.short_password_set {
        let warning =
            format!("The test user's password is the single character {SHORT_PASSWORD}, or may be: set another now.");
        person.say(&format!("\n{warning}"));
        stopped = stopped.map(|why| format!("{why} {warning}")).or(Some(warning));
    } else if run.password_set {
        person.say("\nThe test user's password is not known now: set another.");
    }
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let mut report = Report { version, directory, as_expected: true, stopped, steps: run.steps };
    report.as_expected = report.count(Verdict::NotAsExpected) == 0;
    report.masked(&run.mask)
}

impl Run<'_> {
    async fn all(&mut self, typed: &str) -> Result<(), End> {
        self.sign_in().await?;
        let id = self.look_up(typed).await?;
        let modes = self.facts.modes();
        if modes.contains(&Mode::Password) {
            self.no_such_user(&id).await?;
            self.refused_password(&id).await?;
        }
        // Before the password steps, so that the password alone signs the user in.
        if modes.contains(&Mode::MFA) && self.facts.supports.contains(&Feature::ResetMFA) {
            self.second_factors(&id).await?;
        }
        if modes.contains(&Mode::Password)
            && let Some(old) = self.first_reset(&id).await?
        {
            self.second_reset(&id, &old).await?;
        }
        Ok(())
    }

    async fn sign_in(&mut self) -> Result<(), End> {
        self.begin("The operator's account", "Signs in and checks its permissions. This changes nothing.");
        let modes: BTreeSet<Mode> = self.facts.modes();
        let checked = self.provider.check(&modes).await;
        let checked = self.person.unless_stopped(checked)?;
        if let Some(finding) = expectations::sign_in(self.spec, &self.person.exchanges()) {
            self.add(finding);
        }
        let modes: Vec<String> = modes.iter().map(ToString::to_string).collect();
        let expected = if self.spec.reports_permissions() {
            format!("The operator's account signs in and holds what {} needs.", modes.join(" and "))
        } else {
            "The operator's account signs in and can read what it needs.".to_owned()
        };
        match checked {
            Ok(checked) => {
                self.compare(&expected, Ok(None));
                self.guarantees = Some(checked.guarantees);
                self.facts = checked.add_to(self.facts.clone());
                Ok(())
            }
            Err(not_ready) => {
                self.compare(&expected, Err(not_ready.to_string()));
                Err(End::Because("the Directory cannot be used as it is.".to_owned()))
            }
        }
    }

    /// Looks the test user up. Returns the id.
    async fn look_up(&mut self, typed: &str) -> Result<UserRef, End> {
        self.begin(
            "The look-up",
            "Looks the test user up, and checks that the Directory's protections and rules allow a reset. This changes nothing.",
        );
        let modes = self.facts.modes();
        let Some(mode) = modes.first().copied() else { return Err(End::Because("there is no rule.".to_owned())) };
        let found = look_up(self.provider, typed, mode).await;
        let (by, user) = match self.person.unless_stopped(found)? {
            Ok(Some((by, LookUp::One(user)))) => (by, user),
            Ok(Some((_, LookUp::Several(n)))) => {
                return Err(End::Because(format!("{n} users match that name: name the test user by id.")));
            }
            Ok(None) => return Err(End::Because("the directory has no such user.".to_owned())),
            Err(why) => {
                self.compare("The test user can be looked up.", Err(why.message));
                return Err(End::Because("the test user cannot be looked up.".to_owned()));
            }
        };
        self.mask.add_user(&user);
        for finding in expectations::look_up(self.spec, &self.person.exchanges(), &user) {
            self.add(finding);
        }
        let action = if mode == Mode::Password { reset(false, false) } else { Action::Mfa { factors: Vec::new() } };
        // Decided with the name as typed: a protection may list the user by it.
        let (_, user) = self.decision(&by, &Seen::Known(LookUp::One(user)), action).await.map_err(End::Because)?;
        let (name, id) = (printable(&user.id.name, MESSAGE), printable(&user.id.id, MESSAGE));
        self.person.confirm(&format!("\nThis is {name} (id {id}). Is this the test user?")).await?;
        Ok(UserRef::Id(user.id.id))
    }

    /// Asks whether to do the step, and decides again. `None`: it is skipped or refused, and the report has that.
    async fn confirm_reset(
        &mut self,
        id: &UserRef,
        action: Action,
        expected: &str,
    ) -> Result<Option<(Record, User)>, End> {
        if !self.person.confirm_step("Do it?").await? {
            self.not_tried(expected, SKIPPED);
            return Ok(None);
        }
        match self.look_up_and_decide(id, action).await? {
            Ok(attempt) => Ok(Some(attempt)),
            Err(why) => {
                self.not_tried(expected, &why);
                Ok(None)
            }
        }
    }

    async fn no_such_user(&mut self, id: &UserRef) -> Result<(), End> {
        let expected = "The operator recognizes the answer for a user that the directory does not have.";
        self.begin(
            "A user that does not exist",
            "Sends the call of a password reset for a user that cannot exist. It should change nothing.",
        );
        let Some((record, user)) = self.confirm_reset(id, self.reset_to_keep(), expected).await? else { return Ok(()) };
        let (mut record, user) = missing_user(self.provider, &record, &user);
        let reply = self.send(&mut record, &user, Some(&self.generate()?)).await;
        let reply = self.person.unless_stopped(reply)?;
        self.compare_reply(expected, &reply, &Reply::NoSuchUser).await
    }

    async fn refused_password(&mut self, id: &UserRef) -> Result<(), End> {
        let expected = "The reply to a password that a policy refuses makes the operator generate another.";
        self.begin(
            "A password that is refused",
            "Sends the single character ! as the password, which any policy should refuse. If the directory accepts it, the test user \
             has it until the next reset.",
        );
        if matches!(self.spec, ProviderSpec::OpenLdap(openldap) if openldap.hash == Hash::SSHA) {
            self.not_tried(expected, "the server gets a hash, which does not show the length of the password.");
            return Ok(());
        }
        let Some((mut record, user)) = self.confirm_reset(id, self.reset_to_keep(), expected).await? else {
            return Ok(());
        };
        match self.perform(&mut record, &user, Some(&SecretString::from(SHORT_PASSWORD))).await? {
            Reply::PasswordRefused { code } => {
                self.compare(expected, Ok(Some(format!("{code}."))));
                self.evidence(&record, false).await?;
            }
            Reply::Done => {
                let accepted = "the directory accepted it: the test user has it until the next reset.";
                // Zoho has a policy in every organization; others may have none.
                match self.spec {
                    ProviderSpec::Zoho(_) => self.compare(expected, Err(accepted.to_owned())),
                    _ => self.not_tried(expected, accepted),
                }
            }
            reply => {
                let wanted = Reply::PasswordRefused { code: String::new() };
                self.compare_reply(expected, &reply, &wanted).await?;
            }
        }
        Ok(())
    }

    async fn second_factors(&mut self, id: &UserRef) -> Result<(), End> {
        let expected = "The reply to the reset of the second factors is a clear success.";
        self.begin("Second factors", "Resets all second factors of the test user.");
        let action = Action::Mfa { factors: Vec::new() };
        let Some((mut record, user)) = self.confirm_reset(id, action.clone(), expected).await? else { return Ok(()) };
        let before = expectations::tfa_enabled(&self.person.exchanges(), &user);
        let count = |user: &User| match &user.factors {
            Seen::Known(factors) => Some(factors.enrolled.iter().filter(|one| one.factor.is_some()).count()),
            _ => None,
        };
        if count(&user) == Some(0) {
            self.not_tried(expected, "the test user has none: enrol one, and try again.");
            return Ok(());
        }
        let reply = self.perform(&mut record, &user, None).await?;
        self.compare_reply(expected, &reply, &Reply::Done).await?;
        if !matches!(reply, Reply::Done | Reply::Unsure) {
            return Ok(());
        }
        self.clean_up(&record).await?;
        self.evidence(&record, true).await?;
        match self.spec {
            // Zoho Mail's call turns MFA off. The call of a template, made for the console's form, makes the user enrol again.
            ProviderSpec::Zoho(zoho) if zoho.reset_mfa.is_none() => {
                let expected = "tfaEnabled is false afterwards.";
                let again = self.look_up_and_decide(id, action).await?;
                match expectations::tfa_enabled(&self.person.exchanges(), &user) {
                    _ if before == Some(false) => self.not_tried(expected, "it was false before."),
                    Some(after) => {
                        self.compare(expected, if after { Err("it is still true.".to_owned()) } else { Ok(None) });
                    }
                    None => self.compare(expected, Err(again.err().unwrap_or("it is not shown.".to_owned()))),
                }
            }
            ProviderSpec::Zoho(_) => {
                let question = "    Sign in as the test user. Are you made to enrol a new factor?";
                let expected = "The user enrols a new factor at the next sign-in.";
                self.compare_observation(expected, question, Choice::Yes, "no factor is asked for.").await?;
            }
            ProviderSpec::Keycloak(_) => {
                let expected = "The directory no longer shows any of them.";
                let left = self.look_up_and_decide(id, action).await?.map(|(_, user)| count(&user));
                self.compare(
                    expected,
                    match left {
                        Ok(Some(0)) => Ok(None),
                        Ok(left) => Err(format!("it shows {}.", left.unwrap_or_default())),
                        Err(why) => Err(why),
                    },
                );
            }
            ProviderSpec::OpenLdap(_) | ProviderSpec::ActiveDirectory(_) => {}
        }
        Ok(())
    }

    /// Sends the call of a password reset, and compares its effects. True: the password may be set.
    async fn set_password(&mut self, record: &mut Record, user: &User, password: &SecretString) -> Result<bool, End> {
        let reply = self.perform(record, user, Some(password)).await?;
        self.compare_reply("The reply to the reset of the password is a clear success.", &reply, &Reply::Done).await?;
        if !matches!(reply, Reply::Done | Reply::Unsure) {
            return Ok(false);
        }
        self.clean_up(record).await?;
        self.evidence(record, true).await?;
        Ok(true)
    }

    /// Returns the password, if it may be set.
    async fn first_reset(&mut self, id: &UserRef) -> Result<Option<SecretString>, End> {
        let expected = "The reply to the reset of the password is a clear success.";
        self.begin("A password", "Generates a new password and sets it.");
        let Some((mut record, user)) = self.confirm_reset(id, self.reset_to_keep(), expected).await? else {
            return Ok(None);
        };
        let password = self.generate()?;
        if !self.set_password(&mut record, &user, &password).await? {
            return Ok(None);
        }
        self.check_password(&record, &password, true).await?;
        Ok(Some(password))
    }

    async fn second_reset(&mut self, id: &UserRef, old: &SecretString) -> Result<(), End> {
        let [force, clear] = [Feature::ForceChangeOnLogin, Feature::ClearMobileSessionsAndApiTokens]
            .map(|feature| self.facts.supports.contains(&feature));
        let expected = "The reply to the reset of the password is a clear success.";
        let what = [(force, ", to be changed at the next sign-in"), (clear, ", and ends all sessions and API tokens")];
        let what: String = what.into_iter().filter(|(asked, _)| *asked).map(|(_, words)| words).collect();
        self.begin(
            "Another password",
            &format!("Generates another password and sets it{what}. The previous one should no longer work."),
        );
        let signed_in = self.ask_for_sessions(old, clear).await?;
        let Some((mut record, user)) = self.confirm_reset(id, reset(force, clear), expected).await? else {
            return Ok(());
        };
        let new = self.generate()?;
        if !self.set_password(&mut record, &user, &new).await? {
            return Ok(());
        }
        if is_conditional(&record, &user) {
            self.person.say(
                "Sends the same call again, on the condition that nothing has changed since before the first one.",
            );
            let reply = self.repeat(&mut record, &user, &new).await?;
            let recognized = matches!(reply, Reply::Conflict | Reply::Outdated | Reply::Done);
            let expected = "The same call, sent again, changes nothing, and its answer shows that the first one did.";
            self.compare(expected, if recognized { Ok(None) } else { Err(meaning(&reply)) });
        }
        self.check_password(&record, old, false).await?;
        self.check_password(&record, &new, true).await?;
        if force {
            let file = password_file(&new)?;
            let question = format!(
                "    Sign in as the test user with the new password, which is in {}.\n    Are you made to choose another one before \
                 anything else (do not choose one)?",
                file.path().display()
            );
            let expected = "At the next sign-in the user must choose another password.";
            self.compare_observation(expected, &question, Choice::Yes, "no other password is required.").await?;
        }
        self.sessions(signed_in, clear).await
    }

    /// Asks the person to open sessions, in order to see them end. `None`: this directory keeps no sessions.
    async fn ask_for_sessions(&mut self, old: &SecretString, clear: bool) -> Result<Option<bool>, End> {
        if matches!(self.spec, ProviderSpec::OpenLdap(_) | ProviderSpec::ActiveDirectory(_)) {
            return Ok(None);
        }
        let file = password_file(old)?;
        let more = if clear { ", and in a mobile app or with an API token" } else { "" };
        let question = format!(
            "    Sign in as the test user in a browser{more}, to see those sessions end. The password is in {}.\n    Are you signed in?",
            file.path().display()
        );
        Ok(Some(self.person.ask_observation(&question).await? == Choice::Yes))
    }

    async fn sessions(&mut self, signed_in: Option<bool>, clear: bool) -> Result<(), End> {
        let web = "Web sessions from before end.";
        let mobile = "Mobile sessions and API tokens from before end.";
        let alive = "the session is still alive.";
        match signed_in {
            None => self.not_tried(web, "this directory keeps none."),
            Some(false) => self.not_tried(web, "you were not signed in."),
            Some(true) => {
                let question = "    Reload the page in the browser that was signed in. Are you signed out?";
                self.compare_observation(web, question, Choice::Yes, alive).await?;
                if clear {
                    let question = "    Look at the mobile app, or use the API token. Has that ended as well?";
                    self.compare_observation(mobile, question, Choice::Yes, alive).await?;
                } else {
                    self.not_tried(mobile, "the Directory has no call that ends them.");
                }
            }
        }
        Ok(())
    }
}
