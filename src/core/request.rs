//! A request, valid by construction.
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::text;

/// Which credentials are reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Mode {
    /// The password.
    Password,
    /// The second factors.
    MFA,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password => "Password",
            Self::MFA => "MFA",
        })
    }
}

/// The user as typed in the request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum UserRef {
    /// By an e-mail address.
    Email(String),
    /// By the name the user signs in with.
    Username(String),
    /// By the directory's own id.
    Id(String),
}

impl UserRef {
    /// The text as it was typed.
    #[must_use]
    pub fn typed(&self) -> &str {
        let (Self::Email(typed) | Self::Username(typed) | Self::Id(typed)) = self;
        typed
    }
}

/// For messages.
impl fmt::Display for UserRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::printable(self.typed(), text::NAME))
    }
}

/// Where the new password comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PasswordSource {
    /// The operator generates it.
    Generate {
        /// Number of characters, 12 to 128.
        length: u8,
        /// Kinds of characters, and how many of each.
        #[serde(default, skip_serializing_if = "Kinds::is_default")]
        kinds: Kinds,
    },
    /// The supplied password, in a Secret of the request's namespace.
    FromSecret {
        /// Name of the Secret.
        name: String,
        /// Key within it.
        key: String,
    },
}

/// The characters that a password is generated from, and the minimum of each kind. `None`: at least one; 0: none at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Kinds {
    /// Lower case letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lower_case: Option<u8>,
    /// Upper case letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upper_case: Option<u8>,
    /// Digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digits: Option<u8>,
    /// Punctuation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub punctuation: Option<u8>,
    /// The punctuation to choose from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub punctuation_from: Option<String>,
}

impl Kinds {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The minimum of each kind: lower case, upper case, digits, punctuation.
    #[must_use]
    pub fn least(&self) -> [u8; 4] {
        [self.lower_case, self.upper_case, self.digits, self.punctuation].map(|n| n.unwrap_or(1))
    }
}

/// The length of the longest recipient of a sealed password: a line with an RSA key of 4096 bits, and a comment.
pub const MAX_RECIPIENT_LENGTH: usize = 1024;

/// The length of the longest password that the operator generates.
pub const MAX_PASSWORD_LENGTH: u8 = 128;

/// The directory's password policy, as far as the directory shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Policy {
    /// Minimum number of characters.
    pub length: u8,
    /// Maximum number of characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest: Option<u8>,
    /// The minimum of each kind: lower case, upper case, digits, punctuation.
    pub least: [u8; 4],
}

impl PasswordSource {
    /// The same source, changed so that a generated password satisfies `policy`. Kinds that the request excludes stay excluded.
    #[must_use]
    pub fn within(&self, policy: &Policy) -> Self {
        let Self::Generate { length, kinds } = self else { return self.clone() };
        let at_least = |requested: Option<u8>, least: u8| match requested {
            None if least > 1 => Some(least),
            Some(n) if n > 0 => Some(n.max(least)),
            requested => requested,
        };
        let [lower, upper, digits, punctuation] = policy.least;
        let kinds = Kinds {
            lower_case: at_least(kinds.lower_case, lower),
            upper_case: at_least(kinds.upper_case, upper),
            digits: at_least(kinds.digits, digits),
            punctuation: at_least(kinds.punctuation, punctuation),
            punctuation_from: kinds.punctuation_from.clone(),
        };
        let longest = policy.longest.unwrap_or(MAX_PASSWORD_LENGTH).min(MAX_PASSWORD_LENGTH);
        let mut together = 0_u8;
        for n in kinds.least() {
            together = together.saturating_add(n);
        }
        Self::Generate { length: (*length).max(policy.length).max(together).min(longest), kinds }
    }
}

/// A kind of second factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Factor {
    /// Time or counter based one-time passwords of an authenticator app.
    TOTP,
    /// Security keys and passkeys.
    WebAuthn,
    /// One-time recovery codes.
    RecoveryCodes,
}

/// The reset with its flags.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// A new password.
    #[serde(rename_all = "camelCase")]
    Password {
        /// Where it comes from.
        source: PasswordSource,
        /// The user must choose another one at the next sign-in.
        force_change_on_login: bool,
        /// Mobile sessions and API tokens end too.
        clear_mobile_sessions_and_api_tokens: bool,
        /// The user gets the new password by e-mail.
        email_to_user: bool,
        /// The Secret that receives it, in the request's namespace.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deliver_to: Option<String>,
        /// The age recipients for whom it is sealed in that Secret; empty: it is there in plain text.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        sealed_for: Vec<String>,
        /// How long that Secret stays after it is written. `None`: until somebody deletes it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_after: Option<SignedDuration>,
    },
    /// Second factors are removed.
    #[serde(rename = "mfa")]
    Mfa {
        /// Only these kinds; empty means all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        factors: Vec<Factor>,
    },
}

impl Action {
    /// The mode of this action.
    #[must_use]
    pub fn mode(&self) -> Mode {
        match self {
            Self::Password { .. } => Mode::Password,
            Self::Mfa { .. } => Mode::MFA,
        }
    }
}

/// How long a record is kept after the request's deadline (protocol: `keepUntil`).
const RECORD_RETENTION: SignedDuration = SignedDuration::from_hours(24);

/// A `CredentialReset` object, read and checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Uid of the object, which changes if the object is deleted and created again.
    pub uid: String,
    /// When the API server first stored the object.
    pub created: Timestamp,
    /// The object carries the label of a backup restore.
    #[serde(default)]
    pub restored: bool,
    /// Name of the Directory object.
    pub directory: String,
    /// The user as typed.
    pub user: UserRef,
    /// What to do.
    pub action: Action,
    /// When the reset was requested; part of the request's identity.
    pub requested_at: Timestamp,
    /// From `requested_at + valid_for` on nothing is sent.
    pub valid_for: SignedDuration,
    /// Why, in the requester's words.
    pub reason: String,
    /// User name of the requester.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
    /// User name of who created the object, as the API server put it there. `None`: the API server does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filed_by: Option<String>,
}

impl Request {
    /// The mode of the request.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.action.mode()
    }

    /// Nothing is started at or after this moment.
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        later(self.requested_at, self.valid_for)
    }

    /// The ledger keeps the record until this moment.
    #[must_use]
    pub fn keep_until(&self) -> Timestamp {
        later(self.deadline(), RECORD_RETENTION)
    }

    /// The key by which the same manifest, applied again, finds its record: a hash of namespace, directory name, user as typed, mode and
    /// `requestedAt`, short enough for a label.
    #[must_use]
    pub fn key(&self) -> String {
        hash(&(&self.namespace, &self.directory, &self.user, self.mode(), self.requested_at))[..40].to_owned()
    }

    /// A hash that is equal for two requests of the same identity if they ask for the same thing. It leaves out user and directory: they
    /// are in the identity, and another spelling of the same user changes nothing. It includes the requester, since approvals depend on
    /// it.
    #[must_use]
    pub fn digest(&self) -> String {
        hash(&(&self.action, self.valid_for.as_secs(), &self.reason, &self.requested_by))
    }

    /// A hash of the whole spec, which approvals name. No two specs with the same hash can be constructed.
    #[must_use]
    pub fn spec_digest(&self) -> String {
        hash(&(
            &self.directory,
            &self.user,
            &self.action,
            self.requested_at,
            self.valid_for.as_secs(),
            &self.reason,
            &self.requested_by,
        ))
    }
}

/// `at` plus `by`, or the last possible time.
#[must_use]
pub fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// SHA-256 of the JSON of `value`, in hexadecimal digits. The callers' values are tuples and structs of strings, numbers and enums:
/// serializing them cannot fail, and has one result.
pub(super) fn hash(value: &impl Serialize) -> String {
    let json = serde_json::to_vec(value).unwrap_or_default();
    Sha256::digest(json).iter().fold(String::with_capacity(64), |mut hex, byte| {
        use fmt::Write;
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
