//! Random faults of reset calls. The fault of a call depends on the seed, the user and the number of calls that this user had before, and
//! on nothing else, so that a run can be repeated.
use std::num::NonZeroU64;

use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::fault::{FaultKind, Shape};

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Chaos {
    seed: u64,
    /// On average one call in this many has a fault.
    one_in: NonZeroU64,
}

impl Chaos {
    /// The fault of a user's call. `before`: the number of calls that this user had already. `None`: no fault.
    pub(super) fn fate(&self, user: &str, before: usize) -> Option<FaultKind> {
        let hash = Sha256::digest(format!("{} {user} {before}", self.seed));
        let mut numbers = hash.chunks_exact(8).map(|bytes| bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b)));
        let mut next = |below: u64| numbers.next().unwrap_or_default() % below;
        if next(self.one_in.get()) != 0 {
            return None;
        }
        Some(match next(7) {
            0 => {
                let status = [400, 403, 500][usize::try_from(next(3)).unwrap_or_default()];
                FaultKind::Refuse { status, body: json!({"status_code": status, "error": "CHAOS"}) }
            }
            1 => {
                let shapes = [Shape::TooManyRequests, Shape::Rolling, Shape::Cliq, Shape::Continuous];
                FaultKind::Throttle {
                    retry_after: Some(1),
                    shape: shapes[usize::try_from(next(4)).unwrap_or_default()],
                }
            }
            2 => FaultKind::DropBefore {},
            3 => FaultKind::ApplyThenDrop {},
            4 => FaultKind::ApplyThen502 {},
            // Around the time that a client may wait.
            5 => FaultKind::Delay { milliseconds: next(4000), apply_late: false, backdated: false },
            // While the client looks for evidence, or after it has given up.
            _ => {
                let seconds = next(12);
                let milliseconds = if seconds < 8 { seconds * 1000 } else { 90_000 };
                FaultKind::Delay { milliseconds, apply_late: true, backdated: seconds.is_multiple_of(2) }
            }
        })
    }
}
