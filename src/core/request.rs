//! What was asked for, valid by construction.
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::text;

/// What is reset.
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
    /// What was typed, as it was typed.
    #[must_use]
    pub fn typed(&self) -> &str {
        let (Self::Email(typed) | Self::Username(typed) | Self::Id(typed)) = self;
        typed
    }
}

/// For messages.
impl fmt::Display for UserRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::shown(self.typed(), text::NAME))
    }
}

/// Where the new password comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// The operator draws it.
    Generate {
        /// Characters, 12 to 128.
        length: u8,
        /// Which, and how many of each kind.
        #[serde(default, skip_serializing_if = "Kinds::is_default")]
        kinds: Kinds,
    },
    /// Somebody put it into a Secret of the request's namespace.
    FromSecret {
        /// Name of the Secret.
        name: String,
        /// Key within it.
        key: String,
    },
}

/// Which characters a password is drawn from. Of each kind so many occur at least; one, if nothing is said; none at all, if that is 0.
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
    /// The punctuation to draw from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub punctuation_from: Option<String>,
}

impl Kinds {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// How many of each at least: lower case, upper case, digits, punctuation.
    #[must_use]
    pub fn least(&self) -> [u8; 4] {
        [self.lower_case, self.upper_case, self.digits, self.punctuation].map(|n| n.unwrap_or(1))
    }
}

/// The longest password that is drawn.
pub const LONGEST: u8 = 128;

/// What the directory asks of passwords, as far as it shows that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Policy {
    /// So many characters at least.
    pub length: u8,
    /// And at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest: Option<u8>,
    /// So many of each at least: lower case, upper case, digits, punctuation.
    pub least: [u8; 4],
}

impl Source {
    /// The same, drawn so that `policy` takes it. What the request leaves out of a password stays out.
    #[must_use]
    pub fn within(&self, policy: &Policy) -> Self {
        let Self::Generate { length, kinds } = self else { return self.clone() };
        let more = |said: Option<u8>, least: u8| match said {
            None if least > 1 => Some(least),
            Some(n) if n > 0 => Some(n.max(least)),
            said => said,
        };
        let [lower, upper, digits, punctuation] = policy.least;
        let kinds = Kinds {
            lower_case: more(kinds.lower_case, lower),
            upper_case: more(kinds.upper_case, upper),
            digits: more(kinds.digits, digits),
            punctuation: more(kinds.punctuation, punctuation),
            punctuation_from: kinds.punctuation_from.clone(),
        };
        let longest = policy.longest.unwrap_or(LONGEST).min(LONGEST);
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

/// The reset itself with its flags.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// A new password.
    #[serde(rename_all = "camelCase")]
    Password {
        /// Where it comes from.
        source: Source,
        /// The user must choose another one at the next sign-in.
        force_change_on_login: bool,
        /// Mobile sessions and API tokens end too.
        clear_mobile_sessions_and_api_tokens: bool,
        /// The user gets the new password by e-mail.
        email_to_user: bool,
        /// The Secret that receives it, in the request's namespace.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deliver_to: Option<String>,
    },
    /// Second factors are removed.
    #[serde(rename = "mfa")]
    Mfa {
        /// Only these; empty means all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        factors: Vec<Factor>,
    },
}

impl Action {
    /// The mode that this action belongs to.
    #[must_use]
    pub fn mode(&self) -> Mode {
        match self {
            Self::Password { .. } => Mode::Password,
            Self::Mfa { .. } => Mode::MFA,
        }
    }
}

/// How long after `requestedAt` a record is kept beyond the deadline (protocol: `keepUntil`).
const KEEP: SignedDuration = SignedDuration::from_hours(24);

/// A `CredentialReset` object, read and checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Uid of the object: another one after it was deleted and re-created.
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
    /// When the human asked; part of the request's identity.
    pub requested_at: Timestamp,
    /// After `requested_at + valid_for` nothing is ever sent.
    pub valid_for: SignedDuration,
    /// Why, in the words of who asked.
    pub reason: String,
    /// User name of who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
}

impl Request {
    /// The mode that is asked for.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.action.mode()
    }

    /// Nothing is started at or after this moment.
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        later(self.requested_at, self.valid_for)
    }

    /// Until this moment the ledger remembers the request.
    #[must_use]
    pub fn keep_until(&self) -> Timestamp {
        later(self.deadline(), KEEP)
    }

    /// Finds the record of the same manifest, applied again: a hash of namespace, directory name, user as typed, mode and
    /// `requestedAt`, short enough for a label.
    #[must_use]
    pub fn key(&self) -> String {
        hash(&(&self.namespace, &self.directory, &self.user, self.mode(), self.requested_at))[..40].to_owned()
    }

    /// Tells whether two requests of the same identity ask for the same thing. User and directory are left out: they are
    /// in the identity, and another spelling of the same user asks for nothing else. Who asks is not: approvals depend on it.
    #[must_use]
    pub fn digest(&self) -> String {
        hash(&(&self.action, self.valid_for.as_secs(), &self.reason, &self.requested_by))
    }

    /// What an approval is for: a hash of the whole spec. Nobody can make two specs that have the same.
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

/// `by` after `at`; at the end of time, if that is beyond it.
pub(super) fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// Hex of SHA-256 over the JSON of `value`. The callers' values are tuples and structs of strings, numbers and enums,
/// whose JSON cannot fail and has one form only.
pub(super) fn hash(value: &impl Serialize) -> String {
    let json = serde_json::to_vec(value).unwrap_or_default();
    Sha256::digest(json).iter().fold(String::with_capacity(64), |mut hex, byte| {
        use fmt::Write;
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
