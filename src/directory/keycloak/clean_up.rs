//! What a password reset leaves in place at Keycloak, and what is ended after it. All of it may be repeated.
use jiff::Timestamp;
use reqwest::Method;
use serde_json::Value;

use super::{
    Keycloak, is_segment,
    look_up::{changed_at, credentials_of, own_passwords, text_of},
};
use crate::core::{
    ledger::Record,
    plan::CleanUp,
    world::{Seen, Why},
};

impl Keycloak {
    /// Ends a lock-out and sessions of `record`'s user.
    ///
    /// # Errors
    /// What is not ended, and why.
    pub async fn clean_up(&self, record: &Record, what: CleanUp) -> Result<(), Why> {
        let CleanUp { web_sessions, mobile_sessions_and_api_tokens, unlock, must_change: _ } = what;
        let id = record.user.id.as_str();
        if !is_segment(id) {
            return Ok(());
        }
        let not = |what: &str| {
            let what = what.to_owned();
            move |why: Why| Why { message: format!("{what}: {}", why.message), ..why }
        };
        if unlock {
            let segments = ["attack-detection", "brute-force", "users", id];
            let done = self.end(Method::DELETE, &segments).await;
            done.map_err(not("the lock-out of the user, if there is one, is not ended"))?;
        }
        if mobile_sessions_and_api_tokens {
            self.end_everything(id).await.map_err(not("the sessions and tokens of the user are not all ended"))
        } else if web_sessions {
            self.end_online(id, record.over()).await.map_err(not("the web sessions of the user are not all ended"))
        } else {
            Ok(())
        }
    }

    /// One by one: `POST logout` would make offline tokens stale, too. `over`: when the attempt was over; a session that began
    /// after that was opened with the new password, unless the change came even later.
    async fn end_online(&self, id: &str, over: Timestamp) -> Result<(), Why> {
        let before = if Timestamp::now() <= over {
            over
        } else {
            let answer = self.get(&["users", id, "credentials"], &[]).await?;
            if answer.is_no_user() {
                return Ok(());
            }
            match changed_at(own_passwords(&credentials_of(answer)?)) {
                Seen::Known(at) => over.max(at),
                _ => Timestamp::MAX,
            }
        };
        for session in self.listed(&["users", id, "sessions"], "the user's sessions").await? {
            let began =
                session.get("start").and_then(Value::as_i64).and_then(|ms| Timestamp::from_millisecond(ms).ok());
            if began.is_some_and(|at| at > before) {
                continue;
            }
            let session = text_of(&session, "id").filter(|id| is_segment(id));
            let session = session.ok_or_else(|| Why::new("the directory shows a session without an id."))?;
            self.end(Method::DELETE, &["sessions", session]).await?;
        }
        Ok(())
    }

    /// Online sessions, and what was granted to clients with the offline tokens that hang on it. Tokens that are older are stale
    /// from then on; since that counts whole seconds, those of the same second end with the grant.
    async fn end_everything(&self, id: &str) -> Result<(), Why> {
        self.end(Method::POST, &["users", id, "logout"]).await?;
        for consent in self.listed(&["users", id, "consents"], "the user's consents").await? {
            let client = text_of(&consent, "clientId").filter(|id| is_segment(id));
            let client = client.ok_or_else(|| Why::new("the directory shows a consent without a client."))?;
            self.end(Method::DELETE, &["users", id, "consents", client]).await?;
        }
        Ok(())
    }

    /// A list about a user; empty where there is no such user any more.
    async fn listed(&self, segments: &[&str], what: &str) -> Result<Vec<Value>, Why> {
        let answer = self.get(segments, &[]).await?;
        if answer.is_no_user() {
            return Ok(Vec::new());
        }
        answer.into_list(&format!("the look-up of {what}"))
    }
}
