//! The decision: from a [`World`] to the next thing to do. No clock, no network, no Kubernetes.
//!
//! A reset goes through these states; each arrow is one durable effect, after which the world is read again:
//!
//! ```text
//!  request ──gates──▶ password stored ──▶ record Sent ──▶ call ──▶ Changed ──▶ Applied ──▶ status
//!     │                                      │              │
//!     │ refused, waits, lapsed               │              ├─ no effect ──▶ Released ──gates──▶ Sent again
//!     ▼                                      │              ├─ refused ────▶ NotApplied
//!   status                                   ▼              └─ no reply ───▶ look for evidence ──▶ Changed or Unknown
//!                              another process's: wait, then look for evidence
//! ```
//! [`record`] shows the states of a record.
pub mod actions;
pub mod approvals;
pub mod call;
pub mod decision;
pub mod directory;
pub mod dn;
pub mod driver;
mod evidence;
mod existing_record;
pub mod finding;
mod follow_up;
pub mod forecast;
mod gates;
pub mod history;
pub mod queue;
pub mod reason;
pub mod record;
pub mod request;
pub mod rules;
pub mod seen;
mod start;
pub mod text;
mod transitions;
pub mod user;
pub mod view;
pub mod world;

use jiff::SignedDuration;

pub use decision::{Decision, Effect, Fact, Next};
use existing_record::follow;
pub use reason::{Outcome, Reason};
use request::later;
pub use request::{Mode, Request};
use seen::Seen;
use start::{conflict, start, without_record};
pub use view::View;
use world::Subject;
pub use world::World;

/// Returns the next thing to do.
#[must_use]
pub fn decide(world: &World) -> Decision {
    if let Subject::Object { status, .. } = &world.subject
        && status.is_settled()
    {
        return Decision::Rest { view: None, next: Next::Never };
    }
    match (&world.subject, &world.ledger.record) {
        (_, Seen::Unread) => Decision::Read(Fact::Record),
        (Subject::Object { status, .. }, Seen::Unknown(why)) => {
            let message =
                format!("The ledger could not be read: {} Nothing is started until it can be read.", why.message);
            // The status of a call that may have been sent must not be lost.
            let view = (!status.was_under_way()).then(|| Box::new(View::new(Reason::DirectoryNotReady, message)));
            Decision::Rest { view, next: Next::At(later(world.now, SignedDuration::from_secs(5))) }
        }
        (Subject::Object { request, .. }, Seen::Known(record)) => {
            if record.request.digest == request.digest() {
                follow(world, record)
            } else {
                conflict(world, request, record)
            }
        }
        (Subject::Object { request, status }, Seen::Absent) => {
            let decision = start(world, request, None);
            if status.was_under_way() { without_record(world, request, status, decision) } else { decision }
        }
        (Subject::Gone, Seen::Known(record)) => follow(world, record),
        (Subject::Gone, Seen::Absent) => Decision::Rest { view: None, next: Next::Never },
        (Subject::Gone, Seen::Unknown(_)) => {
            Decision::Rest { view: None, next: Next::At(later(world.now, SignedDuration::from_secs(5))) }
        }
    }
}
