//! The clock, as it is and as each process takes it.
use super::*;

impl Site {
    pub(super) fn start(&self) -> Timestamp {
        self.scenario.template.now
    }

    pub(super) fn seconds(&self, at: Timestamp) -> i64 {
        at.as_second().saturating_sub(self.start().as_second())
    }

    pub(super) fn at(&self, second: i64) -> Timestamp {
        self.start().saturating_add(SignedDuration::from_secs(second)).unwrap()
    }

    /// The time by the process's clock of the day.
    pub(super) fn clock(&self, p: usize) -> Timestamp {
        self.at(self.now + self.scenario.skew[p] + if self.processes[p].wrong { HOUR } else { 0 })
    }

    /// The largest error of a process's clock, in seconds.
    pub(super) fn skewed(&self) -> i64 {
        self.scenario.skew.iter().map(|s| s.abs()).max().unwrap_or(0)
    }
}
