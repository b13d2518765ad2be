//! The change is proven: the follow-up, step by step.
use jiff::SignedDuration;

use super::{
    call::Reply,
    decision::{Decision, Effect, Next},
    reason::Reason,
    record::{Evidence, Record, State},
    request::later,
    view::View,
    world::{Progress, StepState, World},
};

/// The change is proven: delivers, cleans up and mails, then closes the record.
///
/// As long as no step fails, the record goes from Sent to Applied in one write: the delivery Secret itself is the proof that a
/// successor would need. The operator writes Changed only if a step fails, so that the evidence is not lost.
pub(super) fn finish(world: &World, record: &Record, evidence: Evidence) -> Decision {
    let now = world.now;
    let Progress { deliver, after_reset, mail } = &world.own.progress;
    let (mut notes, mut failed, mut undelivered) = (Vec::new(), None, false);
    let steps = [
        (deliver, record.follow_up.deliver_to.as_ref().map(|secret| Effect::Deliver { secret: secret.clone() })),
        (after_reset, record.follow_up.after_reset.map(Effect::AfterReset)),
        (mail, record.follow_up.mail_to.as_ref().map(|to| Effect::Mail { to: to.clone() })),
    ];
    for (state, effect) in steps {
        let Some(effect) = effect else { continue };
        let delivers = matches!(effect, Effect::Deliver { .. } | Effect::Mail { .. });
        undelivered |= delivers && matches!(state, StepState::Failed(_) | StepState::Impossible(_));
        match state {
            // Mailed again with every try of a step before it, it would be mailed a thousand times. At the end it is mailed in any case.
            StepState::Pending
                if failed.is_none() || !matches!(effect, Effect::Mail { .. }) || now >= record.keep_until =>
            {
                return hold_or(world, record, evidence, effect);
            }
            StepState::Pending | StepState::Done => {}
            StepState::Failed(why) => failed = Some(failed.map_or(why.clone(), |first| format!("{first} And {why}"))),
            StepState::Impossible(why) | StepState::Lost(why) => notes.push(why.clone()),
        }
    }
    if let Some(why) = failed {
        if record.state != State::Changed {
            return Decision::Do(Effect::Write(Box::new(record.changed(evidence))));
        }
        if now < record.keep_until {
            let next = later(now, SignedDuration::from_secs(10)).min(record.keep_until);
            let view = View::of(
                record,
                Reason::Finishing,
                format!("The reset is in force, but {why} Tried again at {next:.0}, until {}.", record.keep_until),
            );
            return Decision::rest(view, Next::At(next));
        }
        notes.push(format!("the operator gave up at {now:.0}. The last error was: {why}"));
    }
    if let (true, Some(secret)) = (undelivered && now < record.keep_until, &record.attempt.secret) {
        notes.push(format!(
            "The password is kept in Secret {secret} of the operator's namespace until {:.0}.",
            record.keep_until
        ));
    }
    let note = (!notes.is_empty()).then(|| format!("But {}", notes.join(" ")));
    Decision::Do(Effect::Write(Box::new(record.applied(evidence, note, undelivered, now))))
}

/// Carries out `effect`, once the evidence is stored if the step may take long or its success leaves no trace.
fn hold_or(world: &World, record: &Record, evidence: Evidence, effect: Effect) -> Decision {
    let fresh = world.replied(record, &Reply::Done);
    // A delivered password is the proof that a successor would need.
    let traceable = match effect {
        Effect::Deliver { .. } => true,
        // Once the user must change the password again, the call's precondition may hold once more: by then no process may repeat the
        // call.
        Effect::AfterReset(what) => !what.must_change && world.own.progress.deliver == StepState::Done,
        _ => false,
    };
    if record.state == State::Changed || (fresh && traceable) {
        Decision::Do(effect)
    } else {
        Decision::Do(Effect::Write(Box::new(record.changed(evidence))))
    }
}
