//! Whether the operator's account holds what it needs: `manage-users`, `view-clients` and `query-users` of client realm-management, or
//! equivalent fine-grained permissions (docs/keycloak.md). The check tries requests instead of reading the names of roles.
use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::{Answer, Keycloak, Known, groups::NamedGroup, is_segment, look_up::text_of};
use crate::{
    api::directory::Guarantees,
    core::{
        call::AfterReset,
        directory::{Feature, Guarantee},
        request::Policy,
        text,
    },
    directory::{Checked, NotReady, lock},
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

/// No session has this id. Deleting it requires the right to manage all users, ends nothing, and writes no admin event.
const NO_SESSION: &str = "00000000-0000-0000-0000-000000000000";

const MANAGE_USERS: &str = "manage-users (or the permissions view and manage for all users)";
const VIEW_CLIENTS: &str = "view-clients (or the role query-clients and the permission view for client realm-management): without it administrators \
     look like other users";
const VIEW_ACTIONS: &str = "query-users (or view-realm): without it the operator cannot determine whether Keycloak \
     would ask a user to choose another password, or to enrol a new factor";
const VIEW_GROUPS: &str = "the permission view for all groups, since the Directory names groups";

impl Keycloak {
    /// Signs in, and tries what each reset needs.
    ///
    /// # Errors
    /// Why the directory cannot be used, with every right that is missing.
    pub async fn check(&self) -> Result<Checked, NotReady> {
        let realm = self.shown(self.request(Method::GET, &[], &[]).await?, "the realm")?.unwrap_or_default();
        let name = self.tokens.issuer.service_account();
        let users = self.request(Method::GET, &["users"], &[("username", &name), ("exact", "true")]).await?;
        let users = self.shown(users, "its users")?.unwrap_or_default();
        let own = users.get(0).filter(|own| own.pointer("/access/manage") == Some(&Value::Bool(true)));
        let own = own.and_then(|own| text_of(own, "id")).filter(|id| is_segment(id)).unwrap_or_default();
        let ended = self.request(Method::DELETE, &["sessions", NO_SESSION], &[]).await?;
        let clients = self.request(Method::GET, &["clients"], &[("clientId", "realm-management")]).await?;
        let clients = self.shown(clients, "its clients")?.unwrap_or_default();
        let manager = clients.get(0).and_then(|client| text_of(client, "id"));
        let manager = manager.filter(|id| is_segment(id)).unwrap_or_default();
        let mut missing = Vec::new();
        if own.is_empty() || ended.status == StatusCode::FORBIDDEN {
            missing.push(MANAGE_USERS);
        }
        let roles = ["users", own, "role-mappings", "clients", manager, "composite"];
        if manager.is_empty()
            || !own.is_empty() && self.shown(self.request(Method::GET, &roles, &[]).await?, "its roles")?.is_none()
        {
            missing.push(VIEW_CLIENTS);
        }
        let actions = self.request(Method::GET, &["authentication", "required-actions"], &[]).await?;
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
        let identity = format!("keycloak:{}#{manager}", self.realm_url);
        let groups = groups.unwrap_or_default();
        let unknown_groups = groups.iter().filter_map(NamedGroup::unknown).cloned().collect();
        *lock(&self.known) = Some(Known { management_client: manager.to_owned(), own_user: own.to_owned(), groups });
        Ok(Checked {
            identity,
            guarantees: Guarantees { password: Guarantee::Provable, mfa: Some(Guarantee::ExactlyOnce) },
            supports: BTreeSet::from(SUPPORTS),
            separate_calls: AfterReset {
                web_sessions: true,
                mobile_sessions_and_api_tokens: true,
                unlock: self.unlock && realm.get("bruteForceProtected") != Some(&Value::Bool(false)),
                ..AfterReset::default()
            },
            not_ended: None,
            policy: text_of(&realm, "passwordPolicy").map(policy).unwrap_or_default(),
            unknown_groups,
        })
    }

    /// Sends a request of the check.
    pub(super) async fn request(
        &self,
        method: Method,
        segments: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Answer, NotReady> {
        self.send(method, self.url(segments, query), None).await.map_err(|error| error.not_ready())
    }

    /// The body of an answer. `what`: what was read. `None`: the operator's account may not read it.
    pub(super) fn shown(&self, answer: Answer, what: &str) -> Result<Option<Value>, NotReady> {
        match answer.status {
            StatusCode::FORBIDDEN => Ok(None),
            StatusCode::UNAUTHORIZED => Err(NotReady::CredentialsRefused(
                "Keycloak refuses the token that it has just given: is it reached under the name that it takes for its own?"
                    .to_owned(),
            )),
            StatusCode::NOT_FOUND => Err(NotReady::InvalidConfiguration(format!(
                "Keycloak shows nothing of realm {}: look at spec.provider.keycloak.url and realm.",
                text::printable(&self.realm, text::NAME)
            ))),
            // It exists, and refuses this request.
            status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                Err(NotReady::InvalidConfiguration(format!("Keycloak refuses {what} with {}.", answer.code(None))))
            }
            _ => answer.into_read(what).map(Some).map_err(|why| NotReady::Unreachable(why.message)),
        }
    }
}

/// What a realm's password policy, such as `length(12) and digits(2)`, requires of a generated password, as far as the operator can meet
/// it. Keycloak shows it only to accounts that may view the realm.
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
