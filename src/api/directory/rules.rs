//! Rules, protections and limits of a Directory.
use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    api::{defaults, reset::ResetMode},
    core::rules,
};

/// A rule: from which namespaces which users may be reset.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.namespaces) || has(self.namespaceSelector)").message("set namespaces or namespaceSelector"),
    validation = Rule::new("!has(self.maxValidFor) || duration(self.maxValidFor) <= duration('168h')").message("maxValidFor is at most 168h"),
)]
pub struct AllowRule {
    /// Name of the rule, shown in messages.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Namespaces of requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 63)))]
    pub namespaces: Vec<String>,
    /// Labels of the namespaces of requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<Selector>,
    /// Modes of requests: Password, MFA.
    #[schemars(length(min = 1, max = 2))]
    pub modes: Vec<ResetMode>,
    /// Users who may be reset.
    pub users: Users,
    /// Maximal time between requestedAt and the request's deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 16), regex(pattern = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"))]
    pub max_valid_for: Option<String>,
    /// Approvals (CredentialResetApproval) that a request needs in addition. It waits for them until its deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Approvals>,
}

/// Approvals that a request needs.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Approvals {
    /// Number of people who must approve.
    #[serde(default = "crate::api::defaults::one")]
    #[schemars(range(min = 1, max = 8))]
    pub count: i32,
    /// The requester does not count as an approver. Requests then need spec.requestedBy.
    #[serde(default = "crate::api::defaults::yes")]
    pub distinct_from_requester: bool,
}

/// A label selector.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// Labels that must all match.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub match_labels: BTreeMap<String, String>,
    /// Requirements that must all match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub match_expressions: Vec<Expression>,
}

/// A requirement of a label selector.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug)]
pub struct Expression {
    /// Key of the label.
    #[schemars(length(max = 317))]
    pub key: String,
    /// In, NotIn, Exists or DoesNotExist.
    #[schemars(with = "String", extend("enum" = ["In", "NotIn", "Exists", "DoesNotExist"]))]
    pub operator: rules::Operator,
    /// The values for In and NotIn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// A set of users. A user must match every field that is set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.emailDomains) || has(self.groups) || (has(self.everyone) && self.everyone)").message("set emailDomains, groups, or everyone: true"))]
pub struct Users {
    /// Domains of primary e-mail addresses: one must match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 253)))]
    pub email_domains: Vec<String>,
    /// Groups of the directory: the user must be a member of one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 1024)))]
    pub groups: Vec<String>,
    /// All users, stated explicitly.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub everyone: bool,
}

/// Users who are never reset. The operator's own account is always protected.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase", default)]
pub struct Protect {
    /// Users by id, which stays when names change; or by name or e-mail address, in any case and any Unicode form.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 1024)))]
    pub users: Vec<String>,
    /// Members of these groups of the directory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 1024)))]
    pub groups: Vec<String>,
    /// Administrators of the directory.
    pub administrators: bool,
}

impl Default for Protect {
    fn default() -> Self {
        Self { users: Vec::new(), groups: Vec::new(), administrators: true }
    }
}

/// Limits of a Directory.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("duration(self.minIntervalPerUser) <= duration('1h')").message("minIntervalPerUser is at most 1h"),
    validation = Rule::new("duration(self.requestTimeout) >= duration('1s') && duration(self.requestTimeout) <= duration('2m')").message("requestTimeout is 1s to 2m"),
)]
pub struct Limits {
    /// Maximal number of resets started within any hour.
    #[serde(default = "crate::api::defaults::twenty")]
    #[schemars(range(min = 1, max = 100_000))]
    pub resets_per_hour: i32,
    /// Minimal time between two resets of one user, at most 1h.
    #[serde(default = "crate::api::defaults::five_minutes")]
    #[schemars(length(min = 2, max = 16), regex(pattern = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"))]
    pub min_interval_per_user: String,
    /// Timeout of one call to the directory, 1s to 2m.
    #[serde(default = "crate::api::defaults::fifteen_seconds")]
    #[schemars(length(min = 2, max = 16), regex(pattern = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"))]
    pub request_timeout: String,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            resets_per_hour: defaults::twenty(),
            min_interval_per_user: defaults::five_minutes(),
            request_timeout: defaults::fifteen_seconds(),
        }
    }
}

impl AllowRule {
    pub(super) fn settings(&self) -> Result<rules::Rule, String> {
        let Self { name, namespaces, namespace_selector, modes, users, max_valid_for, approvals } = self;
        Ok(rules::Rule {
            name: name.clone(),
            namespaces: namespaces.clone(),
            namespace_selector: namespace_selector.as_ref().map(|s| rules::Selector {
                match_labels: s.match_labels.clone(),
                match_expressions: s
                    .match_expressions
                    .iter()
                    .map(|e| rules::Expression { key: e.key.clone(), operator: e.operator, values: e.values.clone() })
                    .collect(),
            }),
            modes: modes.iter().map(|m| (*m).into()).collect(),
            users: rules::Users {
                email_domains: users.email_domains.clone(),
                groups: users.groups.clone(),
                everyone: users.everyone,
            },
            max_valid_for: match max_valid_for {
                Some(text) => {
                    Some(crate::api::duration(text).map_err(|e| format!("spec.allow of {name}: maxValidFor: {e}"))?)
                }
                None => None,
            },
            // An invalid count becomes one that cannot be reached.
            approvals: approvals.as_ref().map(|a| crate::core::rules::Approvals {
                count: u32::try_from(a.count).ok().filter(|count| *count > 0).unwrap_or(u32::MAX),
                distinct_from_requester: a.distinct_from_requester,
            }),
        })
    }
}
