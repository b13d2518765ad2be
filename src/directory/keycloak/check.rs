//! Whether the operator's account holds what it needs: `manage-users`, `view-clients` and `query-users` of client realm-management, or
//! fine-grained permissions that come to the same (docs/keycloak.md). It is asked, not read off the names of roles.
use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::{Answer, Found, Keycloak, Unread, is_segment, look_up::text_of, token::NoToken};
use crate::{
    api::directory::Guarantees,
    core::{
        plan::CleanUp,
        request::Policy,
        text,
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

/// No session has this id. To end it is allowed to whoever manages all users, ends nothing, and writes no admin event.
const NO_SESSION: &str = "00000000-0000-0000-0000-000000000000";

const MANAGE_USERS: &str = "manage-users (or the permissions view and manage for all users)";
const VIEW_CLIENTS: &str = "view-clients (or the role query-clients and the permission view for client realm-management): without it administrators \
     look like anybody";
const VIEW_ACTIONS: &str = "query-users (or view-realm): without it nobody can tell whether a user would be asked to choose another \
     password, or to enrol a new factor";
const VIEW_GROUPS: &str = "the permission view for all groups, since the Directory names groups";

impl Keycloak {
    /// Signs in, and asks for what each reset needs.
    ///
    /// # Errors
    /// Why the directory cannot be used, with every right that is missing.
    pub async fn check(&self) -> Result<Checked, NotReady> {
        let realm = self.shown(self.asked(Method::GET, &[], &[]).await?, "the realm")?.unwrap_or_default();
        let name = self.tokens.service_account();
        let users = self.asked(Method::GET, &["users"], &[("username", &name), ("exact", "true")]).await?;
        let users = self.shown(users, "its users")?.unwrap_or_default();
        let own = users.get(0).filter(|own| own.pointer("/access/manage") == Some(&Value::Bool(true)));
        let own = own.and_then(|own| text_of(own, "id")).filter(|id| is_segment(id)).unwrap_or_default();
        let ended = self.asked(Method::DELETE, &["sessions", NO_SESSION], &[]).await?;
        let clients = self.asked(Method::GET, &["clients"], &[("clientId", "realm-management")]).await?;
        let clients = self.shown(clients, "its clients")?.unwrap_or_default();
        let manager = clients.get(0).and_then(|client| text_of(client, "id"));
        let manager = manager.filter(|id| is_segment(id)).unwrap_or_default();
        let mut missing = Vec::new();
        if own.is_empty() || ended.status == StatusCode::FORBIDDEN {
            missing.push(MANAGE_USERS);
        }
        let roles = ["users", own, "role-mappings", "clients", manager, "composite"];
        if manager.is_empty()
            || !own.is_empty() && self.shown(self.asked(Method::GET, &roles, &[]).await?, "its roles")?.is_none()
        {
            missing.push(VIEW_CLIENTS);
        }
        let actions = self.asked(Method::GET, &["authentication", "required-actions"], &[]).await?;
        if self.shown(actions, "its required actions")?.is_none() {
            missing.push(VIEW_ACTIONS);
        }
        let groups = if missing.is_empty() { self.named_groups().await? } else { Some(Vec::new()) };
        if groups.is_none() {
            missing.push(VIEW_GROUPS);
        }
        if !missing.is_empty() {
            let missing = missing.join("; and ");
            return Err(NotReady::PermissionMissing(format!("the client's service account lacks {missing}.")));
        }
        let identity = format!("keycloak:{}#{manager}", self.realm);
        *self.found() =
            Some(Found { manager: manager.to_owned(), own: own.to_owned(), groups: groups.unwrap_or_default() });
        Ok(Checked {
            identity,
            guarantees: Guarantees { password: Guarantee::Provable, mfa: Some(Guarantee::ExactlyOnce) },
            supports: BTreeSet::from(SUPPORTS),
            apart: CleanUp {
                web_sessions: true,
                mobile_sessions_and_api_tokens: true,
                unlock: self.unlock && realm.get("bruteForceProtected") != Some(&Value::Bool(false)),
                ..CleanUp::default()
            },
            remains: None,
            policy: text_of(&realm, "passwordPolicy").map(policy).unwrap_or_default(),
            unknown_groups: Vec::new(),
        })
    }

    pub(super) async fn asked(
        &self,
        method: Method,
        segments: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Answer, NotReady> {
        self.call(method, self.url(segments, query), None).await.map_err(|error| match error {
            Unread::Token(NoToken::Refused(_)) => NotReady::CredentialsRefused(error.why().message),
            Unread::Token(NoToken::NoRealm | NoToken::NoServer) => NotReady::InvalidConfiguration(error.why().message),
            _ => NotReady::Unreachable(error.why().message),
        })
    }

    /// `None`: it is not shown to this account.
    pub(super) fn shown(&self, answer: Answer, what: &str) -> Result<Option<Value>, NotReady> {
        match answer.status {
            StatusCode::FORBIDDEN => Ok(None),
            StatusCode::UNAUTHORIZED => Err(NotReady::CredentialsRefused(
                "Keycloak refuses the token that it has just given: is it reached under the name that it takes for its own?"
                    .to_owned(),
            )),
            StatusCode::NOT_FOUND => Err(NotReady::InvalidConfiguration(format!(
                "Keycloak shows nothing of realm {}: look at spec.provider.keycloak.url and realm.",
                text::shown(&self.name, text::NAME)
            ))),
            // It is there, and does not want this.
            status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                Err(NotReady::InvalidConfiguration(format!("Keycloak refuses {what} with {}.", answer.code(None))))
            }
            _ => answer.into_read(what).map(Some).map_err(|why| NotReady::Unreachable(why.message)),
        }
    }
}

/// What a realm's password policy asks for that a draw can see to, as in `length(12) and digits(2)`. Only who may view the realm is
/// shown it.
fn policy(text: &str) -> Policy {
    let mut policy = Policy::default();
    for part in text.split(" and ") {
        let Some((name, value)) = part.trim().strip_suffix(')').and_then(|part| part.split_once('(')) else { continue };
        let Ok(n) = value.trim().parse::<u64>() else { continue };
        let n = u8::try_from(n).unwrap_or(u8::MAX);
        let [lower, upper, digits, punctuation] = &mut policy.least;
        match name.trim() {
            "length" => policy.length = n,
            "maxLength" => policy.longest = Some(n),
            "lowerCase" => *lower = n,
            "upperCase" => *upper = n,
            "digits" => *digits = n,
            "specialChars" => *punctuation = n,
            _ => {}
        }
    }
    policy
}
