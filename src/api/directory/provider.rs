//! Settings of each kind of directory: server, credentials and calls.
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::core::text::OBJECT_NAME;

/// Exactly one kind of directory.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::large_enum_variant, reason = "there are few of them")]
pub enum ProviderSpec {
    /// Zoho Directory.
    Zoho(Zoho),
    /// A realm of Keycloak.
    Keycloak(Keycloak),
    /// OpenLDAP, with or without overlay ppolicy.
    #[serde(rename = "openLDAP")]
    OpenLdap(OpenLdap),
    /// Active Directory, or Samba as its domain controller.
    ActiveDirectory(ActiveDirectory),
}

impl ProviderSpec {
    /// The product name of this kind of directory.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Zoho(_) => "Zoho Directory",
            Self::Keycloak(_) => "Keycloak",
            Self::OpenLdap(_) => "OpenLDAP",
            Self::ActiveDirectory(_) => "Active Directory",
        }
    }

    /// Whether the directory reports what the operator's account may do. With LDAP that is known only after an attempt.
    #[must_use]
    pub fn reports_permissions(&self) -> bool {
        match self {
            Self::Zoho(_) | Self::Keycloak(_) => true,
            Self::OpenLdap(_) | Self::ActiveDirectory(_) => false,
        }
    }

    /// The Secret with the operator's credentials. `None`: it signs in with its workload identity.
    #[must_use]
    pub fn credentials(&self) -> Option<&SecretRef> {
        match self {
            Self::Zoho(zoho) => Some(&zoho.credentials),
            Self::Keycloak(keycloak) => keycloak.credentials.as_ref(),
            Self::OpenLdap(openldap) => Some(&openldap.ldap.credentials),
            Self::ActiveDirectory(active_directory) => Some(&active_directory.ldap.credentials),
        }
    }
}

/// A realm of Keycloak 26. The operator signs in as the service account of a client.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.credentials) != has(self.workloadIdentity)").message("set exactly one of credentials and workloadIdentity"),
)]
pub struct Keycloak {
    /// URL of the server, with its path if it has one; https, or http to loopback.
    #[schemars(length(min = 1, max = 512))]
    pub url: String,
    /// Name of the realm.
    #[schemars(length(min = 1, max = 255))]
    pub realm: String,
    /// Secret with client-id and client-secret of the client, and sign-in-client-secret if signInClient needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<SecretRef>,
    /// Instead of a Secret: the operator signs in with a token of its own ServiceAccount, which the realm trusts. A signInClient is a public
    /// one then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_identity: Option<WorkloadIdentity>,
    /// A client with direct access grants. If a reply is lost, the operator signs in through it once with the new password, to find out
    /// whether the reset took effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub sign_in_client: Option<String>,
    /// PEM certificates of the authority that signed the server's certificate, if that is not a public one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 262_144))]
    pub ca_bundle: Option<String>,
}

/// A client that signs in with a token of the operator's ServiceAccount. The directory must trust the cluster's issuer of tokens.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadIdentity {
    /// Id of the client.
    #[serde(rename = "clientID")]
    #[schemars(length(min = 1, max = 255))]
    pub client_id: String,
    /// Whom the token is for: the issuer of the realm, if that has another address than url and realm give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = "^[!-~]+$"))]
    pub audience: Option<String>,
}

/// Connection to a directory with LDAP.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Ldap {
    /// URLs of its servers, each of one server: ldaps://host[:port], or ldap://host[:port] with startTLS (without TLS to loopback only).
    /// The operator tries them in this order.
    #[schemars(length(min = 1, max = 16), inner(length(max = 512)))]
    pub urls: Vec<String>,
    /// Start TLS on connections to ldap:// before anything else is sent.
    #[serde(default, rename = "startTLS", skip_serializing_if = "std::ops::Not::not")]
    pub start_tls: bool,
    /// Entry below which users are searched.
    #[serde(rename = "baseDN")]
    #[schemars(length(min = 1, max = 1024))]
    pub base_dn: String,
    /// Secret with bind-dn and bind-password of the operator's account.
    pub credentials: SecretRef,
    /// PEM certificates of the authority that signed the servers' certificates, if that is not a public one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 262_144))]
    pub ca_bundle: Option<String>,
    /// The operator may sign in once as the user with the new password, if nothing else shows whether a call took effect. A wrong password
    /// counts towards a lock-out.
    #[serde(default = "crate::api::defaults::yes")]
    pub sign_in: bool,
}

/// OpenLDAP. No overlay is required, but without ppolicy users cannot be made to choose another password.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct OpenLdap {
    /// The connection.
    #[serde(flatten)]
    pub ldap: Ldap,
    /// Filter that matches users. Default: (objectClass=inetOrgPerson).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 1024))]
    pub user_filter: Option<String>,
    /// Entry below which groups are searched. Default: the whole directory.
    #[serde(default, rename = "groupsBaseDN", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub groups_base_dn: Option<String>,
    /// Who hashes passwords. Server: the server, which stores them unhashed unless overlay ppolicy has ppolicy_hash_cleartext. SSHA: the
    /// operator (RFC 2307). Default: Server.
    #[serde(default)]
    pub hash: Hash,
    /// Filter that matches users whose password is elsewhere, such as behind a userPassword of {SASL}; they are not reset here. The
    /// operator's account must be allowed to search by its attributes. Default: no user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 1024))]
    pub federated_filter: Option<String>,
    /// Object classes with passwords of their own whose users are reset all the same. A reset does not change those passwords, such as the
    /// hash of the old password for Samba. Default: users with such a class are refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub leave_other_passwords: Vec<OtherPasswords>,
}

/// An object class that keeps a password, or data of a password, outside userPassword.
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

/// Who hashes passwords.
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
    /// The connection.
    #[serde(flatten)]
    pub ldap: Ldap,
}

/// Zoho Directory. The default calls are those that Zoho documents; templates define other calls.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.dataCenter) != has(self.urls)").message("set exactly one of dataCenter and urls"),
    validation = Rule::new("!(has(self.resetPassword) && has(self.resetPasswordFields))").message("resetPasswordFields applies to the default call: remove it, or resetPassword"),
)]
pub struct Zoho {
    /// Zoho's data center: us, eu, in, au, cn, jp, ca, sa, uk or ae.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_center: Option<DataCenter>,
    /// URLs instead of a data center.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urls: Option<ZohoUrls>,
    /// Id of the organization in Zoho Directory, digits.
    #[schemars(length(min = 1, max = 32), regex(pattern = "^[0-9]+$"))]
    pub organization: String,
    /// Id of the organization in Zoho Mail's administration (zoid), digits. The default calls need it, and the check for administrators.
    #[schemars(length(min = 1, max = 32), regex(pattern = "^[0-9]+$"))]
    pub zoid: String,
    /// Secret with the OAuth client and refresh token.
    pub credentials: SecretRef,
    /// The call that sets a password. Default: Zoho Mail's documented `resetPassword`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_password: Option<Template>,
    /// Additional fields of the default call, from a superseded copy of Zoho Mail's page. OlderPage: zuid, oneTimePassword, resetAuthtoken.
    /// OldestPage: zuid, resetAuthtoken, adminPassword (key admin-password of the Secret). Whether Zoho still accepts them must be tried.
    /// Default: only mode and password, the fields of today's page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_password_fields: Option<ResetPasswordFields>,
    /// The call that resets MFA. Default: Zoho Mail's documented `updateTFAStatus`, which turns MFA off.
    #[serde(default, rename = "resetMFA", skip_serializing_if = "Option::is_none")]
    pub reset_mfa: Option<Template>,
    /// Additional fields in look-ups.
    #[serde(default)]
    pub look_up: LookUp,
    /// PEM certificates of the authority that signed the server's certificate, if that is not a public one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 262_144))]
    pub ca_bundle: Option<String>,
}

/// Superseded copies of Zoho Mail's page *Reset User Password*.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "a text on a variant would turn the schema's enum into oneOf")]
pub enum ResetPasswordFields {
    OlderPage,
    OldestPage,
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

/// URLs of Zoho's services; https, or http to loopback.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ZohoUrls {
    /// The accounts server, which issues tokens.
    #[schemars(length(min = 1, max = 512))]
    pub accounts: String,
    /// The API, for look-ups.
    #[schemars(length(min = 1, max = 512))]
    pub api: String,
    /// The administration of Zoho Mail.
    #[schemars(length(min = 1, max = 512))]
    pub mail: String,
}

/// A Secret in the operator's namespace.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    /// Name of the Secret. Its keys for Zoho: client-id, client-secret, refresh-token and optionally admin-password; for Keycloak:
    /// client-id and client-secret; for LDAP: bind-dn and bind-password.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT_NAME))]
    pub secret: String,
}

/// A call that the Directory defines itself.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug)]
pub struct Template {
    /// HTTP method: PUT, POST or PATCH.
    pub method: Method,
    /// Path on the API server, with placeholders such as ${organization} and ${user.id}.
    #[schemars(length(min = 1, max = 512), regex(pattern = "^/"))]
    pub path: String,
    /// JSON body. A string that is exactly one placeholder gets the type of its value: "${forceChangeOnLogin}" becomes true or false. The
    /// Directory supports a flag of requests if its placeholder is here.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-preserve-unknown-fields" = true, "type" = "object"))]
    pub body: serde_json::Value,
}

/// HTTP methods of calls.
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

/// Fields that Zoho does not document, if the look-ups of this organization have them.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "camelCase")]
pub struct LookUp {
    /// Field with the time of the last password change (milliseconds since 1970, or RFC 3339). With it, the operator can find out whether a
    /// call whose reply was lost took effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub password_changed_at: Option<String>,
    /// Field with the time of the last MFA change, in the same formats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub mfa_changed_at: Option<String>,
}
