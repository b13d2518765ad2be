//! Keycloak 26: its Admin REST API (keycloak.org/docs-api/latest/rest-api), with the rights of a client's service account.
mod check;
mod clean_up;
mod evidence;
mod factors;
mod groups;
mod look_up;
#[cfg(test)]
mod tests;
mod token;

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use url::Url;

use super::{Credentials, Fenced, NotReady, credential, http, needed};
use crate::{
    api::directory::{self, DirectorySpec},
    core::{
        ledger::Reply,
        plan::Once,
        text,
        world::{User, Why},
    },
};
use groups::Named;
use token::{NoToken, OAuthClient, Tokens};

/// A connection to one realm.
#[derive(Debug)]
pub struct Keycloak {
    http: reqwest::Client,
    tokens: Tokens,
    /// Of the realm for users.
    realm: Url,
    /// Of the realm for administrators.
    admin: Url,
    name: String,
    sign_in: Option<OAuthClient>,
    /// That protections name, and that rules name.
    groups: [Vec<String>; 2],
    unlock: bool,
    /// What the last check has found.
    found: Mutex<Option<Found>>,
}

/// What a realm's administration hangs on.
#[derive(Clone, Debug)]
struct Found {
    /// Id of the client whose roles make an administrator.
    manager: String,
    /// Id of the operator's own user.
    own: String,
    /// What the Directory's paths of groups mean.
    groups: Vec<Named>,
}

/// Why there is no answer.
enum Unread {
    Token(NoToken),
    Failed(http::Failed),
}

impl Unread {
    fn why(&self) -> Why {
        match self {
            Self::Token(error) => Why::new(format!("{error}.")),
            Self::Failed(error) => Why::new(format!("the directory gave no answer: {error}.")),
        }
    }

    /// What it means for a call of which this was a part. Nothing of the call itself was sent where there was no token.
    fn reply(&self) -> Reply {
        match self {
            Self::Token(NoToken::Refused(_)) => Reply::Denied { code: "NO_TOKEN".to_owned() },
            Self::Token(NoToken::Unreachable(_) | NoToken::NoRealm | NoToken::NoServer)
            | Self::Failed(http::Failed::NotSent) => Reply::NotSent,
            Self::Failed(http::Failed::Broken | http::Failed::TooLarge | http::Failed::TooMany) => Reply::Unsure,
        }
    }
}

/// An answer whose status line came.
struct Answer {
    status: StatusCode,
    after: Option<u32>,
    /// Its server's clock, in whole seconds.
    date: Option<Timestamp>,
    /// Null, if it is no JSON.
    body: Result<Value, http::Failed>,
}

impl Answer {
    async fn read(response: reqwest::Response) -> Self {
        let date = response.headers().get(header::DATE).and_then(|value| value.to_str().ok());
        Self {
            status: response.status(),
            after: http::retry_after(&response),
            date: date.and_then(|text| Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp())),
            body: http::body(response).await.map(|bytes| serde_json::from_slice(&bytes).unwrap_or_default()),
        }
    }

    /// What is wrong, where there are several things the first, and how many there are.
    fn error(&self) -> Option<(&Value, usize)> {
        let body = self.body.as_ref().ok()?;
        match body.get("errors").and_then(Value::as_array) {
            Some(all) => Some((all.first()?, all.len())),
            None => Some((body, 1)),
        }
    }

    fn word(&self) -> Option<&str> {
        self.error().and_then(|(error, _)| error.get("error").or_else(|| error.get("errorMessage"))?.as_str())
    }

    /// Keycloak's own word for the error, with the attribute that it is about, or the status as one. A word that repeats `secret` is not
    /// shown.
    fn code(&self, secret: Option<&SecretString>) -> String {
        let is_code = |word: &&str| {
            (1..=64).contains(&word.len())
                && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
                && secret.is_none_or(|secret| !word.to_lowercase().contains(&secret.expose_secret().to_lowercase()))
        };
        let Some(word) = self.word().filter(is_code) else { return format!("HTTP_{}", self.status.as_u16()) };
        let (field, several) = self.error().map_or((None, 1), |(error, n)| (error.get("field"), n));
        let field = field.and_then(Value::as_str).filter(is_code).map(|field| format!(" of {field}"));
        let first = (several > 1).then(|| format!(", the first of {several}"));
        [Some(word.to_owned()), field, first].into_iter().flatten().collect()
    }

    /// It is about a user whom Keycloak does not know, not about a realm or an address that is not there.
    fn is_no_user(&self) -> bool {
        let says = |body: &Value| body.get("error").and_then(Value::as_str) == Some("User not found");
        self.status == StatusCode::NOT_FOUND && self.body.as_ref().is_ok_and(says)
    }

    /// The body of a successful read.
    fn into_read(self, what: &str) -> Result<Value, Why> {
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            let seconds = SignedDuration::from_secs(i64::from(self.after.unwrap_or(60)));
            let until = Timestamp::now().saturating_add(seconds).unwrap_or(Timestamp::MAX);
            let message = format!("the directory asks to be left alone until {until:.0}.");
            return Err(Why { message, not_before: Some(until) });
        }
        if !self.status.is_success() {
            return Err(Why::new(format!("the directory answered {what} with {}.", self.status.as_u16())));
        }
        match self.body {
            Ok(Value::Null) => Err(Why::new(format!("the directory answered {what} with something that is no JSON."))),
            Ok(body) => Ok(body),
            Err(error) => Err(Why::new(format!("the directory gave no answer that could be read to {what}: {error}."))),
        }
    }

    /// The same, where it must be a list.
    fn into_list(self, what: &str) -> Result<Vec<Value>, Why> {
        match self.into_read(what)? {
            Value::Array(all) => Ok(all),
            _ => Err(Why::new(format!("the directory answered {what} without a list."))),
        }
    }
}

impl From<Unread> for Why {
    fn from(unread: Unread) -> Self {
        unread.why()
    }
}

impl Keycloak {
    /// A connection as `spec` describes it. Sends nothing.
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
        let directory::Keycloak { url, realm, credentials: secret, sign_in_client, ca_bundle } = keycloak;
        let base = http::base("spec.provider.keycloak.url", url)?;
        if !is_segment(realm) {
            return Err("spec.provider.keycloak.realm is no name of a realm".to_owned());
        }
        if realm == "master" {
            // They hold roles of one client for each realm that they administer.
            return Err("spec.provider.keycloak.realm is master, whose users may administer other realms without showing it here: \
                        keep users whose passwords are reset in a realm of their own"
                .to_owned());
        }
        if let Some(group) = spec.groups().find(|group| !group.starts_with('/')) {
            return Err(format!(
                "{:?} is no group of Keycloak's: spec.allow and spec.protect name them by their full path, such as /Staff/Desk",
                text::shown(group, text::NAME)
            ));
        }
        let key = |name: &str| needed(credentials, &secret.secret, name);
        let id = key("client-id")?.expose_secret().to_owned();
        let client = OAuthClient { id, secret: Some(key("client-secret")?) };
        let sign_in = sign_in_client
            .as_ref()
            .map(|id| OAuthClient { id: id.clone(), secret: credential(credentials, "sign-in-client-secret") });
        let timeout = crate::api::duration(&spec.limits.request_timeout)
            .map_err(|e| format!("spec.limits.requestTimeout: {e}"))?;
        let timeout = std::time::Duration::try_from(timeout).unwrap_or_default();
        let users = under(&http::join(&base, "/realms"), &[realm]);
        Ok(Self {
            http: http::client(ca_bundle.as_deref(), timeout, http::is_loopback(&base))
                .map_err(|e| format!("spec.provider.keycloak: {e}"))?,
            tokens: Tokens::new(http::join(&users, "/protocol/openid-connect/token"), client),
            admin: under(&http::join(&base, "/admin/realms"), &[realm]),
            realm: users,
            name: realm.clone(),
            sign_in,
            groups: [
                spec.protect.groups.clone(),
                spec.allow.iter().flat_map(|rule| rule.users.groups.clone()).collect(),
            ],
            unlock: spec.unlock,
            found: Mutex::default(),
        })
    }

    fn found(&self) -> MutexGuard<'_, Option<Found>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of the realm's administration.
    fn url(&self, segments: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = under(&self.admin, segments);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// One request. `None`: nothing may be sent any more.
    async fn once(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
        may: impl FnOnce() -> bool,
    ) -> Result<Option<Answer>, Unread> {
        let token = self.tokens.get(&self.http).await.map_err(Unread::Token)?;
        if !may() {
            return Ok(None);
        }
        let request =
            self.http.request(method, url).header(header::AUTHORIZATION, http::authorization("Bearer", &token.value));
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let response = request.send().await.map_err(|error| Unread::Failed(error.into()))?;
        let answer = Answer::read(response).await;
        if answer.status == StatusCode::UNAUTHORIZED {
            self.tokens.forget(&token).await;
        }
        Ok(Some(answer))
    }

    /// A request that may be repeated: a token that is refused is renewed, once.
    async fn call(&self, method: Method, url: Url, body: Option<&Value>) -> Result<Answer, Unread> {
        let mut renewed = false;
        loop {
            match self.once(method.clone(), url.clone(), body, || true).await? {
                Some(answer) if answer.status == StatusCode::UNAUTHORIZED && !renewed => renewed = true,
                Some(answer) => return Ok(answer),
                None => return Err(Unread::Failed(http::Failed::NotSent)),
            }
        }
    }

    async fn get(&self, segments: &[&str], query: &[(&str, &str)]) -> Result<Answer, Unread> {
        self.call(Method::GET, self.url(segments, query), None).await
    }

    /// Something that is done if it is done already.
    async fn end(&self, method: Method, segments: &[&str]) -> Result<(), Why> {
        let answer = self.call(method, self.url(segments, &[]), None).await?;
        if answer.status.is_success() || answer.status == StatusCode::NOT_FOUND {
            Ok(())
        } else {
            Err(Why::new(format!("the directory answered {}.", answer.status.as_u16())))
        }
    }

    /// Sends the call, once.
    pub async fn perform(&self, fenced: Fenced, once: &Once, user: &User, password: Option<&SecretString>) -> Reply {
        let id = &user.id.id;
        if user.handle.get(look_up::MANAGED).is_some_and(|managed| managed == "false") {
            return self.forbidden().await;
        }
        match (once, password) {
            (
                Once::SetPassword {
                    force_change_on_login,
                    clear_mobile_sessions_and_api_tokens: _,
                    email_to_user: false,
                },
                Some(password),
            ) => self.set_password(id, password, *force_change_on_login, || fenced.pass()).await,
            (Once::RemoveFactors { factors, enrolled_before }, _) => {
                self.remove_factors(id, factors, *enrolled_before, || fenced.pass()).await
            }
            // Nothing of the kind is planned for this directory.
            (Once::SetPassword { .. } | Once::ResetMfa {}, _) => Reply::NotSent,
        }
    }

    /// Goes on with the removal of factors.
    pub async fn repeat(&self, once: &Once, user: &User, may: impl FnOnce() -> bool) -> Reply {
        match once {
            Once::RemoveFactors { factors, enrolled_before } => {
                self.remove_factors(&user.id.id, factors, *enrolled_before, may).await
            }
            Once::SetPassword { .. } | Once::ResetMfa {} => Reply::NotSent,
        }
    }

    async fn set_password(
        &self,
        id: &str,
        password: &SecretString,
        temporary: bool,
        may: impl FnOnce() -> bool,
    ) -> Reply {
        if !is_segment(id) {
            return Reply::NotSent;
        }
        let url = self.url(&["users", id, "reset-password"], &[]);
        let body = json!({"type": "password", "value": password.expose_secret(), "temporary": temporary});
        let answer = match self.once(Method::PUT, url, Some(&body), may).await {
            Ok(Some(answer)) => answer,
            Ok(None) => return Reply::NotSent,
            Err(error) => return error.reply(),
        };
        self.refusal(&answer, Some(password)).await.unwrap_or(Reply::Done)
    }

    /// For this user alone, if the account holds what it needs otherwise.
    async fn forbidden(&self) -> Reply {
        match self.check().await {
            Ok(_) => Reply::Rejected { code: "HTTP_403".to_owned() },
            Err(_) => Reply::Denied { code: "HTTP_403".to_owned() },
        }
    }

    /// What an answer to a write amounts to (protocol, section 6), unless it is a success.
    async fn refusal(&self, answer: &Answer, secret: Option<&SecretString>) -> Option<Reply> {
        Some(match answer.status.as_u16() {
            200..=299 => return None,
            403 => self.forbidden().await,
            404 if answer.is_no_user() => Reply::NoSuchUser,
            401 | 404 => Reply::Denied { code: answer.code(secret) },
            429 => Reply::Throttled { after: answer.after },
            // What a redirect leads to may be the result of what was done; a time-out or a server's failure may come after it.
            300..=399 | 408 | 500..=599 => Reply::Unsure,
            _ => match answer.word() {
                Some(word) if word.starts_with("invalidPassword") => {
                    Reply::PasswordRefused { code: answer.code(secret) }
                }
                Some(_) => Reply::Rejected { code: answer.code(secret) },
                // Perhaps not Keycloak's own.
                None => Reply::Unsure,
            },
        })
    }
}

/// `base` with `segments` behind it, each written so that it is one whatever it holds: to Keycloak a bare `;` ends it. What is no
/// segment was refused before.
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

/// Whether `text` can stand for one segment of a path.
fn is_segment(text: &str) -> bool {
    (1..=text::NAME).contains(&text.len()) && text != "." && text != ".." && !text.chars().any(text::is_hidden)
}
