//! From request and facts to steps: what a directory is asked to do, as data.
use serde::{Deserialize, Serialize};

use super::{
    ledger::Finish,
    request::{Action, Factor, Request, Source},
    world::{Directory, Feature, User},
};

/// The one call that must not be repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    ResetMfa,
}

/// What a request comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The call.
    pub once: Once,
    /// Repeatable steps that the operator takes afterwards.
    pub finish: Finish,
}

/// What of the request this directory cannot do, as a sentence.
pub type NotSupported = String;

/// The steps for `request`.
///
/// # Errors
/// What cannot be honoured is refused before anything is sent, never dropped.
pub fn plan(request: &Request, directory: &Directory, user: &User) -> Result<Plan, NotSupported> {
    let need = |feature: Feature, flag: &str| {
        if directory.supports.contains(&feature) {
            Ok(())
        } else {
            Err(format!(
                "{flag} cannot be honoured: Directory {} ({}) does not support {feature:?}.",
                directory.name, directory.kind
            ))
        }
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
                    return Err(format!(
                        "password.emailToUser: true cannot be honoured: Directory {} ({}) does not support EmailToUser and has no \
                         spec.mail through which the operator could send it.",
                        directory.name, directory.kind
                    ));
                }
                (None, true) => {
                    return Err(format!(
                        "password.emailToUser: true cannot be honoured: the directory shows no e-mail address of {}.",
                        user.id.name
                    ));
                }
                (Some(address), true) => Some(address.clone()),
            };
            Ok(Plan {
                once: Once::SetPassword {
                    force_change_on_login: *force_change_on_login,
                    clear_mobile_sessions_and_api_tokens: *clear_mobile_sessions_and_api_tokens,
                    email_to_user: by_directory,
                },
                finish: Finish { deliver_to: deliver_to.clone(), mail_to },
            })
        }
        Action::Mfa { factors } => {
            need(Feature::ResetMFA, "mode MFA")?;
            if !factors.is_empty() {
                need(Feature::FactorsByKind, "mfa.factors")?;
            }
            Ok(Plan { once: Once::ResetMfa, finish: Finish::default() })
        }
    }
}

impl Request {
    /// What will happen, in words, as the reviewer of a request reads it.
    #[must_use]
    pub fn in_words(&self) -> Vec<String> {
        match &self.action {
            Action::Password {
                source,
                force_change_on_login,
                clear_mobile_sessions_and_api_tokens,
                email_to_user,
                deliver_to,
            } => {
                let mut words = vec![match source {
                    Source::Generate { length } => format!("a password of {length} characters is generated and set"),
                    Source::FromSecret { name, key } => {
                        format!("the password in Secret {}/{name}, key {key}, is set", self.namespace)
                    }
                }];
                words.push("web sessions end".to_owned());
                if *clear_mobile_sessions_and_api_tokens {
                    words.push("mobile sessions and API tokens end".to_owned());
                }
                if *force_change_on_login {
                    words.push("the user must choose another password at the next sign-in".to_owned());
                }
                if let Some(secret) = deliver_to {
                    words.push(format!("the password is written to Secret {}/{secret}", self.namespace));
                }
                if *email_to_user {
                    words.push("the password is mailed to the user".to_owned());
                }
                words
            }
            Action::Mfa { factors } if factors.is_empty() => vec!["all second factors are reset".to_owned()],
            Action::Mfa { factors } => vec![format!("these second factors are reset: {}", list(factors))],
        }
    }
}

fn list(factors: &[Factor]) -> String {
    factors.iter().map(|f| format!("{f:?}")).collect::<Vec<_>>().join(", ")
}
