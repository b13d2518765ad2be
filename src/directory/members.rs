//! Members of a group, for requests that reset all of them.
use tokio::time::timeout;

use super::{Provider, timed_out};
use crate::core::{request::UserRef, seen::Why};

/// More members than a group should have whose members are all to be reset.
pub(super) const MAX_MEMBERS: usize = 10_000;

/// Why no members of a group are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupNotFound {
    /// There is no such group, or the operator's account does not see it.
    Absent,
    /// So many groups have this name.
    Several(usize),
}

/// The members of a group, each as a request can name them.
pub type Members = Result<Vec<UserRef>, GroupNotFound>;

impl Provider {
    /// The users in a group and in the groups within it, in order of their names. `group` is written as in the Directory's rules. Reads only.
    ///
    /// # Errors
    /// Why the directory could not be asked.
    pub async fn members(&self, group: &str) -> Result<Members, Why> {
        let task = async {
            match self {
                Self::Zoho(_) => Err(Why::new("Zoho Directory documents no way to list the members of a group.")),
                Self::Keycloak(keycloak) => Box::pin(keycloak.members(group)).await,
                Self::OpenLdap(openldap) => Box::pin(openldap.members(group)).await,
                Self::ActiveDirectory(domain) => Box::pin(domain.members(group)).await,
            }
        };
        let found = timeout(self.task_timeout(), task).await.unwrap_or_else(|_| Err(timed_out()))?;
        Ok(found.map(|mut users| {
            users.sort_by(|one, other| one.typed().cmp(other.typed()));
            users
        }))
    }
}

pub(super) fn too_many() -> Why {
    Why::new(format!("the directory shows more than {MAX_MEMBERS} members or groups."))
}
