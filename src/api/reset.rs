//! `CredentialReset`: the request.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::core::{
    ledger::{Evidence, UserId},
    report::{Outcome, Reason, Shown},
    request::{Action, Factor, Kinds, LONGEST, Mode, Request, Source, UserRef},
    text::{OBJECT_NAME, is_object_name},
};

/// A request to reset one person's password or second factors, once. It is carried out by the operator, which writes what
/// came of it into the status. A request never changes: file a new one instead.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug)]
#[kube(
    group = "credreset.dev",
    version = "v1alpha1",
    kind = "CredentialReset",
    namespaced,
    status = "CredentialResetStatus",
    shortname = "creset",
    category = "credreset",
    selectable = ".status.outcome",
    selectable = ".spec.directory",
    printcolumn(name = "User", type_ = "string", json_path = ".status.user.name"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Directory", type_ = "string", json_path = ".spec.directory"),
    printcolumn(name = "Outcome", type_ = "string", json_path = ".status.outcome"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "User-ID", type_ = "string", json_path = ".status.user.id", priority = 1),
    printcolumn(name = "Requested", type_ = "string", json_path = ".spec.requestedAt", priority = 1),
    printcolumn(name = "Digest", type_ = "string", json_path = ".status.digest", priority = 1),
    printcolumn(name = "Completed", type_ = "string", json_path = ".status.completionTime", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1),
    validation = Rule::new("self.metadata.name.size() <= 63").message("a name may have at most 63 characters").field_path(".metadata.name"),
    validation = Rule::new("!has(self.metadata.generateName)").message("generateName would make another request at every apply: give it a name"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self == oldSelf").message("a request never changes: file a new one under another name, with its own requestedAt"),
    validation = Rule::new("(self.mode == 'Password') == has(self.password)").message("mode Password needs password, and no other mode takes it"),
    validation = Rule::new("(self.mode == 'MFA') == has(self.mfa)").message("mode MFA needs mfa with confirm, the user typed again, and no other mode takes it"),
    validation = Rule::new("!has(self.mfa) || self.mfa.confirm == (has(self.user.email) ? self.user.email : (has(self.user.username) ? self.user.username : (has(self.user.id) ? self.user.id : '')))")
        .message("mfa.confirm must be the very user that spec.user names, typed again"),
    validation = Rule::new("duration(self.validFor) <= duration('168h')").message("validFor is at most 168h: ask again after a week").field_path(".validFor"),
    validation = Rule::new("duration(self.validFor) > duration('0s')").message("validFor must be longer than nothing").field_path(".validFor"),
)]
pub struct CredentialResetSpec {
    /// Name of the Directory object that keeps this user.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub directory: String,
    /// Whose credentials are reset. Exactly one of email, username and id.
    pub user: User,
    /// What is reset: Password or MFA.
    pub mode: ResetMode,
    /// How the password is reset. Only with mode Password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
    /// How MFA is reset. Only with mode MFA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfa: Option<Mfa>,
    /// When the human asked. Part of the request's identity: the same user, mode and time are carried out once, whatever the
    /// object is called and however often it is created. At most an hour after the object is created. RFC 3339, of this century, with at most nine digits after the second.
    // No date-time: the API server would compare instants, and take the same one in other letters for no change.
    #[schemars(
        with = "String",
        length(max = 35),
        regex(
            pattern = r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
        )
    )]
    #[x_kube(validation = Rule::new(
        "int(self.substring(8, 10)) <= (self.substring(5, 7) == '02' ? (int(self.substring(2, 4)) % 4 == 0 ? 29 : 28) : \
         (self.substring(5, 7) in ['04', '06', '09', '11'] ? 30 : 31))"
    ).message("requestedAt must be a day that its month has"))]
    pub requested_at: jiff::Timestamp,
    /// How long after requestedAt the reset may still be started, at most 168h. After that nothing is ever sent.
    #[serde(default = "a_day")]
    #[schemars(length(min = 2, max = 16), regex(pattern = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"))]
    pub valid_for: String,
    /// Why, and how the user was identified: 8 to 1024 characters, for the reviewer and the audit.
    #[schemars(length(min = 8, max = 1024))]
    pub reason: String,
    /// User name of who asks, as the API server knows people: needed where a rule asks for approval by somebody else. Admission
    /// compares it with who creates the object, unless that is a pipeline that may vouch for what was reviewed. A `system:` user is nobody
    /// whom an approver can differ from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub requested_by: Option<String>,
}

fn a_day() -> String {
    "24h".to_owned()
}
fn yes() -> bool {
    true
}

/// A user, as typed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(validation = Rule::new("[has(self.email), has(self.username), has(self.id)].filter(x, x).size() == 1").message("name the user by exactly one of email, username and id"))]
pub struct User {
    /// An e-mail address of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 320))]
    pub email: Option<String>,
    /// The name the user signs in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 320))]
    pub username: Option<String>,
    /// The directory's own id of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub id: Option<String>,
}

/// How a password is reset. Web sessions always end.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.generate) != has(self.fromSecret)").message("give exactly one of generate and fromSecret"),
    validation = Rule::new("!has(self.generate) || has(self.deliverTo) || self.emailToUser").message("a generated password must reach somebody: give deliverTo or emailToUser"),
    validation = Rule::new("!(has(self.fromSecret) && has(self.deliverTo))").message("a password from a Secret is not delivered into another: leave deliverTo out"),
)]
pub struct Password {
    /// The operator draws the password. Characters that look alike do not occur, but for those that punctuationFrom names. Where the
    /// directory shows its password policy, length and numbers are raised to what that asks for, and length is cut to its longest; a kind
    /// that is 0 stays out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<Generate>,
    /// The password is in a Secret of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_secret: Option<SecretKey>,
    /// The user must choose another password at the next sign-in.
    #[serde(default = "yes")]
    pub force_change_on_login: bool,
    /// Mobile sessions and API tokens end, too.
    #[serde(default)]
    pub clear_mobile_sessions_and_api_tokens: bool,
    /// The user gets the new password by e-mail.
    #[serde(default)]
    pub email_to_user: bool,
    /// The new password is written into this Secret once it is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver_to: Option<DeliverTo>,
}

/// So many characters of a password are not bound to be digits or punctuation, which the request may narrow to one: else it could be guessed.
const FREE: u32 = 8;
const GUESSED: &str =
    "at least 8 characters must be neither digits nor punctuation that is asked for, or the password could be guessed";

/// What kind of password is drawn.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.lowerCase) ? self.lowerCase : 1) + (has(self.upperCase) ? self.upperCase : 1) > 0").message("a password needs letters: lowerCase and upperCase cannot both be 0"),
    validation = Rule::new("(has(self.lowerCase) ? self.lowerCase : 1) + (has(self.upperCase) ? self.upperCase : 1) + (has(self.digits) ? self.digits : 1) + (has(self.punctuation) ? self.punctuation : 1) <= self.length").message("length is too short for so many of each kind").field_path(".length"),
    validation = Rule::new("(has(self.digits) ? self.digits : 1) + (has(self.punctuation) ? self.punctuation : 1) + 8 <= self.length").message(GUESSED),
    validation = Rule::new("!has(self.punctuationFrom) || !has(self.punctuation) || self.punctuation > 0").message("without punctuation (0) there is nothing to choose it from: leave punctuationFrom out"),
)]
pub struct Generate {
    /// Number of characters, 12 to 128, unless the directory's policy asks for more or allows fewer.
    #[serde(default = "twenty")]
    #[schemars(range(min = 12, max = 128))]
    pub length: i32,
    /// At least so many lower case letters; 0: none at all. Left out: one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 64))]
    pub lower_case: Option<i32>,
    /// At least so many upper case letters; 0: none at all. Left out: one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 64))]
    pub upper_case: Option<i32>,
    /// At least so many digits; 0: none at all. Left out: one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 64))]
    pub digits: Option<i32>,
    /// At least so many characters of punctuation; 0: none at all. Left out: one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 64))]
    pub punctuation: Option<i32>,
    /// The punctuation to draw from. Left out: !#%*+-:=?@_~
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[!-/:-@\[-`{-~]+$"))]
    pub punctuation_from: Option<String>,
}

fn twenty() -> i32 {
    20
}

/// A key of a Secret in this namespace.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct SecretKey {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub name: String,
    /// Key of the password within it.
    #[serde(default = "password")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

fn password() -> String {
    "password".to_owned()
}

/// Where a password is delivered to.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct DeliverTo {
    /// Name of a Secret in this namespace that does not exist yet; it gets the keys `password` and `username`.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub secret: String,
}

/// How MFA is reset.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Mfa {
    /// The user, typed again: the second yes.
    #[schemars(length(min = 1, max = 320))]
    pub confirm: String,
    /// Only these kinds of factors: TOTP, WebAuthn, RecoveryCodes. Left out: all of them. Where the directory shows factors one by one, those
    /// of other kinds stay, and the message of success names what was removed and what was left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), with = "Vec<FactorName>")]
    pub factors: Vec<Factor>,
}

/// A kind of factor: TOTP, WebAuthn or RecoveryCodes.
#[derive(JsonSchema)]
#[schemars(rename = "Factor")]
#[allow(dead_code, clippy::upper_case_acronyms, reason = "it is a schema only, in the API's spelling")]
enum FactorName {
    TOTP,
    WebAuthn,
    RecoveryCodes,
}

/// What is reset.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    clippy::upper_case_acronyms,
    reason = "a text on a variant would turn the schema's enum into oneOf"
)]
pub enum ResetMode {
    Password,
    MFA,
}

fn unseen() -> i64 {
    -1
}

/// What came of a request.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {
    "observedGeneration": -1,
    "conditions": [
        {"type": "Ready", "status": "Unknown", "reason": "Pending", "message": "Not seen yet.", "lastTransitionTime": "1970-01-01T00:00:00Z"},
        {"type": "Succeeded", "status": "Unknown", "reason": "Pending", "message": "Not seen yet.", "lastTransitionTime": "1970-01-01T00:00:00Z"},
    ],
}))]
pub struct CredentialResetStatus {
    /// The generation that the status is about; -1 until the operator has seen the object.
    #[serde(default = "unseen")]
    pub observed_generation: i64,
    /// Applied, NotApplied, Unknown, Superseded or Lapsed; empty while the request is open. Never changes once set, Unknown
    /// excepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("enum" = ["Applied", "NotApplied", "Unknown", "Superseded", "Lapsed"]))]
    pub outcome: Option<Outcome>,
    /// The user as the directory names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// Hash of the spec: what an approval is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Name of the ledger's record in the operator's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// How success was proven: Response, ConditionalWrite, Marker, SignIn, or Person: somebody who has looked said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("enum" = ["Response", "ConditionalWrite", "SignIn", "Marker", "Person"]))]
    pub evidence: Option<Evidence>,
    /// When the attempt began that the outcome is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the outcome became known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// Ready: nothing more will happen and nobody need look. Succeeded: the reset is in force. Reconciling and Stalled are
    /// there only while True.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// The label that Velero puts on what it restores.
const RESTORED: &str = "velero.io/restore-name";

impl CredentialReset {
    /// The request in the core's terms.
    ///
    /// # Errors
    /// Says which field is wrong; the API server's validation lets none of this through.
    pub fn request(&self) -> Result<Request, String> {
        let spec = &self.spec;
        let user = match (&spec.user.email, &spec.user.username, &spec.user.id) {
            (Some(email), None, None) => UserRef::Email(email.clone()),
            (None, Some(name), None) => UserRef::Username(name.clone()),
            (None, None, Some(id)) => UserRef::Id(id.clone()),
            _ => return Err("spec.user must name exactly one of email, username and id".to_owned()),
        };
        let action = match (spec.mode, &spec.password, &spec.mfa) {
            (ResetMode::Password, Some(password), None) => password.action()?,
            (ResetMode::MFA, None, Some(mfa)) if mfa.confirm == user.typed() => {
                Action::Mfa { factors: mfa.factors.clone() }
            }
            (ResetMode::MFA, None, Some(_)) => return Err("spec.mfa.confirm must equal spec.user".to_owned()),
            _ => return Err("spec.password goes with mode Password, spec.mfa with mode MFA".to_owned()),
        };
        let valid_for = super::duration(&spec.valid_for).map_err(|e| format!("spec.validFor: {e}"))?;
        if valid_for > jiff::SignedDuration::from_hours(168) || !valid_for.is_positive() {
            return Err("spec.validFor must be longer than nothing and at most 168h".to_owned());
        }
        Ok(Request {
            namespace: self.namespace().unwrap_or_default(),
            name: self.name_any(),
            uid: self.uid().unwrap_or_default(),
            created: self.creation_timestamp().map_or(jiff::Timestamp::MAX, |t| t.0),
            restored: self.labels().contains_key(RESTORED),
            directory: spec.directory.clone(),
            user,
            action,
            requested_at: spec.requested_at,
            valid_for,
            reason: spec.reason.clone(),
            requested_by: spec.requested_by.clone(),
        })
    }

    /// Whether an operator has written a status that is still there, about the object as it is.
    #[must_use]
    pub fn is_seen(&self) -> bool {
        self.status.as_ref().is_some_and(|status| Some(status.observed_generation) == self.metadata.generation)
    }

    /// What the status shows now.
    #[must_use]
    pub fn shown(&self) -> Shown {
        let status = self.status.as_ref();
        let conditions = || status.into_iter().flat_map(|s| &s.conditions);
        let ready = conditions().find(|c| c.type_ == "Ready");
        let extra = conditions().find(|c| matches!(c.type_.as_str(), "Reconciling" | "Stalled"));
        Shown {
            outcome: status.and_then(|s| s.outcome),
            reason: ready
                .and_then(|c| serde_json::from_value::<Reason>(serde_json::Value::from(c.reason.as_str())).ok()),
            message: ready.map(|c| c.message.clone()),
            since: extra.map(|c| c.last_transition_time.0),
        }
    }
}

impl Password {
    fn action(&self) -> Result<Action, String> {
        let source = match (&self.generate, &self.from_secret) {
            (Some(generate), None) => generate.source()?,
            // Names become part of addresses at the API server.
            (None, Some(secret)) if !is_object_name(&secret.name) => {
                return Err("spec.password.fromSecret.name must be a name that a Secret can have".to_owned());
            }
            (None, Some(secret)) => Source::FromSecret { name: secret.name.clone(), key: secret.key.clone() },
            _ => return Err("spec.password must have exactly one of generate and fromSecret".to_owned()),
        };
        // Found out after the call, it would be too late: the password could not be delivered.
        if self.deliver_to.as_ref().is_some_and(|deliver_to| !is_object_name(&deliver_to.secret)) {
            return Err("spec.password.deliverTo.secret must be a name that a Secret can have".to_owned());
        }
        Ok(Action::Password {
            source,
            force_change_on_login: self.force_change_on_login,
            clear_mobile_sessions_and_api_tokens: self.clear_mobile_sessions_and_api_tokens,
            email_to_user: self.email_to_user,
            deliver_to: self.deliver_to.as_ref().map(|d| d.secret.clone()),
        })
    }
}

impl Generate {
    fn source(&self) -> Result<Source, String> {
        let Self { length, lower_case, upper_case, digits, punctuation, punctuation_from } = self;
        let length = u8::try_from(*length).ok().filter(|length| (12..=LONGEST).contains(length));
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
            return Err("spec.password.generate.length is too short for so many of each kind".to_owned());
        }
        let is_punctuation = |from: &String| !from.is_empty() && from.bytes().all(|byte| byte.is_ascii_punctuation());
        if !punctuation_from.as_ref().is_none_or(is_punctuation) {
            return Err("spec.password.generate.punctuationFrom may hold punctuation alone".to_owned());
        }
        // The others are drawn from letters, too.
        if u32::from(digits) + u32::from(punctuation) + FREE > u32::from(length) {
            return Err(format!("spec.password.generate: {GUESSED}"));
        }
        Ok(Source::Generate { length, kinds })
    }
}

impl From<ResetMode> for Mode {
    fn from(mode: ResetMode) -> Self {
        match mode {
            ResetMode::Password => Self::Password,
            ResetMode::MFA => Self::MFA,
        }
    }
}
