//! Connections on which the operator is bound, and the pool of those that are idle.
use std::{
    ops::Deref,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ldap3::{Ldap, LdapError, SearchEntry};
use url::Url;

use super::{answer::Failed, stream::Excess};
use crate::directory::lock;

/// The pool keeps at most this many connections.
const MAX_IDLE: usize = 16;

/// How long a connection is used, so that a change of the account, or of the order of servers, takes effect.
pub(super) const MAX_CONNECTION_AGE: Duration = Duration::from_secs(300);

/// Connections that are not in use.
pub(super) type Idle = Arc<Mutex<Vec<Connection>>>;

/// The library's handle of a connection.
#[derive(Clone)]
pub(super) struct Handle {
    pub(super) ldap: Ldap,
    /// The response for which the connection was closed, if one exceeded the bounds.
    pub(super) excess: Arc<OnceLock<Excess>>,
}

impl Handle {
    /// Runs `operation` in a task of its own. The library panics on messages that are not valid responses, and a panic must end the
    /// operation only.
    pub(super) async fn guarded<T: Send + 'static, F>(&self, operation: impl FnOnce(Ldap) -> F) -> Result<T, Failed>
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
    pub(super) handle: Handle,
    /// The server's address.
    pub url: Url,
    /// The server's own name (Active Directory's `dnsHostName`) or, if it shows none, its address.
    pub server: String,
    /// The root DSE of the server.
    pub root: SearchEntry,
    /// Whether the server applies a password policy. Only the response to the bind shows it: schema and root DSE name the policy as soon
    /// as its module is loaded.
    pub has_policy: bool,
    pub(super) since: Instant,
    pub(super) timeout: Duration,
    pub(super) broken: Arc<AtomicBool>,
}

/// A connection that one task uses alone, so that no other task loses a response when it breaks. Dropping it returns it to the pool.
pub struct PooledConnection {
    pub(super) connection: Connection,
    pub(super) idle: Idle,
}

impl Deref for PooledConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        let mut idle = lock(&self.idle);
        if idle.len() < MAX_IDLE && self.connection.is_usable() {
            idle.push(self.connection.clone());
        }
    }
}

impl Connection {
    pub(super) fn is_usable(&self) -> bool {
        !self.broken.load(Ordering::Relaxed)
            && !self.handle.ldap.clone().is_closed()
            && self.since.elapsed() < MAX_CONNECTION_AGE
    }
}
