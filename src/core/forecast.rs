//! What would come of a request: the decision, told before anything is done.
use serde::Serialize;

use super::{
    Decision, Effect, View, World, gates,
    plan::{cost, steps},
    report::{Reason, Truth},
    world::{Rule, Seen},
};

/// Whether the reset would be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// Nothing more will happen: it was carried out before, is under way, or is over.
    Nothing,
    /// It is carried out, at once or after a wait that ends by itself or with an approval.
    Allowed,
    /// Something needed to tell is not known.
    Unclear,
    /// It is not carried out as it is.
    Refused,
}

/// What would come of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast<'a> {
    /// In a word.
    pub verdict: Verdict,
    /// What its status would show; none if it would be carried out at once.
    pub view: Option<View>,
    /// The rule that allows it.
    pub rule: Option<&'a Rule>,
    /// What would be done, if something would.
    pub steps: Vec<String>,
    /// What that is for the user.
    pub cost: Vec<String>,
}

/// What would come of the world's request, where `decision` is the core's decision on that world. None: something is still to be
/// read.
#[must_use]
pub fn forecast<'a>(world: &'a World, decision: &Decision) -> Option<Forecast<'a>> {
    let (verdict, view) = match decision {
        // Of a record that is there: a call was sent, and what came of it is being looked for.
        Decision::Read(_) if matches!(world.record, Seen::Known(_)) => (Verdict::Nothing, None),
        Decision::Read(_) => return None,
        Decision::Do(Effect::StorePassword { .. } | Effect::Open(_) | Effect::TakeOver(_)) => (Verdict::Allowed, None),
        Decision::Do(_) | Decision::Rest { view: None, .. } => (Verdict::Nothing, None),
        Decision::Rest { view: Some(view), .. } => (verdict(view.reason), Some((**view).clone())),
    };
    let request = world.subject.request();
    let allowed = verdict == Verdict::Allowed;
    Some(Forecast {
        verdict,
        view,
        rule: request.and_then(|request| gates::rule(world, request)),
        steps: request.filter(|_| allowed).map(steps).unwrap_or_default(),
        cost: request.filter(|_| allowed).map(cost).unwrap_or_default(),
    })
}

fn verdict(reason: Reason) -> Verdict {
    match reason {
        // The last gates, and the clock: everything that somebody would have to see to has been asked before.
        Reason::AwaitingApproval | Reason::UserBusy | Reason::LimitReached | Reason::NotYetValid => Verdict::Allowed,
        Reason::DirectoryNotReady | Reason::DirectorySuspended | Reason::Throttled => Verdict::Unclear,
        // Nothing would be sent, though it was asked for.
        Reason::Lapsed | Reason::RestoredFromBackup => Verdict::Refused,
        Reason::OutcomeUnknown => Verdict::Nothing,
        reason if reason.conditions().0 == Truth::False => Verdict::Refused,
        _ => Verdict::Nothing,
    }
}
