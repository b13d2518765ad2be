//! Why a request has its state: machine-readable reasons, their conditions and outcomes.
use std::fmt;

use serde::{Deserialize, Serialize};

/// Each reason with its meaning and, after the arrow, what to do.
macro_rules! reasons {
    ($($(#[doc = $meaning:literal])+ $name:ident => $advice:literal,)+) => {
        /// Why a request has its state: the machine-readable half of its conditions and Events.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        pub enum Reason {
            $($(#[doc = $meaning])+ $name,)+
        }

        impl Reason {
            /// All reasons.
            pub const ALL: [Self; [$(Self::$name),+].len()] = [$(Self::$name),+];

            /// What it means, in sentences of Markdown.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($meaning),+).trim_start(),)+
                }
            }

            /// What to do, in sentences of Markdown.
            #[must_use]
            pub fn advice(self) -> &'static str {
                match self {
                    $(Self::$name => $advice,)+
                }
            }
        }
    };
}

reasons! {
    /// The operator has not read the request yet.
    Pending => "Wait. If it takes more than half a minute, find out whether the operator runs: `credreset version`.",
    /// The operator cannot use the Directory, or could not read a fact; the message says why.
    DirectoryNotReady => "Wait. If it stays, ask an administrator of the Directory, who finds the cause with `credreset check`.",
    /// An administrator of the Directory has stopped all resets in it (`spec.suspend`).
    DirectorySuspended => "Ask an administrator of the Directory.",
    /// The directory throttles the operator's calls.
    Throttled => "Wait: the operator goes on by itself.",
    /// Another reset of this user is under way, or was started less than `minIntervalPerUser` ago.
    UserBusy => "Wait: the operator goes on by itself.",
    /// The Directory's `resetsPerHour` is used up.
    LimitReached => "Wait. In an incident, an administrator of the Directory raises `spec.limits.resetsPerHour`.",
    /// `requestedAt` is in the future, by an hour at most.
    NotYetValid => "Wait until then.",
    /// The Directory's rule requires approvals in the cluster, and there are not enough. The message says which approvals do not count,
    /// and why.
    AwaitingApproval => "Ask somebody else who may approve: `credreset approve NAME -n NAMESPACE`.",
    /// The call is under way.
    Executing => "Wait.",
    /// The call was sent, or about to be when its process ended, and no reply came. The operator checks whether it took effect. It sends
    /// nothing again, or only on condition that nothing has changed since.
    Verifying => "Wait. File no other request for this user meanwhile.",
    /// The reset is in force; the operator retries a failed step after it, such as the delivery.
    Finishing => "Do what the message says, such as deleting a Secret that is in the way.",
    /// This request has reset the password or MFA: the reset is in force.
    Applied => "Tell the user. `credreset password NAME -n NAMESPACE` shows a password that was delivered.",
    /// The same request was carried out before.
    AlreadyApplied => "Nothing was sent again. For another reset, file a request with its own `requestedAt`.",
    /// The outcome is not known, and a later request for the same user and mode was applied.
    Superseded => "Go by the later request.",
    /// The operator could not determine the outcome, and a person stated that nothing was changed; the message names the person.
    Settled => "File a new request if a reset is still wanted.",
    /// The request reached the cluster after its own deadline, for example replayed from Git. `Succeeded` is Unknown if it was created in time, but
    /// its status and record are gone.
    Lapsed => "File a new request if a reset is still wanted.",
    /// The object has the label of a backup restore, and there is no record of it.
    RestoredFromBackup => "File a new request if a reset is still wanted.",
    /// The operator could not start it before its deadline; the message says what prevented it. Reported a minute after the deadline,
    /// when a process whose clock is a minute behind can no longer start it either.
    Expired => "File a new request.",
    /// There is no such Directory, or it names another directory than before. Checked again when Directories change, until the deadline.
    DirectoryMissing => "Create the Directory, or name another one in a new request.",
    /// No rule of the Directory allows it. Checked again when Directories change, until the deadline.
    NotAllowed => "Ask an administrator of the Directory for a rule, or do what the message says.",
    /// This person is protected on purpose.
    UserProtected => "Do not work around it: ask an administrator of the Directory.",
    /// The directory has no such user.
    UserNotFound => "Check the spelling, and file a new request.",
    /// Several users match, or another user than when the request was first tried.
    UserAmbiguous => "Name the user by `id` in a new request.",
    /// The user has not confirmed the account yet.
    UserNotConfirmed => "Ask the user to accept the invitation.",
    /// The account is not active.
    UserInactive => "Activate the user.",
    /// The user signs in through another identity provider.
    UserFederated => "Reset the credentials there.",
    /// The directory cannot honour a flag, a reset would not help this account, or `requestedAt` is more than an hour after the object was
    /// created; the message says which.
    NotSupported => "Do what the message says: file a request without the flag, or with the time at which the reset was requested; \
        extend the Directory; or \
        change the account.",
    /// The Secret with the supplied password is missing or unusable. Checked again until the deadline.
    SecretMissing => "Create or fix the Secret.",
    /// The operator may not use a Secret that the request names. Checked again until the deadline.
    SecretForbidden => "Grant the operator's ServiceAccount that right in the namespace.",
    /// The Secret that is to receive the password exists already. Checked again until the deadline.
    DeliveryConflict => "Delete the Secret, or name another one in a new request.",
    /// The credentials were changed after the reset was requested.
    ChangedSinceRequest => "File a new request if a reset is still wanted.",
    /// An earlier request has the same user, mode and `requestedAt`, and other contents.
    ConflictingRequest => "File it again with its own `requestedAt`.",
    /// The directory refused the reset; the message has its code.
    Rejected => "Fix the cause, and file a new request.",
    /// No reply came, and there is no proof either way: nobody knows whether the reset is in force. Or the directory refused
    /// it, but shows a change or could not be asked. Or the record was deleted while the request was under way.
    OutcomeUnknown => "Find out before you do anything else: `credreset explain NAME -n NAMESPACE` says how.",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A condition's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Truth {
    /// It is so.
    True,
    /// It is not.
    False,
    /// Open, or it cannot be determined.
    Unknown,
}

impl fmt::Display for Truth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// kstatus's extra condition, present only when True.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Extra {
    /// The operator goes on by itself.
    Reconciling,
    /// A person must act.
    Stalled,
}

/// The outcome of a request. It never changes once it is set, except from `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Outcome {
    /// The reset is in force.
    Applied,
    /// Nothing was changed.
    NotApplied,
    /// The call was sent, and there is no proof either way.
    Unknown,
    /// The outcome was unknown when a later request was applied.
    Superseded,
    /// The object was created too late or restored from a backup: nothing was sent.
    Lapsed,
}

impl Reason {
    /// The reason in words: `awaiting approval` for `AwaitingApproval`.
    #[must_use]
    pub fn words(self) -> String {
        let mut words = String::new();
        for c in self.to_string().chars() {
            if c.is_uppercase() && !words.is_empty() {
                words.push(' ');
            }
            words.extend(c.to_lowercase());
        }
        words
    }

    /// `Ready`, `Succeeded` and the extra condition that go with a reason.
    #[must_use]
    pub fn conditions(self) -> (Truth, Truth, Option<Extra>) {
        use Truth::{False, True, Unknown};
        match self {
            Self::Pending => (Unknown, Unknown, None),
            Self::DirectoryNotReady
            | Self::DirectorySuspended
            | Self::Throttled
            | Self::UserBusy
            | Self::LimitReached
            | Self::NotYetValid
            | Self::AwaitingApproval
            | Self::Executing
            | Self::Verifying
            | Self::Finishing => (Unknown, Unknown, Some(Extra::Reconciling)),
            Self::Applied | Self::AlreadyApplied => (True, True, None),
            Self::Superseded | Self::Settled | Self::Lapsed | Self::RestoredFromBackup => (True, False, None),
            Self::DirectoryMissing | Self::NotAllowed | Self::OutcomeUnknown => (False, Unknown, Some(Extra::Stalled)),
            Self::Expired
            | Self::UserProtected
            | Self::UserNotFound
            | Self::UserAmbiguous
            | Self::UserNotConfirmed
            | Self::UserInactive
            | Self::UserFederated
            | Self::NotSupported
            | Self::SecretMissing
            | Self::SecretForbidden
            | Self::DeliveryConflict
            | Self::ChangedSinceRequest
            | Self::ConflictingRequest
            | Self::Rejected => (False, False, Some(Extra::Stalled)),
        }
    }

    /// The outcome that the reason settles. `None`: the request is open.
    #[must_use]
    pub fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Applied | Self::AlreadyApplied => Some(Outcome::Applied),
            Self::Superseded => Some(Outcome::Superseded),
            Self::Lapsed | Self::RestoredFromBackup => Some(Outcome::Lapsed),
            Self::OutcomeUnknown => Some(Outcome::Unknown),
            Self::Expired
            | Self::UserProtected
            | Self::UserNotFound
            | Self::UserAmbiguous
            | Self::UserNotConfirmed
            | Self::UserInactive
            | Self::UserFederated
            | Self::NotSupported
            | Self::ChangedSinceRequest
            | Self::ConflictingRequest
            | Self::Settled
            | Self::Rejected => Some(Outcome::NotApplied),
            // Checked again until the deadline, so the request stays open.
            Self::SecretMissing
            | Self::SecretForbidden
            | Self::DeliveryConflict
            | Self::DirectoryMissing
            | Self::NotAllowed
            | Self::Pending
            | Self::DirectoryNotReady
            | Self::DirectorySuspended
            | Self::Throttled
            | Self::UserBusy
            | Self::LimitReached
            | Self::NotYetValid
            | Self::AwaitingApproval
            | Self::Executing
            | Self::Verifying
            | Self::Finishing => None,
        }
    }
}
