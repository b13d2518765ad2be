//! From request and facts to steps: what a directory is asked to do, as data.
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    ledger::Finish,
    request::{Action, Factor, Request, Source},
    text,
    world::{Directory, Enrolled, Factors, Feature, Seen, User},
};

/// The one call that must not be repeated.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Once {
    /// Set the stored password. Web sessions end with it.
    #[serde(rename_all = "camelCase")]
    SetPassword {
        /// The user must choose another one at the next sign-in.
        force_change_on_login: bool,
        /// Mobile sessions and API tokens end too.
        clear_mobile_sessions_and_api_tokens: bool,
        /// The directory mails it to the user.
        email_to_user: bool,
    },
    /// Reset MFA with one opaque call.
    #[serde(rename = "resetMFA")]
    ResetMfa {},
    /// Remove second factors one by one, and ask for new ones. Those that were enrolled later stay, so it may be repeated.
    #[serde(rename_all = "camelCase")]
    RemoveFactors {
        /// Only these kinds; empty means all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(with = "Vec<String>")]
        factors: Vec<Factor>,
        /// Only those enrolled before this moment.
        #[schemars(with = "String", extend("format" = "date-time"))]
        enrolled_before: Timestamp,
    },
}

impl Once {
    /// It sets the stored password.
    #[must_use]
    pub fn needs_password(&self) -> bool {
        matches!(self, Self::SetPassword { .. })
    }
}

/// What ends with a reset, where the directory has calls of their own for it. They may be repeated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a thing of its own")]
pub struct CleanUp {
    /// Web sessions.
    pub web_sessions: bool,
    /// Mobile sessions and API tokens.
    pub mobile_sessions_and_api_tokens: bool,
    /// A lock-out by failed sign-ins.
    pub unlock: bool,
    /// Signing in for good with the new password: another is to be chosen first. Where the call itself cannot ask for that of a
    /// user who must choose one already.
    pub must_change: bool,
}

impl CleanUp {
    /// What of `self` takes calls of their own, if anything does.
    fn apart(self, apart: Self) -> Option<Self> {
        let both = Self {
            web_sessions: self.web_sessions && apart.web_sessions,
            mobile_sessions_and_api_tokens: self.mobile_sessions_and_api_tokens && apart.mobile_sessions_and_api_tokens,
            unlock: self.unlock && apart.unlock,
            must_change: self.must_change && apart.must_change,
        };
        (both != Self::default()).then_some(both)
    }
}

/// The call that `request` comes to. The directory mails the password where the operator does not.
#[must_use]
pub fn once(request: &Request, directory: &Directory, finish: &Finish) -> Once {
    match &request.action {
        Action::Password { force_change_on_login, clear_mobile_sessions_and_api_tokens, email_to_user, .. } => {
            Once::SetPassword {
                force_change_on_login: *force_change_on_login,
                clear_mobile_sessions_and_api_tokens: *clear_mobile_sessions_and_api_tokens,
                email_to_user: *email_to_user && finish.mail_to.is_none(),
            }
        }
        Action::Mfa { factors } if directory.supports.contains(&Feature::FactorsByKind) => {
            Once::RemoveFactors { factors: factors.clone(), enrolled_before: request.requested_at }
        }
        Action::Mfa { .. } => Once::ResetMfa {},
    }
}

/// What will be done for `request`, in words for who reviews or approves it.
#[must_use]
pub fn steps(request: &Request) -> Vec<String> {
    let whose = format!("of {} in Directory {}", request.user, request.directory);
    let namespace = &request.namespace;
    match &request.action {
        Action::Password {
            source,
            force_change_on_login,
            clear_mobile_sessions_and_api_tokens,
            email_to_user,
            deliver_to,
        } => {
            let mut steps = vec![match source {
                Source::Generate { length, kinds } => {
                    let numbers = [
                        ("lower case letters", kinds.lower_case),
                        ("upper case letters", kinds.upper_case),
                        ("digits", kinds.digits),
                        ("punctuation", kinds.punctuation),
                    ];
                    let said = numbers.into_iter().filter_map(|(what, n)| match n? {
                        0 => Some(format!("; no {what}")),
                        n => Some(format!("; {what}: at least {n}")),
                    });
                    let from = kinds.punctuation_from.iter().map(|from| format!("; punctuation from {from}"));
                    format!("Draw a password of {length} characters{}.", said.chain(from).collect::<String>())
                }
                Source::FromSecret { name, key } => {
                    format!("Take the password from key {key} of Secret {namespace}/{name}.")
                }
            }];
            let then = if *force_change_on_login {
                "at the next sign-in another one has to be chosen"
            } else {
                "it stays as it is: no other has to be chosen at the next sign-in"
            };
            steps.push(format!("Set it as the password {whose}; {then}."));
            steps.push(
                if *clear_mobile_sessions_and_api_tokens {
                    "End the user's web sessions, mobile sessions and API tokens."
                } else {
                    "End the user's web sessions. Mobile sessions and API tokens stay."
                }
                .to_owned(),
            );
            steps.extend(deliver_to.as_ref().map(|secret| {
                format!("Write it into Secret {namespace}/{secret}: whoever may read Secrets there can read it.")
            }));
            steps.extend(email_to_user.then(|| "Mail it to the user.".to_owned()));
            steps
        }
        Action::Mfa { factors } if factors.is_empty() => {
            vec![format!("Remove the second factors {whose} that the directory lets the operator remove.")]
        }
        Action::Mfa { factors } => {
            let kinds: Vec<String> = factors.iter().map(|factor| format!("{factor:?}")).collect();
            vec![format!("Remove second factors {whose} of these kinds: {}.", kinds.join(", "))]
        }
    }
}

/// What the reset is for the user, in words that complete "The user ...".
#[must_use]
pub fn cost(request: &Request) -> Vec<String> {
    let said = match &request.action {
        Action::Password { force_change_on_login, clear_mobile_sessions_and_api_tokens, .. } => {
            let sessions = if *clear_mobile_sessions_and_api_tokens {
                "is signed out everywhere, apps and API tokens included"
            } else {
                "is signed out of web sessions"
            };
            let change = force_change_on_login.then_some("has to choose another password at the next sign-in");
            ["can no longer sign in with the old password", sessions].into_iter().chain(change).collect()
        }
        Action::Mfa { factors } if factors.is_empty() => {
            vec!["loses the second factors that the operator can remove and has to enrol anew"]
        }
        Action::Mfa { .. } => vec!["loses the second factors of these kinds and has to enrol anew"],
    };
    said.into_iter().map(ToOwned::to_owned).collect()
}

/// What of the request this directory cannot do, and what to do: whole sentences.
pub type NotSupported = String;

/// A second factor of this kind, enrolled then, is one that a request of that time for these kinds (all, if there are none) is about.
/// One without a time was imported, before anybody could ask for its removal.
#[must_use]
pub fn is_due(factor: Option<Factor>, at: Option<Timestamp>, kinds: &[Factor], before: Timestamp) -> bool {
    factor.is_some_and(|factor| kinds.is_empty() || kinds.contains(&factor)) && at.is_none_or(|at| at < before)
}

/// What is removed of a user's second factors and what stays, in words. They are known only where the directory shows them one by one.
///
/// # Errors
/// What the user would be left with makes it refuse the whole: no way in, or nothing that asks for a new factor.
fn removal(request: &Request, kinds: &[Factor], user: &User) -> Result<Option<String>, NotSupported> {
    let Seen::Known(Factors { enrolled, password }) = &user.factors else { return Ok(None) };
    let (due, left): (Vec<_>, Vec<_>) =
        enrolled.iter().partition(|one: &&Enrolled| is_due(one.factor, one.at, kinds, request.requested_at));
    let who = &user.id.name;
    let replaced = |one: &Enrolled| left.iter().any(|other| other.factor.is_some() && other.kind == one.kind);
    if let Some(why) = due.iter().filter(|one| !replaced(one)).find_map(|one| one.hindered.as_ref()) {
        return Err(format!("The MFA of {who} cannot be reset: nothing was sent. {why}"));
    }
    if !due.is_empty() && !password && !left.iter().any(|one| one.alone) {
        return Err(format!(
            "{who} has no password, and nothing that is known to open the account would be left without {}: nothing was sent. Reset the \
             password first, then file a new request.",
            listed(&due, |_| "")
        ));
    }
    let removed = if due.is_empty() {
        "Nothing was removed: the directory shows no second factor that the request is about.".to_owned()
    } else {
        format!("Removed: {}.", listed(&due, |_| ""))
    };
    let stays = |one: &Enrolled| match one.factor {
        None => " (which the operator does not remove)",
        Some(factor) if kinds.is_empty() || kinds.contains(&factor) => " (enrolled after it was asked for)",
        Some(_) => " (not asked for)",
    };
    let stayed = if left.is_empty() { String::new() } else { format!(" Left: {}.", listed(&left, stays)) };
    Ok(Some(removed + &stayed))
}

/// Kinds with their numbers, of no more than a few.
fn listed(all: &[&Enrolled], note: impl Fn(&Enrolled) -> &'static str) -> String {
    let mut counts = BTreeMap::<String, usize>::new();
    for one in all {
        *counts.entry(text::shown(&one.kind, text::NAME) + note(one)).or_default() += 1;
    }
    let more = counts.len().saturating_sub(MOST_KINDS);
    let kinds =
        counts.into_iter().take(MOST_KINDS).map(|(kind, n)| if n == 1 { kind } else { format!("{n} x {kind}") });
    let more = (more > 0).then(|| format!("{more} other kinds"));
    kinds.chain(more).collect::<Vec<_>>().join(", ")
}

/// More are not listed.
const MOST_KINDS: usize = 10;

/// What the operator has to do for `request` after the call.
///
/// # Errors
/// What cannot be honoured is refused before anything is sent, never dropped.
pub fn plan(request: &Request, directory: &Directory, user: &User) -> Result<Finish, NotSupported> {
    let refused =
        |what: &str| format!("{what} So nothing was sent. File a request without it, or extend the Directory.");
    let need = |feature: Feature, flag: &str| {
        let whom = match (directory.supports.contains(&feature), user.lacks.get(&feature)) {
            (true, None) => return Ok(()),
            (true, Some(why)) => format!(" for {}, {why}", user.id.name),
            (false, _) => String::new(),
        };
        Err(refused(&format!(
            "{flag} cannot be honoured: Directory {} ({}) does not support {feature:?}{whom}.",
            directory.name, directory.kind
        )))
    };
    match &request.action {
        Action::Password {
            source: _,
            force_change_on_login,
            clear_mobile_sessions_and_api_tokens,
            email_to_user,
            deliver_to,
        } => {
            need(Feature::ResetPassword, "mode Password")?;
            if *force_change_on_login {
                need(Feature::ForceChangeOnLogin, "password.forceChangeOnLogin: true")?;
            } else {
                need(Feature::KeepAfterLogin, "password.forceChangeOnLogin: false")?;
            }
            if *clear_mobile_sessions_and_api_tokens {
                need(Feature::ClearMobileSessionsAndApiTokens, "password.clearMobileSessionsAndApiTokens: true")?;
            }
            let by_directory = *email_to_user && directory.supports.contains(&Feature::EmailToUser);
            let mail_to = match (&user.email, *email_to_user && !by_directory) {
                (_, false) => None,
                (_, true) if !directory.mail => {
                    return Err(refused(&format!(
                        "password.emailToUser: true cannot be honoured: Directory {} ({}) does not support EmailToUser and has no \
                         spec.mail through which the operator could send it.",
                        directory.name, directory.kind
                    )));
                }
                (None, true) => {
                    return Err(refused(&format!(
                        "password.emailToUser: true cannot be honoured: the directory shows no e-mail address of {}.",
                        user.id.name
                    )));
                }
                (Some(address), true) => Some(address.clone()),
            };
            let clean_up = CleanUp {
                web_sessions: true,
                mobile_sessions_and_api_tokens: *clear_mobile_sessions_and_api_tokens,
                unlock: true,
                must_change: *force_change_on_login && user.must_change == Seen::Known(true),
            };
            Ok(Finish {
                deliver_to: deliver_to.clone(),
                clean_up: clean_up.apart(directory.apart),
                mail_to,
                remains: directory.remains.clone(),
            })
        }
        Action::Mfa { factors } => {
            need(Feature::ResetMFA, "mode MFA")?;
            if !factors.is_empty() {
                need(Feature::FactorsByKind, "mfa.factors")?;
            }
            let clean_up = CleanUp { unlock: true, ..CleanUp::default() };
            let remains = removal(request, factors, user)?;
            Ok(Finish { clean_up: clean_up.apart(directory.apart), remains, ..Finish::default() })
        }
    }
}
