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
    text,
    world::{Seen, Why},
};

impl Keycloak {
    /// Ends a lock-out and sessions of `record`'s user. What cannot be ended keeps nothing else from being tried.
    ///
    /// # Errors
    /// What is not ended, and why.
    pub async fn clean_up(&self, record: &Record, what: CleanUp) -> Result<(), Why> {
        let CleanUp { web_sessions, mobile_sessions_and_api_tokens, unlock, must_change: _ } = what;
        let id = record.user.id.as_str();
        if !is_segment(id) {
            return Ok(());
        }
        let mut not = NotEnded::default();
        if unlock {
            let segments = ["attack-detection", "brute-force", "users", id];
            let done = self.end(Method::DELETE, &segments).await;
            not.tell("the lock-out of the user, if there is one, is not ended", done);
        }
        if mobile_sessions_and_api_tokens {
            let done = self.end_everything(id).await;
            not.tell("the sessions and tokens of the user are not all ended", done);
        } else if web_sessions {
            let done = self.end_online(id, record.over()).await;
            not.tell("the web sessions of the user are not all ended", done);
        }
        not.done()
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
        let mut not = NotEnded::default();
        for session in self.listed(&["users", id, "sessions"], "the user's sessions").await? {
            let began =
                session.get("start").and_then(Value::as_i64).and_then(|ms| Timestamp::from_millisecond(ms).ok());
            if began.is_some_and(|at| at > before) {
                continue;
            }
            match text_of(&session, "id").filter(|id| is_segment(id)) {
                Some(session) => {
                    let done = self.end(Method::DELETE, &["sessions", session]).await;
                    not.tell("a session", done);
                }
                None => not.tell("a session", Err(Why::new("the directory shows it without an id."))),
            }
        }
        not.done()
    }

    /// Online sessions, and what was granted to clients with the offline tokens that hang on it. Tokens that are older are stale
    /// from then on; since that counts whole seconds, those of the same second end with the grant.
    async fn end_everything(&self, id: &str) -> Result<(), Why> {
        let mut not = NotEnded::default();
        not.tell("the sign-out from everywhere", self.end(Method::POST, &["users", id, "logout"]).await);
        for consent in self.listed(&["users", id, "consents"], "the user's consents").await? {
            match text_of(&consent, "clientId").filter(|id| is_segment(id)) {
                Some(client) => {
                    let done = self.end(Method::DELETE, &["users", id, "consents", client]).await;
                    not.tell(&format!("what client {} was granted", text::shown(client, text::NAME)), done);
                }
                None => not.tell("a grant", Err(Why::new("the directory shows it without a client."))),
            }
        }
        not.done()
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

/// So many are named.
const NAMED: usize = 5;

/// What could not be ended.
#[derive(Default)]
struct NotEnded {
    named: Vec<String>,
    more: usize,
    not_before: Option<Timestamp>,
}

impl NotEnded {
    fn tell(&mut self, what: &str, done: Result<(), Why>) {
        let Err(why) = done else { return };
        self.not_before = self.not_before.max(why.not_before);
        if self.named.len() < NAMED {
            self.named.push(format!("{what}: {}", why.message));
        } else {
            self.more += 1;
        }
    }

    fn done(self) -> Result<(), Why> {
        if self.named.is_empty() {
            return Ok(());
        }
        let more = if self.more > 0 { format!(" And {} more.", self.more) } else { String::new() };
        Err(Why { message: self.named.join(" And ") + &more, not_before: self.not_before })
    }
}
