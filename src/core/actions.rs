//! From a request and facts to the call and its follow-up, and the same in words.
use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    call::{Actions, AfterReset, Call, FollowUp},
    directory::{DirectoryFacts, Feature},
    request::{Action, Factor, MAX_RECIPIENT_LENGTH, PasswordSource, Request},
    seen::Seen,
    text,
    user::{Enrolled, Factors, User},
};

/// The call for `request`. The directory mails the password where the operator does not.
#[must_use]
pub fn call(request: &Request, directory: &DirectoryFacts, follow_up: &FollowUp) -> Call {
    match &request.action {
        Action::Password { force_change_on_login, clear_mobile_sessions_and_api_tokens, email_to_user, .. } => {
            Call::SetPassword {
                force_change_on_login: *force_change_on_login,
                clear_mobile_sessions_and_api_tokens: *clear_mobile_sessions_and_api_tokens,
                email_to_user: *email_to_user && follow_up.mail_to.is_none(),
            }
        }
        Action::Mfa { factors } if directory.supports.contains(&Feature::FactorsByKind) => {
            Call::RemoveFactors { factors: factors.clone(), enrolled_before: request.requested_at }
        }
        Action::Mfa { .. } => Call::ResetMfa {},
    }
}

/// What will be done for `request`, in sentences for reviewers and approvers.
#[must_use]
pub fn steps(request: &Request) -> Vec<String> {
    let Request { namespace, user, .. } = request;
    sentences(request, &user.to_string(), |secret| format!("Secret {namespace}/{secret}"))
}

/// The same in sentences that do not name the user and the Secret of the delivery: requests that differ only in these have the same.
#[must_use]
pub fn common_steps(request: &Request) -> Vec<String> {
    sentences(request, "the user", |_| format!("the request's Secret in namespace {}", request.namespace))
}

/// `place`: the Secret of this name, in words.
fn sentences(request: &Request, user: &str, place: impl Fn(&str) -> String) -> Vec<String> {
    let whose = format!("of {user} in Directory {}", request.directory);
    let namespace = &request.namespace;
    match &request.action {
        Action::Password {
            source,
            force_change_on_login,
            clear_mobile_sessions_and_api_tokens,
            email_to_user,
            deliver_to,
            sealed_for,
            expires_after,
        } => {
            let mut steps = vec![match source {
                PasswordSource::Generate { length, kinds } => {
                    let numbers = [
                        ("lower case letters", kinds.lower_case),
                        ("upper case letters", kinds.upper_case),
                        ("digits", kinds.digits),
                        ("punctuation", kinds.punctuation),
                    ];
                    let least = numbers.into_iter().filter_map(|(what, n)| match n? {
                        0 => Some(format!("; no {what}")),
                        n => Some(format!("; {what}: at least {n}")),
                    });
                    let from = kinds.punctuation_from.iter().map(|from| format!("; punctuation from {from}"));
                    format!("Generate a password of {length} characters{}.", least.chain(from).collect::<String>())
                }
                PasswordSource::FromSecret { name, key } => {
                    format!("Take the password from key {key} of Secret {namespace}/{name}.")
                }
            }];
            let then = if *force_change_on_login {
                "the user must choose another one at the next sign-in"
            } else {
                "the user may keep it: no change is required at the next sign-in"
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
            steps.extend(deliver_to.as_ref().map(|secret| match sealed_for.len() {
                0 => format!("Write it into {}: everyone who may read Secrets there can read it.", place(secret)),
                n => format!(
                    "Seal it into {}, where only a private key of its recipients ({n}) opens it.",
                    place(secret)
                ),
            }));
            // Each in a step of its own: of a long text only the beginning is shown.
            let number = sealed_for.len();
            steps
                .extend(sealed_for.iter().zip(1..).map(|(one, n)| format!("Recipient {n} of {number}: {}.", key(one))));
            steps.extend(
                expires_after.map(|stay| format!("Delete that Secret {stay:#} later, or within the hour after.")),
            );
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

/// A recipient as a reader should see it: the key, and apart from it what its comment says, which anyone can choose.
fn key(recipient: &str) -> String {
    let mut parts = recipient.splitn(3, ' ');
    let key: Vec<&str> = parts.by_ref().take(2).collect();
    let key = text::printable(&key.join(" "), MAX_RECIPIENT_LENGTH);
    match parts.next().unwrap_or_default().trim() {
        "" => key,
        comment => format!("{key} (it calls itself {:?})", text::printable(comment, 100)),
    }
}

/// What the reset means for the user, in words that complete "The user ...".
#[must_use]
pub fn impact(request: &Request) -> Vec<String> {
    let impact = match &request.action {
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
    impact.into_iter().map(ToOwned::to_owned).collect()
}

/// Something in the request that this directory cannot do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotSupported {
    /// Why, without a full stop: the message goes on with what was not done.
    pub cause: String,
    /// What to do: whole sentences.
    pub advice: String,
}

/// Whether a request from `before` for `kinds` (empty: all) removes a second factor of this kind that was enrolled at `at`. A factor
/// without a time was imported, before anyone could ask for its removal.
#[must_use]
pub fn is_due(factor: Option<Factor>, at: Option<Timestamp>, kinds: &[Factor], before: Timestamp) -> bool {
    factor.is_some_and(|factor| kinds.is_empty() || kinds.contains(&factor)) && at.is_none_or(|at| at < before)
}

/// Which second factors of the user are removed and which stay, in sentences. `None`: the directory does not show them one by one.
///
/// # Errors
/// If the user would be left without a way to sign in, or would not be asked to enrol a new factor.
fn removal(request: &Request, kinds: &[Factor], user: &User) -> Result<Option<String>, NotSupported> {
    let Seen::Known(Factors { enrolled, password }) = &user.factors else { return Ok(None) };
    let (due, left): (Vec<_>, Vec<_>) =
        enrolled.iter().partition(|one: &&Enrolled| is_due(one.factor, one.at, kinds, request.requested_at));
    let who = &user.id.name;
    let replaced = |one: &Enrolled| left.iter().any(|other| other.factor.is_some() && other.kind == one.kind);
    if let Some(why) = due.iter().filter(|one| !replaced(one)).find_map(|one| one.why_not_reenrolled.as_ref()) {
        return Err(NotSupported { cause: format!("The MFA of {who} cannot be reset"), advice: why.clone() });
    }
    if !due.is_empty() && !password && !left.iter().any(|one| one.alone) {
        return Err(NotSupported {
            cause: format!(
                "{who} has no password, and would have no known way to sign in without {}",
                listed(&due, |_| "")
            ),
            advice: "Reset the password first, then file a new request.".to_owned(),
        });
    }
    let removed = if due.is_empty() {
        "Nothing was removed: the directory shows no second factor that the request is about.".to_owned()
    } else {
        format!("Removed: {}.", listed(&due, |_| ""))
    };
    let stays = |one: &Enrolled| match one.factor {
        None => " (which the operator does not remove)",
        Some(factor) if kinds.is_empty() || kinds.contains(&factor) => " (enrolled after the request)",
        Some(_) => " (not requested)",
    };
    let stayed = if left.is_empty() { String::new() } else { format!(" Left: {}.", listed(&left, stays)) };
    Ok(Some(removed + &stayed))
}

/// Kinds with their counts, at most [`MAX_LISTED_KINDS`] of them.
fn listed(all: &[&Enrolled], note: impl Fn(&Enrolled) -> &'static str) -> String {
    let mut counts = BTreeMap::<String, usize>::new();
    for one in all {
        *counts.entry(text::printable(&one.kind, text::NAME) + note(one)).or_default() += 1;
    }
    let more = counts.len().saturating_sub(MAX_LISTED_KINDS);
    let kinds =
        counts.into_iter().take(MAX_LISTED_KINDS).map(|(kind, n)| if n == 1 { kind } else { format!("{n} x {kind}") });
    let more = (more > 0).then(|| format!("{more} other kinds"));
    kinds.chain(more).collect::<Vec<_>>().join(", ")
}

/// How many kinds of factors a message lists.
const MAX_LISTED_KINDS: usize = 10;

/// The call for `request`, and what the operator has to do after it.
///
/// # Errors
/// If the directory cannot honour the whole request: nothing is ever left out of one.
pub fn actions(request: &Request, directory: &DirectoryFacts, user: &User) -> Result<Actions, NotSupported> {
    let follow_up = follow_up(request, directory, user)?;
    Ok(Actions { call: call(request, directory, &follow_up), follow_up })
}

fn follow_up(request: &Request, directory: &DirectoryFacts, user: &User) -> Result<FollowUp, NotSupported> {
    let refused = |cause: String| NotSupported {
        cause,
        advice: "File a request without it, or extend the Directory.".to_owned(),
    };
    let need = |feature: Feature, flag: &str| {
        let whom = match (directory.supports.contains(&feature), user.lacks.get(&feature)) {
            (true, None) => return Ok(()),
            (true, Some(why)) => format!(" for {}, {why}", user.id.name),
            (false, _) => String::new(),
        };
        Err(refused(format!(
            "{flag} cannot be honoured: Directory {} ({}) does not support {feature:?}{whom}",
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
            sealed_for,
            expires_after,
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
                    return Err(refused(format!(
                        "password.emailToUser: true cannot be honoured: Directory {} ({}) does not support EmailToUser and has no \
                         spec.mail through which the operator could send it",
                        directory.name, directory.kind
                    )));
                }
                (None, true) => {
                    return Err(refused(format!(
                        "password.emailToUser: true cannot be honoured: the directory shows no e-mail address of {}",
                        user.id.name
                    )));
                }
                (Some(address), true) => Some(address.clone()),
            };
            let after_reset = AfterReset {
                web_sessions: true,
                mobile_sessions_and_api_tokens: *clear_mobile_sessions_and_api_tokens,
                unlock: true,
                must_change: *force_change_on_login && user.must_change == Seen::Known(true),
            };
            Ok(FollowUp {
                deliver_to: deliver_to.clone(),
                sealed_for: sealed_for.clone(),
                expires_after: *expires_after,
                after_reset: after_reset.in_separate_calls(directory.separate_calls),
                mail_to,
                remains: directory.not_ended.clone(),
            })
        }
        Action::Mfa { factors } => {
            need(Feature::ResetMFA, "mode MFA")?;
            if !factors.is_empty() {
                need(Feature::FactorsByKind, "mfa.factors")?;
            }
            if user.mfa_on == Seen::Known(false) {
                return Err(NotSupported {
                    cause: format!("The MFA of {} is off already", user.id.name),
                    advice: "Withdraw the request; if the user cannot sign in all the same, file one that resets the password."
                        .to_owned(),
                });
            }
            let after_reset = AfterReset { unlock: true, ..AfterReset::default() };
            let remains = removal(request, factors, user)?;
            Ok(FollowUp {
                after_reset: after_reset.in_separate_calls(directory.separate_calls),
                remains,
                ..FollowUp::default()
            })
        }
    }
}
