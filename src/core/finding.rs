//! What a look for evidence of an attempt finds in the directory, and what that proves.
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    record::{CLOCK_SKEW_MARGIN, Evidence, Record},
    seen::Seen,
    user::SWITCHED_ON,
};

/// What a look for evidence found.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Finding {
    /// The change is in force.
    Proven(Evidence),
    /// The same conditional call, sent again, was rejected: something has changed since before the first call, perhaps because of it.
    /// The directory has to be read next.
    PreconditionBroken,
    /// Something has changed since before the call, and only a sign-in with the attempt's password can show whether the call did it.
    /// What the directory shows, as a sentence.
    NeedsSignIn(String),
    /// Something has changed since before the call, or may have, and nothing shows that the call did it. What the directory shows, as a
    /// sentence.
    Changed(String),
    /// No proof, and no sign of a change since before the call. What the directory shows, as a sentence.
    Inconclusive(String),
}

impl Record {
    /// What `changed`, the time of the last change as the directory shows it at `now`, proves of the attempt. A change before or after the
    /// attempt's time window is another one, and without a time from before the call there is nothing to compare.
    #[must_use]
    pub fn finding_by_change_time(&self, changed: &Seen<Timestamp>, now: Timestamp) -> Finding {
        let (mode, now) = (self.mode, now.strftime("%H:%M"));
        let earliest = self.attempt.started_at.saturating_sub(CLOCK_SKEW_MARGIN).unwrap_or(Timestamp::MIN);
        match (changed, self.attempt.baseline.as_deref()) {
            (Seen::Known(at), Some(before)) if at.to_string() == before => {
                Finding::Inconclusive(format!("The directory shows the {mode} unchanged since {at}, as of {now} UTC."))
            }
            (Seen::Known(at), Some(_)) if *at >= earliest && *at <= self.cannot_arrive_after() => {
                Finding::Proven(Evidence::Marker)
            }
            (Seen::Known(at), _) => Finding::Changed(format!(
                "The directory shows the {mode} as last changed at {at}, which does not prove that this call did it, as of {now} UTC."
            )),
            (Seen::Absent, _) => {
                Finding::Inconclusive(format!("The directory shows the {mode} as never changed, as of {now} UTC."))
            }
            (Seen::Unread | Seen::Unknown(_), _) => {
                Finding::Inconclusive("The directory shows no time of the last change.".to_owned())
            }
        }
    }

    /// What `on` proves of the attempt: whether what the call turns off is on, as the directory shows it at `now`. Off is proof only as
    /// long as the attempt lasts, since the directory does not show when it was turned off.
    #[must_use]
    pub fn finding_by_state(&self, on: &Seen<bool>, now: Timestamp) -> Finding {
        let (mode, at) = (self.mode, now.strftime("%H:%M"));
        let was_on = self.attempt.baseline.as_deref() == Some(SWITCHED_ON);
        match on {
            Seen::Known(false) if was_on && now <= self.cannot_arrive_after() => Finding::Proven(Evidence::Marker),
            Seen::Known(false) => Finding::Changed(format!(
                "The directory shows {mode} as off, which does not prove that this call did it, as of {at} UTC."
            )),
            Seen::Known(true) => Finding::Inconclusive(format!("The directory shows {mode} as on, as of {at} UTC.")),
            Seen::Absent | Seen::Unread | Seen::Unknown(_) => {
                Finding::Inconclusive(format!("The directory does not show whether {mode} is on."))
            }
        }
    }
}
