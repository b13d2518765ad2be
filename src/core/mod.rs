//! The decision: from what is known to the next thing to do. No clock, no network, no Kubernetes.
//!
//! A reset goes through these states; each arrow is one durable effect, after which the world is read again:
//!
//! ```text
//!  request ──gates──▶ password stored ──▶ record Sent ──▶ call ──▶ Changed ──▶ Applied ──▶ status
//!     │                                      │              │
//!     │ refused, waits, lapsed               │              ├─ no effect ──▶ Released ──gates──▶ Sent again
//!     ▼                                      │              ├─ refused ────▶ NotApplied
//!   status                                   ▼              └─ no answer ──▶ look for evidence ──▶ Changed or Unknown
//!                              another process's: wait, then look for evidence
//! ```
//! The record's own states are drawn in [`ledger`].
pub mod approvals;
pub mod dn;
mod follow;
pub mod forecast;
mod gates;
pub mod ledger;
pub mod limits;
pub mod plan;
pub mod report;
pub mod request;
pub mod text;
pub mod world;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use follow::follow;
use ledger::{Attempt, Record};
use plan::{CleanUp, Once};
use report::Shown;
pub use report::{Outcome, Reason, View};
use request::{Action, Source, later};
pub use request::{Mode, Request};
pub use world::World;
use world::{Seen, Subject};

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
    /// The Secret with the entered password.
    Entered,
    /// The Secret that is to receive the password.
    Delivery,
    /// What approvals there are of this request.
    Approvals,
    /// Evidence of the attempt's effect.
    Proof,
    /// Whether a later request of the same user and mode has been applied.
    Superseded,
    /// What people have said of how it went.
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
        source: Source,
    },
    /// Create the record: intent, fence and lock in one.
    Open(Box<Record>),
    /// Replace a released record with a new attempt.
    TakeOver(Box<Record>),
    /// Send the call.
    Send(Once),
    /// Send it again, with the same password and on the same condition as before.
    Repeat(Once),
    /// Replace the record.
    Write(Box<Record>),
    /// Write the delivery Secret.
    Deliver {
        /// Its name, in the request's namespace.
        secret: String,
    },
    /// End what the call itself does not end.
    CleanUp(CleanUp),
    /// Sign in with the attempt's password, to see whether it is in force.
    SignIn,
    /// Mail the password.
    Mail {
        /// To whom.
        to: String,
    },
    /// Delete a password Secret that is no longer needed.
    DropPassword {
        /// Its name.
        secret: String,
    },
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Next {
    /// It is over.
    Never,
    /// Then, or when something changes before.
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
        /// What the object's status is to show; none: what it shows now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        view: Option<Box<View>>,
        /// When to look again.
        next: Next,
    },
}

impl Decision {
    /// Show `view` and rest.
    fn rest(view: View, next: Next) -> Self {
        Self::Rest { view: Some(Box::new(view)), next }
    }
}

/// The next thing to do.
#[must_use]
pub fn decide(world: &World) -> Decision {
    if let Subject::Object { shown, .. } = &world.subject
        && shown.is_settled()
    {
        return Decision::Rest { view: None, next: Next::Never };
    }
    match (&world.subject, &world.record) {
        (_, Seen::Unread) => Decision::Read(Fact::Record),
        (Subject::Object { shown, .. }, Seen::Unknown(why)) => {
            let message =
                format!("The ledger could not be read: {} Nothing is started before that is possible.", why.message);
            // What is shown of a call that may have been sent must not be lost.
            let view = (!shown.was_under_way()).then(|| Box::new(View::new(Reason::DirectoryNotReady, message)));
            Decision::Rest { view, next: Next::At(later(world.now, SignedDuration::from_secs(5))) }
        }
        (Subject::Object { request, .. }, Seen::Known(record)) => {
            if record.request.digest == request.digest() {
                follow(world, record)
            } else {
                conflict(world, request, record)
            }
        }
        (Subject::Object { request, shown }, Seen::Absent) => {
            let decision = start(world, request, None);
            if shown.was_under_way() { without_record(world, request, shown, decision) } else { decision }
        }
        (Subject::Gone, Seen::Known(record)) => follow(world, record),
        (Subject::Gone, Seen::Absent) => Decision::Rest { view: None, next: Next::Never },
        (Subject::Gone, Seen::Unknown(_)) => {
            Decision::Rest { view: None, next: Next::At(later(world.now, SignedDuration::from_secs(5))) }
        }
    }
}

fn conflict(world: &World, request: &Request, record: &Record) -> Decision {
    // A password that was stored for this request before the other record was found is nobody's.
    if let Some(secret) = &world.stored
        && record.attempt.secret.as_ref() != Some(secret)
    {
        return Decision::Do(Effect::DropPassword { secret: secret.clone() });
    }
    let view = View {
        evidence: None,
        started_at: None,
        completed_at: None,
        ..View::of(
            record,
            Reason::ConflictingRequest,
            format!(
                "A request for the same user, mode and requestedAt with other contents was made as {}/{}: this one was not carried out. \
                 If it is wanted, file it with a requestedAt of its own (this one says {}).",
                record.request.namespace, record.request.name, request.requested_at
            ),
        )
    };
    Decision::rest(view, Next::Never)
}

/// The status says that a call was on its way, and its record is not to be found: somebody has deleted it, or the request is
/// another spelling of one that has a record. That one is looked for, but nothing is started.
fn without_record(world: &World, request: &Request, shown: &Shown, decision: Decision) -> Decision {
    if matches!(decision, Decision::Read(_) | Decision::Do(Effect::DropPassword { .. })) {
        return decision;
    }
    let keep_until = request.keep_until();
    let next = if world.now < keep_until {
        Next::At(later(world.now, SignedDuration::from_mins(10)).min(keep_until))
    } else {
        Next::Never
    };
    if shown.outcome == Some(Outcome::Unknown) {
        return Decision::Rest { view: None, next };
    }
    let view = View::new(
        Reason::OutcomeUnknown,
        "This request was under way, and no record of it is found any more: it may or may not be in force, and nothing is sent \
         again. Ask the user to sign in, or file a new request.",
    );
    Decision::rest(view, next)
}

/// No record, or a released one: through the gates, then on to the call.
fn start(world: &World, request: &Request, released: Option<&Record>) -> Decision {
    let pass = match gates::check(world, request) {
        Ok(pass) => pass,
        Err(decision @ Decision::Read(_)) => return decision,
        Err(decision) => {
            // A gate that has closed since the password was stored: it will be drawn afresh.
            return match &world.stored {
                Some(secret) => Decision::Do(Effect::DropPassword { secret: secret.clone() }),
                None => with_record(decision, released),
            };
        }
    };
    let name = ledger::record_name(&pass.directory.identity, &pass.user.id.id, request.mode(), request.requested_at);
    if let Action::Password { source, .. } = &request.action
        && world.stored.is_none()
    {
        let source = source.within(&pass.directory.policy);
        return Decision::Do(Effect::StorePassword { attempt: world.me.attempt.clone(), record: name, source });
    }
    let window = pass.directory.limits.request_timeout.saturating_add(ledger::SLACK);
    let attempt = Attempt {
        id: world.me.attempt.clone(),
        number: released.map_or(1, |r| r.attempt.number.saturating_add(1)),
        holder: world.me.holder.clone(),
        started_at: world.now,
        deadline: later(world.now, window),
        secret: world.stored.clone(),
        baseline: pass.user.baseline(),
        conditional: pass.directory.conditional.contains(&request.mode()),
        approved_by: pass.approved_by,
        redraws: released.map_or(0, |r| {
            let refused = r.verdict.as_ref().is_some_and(|v| v.reason == Reason::Rejected);
            if refused { r.attempt.redraws.saturating_add(1) } else { r.attempt.redraws }
        }),
    };
    Decision::Do(match released {
        Some(record) => Effect::TakeOver(Box::new(record.take_over(attempt))),
        None => {
            Effect::Open(Box::new(Record::open(request, pass.directory, pass.user.id.clone(), pass.finish, attempt)))
        }
    })
}

/// A request that waits at a gate with a released record says so in its status, too. A refusal ends the record. The gates speak
/// of a first try; of this one something has been sent before, which had no effect.
fn with_record(decision: Decision, released: Option<&Record>) -> Decision {
    match (decision, released) {
        (Decision::Rest { view: Some(view), next }, Some(record)) => Decision::Rest {
            view: Some(Box::new(View {
                user: Some(record.user.clone()),
                record: Some(record.name.clone()),
                started_at: Some(record.attempt.started_at),
                message: view.message.replace("nothing was sent", "nothing was changed"),
                ..*view
            })),
            next,
        },
        (decision, _) => decision,
    }
}
