//! Removes second factors one by one. A repeat continues where the last one stopped.
use std::collections::BTreeSet;

use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    Answer, Keycloak, is_segment,
    look_up::{Credential, credentials_of},
};
use crate::{
    core::{actions::is_due, call::Reply, request::Factor},
    directory::rest::Unread,
};

/// The required action with which a user enrols a new factor of this kind.
pub(super) fn enrolment(kind: &str) -> Option<&'static str> {
    match kind {
        "otp" => Some("CONFIGURE_TOTP"),
        "webauthn" => Some("webauthn-register"),
        "webauthn-passwordless" => Some("webauthn-register-passwordless"),
        "recovery-authn-codes" => Some("CONFIGURE_RECOVERY_AUTHN_CODES"),
        _ => None,
    }
}

/// The credentials that a request removes.
pub(super) fn due<'a>(
    all: &'a [Credential],
    factors: &'a [Factor],
    enrolled_before: Timestamp,
) -> impl Iterator<Item = &'a Credential> {
    all.iter().filter(move |c| is_due(c.factor(), c.created, factors, enrolled_before))
}

impl Keycloak {
    /// Makes Keycloak ask the user to enrol new factors of the removed kinds, then removes the old ones. In this order, since a process
    /// that stops in between must not leave a user whom Keycloak never asks. Calls `may_send` right before the first change.
    pub(super) async fn remove_factors(
        &self,
        id: &str,
        factors: &[Factor],
        enrolled_before: Timestamp,
        may_send: impl FnOnce() -> bool,
    ) -> Reply {
        if !is_segment(id) {
            return Reply::NotSent;
        }
        let all = match self.get(&["users", id, "credentials"], &[]).await {
            Ok(answer) => match self.failed_read(&answer).await {
                Some(reply) => return reply,
                None => match credentials_of(answer) {
                    Ok(all) => all,
                    Err(_) => return Reply::NotSent,
                },
            },
            Err(error) => return nothing_sent(&error),
        };
        let due: Vec<&Credential> = due(&all, factors, enrolled_before).collect();
        // Keycloak need not ask a user who has enrolled a new one meanwhile.
        let newer = |kind: &str| all.iter().any(|c| c.kind == kind && !due.iter().any(|d| d.id == c.id));
        let kinds = due.iter().map(|c| c.kind.as_str()).filter(|kind| !newer(kind));
        let wanted: BTreeSet<&str> = kinds.filter_map(enrolment).collect();
        let before = match self.required_actions(id).await {
            Ok(actions) => actions,
            Err(reply) => return reply,
        };
        if !may_send() {
            return Reply::NotSent;
        }
        let mut begun = false;
        let known = |action: &&str| before.iter().any(|known| known == action);
        let added: Vec<String> = wanted.into_iter().filter(|a| !known(a)).map(str::to_owned).collect();
        if !added.is_empty() {
            if let Err(reply) = self.require(id, &[before.clone(), added].concat(), &before).await {
                return reply;
            }
            begun = true;
        }
        for factor in due {
            let Some(factor) = factor.id.as_deref() else { continue };
            let url = self.url(&["users", id, "credentials", factor], &[]);
            let reply = match self.send(Method::DELETE, url, None).await {
                // It was removed before.
                Ok(answer) if answer.status == StatusCode::NOT_FOUND && !answer.is_no_user() => None,
                Ok(answer) => self.refusal(&answer, None).await,
                Err(error) => Some(error.reply()),
            };
            match reply {
                None => begun = true,
                // Some changes were made and some were not: neither a success nor a refusal.
                Some(_) if begun => return Reply::Unsure,
                Some(reply) => return reply,
            }
        }
        Reply::Done
    }

    async fn required_actions(&self, id: &str) -> Result<Vec<String>, Reply> {
        let answer = self.get(&["users", id], &[]).await.map_err(|error| nothing_sent(&error))?;
        if let Some(reply) = self.failed_read(&answer).await {
            return Err(reply);
        }
        let actions = answer.body.ok().and_then(|body| body.get("requiredActions").cloned());
        actions.and_then(|actions| serde_json::from_value(actions).ok()).ok_or(Reply::NotSent)
    }

    /// Sets the required actions to `merged`, and reads them back, since Keycloak silently drops one that it does not know. In that case
    /// restores `before`: a factor that cannot be enrolled again must not be removed.
    async fn require(&self, id: &str, merged: &[String], before: &[String]) -> Result<(), Reply> {
        self.put_actions(id, merged).await?;
        let now = self.required_actions(id).await.map_err(|_| Reply::Unsure)?;
        let Some(unknown) = merged.iter().find(|action| !now.contains(action)) else { return Ok(()) };
        self.put_actions(id, before).await.map_err(|_| Reply::Unsure)?;
        Err(Reply::Rejected { code: format!("required-action-{unknown}-is-unknown") })
    }

    async fn put_actions(&self, id: &str, actions: &[String]) -> Result<(), Reply> {
        let url = self.url(&["users", id], &[]);
        let body: Value = json!({ "requiredActions": actions });
        match self.send(Method::PUT, url, Some(&body)).await {
            // The user comes from a read-only federation.
            Ok(answer) if answer.error_name().is_some_and(|name| name.starts_with("The user is read-only")) => {
                Err(Reply::Rejected { code: "user-is-read-only".to_owned() })
            }
            Ok(answer) => match self.refusal(&answer, None).await {
                None => Ok(()),
                Some(reply) => Err(reply),
            },
            Err(error) => Err(error.reply()),
        }
    }

    /// What the answer to a read means for the call that comes after it. `None`: the read succeeded.
    async fn failed_read(&self, answer: &Answer) -> Option<Reply> {
        match self.refusal(answer, None).await {
            Some(Reply::Unsure) => Some(Reply::NotSent),
            other => other,
        }
    }
}

/// What a failed read means for the call: nothing was changed.
fn nothing_sent(error: &Unread) -> Reply {
    match error.reply() {
        Reply::Unsure => Reply::NotSent,
        other => other,
    }
}
