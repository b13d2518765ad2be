//! How a request resets a password, and where it delivers it.
use jiff::SignedDuration;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    api::duration,
    core::{
        request::{Action, Kinds, MAX_PASSWORD_LENGTH, MAX_RECIPIENT_LENGTH, PasswordSource},
        text::{OBJECT_NAME, is_object_name},
    },
    sealing,
};

/// How to reset a password. Web sessions always end.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.generate) != has(self.fromSecret)").message("set exactly one of generate and fromSecret"),
    validation = Rule::new("!has(self.generate) || has(self.deliverTo) || self.emailToUser").message("a generated password must be delivered: set deliverTo or emailToUser"),
    validation = Rule::new("!(has(self.fromSecret) && has(self.deliverTo))").message("a password from a Secret is not delivered to another: remove deliverTo"),
)]
pub struct Password {
    /// The operator generates the password, without characters that look alike except those in punctuationFrom. Where the directory shows
    /// its password policy, the operator raises length and minimal numbers to what that requires, and cuts length to its maximum; a kind of
    /// character that is 0 stays excluded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<Generate>,
    /// The password is supplied in a Secret of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_secret: Option<SecretKey>,
    /// The user must choose another password at the next sign-in.
    #[serde(default = "crate::api::defaults::yes")]
    pub force_change_on_login: bool,
    /// Mobile sessions and API tokens end as well.
    #[serde(default)]
    pub clear_mobile_sessions_and_api_tokens: bool,
    /// The user gets the new password by e-mail.
    #[serde(default)]
    pub email_to_user: bool,
    /// The operator writes the new password into this Secret once it is in effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver_to: Option<DeliverTo>,
}

/// Minimal number of characters that need not be digits or punctuation. A request can narrow both to one character, so a password with
/// fewer others could be guessed.
const MIN_FREE_CHARACTERS: u32 = 8;
const GUESSABLE: &str =
    "at least 8 characters must be other than the required digits and punctuation, or the password could be guessed";

/// How to generate a password.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.lowerCase) ? self.lowerCase : 1) + (has(self.upperCase) ? self.upperCase : 1) > 0").message("a password needs letters: lowerCase and upperCase cannot both be 0"),
    validation = Rule::new("(has(self.lowerCase) ? self.lowerCase : 1) + (has(self.upperCase) ? self.upperCase : 1) + (has(self.digits) ? self.digits : 1) + (has(self.punctuation) ? self.punctuation : 1) <= self.length").message("length is less than the sum of the minimal numbers").field_path(".length"),
    validation = Rule::new("(has(self.digits) ? self.digits : 1) + (has(self.punctuation) ? self.punctuation : 1) + 8 <= self.length").message(GUESSABLE),
    validation = Rule::new("!has(self.punctuationFrom) || !has(self.punctuation) || self.punctuation > 0").message("punctuationFrom has no effect if punctuation is 0: remove it"),
)]
pub struct Generate {
    /// Number of characters, 12 to 128, unless the directory's policy asks for more or allows fewer.
    #[serde(default = "crate::api::defaults::twenty")]
    #[schemars(range(min = 12, max = 128))]
    pub length: i32,
    /// Minimal number of lower case letters; 0 excludes them. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 64))]
    pub lower_case: Option<i32>,
    /// Minimal number of upper case letters; 0 excludes them. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 64))]
    pub upper_case: Option<i32>,
    /// Minimal number of digits; 0 excludes them. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 64))]
    pub digits: Option<i32>,
    /// Minimal number of punctuation characters; 0 excludes them. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 64))]
    pub punctuation: Option<i32>,
    /// The punctuation characters to choose from. Default: !#%*+-:=?@_~
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[!-/:-@\[-`{-~]+$"))]
    pub punctuation_from: Option<String>,
}

/// A key of a Secret in this namespace.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct SecretKey {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub name: String,
    /// Key of the password in the Secret.
    #[serde(default = "crate::api::defaults::password_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// Where to deliver a password.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.expiresAfter) || (duration(self.expiresAfter) >= duration('1h') && duration(self.expiresAfter) <= duration('720h'))").message("expiresAfter must be 1h to 720h"),
)]
pub struct DeliverTo {
    /// Name of a Secret in this namespace that does not exist yet. The operator creates it with the keys `password` and `username`.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub secret: String,
    /// Public keys, of age (age1..., see https://age-encryption.org) or SSH (a line of a file with ssh-ed25519 or ssh-rsa). The Secret then
    /// holds `password.age` instead of `password`: the password, encrypted so that only the private key of one of them opens it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(min = 1, max = 10),
        inner(length(min = 62, max = MAX_RECIPIENT_LENGTH), regex(pattern = r"^(age1[!-~]+|ssh-(ed25519|rsa) [!-~]+( [^\x00-\x1f\x7f]*)?)$"))
    )]
    pub sealed_for: Vec<String>,
    /// How long the Secret stays, 1h to 720h: the operator deletes it within the hour after. Default: until somebody deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 16), regex(pattern = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"))]
    pub expires_after: Option<String>,
}

impl Password {
    /// What it does, in the core's types.
    ///
    /// # Errors
    /// A sentence fragment that names the invalid field.
    pub(super) fn action(&self) -> Result<Action, String> {
        let source = match (&self.generate, &self.from_secret) {
            (Some(generate), None) => generate.source()?,
            // The name becomes part of a URL of the API server.
            (None, Some(secret)) if !is_object_name(&secret.name) => {
                return Err("spec.password.fromSecret.name must be a valid name of a Secret".to_owned());
            }
            (None, Some(secret)) => PasswordSource::FromSecret { name: secret.name.clone(), key: secret.key.clone() },
            _ => return Err("spec.password must have exactly one of generate and fromSecret".to_owned()),
        };
        // Checked before the call: after it, the password could not be delivered.
        if self.deliver_to.as_ref().is_some_and(|deliver_to| !is_object_name(&deliver_to.secret)) {
            return Err("spec.password.deliverTo.secret must be a valid name of a Secret".to_owned());
        }
        let sealed_for = self.deliver_to.as_ref().map(|deliver_to| deliver_to.sealed_for.clone()).unwrap_or_default();
        sealing::check(&sealed_for).map_err(|(n, wrong)| format!("spec.password.deliverTo.sealedFor[{n}] {wrong}"))?;
        let expires_after = self.deliver_to.as_ref().and_then(|deliver_to| deliver_to.expires_after.as_deref());
        let expires_after = expires_after.map(stay).transpose()?;
        Ok(Action::Password {
            source,
            force_change_on_login: self.force_change_on_login,
            clear_mobile_sessions_and_api_tokens: self.clear_mobile_sessions_and_api_tokens,
            email_to_user: self.email_to_user,
            deliver_to: self.deliver_to.as_ref().map(|d| d.secret.clone()),
            sealed_for,
            expires_after,
        })
    }
}

/// How long a delivered Secret stays.
///
/// # Errors
/// A sentence fragment, if it is not 1h to 720h.
pub fn stay(expires_after: &str) -> Result<SignedDuration, String> {
    let stay = duration(expires_after).map_err(|e| format!("spec.password.deliverTo.expiresAfter: {e}"))?;
    let range = SignedDuration::from_hours(1)..=SignedDuration::from_hours(720);
    if range.contains(&stay) {
        Ok(stay)
    } else {
        Err("spec.password.deliverTo.expiresAfter must be 1h to 720h".to_owned())
    }
}

impl Generate {
    fn source(&self) -> Result<PasswordSource, String> {
        let Self { length, lower_case, upper_case, digits, punctuation, punctuation_from } = self;
        let length = u8::try_from(*length).ok().filter(|length| (12..=MAX_PASSWORD_LENGTH).contains(length));
        let length = length.ok_or("spec.password.generate.length must be 12 to 128")?;
        let count = |name: &str, n: &Option<i32>| match n.map(u8::try_from).transpose() {
            Ok(n) if n.is_none_or(|n| n <= 64) => Ok(n),
            _ => Err(format!("spec.password.generate.{name} must be 0 to 64")),
        };
        let kinds = Kinds {
            lower_case: count("lowerCase", lower_case)?,
            upper_case: count("upperCase", upper_case)?,
            digits: count("digits", digits)?,
            punctuation: count("punctuation", punctuation)?,
            punctuation_from: punctuation_from.clone(),
        };
        let [lower, upper, digits, punctuation] = kinds.least();
        if lower == 0 && upper == 0 {
            return Err("spec.password.generate: lowerCase and upperCase cannot both be 0".to_owned());
        }
        if u32::from(lower) + u32::from(upper) + u32::from(digits) + u32::from(punctuation) > u32::from(length) {
            return Err("spec.password.generate.length is less than the sum of the minimal numbers".to_owned());
        }
        let is_punctuation = |from: &String| !from.is_empty() && from.bytes().all(|byte| byte.is_ascii_punctuation());
        if !punctuation_from.as_ref().is_none_or(is_punctuation) {
            return Err("spec.password.generate.punctuationFrom must be ASCII punctuation".to_owned());
        }
        // The other characters include letters.
        if u32::from(digits) + u32::from(punctuation) + MIN_FREE_CHARACTERS > u32::from(length) {
            return Err(format!("spec.password.generate: {GUESSABLE}"));
        }
        Ok(PasswordSource::Generate { length, kinds })
    }
}
