//! Requests that are in the cluster already and have no outcome yet, as far as the caller may list them.
use std::collections::BTreeSet;

use jiff::Timestamp;
use kube::{Api, Client, api::ListParams};

use crate::{
    api::CredentialReset,
    core::{Request, reason::Reason, user::UserId, view::StatusSummary},
    k8s::for_each_page,
};

/// An open request of the cluster.
pub struct Open {
    pub request: Request,
    pub status: StatusSummary,
    /// The user in the directory, once the operator has looked them up.
    pub user: Option<UserId>,
}

impl Open {
    /// Whether it waits only until the limits let it begin. What waits for a person, or is under way, takes no place in the queue.
    pub fn is_queued(&self) -> bool {
        matches!(self.status.reason, None | Some(Reason::Pending | Reason::LimitReached | Reason::UserBusy))
    }
}

/// The open requests of the cluster.
#[derive(Default)]
pub struct Filed {
    pub open: Vec<Open>,
    /// What is assumed of requests that the caller may not list. `None`: all were listed.
    pub assumed: Option<String>,
}

impl Filed {
    /// Lists them in all namespaces, or else in those of `namespaces` where the caller may.
    pub async fn list(client: &Client, namespaces: &BTreeSet<String>) -> Self {
        let mut filed = Self::default();
        if filed.add(Api::all(client.clone())).await {
            return filed;
        }
        let mut unlisted = Vec::new();
        for namespace in namespaces {
            if !filed.add(Api::namespaced(client.clone(), namespace)).await {
                unlisted.push(namespace.as_str());
            }
        }
        let place = if unlisted.is_empty() { "another namespace".to_owned() } else { "the cluster".to_owned() };
        filed.assumed =
            Some(format!("no request for the same user is open in {place} (requests there could not be listed)"));
        filed
    }

    /// `false`: they could not be listed.
    async fn add(&mut self, api: Api<CredentialReset>) -> bool {
        let now = Timestamp::now();
        let open = &mut self.open;
        let before = open.len();
        let take = |object: CredentialReset| {
            let Ok(request) = object.request() else { return };
            if request.deadline() > now {
                let user = object.status.as_ref().and_then(|status| status.user.clone());
                open.push(Open { request, status: object.status_summary(), user });
            }
        };
        let listed = for_each_page(&api, ListParams::default().fields("status.outcome="), take).await.is_ok();
        if !listed {
            self.open.truncate(before);
        }
        listed
    }
}
