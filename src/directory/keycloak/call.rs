//! The call: one request that sets the password, or the removal of second factors.
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::{Answer, Keycloak, is_segment, look_up::MANAGED};
use crate::{
    core::{
        call::{Call, Reply},
        record::Record,
        user::User,
    },
    directory::Fenced,
};

impl Keycloak {
    /// Sends the call, once.
    pub async fn perform(&self, fenced: Fenced, user: &User, password: Option<&SecretString>) -> Reply {
        let id = &user.id.id;
        if user.handle.get(MANAGED).is_some_and(|managed| managed == "false") {
            return self.forbidden().await;
        }
        match (fenced.call().clone(), password) {
            (
                Call::SetPassword {
                    force_change_on_login,
                    clear_mobile_sessions_and_api_tokens: _,
                    email_to_user: false,
                },
                Some(password),
            ) => self.set_password(id, password, force_change_on_login, || fenced.pass()).await,
            (Call::RemoveFactors { factors, enrolled_before }, _) => {
                self.remove_factors(id, &factors, enrolled_before, || fenced.pass()).await
            }
            // The core plans no such call for this directory.
            (Call::SetPassword { .. } | Call::ResetMfa {}, _) => Reply::NotSent,
        }
    }

    /// Continues the removal of factors. Calls `may_send` right before the first change.
    pub async fn repeat(&self, record: &Record, user: &User, may_send: impl FnOnce() -> bool) -> Reply {
        match &record.call {
            Call::RemoveFactors { factors, enrolled_before } => {
                self.remove_factors(&user.id.id, factors, *enrolled_before, may_send).await
            }
            Call::SetPassword { .. } | Call::ResetMfa {} => Reply::NotSent,
        }
    }

    async fn set_password(
        &self,
        id: &str,
        password: &SecretString,
        temporary: bool,
        may_send: impl FnOnce() -> bool,
    ) -> Reply {
        if !is_segment(id) {
            return Reply::NotSent;
        }
        let url = self.url(&["users", id, "reset-password"], &[]);
        let body = json!({"type": "password", "value": password.expose_secret(), "temporary": temporary});
        let answer = match self.send_once(Method::PUT, url, Some(&body), may_send).await {
            Ok(Some(answer)) => answer,
            Ok(None) => return Reply::NotSent,
            Err(error) => return error.reply(),
        };
        self.refusal(&answer, Some(password)).await.unwrap_or(Reply::Done)
    }

    /// What a 403 means: it concerns this user only, if the check shows that the operator's account has its rights.
    async fn forbidden(&self) -> Reply {
        match self.check().await {
            Ok(_) => Reply::Rejected { code: "HTTP_403".to_owned() },
            Err(_) => Reply::Denied { code: "HTTP_403".to_owned() },
        }
    }

    /// What the answer to a write means. `None`: it is a success.
    pub(super) async fn refusal(&self, answer: &Answer, secret: Option<&SecretString>) -> Option<Reply> {
        Some(match answer.status.as_u16() {
            200..=299 => return None,
            403 => self.forbidden().await,
            404 if answer.is_no_user() => Reply::NoSuchUser,
            401 | 404 => Reply::Denied { code: answer.code(secret) },
            429 => Reply::Throttled { after: answer.after },
            // A redirect may lead to the result of the change. A timeout or a server error may come after the change.
            300..=399 | 408 | 500..=599 => Reply::Unsure,
            _ => match answer.error_name() {
                Some(name) if name.starts_with("invalidPassword") => {
                    Reply::PasswordRefused { code: answer.code(secret) }
                }
                Some(_) => Reply::Rejected { code: answer.code(secret) },
                // The answer may not be Keycloak's own.
                None => Reply::Unsure,
            },
        })
    }
}
