//! Tokens of the operator's own `ServiceAccount`, which the API server issues for a directory (`TokenRequest`).
use futures::future::{BoxFuture, FutureExt};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{Api, Client, api::PostParams};
use secrecy::SecretString;

use crate::directory::identity::{Assertion, Identity, NoAssertion};

/// The `ServiceAccount` of the chart.
pub const SERVICE_ACCOUNT: &str = "credreset";
/// Seconds that a token lives. The API server issues none for less.
const LIFETIME: i64 = 600;

/// The operator's `ServiceAccount`.
pub struct OwnAccount {
    accounts: Api<ServiceAccount>,
    namespace: String,
    /// It is a person who asks for tokens, not the operator.
    for_caller: bool,
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
        Self { accounts: Api::namespaced(client, namespace), namespace: namespace.to_owned(), for_caller: false }
    }

    /// For the user of a command, where the operator is in `namespace`.
    #[must_use]
    pub fn for_caller(client: Client, namespace: &str) -> Self {
        Self { for_caller: true, ..Self::new(client, namespace) }
    }

    /// Requests a token for these audiences; for none, it is for the API server's own.
    async fn request(&self, audiences: Vec<String>) -> Result<Assertion, NoAssertion> {
        use NoAssertion::{Refused, Unreachable};
        let spec = TokenRequestSpec { audiences, expiration_seconds: Some(LIFETIME), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let created = self.accounts.create_token_request(SERVICE_ACCOUNT, &PostParams::default(), &request).await;
        let account = format!("ServiceAccount {}/{SERVICE_ACCOUNT}", self.namespace);
        let token = match created {
            Ok(TokenRequest { status: Some(status), .. }) => status.token,
            Ok(_) => return Err(Unreachable(format!("the API server answered without a token of {account}"))),
            // Who may do that can do all that the operator can: no person is told to ask for it.
            Err(kube::Error::Api(status)) if status.code == 403 && self.for_caller => {
                return Err(Refused(format!(
                    "the Directory signs in as {account}, whose tokens you may not request: use one with a Secret of your own (--directories)"
                )));
            }
            Err(kube::Error::Api(status)) if status.code == 403 => {
                return Err(Refused(format!(
                    "the operator may not request tokens of {account}: set chart value workloadIdentity: true"
                )));
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                return Err(Refused(format!("there is no {account}")));
            }
            Err(kube::Error::Api(status)) => {
                return Err(Unreachable(format!("the API server refuses a token of {account} with {}", status.code)));
            }
            Err(_) => return Err(Unreachable(format!("the API server gave no token of {account}: it did not answer"))),
        };
        Assertion::of(SecretString::from(token)).ok_or_else(|| {
            Refused(format!("the API server's token of {account} is not a JWT, which a directory could check"))
        })
    }

    async fn for_audience(&self, audience: &str) -> Result<Assertion, NoAssertion> {
        // Whoever gets a token for the API server itself can do there what the operator can.
        let own = self.request(Vec::new()).await?;
        if own.issuer == audience || own.audiences.iter().any(|own| own == audience) {
            let why = format!("the audience {audience} is the API server's own: a token for it is given to nobody");
            return Err(NoAssertion::Refused(why));
        }
        let assertion = self.request(vec![audience.to_owned()]).await?;
        if assertion.audiences == [audience] {
            Ok(assertion)
        } else {
            Err(NoAssertion::Refused(format!("the API server's token is not for the audience {audience} alone")))
        }
    }
}

impl Identity for OwnAccount {
    fn token<'a>(&'a self, audience: &'a str) -> BoxFuture<'a, Result<Assertion, NoAssertion>> {
        self.for_audience(audience).boxed()
    }
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
    use http_body_util::BodyExt;
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// An API server whose own audiences are `https://api` and `vault`, and which adds `more` to those that are asked for.
    fn account(more: &'static [&'static str]) -> OwnAccount {
        let service = tower::service_fn(move |request: ::http::Request<Body>| async move {
            assert_eq!(request.uri().path(), "/api/v1/namespaces/system/serviceaccounts/credreset/token");
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let asked: Value = serde_json::from_slice(&body).unwrap();
            let mut audiences = asked["spec"]["audiences"].as_array().cloned().unwrap_or_default();
            if audiences.is_empty() {
                audiences = vec![json!("https://api"), json!("vault")];
            }
            audiences.extend(more.iter().map(|one| json!(one)));
            let claims =
                json!({"iss": "https://issuer", "sub": "system:serviceaccount:system:credreset", "aud": audiences});
            let token = format!("e30.{}.x", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()));
            let answer = json!({"metadata": {}, "spec": asked["spec"], "status": {"token": token, "expirationTimestamp": "2026-11-24T09:00:00Z"}});
            Ok::<_, std::convert::Infallible>(::http::Response::new(Body::from(answer.to_string().into_bytes())))
        });
        OwnAccount::new(Client::new(service, "default"), "system")
    }

    #[tokio::test]
    async fn no_token_opens_the_api_server() {
        let token = async |audience: &str| account(&[]).token(audience).await;
        assert_eq!(token("https://sso.acme.example/realms/acme").await.unwrap().audiences.len(), 1);
        for own in ["https://api", "vault", "https://issuer"] {
            let refused = token(own).await.unwrap_err();
            assert!(
                matches!(&refused, NoAssertion::Refused(why) if why.contains("is the API server's own")),
                "{refused:?}"
            );
        }
        let refused = account(&["https://api"]).token("https://sso.acme.example/realms/acme").await.unwrap_err();
        assert!(matches!(&refused, NoAssertion::Refused(why) if why.contains("alone")), "{refused:?}");
    }
}
