//! Zoho Directory.
//!
//! Zoho publishes no endpoint for the console's "Reset Password" and "Reset MFA". By default the operator calls what Zoho does document:
//! Zoho Mail's administration (`PUT /api/organization/{zoid}/accounts/{zuid}`, modes `resetPassword` and `updateTFAStatus`,
//! zoho.com/mail/help/api/put-reset-user-password.html and put-change-tfa-status-user.html). The
//! Directory object can have templates for other endpoints.
mod answer;
mod call;
mod check;
mod data_centers;
mod evidence;
mod look_up;
mod template;
#[cfg(test)]
mod tests;
mod token;

use std::sync::Arc;

use reqwest::{Method, header};
use secrecy::SecretString;
use url::Url;

use super::{
    Credentials, NotReady, request_timeout, required,
    rest::{Unread, token::Tokens},
};
use crate::{
    api::directory::{self, DirectorySpec, ResetPasswordFields},
    http,
};
use answer::Answer;
use data_centers::{DATA_CENTERS, hosts};
use template::{CheckedTemplate, UNCHANGED_SINCE};
use token::{Accounts, OAuthClient, tokens_of};

/// A connection to one organization.
#[derive(Debug)]
pub struct Zoho {
    pub(super) http: http::Http,
    tokens: Arc<Tokens<Accounts>>,
    api: Url,
    mail: Url,
    organization: String,
    zoid: String,
    admin_password: Option<SecretString>,
    reset_password: Option<CheckedTemplate>,
    /// Fields that the default call has in addition to those of Zoho's current page.
    fields: Option<ResetPasswordFields>,
    reset_mfa: Option<CheckedTemplate>,
    password_changed_at: Option<String>,
    mfa_changed_at: Option<String>,
    /// Whether rules or protections name groups.
    groups: bool,
}

/// Addresses of the accounts server, the API and Mail. `None`: `zoho` names none, or names them in two ways.
pub fn addresses(zoho: &directory::Zoho) -> Option<[String; 3]> {
    match (zoho.data_center, &zoho.urls) {
        (Some(center), None) => Some(hosts(center).map(|host| format!("https://{host}"))),
        (None, Some(urls)) => Some([&urls.accounts, &urls.api, &urls.mail].map(Clone::clone)),
        _ => None,
    }
}

impl Zoho {
    /// Creates a connection from `spec`. Sends nothing.
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
            Some(template) => {
                CheckedTemplate::new(&format!("spec.provider.zoho.{name}"), template, with_password).map(Some)
            }
        };
        let reset_password = call("resetPassword", zoho.reset_password.as_ref(), true)?;
        let reset_mfa = call("resetMFA", zoho.reset_mfa.as_ref(), false)?;
        let fields = zoho.reset_password_fields;
        if fields.is_some() && reset_password.is_some() {
            return Err(
                "spec.provider.zoho.resetPasswordFields is about the default call: leave it out, or resetPassword"
                    .to_owned(),
            );
        }
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
        let key = |name: &str| required(credentials, secret, name);
        let in_template = [&reset_password, &reset_mfa].into_iter().flatten().any(|call| call.uses("adminPassword"));
        let needed_for = match fields {
            _ if in_template => Some("a template asks for ${adminPassword}"),
            Some(ResetPasswordFields::OldestPage) => Some("resetPasswordFields: OldestPage sends it"),
            Some(ResetPasswordFields::OlderPage) | None => None,
        };
        let admin_password =
            needed_for.map(|why| key("admin-password").map_err(|e| format!("{e}, and {why}"))).transpose()?;
        let client =
            OAuthClient { id: key("client-id")?, secret: key("client-secret")?, refresh_token: key("refresh-token")? };
        let timeout = request_timeout(spec)?;
        let local = [&accounts, &api, &mail].into_iter().any(http::is_loopback);
        Ok(Self {
            http: http::client(zoho.ca_bundle.as_deref(), timeout, local)
                .map(http::Http::new)
                .map_err(|e| format!("spec.provider.zoho: {e}"))?,
            tokens: tokens_of(&accounts, client),
            api,
            mail,
            organization: zoho.organization.clone(),
            zoid: zoho.zoid.clone(),
            admin_password,
            reset_password,
            fields,
            reset_mfa,
            password_changed_at: look_up.password_changed_at.clone(),
            mfa_changed_at: look_up.mfa_changed_at.clone(),
            groups: spec.groups().next().is_some(),
        })
    }

    /// Base address of the API for the account. Uses the address that came with the token only if it is one of Zoho's own hosts, since the
    /// token is sent there.
    fn api_of(&self, api_domain: Option<&str>) -> Url {
        let named = api_domain.and_then(|text| http::base("api_domain", text).ok());
        let zoho = |url: &Url| {
            DATA_CENTERS.iter().any(|center| url.host_str() == Some(hosts(*center)[1]) && url.scheme() == "https")
        };
        match named {
            // An answer of Zoho must not change an address that the Directory names.
            Some(url) if zoho(&self.api) && zoho(&url) && url.port().is_none() && url.path() == "/" => url,
            _ => self.api.clone(),
        }
    }

    /// Reads `path` of the API (`/directory/...`) or of Mail (`/api/...`). If the token is rejected, sends the
    /// request again with a new one, once; but not if the token lacks a scope, since the next would lack it, too.
    async fn get(&self, path: &str) -> Result<Answer, Unread> {
        let mut renewed = false;
        loop {
            let token = self.tokens.get(&self.http).await.map_err(Unread::Token)?;
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            let base =
                if path.starts_with("/api/") { self.mail.clone() } else { self.api_of(token.api_domain.as_deref()) };
            let mut url = http::join(&base, path);
            url.set_query(Some(query).filter(|query| !query.is_empty()));
            let request = self.http.ask(self.http.request(Method::GET, url)).await.map_err(Unread::Failed)?;
            let request = request.header(header::AUTHORIZATION, http::authorization("Zoho-oauthtoken", &token.value));
            let answer = Answer::read(self.http.send(request).await.map_err(Unread::Failed)?);
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
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.len() <= 32 && text.bytes().all(|b| b.is_ascii_digit())
}
