//! Mutations: faults planted into what surrounds the decision, which the search must find.

/// Each is a mistake that a programmer could make in `src/k8s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The call is sent before its record is known to be stored.
    CallBeforeRecord,
    /// Any process that has read the record sends, whether or not it was sent before, leading or not.
    NoFence,
    /// A process that was asleep does not look at the clock before it sends.
    NoDeadline,
    /// A ledger that could not be read counts as one without the record.
    UnknownIsAbsent,
    /// Any look at the directory counts as evidence.
    AnythingIsEvidence,
    /// The password is thrown away when the answer comes, not when it was delivered.
    SecretDeletedEarly,
    /// A call without an answer counts as one that was not sent.
    RetriesUnsure,
    /// The record's name has the object's name in it.
    NameNotCanonical,
    /// A record that another process has written meanwhile is overwritten.
    LastWriteWins,
    /// Resets of the same user are distinguished in memory only.
    LimitsInMemory,
    /// The status says what was done, and the ledger is not asked.
    StatusIsTheLedger,
    /// A record that another process holds is taken over at once.
    TakesOverSent,
    /// A refusal is believed, whatever the directory shows.
    RefusedIsNothingDone,
    /// The second attempt goes by what was read before the first.
    OldFacts,
    /// After a sleep a process goes by its monotonic clock alone, which stood still: it leads, and its attempt is young.
    SleeperTrusted,
}

impl Fault {
    /// Whether `what` is a promise that this fault breaks.
    pub fn breaks(self, what: &str) -> bool {
        let promises: &[&str] = match self {
            Self::CallBeforeRecord => &["I2"],
            Self::NoFence => &["I1", "I2"],
            Self::OldFacts => &["I1"],
            Self::NoDeadline => &["I3"],
            Self::UnknownIsAbsent | Self::AnythingIsEvidence | Self::RefusedIsNothingDone => &["I4"],
            Self::SecretDeletedEarly => &["I6"],
            Self::RetriesUnsure | Self::NameNotCanonical | Self::StatusIsTheLedger => &["I1", "I4"],
            Self::LastWriteWins => &["the record goes"],
            Self::LimitsInMemory => &["a late arrival"],
            Self::TakesOverSent => &["I1", "I4", "I6"],
            Self::SleeperTrusted => &["given up", "I4"],
        };
        promises.iter().any(|promise| what.starts_with(promise))
    }

    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::CallBeforeRecord,
        Self::NoFence,
        Self::NoDeadline,
        Self::UnknownIsAbsent,
        Self::AnythingIsEvidence,
        Self::SecretDeletedEarly,
        Self::RetriesUnsure,
        Self::NameNotCanonical,
        Self::LastWriteWins,
        Self::LimitsInMemory,
        Self::StatusIsTheLedger,
        Self::TakesOverSent,
        Self::RefusedIsNothingDone,
        Self::OldFacts,
        Self::SleeperTrusted,
    ];
}
