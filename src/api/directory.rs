//! `Directory`: a connection, who may reset whom through it, and how often.
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reset::ResetMode;
use crate::core::{
    request::Mode,
    text::{OBJECT_NAME, is_object_name},
    world::{self, Feature, Guarantee},
};

/// A directory whose users may be reset: the connection, who may reset whom, and how often. Nothing is allowed until a rule
/// allows it.
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
    /// What kind of directory, and how to reach it.
    pub provider: Provider,
    /// Who may reset whom. The first rule that matches decides; where none does, nothing is allowed.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub allow: Vec<AllowRule>,
    /// Who is never reset, whatever the rules say.
    #[serde(default)]
    pub protect: Protect,
    /// How often.
    #[serde(default)]
    pub limits: Limits,
    /// Lets the operator mail the new password itself where the directory cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<Mail>,
    /// A reset ends a lock-out by failed sign-ins, too, where the directory keeps one and does not end it by itself.
    #[serde(default = "yes")]
    pub unlock: bool,
    /// Nothing is started while this is true, and no call whose answer was lost is sent again; calls under way end.
    #[serde(default)]
    pub suspend: bool,
}

impl DirectorySpec {
    /// Names of groups that rules and protections are about.
    pub fn groups(&self) -> impl Iterator<Item = &String> {
        self.protect.groups.iter().chain(self.allow.iter().flat_map(|rule| &rule.users.groups))
    }
}

/// Exactly one kind of directory.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::large_enum_variant, reason = "there are few of them")]
pub enum Provider {
    /// Zoho Directory.
    Zoho(Zoho),
    /// A realm of Keycloak.
    Keycloak(Keycloak),
    /// An OpenLDAP server, with overlay ppolicy or without it.
    #[serde(rename = "openLDAP")]
    OpenLdap(OpenLdap),
    /// Active Directory, or Samba as its domain controller.
    ActiveDirectory(ActiveDirectory),
}

impl Provider {
    /// What people call this kind of directory.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Zoho(_) => "Zoho Directory",
            Self::Keycloak(_) => "Keycloak",
            Self::OpenLdap(_) => "OpenLDAP",
            Self::ActiveDirectory(_) => "Active Directory",
        }
    }

    /// Whether it tells what the operator's account may do there. LDAP tells with an attempt alone.
    #[must_use]
    pub fn tells_rights(&self) -> bool {
        match self {
            Self::Zoho(_) | Self::Keycloak(_) => true,
            Self::OpenLdap(_) | Self::ActiveDirectory(_) => false,
        }
    }

    /// The Secret that it signs in with.
    #[must_use]
    pub fn credentials(&self) -> &SecretRef {
        match self {
            Self::Zoho(zoho) => &zoho.credentials,
            Self::Keycloak(keycloak) => &keycloak.credentials,
            Self::OpenLdap(openldap) => &openldap.ldap.credentials,
            Self::ActiveDirectory(active_directory) => &active_directory.ldap.credentials,
        }
    }
}

/// A realm of Keycloak 26. The operator signs in as the service account of a client.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Keycloak {
    /// Address of the server, with the path it is served under, if any; https, or http to loopback.
    #[schemars(length(min = 1, max = 512))]
    pub url: String,
    /// The realm whose users are reset.
    #[schemars(length(min = 1, max = 255))]
    pub realm: String,
    /// client-id and client-secret of the client; sign-in-client-secret where signInClient needs one.
    pub credentials: SecretRef,
    /// A client with direct access grants, through which a lost answer may be cleared up by signing in with the new password,
    /// once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub sign_in_client: Option<String>,
    /// PEM certificates of the authority that signed the server's, if no public one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 262_144))]
    pub ca_bundle: Option<String>,
}

/// How to reach a directory that speaks LDAP.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Ldap {
    /// Addresses of its servers, each of one server: ldaps://host[:port], or ldap://host[:port] with startTLS (in clear to
    /// loopback only). They are tried in this order.
    #[schemars(length(min = 1, max = 16), inner(length(max = 512)))]
    pub urls: Vec<String>,
    /// Turn connections to ldap:// into encrypted ones before anything else is said.
    #[serde(default, rename = "startTLS", skip_serializing_if = "std::ops::Not::not")]
    pub start_tls: bool,
    /// Users are looked for under this entry.
    #[serde(rename = "baseDN")]
    #[schemars(length(min = 1, max = 1024))]
    pub base_dn: String,
    /// bind-dn and bind-password of the operator's account.
    pub credentials: SecretRef,
    /// PEM certificates of the authority that signed the servers', if no public one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 262_144))]
    pub ca_bundle: Option<String>,
    /// Where nothing else tells whether a call took effect, the operator may sign in as the user with the new password, once. A
    /// wrong password counts towards a lock-out.
    #[serde(default = "yes")]
    pub sign_in: bool,
}

/// OpenLDAP. The operator needs no overlay, but without ppolicy a user cannot be made to choose another password.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct OpenLdap {
    /// Servers and account.
    #[serde(flatten)]
    pub ldap: Ldap,
    /// Entries that are no users do not fit. Left out: (objectClass=inetOrgPerson).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 1024))]
    pub user_filter: Option<String>,
    /// Groups are looked for under this entry. Left out: the whole directory.
    #[serde(default, rename = "groupsBaseDN", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub groups_base_dn: Option<String>,
    /// Who makes a hash of the password: the Server, which keeps one as it is sent unless overlay ppolicy has
    /// ppolicy_hash_cleartext, or the operator with SSHA (RFC 2307). Left out: Server.
    #[serde(default)]
    pub hash: Hash,
    /// Users who fit it have their password elsewhere, such as behind a userPassword of {SASL}, and are not reset here. The operator's
    /// account must be able to search by what it names. Left out: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 1024))]
    pub federated_filter: Option<String>,
    /// Object classes that keep passwords of their own in a user's entry, and whose users are reset all the same: what they keep stays
    /// as it is, such as the old password's hash for Samba. Left out: users of such a class are refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub leave_other_passwords: Vec<OtherPasswords>,
}

/// An object class that keeps a password, or something that goes with one, beside userPassword.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "a text on a variant would turn the schema's enum into oneOf")]
pub enum OtherPasswords {
    SambaSamAccount,
    ShadowAccount,
    KrbPrincipalAux,
    #[serde(rename = "krb5KDCEntry")]
    Krb5KdcEntry,
}

/// Who makes a hash of a password.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(
    missing_docs,
    clippy::upper_case_acronyms,
    reason = "a text on a variant would turn the schema's enum into oneOf"
)]
pub enum Hash {
    #[default]
    Server,
    SSHA,
}

/// Active Directory, or Samba as its domain controller.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug)]
pub struct ActiveDirectory {
    /// Servers and account.
    #[serde(flatten)]
    pub ldap: Ldap,
}

/// Zoho Directory. What Zoho documents is the default; other calls are wired with templates.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.dataCenter) != has(self.urls)").message("give exactly one of dataCenter and urls"))]
pub struct Zoho {
    /// Zoho's data center: us, eu, in, au, cn, jp, ca, sa, uk or ae.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_center: Option<DataCenter>,
    /// Addresses instead of a data center.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urls: Option<ZohoUrls>,
    /// Id of the organization in Zoho Directory, digits.
    #[schemars(length(min = 1, max = 32), regex(pattern = "^[0-9]+$"))]
    pub organization: String,
    /// Id of the organization in Zoho Mail's administration (zoid), digits: for the documented default calls, and to see who
    /// is an administrator.
    #[schemars(length(min = 1, max = 32), regex(pattern = "^[0-9]+$"))]
    pub zoid: String,
    /// The OAuth client and refresh token.
    pub credentials: SecretRef,
    /// How a password is set. Left out: Zoho Mail's documented `resetPassword`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_password: Option<Template>,
    /// How MFA is reset. Left out: Zoho Mail's documented `updateTFAStatus`, which turns MFA off.
    #[serde(default, rename = "resetMFA", skip_serializing_if = "Option::is_none")]
    pub reset_mfa: Option<Template>,
    /// What else a look-up shows.
    #[serde(default)]
    pub look_up: LookUp,
    /// PEM certificates of the authority that signed the server's, if no public one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 262_144))]
    pub ca_bundle: Option<String>,
}

/// Zoho's data centers.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "a text on a variant would turn the schema's enum into oneOf")]
pub enum DataCenter {
    Us,
    Eu,
    In,
    Au,
    Cn,
    Jp,
    Ca,
    Sa,
    Uk,
    Ae,
}

/// Addresses of Zoho's services; https, or http to loopback.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ZohoUrls {
    /// Of the accounts server, which gives tokens.
    #[schemars(length(min = 1, max = 512))]
    pub accounts: String,
    /// Of the API, which looks users up.
    #[schemars(length(min = 1, max = 512))]
    pub api: String,
    /// Of Mail's administration.
    #[schemars(length(min = 1, max = 512))]
    pub mail: String,
}

/// A Secret in the operator's namespace.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    /// Its name. For Zoho it holds client-id, client-secret, refresh-token and optionally admin-password; for Keycloak client-id
    /// and client-secret; for LDAP bind-dn and bind-password.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub secret: String,
}

/// A call that a team wires itself.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug)]
pub struct Template {
    /// PUT, POST or PATCH.
    pub method: Method,
    /// Path on the API server, with placeholders such as ${organization} and ${user.id}.
    #[schemars(length(min = 1, max = 512), regex(pattern = "^/"))]
    pub path: String,
    /// JSON. A string that is exactly one placeholder takes its JSON type: "${forceChangeOnLogin}" becomes true or false. A
    /// flag is supported exactly if its placeholder is here.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-preserve-unknown-fields" = true, "type" = "object"))]
    pub body: serde_json::Value,
}

/// HTTP methods that change something.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    missing_docs,
    clippy::upper_case_acronyms,
    reason = "a text on a variant would turn the schema's enum into oneOf"
)]
pub enum Method {
    PUT,
    POST,
    PATCH,
}

/// Fields of the look-up that Zoho does not document, if this organization's look-up shows them.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "camelCase")]
pub struct LookUp {
    /// Field with the time of the last change of the password (milliseconds since 1970, or RFC 3339). It makes lost answers
    /// provable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub password_changed_at: Option<String>,
    /// Field with the time of the last change of MFA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub mfa_changed_at: Option<String>,
}

/// Who may reset whom.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.namespaces) || has(self.namespaceSelector)").message("say for which namespaces: namespaces or namespaceSelector"),
    validation = Rule::new("!has(self.maxValidFor) || duration(self.maxValidFor) <= duration('168h')").message("maxValidFor is at most 168h"),
)]
pub struct AllowRule {
    /// Name of the rule, for messages.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Requests from these namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 63)))]
    pub namespaces: Vec<String>,
    /// Requests from namespaces with these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<Selector>,
    /// For these modes: Password, MFA.
    #[schemars(length(min = 1, max = 2))]
    pub modes: Vec<ResetMode>,
    /// For these users.
    pub users: Users,
    /// At most this long between requestedAt and the request's deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 16), regex(pattern = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"))]
    pub max_valid_for: Option<String>,
    /// Approvals in the cluster (CredentialResetApproval) that a request needs besides. It waits for them until its deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Approvals>,
}

/// Approvals that a request needs.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Approvals {
    /// How many people have to approve.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 8))]
    pub count: i32,
    /// Who asked does not count as one of them. Requests then need spec.requestedBy.
    #[serde(default = "yes")]
    pub distinct_from_requester: bool,
}

/// A label selector.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// All of these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub match_labels: BTreeMap<String, String>,
    /// And all of these requirements.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub match_expressions: Vec<Expression>,
}

/// A requirement of a label selector.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug)]
pub struct Expression {
    /// The label that is compared.
    #[schemars(length(max = 317))]
    pub key: String,
    /// In, NotIn, Exists or DoesNotExist.
    #[schemars(with = "String", extend("enum" = ["In", "NotIn", "Exists", "DoesNotExist"]))]
    pub operator: world::Operator,
    /// The values for In and NotIn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// Which users. All that are given must match.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.emailDomains) || has(self.groups) || (has(self.everyone) && self.everyone)").message("say which users: emailDomains, groups, or everyone: true"))]
pub struct Users {
    /// With a primary e-mail address in one of these domains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 253)))]
    pub email_domains: Vec<String>,
    /// In one of these groups of the directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 1024)))]
    pub groups: Vec<String>,
    /// Everyone, said aloud.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub everyone: bool,
}

/// Who is never reset. The operator's own account never is.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase", default)]
pub struct Protect {
    /// By id, which stays when names change; or by name or e-mail address, in any case and any form of the characters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 1024)))]
    pub users: Vec<String>,
    /// By group of the directory.
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

/// How often a Directory may be used.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("duration(self.minIntervalPerUser) <= duration('1h')").message("minIntervalPerUser is at most 1h"),
    validation = Rule::new("duration(self.requestTimeout) >= duration('1s') && duration(self.requestTimeout) <= duration('2m')").message("requestTimeout is 1s to 2m"),
)]
pub struct Limits {
    /// Resets that may be started within any hour, over all requests.
    #[serde(default = "twenty")]
    #[schemars(range(min = 1, max = 100_000))]
    pub resets_per_hour: i32,
    /// Between two resets of one user, at most 1h.
    #[serde(default = "five_minutes")]
    #[schemars(length(min = 2, max = 16), regex(pattern = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"))]
    pub min_interval_per_user: String,
    /// For one call to the directory, 1s to 2m.
    #[serde(default = "fifteen_seconds")]
    #[schemars(length(min = 2, max = 16), regex(pattern = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"))]
    pub request_timeout: String,
}

impl Default for Limits {
    fn default() -> Self {
        Self { resets_per_hour: twenty(), min_interval_per_user: five_minutes(), request_timeout: fifteen_seconds() }
    }
}

fn yes() -> bool {
    true
}
fn one() -> i32 {
    1
}
fn twenty() -> i32 {
    20
}
fn five_minutes() -> String {
    "5m".to_owned()
}
fn fifteen_seconds() -> String {
    "15s".to_owned()
}

/// How the operator sends mail.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug)]
pub struct Mail {
    /// A mail server.
    pub smtp: Smtp,
}

/// A mail server.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Smtp {
    /// smtps://host[:port] (TLS from the start) or smtp://host[:port] (STARTTLS required; in clear to loopback only).
    #[schemars(length(min = 1, max = 512), regex(pattern = "^smtps?://"))]
    pub url: String,
    /// Sender's address.
    #[schemars(length(min = 3, max = 320))]
    pub from: String,
    /// Secret in the operator's namespace with username and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<SecretRef>,
    /// PEM certificates of the authority that signed the server's, if no public one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 262_144))]
    pub ca_bundle: Option<String>,
}

fn unseen() -> i64 {
    -1
}

/// What the operator knows of the directory.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct DirectoryStatus {
    /// The generation that the status is about; -1 until the operator has seen the object.
    #[serde(default = "unseen")]
    pub observed_generation: i64,
    /// The directory's own identity: renaming the object changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// How much of "exactly once" the directory allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guarantees: Option<Guarantees>,
    /// What can be asked of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub supports: Vec<Feature>,
    /// The administrator's password that the directory has refused: nothing is sent with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// Ready, with reason Connected, Unreachable, CredentialsRefused, PermissionMissing or InvalidConfiguration. IdentityShared, with
    /// reason SameIdentity, while another Directory leads to the same directory. CallsRefused, with reason Denied, while the directory
    /// refuses resets though the check finds nothing wrong.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Credentials that were refused.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// The directory's error code.
    pub code: String,
    /// resourceVersion of the Secret. When the Secret has another, the password is tried again.
    pub secret_version: String,
}

/// ExactlyOnce: a lost answer costs nothing. Provable: it can mostly be cleared up. AtMostOnce: it leaves the outcome unknown.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarantees {
    /// How it is for passwords.
    #[schemars(with = "String")]
    pub password: Guarantee,
    /// How it is for MFA. Absent: the directory has none that could be reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub mfa: Option<Guarantee>,
}

impl Guarantees {
    /// Modes whose call is carried out only if what it changes is as it was before.
    #[must_use]
    pub fn conditional(&self) -> BTreeSet<Mode> {
        let all = [(Mode::Password, Some(self.password)), (Mode::MFA, self.mfa)];
        all.into_iter().filter(|(_, how)| *how == Some(Guarantee::ExactlyOnce)).map(|(mode, _)| mode).collect()
    }
}

impl Directory {
    /// The Directory in the core's terms, as the operator's status tells.
    #[must_use]
    pub fn known(&self) -> world::Directory {
        let said = match self.settings() {
            Ok(said) => said,
            Err(wrong) => {
                return world::Directory { not_ready: Some(wrong), ..world::Directory::unusable(&self.name_any()) };
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
        world::Directory {
            identity: status.identity.unwrap_or_default(),
            supports: status.supports.into_iter().collect(),
            conditional: status.guarantees.map(|guarantees| guarantees.conditional()).unwrap_or_default(),
            not_ready,
            ..said
        }
    }

    /// The Directory in the core's terms, as far as the object itself tells.
    ///
    /// # Errors
    /// Says which field is wrong.
    pub fn settings(&self) -> Result<world::Directory, String> {
        let DirectorySpec { provider, allow, protect, limits, mail, unlock: _, suspend } = &self.spec;
        let mail_secret = mail.as_ref().and_then(|mail| mail.smtp.credentials.as_ref());
        if !std::iter::once(provider.credentials())
            .chain(mail_secret)
            .all(|reference| is_object_name(&reference.secret))
        {
            return Err("spec: credentials.secret must be a name that a Secret can have".to_owned());
        }
        let field = |name: &str, text: &str| super::duration(text).map_err(|e| format!("spec.{name}: {e}"));
        Ok(world::Directory {
            name: self.name_any(),
            identity: String::new(),
            kind: provider.kind().to_owned(),
            suspend: *suspend,
            not_ready: None,
            supports: BTreeSet::new(),
            conditional: BTreeSet::new(),
            apart: crate::core::plan::CleanUp::default(),
            remains: None,
            policy: crate::core::request::Policy::default(),
            allow: allow.iter().map(AllowRule::settings).collect::<Result<_, _>>()?,
            protect: world::Protect {
                users: protect.users.clone(),
                groups: protect.groups.clone(),
                administrators: protect.administrators,
            },
            limits: world::Limits {
                resets_per_hour: u32::try_from(limits.resets_per_hour).unwrap_or(0),
                min_interval_per_user: field("limits.minIntervalPerUser", &limits.min_interval_per_user)?,
                request_timeout: field("limits.requestTimeout", &limits.request_timeout)?,
            },
            mail: mail.is_some(),
            mail_trouble: None,
        })
    }
}

impl AllowRule {
    fn settings(&self) -> Result<world::Rule, String> {
        let Self { name, namespaces, namespace_selector, modes, users, max_valid_for, approvals } = self;
        Ok(world::Rule {
            name: name.clone(),
            namespaces: namespaces.clone(),
            namespace_selector: namespace_selector.as_ref().map(|s| world::Selector {
                match_labels: s.match_labels.clone(),
                match_expressions: s
                    .match_expressions
                    .iter()
                    .map(|e| world::Expression { key: e.key.clone(), operator: e.operator, values: e.values.clone() })
                    .collect(),
            }),
            modes: modes.iter().map(|m| (*m).into()).collect(),
            users: world::Users {
                email_domains: users.email_domains.clone(),
                groups: users.groups.clone(),
                everyone: users.everyone,
            },
            max_valid_for: match max_valid_for {
                Some(text) => {
                    Some(super::duration(text).map_err(|e| format!("spec.allow of {name}: maxValidFor: {e}"))?)
                }
                None => None,
            },
            // A count that makes no sense is one that nobody can reach.
            approvals: approvals.as_ref().map(|a| crate::core::approvals::Approvals {
                count: u32::try_from(a.count).ok().filter(|count| *count > 0).unwrap_or(u32::MAX),
                distinct_from_requester: a.distinct_from_requester,
            }),
        })
    }
}
