//! Evidence that the call of a record took effect.
use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::{
    Keycloak, factors, is_segment,
    look_up::{changed_at, credentials_of, own_passwords, text_of},
};
use crate::{
    core::{
        call::Call,
        finding::Finding,
        record::{Evidence, Record},
        seen::{Seen, Why},
    },
    directory::rest::Unread,
    http,
};

/// Clocks that differ by less count as equal: the `Date` of an answer has whole seconds.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(2);

/// What Keycloak answers the right password where something else keeps the user out (400 `invalid_grant`).
const RIGHT_PASSWORD: [&str; 2] = ["Account is not fully set up", "Account disabled"];

impl Keycloak {
    /// Checks whether the call of `record` took effect.
    ///
    /// # Errors
    /// Why the directory could not be asked.
    pub async fn verify(&self, record: &Record) -> Result<Finding, Why> {
        let id = record.user.id.as_str();
        if !is_segment(id) {
            return Ok(Finding::Inconclusive("The directory has no user of such an id.".to_owned()));
        }
        let answer = self.get(&["users", id, "credentials"], &[]).await?;
        if answer.is_no_user() {
            return Ok(Finding::Inconclusive("The directory no longer shows the user.".to_owned()));
        }
        let (now, date) = (Timestamp::now(), answer.date);
        let all = credentials_of(answer)?;
        if let Call::RemoveFactors { factors, enrolled_before } = &record.call {
            let left = factors::due(&all, factors, *enrolled_before).count();
            return Ok(if left == 0 {
                Finding::Proven(Evidence::Marker)
            } else {
                Finding::Inconclusive(format!(
                    "The directory still shows {left} of the factors that were to be removed."
                ))
            });
        }
        let changed = changed_at(own_passwords(&all));
        let ahead = date.map_or(SignedDuration::ZERO, |date| date.duration_since(now));
        let ahead = if ahead.abs() < CLOCK_TOLERANCE { SignedDuration::ZERO } else { ahead };
        // If the user has an authenticator, Keycloak answers the right password without a code like a wrong one.
        let can_sign_in = self.sign_in.is_some() && all.iter().all(|c| c.kind != "otp");
        Ok(judge(record, &changed, ahead, can_sign_in, now))
    }

    /// Whether the user of `record` can sign in with `password`.
    ///
    /// # Errors
    /// Why the password was not sent. The sign-in may be tried again.
    pub async fn sign_in(&self, record: &Record, password: &SecretString) -> Result<bool, Why> {
        let client = self.sign_in.as_ref().ok_or_else(|| Why::new("there is no client to sign in with."))?;
        let user = self.representation(&record.user.id).await?;
        let name = user.as_ref().and_then(|user| text_of(user, "username"));
        let name = name.ok_or_else(|| Why::new("the directory no longer shows the user with a name."))?;
        let form = [
            ("grant_type", "password"),
            ("username", name),
            ("password", password.expose_secret()),
            ("scope", "openid"),
        ];
        let (status, reply, _) = match self.tokens.issuer.grant(&self.http, client, &form).await {
            Ok(answer) => answer,
            Err(unread @ (Unread::Token(_) | Unread::Failed(http::Failed::NotSent))) => return Err(unread.why()),
            Err(Unread::Failed(_)) => return Ok(false),
        };
        if status.is_success() {
            // The sign-in has opened this session only as a test.
            if let Some(session) = text_of(&reply, "session_state").filter(|id| is_segment(id)) {
                let _ = self.end(Method::DELETE, &["sessions", session]).await;
            }
            return Ok(text_of(&reply, "access_token").is_some());
        }
        let described = reply.get("error_description").and_then(Value::as_str);
        Ok(status == StatusCode::BAD_REQUEST && described.is_some_and(|text| RIGHT_PASSWORD.contains(&text)))
    }
}

/// What the time of the last change shows about the attempt. `ahead`: how far Keycloak's clock is ahead of this process's.
pub(super) fn judge(
    record: &Record,
    changed: &Seen<Timestamp>,
    ahead: SignedDuration,
    can_sign_in: bool,
    now: Timestamp,
) -> Finding {
    let (Seen::Known(at), Some(before)) = (changed, record.attempt.baseline.as_deref()) else {
        return record.finding_by_change_time(changed, now);
    };
    if at.to_string() == before {
        return record.finding_by_change_time(changed, now);
    }
    // The call changed the password while its connection was open, or arrived late. If it is not known when the connection was
    // closed, that was by the attempt's deadline.
    let ended = record.gave_up_at.unwrap_or(record.attempt.deadline);
    let late = at.saturating_sub(ahead).unwrap_or(*at) > ended;
    let (mode, as_of) = (record.mode, now.strftime("%H:%M"));
    let shown = if late {
        format!(
            "The directory shows the {mode} as changed at {at}, after the call was given up at {ended:.3}: by the call, arriving late, \
             or by another change, as of {as_of} UTC."
        )
    } else {
        format!(
            "The directory shows the {mode} as changed at {at}, when the call may have been under way, as of {as_of} UTC."
        )
    };
    match (can_sign_in, late) {
        // A sign-in shows which.
        (true, _) => Finding::NeedsSignIn(shown),
        (false, false) => Finding::Proven(Evidence::Marker),
        (false, true) => Finding::Changed(shown),
    }
}
