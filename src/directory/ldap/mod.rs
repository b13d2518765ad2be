//! What LDAP directories share (RFC 4511): one strict client, and what a failed operation means.
//!
//! Several servers are tried in order. What a conditional call found at one of them need not be known to the others yet, so the
//! call goes to that very server; see [`fence`].
pub mod answer;
pub mod entry;
pub mod fence;
pub mod stream;
#[cfg(test)]
mod tests;

use std::{
    future::Future,
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ldap3::{
    Ldap, LdapConnAsync, LdapConnSettings, LdapError, Mod, Scope, SearchEntry, SearchOptions, SearchResult, StdStream,
    controls::RawControl,
};
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_platform_verifier::{BuilderVerifierExt, Verifier};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{Credentials, http, needed};
use crate::{
    api::directory::{DirectorySpec, Ldap as Settings},
    core::world::Why,
};

use answer::{Answer, Code, Failed, ask_for_policy};
use entry::value;
use stream::Excess;

/// More entries than any look-up of one user, or of the groups of one, should find.
const MOST: i32 = 10_000;
/// So many connections are kept for those who come next.
const KEPT: usize = 16;
/// A connection is not used for longer: what an administrator changes at the account, or at the order of servers, takes effect.
const OLDEST: Duration = Duration::from_secs(300);

/// How to reach the servers of one directory.
pub struct Client {
    servers: Vec<Url>,
    start_tls: bool,
    tls: Arc<ClientConfig>,
    bind_dn: String,
    password: SecretString,
    timeout: Duration,
    /// For a connection to one of them.
    patience: Duration,
    idle: Idle,
}

/// Fits every entry.
pub const ANY: &str = "(objectClass=*)";

/// Connections that nobody uses right now.
type Idle = Arc<Mutex<Vec<Connection>>>;

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("servers", &self.servers).field("bind_dn", &self.bind_dn).finish_non_exhaustive()
    }
}

/// What the library makes of a connection.
#[derive(Clone)]
struct Handle {
    ldap: Ldap,
    /// Why the connection was given up, if an answer was.
    excess: Arc<OnceLock<Excess>>,
}

impl Handle {
    /// In a task of its own: the library gives up with a panic on answers that are none, and that must end nothing but the
    /// operation.
    async fn guarded<T: Send + 'static, F>(&self, operation: impl FnOnce(Ldap) -> F) -> Result<T, Failed>
    where
        F: Future<Output = Result<T, LdapError>> + Send + 'static,
    {
        match tokio::spawn(operation(self.ldap.clone())).await {
            Ok(Ok(done)) => Ok(done),
            // The connection was over before the operation was handed to it.
            Ok(Err(LdapError::OpSend { .. })) => Err(Failed::NoConnection),
            Ok(Err(_)) | Err(_) => Err(self.excess.get().map_or(Failed::Broken, |excess| Failed::Excess(*excess))),
        }
    }
}

/// A connection on which the operator's account is bound.
#[derive(Clone)]
pub struct Connection {
    handle: Handle,
    /// The server's address.
    pub url: Url,
    /// Which server it leads to: the name that the server gives itself (Active Directory's `dnsHostName`), else its address.
    pub server: String,
    /// What the server says about itself.
    pub root: SearchEntry,
    /// The server applies a password policy: it says so in answer to the bind alone, since schema and root DSE name the policy
    /// as soon as its module is loaded.
    pub has_policy: bool,
    since: Instant,
    timeout: Duration,
    broken: Arc<AtomicBool>,
}

/// A connection for one task alone, so that nobody loses an answer with somebody else's. Others may have it afterwards.
pub struct Lease {
    connection: Connection,
    idle: Idle,
}

impl Deref for Lease {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut idle = lock(&self.idle);
        if idle.len() < KEPT && self.connection.is_usable() {
            idle.push(self.connection.clone());
        }
    }
}

impl Connection {
    fn is_usable(&self) -> bool {
        !self.broken.load(Ordering::Relaxed) && !self.handle.ldap.clone().is_closed() && self.since.elapsed() < OLDEST
    }
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
        let key = |name: &str| needed(credentials, secret, name);
        Ok(Self {
            servers,
            start_tls: ldap.start_tls,
            tls: Arc::new(tls(ldap.ca_bundle.as_deref()).map_err(|e| format!("{field}: {e}"))?),
            bind_dn: key("bind-dn")?.expose_secret().to_owned(),
            password: key("bind-password")?,
            timeout,
            patience,
            idle: Idle::default(),
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
    pub async fn connection(&self) -> Result<Lease, Failed> {
        self.connect(|_| true).await
    }

    /// A connection to that very server.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn connection_to(&self, server: &str) -> Result<Lease, Failed> {
        self.connect(|name| name == server).await
    }

    /// One that is there, if it is as wanted; else a new one.
    async fn connect(&self, wanted: impl Fn(&str) -> bool) -> Result<Lease, Failed> {
        let lease = |connection| Lease { connection, idle: Arc::clone(&self.idle) };
        if let Some(found) = self.take(&wanted) {
            return Ok(lease(found));
        }
        let mut failed = Failed::NoConnection;
        for url in &self.servers {
            match tokio::time::timeout(self.patience, self.bound(url)).await {
                Ok(Ok(connection)) if wanted(&connection.server) => return Ok(lease(connection)),
                Ok(Err(error @ (Failed::Refused(_) | Failed::Excess(_)))) => failed = error,
                _ => {}
            }
        }
        Err(failed)
    }

    fn take(&self, wanted: impl Fn(&str) -> bool) -> Option<Connection> {
        let mut idle = lock(&self.idle);
        idle.retain(Connection::is_usable);
        // The one that was used last is the least likely to have been dropped on its way without a word.
        let at = idle.iter().rposition(|connection| wanted(&connection.server))?;
        Some(idle.remove(at))
    }

    /// A new connection, bound as the operator's account.
    async fn bound(&self, url: &Url) -> Result<Connection, Failed> {
        let handle = self.open(url).await?;
        let answer = self.bind(&handle, &self.bind_dn, &self.password).await?;
        if answer.number() != 0 {
            return Err(Failed::Refused(answer.code));
        }
        let asked =
            ["dnsHostName", "defaultNamingContext", "configurationNamingContext", "namingContexts", "vendorName"];
        let timeout = self.timeout;
        let found = handle.guarded(async move |mut ldap| {
            let found = ldap.with_timeout(timeout).search("", Scope::Base, ANY, asked).await?;
            Ok(found.0.into_iter().next().map(SearchEntry::construct))
        });
        let root = found.await?.unwrap_or_else(|| SearchEntry {
            dn: String::new(),
            attrs: std::collections::HashMap::new(),
            bin_attrs: std::collections::HashMap::new(),
        });
        Ok(Connection {
            server: value(&root, "dnsHostName").map_or_else(|| address(url), str::to_lowercase),
            has_policy: answer.has_policy,
            since: Instant::now(),
            timeout: self.timeout,
            broken: Arc::default(),
            url: url.clone(),
            handle,
            root,
        })
    }

    /// A connection on which nobody is bound.
    async fn open(&self, url: &Url) -> Result<Handle, Failed> {
        let excess = Arc::default();
        let opening = stream::open(url, self.start_tls, Arc::clone(&self.tls), Arc::clone(&excess));
        let stream = match tokio::time::timeout(self.patience, opening).await {
            Ok(Ok(stream)) => StdStream::Unix(stream),
            Ok(Err(_)) | Err(_) => return Err(Failed::NoConnection),
        };
        let settings = LdapConnSettings::new().set_std_stream(stream);
        let opened = LdapConnAsync::with_settings(settings, "ldapi:///").await;
        let (connection, ldap) = opened.map_err(|_| Failed::NoConnection)?;
        // Ends with the last handle.
        tokio::spawn(async move { drop(connection.drive().await) });
        Ok(Handle { ldap, excess })
    }

    /// What `dn` is answered when it signs in on this connection.
    async fn bind(&self, handle: &Handle, dn: &str, password: &SecretString) -> Result<Answer, Failed> {
        let (timeout, dn, password) = (self.timeout, dn.to_owned(), password.clone());
        let bound = handle.guarded(async move |mut ldap| {
            ldap.with_timeout(timeout).with_controls(ask_for_policy()).simple_bind(&dn, password.expose_secret()).await
        });
        Ok(bound.await?.into())
    }

    /// What `dn` is answered when it signs in with `password` at this server. The password is sent once: a wrong one counts towards a
    /// lock-out. `None`: no answer came.
    ///
    /// # Errors
    /// Why it was not sent.
    pub async fn sign_in(&self, url: &Url, dn: &str, password: &SecretString) -> Result<Option<Answer>, Why> {
        // Such a bind is anonymous, and succeeds for anybody (RFC 4513, section 5.1.2).
        if dn.is_empty() || password.expose_secret().is_empty() {
            return Ok(None);
        }
        let handle = self.open(url).await.map_err(|e| e.why())?;
        match self.bind(&handle, dn, password).await {
            // The server is in trouble and has not looked at it.
            Ok(answer) if matches!(answer.number(), 51 | 52) => Err(Failed::Answered(answer.code).why()),
            answer => Ok(answer.ok()),
        }
    }

    /// A connection to that very server or, if there is none, to another.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn connection_rather_to(&self, server: &str) -> Result<Lease, Failed> {
        match self.connection_to(server).await {
            Ok(connection) => Ok(connection),
            Err(_) => self.connection().await,
        }
    }

    /// Whether it leads to the first of the servers.
    #[must_use]
    pub fn is_first(&self, connection: &Connection) -> bool {
        self.servers.first().is_some_and(|url| address(url) == connection.server)
    }

    /// The connection is not used any more, nor are those that were made before and may have gone the same way.
    pub fn forget(&self, connection: &Connection) {
        connection.broken.store(true, Ordering::Relaxed);
        lock(&self.idle).clear();
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
        let (base, filter, attributes) = (base.to_owned(), filter.to_owned(), attributes.to_vec());
        let timeout = connection.timeout;
        let seconds = i32::try_from(timeout.as_secs()).unwrap_or(i32::MAX);
        let found = connection.handle.guarded(async move |mut ldap| {
            // Aliases and referrals are not followed.
            ldap.with_search_options(SearchOptions::new().sizelimit(MOST).timelimit(seconds));
            let all = ldap.with_timeout(timeout).search(&base, scope, &filter, attributes);
            // The limit above begins anew with every entry.
            let SearchResult(found, result) = tokio::time::timeout(timeout, all).await??;
            let entries = found.into_iter().filter(|entry| !entry.is_ref()).map(SearchEntry::construct);
            Ok((entries.collect::<Vec<SearchEntry>>(), result))
        });
        let found = match found.await {
            Ok(found) => found,
            Err(error) => {
                self.forget(connection);
                return Err(error);
            }
        };
        match found {
            (entries, result) if result.rc == 0 => Ok(entries),
            (_, result) if result.rc == 32 => Ok(Vec::new()),
            (_, result) => Err(Failed::Answered(Code::of(&result))),
        }
    }

    /// The entry of this name, in whatever way that is spelt. `None`: there is none that fits, or the account may not see it.
    ///
    /// # Errors
    /// Why it could not be told.
    pub async fn entry(
        &self,
        connection: &Connection,
        dn: &str,
        filter: &str,
        attributes: &[&'static str],
    ) -> Result<Option<SearchEntry>, Failed> {
        match self.search(connection, dn, Scope::Base, filter, attributes).await {
            Ok(found) => Ok(found.into_iter().next()),
            // It is elsewhere, or no distinguished name.
            Err(Failed::Answered(code)) if matches!(code.number, 10 | 34) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Of these names, the distinguished ones under which the server finds what `is` it, in whatever way they are spelt.
    ///
    /// # Errors
    /// Why it could not be told.
    pub async fn spelt(
        &self,
        connection: &Connection,
        names: &[String],
        attribute: &'static str,
        is: impl Fn(&SearchEntry) -> bool,
    ) -> Result<Vec<String>, Failed> {
        let mut all = Vec::new();
        for name in names.iter().filter(|name| name.contains('=')) {
            if self.entry(connection, name, ANY, &[attribute]).await?.is_some_and(|entry| is(&entry)) {
                all.push(name.clone());
            }
        }
        Ok(all)
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
        let (timeout, dn) = (connection.timeout, dn.to_owned());
        let done = connection.handle.guarded(async move |mut ldap| {
            ldap.with_timeout(timeout).with_controls(controls).modify(&dn, changes).await
        });
        match done.await {
            Ok(result) => Ok(result.into()),
            Err(error) => {
                self.forget(connection);
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Where directories are, if the address says nothing else.
pub const PORTS: [(&str, u16); 2] = [("ldaps", 636), ("ldap", 389)];

fn address(url: &Url) -> String {
    let usual = PORTS.into_iter().find(|(scheme, _)| *scheme == url.scheme()).map_or(0, |(_, port)| port);
    let port = url.port().unwrap_or(usual);
    format!("{}:{port}", url.host_str().unwrap_or_default().to_lowercase())
}

/// Trusts `ca_bundle` (PEM) besides the system's authorities.
///
/// # Errors
/// What is wrong with `ca_bundle`.
pub fn tls(ca_bundle: Option<&str>) -> Result<ClientConfig, String> {
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
