//! No reply came, or one that may be wrong: the operator looks for evidence in what the directory shows.
use jiff::{SignedDuration, Timestamp};

use super::{
    call::Reply,
    decision::{Decision, Effect, Fact, Next},
    finding::Finding,
    follow_up::finish,
    gates,
    reason::Reason,
    record::{Evidence, MAX_LOOK_UP, Record, RecordSummary, State},
    request::later,
    seen::Seen,
    user::SWITCHED_ON,
    view::View,
    world::World,
};

/// Writes `believed`, the record that follows from the directory's reply, unless the directory shows a change all the same.
pub(super) fn unless_contradicted(world: &World, record: &Record, code: &str, believed: Record) -> Decision {
    let next = match contradicted(world, record) {
        Err(decision) => return decision,
        Ok(Some(shown)) => record.doubted(code.to_owned(), shown, world.now),
        Ok(None) => believed,
    };
    Decision::Do(Effect::Write(Box::new(next)))
}

/// What contradicts the directory's reply that it did nothing. `None`: nothing does. If the directory shows a change all the same, the
/// password may be in force: the operator neither sets another one nor deletes this one.
///
/// # Errors
/// The decision to carry out first, or instead.
fn contradicted(world: &World, record: &Record) -> Result<Option<String>, Decision> {
    Ok(match &world.evidence.finding {
        Seen::Unread => return Err(Decision::Read(Fact::Finding)),
        Seen::Known(Finding::Proven(evidence)) if counts(world, record, *evidence) => {
            return Err(finish(world, record, *evidence));
        }
        Seen::Known(Finding::Proven(_) | Finding::PreconditionBroken) => {
            Some(format!("The directory shows a change of the {} from the time of the call.", record.mode))
        }
        Seen::Known(Finding::Changed(shown)) => Some(shown.clone()),
        Seen::Known(Finding::NeedsSignIn(shown)) => match sign_in(world, record, shown) {
            Ok(decision) => return Err(decision),
            Err(inconclusive) => Some(inconclusive),
        },
        Seen::Known(Finding::Inconclusive(_)) | Seen::Absent | Seen::Unknown(_) => None,
    })
}

/// The call was sent and its reply is not known: repeats a conditional call, otherwise looks for evidence, until the call can no longer
/// arrive.
pub(super) fn verify(world: &World, record: &Record) -> Decision {
    let now = world.now;
    let rejected = record.repeated_by.is_none() && world.replied(record, &Reply::Conflict);
    let own = record.repeated_by.is_none() && world.replied(record, &Reply::Unsure);
    let possible = record.attempt.conditional && !rejected && now < record.expires_at;
    let stopped = match possible.then(|| stopped(world)).transpose() {
        Ok(stopped) => stopped.flatten(),
        Err(read) => return read,
    };
    let again = possible && stopped.is_none();
    let nothing = match &world.evidence.finding {
        // Before a process repeats another one's call, the record says so. From then on only one of the two calls can take effect; if the
        // holder has already written a result, this write fails.
        Seen::Unread if again && !own && record.repeated_by.as_ref() != Some(&world.process.holder) => {
            return Decision::Do(Effect::Write(Box::new(record.taken_over_for_repeat(&world.process.holder))));
        }
        Seen::Unread if again => return Decision::Do(Effect::Repeat(record.call.clone())),
        Seen::Unread | Seen::Known(Finding::PreconditionBroken) => return Decision::Read(Fact::Finding),
        Seen::Known(Finding::Proven(evidence)) if counts(world, record, *evidence) => {
            return finish(world, record, *evidence);
        }
        Seen::Known(Finding::Proven(_)) => {
            "The directory shows a change, which another reset of this user may have made.".to_owned()
        }
        // The only call was rejected, because the precondition no longer held.
        Seen::Known(Finding::Inconclusive(_) | Finding::Changed(_)) | Seen::Absent if rejected => {
            return Decision::Do(Effect::Write(Box::new(record.not_applied(Reason::ChangedSinceRequest, None, now))));
        }
        Seen::Known(Finding::NeedsSignIn(shown)) => match sign_in(world, record, shown) {
            Ok(decision) => return decision,
            Err(inconclusive) => inconclusive,
        },
        Seen::Known(Finding::Inconclusive(shown) | Finding::Changed(shown)) => shown.clone(),
        Seen::Absent => "The directory shows nothing.".to_owned(),
        Seen::Unknown(why) => format!("The directory could not be queried: {}", why.message),
    };
    // Where the call can be sent again, there is no need to give up before the request itself ends.
    let waits = stopped.as_ref().is_some_and(|view| passes(view.reason));
    let over = if waits || again && matches!(world.evidence.finding, Seen::Unknown(_)) {
        record.cannot_arrive_after().max(record.expires_at)
    } else {
        record.cannot_arrive_after()
    };
    if now >= over {
        return Decision::Do(Effect::Write(Box::new(
            record.call_abandoned_at(gave_up_at(world, record)).unknown(nothing, now),
        )));
    }
    let call = if rejected {
        "The call was sent and rejected, since the precondition no longer held"
    } else if world.replied(record, &Reply::Unsure) {
        "The call was sent and no reply came"
    } else {
        // Another process's attempt: that process may have ended just before its call.
        "The call was sent, or about to be, and no reply is known"
    };
    let how = match &stopped {
        _ if again => {
            "the same call is sent again, on the condition that nothing has changed since before the first".to_owned()
        }
        Some(view) if !passes(view.reason) => format!("nothing is sent again. {}", view.message.trim_end_matches('.')),
        _ => "nothing is sent again".to_owned(),
    };
    let view = View::of(
        record,
        Reason::Verifying,
        format!("{call}: {how}. The operator checks until {over:.0} whether it took effect. {nothing}"),
    );
    // Evidence appears with the call or soon after it. A directory with many open attempts must not be queried for each of them all the
    // time.
    let age = now.duration_since(record.attempt.started_at);
    let pause = (age / 2).clamp(SignedDuration::from_secs(5), SignedDuration::from_secs(30));
    Decision::rest(view, Next::At(over.min(later(now, pause))))
}

/// Why a conditional call must not be sent again now. Closed gates also stop repeats.
///
/// # Errors
/// The fact to read first.
fn stopped(world: &World) -> Result<Option<Box<View>>, Decision> {
    let Some(request) = world.subject.request() else {
        return Ok(Some(Box::new(View::new(Reason::Pending, "Its request was deleted."))));
    };
    match gates::still_allowed(world, request) {
        Ok(()) => Ok(None),
        Err(Decision::Rest { view, .. }) => {
            Ok(Some(view.unwrap_or_else(|| Box::new(View::new(Reason::DirectoryNotReady, "")))))
        }
        Err(read) => Err(read),
    }
}

/// Whether the directory cannot be used at the moment for a cause that passes, not because an administrator stopped it.
fn passes(reason: Reason) -> bool {
    matches!(reason, Reason::DirectoryNotReady | Reason::Throttled)
}

/// When this process stopped waiting for the reply to its own call.
fn gave_up_at(world: &World, record: &Record) -> Option<Timestamp> {
    let own = world.own.attempt.as_ref().filter(|h| h.attempt == record.attempt.id && h.reply == Some(Reply::Unsure));
    own.and_then(|h| h.replied_at)
}

/// Only a sign-in can show whether the call took effect. There is one for each attempt, since a wrong password counts towards a
/// lock-out. The record says that a process tries it before it does.
///
/// # Errors
/// There was one already: what the directory shows without another.
pub(super) fn sign_in(world: &World, record: &Record, shown: &str) -> Result<Decision, String> {
    if world.own.may_sign_in {
        return Ok(Decision::Do(Effect::SignIn));
    }
    if record.sign_in_by.is_some() {
        return Err(format!("{shown} The one sign-in with the new password was inconclusive, and there is no second."));
    }
    Ok(Decision::Do(Effect::Write(Box::new(
        record.call_abandoned_at(gave_up_at(world, record)).sign_in_announced(&world.process.holder),
    ))))
}

/// Whether `evidence` counts for the attempt. A change time shows that something was changed, not by which call. It proves nothing if
/// another reset of the same user and mode may have moved it (one that began later, or one that may still arrive), if the call itself was
/// rejected because of it, or against the directory's own reply. That MFA is off shows even less: the look-up that found it on may be
/// older than the attempt.
pub(super) fn counts(world: &World, record: &Record, evidence: Evidence) -> bool {
    let began = record.attempt.started_at;
    let same = |other: &RecordSummary| {
        other.record != record.name
            && other.directory_identity == record.directory_identity
            && other.user == record.user.id
            && other.mode == record.mode
    };
    let by_state = record.attempt.baseline.as_deref() == Some(SWITCHED_ON);
    let may_have_moved_it = |other: &RecordSummary| match other.state {
        State::Released | State::NotApplied => false,
        _ if by_state => later(other.cannot_arrive_after, MAX_LOOK_UP) >= began,
        // The reply to its call came before this attempt began.
        State::Applied => other.started_at >= began,
        State::Sent | State::Changed | State::Unknown | State::Superseded => other.cannot_arrive_after >= began,
    };
    let refused = matches!(
        world.reply_to(record),
        Some(Reply::Rejected { .. } | Reply::PasswordRefused { .. } | Reply::Denied { .. } | Reply::NoSuchUser)
    ) || record.doubted_refusal().is_some();
    evidence != Evidence::Marker
        || !refused
            && !world.replied(record, &Reply::Conflict)
            && !world.ledger.past.iter().filter(|other| same(other)).any(|other| may_have_moved_it(other))
}
