//! What LDAP directories share (RFC 4511): one strict client, and what a failed operation means.
//!
//! Several servers are tried in order. What a conditional call found at one of them need not be known to the others yet, so the
//! call goes to that very server; see [`fence`].
pub mod fence;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    fmt::Write as _,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use ldap3::{
    Ldap, LdapConnAsync, LdapConnSettings, LdapError, LdapResult, Mod, Scope, SearchEntry, SearchOptions,
    controls::RawControl,
};
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_platform_verifier::{BuilderVerifierExt, Verifier};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;
use url::Url;

use super::{Credentials, NotReady, http};
use crate::{
    api::directory::{DirectorySpec, Ldap as Settings},
    core::{ledger::Reply, text, world::Why},
};

/// The password policy control (draft-behera-ldap-password-policy-10, section 6).
pub const PASSWORD_POLICY: &str = "1.3.6.1.4.1.42.2.27.8.5.1";

/// More entries than any look-up of one user, or of the groups of one, should find.
const MOST: i32 = 10_000;
/// A connection is not used for longer: what an administrator changes at the account, or at the order of servers, takes effect.
const OLDEST: Duration = Duration::from_secs(300);

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// No connection could be made, so nothing was sent.
    #[error("no connection could be made (name, network or certificate)")]
    NoConnection,
    /// The server refuses the operator's own account.
    #[error("the server refuses the bind of the operator's account with {0}")]
    Refused(Code),
    /// It was sent, at least in part, and no answer came that could be read.
    #[error("the connection broke or no answer came in time")]
    Broken,
    /// It was answered with an error.
    #[error("the server answered with {0}")]
    Answered(Code),
}

impl Failed {
    /// The reason why a fact could not be read.
    #[must_use]
    pub fn why(&self) -> Why {
        Why::new(format!("the directory gave no answer that could be used: {self}."))
    }

    /// What it means for a call that could not be sent because of it.
    #[must_use]
    pub fn before_the_call(&self) -> Reply {
        match self {
            Self::Refused(_) => Reply::Denied,
            Self::NoConnection | Self::Broken | Self::Answered(_) => Reply::NotSent,
        }
    }
}

/// A result code, as it may be shown: its number and name (RFC 4511, appendix A), and what the server adds in a form of fixed
/// words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// The number.
    pub number: u32,
    /// Active Directory's own code, or the word of a password policy.
    pub detail: Option<String>,
}

impl Code {
    fn of(result: &LdapResult) -> Self {
        Self {
            number: result.rc,
            detail: policy_error(result).map(str::to_owned).or_else(|| windows_code(&result.text)),
        }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self.number {
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
        match &self.detail {
            Some(detail) => write!(f, ", {detail}"),
            None => Ok(()),
        }
    }
}

/// The server's answer to an operation that was sent.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its result code.
    pub code: Code,
    /// Its own words. Looked at, never shown.
    pub text: String,
    /// It came with the password policy control.
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
    /// The result code's number.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.code.number
    }

    /// What an error means for the call, wherever the two directories do not differ (protocol, section 6). A modify is one
    /// whole (RFC 4511, section 4.6): an error says that nothing was changed, unless the server itself is in trouble.
    #[must_use]
    pub fn reply(&self) -> Reply {
        match self.code.number {
            0 => Reply::Done,
            1 | 3 | 52 | 80 => Reply::Unsure,
            8 | 13 | 49 => Reply::Denied,
            32 => Reply::NoSuchUser,
            51 => Reply::Throttled { after: None },
            _ => Reply::Rejected { code: self.code.to_string() },
        }
    }
}

/// How to reach the servers of one directory.
pub struct Client {
    servers: Vec<Url>,
    settings: LdapConnSettings,
    bind_dn: String,
    password: SecretString,
    timeout: Duration,
    /// For a connection to one of them.
    patience: Duration,
    current: Mutex<Option<Connection>>,
    made: AtomicU64,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("servers", &self.servers).field("bind_dn", &self.bind_dn).finish_non_exhaustive()
    }
}

/// A connection on which the operator's account is bound.
#[derive(Clone)]
pub struct Connection {
    ldap: Ldap,
    /// Which server it leads to: the name that the server gives itself (Active Directory's `dnsHostName`), else its address.
    pub server: String,
    /// What the server says about itself.
    pub root: SearchEntry,
    /// The server applies a password policy: it says so in answer to the bind alone, since schema and root DSE name the policy
    /// as soon as its module is loaded.
    pub has_policy: bool,
    since: Instant,
    number: u64,
    timeout: Duration,
}

impl Client {
    /// Servers and account as the Directory says. `field` is where it says so. Sends nothing.
    ///
    /// # Errors
    /// Which field of the Directory or key of its Secret is wrong.
    pub fn new(field: &str, ldap: &Settings, credentials: &Credentials, timeout: Duration) -> Result<Self, String> {
        let servers = ldap.urls.iter().map(|url| server(field, url, ldap.start_tls)).collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(format!("{field}.urls must name a server"));
        }
        // Less than the whole: a connection that is never made must be told from an answer that never comes.
        let patience = timeout * 3 / 4 / u32::try_from(servers.len()).unwrap_or(u32::MAX);
        let secret = &ldap.credentials.secret;
        let key = |name: &str| {
            let value = credentials.get(name).filter(|value| !value.expose_secret().trim().is_empty());
            value.ok_or_else(|| format!("Secret {secret} has no key {name}, or it is empty"))
        };
        Ok(Self {
            servers,
            settings: LdapConnSettings::new()
                .set_starttls(ldap.start_tls)
                .set_conn_timeout(patience)
                .set_config(Arc::new(tls(ldap.ca_bundle.as_deref()).map_err(|e| format!("{field}: {e}"))?)),
            bind_dn: key("bind-dn")?.expose_secret().trim().to_owned(),
            // A line break at its end comes from the editor or shell that made the Secret.
            password: SecretString::from(key("bind-password")?.expose_secret().trim_end_matches(['\r', '\n'])),
            timeout,
            patience,
            current: Mutex::default(),
            made: AtomicU64::default(),
        })
    }

    /// The account that the operator uses.
    #[must_use]
    pub fn bind_dn(&self) -> &str {
        &self.bind_dn
    }

    /// A connection to the first server that there is one to.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn connection(&self) -> Result<Connection, Failed> {
        self.connect(|_| true).await
    }

    /// A connection to that very server.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn connection_to(&self, server: &str) -> Result<Connection, Failed> {
        self.connect(|name| name == server).await
    }

    /// The pooled one, if it is as wanted; else a new one, which takes its place.
    async fn connect(&self, wanted: impl Fn(&str) -> bool) -> Result<Connection, Failed> {
        let mut current = self.current.lock().await;
        if let Some(old) = current.as_mut()
            && !old.ldap.is_closed()
            && old.since.elapsed() < OLDEST
            && wanted(&old.server)
        {
            return Ok(old.clone());
        }
        *current = None;
        let mut failed = Failed::NoConnection;
        for url in &self.servers {
            match tokio::time::timeout(self.patience, self.bound(url)).await {
                Ok(Ok(connection)) if wanted(&connection.server) => {
                    *current = Some(connection.clone());
                    return Ok(connection);
                }
                Ok(Err(error @ Failed::Refused(_))) => failed = error,
                _ => {}
            }
        }
        Err(failed)
    }

    /// A new connection, bound as the operator's account.
    async fn bound(&self, url: &Url) -> Result<Connection, Failed> {
        let ldap = self.open(url).await?;
        let answer = self.bind(&ldap, &self.bind_dn, &self.password).await?;
        if answer.number() != 0 {
            return Err(Failed::Refused(answer.code));
        }
        let asked = ["dnsHostName", "defaultNamingContext", "namingContexts"];
        let mut handle = ldap.clone();
        let found = guarded(async move { handle.search("", Scope::Base, "(objectClass=*)", asked).await }).await?;
        let root = found.0.into_iter().next().map(SearchEntry::construct);
        let root = root.unwrap_or_else(|| SearchEntry {
            dn: String::new(),
            attrs: std::collections::HashMap::new(),
            bin_attrs: std::collections::HashMap::new(),
        });
        Ok(Connection {
            server: value(&root, "dnsHostName").map_or_else(|| address(url), str::to_lowercase),
            has_policy: answer.has_policy,
            since: Instant::now(),
            number: self.made.fetch_add(1, Ordering::Relaxed),
            timeout: self.timeout,
            ldap,
            root,
        })
    }

    /// A connection on which nobody is bound.
    async fn open(&self, url: &Url) -> Result<Ldap, Failed> {
        let (settings, url) = (self.settings.clone(), url.clone());
        let opened = guarded(async move {
            let (connection, ldap) = LdapConnAsync::from_url_with_settings(settings, &url).await?;
            // Ends with the last handle.
            tokio::spawn(async move { drop(connection.drive().await) });
            Ok(ldap)
        });
        opened.await.map_err(|_| Failed::NoConnection)
    }

    /// What `dn` is answered when it signs in on this connection.
    async fn bind(&self, ldap: &Ldap, dn: &str, password: &SecretString) -> Result<Answer, Failed> {
        let (mut ldap, timeout, dn, password) = (ldap.clone(), self.timeout, dn.to_owned(), password.clone());
        let bound = guarded(async move {
            let control = RawControl { ctype: PASSWORD_POLICY.to_owned(), crit: false, val: None };
            ldap.with_timeout(timeout).with_controls(control).simple_bind(&dn, password.expose_secret()).await
        });
        Ok(bound.await?.into())
    }

    /// What `dn` is answered when it signs in with `password`, at the first server that there is a connection to. The password is
    /// sent once: a wrong one counts towards a lock-out. `None`: no answer came.
    ///
    /// # Errors
    /// Why it was not sent.
    pub async fn sign_in(&self, dn: &str, password: &SecretString) -> Result<Option<Answer>, Why> {
        // Such a bind is anonymous, and succeeds for anybody (RFC 4513, section 5.1.2).
        if dn.is_empty() || password.expose_secret().is_empty() {
            return Ok(None);
        }
        for url in &self.servers {
            if let Ok(ldap) = self.open(url).await {
                return Ok(self.bind(&ldap, dn, password).await.ok());
            }
        }
        Err(Failed::NoConnection.why())
    }

    /// The connection is not used any more.
    async fn forget(&self, number: u64) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|c| c.number == number) {
            *current = None;
        }
    }

    /// Entries that fit, without those that are referred to elsewhere. What there is no base for has none.
    ///
    /// # Errors
    /// Why it could not be told.
    pub async fn search(
        &self,
        connection: &Connection,
        base: &str,
        scope: Scope,
        filter: &str,
        attributes: &[&'static str],
    ) -> Result<Vec<SearchEntry>, Failed> {
        let (mut ldap, timeout) = (connection.ldap.clone(), connection.timeout);
        let (base, filter, attributes) = (base.to_owned(), filter.to_owned(), attributes.to_vec());
        let seconds = i32::try_from(timeout.as_secs()).unwrap_or(i32::MAX);
        let found = guarded(async move {
            // Aliases and referrals are not followed.
            ldap.with_search_options(SearchOptions::new().sizelimit(MOST).timelimit(seconds));
            let all = ldap.with_timeout(timeout).search(&base, scope, &filter, attributes);
            // The limit above begins anew with every entry.
            tokio::time::timeout(timeout, all).await?
        });
        let found = match found.await {
            Ok(found) => found,
            Err(error) => {
                self.forget(connection.number).await;
                return Err(error);
            }
        };
        match found.1.rc {
            0 => Ok(found.0.into_iter().filter(|entry| !entry.is_ref()).map(SearchEntry::construct).collect()),
            32 => Ok(Vec::new()),
            _ => Err(Failed::Answered(Code::of(&found.1))),
        }
    }

    /// Changes an entry, once. [`Failed::NoConnection`] says that nothing was sent.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn modify(
        &self,
        connection: &Connection,
        dn: &str,
        changes: Vec<Mod<Vec<u8>>>,
        controls: Vec<RawControl>,
    ) -> Result<Answer, Failed> {
        let (mut ldap, timeout, dn) = (connection.ldap.clone(), connection.timeout, dn.to_owned());
        let done =
            guarded(async move { ldap.with_timeout(timeout).with_controls(controls).modify(&dn, changes).await });
        match done.await {
            Ok(result) => Ok(result.into()),
            Err(error) => {
                self.forget(connection.number).await;
                Err(error)
            }
        }
    }
}

/// For one operation.
///
/// # Errors
/// If the Directory says none.
pub fn timeout(spec: &DirectorySpec) -> Result<Duration, String> {
    let timeout =
        crate::api::duration(&spec.limits.request_timeout).map_err(|e| format!("spec.limits.requestTimeout: {e}"))?;
    Ok(Duration::try_from(timeout).unwrap_or_default())
}

/// What a failure says of the whole Directory.
#[must_use]
pub fn not_ready(failed: &Failed) -> NotReady {
    match failed {
        Failed::Refused(code) if matches!(code.number, 8 | 13) => NotReady::InvalidConfiguration(format!(
            "the server wants an encrypted connection before it lets anybody in ({code}): use ldaps://, or startTLS: true."
        )),
        Failed::Refused(code) => NotReady::CredentialsRefused(format!(
            "the server refuses bind-dn and bind-password with {code}: look at the account, and at its Secret."
        )),
        Failed::Answered(code) if matches!(code.number, 32 | 50) => {
            NotReady::PermissionMissing(format!("the operator's account may not look up users ({code})."))
        }
        _ => NotReady::Unreachable(format!("{failed}.")),
    }
}

/// In a task of its own: the library gives up with a panic on answers that are none, and that must end nothing but the operation.
async fn guarded<T: Send + 'static>(
    operation: impl Future<Output = Result<T, LdapError>> + Send + 'static,
) -> Result<T, Failed> {
    match tokio::spawn(operation).await {
        Ok(Ok(done)) => Ok(done),
        // The connection was over before the operation was handed to it.
        Ok(Err(LdapError::OpSend { .. })) => Err(Failed::NoConnection),
        Ok(Err(_)) | Err(_) => Err(Failed::Broken),
    }
}

/// An address of a server.
fn server(field: &str, text: &str, start_tls: bool) -> Result<Url, String> {
    let wrong = || format!("{field}.urls: {text:?} is not an address such as ldaps://host");
    let url = Url::parse(text).map_err(|_| wrong())?;
    let extra =
        !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some();
    if extra || url.host_str().is_none_or(str::is_empty) || !matches!(url.path(), "" | "/") {
        return Err(wrong());
    }
    match (url.scheme(), start_tls) {
        ("ldaps", false) | ("ldap", true) => Ok(url),
        ("ldaps", true) => {
            Err(format!("{field}: startTLS is for addresses that begin with ldap://, and {text:?} does not"))
        }
        ("ldap", false) if http::is_loopback(&url) => Ok(url),
        ("ldap", false) => Err(format!(
            "{field}.urls: {text:?} would show passwords to the network: use ldaps://, or set {field}.startTLS: true"
        )),
        _ => Err(wrong()),
    }
}

fn address(url: &Url) -> String {
    let port = url.port().unwrap_or(if url.scheme() == "ldaps" { 636 } else { 389 });
    format!("{}:{port}", url.host_str().unwrap_or_default().to_lowercase())
}

/// Trusts `ca_bundle` (PEM) besides the system's authorities.
fn tls(ca_bundle: Option<&str>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let unusable = || "the TLS set-up is not usable: no trusted certificate authorities were found".to_owned();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|_| unusable())?;
    let builder = match ca_bundle {
        None => builder.with_platform_verifier().map_err(|_| unusable())?,
        Some(pem) => {
            let unreadable = || "caBundle holds no PEM certificate that could be read".to_owned();
            let all: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
            let all = all.ok().filter(|all| !all.is_empty()).ok_or_else(unreadable)?;
            let verifier = Verifier::new_with_extra_roots(all, provider).map_err(|_| unreadable())?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    Ok(builder.with_no_client_auth())
}

/// The first value of an attribute. Names are compared as RFC 4512 says, without regard to case.
#[must_use]
pub fn value<'a>(entry: &'a SearchEntry, attribute: &str) -> Option<&'a str> {
    values(entry, attribute).next()
}

/// All values of an attribute that are text.
pub fn values<'a>(entry: &'a SearchEntry, attribute: &str) -> impl Iterator<Item = &'a str> {
    let found = entry.attrs.iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute));
    found.into_iter().flat_map(|(_, values)| values).map(String::as_str).filter(|value| !value.is_empty())
}

/// All values of an attribute as they are.
pub fn bytes<'a>(entry: &'a SearchEntry, attribute: &str) -> Vec<&'a [u8]> {
    let text = entry.attrs.iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute));
    let binary = entry.bin_attrs.iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute));
    let text = text.into_iter().flat_map(|(_, values)| values).map(String::as_bytes);
    text.chain(binary.into_iter().flat_map(|(_, values)| values).map(Vec::as_slice)).collect()
}

/// A filter: `attribute` is `value`, whatever that holds (RFC 4515, section 3).
#[must_use]
pub fn equals(attribute: &str, value: &str) -> String {
    format!("({attribute}={})", ldap3::ldap_escape(value))
}

/// The same for a value that is no text.
#[must_use]
pub fn equals_bytes(attribute: &str, value: &[u8]) -> String {
    let mut filter = format!("({attribute}=");
    for byte in value {
        let _ = write!(filter, "\\{byte:02x}");
    }
    filter + ")"
}

/// The end of the second that begins with `at`. A change is shown with its second alone, and must not be taken for one from before
/// a request that was made within it: another cluster may have carried that request out.
#[must_use]
pub fn end_of_second(at: Timestamp) -> Timestamp {
    at.saturating_add(SignedDuration::from_nanos(999_999_999)).unwrap_or(Timestamp::MAX)
}

/// Whether two distinguished names are the same, as far as that can be told without the schema: case and blanks around
/// separators do not matter.
#[must_use]
pub fn same_dn(one: &str, other: &str) -> bool {
    let plain = |dn: &str| {
        let parts = dn.split(',').map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            format!("{}={}", name.trim(), value.trim()).to_lowercase()
        });
        parts.collect::<Vec<_>>()
    };
    plain(one) == plain(other)
}

/// A change of one attribute to these values; none: it is removed.
#[must_use]
pub fn replace(attribute: &str, values: impl IntoIterator<Item = Vec<u8>>) -> Mod<Vec<u8>> {
    Mod::Replace(attribute.as_bytes().to_vec(), values.into_iter().collect::<HashSet<_>>())
}

/// Whether `text` may be an address or a name as a rule, a mail or another call may use it.
pub(super) fn word(text: &str) -> Option<String> {
    text::is_word(text).then(|| text.to_owned())
}

/// What a password policy says in its control: `SEQUENCE { warning [0] OPTIONAL, error [1] ENUMERATED OPTIONAL }`.
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
        _ => return None,
    })
}

fn policy_code(value: &[u8]) -> Option<u8> {
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

/// Active Directory begins its words with a number of Windows: `0000052D: Constraint violation ...`; a refused bind says
/// `data 52e`.
fn windows_code(text: &str) -> Option<String> {
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
