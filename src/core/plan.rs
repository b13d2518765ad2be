//! From request and facts to steps: what a directory is asked to do, as data.
use serde::{Deserialize, Serialize};

use super::{
    ledger::Finish,
    request::{Action, Request},
    world::{Directory, Feature, User},
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
}

/// The call that `action` comes to. The directory mails the password where the operator does not.
#[must_use]
pub fn once(action: &Action, finish: &Finish) -> Once {
    match action {
        Action::Password { force_change_on_login, clear_mobile_sessions_and_api_tokens, email_to_user, .. } => {
            Once::SetPassword {
                force_change_on_login: *force_change_on_login,
                clear_mobile_sessions_and_api_tokens: *clear_mobile_sessions_and_api_tokens,
                email_to_user: *email_to_user && finish.mail_to.is_none(),
            }
        }
        Action::Mfa { .. } => Once::ResetMfa {},
    }
}

/// What of the request this directory cannot do, as a sentence.
pub type NotSupported = String;

/// What the operator has to do for `request` after the call.
///
/// # Errors
/// What cannot be honoured is refused before anything is sent, never dropped.
pub fn plan(request: &Request, directory: &Directory, user: &User) -> Result<Finish, NotSupported> {
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
            Ok(Finish { deliver_to: deliver_to.clone(), mail_to })
        }
        Action::Mfa { factors } => {
            need(Feature::ResetMFA, "mode MFA")?;
            if !factors.is_empty() {
                need(Feature::FactorsByKind, "mfa.factors")?;
            }
            Ok(Finish::default())
        }
    }
}
