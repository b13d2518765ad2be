//! `CredentialReset`: the request.
mod password;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use password::{DeliverTo, Generate, Password, SecretKey, stay};

use crate::core::{
    reason::{Outcome, Reason},
    record::Evidence,
    request::{Action, Factor, Mode, Request, UserRef},
    text::OBJECT_NAME,
    user::UserId,
    view::StatusSummary,
};

/// A request to reset one person's password or second factors, once. The operator carries it out and writes the outcome into the status. A
/// request never changes: file a new one instead.
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
    printcolumn(name = "User", type_ = "string", json_path = ".status.subject"),
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
    validation = Rule::new("!has(self.metadata.generateName)").message("generateName would create another request with every apply: set a name"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self == oldSelf").message("a request never changes: file a new one under another name, with its own requestedAt"),
    validation = Rule::new("(self.mode == 'Password') == has(self.password)").message("mode Password requires password, and no other mode allows it"),
    validation = Rule::new("(self.mode == 'MFA') == has(self.mfa)").message("mode MFA requires mfa with confirm, the user typed again, and no other mode allows it"),
    validation = Rule::new("!has(self.mfa) || self.mfa.confirm == (has(self.user.email) ? self.user.email : (has(self.user.username) ? self.user.username : (has(self.user.id) ? self.user.id : '')))")
        .message("mfa.confirm must be the user in spec.user, typed again"),
    validation = Rule::new("duration(self.validFor) <= duration('168h')").message("validFor is at most 168h: ask again after a week").field_path(".validFor"),
    validation = Rule::new("duration(self.validFor) > duration('0s')").message("validFor must be longer than 0s").field_path(".validFor"),
)]
pub struct CredentialResetSpec {
    /// Name of the Directory with this user.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub directory: String,
    /// The user to reset. Exactly one of email, username and id.
    pub user: User,
    /// What to reset: Password or MFA.
    pub mode: ResetMode,
    /// How to reset the password. Only with mode Password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
    /// How to reset MFA. Only with mode MFA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfa: Option<Mfa>,
    /// When the requester asked for the reset. Part of the request's identity: the operator carries out the same user, mode and time once,
    /// under any object name and however often the object is created. At most one hour after the creation of the object. RFC 3339, in this
    /// century, with at most nine decimals.
    // Not of format date-time: the API server would compare instants, and take the same instant in another notation for unchanged.
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
    ).message("requestedAt must be an existing day"))]
    pub requested_at: jiff::Timestamp,
    /// How long after requestedAt the operator may start the reset, at most 168h.
    #[serde(default = "crate::api::defaults::one_day")]
    #[schemars(length(min = 2, max = 16), regex(pattern = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"))]
    pub valid_for: String,
    /// The reason, and how the user was identified: 8 to 1024 characters, for reviewers and audits.
    #[schemars(length(min = 8, max = 1024))]
    pub reason: String,
    /// User name of the requester at the API server. Required where a rule requires approval by a different person. The admission policy
    /// compares it with the creator of the object, unless that is a pipeline with the verb vouch. A `system:` user does not count as a
    /// requester whom an approver can differ from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub requested_by: Option<String>,
}

/// A user, as the requester names it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new("[has(self.email), has(self.username), has(self.id)].filter(x, x).size() == 1").message("set exactly one of email, username and id"),
    validation = Rule::new("!has(self.email) || self.email.matches('^[^ ,:;<>]+@[^ ,:;<>@]+$')").message("email must be an address such as annette.c@zylker.biz"),
)]
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

/// How to reset MFA.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Mfa {
    /// The user in spec.user, typed again as a confirmation.
    #[schemars(length(min = 1, max = 320))]
    pub confirm: String,
    /// Kinds of factors to remove: TOTP, WebAuthn, RecoveryCodes. Default: all. Where the directory shows single factors, those of other
    /// kinds stay, and the message of success lists what was removed and what was left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), with = "Vec<FactorName>")]
    pub factors: Vec<Factor>,
}

/// A kind of factor: TOTP, WebAuthn or RecoveryCodes.
#[derive(JsonSchema)]
#[schemars(rename = "Factor")]
#[allow(dead_code, clippy::upper_case_acronyms, reason = "for the schema only, in the spelling of the API")]
enum FactorName {
    TOTP,
    WebAuthn,
    RecoveryCodes,
}

/// What to reset.
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

/// Status of a request.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {
    "observedGeneration": -1,
    "conditions": [
        {"type": "Ready", "status": "Unknown", "reason": "Pending", "message": "Waiting for the operator to read it.", "lastTransitionTime": "1970-01-01T00:00:00Z"},
        {"type": "Succeeded", "status": "Unknown", "reason": "Pending", "message": "Waiting for the operator to read it.", "lastTransitionTime": "1970-01-01T00:00:00Z"},
    ],
}))]
pub struct CredentialResetStatus {
    /// The generation that the status describes; -1 until the operator has read the object.
    #[serde(default = "crate::api::defaults::never_observed")]
    pub observed_generation: i64,
    /// Applied, NotApplied, Unknown, Superseded or Lapsed; empty while the request is open. Once set, only Unknown can change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("enum" = ["Applied", "NotApplied", "Unknown", "Superseded", "Lapsed"]))]
    pub outcome: Option<Outcome>,
    /// The user's name: as in the directory; before the look-up, as in the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The user in the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// Hash of the spec, which approvals refer to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Name of the request's record in the operator's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// The evidence of success: Response, ConditionalWrite, Marker, SignIn, or Person, a settlement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("enum" = ["Response", "ConditionalWrite", "SignIn", "Marker", "Person"]))]
    pub evidence: Option<Evidence>,
    /// When the attempt with this outcome began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the outcome became known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// Ready: nothing more will happen, and no action is needed. Succeeded: the reset is in effect. Reconciling and Stalled are present
    /// only while True.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// The label that Velero puts on restored objects.
const RESTORED: &str = "velero.io/restore-name";

/// Annotation: user name of who created the request. The API server writes it where the chart's mutating admission policy is installed;
/// the chart's validating policy lets no one write another name.
pub const FILED_BY: &str = "credreset.dev/filed-by";

impl CredentialReset {
    /// The request in the core's types.
    ///
    /// # Errors
    /// A sentence fragment that names the invalid field. The API server's validation accepts none of these.
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
            _ => return Err("mode Password requires spec.password alone, and mode MFA spec.mfa alone".to_owned()),
        };
        let valid_for = super::duration(&spec.valid_for).map_err(|e| format!("spec.validFor: {e}"))?;
        if valid_for > jiff::SignedDuration::from_hours(168) || !valid_for.is_positive() {
            return Err("spec.validFor must be longer than 0s and at most 168h".to_owned());
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
            filed_by: self.annotations().get(FILED_BY).cloned(),
        })
    }

    /// Whether the status describes the current generation.
    #[must_use]
    pub fn is_observed(&self) -> bool {
        self.status.as_ref().is_some_and(|status| Some(status.observed_generation) == self.metadata.generation)
    }

    /// Outcome, reason and message in the status.
    #[must_use]
    pub fn status_summary(&self) -> StatusSummary {
        let status = self.status.as_ref();
        let conditions = || status.into_iter().flat_map(|s| &s.conditions);
        let ready = conditions().find(|c| c.type_ == "Ready");
        let extra = conditions().find(|c| matches!(c.type_.as_str(), "Reconciling" | "Stalled"));
        StatusSummary {
            outcome: status.and_then(|s| s.outcome),
            reason: ready
                .and_then(|c| serde_json::from_value::<Reason>(serde_json::Value::from(c.reason.as_str())).ok()),
            message: ready.map(|c| c.message.clone()),
            since: extra.map(|c| c.last_transition_time.0),
        }
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
