//! Whether the operator's account holds what it needs.
use std::collections::BTreeSet;

use reqwest::StatusCode;
use serde_json::Value;

use super::{Found, Keycloak, Unread, look_up::text_of, token::NoToken};
use crate::{
    api::directory::Guarantees,
    core::{
        plan::CleanUp,
        request::Mode,
        world::{Feature, Guarantee},
    },
    directory::{Checked, NotReady},
};

const SUPPORTS: [Feature; 7] = [
    Feature::ResetPassword,
    Feature::ResetMFA,
    Feature::FactorsByKind,
    Feature::ForceChangeOnLogin,
    Feature::KeepAfterLogin,
    Feature::ClearWebSessions,
    Feature::ClearMobileSessionsAndApiTokens,
];

impl Keycloak {
    /// Signs in, and looks at the account's own roles.
    ///
    /// # Errors
    /// Why the directory cannot be used.
    pub async fn check(&self, _modes: &BTreeSet<Mode>) -> Result<Checked, NotReady> {
        let realm = self.asked(&[], &[], "the realm").await?;
        let clients = self.asked(&["clients"], &[("clientId", "realm-management")], "its clients").await?;
        let manager = clients.as_array().and_then(|all| all.iter().find_map(|c| text_of(c, "id"))).unwrap_or_default();
        let name = self.tokens.service_account();
        let users = self.asked(&["users"], &[("username", &name), ("exact", "true")], "its users").await?;
        let own = users.as_array().and_then(|all| all.iter().find_map(|u| text_of(u, "id"))).unwrap_or_default();
        let roles = self.roles(own, manager).await.map_err(|why| NotReady::Unreachable(why.message))?;
        if !roles.iter().any(|role| role == "manage-users") {
            return Err(NotReady::PermissionMissing("manage-users".to_owned()));
        }
        *self.found.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            Some(Found { managers: vec![manager.to_owned()], own: own.to_owned() });
        let protects = realm.get("bruteForceProtected").and_then(Value::as_bool) != Some(false);
        Ok(Checked {
            identity: format!("keycloak:{}#{manager}", self.realm),
            guarantees: Guarantees { password: Guarantee::Provable, mfa: Guarantee::ExactlyOnce },
            supports: BTreeSet::from(SUPPORTS),
            apart: CleanUp {
                web_sessions: true,
                mobile_sessions_and_api_tokens: true,
                unlock: self.unlock && protects,
            },
        })
    }

    async fn asked(&self, segments: &[&str], query: &[(&str, &str)], what: &str) -> Result<Value, NotReady> {
        let answer = self.get(segments, query).await.map_err(|error| match error {
            Unread::Token(NoToken::Refused(_)) => NotReady::CredentialsRefused(error.why().message),
            Unread::Token(NoToken::NoRealm) => NotReady::InvalidConfiguration(error.why().message),
            _ => NotReady::Unreachable(error.why().message),
        })?;
        match answer.status {
            StatusCode::FORBIDDEN => Err(NotReady::PermissionMissing(format!("{what} {}", self.name))),
            _ => answer.into_read(what).map_err(|why| NotReady::Unreachable(why.message)),
        }
    }
}
