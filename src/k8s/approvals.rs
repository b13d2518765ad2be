//! Approvals of a request, as the API server has them.
use kube::{Api, Client, api::ListParams};

use super::{
    admission::{self, Unverifiable},
    for_each_page,
    lean::Guarded,
};
use crate::{
    api::CredentialResetApproval,
    core::{Request, approvals::Approval},
};

/// Approvals in one page: several requests are decided at the same time, and most have one or two approvals.
const PAGE_SIZE: u32 = 4;

/// The approvals that name `request`.
///
/// # Errors
/// Why it cannot be determined who has approved.
pub(crate) async fn read(client: &Client, request: &Request) -> Result<Vec<Approval>, Unverifiable> {
    let since =
        admission::guarded(client, &admission::REQUESTS_AND_APPROVALS, "who has asked and who has approved").await?;
    let api: Api<Guarded<CredentialResetApproval>> = Api::namespaced(client.clone(), &request.namespace);
    let params = ListParams::default().fields(&format!("spec.request={}", request.name)).limit(PAGE_SIZE);
    let mut found = Vec::new();
    // An unreadable approval does not count.
    let listed = for_each_page(&api, params, |approval| {
        found.extend(approval.readable().map(|approval| approval.approval(since)));
    });
    let listed = listed.await;
    listed.map_err(|error| Unverifiable::of(&error, "list credentialresetapprovals"))?;
    Ok(found)
}
