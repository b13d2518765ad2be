//! What `new` asks the cluster, if there is one: who the caller is, and which requests have ended. Manifests can be written without it.
use std::{collections::BTreeSet, time::Duration};

use kube::{Api, Client, ResourceExt, api::ListParams};

use crate::{
    api::CredentialReset,
    cli::cluster::{Access, connect, whoami},
    core::text::{NAME, printable},
    k8s::for_each_page,
};

/// A cluster that takes longer counts as not reachable.
const PATIENCE: Duration = Duration::from_secs(5);

/// A cluster that can be reached.
pub(super) struct Caller {
    client: Client,
    user: String,
}

impl Caller {
    /// `None`: there is no cluster, it does not answer, or it does not say who the caller is.
    pub(super) async fn find(access: &Access) -> Option<Self> {
        let find = async {
            let client = connect(access).await.ok()?;
            let user = whoami(&client).await.ok()?;
            Some(Self { client, user })
        };
        tokio::time::timeout(PATIENCE, find).await.ok().flatten()
    }

    /// The user name of the caller.
    ///
    /// # Errors
    /// Why it cannot be a requester's, as a sentence.
    pub(super) fn person(&self) -> Result<&str, String> {
        if self.user.starts_with("system:") {
            Err(format!("you are {}, which is not a person", printable(&self.user, NAME)))
        } else {
            Ok(&self.user)
        }
    }

    /// Which requests of these namespaces have ended. Of those that cannot be listed none has.
    pub(super) async fn ended(&self, namespaces: BTreeSet<String>) -> BTreeSet<(String, String)> {
        let mut ended = BTreeSet::new();
        for namespace in namespaces {
            let api: Api<CredentialReset> = Api::namespaced(self.client.clone(), &namespace);
            let take = |object: CredentialReset| {
                if object.status_summary().is_settled() {
                    ended.insert((namespace.clone(), object.name_any()));
                }
            };
            let with_outcome = ListParams::default().fields("status.outcome!=");
            let _ = tokio::time::timeout(PATIENCE, for_each_page(&api, with_outcome, take)).await;
        }
        ended
    }
}
