//! The call: one request with the default body or a template.
use std::collections::{BTreeMap, BTreeSet};

use reqwest::{Method, header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use url::Url;

use super::{Answer, UNCHANGED_SINCE, Zoho, is_digits};
use crate::{
    api::directory::ResetPasswordFields,
    core::{
        call::{Call, Reply},
        directory::Feature,
        record::Record,
        seen::Seen,
        user::{NEVER_CHANGED, User},
    },
    directory::{Fenced, NotReady, rest::token::Token},
    http,
};

impl Zoho {
    /// Why nothing more may be sent with these credentials after the call was refused with `code`. A check cannot detect this, and wrong
    /// passwords lock the administrator's account.
    #[must_use]
    pub fn stopped_by(&self, code: &str) -> Option<NotReady> {
        let password = code.to_ascii_uppercase().replace('_', "").contains("ADMINPASSWORD");
        (password && self.admin_password.is_some()).then(|| {
            NotReady::CredentialsRefused(format!(
                "the directory refused the administrator's password with {code}. Nothing more is sent until key admin-password of the \
                 Secret is changed."
            ))
        })
    }

    /// What the calls support. A flag is supported if its placeholder is in the template, or its field in the default call.
    pub(super) fn supports(&self) -> BTreeSet<Feature> {
        let mut all = BTreeSet::from([Feature::ResetPassword, Feature::ResetMFA, Feature::ClearWebSessions]);
        let placeholders = [
            ("forceChangeOnLogin", Feature::ForceChangeOnLogin),
            ("forceChangeOnLogin", Feature::KeepAfterLogin),
            ("clearMobileSessionsAndApiTokens", Feature::ClearMobileSessionsAndApiTokens),
            ("emailToUser", Feature::EmailToUser),
        ];
        match (&self.reset_password, self.fields) {
            (Some(call), _) => {
                all.extend(placeholders.iter().filter(|(name, _)| call.uses(name)).map(|(_, feature)| *feature));
            }
            // The call sets the given password as it is.
            (None, None) => drop(all.insert(Feature::KeepAfterLogin)),
            (None, Some(fields)) => {
                all.extend([Feature::KeepAfterLogin, Feature::ClearMobileSessionsAndApiTokens]);
                if fields == ResetPasswordFields::OlderPage {
                    all.insert(Feature::ForceChangeOnLogin);
                }
            }
        }
        all
    }

    /// Sends the call, once.
    pub async fn perform(&self, fenced: Fenced, user: &User, password: Option<&SecretString>) -> Reply {
        let (call, precondition) = (fenced.call().clone(), fenced.precondition().map(str::to_owned));
        self.send(&call, precondition.as_deref(), user, password, || fenced.pass()).await
    }

    /// Sends the conditional call of `record` again. Calls `may_send` right before.
    pub async fn repeat(
        &self,
        record: &Record,
        precondition: &str,
        user: &User,
        password: Option<&SecretString>,
        may_send: impl FnOnce() -> bool,
    ) -> Reply {
        self.send(&record.call, Some(precondition), user, password, may_send).await
    }

    /// Sends one request. Calls `may_send` right before, when there is a token.
    async fn send(
        &self,
        call: &Call,
        precondition: Option<&str>,
        user: &User,
        password: Option<&SecretString>,
        may_send: impl FnOnce() -> bool,
    ) -> Reply {
        let token = match self.tokens.get(&self.http).await {
            Ok(token) => token,
            Err(error) => return error.reply(),
        };
        let Some((method, url, body)) = self.request(&token, call, precondition, user, password) else {
            return Reply::NotSent;
        };
        let request = self.http.request(method, url);
        let asked = self.http.ask(if body.is_null() { request } else { request.json(&body) }).await;
        drop(body);
        let Ok(request) = asked else { return Reply::NotSent };
        if !may_send() {
            return Reply::NotSent;
        }
        let request = request.header(header::AUTHORIZATION, http::authorization("Zoho-oauthtoken", &token.value));
        let answer = match self.http.send(request).await {
            Ok(answered) => Answer::read(answered),
            Err(http::Failed::NotSent) => return Reply::NotSent,
            Err(http::Failed::Broken | http::Failed::TooLarge | http::Failed::TooMany) => return Reply::Unsure,
        };
        if answer.status() == 401 {
            self.tokens.forget(&token).await;
        }
        if precondition.is_some() && matches!(answer.status(), 409 | 412) {
            return Reply::Conflict;
        }
        let secrets: Vec<&str> =
            [password, self.admin_password.as_ref()].into_iter().flatten().map(ExposeSecret::expose_secret).collect();
        match answer.reply(&secrets) {
            // Whatever the status, this error is about the administrator's password.
            Reply::Rejected { code } | Reply::PasswordRefused { code } if self.stopped_by(&code).is_some() => {
                Reply::Denied { code }
            }
            reply => reply,
        }
    }

    /// The body of the default call of mode Password. It includes flags that the request does not ask for, since superseded copies of
    /// Zoho's page name true as the default. `None`: the id does not fit the field `zuid`.
    fn default_body(&self, zuid: &str, call: &Call, password: &str) -> Option<Value> {
        let mut body = json!({"mode": "resetPassword", "password": password});
        let (Some(fields), Call::SetPassword { force_change_on_login, clear_mobile_sessions_and_api_tokens, .. }) =
            (self.fields, call)
        else {
            return Some(body);
        };
        body["zuid"] = json!(zuid.parse::<u64>().ok()?);
        // The name in the sample of one copy and, but for a blank, in the table of the other.
        body["resetAuthtoken"] = json!(clear_mobile_sessions_and_api_tokens);
        match fields {
            ResetPasswordFields::OlderPage => body["oneTimePassword"] = json!(force_change_on_login),
            ResetPasswordFields::OldestPage => {
                body["adminPassword"] = json!(self.admin_password.as_ref()?.expose_secret());
            }
        }
        Some(body)
    }

    /// Method, address and body of the call. `None`: ids, password or flags are not valid for it, so there is nothing to send.
    fn request(
        &self,
        token: &Token,
        call: &Call,
        precondition: Option<&str>,
        user: &User,
        password: Option<&SecretString>,
    ) -> Option<(Method, Url, Value)> {
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
        let (template, default) = match call {
            Call::SetPassword { force_change_on_login, clear_mobile_sessions_and_api_tokens, email_to_user } => {
                // The facts may be those of another template. A flag is never dropped.
                let supported = self.supports();
                let flags = [
                    (*force_change_on_login, Feature::ForceChangeOnLogin),
                    (!force_change_on_login, Feature::KeepAfterLogin),
                    (*clear_mobile_sessions_and_api_tokens, Feature::ClearMobileSessionsAndApiTokens),
                    (*email_to_user, Feature::EmailToUser),
                ];
                if flags.iter().any(|(asked, feature)| *asked && !supported.contains(feature)) {
                    return None;
                }
                let password = password?.expose_secret();
                values.extend([
                    ("password", json!(password)),
                    ("forceChangeOnLogin", json!(force_change_on_login)),
                    ("clearMobileSessionsAndApiTokens", json!(clear_mobile_sessions_and_api_tokens)),
                    ("emailToUser", json!(email_to_user)),
                ]);
                (&self.reset_password, self.default_body(zuid, call, password)?)
            }
            Call::RemoveFactors { .. } => return None,
            // The look-up reads whether MFA is on only for the default call, and it is evidence only for that call.
            Call::ResetMfa {} if self.reset_mfa.is_none() == (user.mfa_on == Seen::Unread) => return None,
            Call::ResetMfa {} => (&self.reset_mfa, json!({"mode": "updateTFAStatus", "tfaEnabled": false})),
        };
        // A precondition is never dropped, and never invented.
        if template.as_ref().is_some_and(|call| call.uses(UNCHANGED_SINCE)) != precondition.is_some() {
            return None;
        }
        values.insert(
            UNCHANGED_SINCE,
            precondition.filter(|at| *at != NEVER_CHANGED).map_or(Value::Null, |at| json!(at)),
        );
        if let Some(call) = template {
            let (path, body) = call.fill(&values);
            return Some((call.method.clone(), http::join(&self.api_of(token.api_domain.as_deref()), &path), body));
        }
        let path = format!("/api/organization/{}/accounts/{zuid}", self.zoid);
        Some((Method::PUT, http::join(&self.mail, &path), default))
    }
}
