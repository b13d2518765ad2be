//! Tokens of the operator's own `ServiceAccount`, which the API server issues for a directory (`TokenRequest`).
use futures::future::{BoxFuture, FutureExt};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{Api, Client, api::PostParams};
use secrecy::SecretString;
use tokio::sync::OnceCell;

use crate::directory::identity::{Assertion, Identity};

/// The `ServiceAccount` of the chart.
const SERVICE_ACCOUNT: &str = "credreset";
/// Seconds that a token lives. The API server issues none for less.
const LIFETIME: i64 = 600;

/// The operator's `ServiceAccount`.
pub struct OwnAccount {
    accounts: Api<ServiceAccount>,
    namespace: String,
    /// The subject of a message about a missing right: "the operator" or "you".
    who: &'static str,
    /// The audiences of the API server itself.
    of_the_api: OnceCell<Vec<String>>,
}

impl std::fmt::Debug for OwnAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnAccount").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl OwnAccount {
    /// For the operator in `namespace`.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        let accounts = Api::namespaced(client, namespace);
        Self { accounts, namespace: namespace.to_owned(), who: "the operator", of_the_api: OnceCell::new() }
    }

    /// For the user of a command, where the operator is in `namespace`.
    #[must_use]
    pub fn for_caller(client: Client, namespace: &str) -> Self {
        Self { who: "you", ..Self::new(client, namespace) }
    }

    /// Requests a token for these audiences; for none, it is for the API server's own.
    async fn request(&self, audiences: Vec<String>) -> Result<Assertion, String> {
        let spec = TokenRequestSpec { audiences, expiration_seconds: Some(LIFETIME), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let created = self.accounts.create_token_request(SERVICE_ACCOUNT, &PostParams::default(), &request).await;
        let account = format!("ServiceAccount {}/{SERVICE_ACCOUNT}", self.namespace);
        let token = match created {
            Ok(TokenRequest { status: Some(status), .. }) => status.token,
            Ok(_) => return Err(format!("the API server answered the request for a token of {account} without one")),
            Err(kube::Error::Api(status)) if status.code == 403 => {
                return Err(format!(
                    "{} may not request tokens of {account}: grant the verb create on serviceaccounts/token for it",
                    self.who
                ));
            }
            Err(kube::Error::Api(status)) => {
                return Err(format!("the API server refuses a token of {account} with {}", status.code));
            }
            Err(_) => return Err(format!("the API server did not answer the request for a token of {account}")),
        };
        Assertion::of(SecretString::from(token))
            .ok_or_else(|| format!("the API server's token of {account} is not a JWT, which a directory could check"))
    }

    async fn for_audience(&self, audience: &str) -> Result<Assertion, String> {
        // Whoever gets a token for the API server itself can do there what the operator can.
        let of_the_api = self.of_the_api.get_or_try_init(|| async { Ok(self.request(Vec::new()).await?.audiences) });
        let of_the_api: &Vec<String> = of_the_api.await.map_err(|why: String| why)?;
        if of_the_api.iter().any(|own| own == audience) {
            return Err(format!("the audience {audience} is the API server's own: a token for it is given to nobody"));
        }
        let assertion = self.request(vec![audience.to_owned()]).await?;
        if assertion.audiences == [audience] {
            Ok(assertion)
        } else {
            Err(format!("the API server's token is not for the audience {audience} alone"))
        }
    }
}

impl Identity for OwnAccount {
    fn token<'a>(&'a self, audience: &'a str) -> BoxFuture<'a, Result<Assertion, String>> {
        self.for_audience(audience).boxed()
    }
}
