//! Results of operations, and what they mean.
use std::fmt;

use ldap3::{LdapResult, controls::RawControl};

use super::stream::Excess;
use crate::{
    core::{call::Reply, seen::Why, text},
    directory::NotReady,
};

/// Active Directory's code where a server, such as a global catalog, accepts no changes.
const NO_CHANGES: &str = "00002035";

/// The password policy control (draft-behera-ldap-password-policy-10, section 6).
pub const PASSWORD_POLICY: &str = "1.3.6.1.4.1.42.2.27.8.5.1";

/// Requests that control in the response.
#[must_use]
pub fn ask_for_policy() -> RawControl {
    RawControl { ctype: PASSWORD_POLICY.to_owned(), crit: false, val: None }
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// No connection could be made, so nothing was sent.
    #[error("no connection could be made (name, network or certificate)")]
    NoConnection,
    /// The server refuses the bind of the operator's own account.
    #[error("the server refuses the bind of the operator's account with {0}")]
    Refused(Code),
    /// The request was sent, at least in part, and no response came that could be read.
    #[error("the connection broke or no answer came in time")]
    Broken,
    /// The request was sent, at least in part, and the response exceeds the bounds.
    #[error("{0}")]
    Excess(Excess),
    /// The server answered with an error.
    #[error("the server answered with {0}")]
    Answered(Code),
}

impl Failed {
    /// The reason why a fact could not be read.
    #[must_use]
    pub fn why(&self) -> Why {
        Why::new(format!("the directory gave no answer that could be used: {self}."))
    }

    /// What it means for the call itself.
    #[must_use]
    pub fn in_the_call(&self) -> Reply {
        match self {
            Self::NoConnection => Reply::NotSent,
            Self::Refused(_) | Self::Broken | Self::Excess(_) | Self::Answered(_) => Reply::Unsure,
        }
    }

    /// What it means for a call that could not be sent because of it.
    #[must_use]
    pub fn before_the_call(&self) -> Reply {
        match self {
            Self::Refused(code) => Reply::Denied { code: code.to_string() },
            Self::NoConnection | Self::Broken | Self::Excess(_) | Self::Answered(_) => Reply::NotSent,
        }
    }
}

/// A result code that is safe to show: its number and name (RFC 4511, appendix A), and a detail of the server that is one of a fixed
/// set of words or a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// Number of the result code.
    pub number: u32,
    /// Active Directory's own code, or the error of a password policy.
    pub detail: Option<String>,
}

impl Code {
    pub(super) const fn success() -> Self {
        Self { number: 0, detail: None }
    }

    pub(super) fn of(result: &LdapResult) -> Self {
        Self {
            number: result.rc,
            detail: policy_error(result).map(str::to_owned).or_else(|| windows_code(&result.text)),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.number {
            0 => "success",
            1 => "operationsError",
            2 => "protocolError",
            3 => "timeLimitExceeded",
            4 => "sizeLimitExceeded",
            8 => "strongerAuthRequired",
            10 => "referral",
            11 => "adminLimitExceeded",
            12 => "unavailableCriticalExtension",
            13 => "confidentialityRequired",
            16 => "noSuchAttribute",
            17 => "undefinedAttributeType",
            19 => "constraintViolation",
            20 => "attributeOrValueExists",
            21 => "invalidAttributeSyntax",
            32 => "noSuchObject",
            34 => "invalidDNSyntax",
            48 => "inappropriateAuthentication",
            49 => "invalidCredentials",
            50 => "insufficientAccessRights",
            51 => "busy",
            52 => "unavailable",
            53 => "unwillingToPerform",
            65 => "objectClassViolation",
            80 => "other",
            122 => "assertionFailed",
            _ => "",
        };
        write!(f, "{}", self.number)?;
        if !name.is_empty() {
            write!(f, " {name}")?;
        }
        if let Some(detail) = &self.detail {
            write!(f, ", {detail}")?;
        }
        match self.meaning() {
            Some(meaning) => write!(f, " ({meaning})"),
            None => Ok(()),
        }
    }
}

impl Code {
    /// What the code is about, where its name does not say so, and what to do.
    fn meaning(&self) -> Option<&'static str> {
        Some(match (self.number, self.detail.as_deref()?) {
            (_, "0000052D") => "the domain's password policy: its length, complexity or minimum age",
            (53, NO_CHANGES) => "no changes are taken here, as by a global catalog",
            (_, "mustSupplyOldPassword") => "pwdSafeModify of the password policy has to be FALSE",
            (_, "insufficientPasswordQuality") => {
                "pwdCheckModule or pwdCheckQuality of the password policy wants another"
            }
            (_, "passwordTooShort") => "pwdMinLength of the password policy wants a longer one",
            (_, "passwordTooLong") => "pwdMaxLength of the password policy wants a shorter one",
            (_, "passwordTooYoung") => "pwdMinAge of the password policy: the last change is too recent",
            (_, "passwordInHistory") => "pwdInHistory of the password policy: it was used before",
            _ => return None,
        })
    }
}

/// The server's response to an operation.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its result code.
    pub code: Code,
    /// The diagnostic message. It is compared with known texts, and never shown.
    pub text: String,
    /// The response has the password policy control.
    pub has_policy: bool,
}

impl From<LdapResult> for Answer {
    fn from(result: LdapResult) -> Self {
        Self {
            code: Code::of(&result),
            has_policy: result.ctrls.iter().any(|control| control.1.ctype == PASSWORD_POLICY),
            text: result.text,
        }
    }
}

impl Answer {
    /// Number of the result code.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.code.number
    }

    /// What the response means for the call, where `OpenLDAP` and Active Directory do not differ. A modify is atomic
    /// (RFC 4511, section 4.6): an error about the request shows that nothing was changed. An error about the server's own state does
    /// not, nor does a code that RFC 4511, appendix A, does not list.
    #[must_use]
    pub fn reply(&self) -> Reply {
        match self.code.number {
            0 => Reply::Done,
            8 | 10 | 13 | 49 => Reply::Denied { code: self.code.to_string() },
            53 if self.code.detail.as_deref() == Some(NO_CHANGES) => Reply::Denied { code: self.code.to_string() },
            32 => Reply::NoSuchUser,
            51 => Reply::Throttled { after: None },
            19 | 53 if self.is_about_the_password() => Reply::PasswordRefused { code: self.code.to_string() },
            2 | 12 | 16..=21 | 33 | 34 | 36 | 48 | 50 | 53 | 64..=69 | 71 | 122 => {
                Reply::Rejected { code: self.code.to_string() }
            }
            _ => Reply::Unsure,
        }
    }

    /// Whether another password might be accepted: the error of a policy, or Active Directory's code for its own. The wording of servers
    /// varies, but all mention the password.
    fn is_about_the_password(&self) -> bool {
        match self.code.detail.as_deref() {
            Some(
                "0000052D"
                | "insufficientPasswordQuality"
                | "passwordTooShort"
                | "passwordTooLong"
                | "passwordInHistory",
            ) => true,
            Some(_) => false,
            None => self.code.number == 19 && self.text.to_ascii_lowercase().contains("password"),
        }
    }
}

/// Why the Directory is not ready after this failure.
#[must_use]
pub fn not_ready(failed: &Failed) -> NotReady {
    match failed {
        Failed::Refused(code) if matches!(code.number, 8 | 13) => NotReady::InvalidConfiguration(format!(
            "the server accepts binds on encrypted connections only ({code}): use ldaps://, or startTLS: true."
        )),
        Failed::Refused(code) => NotReady::CredentialsRefused(format!(
            "the server refuses bind-dn and bind-password with {code}: check the account and its Secret."
        )),
        Failed::Answered(code) if code.number == 34 => NotReady::InvalidConfiguration(format!(
            "a name in the Directory is not a distinguished name for the server ({code}): check baseDN, and groups and their base."
        )),
        Failed::Answered(code) if matches!(code.number, 32 | 50) => {
            NotReady::PermissionMissing(format!("the operator's account may not look up users ({code})."))
        }
        _ => NotReady::Unreachable(format!("{failed}.")),
    }
}

/// The error for a protected group that is not found.
#[must_use]
pub fn no_such_group(group: &str) -> NotReady {
    NotReady::InvalidConfiguration(format!(
        "spec.protect.groups names {}, and the operator's account sees no such group: it would protect no user.",
        text::printable(group, text::NAME)
    ))
}

/// The error in a password policy control: `SEQUENCE { warning [0] OPTIONAL, error [1] ENUMERATED OPTIONAL }`.
fn policy_error(result: &LdapResult) -> Option<&'static str> {
    let control = result.ctrls.iter().find(|control| control.1.ctype == PASSWORD_POLICY)?;
    let error = policy_code(control.1.val.as_deref()?)?;
    Some(match error {
        0 => "passwordExpired",
        1 => "accountLocked",
        2 => "changeAfterReset",
        3 => "passwordModNotAllowed",
        4 => "mustSupplyOldPassword",
        5 => "insufficientPasswordQuality",
        6 => "passwordTooShort",
        7 => "passwordTooYoung",
        8 => "passwordInHistory",
        9 => "passwordTooLong",
        _ => return None,
    })
}

pub(super) fn policy_code(value: &[u8]) -> Option<u8> {
    let [0x30, length, rest @ ..] = value else { return None };
    let mut rest = rest.get(..usize::from(*length))?;
    while let [tag, length, after @ ..] = rest {
        let (this, next) = after.split_at_checked(usize::from(*length))?;
        match (tag, this) {
            (0x81, [code]) => return Some(*code),
            _ => rest = next,
        }
    }
    None
}

/// The Windows error in a diagnostic message of Active Directory, which begins with it, as in `0000052D: Constraint violation ...`; for a
/// refused bind, it is `data 52e`.
pub(super) fn windows_code(text: &str) -> Option<String> {
    let hex = |text: &&str| text.bytes().all(|b| b.is_ascii_hexdigit());
    if let Some(data) = text.split(", data ").nth(1).and_then(|rest| rest.split(',').next())
        && (1..=8).contains(&data.len())
        && hex(&data)
        && data != "0"
    {
        return Some(format!("data {}", data.to_lowercase()));
    }
    let first = text.split(':').next().filter(|first| first.len() == 8 && hex(first))?;
    Some(first.to_uppercase())
}
