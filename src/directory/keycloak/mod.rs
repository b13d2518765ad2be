//! Keycloak 26: its Admin REST API (keycloak.org/docs-api/latest/rest-api), with the rights of a client's service account.
mod answer;
mod call;
mod check;
mod clean_up;
mod evidence;
mod factors;
mod groups;
mod look_up;
mod members;
#[cfg(test)]
mod tests;
mod token;
mod trust;

use std::sync::{Arc, Mutex};

use reqwest::{Method, StatusCode, header};
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::sync::RwLock;
use url::Url;

use super::{
    Credentials, NotReady, credential,
    identity::Identity,
    request_timeout, required,
    rest::{
        Unread,
        oauth::{ClientAuth, OAuthClient},
        token::Tokens,
    },
};
use crate::{
    api::directory::{self, DirectorySpec},
    core::{seen::Why, text},
    http,
};
use answer::Answer;
use groups::NamedGroup;
use token::TokenEndpoint;

/// A connection to one realm.
#[derive(Debug)]
pub struct Keycloak {
    pub(super) http: http::Http,
    tokens: Tokens<TokenEndpoint>,
    /// Base address of the realm for users.
    realm_url: Url,
    /// Base address of the realm's administration.
    admin_url: Url,
    realm: String,
    sign_in: Option<OAuthClient>,
    /// Paths of the groups that protections name.
    protected_groups: Vec<String>,
    /// Paths of the groups that rules name.
    allowed_groups: Vec<String>,
    unlock: bool,
    /// Result of the last check.
    known: Mutex<Option<Known>>,
    /// Held, mostly together with others, during a search for a user.
    searches: RwLock<()>,
}

/// What a check learns of the realm and every look-up needs.
#[derive(Clone, Debug)]
struct Known {
    /// Id of client `realm-management`, whose roles make an administrator.
    management_client: String,
    /// Id of the operator's own user.
    own_user: String,
    /// The groups that the Directory names.
    groups: Vec<NamedGroup>,
}

impl Keycloak {
    /// Creates a connection from `spec`. Sends nothing.
    ///
    /// # Errors
    /// Which field of the Directory or key of its Secret is wrong.
    pub fn connect(
        spec: &DirectorySpec,
        keycloak: &directory::Keycloak,
        credentials: &Credentials,
    ) -> Result<Self, NotReady> {
        Self::new(spec, keycloak, credentials).map_err(|wrong| NotReady::InvalidConfiguration(format!("{wrong}.")))
    }

    fn new(spec: &DirectorySpec, keycloak: &directory::Keycloak, credentials: &Credentials) -> Result<Self, String> {
        let directory::Keycloak { url, realm, credentials: secret, workload_identity, sign_in_client, ca_bundle } =
            keycloak;
        let base = http::base("spec.provider.keycloak.url", url)?;
        if !is_segment(realm) {
            return Err("spec.provider.keycloak.realm is not a valid name of a realm".to_owned());
        }
        if realm == "master" {
            // Its users hold the roles of one client for each realm that they administer.
            return Err("spec.provider.keycloak.realm is master, whose users may administer other realms without showing it here: \
                        keep users whose passwords are reset in a realm of their own"
                .to_owned());
        }
        if let Some(group) = spec.groups().find(|group| !group.starts_with('/')) {
            return Err(format!(
                "{:?} is not the path of a Keycloak group: spec.allow and spec.protect name them by their full path, such as /Staff/Desk",
                text::printable(group, text::NAME)
            ));
        }
        let timeout = request_timeout(spec)?;
        let realm_url = under(&http::join(&base, "/realms"), &[realm]);
        let client = match (secret, workload_identity) {
            (Some(secret), None) => {
                let key = |name: &str| required(credentials, &secret.secret, name);
                let id = key("client-id")?.expose_secret().to_owned();
                OAuthClient { id, auth: ClientAuth::Secret(key("client-secret")?) }
            }
            (None, Some(directory::WorkloadIdentity { client_id, audience })) => OAuthClient {
                id: client_id.clone(),
                auth: ClientAuth::ServiceAccount {
                    audience: audience_of(realm, &realm_url, audience.as_deref())?,
                    identity: None,
                },
            },
            _ => {
                return Err(
                    "spec.provider.keycloak must have exactly one of credentials and workloadIdentity".to_owned()
                );
            }
        };
        let sign_in = sign_in_client.as_ref().map(|id| OAuthClient {
            id: id.clone(),
            auth: credential(credentials, "sign-in-client-secret").map_or(ClientAuth::Public, ClientAuth::Secret),
        });
        Ok(Self {
            http: http::client(ca_bundle.as_deref(), timeout, http::is_loopback(&base))
                .map(http::Http::new)
                .map_err(|e| format!("spec.provider.keycloak: {e}"))?,
            tokens: Tokens::new(TokenEndpoint::new(http::join(&realm_url, "/protocol/openid-connect/token"), client)),
            admin_url: under(&http::join(&base, "/admin/realms"), &[realm]),
            realm_url,
            realm: realm.clone(),
            sign_in,
            protected_groups: spec.protect.groups.clone(),
            allowed_groups: spec.allow.iter().flat_map(|rule| rule.users.groups.clone()).collect(),
            unlock: spec.unlock,
            known: Mutex::default(),
            searches: RwLock::default(),
        })
    }

    /// Has the operator's client sign in with tokens of `identity`, if the Directory asks for that.
    pub(super) fn identify(&mut self, identity: Arc<dyn Identity>) {
        self.tokens.issuer.identify(identity);
    }

    /// An address of the realm's administration.
    fn url(&self, segments: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = under(&self.admin_url, segments);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// Sends one request. Calls `may_send` right before. `None`: it returned false, so nothing was sent.
    async fn send_once(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
        may_send: impl FnOnce() -> bool,
    ) -> Result<Option<Answer>, Unread> {
        let request = self.http.request(method, url);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        // Before the token, which lives for about a minute: the person who is asked may take longer.
        let request = self.http.ask(request).await.map_err(Unread::Failed)?;
        let token = self.tokens.get(&self.http).await.map_err(Unread::Token)?;
        if !may_send() {
            return Ok(None);
        }
        let request = request.header(header::AUTHORIZATION, http::authorization("Bearer", &token.value));
        let answer = Answer::read(self.http.send(request).await.map_err(Unread::Failed)?);
        if answer.status == StatusCode::UNAUTHORIZED {
            self.tokens.forget(&token).await;
        }
        Ok(Some(answer))
    }

    /// Sends a request that may be repeated. If the token is rejected, sends it again with a new one, once.
    async fn send(&self, method: Method, url: Url, body: Option<&Value>) -> Result<Answer, Unread> {
        let mut renewed = false;
        loop {
            match self.send_once(method.clone(), url.clone(), body, || true).await? {
                Some(answer) if answer.status == StatusCode::UNAUTHORIZED && !renewed => renewed = true,
                Some(answer) => return Ok(answer),
                None => return Err(Unread::Failed(http::Failed::NotSent)),
            }
        }
    }

    async fn get(&self, segments: &[&str], query: &[(&str, &str)]) -> Result<Answer, Unread> {
        self.send(Method::GET, self.url(segments, query), None).await
    }

    /// Sends a request that ends something. That it is gone already is a success.
    async fn end(&self, method: Method, segments: &[&str]) -> Result<(), Why> {
        let answer = self.send(method, self.url(segments, &[]), None).await?;
        if answer.status.is_success() || answer.status == StatusCode::NOT_FOUND {
            Ok(())
        } else {
            Err(Why::new(format!("the directory answered {}.", answer.status.as_u16())))
        }
    }
}

/// Whom a token for a realm is for: the realm's issuer. Another audience than its address must still be that of such a realm, so that no token
/// is given away that opens something else.
fn audience_of(realm: &str, realm_url: &Url, audience: Option<&str>) -> Result<String, String> {
    let Some(audience) = audience else { return Ok(realm_url.as_str().trim_end_matches('/').to_owned()) };
    let field = "spec.provider.keycloak.workloadIdentity.audience";
    let url = http::base(field, audience)?;
    let realm_path = realm_url.path().rfind("/realms/").map_or("", |at| &realm_url.path()[at..]);
    if !url.path().ends_with(realm_path) {
        return Err(format!(
            "{field} must be the issuer of the realm, such as https://sso.acme.example/realms/{realm}"
        ));
    }
    Ok(audience.to_owned())
}

/// `base` with `segments` appended to its path, each escaped so that it stays one segment. A `;` must be escaped too, since to Keycloak it
/// ends a segment. The caller has checked them with [`is_segment`].
fn under(base: &Url, segments: &[&str]) -> Url {
    let escaped = |byte: u8| match byte {
        b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    let mut path = base.path().trim_end_matches('/').to_owned();
    for segment in segments {
        path.push('/');
        path.extend(segment.bytes().map(escaped));
    }
    let mut url = base.clone();
    url.set_path(&path);
    url
}

/// Whether `text` can be one segment of a path.
fn is_segment(text: &str) -> bool {
    (1..=text::NAME).contains(&text.len()) && text != "." && text != ".." && !text.chars().any(text::is_hidden)
}
