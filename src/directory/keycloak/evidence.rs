//! What Keycloak shows of a call whose answer was lost.
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
        ledger::{Evidence, Record},
        plan::Once,
        world::{Proof, Seen, Why},
    },
    directory::http,
};

/// Clocks that are closer than this count as the same: an answer tells its time in whole seconds.
const SAME: SignedDuration = SignedDuration::from_secs(2);

/// What the right password is answered where something else keeps its owner out (400 `invalid_grant`).
const RIGHT_BUT: [&str; 2] = ["Account is not fully set up", "Account disabled"];

impl Keycloak {
    /// Looks whether the call of `record` took effect.
    ///
    /// # Errors
    /// Why it could not be asked.
    pub async fn verify(&self, record: &Record) -> Result<Proof, Why> {
        let id = record.user.id.as_str();
        if !is_segment(id) {
            return Ok(Proof::Nothing("The directory has no user of such an id.".to_owned()));
        }
        let answer = self.get(&["users", id, "credentials"], &[]).await?;
        if answer.is_no_user() {
            return Ok(Proof::Nothing("The directory no longer shows the user.".to_owned()));
        }
        let (now, date) = (Timestamp::now(), answer.date);
        let all = credentials_of(answer)?;
        if let Once::RemoveFactors { factors, enrolled_before } = &record.call {
            let left = factors::due(&all, factors, *enrolled_before).count();
            return Ok(if left == 0 {
                Proof::Proven(Evidence::Marker)
            } else {
                Proof::Nothing(format!("The directory still shows {left} of the factors that were to be removed."))
            });
        }
        let changed = changed_at(own_passwords(&all));
        let ahead = date.map_or(SignedDuration::ZERO, |date| date.duration_since(now));
        let ahead = if ahead.abs() < SAME { SignedDuration::ZERO } else { ahead };
        // Without a code the right password of whoever has an authenticator is answered as a wrong one.
        let can_sign_in = self.sign_in.is_some() && all.iter().all(|c| c.kind != "otp");
        Ok(judge(record, &changed, ahead, can_sign_in, now))
    }

    /// Whether `password` opens the account of `record`'s user.
    ///
    /// # Errors
    /// Why it was not sent. It may be asked again.
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
        let (status, reply) = match self.tokens.grant(&self.http, client, &form).await {
            Ok(answer) => answer,
            Err(error @ http::Failed::NotSent) => {
                return Err(Why::new(format!("the directory gave no answer: {error}.")));
            }
            Err(http::Failed::Broken | http::Failed::TooLarge | http::Failed::TooMany) => return Ok(false),
        };
        if status.is_success() {
            // It was opened to see whether that is possible.
            if let Some(session) = text_of(&reply, "session_state").filter(|id| is_segment(id)) {
                let _ = self.end(Method::DELETE, &["sessions", session]).await;
            }
            return Ok(text_of(&reply, "access_token").is_some());
        }
        let described = reply.get("error_description").and_then(Value::as_str);
        Ok(status == StatusCode::BAD_REQUEST && described.is_some_and(|text| RIGHT_BUT.contains(&text)))
    }
}

/// `ahead`: how much Keycloak's clock is ahead of this process's.
pub(super) fn judge(
    record: &Record,
    changed: &Seen<Timestamp>,
    ahead: SignedDuration,
    can_sign_in: bool,
    now: Timestamp,
) -> Proof {
    let (Seen::Known(at), Some(before)) = (changed, record.attempt.baseline.as_deref()) else {
        return record.marker(changed, now);
    };
    if at.to_string() == before {
        return record.marker(changed, now);
    }
    // The call's own change was made while its connection stood, or is late on its way. Where nobody knows how long that was, it
    // ended by the attempt's deadline.
    let ended = record.gave_up_at.unwrap_or(record.attempt.deadline);
    let late = at.saturating_sub(ahead).unwrap_or(*at) > ended;
    let (mode, as_of) = (record.mode, now.strftime("%H:%M"));
    let shown = if late {
        format!(
            "The directory shows the {mode} as changed at {at}, after the call was given up at {ended:.3}: by the call, arriving late, \
             or by somebody else, as of {as_of} UTC."
        )
    } else {
        format!(
            "The directory shows the {mode} as changed at {at}, when the call may have been under way, as of {as_of} UTC."
        )
    };
    match (can_sign_in, late) {
        // It tells by whom.
        (true, _) => Proof::Open(shown),
        (false, false) => Proof::Proven(Evidence::Marker),
        (false, true) => Proof::Changed(shown),
    }
}
