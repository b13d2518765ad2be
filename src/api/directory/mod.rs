//! `Directory`: a connection to a directory, and the rules for resets in it.
mod provider;
mod rules;
mod status;

use std::collections::BTreeSet;

use kube::{CustomResource, KubeSchema, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::core::{directory::DirectoryFacts, rules as core_rules, text::is_object_name};
pub use provider::*;
pub use rules::*;
pub use status::*;

/// A directory whose users can be reset: the connection, the rules and the limits. Nothing is allowed unless a rule allows it.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug)]
#[kube(
    group = "credreset.dev",
    version = "v1alpha1",
    kind = "Directory",
    plural = "directories",
    status = "DirectoryStatus",
    shortname = "cdir",
    category = "credreset",
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Password", type_ = "string", json_path = ".status.guarantees.password"),
    printcolumn(name = "MFA", type_ = "string", json_path = ".status.guarantees.mfa"),
    printcolumn(name = "Suspended", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Identity", type_ = "string", json_path = ".status.identity", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1),
    validation = Rule::new("self.metadata.name.size() <= 63").message("a name may have at most 63 characters").field_path(".metadata.name"),
)]
#[serde(rename_all = "camelCase")]
pub struct DirectorySpec {
    /// The kind of directory, and how to connect to it.
    pub provider: ProviderSpec,
    /// Who may reset whom. The first rule that matches decides; if none matches, the request is refused.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub allow: Vec<AllowRule>,
    /// Users who are never reset, whatever the rules allow.
    #[serde(default)]
    pub protect: Protect,
    /// Limits of frequency and time.
    #[serde(default)]
    pub limits: Limits,
    /// Lets the operator mail new passwords itself where the directory cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<Mail>,
    /// Also end a lock-out by failed sign-ins, where the directory has lock-outs and a reset does not end them.
    #[serde(default = "crate::api::defaults::yes")]
    pub unlock: bool,
    /// While true, no reset starts, and no call whose reply was lost is sent again. Calls in flight complete.
    #[serde(default)]
    pub suspend: bool,
    /// Every request must say who asks, in spec.requestedBy. The admission policy compares that with who creates the request, unless that is
    /// a pipeline with the verb vouch.
    #[serde(default)]
    pub require_requested_by: bool,
}

impl DirectorySpec {
    /// Names of the groups in rules and protections.
    pub fn groups(&self) -> impl Iterator<Item = &String> {
        self.protect.groups.iter().chain(self.allow.iter().flat_map(|rule| &rule.users.groups))
    }
}

/// How the operator sends mail.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug)]
pub struct Mail {
    /// The mail server.
    pub smtp: Smtp,
}

/// A mail server.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Smtp {
    /// smtps://host[:port] (TLS from the start) or smtp://host[:port] (STARTTLS required; without TLS to loopback only).
    #[schemars(length(min = 1, max = 512), regex(pattern = "^smtps?://"))]
    pub url: String,
    /// Sender's address.
    #[schemars(length(min = 3, max = 320))]
    pub from: String,
    /// Secret in the operator's namespace, with keys username and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<SecretRef>,
    /// PEM certificates of the authority that signed the server's certificate, if that is not a public one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 262_144))]
    pub ca_bundle: Option<String>,
}

impl Directory {
    /// The Directory in the core's types, with what the operator's last check wrote to the status.
    #[must_use]
    pub fn facts(&self) -> DirectoryFacts {
        let settings = match self.settings() {
            Ok(settings) => settings,
            Err(wrong) => {
                return DirectoryFacts { not_ready: Some(wrong), ..DirectoryFacts::unusable(&self.name_any()) };
            }
        };
        let status = self.status.clone().unwrap_or_default();
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
        let not_ready = match ready {
            Some(ready) if Some(status.observed_generation) == self.metadata.generation => {
                (ready.status != "True").then(|| ready.message.clone())
            }
            _ => Some("the operator has not checked it yet.".to_owned()),
        };
        DirectoryFacts {
            identity: status.identity.unwrap_or_default(),
            supports: status.supports.into_iter().collect(),
            conditional: status.guarantees.map(|guarantees| guarantees.conditional()).unwrap_or_default(),
            not_ready,
            ..settings
        }
    }

    /// The Directory in the core's types, without facts that only a check of the directory has.
    ///
    /// # Errors
    /// A sentence fragment that names the invalid field.
    pub fn settings(&self) -> Result<DirectoryFacts, String> {
        let DirectorySpec { provider, allow, protect, limits, mail, unlock: _, suspend, require_requested_by } =
            &self.spec;
        let mail_secret = mail.as_ref().and_then(|mail| mail.smtp.credentials.as_ref());
        if !provider.credentials().into_iter().chain(mail_secret).all(|reference| is_object_name(&reference.secret)) {
            return Err("spec: credentials.secret must be a valid name of a Secret".to_owned());
        }
        let field = |name: &str, text: &str| super::duration(text).map_err(|e| format!("spec.{name}: {e}"));
        Ok(DirectoryFacts {
            name: self.name_any(),
            identity: String::new(),
            kind: provider.kind().to_owned(),
            suspend: *suspend,
            require_requested_by: *require_requested_by,
            not_ready: None,
            supports: BTreeSet::new(),
            conditional: BTreeSet::new(),
            separate_calls: crate::core::call::AfterReset::default(),
            not_ended: None,
            policy: crate::core::request::Policy::default(),
            allow: allow.iter().map(AllowRule::settings).collect::<Result<_, _>>()?,
            protect: core_rules::Protect {
                users: protect.users.clone(),
                groups: protect.groups.clone(),
                administrators: protect.administrators,
            },
            limits: core_rules::Limits {
                resets_per_hour: u32::try_from(limits.resets_per_hour).unwrap_or(0),
                min_interval_per_user: field("limits.minIntervalPerUser", &limits.min_interval_per_user)?,
                request_timeout: field("limits.requestTimeout", &limits.request_timeout)?,
            },
            mail: mail.is_some(),
            mail_trouble: None,
        })
    }
}
