//! Zoho Directory.
//!
//! Zoho publishes no endpoint for the console's "Reset Password" and "Reset MFA". The defaults here are what it does document:
//! Zoho Mail's administration (`PUT /api/organization/{zoid}/accounts/{zuid}`, modes `resetPassword` and `updateTFAStatus`,
//! zoho.com/mail/help/api/put-reset-user-password.html and put-change-tfa-status-user.html). Everything else is a template of
//! the Directory object.
mod answer;
mod centers;
mod look_up;
mod oauth;
mod template;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use reqwest::header;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use url::Url;

use super::{Checked, Credentials, Fenced, NotReady, http, needed};
use crate::{
    api::directory::{self, DirectorySpec, Guarantees},
    core::{
        ledger::{NEVER, Record, Reply},
        plan::{CleanUp, Once},
        request::Mode,
        world::{Feature, Guarantee, Proof, User, Why},
    },
};
use answer::Answer;
use centers::{CENTERS, hosts};
use look_up::users_of;
use oauth::{NoToken, OAuthClient, Token, Tokens};
use template::{Call, UNCHANGED_SINCE};

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

/// Why a read gave nothing.
enum Unread {
    Token(NoToken),
    Failed(http::Failed),
}

/// Where its accounts server, its API and Mail are, if that is said in one way only.
pub fn addresses(zoho: &directory::Zoho) -> Option<[String; 3]> {
    match (zoho.data_center, &zoho.urls) {
        (Some(center), None) => Some(hosts(center).map(|host| format!("https://{host}"))),
        (None, Some(urls)) => Some([&urls.accounts, &urls.api, &urls.mail].map(Clone::clone)),
        _ => None,
    }
}

impl Zoho {
    /// A connection as `spec` describes it. Sends nothing.
    ///
    /// # Errors
    /// Which field of the Directory or key of its Secret is wrong.
    pub fn connect(spec: &DirectorySpec, zoho: &directory::Zoho, credentials: &Credentials) -> Result<Self, NotReady> {
        Self::new(spec, zoho, credentials).map_err(|wrong| NotReady::InvalidConfiguration(format!("{wrong}.")))
    }

    fn new(spec: &DirectorySpec, zoho: &directory::Zoho, credentials: &Credentials) -> Result<Self, String> {
        let [accounts, api, mail] =
            addresses(zoho).ok_or("spec.provider.zoho must have exactly one of dataCenter and urls")?;
        let accounts = http::base("spec.provider.zoho.urls.accounts", &accounts)?;
        let api = http::base("spec.provider.zoho.urls.api", &api)?;
        let mail = http::base("spec.provider.zoho.urls.mail", &mail)?;
        for (name, id) in [("organization", &zoho.organization), ("zoid", &zoho.zoid)] {
            if !is_digits(id) {
                return Err(format!("spec.provider.zoho.{name} must be digits only"));
            }
        }
        let call = |name: &str, template, with_password| match template {
            None => Ok(None),
            Some(template) => Call::new(&format!("spec.provider.zoho.{name}"), template, with_password).map(Some),
        };
        let reset_password = call("resetPassword", zoho.reset_password.as_ref(), true)?;
        let reset_mfa = call("resetMFA", zoho.reset_mfa.as_ref(), false)?;
        let look_up = &zoho.look_up;
        for (call, name, field, at) in [
            (&reset_password, "resetPassword", "passwordChangedAt", &look_up.password_changed_at),
            (&reset_mfa, "resetMFA", "mfaChangedAt", &look_up.mfa_changed_at),
        ] {
            if call.as_ref().is_some_and(|call| call.uses(UNCHANGED_SINCE)) && at.is_none() {
                return Err(format!(
                    "spec.provider.zoho.{name} uses ${{{UNCHANGED_SINCE}}}, so spec.provider.zoho.lookUp.{field} must say where the \
                     time of the last change is shown"
                ));
            }
        }
        let secret = &zoho.credentials.secret;
        let key = |name: &str| needed(credentials, secret, name);
        let asks_admin = [&reset_password, &reset_mfa].into_iter().flatten().any(|call| call.uses("adminPassword"));
        let admin_password = if asks_admin {
            Some(key("admin-password").map_err(|e| format!("{e}, and a template asks for ${{adminPassword}}"))?)
        } else {
            None
        };
        let client =
            OAuthClient { id: key("client-id")?, secret: key("client-secret")?, refresh_token: key("refresh-token")? };
        let timeout = crate::api::duration(&spec.limits.request_timeout)
            .map_err(|e| format!("spec.limits.requestTimeout: {e}"))?;
        let timeout = std::time::Duration::try_from(timeout).unwrap_or_default();
        let local = [&accounts, &api, &mail].into_iter().any(http::is_loopback);
        Ok(Self {
            http: http::client(zoho.ca_bundle.as_deref(), timeout, local)
                .map_err(|e| format!("spec.provider.zoho: {e}"))?,
            tokens: Tokens::new(&accounts, client),
            api,
            mail,
            organization: zoho.organization.clone(),
            zoid: zoho.zoid.clone(),
            admin_password,
            reset_password,
            reset_mfa,
            password_changed_at: look_up.password_changed_at.clone(),
            mfa_changed_at: look_up.mfa_changed_at.clone(),
            groups: spec.groups().next().is_some(),
        })
    }

    /// Gets a token, compares what it may be used for with what `modes` need, and looks at the organization.
    ///
    /// # Errors
    /// Why the directory cannot be used.
    pub async fn check(&self, modes: &BTreeSet<Mode>) -> Result<Checked, NotReady> {
        let token = self.tokens.get(&self.http).await.map_err(|error| match error {
            NoToken::Refused(_) => NotReady::CredentialsRefused(format!("{error}.")),
            NoToken::Throttled(_) | NoToken::Unreachable(_) => NotReady::Unreachable(format!("{error}.")),
        })?;
        let needed = self.scopes(modes);
        let Some(granted) = &token.scopes else {
            self.tokens.forget(&token).await;
            return Err(NotReady::PermissionMissing(format!(
                "the accounts server does not say which scopes the refresh token was granted, so it cannot be told whether it \
                 holds {}.",
                needed.join(", ")
            )));
        };
        let missing: Vec<&str> = needed.into_iter().filter(|scope| !holds(granted, scope)).collect();
        if !missing.is_empty() {
            // A token granted before the administrator gave more rights would be judged for an hour.
            self.tokens.forget(&token).await;
            return Err(NotReady::PermissionMissing(format!(
                "the refresh token was granted without {}. Grant a new one with these scopes and put it into the Secret.",
                missing.join(", ")
            )));
        }
        let answer = self
            .get(&self.users_page(1, 1))
            .await
            .map_err(|error| NotReady::Unreachable(format!("{}.", why_unread(&error).message)))?;
        match answer.status() {
            _ if answer.is_throttle() => {}
            _ if answer.lacks_scope() => {
                return Err(NotReady::PermissionMissing(
                    "the access token lacks a scope for the look-up of users: grant a refresh token with \
                     ZohoDirectory.Users.READ."
                        .to_owned(),
                ));
            }
            401 => return Err(NotReady::CredentialsRefused("the directory refuses the access token.".to_owned())),
            403 => {
                return Err(NotReady::PermissionMissing(
                    "the directory refuses to show its users to this account: it must be an administrator.".to_owned(),
                ));
            }
            404 => {
                return Err(NotReady::InvalidConfiguration(format!(
                    "the directory knows no organization {}: look at spec.provider.zoho.organization.",
                    self.organization
                )));
            }
            _ => {}
        }
        users_of(answer).map_err(|why| NotReady::Unreachable(why.message))?;
        let guarantee = |call: &Option<Call>, field: &Option<String>| {
            if call.as_ref().is_some_and(|call| call.uses(UNCHANGED_SINCE)) {
                Guarantee::ExactlyOnce
            } else if field.is_some() {
                Guarantee::Provable
            } else {
                Guarantee::AtMostOnce
            }
        };
        Ok(Checked {
            identity: format!("zoho:{}/{}", self.api.as_str().trim_end_matches('/'), self.organization),
            guarantees: Guarantees {
                password: guarantee(&self.reset_password, &self.password_changed_at),
                mfa: Some(guarantee(&self.reset_mfa, &self.mfa_changed_at)),
            },
            supports: self.supports(),
            // Whatever Zoho ends, it ends with the call.
            apart: CleanUp::default(),
            remains: None,
            policy: crate::core::request::Policy::default(),
            unknown_groups: Vec::new(),
        })
    }

    /// Why nothing more may be sent with these credentials, if the call was refused with `code`. No check can tell, and an account is locked
    /// for wrong passwords.
    #[must_use]
    pub fn stopped_by(&self, code: &str) -> Option<NotReady> {
        let password = code.to_ascii_uppercase().replace('_', "").contains("ADMINPASSWORD");
        (password && self.admin_password.is_some()).then(|| {
            NotReady::CredentialsRefused(format!(
                "the directory refused the administrator's password with {code}. Nothing more is sent until key admin-password of the \
                 Secret is another."
            ))
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

    /// The scopes that are needed. What another service than Directory needs for a template is not known here.
    fn scopes(&self, modes: &BTreeSet<Mode>) -> Vec<&'static str> {
        let mut needed = BTreeSet::from(["ZohoDirectory.Users.READ", "ZohoMail.organization.accounts.READ"]);
        if self.groups {
            needed.insert("ZohoDirectory.Groups.READ");
        }
        for mode in modes {
            let call = match mode {
                Mode::Password => &self.reset_password,
                Mode::MFA => &self.reset_mfa,
            };
            match call {
                None => drop(needed.insert("ZohoMail.organization.accounts.UPDATE")),
                Some(call) if call.is_of_directory() => drop(needed.insert("ZohoDirectory.Users.UPDATE")),
                Some(_) => {}
            }
        }
        needed.into_iter().collect()
    }

    /// Where the account's data are. What a token says is followed to Zoho's own hosts only: the token goes there.
    fn api_of(&self, api_domain: Option<&str>) -> Url {
        let said = api_domain.and_then(|text| http::base("api_domain", text).ok());
        let zoho = |url: &Url| {
            CENTERS.iter().any(|center| url.host_str() == Some(hosts(*center)[1]) && url.scheme() == "https")
        };
        match said {
            // An address that the Directory gives is not Zoho's to change.
            Some(url) if zoho(&self.api) && zoho(&url) && url.port().is_none() && url.path() == "/" => url,
            _ => self.api.clone(),
        }
    }

    /// Reads `path` of the API (`/directory/...`) or of Mail (`/api/...`). A token that is refused is renewed once; one that
    /// lacks a scope is not, since the next would lack it, too.
    async fn get(&self, path: &str) -> Result<Answer, Unread> {
        let mut renewed = false;
        loop {
            let token = self.tokens.get(&self.http).await.map_err(Unread::Token)?;
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            let base =
                if path.starts_with("/api/") { self.mail.clone() } else { self.api_of(token.api_domain.as_deref()) };
            let mut url = http::join(&base, path);
            url.set_query(Some(query).filter(|query| !query.is_empty()));
            let request =
                self.http.get(url).header(header::AUTHORIZATION, http::authorization("Zoho-oauthtoken", &token.value));
            let response = request.send().await.map_err(|error| Unread::Failed(error.into()))?;
            let answer = Answer::read(response).await;
            if answer.status() != 401 || answer.lacks_scope() {
                return Ok(answer);
            }
            self.tokens.forget(&token).await;
            if renewed {
                return Ok(answer);
            }
            renewed = true;
        }
    }

    /// Sends the call, once.
    pub async fn perform(&self, fenced: Fenced, once: &Once, user: &User, password: Option<&SecretString>) -> Reply {
        let condition = fenced.condition().map(str::to_owned);
        self.send(once, condition.as_deref(), user, password, || fenced.pass()).await
    }

    /// Sends a conditional call again. `may` is asked right before.
    pub async fn repeat(
        &self,
        condition: &str,
        once: &Once,
        user: &User,
        password: Option<&SecretString>,
        may: impl FnOnce() -> bool,
    ) -> Reply {
        self.send(once, Some(condition), user, password, may).await
    }

    /// One request. `may` is asked when everything else has been fetched.
    async fn send(
        &self,
        once: &Once,
        condition: Option<&str>,
        user: &User,
        password: Option<&SecretString>,
        may: impl FnOnce() -> bool,
    ) -> Reply {
        let token = match self.tokens.get(&self.http).await {
            Ok(token) => token,
            Err(NoToken::Throttled(until)) => {
                let wait = until.duration_since(Timestamp::now()).as_secs();
                return Reply::Throttled { after: u32::try_from(wait).ok() };
            }
            Err(NoToken::Refused(_)) => return Reply::Denied { code: "NO_TOKEN".to_owned() },
            Err(NoToken::Unreachable(_)) => return Reply::NotSent,
        };
        let Some((method, url, body)) = self.request(&token, once, condition, user, password) else {
            return Reply::NotSent;
        };
        if !may() {
            return Reply::NotSent;
        }
        let request = self
            .http
            .request(method, url)
            .header(header::AUTHORIZATION, http::authorization("Zoho-oauthtoken", &token.value));
        let sent = if body.is_null() { request } else { request.json(&body) }.send().await;
        drop(body);
        let answer = match sent.map_err(http::Failed::from) {
            Ok(response) => Answer::read(response).await,
            Err(http::Failed::NotSent) => return Reply::NotSent,
            Err(http::Failed::Broken | http::Failed::TooLarge | http::Failed::TooMany) => return Reply::Unsure,
        };
        if answer.status() == 401 {
            self.tokens.forget(&token).await;
        }
        if condition.is_some() && matches!(answer.status(), 409 | 412) {
            return Reply::Conflict;
        }
        let secrets: Vec<&str> =
            [password, self.admin_password.as_ref()].into_iter().flatten().map(ExposeSecret::expose_secret).collect();
        answer.reply(&secrets)
    }

    /// The call's parts. `None`: ids, password or flags are not what they must be, so there is nothing to send.
    fn request(
        &self,
        token: &Token,
        once: &Once,
        condition: Option<&str>,
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
                // The gates may have seen another template. A flag is never dropped.
                let can = self.supports();
                let flags = [
                    (*force_change_on_login, Feature::ForceChangeOnLogin),
                    (!force_change_on_login, Feature::KeepAfterLogin),
                    (*clear_mobile_sessions_and_api_tokens, Feature::ClearMobileSessionsAndApiTokens),
                    (*email_to_user, Feature::EmailToUser),
                ];
                if flags.iter().any(|(asked, feature)| *asked && !can.contains(feature)) {
                    return None;
                }
                let password = password?.expose_secret();
                values.extend([
                    ("password", json!(password)),
                    ("forceChangeOnLogin", json!(force_change_on_login)),
                    ("clearMobileSessionsAndApiTokens", json!(clear_mobile_sessions_and_api_tokens)),
                    ("emailToUser", json!(email_to_user)),
                ]);
                (&self.reset_password, json!({"mode": "resetPassword", "password": password}))
            }
            Once::RemoveFactors { .. } => return None,
            Once::ResetMfa {} => (&self.reset_mfa, json!({"mode": "updateTFAStatus", "tfaEnabled": false})),
        };
        // A condition is never dropped, nor made up.
        if template.as_ref().is_some_and(|call| call.uses(UNCHANGED_SINCE)) != condition.is_some() {
            return None;
        }
        values.insert(UNCHANGED_SINCE, condition.filter(|at| *at != NEVER).map_or(Value::Null, |at| json!(at)));
        if let Some(call) = template {
            let (path, body) = call.fill(&values);
            return Some((call.method.clone(), http::join(&self.api_of(token.api_domain.as_deref()), &path), body));
        }
        let path = format!("/api/organization/{}/accounts/{zuid}", self.zoid);
        Some((reqwest::Method::PUT, http::join(&self.mail, &path), default))
    }

    /// Whether the directory shows a change within the attempt's time.
    ///
    /// # Errors
    /// Why it could not be asked.
    pub async fn verify(&self, record: &Record) -> Result<Proof, Why> {
        let Some(changed) = self.last_change(&record.user.id, record.mode).await? else {
            return Ok(Proof::Nothing("The directory no longer shows the user.".to_owned()));
        };
        Ok(record.marker(&changed, Timestamp::now()))
    }
}

/// Case differs in Zoho's own documentation; ALL covers every operation.
fn holds(granted: &[String], scope: &str) -> bool {
    let scope = scope.to_lowercase();
    let all = scope.rsplit_once('.').map(|(service, _)| format!("{service}.all"));
    granted.contains(&scope) || all.is_some_and(|all| granted.contains(&all))
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
