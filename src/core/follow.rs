//! A record exists: whatever happens now follows from it.
use jiff::{SignedDuration, Timestamp};

use super::{
    Decision, Effect, Fact, Next, Outcome, Reason, View, gates,
    ledger::{Evidence, Record, Reply, State, Verdict},
    report,
    request::{Action, Source, later},
    start, text,
    world::{Holding, Past, Progress, Proof, Seen, Settlement, StepState, World},
};

/// So many passwords are drawn for a request, where the directory refuses them for what they are: chance helps with what a policy asks
/// for, but not with everything.
pub const DRAWS: u32 = 10;

/// For so long at least a directory is left alone that asks for that.
const LEAST: SignedDuration = SignedDuration::from_secs(5);

/// A record exists: whatever happens now follows from it.
pub(super) fn follow(world: &World, record: &Record) -> Decision {
    let now = world.now;
    // A password of ours that can come into force no more: somebody else was first, or the attempt is over. A released record
    // is taken over with a fresh one, which it does not name yet.
    if let Some(secret) = &world.stored {
        let named = record.attempt.secret.as_ref() == Some(secret);
        let fresh = record.state == State::Released && !named;
        let wanted = named && record.needs_password();
        if !fresh && !wanted {
            return Decision::Do(Effect::DropPassword { secret: secret.clone() });
        }
    }
    match record.state {
        State::Applied | State::NotApplied | State::Superseded => {
            let own = world.subject.request().is_some_and(|r| r.uid == record.request.uid);
            Decision::rest(report::settled(record, own), Next::Never)
        }
        State::Released => released(world, record),
        State::Sent => match &world.holding {
            Some(holding) if holding.attempt == record.attempt.id && record.adopted_by.is_none() => {
                sent(world, record, holding)
            }
            _ if answered(world, record, &Reply::Done) => finish(world, record, Evidence::Response),
            _ => verify(world, record),
        },
        State::Changed => finish(world, record, record.evidence.unwrap_or(Evidence::Response)),
        State::Unknown => unknown(world, record, now),
    }
}

fn released(world: &World, record: &Record) -> Decision {
    let now = world.now;
    let Some(request) = world.subject.request() else {
        return Decision::Do(Effect::Write(Box::new(record.not_applied(Reason::Pending, None, now))));
    };
    if now.max(request.created) >= record.expires_at {
        return Decision::Do(Effect::Write(Box::new(record.not_applied(Reason::Expired, None, now))));
    }
    // Secrets that a request names are those of its own namespace: another's would be set and delivered in this one's name.
    if request.namespace != record.request.namespace {
        let view = View::of(
            record,
            Reason::UserBusy,
            format!(
                "The same request was made as {}/{} and is still being carried out: this one follows it.",
                record.request.namespace, record.request.name
            ),
        );
        return Decision::rest(view, Next::At(later(now, SignedDuration::from_secs(30)).min(record.expires_at)));
    }
    if let Some(at) = record.retry_at
        && at > now
    {
        let again = if at < record.expires_at {
            format!("tried again at {at:.0}")
        } else {
            format!("not before {at:.0}, and the request ends at {:.0}", record.expires_at)
        };
        let view = match &record.verdict {
            Some(v) if v.reason == Reason::Throttled => View::of(
                record,
                Reason::Throttled,
                format!("The directory asked to be left alone and did nothing: {again}."),
            ),
            Some(Verdict { code: Some(code), .. }) => View::of(
                record,
                Reason::DirectoryNotReady,
                format!(
                    "The directory refused the operator's call with {code}, and nothing took effect: {again}. The Directory's conditions say \
                     more (kubectl describe directory {}).",
                    record.directory
                ),
            ),
            _ => View::of(
                record,
                Reason::DirectoryNotReady,
                format!("The directory could not be used and nothing took effect: {again}."),
            ),
        };
        return Decision::rest(view, Next::At(at.min(record.expires_at)));
    }
    match start(world, request, Some(record)) {
        // A gate that refuses for good ends the record, too: it must not be taken over later.
        Decision::Rest { view: Some(view), next: Next::Never }
            if view.reason.outcome() == Some(Outcome::NotApplied) =>
        {
            Decision::Do(Effect::Write(Box::new(Record {
                note: Some(view.message),
                ..record.not_applied(view.reason, None, now)
            })))
        }
        decision => decision,
    }
}

/// Our own attempt, under way.
fn sent(world: &World, record: &Record, holding: &Holding) -> Decision {
    let now = world.now;
    let write = |record: Record| Decision::Do(Effect::Write(Box::new(record)));
    let back_off = SignedDuration::from_secs(2i64.saturating_pow(record.attempt.number.min(6)));
    match &holding.reply {
        None if holding.may_send && now < record.expires_at => match world.subject.request() {
            Some(_) => Decision::Do(Effect::Send(record.call.clone())),
            None => write(record.released(Reason::DirectoryNotReady, None, now)),
        },
        // Too late, or no longer leading: never sent.
        None | Some(Reply::NotSent) => write(record.released(Reason::DirectoryNotReady, None, later(now, back_off))),
        // Its account may be what keeps it from being looked at.
        Some(Reply::Denied { code }) => {
            // Where the check finds the cause, the Directory waits. Where it does not, each try is refused like this one.
            let back_off = SignedDuration::from_secs(2i64.saturating_pow(record.attempt.number.min(11)));
            let released = record.released(Reason::DirectoryNotReady, Some(code.clone()), later(now, back_off));
            unless_contradicted(world, record, code, released)
        }
        Some(Reply::Throttled { after }) => {
            // Each try costs a Secret and two writes: a directory that always asks for a moment is asked ever more rarely.
            let wait = after
                .map_or(SignedDuration::from_secs(30), |s| SignedDuration::from_secs(i64::from(s)).max(LEAST))
                .max(back_off);
            write(record.released(Reason::Throttled, None, later(now, wait)))
        }
        Some(Reply::Outdated) => write(record.not_applied(Reason::ChangedSinceRequest, None, now)),
        Some(Reply::NoSuchUser) => {
            unless_contradicted(world, record, "no such user", record.not_applied(Reason::UserNotFound, None, now))
        }
        Some(Reply::Rejected { code }) => refused(world, record, code, false),
        Some(Reply::PasswordRefused { code }) => {
            let drawn = world
                .subject
                .request()
                .is_some_and(|r| matches!(&r.action, Action::Password { source: Source::Generate { .. }, .. }));
            // A policy that the generator does not know: another draw, under a new attempt.
            // Where the kinds are of another version the count is not kept, but the attempt's number is.
            let again = record.attempt.redraws + 1 < DRAWS && record.attempt.number < 2 * DRAWS;
            refused(world, record, code, drawn && again)
        }
        Some(Reply::Done) => finish(world, record, Evidence::Response),
        Some(Reply::Conflict | Reply::Unsure) => verify(world, record),
    }
}

/// The directory refuses the change. `again`: another password may do.
fn refused(world: &World, record: &Record, code: &str, again: bool) -> Decision {
    let now = world.now;
    let Seen::Unknown(why) = &world.proof else {
        let said = Some(code.to_owned());
        let believed = if again {
            record.released(Reason::Rejected, said, now)
        } else {
            record.not_applied(Reason::Rejected, said, now)
        };
        return unless_contradicted(world, record, code, believed);
    };
    if now >= record.over() {
        let shown = format!("The directory could not be asked since: {}", why.message);
        return Decision::Do(Effect::Write(Box::new(record.doubted(code.to_owned(), shown, now))));
    }
    let next = later(now, SignedDuration::from_secs(5)).min(record.over());
    let view = View::of(
        record,
        Reason::Verifying,
        format!(
            "The directory refused the call with {code}. Whether it shows a change all the same could not be seen: {} Looked at again \
             at {next:.0}.",
            why.message
        ),
    );
    Decision::rest(view, Next::At(next))
}

/// Writes `believed`, what the directory's word comes to, unless it shows a change all the same.
fn unless_contradicted(world: &World, record: &Record, code: &str, believed: Record) -> Decision {
    let next = match contradicted(world, record) {
        Err(decision) => return decision,
        Ok(Some(shown)) => record.doubted(code.to_owned(), shown, world.now),
        Ok(None) => believed,
    };
    Decision::Do(Effect::Write(Box::new(next)))
}

/// The directory says that it has done nothing. It is believed unless it shows a change all the same: then the password may be in
/// force, and neither is another set nor this one thrown away. What it shows, if that is so.
///
/// # Errors
/// What is to be done first, or instead.
fn contradicted(world: &World, record: &Record) -> Result<Option<String>, Decision> {
    Ok(match &world.proof {
        Seen::Unread => return Err(Decision::Read(Fact::Proof)),
        Seen::Known(Proof::Proven(evidence)) if counts(world, record, *evidence) => {
            return Err(finish(world, record, *evidence));
        }
        Seen::Known(Proof::Proven(_) | Proof::Moved) => {
            Some(format!("The directory shows a change of the {} from the time of the call.", record.mode))
        }
        Seen::Known(Proof::Changed(shown)) => Some(shown.clone()),
        Seen::Known(Proof::Open(shown)) => match sign_in(world, record, shown) {
            Ok(decision) => return Err(decision),
            Err(told) => Some(told),
        },
        Seen::Known(Proof::Nothing(_)) | Seen::Absent | Seen::Unknown(_) => None,
    })
}

/// Sent, and nobody has told us the result: look for evidence, and wait until nothing can arrive any more.
fn verify(world: &World, record: &Record) -> Decision {
    let now = world.now;
    let turned_away = record.adopted_by.is_none() && answered(world, record, &Reply::Conflict);
    let own = record.adopted_by.is_none() && answered(world, record, &Reply::Unsure);
    let possible = record.attempt.conditional && !turned_away && now < record.expires_at;
    let stopped = match possible.then(|| stopped(world)).transpose() {
        Ok(stopped) => stopped.flatten(),
        Err(read) => return read,
    };
    let again = possible && stopped.is_none();
    let nothing = match &world.proof {
        // Another's attempt is adopted first: by then it has had no effect and never will have one beside this call's, or its
        // holder has written so and this write fails.
        Seen::Unread if again && !own && record.adopted_by.as_ref() != Some(&world.me.holder) => {
            return Decision::Do(Effect::Write(Box::new(record.adopted(&world.me.holder))));
        }
        Seen::Unread if again => return Decision::Do(Effect::Repeat(record.call.clone())),
        Seen::Unread | Seen::Known(Proof::Moved) => return Decision::Read(Fact::Proof),
        Seen::Known(Proof::Proven(evidence)) if counts(world, record, *evidence) => {
            return finish(world, record, *evidence);
        }
        Seen::Known(Proof::Proven(_)) => {
            "The directory shows a change, which another reset of this user may have made.".to_owned()
        }
        // The one call was turned away since the credentials were no longer as they had been.
        Seen::Known(Proof::Nothing(_) | Proof::Changed(_)) | Seen::Absent if turned_away => {
            return Decision::Do(Effect::Write(Box::new(record.not_applied(Reason::ChangedSinceRequest, None, now))));
        }
        Seen::Known(Proof::Open(shown)) => match sign_in(world, record, shown) {
            Ok(decision) => return decision,
            Err(told) => told,
        },
        Seen::Known(Proof::Nothing(shown) | Proof::Changed(shown)) => shown.clone(),
        Seen::Absent => "The directory shows nothing.".to_owned(),
        Seen::Unknown(why) => format!("The directory could not be asked: {}", why.message),
    };
    // Where the call can be sent again there is no need to give up before the request itself ends.
    let waits = stopped.as_ref().is_some_and(|view| passes(view.reason));
    let over = if waits || again && matches!(world.proof, Seen::Unknown(_)) {
        record.over().max(record.expires_at)
    } else {
        record.over()
    };
    if now >= over {
        return Decision::Do(Effect::Write(Box::new(record.given_up(gave_up_at(world, record)).unknown(nothing, now))));
    }
    let call = if turned_away {
        "The call was sent and turned away, since something was no longer as before"
    } else if answered(world, record, &Reply::Unsure) {
        "The call was sent and no answer came"
    } else {
        // Another process's: it may have ended just before its call.
        "The call was sent, or about to be, and no answer is known"
    };
    let how = match &stopped {
        _ if again => {
            "the same call is sent again, on the condition that nothing has changed since before the first".to_owned()
        }
        Some(view) if !passes(view.reason) => {
            let why =
                view.message.replace(": nothing was sent", "").replace("nothing was sent", "nothing is sent again");
            format!("nothing is sent again ({})", why.trim_end_matches('.'))
        }
        _ => "nothing is sent again".to_owned(),
    };
    let view = View::of(
        record,
        Reason::Verifying,
        format!("{call}: {how}. Whether it took effect is looked for until {over:.0}. {nothing}"),
    );
    // Evidence comes with the call or soon after it; a directory with many open attempts is not to be asked for each all the time.
    let age = now.duration_since(record.attempt.started_at);
    let pause = (age / 2).clamp(SignedDuration::from_secs(5), SignedDuration::from_secs(30));
    Decision::rest(view, Next::At(over.min(later(now, pause))))
}

/// Why a conditional call must not be sent again now. The brake is for what has begun, too.
///
/// # Errors
/// What is to be read first.
fn stopped(world: &World) -> Result<Option<Box<View>>, Decision> {
    let Some(request) = world.subject.request() else {
        return Ok(Some(Box::new(View::new(Reason::Pending, "its request was deleted"))));
    };
    match gates::still_allowed(world, request) {
        Ok(()) => Ok(None),
        Err(Decision::Rest { view, .. }) => {
            Ok(Some(view.unwrap_or_else(|| Box::new(View::new(Reason::DirectoryNotReady, "")))))
        }
        Err(read) => Err(read),
    }
}

/// The directory cannot be used at the moment, which nobody has asked for.
fn passes(reason: Reason) -> bool {
    matches!(reason, Reason::DirectoryNotReady | Reason::Throttled)
}

/// When this process saw that its own call gets no answer.
fn gave_up_at(world: &World, record: &Record) -> Option<Timestamp> {
    let own = world.holding.as_ref().filter(|h| h.attempt == record.attempt.id && h.reply == Some(Reply::Unsure));
    own.and_then(|h| h.replied_at)
}

/// Only a sign-in can tell. There is one for each attempt, since a wrong password counts towards a lock-out: that it is tried
/// is on record before it is.
///
/// # Errors
/// What is known after it, or without it.
fn sign_in(world: &World, record: &Record, shown: &str) -> Result<Decision, String> {
    if world.may_sign_in {
        return Ok(Decision::Do(Effect::SignIn));
    }
    if record.sign_in_by.is_some() {
        return Err(format!("{shown} One sign-in with the new password did not tell, and there is no second."));
    }
    Ok(Decision::Do(Effect::Write(Box::new(record.given_up(gave_up_at(world, record)).signing_in(&world.me.holder)))))
}

/// A change time tells that something was changed, not by whom: it proves nothing once another reset of the same may have
/// moved it, one that began later or one that may still arrive, nor where the call itself was turned away because of it, nor
/// against the directory's own word.
fn counts(world: &World, record: &Record, evidence: Evidence) -> bool {
    let began = record.attempt.started_at;
    let same = |other: &Past| {
        other.record != record.name
            && other.directory_identity == record.directory_identity
            && other.user == record.user.id
            && other.mode == record.mode
    };
    let may_have_moved_it = |other: &Past| match other.state {
        State::Released | State::NotApplied => false,
        // It was answered before this one began.
        State::Applied => other.started_at >= began,
        State::Sent | State::Changed | State::Unknown | State::Superseded => other.over >= began,
    };
    let refused = matches!(
        reply(world, record),
        Some(Reply::Rejected { .. } | Reply::PasswordRefused { .. } | Reply::Denied { .. } | Reply::NoSuchUser)
    ) || record.doubted_refusal().is_some();
    evidence != Evidence::Marker
        || !refused
            && !answered(world, record, &Reply::Conflict)
            && !world.past.iter().filter(|other| same(other)).any(|other| may_have_moved_it(other))
}

/// The change is proven: deliver what is to be delivered, then close the record.
///
/// While all goes well the record goes from Sent to Applied in one write: the delivery Secret itself is the proof that a
/// successor would need. Only where a step fails is Changed written, so that the evidence is not lost.
fn finish(world: &World, record: &Record, evidence: Evidence) -> Decision {
    let now = world.now;
    let Progress { deliver, clean_up, mail } = &world.progress;
    let (mut notes, mut failed, mut undelivered) = (Vec::new(), None, false);
    let steps = [
        (deliver, record.finish.deliver_to.as_ref().map(|secret| Effect::Deliver { secret: secret.clone() })),
        (clean_up, record.finish.clean_up.map(Effect::CleanUp)),
        (mail, record.finish.mail_to.as_ref().map(|to| Effect::Mail { to: to.clone() })),
    ];
    for (state, effect) in steps {
        let Some(effect) = effect else { continue };
        match state {
            // Mailed again with every try at what comes before it, it would be mailed a thousand times; but not never.
            StepState::Pending
                if failed.is_none() || !matches!(effect, Effect::Mail { .. }) || now >= record.keep_until =>
            {
                return hold_or(world, record, evidence, effect);
            }
            StepState::Pending | StepState::Done => {}
            StepState::Failed(why) => failed = Some(failed.map_or(why.clone(), |first| format!("{first} And {why}"))),
            StepState::Impossible(why) => {
                undelivered = true;
                notes.push(why.clone());
            }
            StepState::Lost(why) => notes.push(why.clone()),
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
        notes.push(format!("what remained was given up at {now:.0}, and what stood in the way last was this: {why}"));
    }
    if let (true, Some(secret)) = (undelivered, &record.attempt.secret) {
        notes
            .push(format!("It is kept in Secret {secret} of the operator's namespace until {:.0}.", record.keep_until));
    }
    let note = (!notes.is_empty()).then(|| format!("But {}", notes.join(" ")));
    Decision::Do(Effect::Write(Box::new(record.applied(evidence, note, now))))
}

/// What came back to this process, if it has sent the record's attempt itself.
fn reply<'a>(world: &'a World, record: &Record) -> Option<&'a Reply> {
    world.holding.as_ref().filter(|h| h.attempt == record.attempt.id)?.reply.as_ref()
}

/// This process has sent the record's attempt itself, and that is what came back.
fn answered(world: &World, record: &Record, what: &Reply) -> bool {
    reply(world, record) == Some(what)
}

/// A step that may take long, or whose success leaves no trace, waits until the evidence is durable.
fn hold_or(world: &World, record: &Record, evidence: Evidence, effect: Effect) -> Decision {
    let fresh = answered(world, record, &Reply::Done);
    // A delivered password is the proof that a successor would need.
    let traceable = match effect {
        Effect::Deliver { .. } => true,
        // With the mark the condition may hold once more: by then nobody sends the call again.
        Effect::CleanUp(what) => !what.must_change && world.progress.deliver == StepState::Done,
        _ => false,
    };
    if record.state == State::Changed || (fresh && traceable) {
        Decision::Do(effect)
    } else {
        Decision::Do(Effect::Write(Box::new(record.changed(evidence))))
    }
}

/// No proof either way: looked at again, reading only, ever more rarely, until the record goes.
fn unknown(world: &World, record: &Record, now: Timestamp) -> Decision {
    // Somebody else gave it up while this process was still waiting for its answer, or for its pause to end.
    if answered(world, record, &Reply::Done) {
        return Decision::Do(Effect::Write(Box::new(record.changed(Evidence::Response))));
    }
    if now >= record.keep_until {
        return Decision::rest(report::settled(record, true), Next::Never);
    }
    let not_taken = match &world.settlements {
        Seen::Unread => return Decision::Read(Fact::Settlements),
        Seen::Known(all) => {
            let count = all.iter().filter(|said| said.fault(record).is_none());
            if let Some(first) = count.min_by_key(|said| (said.created, &said.name)) {
                return Decision::Do(Effect::Write(Box::new(record.said(first, now))));
            }
            let named = |said: &Settlement| {
                said.fault(record).map(|fault| format!("{} is {fault}", text::shown(&said.name, text::NAME)))
            };
            let faults: Vec<String> = all.iter().filter_map(named).take(8).collect();
            if faults.is_empty() { String::new() } else { format!(" Settlements not taken: {}.", faults.join(", ")) }
        }
        Seen::Absent => String::new(),
        Seen::Unknown(why) => format!(" Whether somebody has settled it is not known: {}", why.message),
    };
    match &world.superseded {
        Seen::Unread => return Decision::Read(Fact::Superseded),
        Seen::Known(true) => return Decision::Do(Effect::Write(Box::new(record.superseded(now)))),
        Seen::Known(false) | Seen::Absent | Seen::Unknown(_) => {}
    }
    // What the directory shows now, not what it showed when the call was given up.
    let shown = match &world.proof {
        Seen::Unread => return Decision::Read(Fact::Proof),
        Seen::Known(Proof::Proven(evidence)) if counts(world, record, *evidence) => {
            return Decision::Do(Effect::Write(Box::new(record.changed(*evidence))));
        }
        Seen::Known(Proof::Open(shown)) => match sign_in(world, record, shown) {
            Ok(decision) => return decision,
            Err(told) => Some(told),
        },
        Seen::Known(Proof::Nothing(shown) | Proof::Changed(shown)) => Some(shown.clone()),
        Seen::Known(_) | Seen::Absent | Seen::Unknown(_) => None,
    };
    let note = shown.or_else(|| record.note.clone()).unwrap_or_default() + &not_taken;
    let view = report::settled(&Record { note: Some(note).filter(|note| !note.is_empty()), ..record.clone() }, true);
    let age = record.settled_at.map_or(SignedDuration::ZERO, |at| now.duration_since(at));
    let pause = (age / 2).clamp(SignedDuration::from_mins(1), SignedDuration::from_hours(1));
    Decision::rest(view, Next::At(later(now, pause).min(record.keep_until)))
}
