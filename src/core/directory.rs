//! A Directory and the results of its last check.
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    call::AfterReset,
    request::{Mode, Policy},
    rules::{Limits, Protect, Rule},
    seen::is_default,
};

/// Something that a directory can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Feature {
    /// Set a password.
    ResetPassword,
    /// Reset second factors.
    ResetMFA,
    /// Reset only some kinds of factors.
    FactorsByKind,
    /// Make the user choose another password at the next sign-in.
    ForceChangeOnLogin,
    /// Set a password that the user may keep.
    KeepAfterLogin,
    /// End web sessions.
    ClearWebSessions,
    /// End mobile sessions and API tokens.
    ClearMobileSessionsAndApiTokens,
    /// Mail the new password to the user, without the operator's help.
    EmailToUser,
}

impl Feature {
    /// All features.
    pub const ALL: [Self; 8] = [
        Self::ResetPassword,
        Self::ResetMFA,
        Self::FactorsByKind,
        Self::ForceChangeOnLogin,
        Self::KeepAfterLogin,
        Self::ClearWebSessions,
        Self::ClearMobileSessionsAndApiTokens,
        Self::EmailToUser,
    ];
}

/// How much of "exactly once" a directory allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Guarantee {
    /// A lost reply does no harm: the operator repeats the same conditional call.
    ExactlyOnce,
    /// After a lost reply, the directory mostly shows whether the call took effect.
    Provable,
    /// A lost reply leaves the outcome unknown.
    AtMostOnce,
}

/// A Directory object and the results of its last check.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectoryFacts {
    /// Name of the object.
    pub name: String,
    /// The directory's own identity: renaming the object changes nothing.
    pub identity: String,
    /// Display name of this kind of directory.
    pub kind: String,
    /// `spec.suspend`: the operator starts nothing.
    #[serde(default)]
    pub suspend: bool,
    /// `spec.requireRequestedBy`: every request must say who asks.
    #[serde(default, skip_serializing_if = "is_default")]
    pub require_requested_by: bool,
    /// Why it is not Ready, as a sentence. `None`: it is Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ready: Option<String>,
    /// What the directory can do.
    pub supports: BTreeSet<Feature>,
    /// The rules, in order: the first match decides.
    #[serde(default)]
    pub allow: Vec<Rule>,
    /// The protected users.
    #[serde(default)]
    pub protect: Protect,
    /// How often resets may start.
    #[serde(default)]
    pub limits: Limits,
    /// It has `spec.mail`, through which the operator can send mail.
    #[serde(default)]
    pub mail: bool,
    /// Why the operator cannot send mail now: fixed words, a whole sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail_trouble: Option<String>,
    /// Modes with a conditional call: it takes effect only if what it changes is as it was before the attempt.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub conditional: BTreeSet<Mode>,
    /// What the operator does with separate calls after the reset.
    #[serde(default, skip_serializing_if = "is_default")]
    pub separate_calls: AfterReset,
    /// What a password reset does not end, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ended: Option<String>,
    /// The directory's password policy, as far as the directory shows it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub policy: Policy,
}

impl DirectoryFacts {
    /// The modes that its rules allow.
    #[must_use]
    pub fn modes(&self) -> BTreeSet<Mode> {
        self.allow.iter().flat_map(|rule| rule.modes.iter().copied()).collect()
    }

    /// The facts of a Directory whose object is invalid.
    #[must_use]
    pub fn unusable(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            identity: String::new(),
            kind: String::new(),
            suspend: false,
            require_requested_by: false,
            not_ready: Some("its spec is invalid.".to_owned()),
            supports: BTreeSet::new(),
            allow: Vec::new(),
            protect: Protect::default(),
            limits: Limits::default(),
            mail: false,
            mail_trouble: None,
            conditional: BTreeSet::new(),
            separate_calls: AfterReset::default(),
            not_ended: None,
            policy: Policy::default(),
        }
    }
}
