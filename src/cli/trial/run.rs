//! The state of a test, and what its steps have in common.
use secrecy::SecretString;

use super::{
    attempt::meaning,
    expectations,
    mask::Mask,
    password_file::PasswordFile,
    person::{Choice, Person, Stopped},
    report::{By, Finding, Step},
};
use crate::{
    api::directory::{Guarantees, ProviderSpec},
    core::{
        call::Reply,
        directory::{DirectoryFacts, Feature, Guarantee},
        finding,
        record::Record,
        request::{Action, Kinds, Mode, PasswordSource},
        text::{MESSAGE, printable},
    },
    directory::Provider,
    password,
};

/// Why a test ends early.
pub(super) enum End {
    Stopped,
    Because(String),
}

impl From<Stopped> for End {
    fn from(Stopped: Stopped) -> Self {
        Self::Stopped
    }
}

/// The state of a test.
pub(super) struct Run<'a> {
    pub(super) person: &'a Person,
    pub(super) provider: &'a Provider,
    pub(super) facts: DirectoryFacts,
    pub(super) spec: &'a ProviderSpec,
    pub(super) guarantees: Option<Guarantees>,
    pub(super) mask: Mask,
    pub(super) steps: Vec<Step>,
    /// Name of the current step.
    step: Option<String>,
    findings: Vec<Finding>,
    /// The user has an authenticator: a password alone does not open the account.
    otp: bool,
    /// The directory accepted [`SHORT_PASSWORD`], or may have.
    pub(super) short_password_set: bool,
    /// The directory accepted a generated password, or may have.
    pub(super) password_set: bool,
}

/// A password that policies should refuse. No error code contains it, so the watch does not hide codes.
pub(super) const SHORT_PASSWORD: &str = "!";
pub(super) const SKIPPED: &str = "you skipped it.";

impl<'a> Run<'a> {
    /// A test before its first step.
    pub(super) fn new(
        person: &'a Person,
        provider: &'a Provider,
        spec: &'a ProviderSpec,
        facts: DirectoryFacts,
        mask: Mask,
    ) -> Self {
        Self {
            person,
            provider,
            facts,
            spec,
            guarantees: None,
            mask,
            steps: Vec::new(),
            step: None,
            findings: Vec::new(),
            otp: false,
            short_password_set: false,
            password_set: false,
        }
    }

    pub(super) fn begin(&mut self, step: &str, about: &str) {
        self.close();
        self.person.title(step);
        self.person.say(about);
        self.step = Some(step.to_owned());
    }

    pub(super) fn close(&mut self) {
        let calls = self.person.take_exchanges().into_iter().map(Into::into).collect();
        if let Some(step) = self.step.take() {
            self.steps.push(Step { name: step, findings: std::mem::take(&mut self.findings), calls });
        }
    }

    pub(super) fn add(&mut self, finding: Finding) {
        let seen =
            finding.seen.as_ref().map_or_else(String::new, |seen| format!("\n      {}", printable(seen, MESSAGE)));
        self.person.say(&format!("  {}: {}{seen}", finding.verdict(), printable(&finding.expected, MESSAGE)));
        self.findings.push(finding);
    }

    pub(super) fn compare(&mut self, expected: &str, seen: Result<Option<String>, String>) {
        self.add(Finding::new(expected, seen));
    }

    pub(super) fn not_tried(&mut self, expected: &str, why: &str) {
        self.add(Finding::not_tried(expected, why));
    }

    /// Compares a reply with the expected one. After another reply the person decides whether to continue.
    pub(super) async fn compare_reply(&mut self, expected: &str, reply: &Reply, wanted: &Reply) -> Result<(), End> {
        let seen = meaning(reply);
        match reply {
            reply if reply == wanted => self.compare(expected, Ok(None)),
            Reply::NotSent => self.not_tried(expected, &seen),
            Reply::Throttled { after } => {
                self.not_tried(expected, &seen);
                let pause = after.map_or_else(|| "a while".to_owned(), |seconds| format!("{seconds} s"));
                return Err(End::Because(format!("the directory asks for a pause of {pause}: try again after that.")));
            }
            reply => {
                self.compare(expected, Err(seen));
                if let Reply::Denied { code } = reply
                    && let Some(not_ready) = self.provider.stopped_by(code)
                {
                    return Err(End::Because(not_ready.to_string()));
                }
                self.person.confirm("    Continue anyway?").await?;
            }
        }
        Ok(())
    }

    /// Compares what the person sees. `if_not`: what the answer means if it is not `wanted`.
    pub(super) async fn compare_observation(
        &mut self,
        expected: &str,
        question: &str,
        wanted: Choice,
        if_not: &str,
    ) -> Result<(), Stopped> {
        let choice = self.person.ask_observation(question).await?;
        let finding = match choice {
            Choice::Skip => Finding::not_tried(expected, SKIPPED),
            choice if choice == wanted => {
                Finding { by: By::Person, ..Finding::new(expected, Ok(Some("confirmed.".to_owned()))) }
            }
            _ => Finding { by: By::Person, ..Finding::new(expected, Err(if_not.to_owned())) },
        };
        self.add(finding);
        Ok(())
    }

    /// Notes whether the look-up showed an authenticator.
    pub(super) fn note_authenticator(&mut self) {
        self.otp = expectations::has_authenticator(&self.person.exchanges()).unwrap_or(self.otp);
    }

    /// Whether this program can try a password by signing in itself.
    fn can_sign_in(&self) -> bool {
        match self.spec {
            ProviderSpec::Zoho(_) => false,
            ProviderSpec::Keycloak(keycloak) => keycloak.sign_in_client.is_some() && !self.otp,
            ProviderSpec::OpenLdap(openldap) => openldap.ldap.sign_in,
            ProviderSpec::ActiveDirectory(domain) => domain.ldap.sign_in,
        }
    }

    /// Whether the last answer refuses a password: result 49 of LDAP, 400 or 401 of a token endpoint.
    fn was_refused(&self) -> bool {
        let exchanges = self.person.exchanges();
        exchanges
            .last()
            .is_some_and(|last| ["49", "400", "401"].iter().any(|code| last.answer.summary.starts_with(code)))
    }

    /// Checks that the new password opens the account, or that the old one no longer does.
    pub(super) async fn check_password(
        &mut self,
        record: &Record,
        password: &SecretString,
        is_new: bool,
    ) -> Result<(), End> {
        let (expected, otherwise) = if is_new {
            ("The new password opens the account.", "it does not.")
        } else {
            ("The old password no longer opens the account.", "it still does.")
        };
        if self.can_sign_in() {
            let opened = self.provider.sign_in(record, password).await;
            match self.person.unless_stopped(opened)? {
                // A lost reply is not a success either: only a refusal shows that the old password no longer works.
                Ok(opened) if opened || is_new || self.was_refused() => {
                    self.compare(expected, if opened == is_new { Ok(None) } else { Err(otherwise.to_owned()) });
                    return Ok(());
                }
                Ok(_) => self.person.say("    This program could not determine it: there was no clear refusal."),
                Err(why) => self.person.say(&format!("    This program could not determine it: {}", why.message)),
            }
        }
        let file = password_file(password)?;
        let question = format!(
            "    Sign in as the test user with the {} password, which is in {}, in a private browser window.\n    Are you let in, even if \
             only to choose another password (do not choose one)?",
            if is_new { "new" } else { "old" },
            file.path().display()
        );
        Ok(self
            .compare_observation(expected, &question, if is_new { Choice::Yes } else { Choice::No }, otherwise)
            .await?)
    }

    /// Checks the evidence in the directory: that the call of `record` made a change, or did not.
    pub(super) async fn evidence(&mut self, record: &Record, changed: bool) -> Result<(), End> {
        let expected = if changed {
            "The directory shows the change, within the time of the call."
        } else {
            "The directory shows that the refused call changed nothing."
        };
        let guarantee = self.guarantees.and_then(|all| match record.mode {
            Mode::Password => Some(all.password),
            Mode::MFA => all.mfa,
        });
        if guarantee.is_none_or(|guarantee| guarantee == Guarantee::AtMostOnce) {
            self.not_tried(expected, "the Directory names no field with the time of the last change.");
            return Ok(());
        }
        let proof = self.provider.verify(record).await;
        let seen = match (self.person.unless_stopped(proof)?, changed) {
            (Ok(finding::Finding::Proven(_)), true) | (Ok(finding::Finding::Inconclusive(_)), false) => Ok(None),
            // The operator accepts this as well, and then signs in.
            (Ok(finding::Finding::NeedsSignIn(what)), true) => Ok(Some(what)),
            (Ok(finding::Finding::Proven(_) | finding::Finding::PreconditionBroken), _) => {
                Err("it shows a change.".to_owned())
            }
            (
                Ok(
                    finding::Finding::NeedsSignIn(what)
                    | finding::Finding::Changed(what)
                    | finding::Finding::Inconclusive(what),
                ),
                _,
            ) => Err(what),
            (Err(why), _) => Err(why.message),
        };
        self.compare(expected, seen);
        Ok(())
    }

    /// A reset after which the user need not choose another password, where the directory supports that.
    pub(super) fn reset_to_keep(&self) -> Action {
        reset(!self.facts.supports.contains(&Feature::KeepAfterLogin), false)
    }

    pub(super) fn generate(&self) -> Result<SecretString, End> {
        let PasswordSource::Generate { length, kinds } = generated().within(&self.facts.policy) else {
            return Err(End::Because("no password can be generated.".to_owned()));
        };
        password::generate(length, &kinds).map_err(|error| End::Because(format!("{error}.")))
    }
}

fn generated() -> PasswordSource {
    PasswordSource::Generate { length: 20, kinds: Kinds::default() }
}

pub(super) fn reset(force_change_on_login: bool, clear_mobile_sessions_and_api_tokens: bool) -> Action {
    Action::Password {
        source: generated(),
        force_change_on_login,
        clear_mobile_sessions_and_api_tokens,
        email_to_user: false,
        deliver_to: Some("try".to_owned()),
        sealed_for: Vec::new(),
        expires_after: None,
    }
}

pub(super) fn password_file(password: &SecretString) -> Result<PasswordFile, End> {
    PasswordFile::new(password)
        .map_err(|error| End::Because(format!("the password could not be written to a file: {error}.")))
}
