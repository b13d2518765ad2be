//! The kinds of calls, and the log of calls.
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Error text of a throttle for which Zoho uses status 400.
pub(super) const CONTINUOUS: &str = "You have made too many requests continuously. Please try again after some time.";

/// The kind of a call, for counts and faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Call {
    Token,
    LookUp,
    Groups,
    Role,
    ResetPassword,
    ResetMfa,
    Other,
}

impl Call {
    pub(super) const ALL: [Self; 7] =
        [Self::Token, Self::LookUp, Self::Groups, Self::Role, Self::ResetPassword, Self::ResetMfa, Self::Other];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::LookUp => "look-up",
            Self::Groups => "groups",
            Self::Role => "role",
            Self::ResetPassword => "reset-password",
            Self::ResetMfa => "reset-mfa",
            Self::Other => "other",
        }
    }
}

/// One line of the log of calls.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Logged {
    pub(super) time: Timestamp,
    pub(super) kind: Call,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) user: Option<String>,
    /// The flags with their values, all other fields as `(given)`.
    pub(super) fields: BTreeMap<String, Value>,
    /// Absent: the connection was closed without an answer.
    pub(super) status: Option<u16>,
    pub(super) fault: Option<String>,
    pub(super) applied: bool,
}

/// The flags of a password reset.
#[derive(Clone, Copy, Default)]
pub(super) struct Flags {
    pub(super) must_change: bool,
    pub(super) clear_mobile_sessions_and_api_tokens: bool,
    pub(super) email_user: bool,
}
