//! Zoho Directory.
//!
//! Zoho publishes no endpoint for the console's "Reset Password" and "Reset MFA". The defaults here are what it does document:
//! Zoho Mail's administration (`PUT /api/organization/{zoid}/accounts/{zuid}`, modes `resetPassword` and `updateTFAStatus`,
//! zoho.com/mail/help/api/put-reset-user-password.html and put-change-tfa-status-user.html). Everything else is a template of
//! the Directory object.
mod look_up;
mod oauth;
mod template;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use reqwest::{StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use url::Url;

use super::{Checked, Credentials, Fenced, NotReady, http};
use crate::{
    api::directory::{DataCenter, DirectorySpec, Guarantees, Provider},
    core::{
        ledger::{Evidence, MARGIN, Record, Reply},
        plan::Once,
        request::{Mode, UserRef},
        world::{Feature, Found, Guarantee, Proof, Seen, User, Why},
    },
};
use oauth::{NoToken, OAuthClient, Token, Tokens};
use template::Call;

/// A connection to one organization.
#[derive(Debug)]
pub struct Zoho {
    http: reqwest::Client,
    tokens: Tokens,
    api: Url,
    mail: Url,
    organization: String,
    zoid: String,
    admin_password: Option<SecretString>,
    reset_password: Option<Call>,
    reset_mfa: Option<Call>,
    password_changed_at: Option<String>,
    mfa_changed_at: Option<String>,
    /// Rules or protections name groups.
    groups: bool,
}

/// Accounts, API and Mail hosts of a data center (zoho.com/accounts/protocol/oauth/multi-dc.html;
/// zoho.com/mail/help/api/getting-started-with-api.html; those of sa, uk and ae for Mail follow the same pattern).
fn hosts(center: DataCenter) -> [&'static str; 3] {
    match center {
        DataCenter::Us => ["accounts.zoho.com", "www.zohoapis.com", "mail.zoho.com"],
        DataCenter::Eu => ["accounts.zoho.eu", "www.zohoapis.eu", "mail.zoho.eu"],
        DataCenter::In => ["accounts.zoho.in", "www.zohoapis.in", "mail.zoho.in"],
        DataCenter::Au => ["accounts.zoho.com.au", "www.zohoapis.com.au", "mail.zoho.com.au"],
        DataCenter::Cn => ["accounts.zoho.com.cn", "www.zohoapis.com.cn", "mail.zoho.com.cn"],
        DataCenter::Jp => ["accounts.zoho.jp", "www.zohoapis.jp", "mail.zoho.jp"],
        DataCenter::Ca => ["accounts.zohocloud.ca", "www.zohoapis.ca", "mail.zohocloud.ca"],
        DataCenter::Sa => ["accounts.zoho.sa", "www.zohoapis.sa", "mail.zoho.sa"],
        DataCenter::Uk => ["accounts.zoho.uk", "www.zohoapis.uk", "mail.zoho.uk"],
        DataCenter::Ae => ["accounts.zoho.ae", "www.zohoapis.ae", "mail.zoho.ae"],
    }
}

const CENTERS: [DataCenter; 10] = [
    DataCenter::Us,
    DataCenter::Eu,
    DataCenter::In,
    DataCenter::Au,
    DataCenter::Cn,
    DataCenter::Jp,
    DataCenter::Ca,
    DataCenter::Sa,
    DataCenter::Uk,
    DataCenter::Ae,
];

/// An answer that was read.
struct Answer {
    status: StatusCode,
    after: Option<u32>,
    /// None: it is no JSON.
    body: Option<Value>,
    /// Its beginning says "too many requests continuously".
    says_too_many: bool,
}

/// Why a read gave nothing.
enum Unread {
    Token(NoToken),
    Failed(http::Failed),
}

impl Zoho {
    /// A connection as `spec` describes it. Sends nothing.
    ///
    /// # Errors
    /// Which field of the Directory or key of its Secret is wrong.
    pub fn connect(spec: &DirectorySpec, credentials: &Credentials) -> Result<Self, NotReady> {
        Self::new(spec, credentials).map_err(|wrong| NotReady::InvalidConfiguration(format!("{wrong}.")))
    }

    fn new(spec: &DirectorySpec, credentials: &Credentials) -> Result<Self, String> {
        let Provider { zoho } = &spec.provider;
        let [accounts, api, mail] = match (zoho.data_center, &zoho.urls) {
            (Some(center), None) => hosts(center).map(|host| format!("https://{host}")),
            (None, Some(urls)) => [&urls.accounts, &urls.api, &urls.mail].map(Clone::clone),
            _ => return Err("spec.provider.zoho must have exactly one of dataCenter and urls".to_owned()),
        };
        let accounts = http::base("spec.provider.zoho.urls.accounts", &accounts)?;
        let api = http::base("spec.provider.zoho.urls.api", &api)?;
        let mail = http::base("spec.provider.zoho.urls.mail", &mail)?;
        let call = |name: &str, template, with_password| match template {
            None => Ok(None),
            Some(template) => Call::new(&format!("spec.provider.zoho.{name}"), template, with_password).map(Some),
        };
        let reset_password = call("resetPassword", zoho.reset_password.as_ref(), true)?;
        let reset_mfa = call("resetMFA", zoho.reset_mfa.as_ref(), false)?;
        let secret = &zoho.credentials.secret;
        let key = |name: &str| {
            let value = credentials.get(name).filter(|value| !value.expose_secret().trim().is_empty());
            value.cloned().ok_or_else(|| format!("Secret {secret} has no key {name}, or it is empty"))
        };
        let asks_admin = [&reset_password, &reset_mfa].into_iter().flatten().any(|call| call.uses("adminPassword"));
        let admin_password = if asks_admin {
            Some(key("admin-password").map_err(|e| format!("{e}, and a template asks for ${{adminPassword}}"))?)
        } else {
            None
        };
        let trimmed = |value: SecretString| SecretString::from(value.expose_secret().trim());
        let client = OAuthClient {
            id: key("client-id")?.expose_secret().trim().to_owned(),
            secret: trimmed(key("client-secret")?),
            refresh_token: trimmed(key("refresh-token")?),
        };
        let timeout = crate::api::duration(&spec.limits.request_timeout)
            .map_err(|e| format!("spec.limits.requestTimeout: {e}"))?;
        let timeout = std::time::Duration::try_from(timeout).unwrap_or_default();
        Ok(Self {
            http: http::client(zoho.ca_bundle.as_deref(), timeout).map_err(|e| format!("spec.provider.zoho: {e}"))?,
            tokens: Tokens::new(&accounts, client),
            api,
            mail,
            organization: zoho.organization.clone(),
            zoid: zoho.zoid.clone(),
            admin_password,
            reset_password,
            reset_mfa,
            password_changed_at: zoho.look_up.password_changed_at.clone(),
            mfa_changed_at: zoho.look_up.mfa_changed_at.clone(),
            groups: !spec.protect.groups.is_empty() || spec.allow.iter().any(|rule| !rule.users.groups.is_empty()),
        })
    }

    /// Gets a token, compares what it may be used for with what `modes` need, and looks at the organization.
    ///
    /// # Errors
    /// Why the directory cannot be used.
    pub async fn check(&self, modes: &BTreeSet<Mode>) -> Result<Checked, NotReady> {
        let token = self.tokens.get(&self.http).await.map_err(|error| match error {
            NoToken::Refused(_) => NotReady::CredentialsRefused(format!("{error}. Look at the Secret that it names.")),
            NoToken::Throttled(_) | NoToken::Unreachable(_) => NotReady::Unreachable(format!("{error}.")),
        })?;
        let missing = self.missing(&token, modes);
        if !missing.is_empty() {
            // A token granted before the administrator gave more rights would be judged for an hour.
            self.tokens.forget(&token).await;
            return Err(NotReady::PermissionMissing(format!(
                "the refresh token was granted without {}. Grant a new one with these scopes.",
                missing.join(", ")
            )));
        }
        let answer = self
            .get(&self.users_page(1, 1))
            .await
            .map_err(|error| NotReady::Unreachable(format!("{}.", why_unread(&error).message)))?;
        match (answer.status.as_u16(), answer.failure()) {
            (200..=299, None) => {}
            (_, Some(code)) if answer.is_throttle() => {
                return Err(NotReady::Unreachable(format!(
                    "the directory asks to be left alone for a while ({code})."
                )));
            }
            (401, _) => return Err(NotReady::CredentialsRefused("the directory refuses the access token.".to_owned())),
            (403, _) => {
                return Err(NotReady::PermissionMissing(
                    "the directory refuses to show its users to this account: it must be an administrator.".to_owned(),
                ));
            }
            (404, _) => {
                return Err(NotReady::InvalidConfiguration(format!(
                    "the directory knows no organization {}: look at spec.provider.zoho.organization.",
                    self.organization
                )));
            }
            (status, code) => {
                let code = code.unwrap_or_default();
                return Err(NotReady::Unreachable(format!("the directory answered the look-up with {status} {code}.")));
            }
        }
        let provable =
            |field: &Option<String>| if field.is_some() { Guarantee::Provable } else { Guarantee::AtMostOnce };
        Ok(Checked {
            identity: format!("zoho:{}/{}", self.api.as_str().trim_end_matches('/'), self.organization),
            guarantees: Guarantees {
                password: provable(&self.password_changed_at),
                mfa: provable(&self.mfa_changed_at),
            },
            supports: self.supports(),
        })
    }

    /// A flag is supported exactly if its placeholder is in the template.
    fn supports(&self) -> BTreeSet<Feature> {
        let mut all = BTreeSet::from([Feature::ResetPassword, Feature::ResetMFA, Feature::ClearWebSessions]);
        let placeholders = [
            ("forceChangeOnLogin", Feature::ForceChangeOnLogin),
            ("forceChangeOnLogin", Feature::KeepAfterLogin),
            ("clearMobileSessionsAndApiTokens", Feature::ClearMobileSessionsAndApiTokens),
            ("emailToUser", Feature::EmailToUser),
        ];
        match &self.reset_password {
            Some(call) => {
                all.extend(placeholders.iter().filter(|(name, _)| call.uses(name)).map(|(_, feature)| *feature));
            }
            // It sets exactly the password that is given.
            None => drop(all.insert(Feature::KeepAfterLogin)),
        }
        all
    }

    /// Scopes that are needed and were not granted.
    fn missing(&self, token: &Token, modes: &BTreeSet<Mode>) -> Vec<String> {
        let mut needed = BTreeSet::from(["ZohoDirectory.Users.READ", "ZohoMail.organization.accounts.READ"]);
        if self.groups {
            needed.insert("ZohoDirectory.Groups.READ");
        }
        for mode in modes {
            let call = match mode {
                Mode::Password => &self.reset_password,
                Mode::MFA => &self.reset_mfa,
            };
            needed.insert(if call.is_some() {
                "ZohoDirectory.Users.UPDATE"
            } else {
                "ZohoMail.organization.accounts.UPDATE"
            });
        }
        let Some(granted) = &token.scopes else { return needed.into_iter().map(str::to_owned).collect() };
        let has = |scope: &str| {
            let scope = scope.to_lowercase();
            let all = scope.rsplit_once('.').map(|(service, _)| format!("{service}.all"));
            granted.contains(&scope) || all.is_some_and(|all| granted.contains(&all))
        };
        needed.into_iter().filter(|scope| !has(scope)).map(str::to_owned).collect()
    }

    /// Where the account's data are. What a token says is followed to Zoho's own hosts only: the token goes there.
    fn api_of(&self, token: &Token) -> Url {
        let said = token.api_domain.as_deref().and_then(|text| http::base("api_domain", text).ok());
        let zoho = |url: &Url| {
            CENTERS.iter().any(|center| url.host_str() == Some(hosts(*center)[1]) && url.scheme() == "https")
        };
        match said {
            // An address that the Directory gives is not Zoho's to change.
            Some(url) if zoho(&self.api) && zoho(&url) && url.port().is_none() && url.path() == "/" => url,
            _ => self.api.clone(),
        }
    }

    /// Reads `path` of the API (`/directory/...`) or of Mail (`/api/...`). A token that is refused is renewed once.
    async fn get(&self, path: &str) -> Result<Answer, Unread> {
        let mut renewed = false;
        loop {
            let token = self.tokens.get(&self.http).await.map_err(Unread::Token)?;
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            let base = if path.starts_with("/api/") { self.mail.clone() } else { self.api_of(&token) };
            let mut url = http::join(&base, path);
            url.set_query(Some(query).filter(|query| !query.is_empty()));
            let request = self.http.get(url).header(header::AUTHORIZATION, authorization(&token));
            let response = request.send().await.map_err(|error| Unread::Failed(error.into()))?;
            if response.status() == StatusCode::UNAUTHORIZED && !renewed {
                renewed = true;
                self.tokens.forget(&token).await;
                continue;
            }
            return Answer::read(response).await.map_err(Unread::Failed);
        }
    }

    /// Sends the call, once.
    pub async fn perform(&self, fenced: Fenced, once: &Once, user: &User, password: Option<&SecretString>) -> Reply {
        let token = match self.tokens.get(&self.http).await {
            Ok(token) => token,
            Err(NoToken::Throttled(until)) => {
                let wait = until.duration_since(Timestamp::now()).as_secs();
                return Reply::Throttled { after: u32::try_from(wait).ok() };
            }
            Err(NoToken::Refused(_)) => return Reply::Denied,
            Err(NoToken::Unreachable(_)) => return Reply::NotSent,
        };
        let Some((method, url, body)) = self.request(&token, once, user, password) else { return Reply::NotSent };
        if !fenced.pass() {
            return Reply::NotSent;
        }
        let sent = self
            .http
            .request(method, url)
            .header(header::AUTHORIZATION, authorization(&token))
            .json(&body)
            .send()
            .await;
        drop(body);
        match sent {
            Err(error) => match http::Failed::from(error) {
                http::Failed::NotSent => Reply::NotSent,
                http::Failed::Broken | http::Failed::TooLarge => Reply::Unsure,
            },
            Ok(response) => {
                let status = response.status();
                if status == StatusCode::UNAUTHORIZED {
                    self.tokens.forget(&token).await;
                }
                match Answer::read(response).await {
                    Ok(answer) => answer.reply(),
                    // The status line came; without its body a success is no clear one.
                    Err(_) if status.is_client_error() => Reply::Rejected { code: format!("HTTP_{}", status.as_u16()) },
                    Err(_) => Reply::Unsure,
                }
            }
        }
    }

    /// The call's parts. `None`: the user's ids or the password are not what they must be, so there is nothing to send.
    fn request(
        &self,
        token: &Token,
        once: &Once,
        user: &User,
        password: Option<&SecretString>,
    ) -> Option<(reqwest::Method, Url, Value)> {
        let zuid = user.handle.get("zuid").filter(|zuid| is_digits(zuid))?;
        let id = Some(&user.id.id).filter(|id| is_digits(id))?;
        let mut values = BTreeMap::from([
            ("organization", json!(self.organization)),
            ("zoid", json!(self.zoid)),
            ("user.id", json!(id)),
            ("user.zuid", json!(zuid)),
            ("user.email", json!(user.email)),
        ]);
        if let Some(admin) = &self.admin_password {
            values.insert("adminPassword", json!(admin.expose_secret()));
        }
        let (template, default) = match once {
            Once::SetPassword { force_change_on_login, clear_mobile_sessions_and_api_tokens, email_to_user } => {
                let password = password?.expose_secret();
                values.extend([
                    ("password", json!(password)),
                    ("forceChangeOnLogin", json!(force_change_on_login)),
                    ("clearMobileSessionsAndApiTokens", json!(clear_mobile_sessions_and_api_tokens)),
                    ("emailToUser", json!(email_to_user)),
                ]);
                (&self.reset_password, json!({"mode": "resetPassword", "password": password}))
            }
            Once::ResetMfa => (&self.reset_mfa, json!({"mode": "updateTFAStatus", "tfaEnabled": false})),
        };
        if let Some(call) = template {
            let (path, body) = call.fill(&values);
            return Some((call.method.clone(), http::join(&self.api_of(token), &path), body));
        }
        let path = format!("/api/organization/{}/accounts/{zuid}", self.zoid);
        Some((reqwest::Method::PUT, http::join(&self.mail, &path), default))
    }

    /// Whether the directory shows a change within the attempt's time.
    ///
    /// # Errors
    /// Why it could not be asked.
    pub async fn verify(&self, record: &Record) -> Result<Proof, Why> {
        let found = self.look_up(&UserRef::Id(record.user.id.clone()), record.mode, false).await?;
        let Some(Found::One(user)) = found else {
            return Ok(Proof::Nothing("The directory no longer shows the user.".to_owned()));
        };
        let now = Timestamp::now().strftime("%H:%M");
        let unchanged =
            |since: &str| format!("The directory shows the {} unchanged since {since}, as of {now} UTC.", record.mode);
        let earliest = record.attempt.started_at.saturating_sub(MARGIN).unwrap_or(Timestamp::MIN);
        let latest = record.attempt.deadline.saturating_add(SignedDuration::from_hours(1)).unwrap_or(Timestamp::MAX);
        Ok(match &user.changed_at {
            Seen::Known(at) if user.baseline() != record.attempt.baseline && *at >= earliest && *at <= latest => {
                Proof::Proven(Evidence::Marker)
            }
            Seen::Known(at) => Proof::Nothing(unchanged(&at.to_string())),
            Seen::Absent => Proof::Nothing(unchanged("ever")),
            Seen::Unread | Seen::Unknown(_) => {
                Proof::Nothing("The directory shows no time of the last change.".to_owned())
            }
        })
    }
}

impl Answer {
    async fn read(response: reqwest::Response) -> Result<Self, http::Failed> {
        let status = response.status();
        let after = http::retry_after(&response);
        let bytes = http::body(response).await?;
        let says_too_many = bytes.windows(18).take(2000).any(|w| w.eq_ignore_ascii_case(b"too many requests "));
        Ok(Self { status, after, body: serde_json::from_slice(&bytes).ok().filter(Value::is_object), says_too_many })
    }

    /// The code of an error, if the answer is one. Errors come with status 200, too.
    fn failure(&self) -> Option<String> {
        let http = || format!("HTTP_{}", self.status.as_u16());
        let Some(body) = &self.body else { return (!self.status.is_success()).then(http) };
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str);
        let named = text("/error")
            .or_else(|| text("/error/title"))
            .or_else(|| text("/errorCode"))
            .or_else(|| text("/data/errorCode"))
            .or_else(|| text("/code"));
        let number = |pointer: &str| {
            let value = body.pointer(pointer)?;
            value.as_i64().or_else(|| value.as_str()?.parse().ok())
        };
        let said = number("/status_code").or_else(|| number("/status/code"));
        let bad = said.is_some_and(|said| !(200..300).contains(&said))
            || ["/error", "/errorCode", "/data/errorCode"]
                .iter()
                .any(|p| body.pointer(p).is_some_and(|v| !v.is_null()))
            || body.pointer("/status").and_then(Value::as_str).is_some_and(|s| matches!(s, "error" | "failure"));
        match (self.status.is_success(), bad) {
            (true, false) => None,
            _ => Some(named.map_or_else(|| said.filter(|_| bad).map_or_else(http, |s| format!("HTTP_{s}")), code)),
        }
    }

    fn is_throttle(&self) -> bool {
        let named = self.failure().is_some_and(|code| {
            code == "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED" || code.eq_ignore_ascii_case("request_limit_exceeded")
        });
        self.status == StatusCode::TOO_MANY_REQUESTS
            || named
            || (self.status == StatusCode::BAD_REQUEST && self.says_too_many)
    }

    /// What an answer to the call amounts to.
    fn reply(&self) -> Reply {
        let status = self.status.as_u16();
        if self.is_throttle() {
            return Reply::Throttled { after: self.after };
        }
        let failure = self.failure();
        // The body's own number counts where the status line says success.
        let said = match (&failure, status) {
            (Some(code), 200..=299) => code.strip_prefix("HTTP_").and_then(|n| n.parse().ok()).unwrap_or(400),
            _ => status,
        };
        // Our own right to call, not the user's fault: the address may also be one that this scope does not open.
        let ours = [
            "INVALID_OAUTHTOKEN",
            "INVALID_OAUTHSCOPE",
            "OAUTH_SCOPE_MISMATCH",
            "URL_RULE_NOT_CONFIGURED",
            "INVALID_URL_PATTERN",
        ];
        match (said, failure) {
            (200..=299, None) if self.body.is_some() || status == 204 => Reply::Done,
            // A success without a body that could be read is no clear one; and a server's failure may come after the change.
            (200..=299 | 500..=599, _) => Reply::Unsure,
            (403, Some(code)) if code.starts_with("USER_") => Reply::Rejected { code },
            (_, Some(code)) if ours.contains(&code.as_str()) => Reply::Denied,
            (401 | 403, _) => Reply::Denied,
            (404, _) => Reply::NoSuchUser,
            // A redirect says that nothing was done here; where it leads is not followed.
            (_, code) => Reply::Rejected { code: code.unwrap_or_else(|| format!("HTTP_{status}")) },
        }
    }
}

fn authorization(token: &Token) -> header::HeaderValue {
    let text = format!("Zoho-oauthtoken {}", token.value.expose_secret());
    let mut value =
        header::HeaderValue::from_str(&text).unwrap_or_else(|_| header::HeaderValue::from_static("Zoho-oauthtoken"));
    value.set_sensitive(true);
    value
}

/// An error code as it may be shown: short, and of harmless characters.
fn code(text: &str) -> String {
    let clean: String =
        text.replace(' ', "_").chars().filter(|c| c.is_ascii_alphanumeric() || "_.-".contains(*c)).take(64).collect();
    if clean.is_empty() { "UNNAMED".to_owned() } else { clean }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.len() <= 32 && text.bytes().all(|b| b.is_ascii_digit())
}

fn why_unread(error: &Unread) -> Why {
    match error {
        Unread::Token(NoToken::Throttled(until)) => {
            Why { message: NoToken::Throttled(*until).to_string(), not_before: Some(*until) }
        }
        Unread::Token(error) => Why::new(error.to_string()),
        Unread::Failed(error) => Why::new(format!("the directory gave no answer: {error}")),
    }
}
