//! Who is meant, and what the guards ask about.
use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::{Answer, Keycloak, is_segment};
use crate::core::{
    ledger::UserId,
    request::{Factor, Mode, UserRef},
    text,
    world::{Found, Seen, User, Why},
};

/// In [`User::handle`]: whether the operator's account may change this user.
pub(super) const MANAGED: &str = "managed";

/// More groups, those above included, and longer paths than anybody has.
const GROUPS: usize = 10_000;
const GROUP_PATH: usize = 2048;

/// One of a user's credentials (`CredentialRepresentation`).
pub(super) struct Credential {
    pub id: String,
    pub kind: String,
    /// None: an imported one may have no time.
    pub created: Option<Timestamp>,
    /// It is kept by a user federation behind Keycloak.
    pub elsewhere: bool,
}

impl Credential {
    /// The kind of second factor that it is, if it is one.
    pub(super) fn factor(&self) -> Option<Factor> {
        match self.kind.as_str() {
            "otp" => Some(Factor::TOTP),
            "webauthn" | "webauthn-passwordless" => Some(Factor::WebAuthn),
            "recovery-authn-codes" => Some(Factor::RecoveryCodes),
            _ => None,
        }
    }
}

impl Keycloak {
    /// Finds a user. Keycloak compares names and addresses without regard to case.
    ///
    /// # Errors
    /// Why it could not be told.
    pub async fn look_up(&self, user: &UserRef, mode: Mode) -> Result<Option<Found>, Why> {
        match self.find(user).await?.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(Found::One(Box::new(self.user(one, mode).await?)))),
            several => Ok(Some(Found::Several(several.len()))),
        }
    }

    async fn find(&self, user: &UserRef) -> Result<Vec<Value>, Why> {
        let (field, typed) = match user {
            // Keycloak has something else at these two paths.
            UserRef::Id(id) if !is_segment(id) || matches!(id.as_str(), "count" | "profile") => return Ok(Vec::new()),
            UserRef::Id(id) => return Ok(self.representation(id).await?.into_iter().collect()),
            UserRef::Username(name) => ("username", name),
            UserRef::Email(email) => ("email", email),
        };
        let answer = self.get(&["users"], &[(field, typed), ("exact", "true")]).await?;
        let mut users = answer.into_list("the look-up of the user")?;
        users.retain(|user| text_of(user, field).is_some_and(|known| known.to_lowercase() == typed.to_lowercase()));
        Ok(users)
    }

    /// The user with this id. `None`: there is none.
    pub(super) async fn representation(&self, id: &str) -> Result<Option<Value>, Why> {
        let answer = self.get(&["users", id], &[]).await?;
        if answer.is_no_user() {
            return Ok(None);
        }
        let user = answer.into_read("the look-up of the user")?;
        if text_of(&user, "id") == Some(id) { Ok(Some(user)) } else { Err(unreadable("id")) }
    }

    async fn user(&self, user: &Value, mode: Mode) -> Result<User, Why> {
        let found = self
            .found()
            .clone()
            .ok_or_else(|| Why::new("the operator's account has not been found to hold what a look-up needs."))?;
        let flag = |name: &str| user.get(name).and_then(Value::as_bool).ok_or_else(|| unreadable(name));
        let id = text_of(user, "id").filter(|id| is_segment(id)).ok_or_else(|| unreadable("id"))?;
        let name = text_of(user, "username").ok_or_else(|| unreadable("username"))?;
        let email = text_of(user, "email").map(str::to_owned);
        let actions =
            user.get("requiredActions").and_then(Value::as_array).ok_or_else(|| unreadable("requiredActions"))?;
        let (credentials, roles, groups) =
            tokio::try_join!(self.credentials(id), self.roles(id, &found.manager), self.groups_of(id),)?;
        // An identity provider's user who has a password as well can sign in with it.
        let password = own_passwords(&credentials);
        let federated = text_of(user, "federationLink").is_some()
            || (password.clone().count() == 0 && self.has_identity_provider(id).await?);
        let changed_at = match mode {
            Mode::Password => changed_at(password),
            // Only what was enrolled before the request is removed: that is the condition.
            Mode::MFA => Seen::Absent,
        };
        Ok(User {
            id: UserId::new(id.to_owned(), name),
            aliases: email.iter().cloned().chain([name.to_owned()]).collect(),
            email: email.filter(|address| text::is_word(address)),
            // The operator's own account has no address, and is protected.
            confirmed: id == found.own
                || flag("emailVerified")? && !actions.iter().any(|action| action == "VERIFY_EMAIL"),
            active: flag("enabled")?,
            // Second factors may be kept here all the same.
            federated: federated && (mode == Mode::Password || credentials.iter().all(|c| c.factor().is_none())),
            administrator: Seen::Known(!roles.is_empty()),
            operator: Seen::Known(id == found.own),
            groups: groups.map_or(Seen::Unread, Seen::Known),
            changed_at,
            lacks: BTreeSet::new(),
            must_change: Seen::Unread,
            handle: [(MANAGED.to_owned(), managed(user).to_string())].into(),
        })
    }

    /// The user's credentials; an error where there is no such user.
    async fn credentials(&self, id: &str) -> Result<Vec<Credential>, Why> {
        let answer = self.get(&["users", id, "credentials"], &[]).await?;
        credentials_of(answer)
    }

    /// Roles of client `manager` that the user holds: directly, through a group, or through another role.
    async fn roles(&self, id: &str, manager: &str) -> Result<Vec<String>, Why> {
        let segments = ["users", id, "role-mappings", "clients", manager, "composite"];
        let answer = self.get(&segments, &[("briefRepresentation", "true")]).await?;
        names(answer, "the look-up of the user's roles", "name")
    }

    /// Full paths, with those above: who is in `/Staff/Desk` is in `/Staff`. `None`: nobody asks for them.
    async fn groups_of(&self, id: &str) -> Result<Option<Vec<String>>, Why> {
        if self.groups.iter().all(Vec::is_empty) {
            return Ok(None);
        }
        let answer = self.get(&["users", id, "groups"], &[("briefRepresentation", "true")]).await?;
        let paths = names(answer, "the look-up of the user's groups", "path")?;
        if paths.iter().any(|path| path.len() > GROUP_PATH) {
            return Err(Why::new("the directory shows a group of the user with a path without end."));
        }
        let mut all = BTreeSet::new();
        for path in &paths {
            all.extend(with_those_above(path));
            if all.len() > GROUPS {
                return Err(Why::new(format!("the directory shows the user in more than {GROUPS} groups.")));
            }
        }
        Ok(Some(all.into_iter().collect()))
    }

    async fn has_identity_provider(&self, id: &str) -> Result<bool, Why> {
        let answer = self.get(&["users", id, "federated-identity"], &[]).await?;
        Ok(!names(answer, "the look-up of the user's identity providers", "identityProvider")?.is_empty())
    }
}

pub(super) fn credentials_of(answer: Answer) -> Result<Vec<Credential>, Why> {
    let all = answer.into_list("the look-up of the user's credentials")?;
    let credential = |value: &Value| {
        Some(Credential {
            id: text_of(value, "id").filter(|id| is_segment(id))?.to_owned(),
            kind: text_of(value, "type")?.to_owned(),
            created: match value.get("createdDate") {
                // A federation behind Keycloak may know none, and shows -1.
                None | Some(Value::Null) => None,
                Some(at) => at.as_i64().filter(|at| *at > 0).and_then(|at| Timestamp::from_millisecond(at).ok()),
            },
            elsewhere: text_of(value, "federationLink").is_some(),
        })
    };
    all.iter().map(|value| credential(value).ok_or_else(|| unreadable("credentials"))).collect()
}

/// Fine-grained permissions may exempt a user. Where nothing is said the call itself will tell.
fn managed(user: &Value) -> bool {
    user.pointer("/access/manage").and_then(Value::as_bool) != Some(false)
}

/// Those that are kept at Keycloak itself.
pub(super) fn own_passwords(all: &[Credential]) -> impl Iterator<Item = &Credential> + Clone {
    all.iter().filter(|c| c.kind == "password" && !c.elsewhere)
}

/// When the password was last set.
pub(super) fn changed_at<'a>(passwords: impl Iterator<Item = &'a Credential>) -> Seen<Timestamp> {
    let mut latest: Seen<Timestamp> = Seen::Absent;
    for password in passwords {
        latest = match (latest, password.created) {
            (_, None) => return Seen::Unknown(Why::new("the directory shows a password without the time it was set.")),
            (Seen::Known(known), Some(at)) => Seen::Known(known.max(at)),
            (_, Some(at)) => Seen::Known(at),
        };
    }
    latest
}

/// `field` of each item of a list.
fn names(answer: Answer, what: &str, field: &str) -> Result<Vec<String>, Why> {
    let all = answer.into_list(what)?;
    // One that is not shown might be the one that protects the user.
    let name = |item: &Value| text_of(item, field).map(str::to_owned);
    all.iter().map(name).collect::<Option<_>>().ok_or_else(|| unreadable(field))
}

/// In a path a slash within a name is written `~/`.
fn with_those_above(path: &str) -> impl Iterator<Item = String> + '_ {
    let cuts = path.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0 && !path[..*at].ends_with('~'));
    cuts.chain([path.len()]).map(|at| path[..at].to_owned())
}

pub(super) fn text_of<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field)?.as_str().filter(|text| !text.is_empty())
}

fn unreadable(field: &str) -> Why {
    Why::new(format!("the directory shows the user with an unreadable {field}."))
}
