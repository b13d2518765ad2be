//! The forecast: what the decision on a request would be, before anything is done.
use serde::Serialize;

use super::{
    actions::{impact, steps},
    decision::{Decision, Effect},
    gates,
    reason::{Reason, Truth},
    rules::Rule,
    seen::Seen,
    view::View,
    world::World,
};

/// Whether the reset would be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// Nothing more will start: the request was carried out before, is under way, or has ended.
    Nothing,
    /// The operator would carry it out, at once or after a wait that ends by itself or with an approval.
    Allowed,
    /// A fact that the decision needs is not known.
    Unclear,
    /// The operator would not carry it out as it is.
    Refused,
}

/// What would happen to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast<'a> {
    /// Whether the reset would be carried out.
    pub verdict: Verdict,
    /// What its status would show. `None`: it would be carried out at once.
    pub view: Option<View>,
    /// The rule that allows it.
    pub rule: Option<&'a Rule>,
    /// What would be done; empty unless it is allowed.
    pub steps: Vec<String>,
    /// What that means for the user; empty unless it is allowed.
    pub impact: Vec<String>,
}

/// What would happen to the world's request; `decision` is the core's decision on that world. `None`: the decision asks for another
/// fact first.
#[must_use]
pub fn forecast<'a>(world: &'a World, decision: &Decision) -> Option<Forecast<'a>> {
    let (verdict, view) = match decision {
        // There is a record: a call was sent, and the operator is looking for evidence of it.
        Decision::Read(_) if matches!(world.ledger.record, Seen::Known(_)) => (Verdict::Nothing, None),
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
        impact: request.filter(|_| allowed).map(impact).unwrap_or_default(),
    })
}

fn verdict(reason: Reason) -> Verdict {
    match reason {
        // The last gates, and the clock: every gate that a person would have to open comes before them.
        Reason::AwaitingApproval | Reason::UserBusy | Reason::LimitReached | Reason::NotYetValid => Verdict::Allowed,
        Reason::DirectoryNotReady | Reason::DirectorySuspended | Reason::Throttled => Verdict::Unclear,
        // Nothing would be sent, though it was asked for.
        Reason::Lapsed | Reason::RestoredFromBackup => Verdict::Refused,
        Reason::OutcomeUnknown => Verdict::Nothing,
        reason if reason.conditions().0 == Truth::False => Verdict::Refused,
        _ => Verdict::Nothing,
    }
}
