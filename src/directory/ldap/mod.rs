//! What LDAP directories share (RFC 4511): one strict client, and what a failed operation means.
//!
//! Servers are tried in order. A conditional call goes to the server of its precondition, since the others may not have replicated what
//! that server holds; see [`precondition`].
pub mod answer;
mod check;
mod connection;
pub mod entry;
pub mod look_up;
pub mod precondition;
mod server;
pub mod stream;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use ldap3::{
    LdapConnAsync, LdapConnSettings, Mod, Scope, SearchEntry, SearchOptions, SearchResult, StdStream,
    controls::RawControl,
};
use rustls::ClientConfig;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use url::Url;

use super::{
    Credentials, lock, required,
    watch::{self, Request, Response, Watched, form},
};
use crate::{api::directory::Ldap as Settings, core::seen::Why};

use answer::{Answer, Code, Failed, ask_for_policy};
pub use connection::{Connection, PooledConnection};
use connection::{Handle, Idle};
use entry::value;
pub use server::{PORTS, tls};
use server::{address, server};

/// More entries than a look-up of one user, or of the groups of one, should find.
const MAX_ENTRIES: i32 = 10_000;

/// Connects to the servers of one directory.
pub struct Client {
    servers: Vec<Url>,
    start_tls: bool,
    tls: Arc<ClientConfig>,
    bind_dn: String,
    password: SecretString,
    timeout: Duration,
    /// For a connection to one server.
    connect_timeout: Duration,
    idle: Idle,
    /// Approves each request before it is sent.
    pub watch: Watched,
}

/// Matches every entry.
pub const ANY: &str = "(objectClass=*)";

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("servers", &self.servers).field("bind_dn", &self.bind_dn).finish_non_exhaustive()
    }
}

impl Client {
    /// Creates a client from the settings of a Directory. `field` names them. Sends nothing.
    ///
    /// # Errors
    /// Which field of the Directory or key of its Secret is wrong.
    pub fn new(field: &str, ldap: &Settings, credentials: &Credentials, timeout: Duration) -> Result<Self, String> {
        let servers = ldap.urls.iter().map(|url| server(field, url, ldap.start_tls)).collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(format!("{field}.urls must name a server"));
        }
        // Shorter than `timeout`, to distinguish a connection that was never made from a response that never came.
        let connect_timeout = timeout * 3 / 4 / u32::try_from(servers.len()).unwrap_or(u32::MAX);
        let secret = &ldap.credentials.secret;
        let key = |name: &str| required(credentials, secret, name);
        Ok(Self {
            servers,
            start_tls: ldap.start_tls,
            tls: Arc::new(tls(ldap.ca_bundle.as_deref()).map_err(|e| format!("{field}: {e}"))?),
            bind_dn: key("bind-dn")?.expose_secret().to_owned(),
            password: key("bind-password")?,
            timeout,
            connect_timeout,
            idle: Idle::default(),
            watch: None,
        })
    }

    /// The name under which the operator binds.
    #[must_use]
    pub fn bind_dn(&self) -> &str {
        &self.bind_dn
    }

    /// A connection to the first server that can be reached.
    ///
    /// # Errors
    /// Why no server can be reached.
    pub async fn connection(&self) -> Result<PooledConnection, Failed> {
        self.connect(|_| true).await
    }

    /// A connection to the server of this name.
    ///
    /// # Errors
    /// Why it cannot be reached.
    pub async fn connection_to(&self, server: &str) -> Result<PooledConnection, Failed> {
        self.connect(|name| name == server).await
    }

    /// An idle connection to a wanted server or, if there is none, a new one.
    async fn connect(&self, wanted: impl Fn(&str) -> bool) -> Result<PooledConnection, Failed> {
        let pooled = |connection| PooledConnection { connection, idle: Arc::clone(&self.idle) };
        if let Some(found) = self.take_idle(&wanted) {
            return Ok(pooled(found));
        }
        let mut failed = Failed::NoConnection;
        let connect_timeout = if self.watch.is_some() { watch::NO_TIMEOUT } else { self.connect_timeout };
        for url in &self.servers {
            match tokio::time::timeout(connect_timeout, self.connect_to(url)).await {
                Ok(Ok(connection)) if wanted(&connection.server) => return Ok(pooled(connection)),
                Ok(Err(error @ (Failed::Refused(_) | Failed::Excess(_)))) => failed = error,
                _ => {}
            }
        }
        Err(failed)
    }

    fn take_idle(&self, wanted: impl Fn(&str) -> bool) -> Option<Connection> {
        let mut idle = lock(&self.idle);
        idle.retain(Connection::is_usable);
        // The connection that was used last is the least likely to have been closed silently.
        let at = idle.iter().rposition(|connection| wanted(&connection.server))?;
        Some(idle.remove(at))
    }

    /// A new connection, bound as the operator's account.
    async fn connect_to(&self, url: &Url) -> Result<Connection, Failed> {
        let handle = self.open(url).await?;
        let answer = self.bind(url, &handle, &self.bind_dn, &self.password).await?;
        if answer.number() != 0 {
            return Err(Failed::Refused(answer.code));
        }
        let asked =
            ["dnsHostName", "defaultNamingContext", "configurationNamingContext", "namingContexts", "vendorName"];
        let timeout = self.timeout;
        let call =
            self.ask(|| Request { fields: listed(&asked), ..call("read the root DSE", "", &address(url), true) });
        let call = call.await?;
        let found = handle.guarded(async move |mut ldap| {
            let found = ldap.with_timeout(timeout).search("", Scope::Base, ANY, asked).await?;
            Ok(found.0.into_iter().next().map(SearchEntry::construct))
        });
        let found = found.await;
        self.report(call, &found, |root| response(&Code::success(), root.as_slice()));
        let root = found?.unwrap_or_else(|| SearchEntry {
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

    /// A connection before the bind.
    async fn open(&self, url: &Url) -> Result<Handle, Failed> {
        let excess = Arc::default();
        let opening = stream::open(url, self.start_tls, Arc::clone(&self.tls), Arc::clone(&excess));
        let stream = match tokio::time::timeout(self.connect_timeout, opening).await {
            Ok(Ok(stream)) => StdStream::Unix(stream),
            Ok(Err(_)) | Err(_) => return Err(Failed::NoConnection),
        };
        let settings = LdapConnSettings::new().set_std_stream(stream);
        let opened = LdapConnAsync::with_settings(settings, "ldapi:///").await;
        let (connection, ldap) = opened.map_err(|_| Failed::NoConnection)?;
        // The task ends with the last handle.
        tokio::spawn(async move { drop(connection.drive().await) });
        Ok(Handle { ldap, excess })
    }

    /// Binds as `dn` on this connection.
    async fn bind(&self, url: &Url, handle: &Handle, dn: &str, password: &SecretString) -> Result<Answer, Failed> {
        let call =
            self.ask(|| Request { fields: vec!["password".to_owned()], ..call("bind as", dn, &address(url), false) });
        let call = call.await?;
        let (timeout, dn, password) = (self.timeout, dn.to_owned(), password.clone());
        let bound = handle.guarded(async move |mut ldap| {
            ldap.with_timeout(timeout).with_controls(ask_for_policy()).simple_bind(&dn, password.expose_secret()).await
        });
        let answer = bound.await.map(Answer::from);
        self.report(call, &answer, |answer| response(&answer.code, &[]));
        answer
    }

    /// Asks the watcher, if there is one, whether the request may be sent.
    async fn ask(&self, call: impl FnOnce() -> Request) -> Result<Option<Request>, Failed> {
        let Some(watch) = &self.watch else { return Ok(None) };
        let call = call();
        if watch.allow(call.clone()).await { Ok(Some(call)) } else { Err(Failed::NoConnection) }
    }

    /// Reports the response to the watcher, if there is one.
    fn report<T>(&self, call: Option<Request>, result: &Result<T, Failed>, response: impl FnOnce(&T) -> Response) {
        if let (Some(watch), Some(call)) = (&self.watch, call) {
            let response = match result {
                Ok(value) => response(value),
                Err(failed) => Response { summary: failed.to_string(), form: Value::Null },
            };
            watch.answered(&call, response);
        }
    }

    /// Binds as `dn` with `password` at this server, and returns the response. Sends the password once, since a wrong one counts towards a
    /// lock-out. `None`: no response came.
    ///
    /// # Errors
    /// Why the password was not sent, or not checked.
    pub async fn sign_in(&self, url: &Url, dn: &str, password: &SecretString) -> Result<Option<Answer>, Why> {
        // Such a bind is anonymous and always succeeds (RFC 4513, section 5.1.2).
        if dn.is_empty() || password.expose_secret().is_empty() {
            return Ok(None);
        }
        let handle = self.open(url).await.map_err(|e| e.why())?;
        match self.bind(url, &handle, dn, password).await {
            // The server is busy or unavailable and has not checked the password.
            Ok(answer) if matches!(answer.number(), 51 | 52) => Err(Failed::Answered(answer.code).why()),
            answer => Ok(answer.ok()),
        }
    }

    /// A connection to the server of this name or, if it cannot be reached, to another.
    ///
    /// # Errors
    /// Why no server can be reached.
    pub async fn connection_rather_to(&self, server: &str) -> Result<PooledConnection, Failed> {
        match self.connection_to(server).await {
            Ok(connection) => Ok(connection),
            Err(_) => self.connection().await,
        }
    }

    /// Whether `connection` leads to the first of the servers.
    #[must_use]
    pub fn is_first(&self, connection: &Connection) -> bool {
        self.servers.first().is_some_and(|url| address(url) == connection.server)
    }

    /// Stops using `connection` and all idle ones, which may be broken in the same way.
    pub fn forget(&self, connection: &Connection) {
        connection.broken.store(true, Ordering::Relaxed);
        lock(&self.idle).clear();
    }

    /// The entries that match, without references to other servers. Empty if the server has no entry `base`.
    ///
    /// # Errors
    /// Why the search failed.
    pub async fn search(
        &self,
        connection: &Connection,
        base: &str,
        scope: Scope,
        filter: &str,
        attributes: &[&'static str],
    ) -> Result<Vec<SearchEntry>, Failed> {
        let call = self.ask(|| {
            let what = format!("{base:?} for {filter}");
            Request { fields: listed(attributes), ..call("search", &what, &connection.server, true) }
        });
        let call = call.await?;
        let (base, filter, attributes) = (base.to_owned(), filter.to_owned(), attributes.to_vec());
        let timeout = connection.timeout;
        let seconds = i32::try_from(timeout.as_secs()).unwrap_or(i32::MAX);
        let found = connection.handle.guarded(async move |mut ldap| {
            // Aliases and referrals are not followed.
            ldap.with_search_options(SearchOptions::new().sizelimit(MAX_ENTRIES).timelimit(seconds));
            let all = ldap.with_timeout(timeout).search(&base, scope, &filter, attributes);
            // The limit above restarts with every entry.
            let SearchResult(found, result) = tokio::time::timeout(timeout, all).await??;
            let entries = found.into_iter().filter(|entry| !entry.is_ref()).map(SearchEntry::construct);
            Ok((entries.collect::<Vec<SearchEntry>>(), result))
        });
        let found = found.await;
        self.report(call, &found, |(entries, result)| response(&Code::of(result), entries));
        let found = match found {
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

    /// The entry with this distinguished name, in any spelling. `None`: there is no such entry, it does not match `filter`, or the account
    /// may not see it.
    ///
    /// # Errors
    /// Why the search failed.
    pub async fn entry(
        &self,
        connection: &Connection,
        dn: &str,
        filter: &str,
        attributes: &[&'static str],
    ) -> Result<Option<SearchEntry>, Failed> {
        match self.search(connection, dn, Scope::Base, filter, attributes).await {
            Ok(found) => Ok(found.into_iter().next()),
            // The entry is at another server, or `dn` is not a distinguished name.
            Err(Failed::Answered(code)) if matches!(code.number, 10 | 34) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Those of `names` that are distinguished names of an entry for which `is` returns true, in any spelling.
    ///
    /// # Errors
    /// Why the search failed.
    pub async fn names_of(
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

    /// Changes an entry, once. [`Failed::NoConnection`]: nothing was sent.
    ///
    /// # Errors
    /// Why there is no response.
    pub async fn modify(
        &self,
        connection: &Connection,
        dn: &str,
        changes: Vec<Mod<Vec<u8>>>,
        controls: Vec<RawControl>,
    ) -> Result<Answer, Failed> {
        let call = self.ask(|| {
            let name = |change: &Mod<Vec<u8>>| {
                let (how, name) = match change {
                    Mod::Add(name, _) => ("add", name),
                    Mod::Delete(name, _) => ("delete", name),
                    Mod::Replace(name, _) => ("replace", name),
                    Mod::Increment(name, _) => ("increment", name),
                };
                format!("{how} {}", String::from_utf8_lossy(name))
            };
            let condition = controls.iter().any(|c| c.crit).then(|| "on a condition (RFC 4528)".to_owned());
            let fields = changes.iter().map(name).chain(condition).collect();
            Request { fields, ..call("modify", dn, &connection.server, false) }
        });
        let call = call.await?;
        let (timeout, dn) = (connection.timeout, dn.to_owned());
        let done = connection.handle.guarded(async move |mut ldap| {
            ldap.with_timeout(timeout).with_controls(controls).modify(&dn, changes).await
        });
        let answer = done.await.map(Answer::from);
        self.report(call, &answer, |answer| response(&answer.code, &[]));
        if answer.is_err() {
            self.forget(connection);
        }
        answer
    }
}

/// What the watcher is shown of a request.
fn call(operation: &str, what: &str, server: &str, is_read: bool) -> Request {
    let target = if what.is_empty() { server.to_owned() } else { format!("{what} at {server}") };
    Request { verb: operation.to_owned(), target, fields: Vec::new(), is_read }
}

fn listed(attributes: &[&'static str]) -> Vec<String> {
    attributes.iter().map(|name| (*name).to_owned()).collect()
}

/// What the watcher is shown of a response.
fn response<'a>(code: &Code, entries: impl IntoIterator<Item = &'a SearchEntry>) -> Response {
    let entry = |entry: &SearchEntry| {
        let texts = entry.attrs.iter().map(|(name, values)| (name.clone(), values.first().cloned().into()));
        let others = entry.bin_attrs.keys().map(|name| (name.clone(), Value::from("")));
        texts.chain(others).collect::<Map<String, Value>>().into()
    };
    Response { summary: code.to_string(), form: form(&entries.into_iter().map(entry).collect::<Vec<Value>>().into()) }
}
