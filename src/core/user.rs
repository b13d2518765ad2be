//! A user, as the directory shows it.
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    directory::Feature,
    request::Factor,
    seen::{Seen, is_default},
    text,
};

/// The baseline of credentials that were never changed.
pub const NEVER_CHANGED: &str = "never";

/// The baseline of MFA that the call turns off, where the directory shows only whether it is on.
pub const SWITCHED_ON: &str = "on";

/// A user as the directory names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub struct UserId {
    /// The directory's own id, which never changes.
    pub id: String,
    /// The e-mail address or the login name, made printable.
    pub name: String,
}

impl UserId {
    /// The id of a user, with the directory's `name` for it made printable.
    #[must_use]
    pub fn new(id: String, name: &str) -> Self {
        Self { id, name: text::printable(name, text::NAME) }
    }
}

/// The users that a look-up found.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LookUp {
    /// One user.
    One(Box<User>),
    /// Several users that match, and how many.
    Several(usize),
}

/// A user, as the directory shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Id and name.
    pub id: UserId,
    /// What people call the user, made printable. It identifies nobody: many may choose it themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The primary e-mail address.
    #[serde(default)]
    pub email: Option<String>,
    /// Other names under which a protection may list the user.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Whether the user has confirmed the account.
    pub confirmed: bool,
    /// Whether the account is active: the user may sign in.
    pub active: bool,
    /// Whether the user signs in through another identity provider, which has the credentials.
    #[serde(default)]
    pub federated: bool,
    /// Second factors, if the directory shows them one by one. Only read for mode MFA.
    #[serde(default, skip_serializing_if = "is_default")]
    pub factors: Seen<Factors>,
    /// Whether MFA is on, if the directory shows only that and its call turns MFA off. Only read for mode MFA.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mfa_on: Seen<bool>,
    /// Whether the user is an administrator of the directory.
    pub administrator: Seen<bool>,
    /// Whether it is the account that the operator itself uses.
    pub operator: Seen<bool>,
    /// Names of the user's groups. Only read if a rule or `spec.protect` names groups.
    #[serde(default)]
    pub groups: Seen<Vec<String>>,
    /// When the credentials of the request's mode were last changed. Absent: never. Unknown: the directory does not show it.
    pub changed_at: Seen<Timestamp>,
    /// What the directory can do, but not for this user: the cause and what to do, to complete "... does not support it for USER, ...".
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lacks: BTreeMap<Feature, String>,
    /// Why a reset would not have its effect for this user; for a user who is not active, why that is. Also what to do. Whole sentences.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "hindrance")]
    pub why_ineligible: Option<String>,
    /// Whether the user must choose another password already, before the reset. Only read if that makes a difference.
    #[serde(default, skip_serializing_if = "is_default")]
    pub must_change: Seen<bool>,
    /// The precondition of a call, in the provider's own form. `None`: it is the time of the last change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// What the provider itself needs to know of the user for its call, such as a second id. Opaque to the core.
    #[serde(default)]
    pub handle: BTreeMap<String, String>,
}

impl User {
    /// The baseline of an attempt: the provider's own precondition, the change time, or that MFA was on. `None`: the directory shows none.
    #[must_use]
    pub fn baseline(&self) -> Option<String> {
        if let Some(condition) = &self.condition {
            return Some(condition.clone());
        }
        match &self.changed_at {
            Seen::Known(at) => Some(at.to_string()),
            Seen::Absent => Some(NEVER_CHANGED.to_owned()),
            Seen::Unread | Seen::Unknown(_) => (self.mfa_on == Seen::Known(true)).then(|| SWITCHED_ON.to_owned()),
        }
    }
}

/// The second factors of a user, and whether there is a first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Factors {
    /// The second factors.
    pub enrolled: Vec<Enrolled>,
    /// Whether the account has a first factor: a password, here or elsewhere.
    pub password: bool,
}

/// A second factor of a user, as the directory shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Enrolled {
    /// The directory's own name for its kind.
    pub kind: String,
    /// The kind as requests name it. `None`: the operator does not remove it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<Factor>,
    /// When it was enrolled. `None`: the directory has no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Whether the user can sign in with it alone, without a password.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alone: bool,
    /// Why the user would not be asked to enrol a new one, and what to do: whole sentences.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "hindered")]
    pub why_not_reenrolled: Option<String>,
}
