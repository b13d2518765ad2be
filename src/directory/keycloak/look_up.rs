//! Finds the user that a request names, and reads what the gates check.
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::{Answer, Keycloak, Known, factors::enrolment, is_segment};
use crate::{
    core::{
        directory::Feature,
        request::{Factor, Mode, UserRef},
        seen::{Seen, Why},
        text,
        user::{Enrolled, Factors, LookUp, User, UserId},
    },
    directory::{display_name, lock},
};

/// In [`User::handle`]: whether the operator's account may change this user.
pub(super) const MANAGED: &str = "managed";

/// The required action of `forceChangeOnLogin`.
const UPDATE_PASSWORD: &str = "UPDATE_PASSWORD";

/// A credential of a user (`CredentialRepresentation`).
pub(super) struct Credential {
    /// `None`: a user federation behind Keycloak keeps it, and it cannot be removed here.
    pub id: Option<String>,
    pub kind: String,
    /// `None`: an imported one may have no time.
    pub created: Option<Timestamp>,
}

impl Credential {
    /// The kind of second factor, if it is one that a reset removes.
    pub(super) fn factor(&self) -> Option<Factor> {
        match self.kind.as_str() {
            _ if self.id.is_none() => None,
            "otp" => Some(Factor::TOTP),
            "webauthn" | PASSKEY => Some(Factor::WebAuthn),
            "recovery-authn-codes" => Some(Factor::RecoveryCodes),
            _ => None,
        }
    }

    /// Whether it is neither a password nor a part of the password history. Extensions may add kinds of their own.
    pub(super) fn is_beside_password(&self) -> bool {
        !matches!(self.kind.as_str(), "password" | "password-history")
    }
}

/// The kind of a credential that signs in without a password.
const PASSKEY: &str = "webauthn-passwordless";

impl Keycloak {
    /// Finds a user. Keycloak compares names and addresses without regard to case.
    ///
    /// # Errors
    /// Why the directory could not be asked.
    pub async fn look_up(&self, user: &UserRef, mode: Mode) -> Result<Option<LookUp>, Why> {
        match self.find(user).await?.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(LookUp::One(Box::new(self.user(one, mode).await?)))),
            several => Ok(Some(LookUp::Several(several.len()))),
        }
    }

    async fn find(&self, user: &UserRef) -> Result<Vec<Value>, Why> {
        match user {
            // These two paths of Keycloak's API are not users.
            UserRef::Id(id) if !is_segment(id) || matches!(id.as_str(), "count" | "profile") => Ok(Vec::new()),
            UserRef::Id(id) => Ok(self.by_id(id).await?.into_iter().collect()),
            UserRef::Username(name) => self.by_name(name).await,
            UserRef::Email(email) => self.search("email", email).await,
        }
    }

    /// Users whom Keycloak lists for exactly this value of a field. An empty list alone proves nothing. Keycloak returns one to an account
    /// that may search but sees no users, so the operator reads its own account, which Keycloak must show. And it may return one while
    /// another search imports the user from a federation, which it does without a lock, so the operator asks again while no other search
    /// of this connection is under way.
    async fn list(&self, field: &str, typed: &str) -> Result<Vec<Value>, Why> {
        let search = async || {
            let answer = self.get(&["users"], &[(field, typed), ("exact", "true")]).await?;
            answer.into_list("the look-up of the user")
        };
        let users = {
            let _beside_others = self.searches.read().await;
            search().await?
        };
        if users.is_empty() {
            let own = self.known()?.own_user;
            self.get(&["users", &own], &[]).await?.into_read("the look-up of the operator's own account")?;
            let _alone = self.searches.write().await;
            return search().await;
        }
        Ok(users)
    }

    /// Users whose address is `typed`, found by an exact search in a field.
    async fn search(&self, field: &str, typed: &str) -> Result<Vec<Value>, Why> {
        let mut users = self.list(field, typed).await?;
        users.retain(|user| text_of(user, "email").is_some_and(|known| same(known, typed)));
        Ok(users)
    }

    /// Users who sign in with this name. In a realm that uses addresses as names, Keycloak shows the address as the name, even if the
    /// account had another name before. The user can sign in with both.
    async fn by_name(&self, name: &str) -> Result<Vec<Value>, Why> {
        let mut users = self.list("username", name).await?;
        let shows_name = |user: &Value| text_of(user, "username").is_some_and(|known| same(known, name));
        if users.iter().any(shows_name) {
            users.retain(shows_name);
            return Ok(users);
        }
        if !self.takes_addresses_for_names().await? {
            return Ok(Vec::new());
        }
        users.retain(|user| match (text_of(user, "username"), text_of(user, "email")) {
            (Some(shown), Some(email)) => same(shown, email),
            _ => false,
        });
        // Keycloak 26.2 shows the earlier name.
        let others = self.search("email", name).await?;
        let known: Vec<Value> = users.iter().filter_map(|user| user.get("id").cloned()).collect();
        users.extend(others.into_iter().filter(|other| !other.get("id").is_some_and(|id| known.contains(id))));
        Ok(users)
    }

    /// Whether the realm has "Email as username" switched on.
    async fn takes_addresses_for_names(&self) -> Result<bool, Why> {
        let realm = self.get(&[], &[]).await?.into_read("the look-up of the realm")?;
        Ok(realm.get("registrationEmailAsUsername") == Some(&Value::Bool(true)))
    }

    /// The user with this id. `None`: there is no such user. Keycloak 26.2 shows a user who is locked out for a while as disabled by id,
    /// and as enabled in lists. The list counts.
    async fn by_id(&self, id: &str) -> Result<Option<Value>, Why> {
        let user = self.representation(id).await?;
        let Some(disabled) = user.as_ref().filter(|user| user.get("enabled") == Some(&Value::Bool(false))) else {
            return Ok(user);
        };
        let Some(name) = text_of(disabled, "username") else { return Ok(user) };
        let listed = self.by_name(name).await?;
        Ok(listed.into_iter().find(|listed| text_of(listed, "id") == Some(id)).or(user))
    }

    /// The `UserRepresentation` of the user with this id. `None`: there is no such user.
    pub(super) async fn representation(&self, id: &str) -> Result<Option<Value>, Why> {
        let answer = self.get(&["users", id], &[]).await?;
        if answer.is_no_user() {
            return Ok(None);
        }
        let user = answer.into_read("the look-up of the user")?;
        if text_of(&user, "id") == Some(id) { Ok(Some(user)) } else { Err(unreadable("id")) }
    }

    /// The result of the last check.
    fn known(&self) -> Result<Known, Why> {
        let known = lock(&self.known).clone();
        known.ok_or_else(|| Why::new("the operator's account has not been found to hold what a look-up needs."))
    }

    async fn user(&self, user: &Value, mode: Mode) -> Result<User, Why> {
        let known = self.known()?;
        let flag = |name: &str| user.get(name).and_then(Value::as_bool).ok_or_else(|| unreadable(name));
        let id = text_of(user, "id").filter(|id| is_segment(id)).ok_or_else(|| unreadable("id"))?;
        let name = text_of(user, "username").ok_or_else(|| unreadable("username"))?;
        let email = text_of(user, "email").map(str::to_owned);
        let pending: Vec<&str> = match user.get("requiredActions").and_then(Value::as_array) {
            Some(actions) => actions.iter().filter_map(Value::as_str).collect(),
            None => return Err(unreadable("requiredActions")),
        };
        let (credentials, roles, groups, enabled) = tokio::try_join!(
            self.credentials(id),
            self.roles(id, &known.management_client),
            self.groups_of(id, &known.groups),
            self.enabled_actions(),
        )?;
        // A user of an identity provider who also has a password here can sign in with it.
        let password = own_passwords(&credentials);
        let linked = text_of(user, "federationLink").is_some();
        let no_password = password.clone().count() == 0;
        let federated = linked || (no_password && self.has_identity_provider(id).await?);
        // Keycloak may keep the second factors even if it does not keep the password.
        let kept_here = credentials.iter().any(|c| c.is_beside_password() && c.id.is_some());
        let elsewhere = federated && (mode == Mode::Password || !kept_here);
        let changed_at = match mode {
            Mode::Password => changed_at(password),
            // A reset removes only what was enrolled before the request: that is its precondition.
            Mode::MFA => Seen::Absent,
        };
        let mut lacks = BTreeMap::new();
        if !enabled.contains(UPDATE_PASSWORD) {
            let why = format!("since required action {UPDATE_PASSWORD} is off: {}", self.switch_on());
            lacks.insert(Feature::ForceChangeOnLogin, why);
        }
        let factors = match mode {
            Mode::Password => Seen::Unread,
            Mode::MFA => {
                let renamed = self.would_be_renamed(user, &credentials, &pending).await?;
                let enrolled = self.enrolled(&credentials, &pending, &enabled, renamed);
                Seen::Known(Factors { enrolled, password: federated || !no_password })
            }
        };
        let active = flag("enabled")?;
        Ok(User {
            id: UserId::new(id.to_owned(), name),
            display_name: display_name(["firstName", "lastName"].into_iter().filter_map(|field| text_of(user, field))),
            aliases: email.iter().cloned().chain([name.to_owned()]).collect(),
            email: email.filter(|address| text::is_word(address)),
            // The operator's own account has no address, and is protected anyway. For a user whose password is elsewhere it does not
            // matter.
            confirmed: id == known.own_user
                || elsewhere
                || flag("emailVerified")? && !pending.contains(&"VERIFY_EMAIL"),
            active,
            federated: elsewhere,
            administrator: Seen::Known(!roles.is_empty()),
            operator: Seen::Known(id == known.own_user),
            groups: groups.map_or(Seen::Unread, Seen::Known),
            changed_at,
            lacks,
            why_ineligible: (!active && is_locked_for_good(user)).then(|| LOCKED_FOR_GOOD.to_owned()),
            factors,
            mfa_on: Seen::Unread,
            must_change: Seen::Unread,
            condition: None,
            handle: [(MANAGED.to_owned(), managed(user).to_string())].into(),
        })
    }

    /// The user's credentials. An error if there is no such user.
    async fn credentials(&self, id: &str) -> Result<Vec<Credential>, Why> {
        let answer = self.get(&["users", id, "credentials"], &[]).await?;
        credentials_of(answer)
    }

    /// Roles of client `manager` that the user holds: directly, through a group, or through another role.
    async fn roles(&self, id: &str, manager: &str) -> Result<Vec<String>, Why> {
        let segments = ["users", id, "role-mappings", "clients", manager, "composite"];
        let answer = self.get(&segments, &[("briefRepresentation", "true")]).await?;
        let all = answer.into_list("the look-up of the user's roles")?;
        // A role that is not shown might be the one that protects the user.
        let name = |item: &Value| text_of(item, "name").map(str::to_owned);
        all.iter().map(name).collect::<Option<_>>().ok_or_else(|| unreadable("name"))
    }

    async fn has_identity_provider(&self, id: &str) -> Result<bool, Why> {
        let answer = self.get(&["users", id, "federated-identity"], &[]).await?;
        Ok(!answer.into_list("the look-up of the user's identity providers")?.is_empty())
    }

    /// The aliases of the required actions that are enabled in the realm. At the sign-in, Keycloak silently skips one that is disabled, or
    /// that the realm does not have, even if a user has it.
    async fn enabled_actions(&self) -> Result<BTreeSet<String>, Why> {
        let answer = self.get(&["authentication", "required-actions"], &[]).await?;
        let all = answer.into_list("the look-up of the realm's required actions")?;
        let on = all.iter().filter(|action| action.get("enabled") == Some(&Value::Bool(true)));
        Ok(on.filter_map(|action| text_of(action, "alias").map(str::to_owned)).collect())
    }

    fn switch_on(&self) -> String {
        format!("switch it on in realm {} (Authentication, Required actions)", text::printable(&self.realm, text::NAME))
    }

    /// Whether asking for a new factor would change the user's name. In a realm that uses addresses as names, any write to a user makes the
    /// address the name, even if the user had another.
    async fn would_be_renamed(&self, user: &Value, all: &[Credential], pending: &[&str]) -> Result<bool, Why> {
        let asks = |c: &Credential| c.factor().and_then(|_| enrolment(&c.kind)).is_some_and(|a| !pending.contains(&a));
        if !all.iter().any(asks) || !self.takes_addresses_for_names().await? {
            return Ok(false);
        }
        let Some(email) = text_of(user, "email") else { return Ok(false) };
        let named = self.search("username", email).await?;
        Ok(!named.iter().any(|named| named.get("id") == user.get("id")))
    }

    /// The credentials that are not passwords. `enabled`: the required actions that are enabled in the realm. `pending`: those of the user.
    fn enrolled(
        &self,
        all: &[Credential],
        pending: &[&str],
        enabled: &BTreeSet<String>,
        renamed: bool,
    ) -> Vec<Enrolled> {
        let why_not_asked = |action: &str| {
            if !enabled.contains(action) {
                Some(format!(
                    "Keycloak would not ask the user to enrol a new factor, so the account would be open without one: required action \
                     {action} is off. To reset it, {}, then file a new request.",
                    self.switch_on()
                ))
            } else if renamed && !pending.contains(&action) {
                Some(format!(
                    "Asking for {action} would change the user's name to the e-mail address: realm {} takes addresses for names, and this \
                     account has another. Save the user once by hand, which renames it, or ask for {action} there. Then file a new request.",
                    text::printable(&self.realm, text::NAME)
                ))
            } else {
                None
            }
        };
        let beside = all.iter().filter(|c| c.is_beside_password());
        let enrolled = |c: &Credential| Enrolled {
            kind: c.kind.clone(),
            factor: c.factor(),
            at: c.created,
            alone: c.kind == PASSKEY,
            why_not_reenrolled: c.factor().and_then(|_| enrolment(&c.kind)).and_then(why_not_asked),
        };
        beside.map(enrolled).collect()
    }
}

/// Follows "is not active in the directory".
const LOCKED_FOR_GOOD: &str = "Too many failed sign-ins have locked the account for good (attributes.disabledReason: permanentLockout), \
     which no reset ends: switch the user on again, then file a new request.";

/// Whether Keycloak has disabled the user itself, after too many failed sign-ins.
fn is_locked_for_good(user: &Value) -> bool {
    let reasons = user.pointer("/attributes/disabledReason").and_then(Value::as_array);
    reasons.is_some_and(|all| all.iter().any(|reason| reason == "permanentLockout"))
}

pub(super) fn credentials_of(answer: Answer) -> Result<Vec<Credential>, Why> {
    let all = answer.into_list("the look-up of the user's credentials")?;
    let credential = |value: &Value| {
        let elsewhere = text_of(value, "federationLink").is_some();
        Some(Credential {
            id: text_of(value, "id").filter(|id| !elsewhere && is_segment(id)).map(str::to_owned),
            kind: text_of(value, "type")?.to_owned(),
            created: match value.get("createdDate") {
                // A federation behind Keycloak may not know the time, and shows -1.
                None | Some(Value::Null) => None,
                Some(at) => at.as_i64().filter(|at| *at > 0).and_then(|at| Timestamp::from_millisecond(at).ok()),
            },
        })
    };
    all.iter().map(|value| credential(value).ok_or_else(|| unreadable("credentials"))).collect()
}

/// Whether the operator's account may change this user: fine-grained permissions may exempt one. If Keycloak does not say so, the call
/// itself will show it.
fn managed(user: &Value) -> bool {
    user.pointer("/access/manage").and_then(Value::as_bool) != Some(false)
}

/// The passwords that Keycloak itself keeps.
pub(super) fn own_passwords(all: &[Credential]) -> impl Iterator<Item = &Credential> + Clone {
    all.iter().filter(|c| c.kind == "password" && c.id.is_some())
}

/// When the latest of `passwords` was set.
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

/// Whether two names are equal without regard to case.
fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

pub(super) fn text_of<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field)?.as_str().filter(|text| !text.is_empty())
}

pub(super) fn unreadable(field: &str) -> Why {
    Why::new(format!("the directory shows the user with an unreadable {field}."))
}
