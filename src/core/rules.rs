//! The policy of a Directory object: rules, protected users and limits.
use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::request::Mode;

/// One rule of a Directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Its name, for messages.
    pub name: String,
    /// It allows requests from these namespaces.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// It allows requests from namespaces that this selector matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<Selector>,
    /// The modes that it allows.
    pub modes: Vec<Mode>,
    /// The users that it allows to be reset.
    pub users: Users,
    /// The longest `validFor` that it allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_valid_for: Option<SignedDuration>,
    /// The approvals that it requires in the cluster, in addition to any earlier review.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Approvals>,
}

/// A label selector as Kubernetes defines it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// All of these labels.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
    /// And all of these requirements.
    #[serde(default)]
    pub match_expressions: Vec<Expression>,
}

/// A requirement of a label selector.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Expression {
    /// The label.
    pub key: String,
    /// How the label is compared.
    pub operator: Operator,
    /// The values to compare with.
    #[serde(default)]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Operator {
    /// One of the values.
    In,
    /// None of the values.
    NotIn,
    /// Present.
    Exists,
    /// Not present.
    DoesNotExist,
}

impl Selector {
    /// Whether `labels` meet all requirements.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|e| {
                let value = labels.get(&e.key);
                match e.operator {
                    Operator::In => value.is_some_and(|v| e.values.contains(v)),
                    Operator::NotIn => value.is_none_or(|v| !e.values.contains(v)),
                    Operator::Exists => value.is_some(),
                    Operator::DoesNotExist => value.is_none(),
                }
            })
    }
}

/// Which users a rule is about. All fields that are set must match. If none is set, no user matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Users {
    /// Domains of the primary e-mail address.
    #[serde(default)]
    pub email_domains: Vec<String>,
    /// Groups, one of which the user must be in.
    #[serde(default)]
    pub groups: Vec<String>,
    /// All users.
    #[serde(default)]
    pub everyone: bool,
}

/// The approvals that a rule requires.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approvals {
    /// How many people have to approve.
    pub count: u32,
    /// The requester does not count as one of them.
    pub distinct_from_requester: bool,
}

/// The protected users.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Protect {
    /// By e-mail address, name or id.
    pub users: Vec<String>,
    /// By group.
    pub groups: Vec<String>,
    /// Administrators of the directory.
    pub administrators: bool,
}

impl Default for Protect {
    fn default() -> Self {
        Self { users: Vec::new(), groups: Vec::new(), administrators: true }
    }
}

/// How often resets may start through a Directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Attempts started within any hour.
    pub resets_per_hour: u32,
    /// Shortest time between two attempts at one user; at most an hour.
    pub min_interval_per_user: SignedDuration,
    /// Time limit for one call to the directory.
    pub request_timeout: SignedDuration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            resets_per_hour: 20,
            min_interval_per_user: SignedDuration::from_mins(5),
            request_timeout: SignedDuration::from_secs(15),
        }
    }
}
