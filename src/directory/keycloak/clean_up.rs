//! What the operator ends after a password reset, since Keycloak does not end it with the call. All of it may be repeated.
use jiff::Timestamp;
use reqwest::Method;
use serde_json::Value;

use super::{
    Keycloak, is_segment,
    look_up::{changed_at, credentials_of, own_passwords, text_of},
};
use crate::core::{
    call::AfterReset,
    record::Record,
    seen::{Seen, Why},
    text,
};

impl Keycloak {
    /// Ends the lock-out and the sessions of the user of `record`. Tries all of them, even if some cannot be ended.
    ///
    /// # Errors
    /// What is not ended, and why.
    pub async fn clean_up(&self, record: &Record, what: AfterReset) -> Result<(), Why> {
        let AfterReset { web_sessions, mobile_sessions_and_api_tokens, unlock, must_change: _ } = what;
        let id = record.user.id.as_str();
        if !is_segment(id) {
            return Ok(());
        }
        let mut failures = Failures::default();
        if unlock {
            let segments = ["attack-detection", "brute-force", "users", id];
            let done = self.end(Method::DELETE, &segments).await;
            failures.add("the lock-out of the user, if there is one, is not ended", done);
        }
        if mobile_sessions_and_api_tokens {
            let done = self.end_everything(id).await;
            failures.add("the sessions and tokens of the user are not all ended", done);
        } else if web_sessions {
            let done = self.end_web_sessions(id, record.cannot_arrive_after()).await;
            failures.add("the web sessions of the user are not all ended", done);
        }
        failures.into_result()
    }

    /// Ends web sessions one by one, since `POST logout` would invalidate offline tokens, too. `over`: when the attempt was over. A session
    /// that began later was opened with the new password, unless the change was made even later.
    async fn end_web_sessions(&self, id: &str, over: Timestamp) -> Result<(), Why> {
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
        let mut failures = Failures::default();
        for session in self.listed(&["users", id, "sessions"], "the user's sessions").await? {
            let began =
                session.get("start").and_then(Value::as_i64).and_then(|ms| Timestamp::from_millisecond(ms).ok());
            if began.is_some_and(|at| at > before) {
                continue;
            }
            match text_of(&session, "id").filter(|id| is_segment(id)) {
                Some(session) => {
                    let done = self.end(Method::DELETE, &["sessions", session]).await;
                    failures.add("a session", done);
                }
                None => failures.add("a session", Err(Why::new("the directory shows it without an id."))),
            }
        }
        failures.into_result()
    }

    /// Ends web sessions, and the grants of clients with their offline tokens. Older tokens are invalid from then on. Since Keycloak
    /// compares whole seconds, tokens of the same second end only with the grant.
    async fn end_everything(&self, id: &str) -> Result<(), Why> {
        let mut failures = Failures::default();
        failures.add("the sign-out from everywhere", self.end(Method::POST, &["users", id, "logout"]).await);
        for consent in self.listed(&["users", id, "consents"], "the user's consents").await? {
            match text_of(&consent, "clientId").filter(|id| is_segment(id)) {
                Some(client) => {
                    let done = self.end(Method::DELETE, &["users", id, "consents", client]).await;
                    failures.add(&format!("what client {} was granted", text::printable(client, text::NAME)), done);
                }
                None => failures.add("a grant", Err(Why::new("the directory shows it without a client."))),
            }
        }
        failures.into_result()
    }

    /// A list that belongs to a user; empty if the user no longer exists.
    async fn listed(&self, segments: &[&str], what: &str) -> Result<Vec<Value>, Why> {
        let answer = self.get(segments, &[]).await?;
        if answer.is_no_user() {
            return Ok(Vec::new());
        }
        answer.into_list(&format!("the look-up of {what}"))
    }
}

/// How many failures the message names.
const MAX_NAMED: usize = 5;

/// What could not be ended.
#[derive(Default)]
struct Failures {
    named: Vec<String>,
    more: usize,
    not_before: Option<Timestamp>,
}

impl Failures {
    /// Adds a failure, if `done` is one.
    fn add(&mut self, what: &str, done: Result<(), Why>) {
        let Err(why) = done else { return };
        self.not_before = self.not_before.max(why.not_before);
        if self.named.len() < MAX_NAMED {
            self.named.push(format!("{what}: {}", why.message));
        } else {
            self.more += 1;
        }
    }

    fn into_result(self) -> Result<(), Why> {
        if self.named.is_empty() {
            return Ok(());
        }
        let more = if self.more > 0 { format!(" And {} more.", self.more) } else { String::new() };
        Err(Why { message: self.named.join(" And ") + &more, not_before: self.not_before })
    }
}
