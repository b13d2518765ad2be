//! Whether the refresh token's scopes and the administrator's rights are sufficient.
use std::collections::BTreeSet;

use super::{CheckedTemplate, UNCHANGED_SINCE, Zoho, look_up::users_of};
use crate::{
    api::directory::Guarantees,
    core::{
        call::AfterReset,
        directory::Guarantee,
        request::{Mode, Policy},
    },
    directory::{Checked, NotReady},
};

impl Zoho {
    /// Gets a token, compares its scopes with what `modes` need, and reads a user of the organization.
    ///
    /// # Errors
    /// Why the directory cannot be used.
    pub async fn check(&self, modes: &BTreeSet<Mode>) -> Result<Checked, NotReady> {
        let token = self.tokens.get(&self.http).await.map_err(|error| error.not_ready())?;
        let needed = self.scopes(modes);
        let Some(granted) = &token.scopes else {
            self.tokens.forget(&token).await;
            return Err(NotReady::PermissionMissing(format!(
                "the accounts server does not say which scopes the refresh token was granted, so it is not known whether it \
                 holds {}.",
                needed.join(", ")
            )));
        };
        let missing: Vec<&str> = needed.into_iter().filter(|scope| !holds(granted, scope)).collect();
        if !missing.is_empty() {
            // Otherwise the operator would use a token from before the administrator granted more rights for an hour.
            self.tokens.forget(&token).await;
            return Err(NotReady::PermissionMissing(format!(
                "the refresh token was granted without {}. Grant a new one with these scopes and put it into the Secret.",
                missing.join(", ")
            )));
        }
        let answer =
            self.get(&self.users_page(1, 1)).await.map_err(|error| NotReady::Unreachable(error.why().message))?;
        match answer.status() {
            _ if answer.is_throttle() => {}
            _ if answer.lacks_scope() => {
                return Err(NotReady::PermissionMissing(
                    "the access token lacks a scope for the look-up of users: grant a refresh token with \
                     ZohoDirectory.Users.READ."
                        .to_owned(),
                ));
            }
            401 => return Err(NotReady::CredentialsRefused("the directory refuses the access token.".to_owned())),
            403 => {
                return Err(NotReady::PermissionMissing(
                    "the directory refuses to show its users to this account: it must be an administrator.".to_owned(),
                ));
            }
            404 => {
                return Err(NotReady::InvalidConfiguration(format!(
                    "the directory knows no organization {}: look at spec.provider.zoho.organization.",
                    self.organization
                )));
            }
            _ => {}
        }
        users_of(answer).map_err(|why| NotReady::Unreachable(why.message))?;
        let guarantee = |call: &Option<CheckedTemplate>, field: &Option<String>| {
            if call.as_ref().is_some_and(|call| call.uses(UNCHANGED_SINCE)) {
                Guarantee::ExactlyOnce
            } else if field.is_some() {
                Guarantee::Provable
            } else {
                Guarantee::AtMostOnce
            }
        };
        Ok(Checked {
            identity: format!("zoho:{}/{}", self.api.as_str().trim_end_matches('/'), self.organization),
            guarantees: Guarantees {
                password: guarantee(&self.reset_password, &self.password_changed_at),
                mfa: Some(match guarantee(&self.reset_mfa, &self.mfa_changed_at) {
                    // The default call turns MFA off, and the look-up shows whether it is on.
                    Guarantee::AtMostOnce if self.reset_mfa.is_none() => Guarantee::Provable,
                    by_template => by_template,
                }),
            },
            supports: self.supports(),
            // Zoho ends sessions and tokens with the call.
            separate_calls: AfterReset::default(),
            not_ended: None,
            policy: Policy::default(),
            unknown_groups: Vec::new(),
        })
    }

    /// The scopes that `modes` need. Which scopes a template for a service other than Directory needs is not known.
    fn scopes(&self, modes: &BTreeSet<Mode>) -> Vec<&'static str> {
        let mut needed = BTreeSet::from(["ZohoDirectory.Users.READ", "ZohoMail.organization.accounts.READ"]);
        if self.groups {
            needed.insert("ZohoDirectory.Groups.READ");
        }
        for mode in modes {
            let call = match mode {
                Mode::Password => &self.reset_password,
                Mode::MFA => &self.reset_mfa,
            };
            match call {
                None => drop(needed.insert("ZohoMail.organization.accounts.UPDATE")),
                Some(call) if call.is_of_directory() => drop(needed.insert("ZohoDirectory.Users.UPDATE")),
                Some(_) => {}
            }
        }
        needed.into_iter().collect()
    }
}

/// Whether `granted` covers `scope`. The case differs in Zoho's own documentation, and ALL covers every operation.
fn holds(granted: &[String], scope: &str) -> bool {
    let scope = scope.to_lowercase();
    let all = scope.rsplit_once('.').map(|(service, _)| format!("{service}.all"));
    granted.contains(&scope) || all.is_some_and(|all| granted.contains(&all))
}
