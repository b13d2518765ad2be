//! Second factors, removed one by one. Whatever of it is repeated finds less to do.
use std::collections::BTreeSet;

use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    Answer, Keycloak, Unread, is_segment,
    look_up::{Credential, credentials_of},
};
use crate::core::{ledger::Reply, plan::is_due, request::Factor};

/// The required action with which a user enrols a new one of this kind.
pub(super) fn enrolment(kind: &str) -> Option<&'static str> {
    match kind {
        "otp" => Some("CONFIGURE_TOTP"),
        "webauthn" => Some("webauthn-register"),
        "webauthn-passwordless" => Some("webauthn-register-passwordless"),
        "recovery-authn-codes" => Some("CONFIGURE_RECOVERY_AUTHN_CODES"),
        _ => None,
    }
}

/// Those that a request is about.
pub(super) fn due<'a>(
    all: &'a [Credential],
    factors: &'a [Factor],
    enrolled_before: Timestamp,
) -> impl Iterator<Item = &'a Credential> {
    all.iter().filter(move |c| is_due(c.factor(), c.created, factors, enrolled_before))
}

impl Keycloak {
    /// Asks for new factors of the kinds that go, then removes them. In this order: whoever stops in between leaves a user who
    /// is asked for more than need be, not one who is never asked.
    pub(super) async fn remove_factors(
        &self,
        id: &str,
        factors: &[Factor],
        enrolled_before: Timestamp,
        may: impl FnOnce() -> bool,
    ) -> Reply {
        if !is_segment(id) {
            return Reply::NotSent;
        }
        let all = match self.get(&["users", id, "credentials"], &[]).await {
            Ok(answer) => match self.unread(&answer).await {
                Some(reply) => return reply,
                None => match credentials_of(answer) {
                    Ok(all) => all,
                    Err(_) => return Reply::NotSent,
                },
            },
            Err(error) => return nothing_sent(&error),
        };
        let due: Vec<&Credential> = due(&all, factors, enrolled_before).collect();
        // Who has enrolled a new one meanwhile is not asked again.
        let newer = |kind: &str| all.iter().any(|c| c.kind == kind && !due.iter().any(|d| d.id == c.id));
        let kinds = due.iter().map(|c| c.kind.as_str()).filter(|kind| !newer(kind));
        let wanted: BTreeSet<&str> = kinds.filter_map(enrolment).collect();
        let before = match self.required_actions(id).await {
            Ok(actions) => actions,
            Err(reply) => return reply,
        };
        if !may() {
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
            let reply = match self.call(Method::DELETE, url, None).await {
                // It is gone already.
                Ok(answer) if answer.status == StatusCode::NOT_FOUND && !answer.is_no_user() => None,
                Ok(answer) => self.refusal(&answer, None).await,
                Err(error) => Some(error.reply()),
            };
            match reply {
                None => begun = true,
                // Something has been changed, and something has not: neither a success nor a refusal.
                Some(_) if begun => return Reply::Unsure,
                Some(reply) => return reply,
            }
        }
        Reply::Done
    }

    async fn required_actions(&self, id: &str) -> Result<Vec<String>, Reply> {
        let answer = self.get(&["users", id], &[]).await.map_err(|error| nothing_sent(&error))?;
        if let Some(reply) = self.unread(&answer).await {
            return Err(reply);
        }
        let actions = answer.body.ok().and_then(|body| body.get("requiredActions").cloned());
        actions.and_then(|actions| serde_json::from_value(actions).ok()).ok_or(Reply::NotSent)
    }

    /// Sets the required actions to `merged`, and looks whether they are: Keycloak drops one that it does not know without a
    /// word. Then `before` is put back, since a factor that cannot be enrolled anew is not taken away.
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
        match self.call(Method::PUT, url, Some(&body)).await {
            // Of users whom a federation does not let it keep anything of.
            Ok(answer) if answer.word().is_some_and(|word| word.starts_with("The user is read-only")) => {
                Err(Reply::Rejected { code: "user-is-read-only".to_owned() })
            }
            Ok(answer) => match self.refusal(&answer, None).await {
                None => Ok(()),
                Some(reply) => Err(reply),
            },
            Err(error) => Err(error.reply()),
        }
    }

    /// What it means for the call if a read before it has failed.
    async fn unread(&self, answer: &Answer) -> Option<Reply> {
        match self.refusal(answer, None).await {
            Some(Reply::Unsure) => Some(Reply::NotSent),
            other => other,
        }
    }
}

/// A read has changed nothing.
fn nothing_sent(error: &Unread) -> Reply {
    match error.reply() {
        Reply::Unsure => Reply::NotSent,
        other => other,
    }
}
