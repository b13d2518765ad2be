//! The call to a directory, as data: the call, its reply and the follow-up.
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{request::Factor, text};

/// The one call that must not be repeated.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Call {
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
    /// Remove second factors one by one, and ask for new ones. Those that were enrolled later stay, so it may be repeated.
    #[serde(rename_all = "camelCase")]
    RemoveFactors {
        /// Only these kinds; empty means all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(with = "Vec<String>")]
        factors: Vec<Factor>,
        /// Only those enrolled before this moment.
        #[schemars(with = "String", extend("format" = "date-time"))]
        enrolled_before: Timestamp,
    },
}

impl Call {
    /// Whether it sets the stored password.
    #[must_use]
    pub fn needs_password(&self) -> bool {
        matches!(self, Self::SetPassword { .. })
    }
}

/// What the operator does after a reset with separate calls, where the call itself does not do it. These calls may be repeated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[allow(clippy::struct_excessive_bools, reason = "each flag is independent")]
pub struct AfterReset {
    /// End web sessions.
    pub web_sessions: bool,
    /// End mobile sessions and API tokens.
    pub mobile_sessions_and_api_tokens: bool,
    /// Clear a lock-out after failed sign-ins.
    pub unlock: bool,
    /// Require the user to choose another password at the next sign-in, where the call itself cannot require that of a user who
    /// must choose one already.
    pub must_change: bool,
}

impl AfterReset {
    /// The part of `self` that the directory does with separate calls. `None`: there is none.
    pub(super) fn in_separate_calls(self, supported: Self) -> Option<Self> {
        let both = Self {
            web_sessions: self.web_sessions && supported.web_sessions,
            mobile_sessions_and_api_tokens: self.mobile_sessions_and_api_tokens
                && supported.mobile_sessions_and_api_tokens,
            unlock: self.unlock && supported.unlock,
            must_change: self.must_change && supported.must_change,
        };
        (both != Self::default()).then_some(both)
    }
}

/// What the operator does once the change is proven. The record stores it, since the object may be deleted by then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FollowUp {
    /// Write the password into this Secret of the request's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = text::OBJECT_NAME))]
    pub deliver_to: Option<String>,
    /// Seal it there for these age recipients; empty: write it in plain text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sealed_for: Vec<String>,
    /// Delete it this long after it is written, as an ISO 8601 duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub expires_after: Option<SignedDuration>,
    /// Do with separate calls what the call itself does not do.
    #[serde(default, rename = "cleanUp", skip_serializing_if = "Option::is_none")]
    pub after_reset: Option<AfterReset>,
    /// Send the password to this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail_to: Option<String>,
    /// Shown with the success, as sentences: what the reset did not end, or which second factors it removed and left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remains: Option<String>,
}

/// The Secret that a password is delivered to, in words. `sealed_for`: number of recipients.
#[must_use]
pub fn delivery_place(namespace: &str, secret: &str, sealed_for: usize) -> String {
    match sealed_for {
        0 => format!("Secret {namespace}/{secret}"),
        1 => format!("Secret {namespace}/{secret}, sealed for one recipient"),
        n => format!("Secret {namespace}/{secret}, sealed for {n} recipients"),
    }
}

/// The call and its follow-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actions {
    /// The one call that must not be repeated.
    pub call: Call,
    /// What the operator does once the change is proven.
    pub follow_up: FollowUp,
}

/// How the directory replied to the call.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reply {
    /// A clear success.
    Done,
    /// The call never reached the directory.
    NotSent,
    /// The directory has no capacity now and did nothing.
    Throttled {
        /// Seconds to wait, if the directory named a time.
        after: Option<u32>,
    },
    /// The directory refused the operator's own credentials or rights, or the call as such.
    Denied {
        /// The directory's error code.
        code: String,
    },
    /// The directory no longer has this user.
    NoSuchUser,
    /// The directory refused this change with a code that is known to mean that nothing was done.
    Rejected {
        /// Its error code.
        code: String,
    },
    /// The directory refused the password, and did nothing: it may accept another one.
    PasswordRefused {
        /// Its error code.
        code: String,
    },
    /// The precondition of a conditional call did not hold: because of another change, or because the same call was sent before.
    Conflict,
    /// The precondition of a conditional call did not hold, and no other call of the attempt can have come before it.
    Outdated,
    /// The call may have taken effect, or may still do so.
    Unsure,
}
