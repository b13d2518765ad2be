//! Fates of reset calls, drawn from a seed: what befalls a call depends on the seed, the user and how many calls this user
//! had before, and on nothing else, so that a run can be repeated.
use std::num::NonZeroU64;

use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::fault::{Kind, Shape};

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Chaos {
    seed: u64,
    /// One call in so many meets a fault.
    one_in: NonZeroU64,
}

impl Chaos {
    /// What meets a user's call; `before`: the calls that this user had already.
    pub(super) fn fate(&self, user: &str, before: usize) -> Option<Kind> {
        let drawn = Sha256::digest(format!("{} {user} {before}", self.seed));
        let mut numbers = drawn.chunks_exact(8).map(|bytes| bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b)));
        let mut draw = |below: u64| numbers.next().unwrap_or_default() % below;
        if draw(self.one_in.get()) != 0 {
            return None;
        }
        Some(match draw(7) {
            0 => {
                let status = [400, 403, 500][usize::try_from(draw(3)).unwrap_or_default()];
                Kind::Refuse { status, body: json!({"status_code": status, "error": "CHAOS"}) }
            }
            1 => {
                let shapes = [Shape::TooManyRequests, Shape::Rolling, Shape::Cliq, Shape::Continuous];
                Kind::Throttle { retry_after: Some(1), shape: shapes[usize::try_from(draw(4)).unwrap_or_default()] }
            }
            2 => Kind::DropBefore {},
            3 => Kind::ApplyThenDrop {},
            4 => Kind::ApplyThen502 {},
            // Around the time that a client may be ready to wait.
            5 => Kind::Delay { milliseconds: draw(4000), apply_late: false, backdated: false },
            // While the client looks for it, or after it has given up.
            _ => {
                let seconds = draw(12);
                let milliseconds = if seconds < 8 { seconds * 1000 } else { 90_000 };
                Kind::Delay { milliseconds, apply_late: true, backdated: seconds.is_multiple_of(2) }
            }
        })
    }
}
