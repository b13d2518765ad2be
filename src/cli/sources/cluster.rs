//! Facts from a cluster, read with the rights of the caller.
use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::{
    authorization::v1::{
        ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
        SubjectAccessReviewSpec,
    },
    core::v1::Namespace,
};
use kube::{Api, Client, ResourceExt, api::PostParams};

use crate::{
    api::{CredentialReset, GROUP},
    cli::cluster::why_unread,
    core::{
        Request,
        seen::{Seen, Why},
    },
    directory::Credentials,
    k8s::{clock::Clock, identity::SERVICE_ACCOUNT, ledger::Ledger, secrets::Secrets},
};

/// A cluster, read as the user of the kubeconfig.
pub struct Cluster {
    pub client: Client,
    /// The operator's namespace.
    pub(super) namespace: String,
    pub ledger: Ledger,
    pub(super) secrets: Secrets,
    /// Whether the ledger's history, which limits are counted over, could be read.
    pub history_loaded: bool,
    /// User name of the creator of the requests, whose permissions are checked.
    creator: Option<String>,
}

impl Cluster {
    /// Reads the ledger's history, if the caller may.
    pub async fn new(client: Client, namespace: &str, creator: Option<String>) -> Self {
        let ledger = Ledger::new(client.clone(), namespace, "plan", Clock::default());
        let history_loaded = ledger.load(Timestamp::now()).await.is_ok();
        let secrets = Secrets::for_caller(client.clone(), namespace);
        Self { client, namespace: namespace.to_owned(), ledger, secrets, history_loaded, creator }
    }

    /// Whether the caller may request tokens of the operator's `ServiceAccount`.
    pub async fn may_request_tokens(&self) -> bool {
        let attributes = ResourceAttributes {
            verb: Some("create".to_owned()),
            resource: Some("serviceaccounts".to_owned()),
            subresource: Some("token".to_owned()),
            name: Some(SERVICE_ACCOUNT.to_owned()),
            namespace: Some(self.namespace.clone()),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let answer = Api::all(self.client.clone()).create(&PostParams::default(), &review).await;
        answer.ok().and_then(|answer| answer.status).is_some_and(|status| status.allowed)
    }

    /// The request object of that name, if it exists.
    pub async fn object(&self, namespace: &str, name: &str) -> kube::Result<Option<CredentialReset>> {
        Api::namespaced(self.client.clone(), namespace).get_opt(name).await
    }

    /// Why the creator may not create the request; `None`: they may, or no creator was given.
    ///
    /// # Errors
    /// If the API server does not answer the review.
    pub async fn refusal(&self, request: &Request) -> kube::Result<Option<String>> {
        let Request { namespace, directory, .. } = request;
        let Some(who) = &self.creator else { return Ok(None) };
        if !self.may(who, Some(namespace), "create", "credentialresets", None).await? {
            return Ok(Some(format!("{who} may not create credentialresets in namespace {namespace}.")));
        }
        if !self.may(who, None, "use", "directories", Some(directory)).await? {
            return Ok(Some(format!("{who} needs the verb use on directories/{directory} to ask for a reset in it.")));
        }
        match &request.requested_by {
            Some(by)
                if (by != who || who.starts_with("system:"))
                    && !self.may(who, None, "vouch", "directories", Some(directory)).await? =>
            {
                let what = if by == who {
                    "must name a person, not a system account such as"
                } else {
                    "names a user other than"
                };
                Ok(Some(format!(
                    "spec.requestedBy {what} {who}, who needs the verb vouch on directories/{directory} for that."
                )))
            }
            _ => Ok(None),
        }
    }

    async fn may(
        &self,
        who: &str,
        namespace: Option<&String>,
        verb: &str,
        resource: &str,
        name: Option<&String>,
    ) -> kube::Result<bool> {
        let attributes = ResourceAttributes {
            group: Some(GROUP.to_owned()),
            resource: Some(resource.to_owned()),
            verb: Some(verb.to_owned()),
            namespace: namespace.cloned(),
            name: name.cloned(),
            ..ResourceAttributes::default()
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                resource_attributes: Some(attributes),
                user: Some(who.to_owned()),
                groups: Some(groups_of(who)),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answer = Api::all(self.client.clone()).create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    pub(super) async fn labels(&self, namespace: &str) -> Seen<BTreeMap<String, String>> {
        match Api::<Namespace>::all(self.client.clone()).get_metadata_opt(namespace).await {
            Ok(Some(object)) => Seen::Known(object.labels().clone()),
            Ok(None) => Seen::Absent,
            Err(error) => Seen::Unknown(Why::new(format!("{}.", why_unread(&error, "it")))),
        }
    }
}

/// Groups that the API server puts every user of that name into.
fn groups_of(user: &str) -> Vec<String> {
    let account = user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let more = account
        .map(|(namespace, _)| ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")]);
    std::iter::once("system:authenticated".to_owned()).chain(more.into_iter().flatten()).collect()
}

/// The contents of a Secret in the operator's namespace.
///
/// # Errors
/// A sentence that names the Secret.
pub async fn credentials(secrets: &Secrets, name: &str) -> Result<Credentials, String> {
    secrets.credentials(name).await.map(|(credentials, _)| credentials)
}
