//! What to do next: read something, do something, or rest.
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    call::{AfterReset, Call},
    record::Record,
    request::PasswordSource,
    view::View,
};

/// Something that must be read before the next decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Fact {
    /// The record with the request's key.
    Record,
    /// The Directory.
    Directory,
    /// Labels of the request's namespace.
    NamespaceLabels,
    /// The user, at the directory.
    User,
    /// The record by its name.
    RecordByName,
    /// The Secret with the supplied password.
    SuppliedPassword,
    /// The Secret that is to receive the password.
    Delivery,
    /// The approvals of this request.
    Approvals,
    /// What the directory shows of the attempt.
    Finding,
    /// Whether a later request of the same user and mode has been applied.
    Superseded,
    /// The settlements of this record.
    Settlements,
}

/// One durable effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// Put the password into a Secret named after the attempt.
    #[serde(rename_all = "camelCase")]
    StorePassword {
        /// Id of the attempt.
        attempt: String,
        /// Name of the record it will belong to.
        record: String,
        /// Where the password comes from.
        source: PasswordSource,
        /// The age recipients for whom the delivered copy is sealed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        sealed_for: Vec<String>,
    },
    /// Create the record: intent, fence and lock in one. The operator decides again while no other attempt can begin, and creates
    /// the record of that decision.
    Open(Box<Record>),
    /// Replace a released record with a new attempt; the operator decides again as for `Open`.
    TakeOver(Box<Record>),
    /// Send the call.
    Send(Call),
    /// Send the call again, with the same password and the same precondition.
    Repeat(Call),
    /// Replace the record.
    Write(Box<Record>),
    /// Write the delivery Secret.
    Deliver {
        /// Its name, in the request's namespace.
        secret: String,
    },
    /// Do with separate calls what the call itself does not do.
    AfterReset(AfterReset),
    /// Sign in with the attempt's password, to learn whether it is in force.
    SignIn,
    /// Mail the password.
    Mail {
        /// The recipient's address.
        to: String,
    },
    /// Delete a password Secret that is no longer needed.
    DropPassword {
        /// Its name.
        secret: String,
    },
}

/// When to decide again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Next {
    /// Nothing more will happen.
    Never,
    /// At this time, or earlier if something changes.
    At(Timestamp),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Decision {
    /// Read this, then decide again.
    Read(Fact),
    /// Do this, then decide again.
    Do(Effect),
    /// Show this and rest.
    Rest {
        /// What the object's status is to show. `None`: it stays as it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        view: Option<Box<View>>,
        /// When to decide again.
        next: Next,
    },
}

impl Decision {
    /// Show `view` and rest.
    pub(super) fn rest(view: View, next: Next) -> Self {
        Self::Rest { view: Some(Box::new(view)), next }
    }
}
