//! A request with a record: the record's state decides.
use jiff::{SignedDuration, Timestamp};

use super::{
    call::Reply,
    decision::{Decision, Effect, Fact, Next},
    evidence::{counts, sign_in, unless_contradicted, verify},
    finding::Finding,
    follow_up::finish,
    reason::{Outcome, Reason},
    record::{Evidence, MAX_GENERATED_PASSWORDS, Record, Refusal, Settlement, State},
    request::{Action, PasswordSource, later},
    seen::Seen,
    start::start,
    text,
    view::{self, View},
    world::{OwnAttempt, World},
};

/// How long the operator waits at least after the directory throttled a call.
const MIN_THROTTLE_WAIT: SignedDuration = SignedDuration::from_secs(5);

/// The next step for `record`.
pub(super) fn follow(world: &World, record: &Record) -> Decision {
    let now = world.now;
    // A password of this process that can no longer come into force: another process was first, or the attempt is over. A released
    // record is taken over with a fresh password, which it does not name yet.
    if let Some(secret) = &world.own.password_secret {
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
            Decision::rest(view::settled(record, own), Next::Never)
        }
        State::Released => released(world, record),
        State::Sent => match &world.own.attempt {
            Some(own) if own.attempt == record.attempt.id && record.repeated_by.is_none() => sent(world, record, own),
            _ if world.replied(record, &Reply::Done) => finish(world, record, Evidence::Response),
            _ => verify(world, record),
        },
        State::Changed => finish(world, record, record.evidence.unwrap_or(Evidence::Response)),
        State::Unknown => unknown(world, record, now),
    }
}

fn released(world: &World, record: &Record) -> Decision {
    let now = world.now;
    let Some(request) = world.subject.request() else {
        return Decision::Do(Effect::Write(Box::new(record.withdrawn(now))));
    };
    if now.max(request.created) >= record.expires_at {
        return Decision::Do(Effect::Write(Box::new(record.not_applied(Reason::Expired, None, now))));
    }
    // The Secrets that a request names are in its own namespace: those of the other namespace would be set and delivered in this one's
    // name.
    if request.namespace != record.request.namespace {
        let view = View::of(
            record,
            Reason::UserBusy,
            format!(
                "The same request was filed as {}/{} and is still being carried out: this one waits for its outcome.",
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
        let view = match &record.refusal {
            Some(v) if v.reason == Reason::Throttled => View::of(
                record,
                Reason::Throttled,
                format!("The directory throttled the call and did nothing: {again}."),
            ),
            Some(Refusal { code: Some(code), .. }) => View::of(
                record,
                Reason::DirectoryNotReady,
                format!(
                    "The directory refused the operator's call with {code}, and nothing took effect: {again}. The Directory's \
                     conditions say \
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
        // A gate that refuses for good also ends the record: it must not be taken over later.
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

/// This process's own attempt, under way.
fn sent(world: &World, record: &Record, own: &OwnAttempt) -> Decision {
    let now = world.now;
    let write = |record: Record| Decision::Do(Effect::Write(Box::new(record)));
    let back_off = SignedDuration::from_secs(2i64.saturating_pow(record.attempt.number.min(6)));
    match &own.reply {
        None if own.may_send && now < record.expires_at => match world.subject.request() {
            Some(_) => Decision::Do(Effect::Send(record.call.clone())),
            None => write(record.released(Reason::DirectoryNotReady, None, now)),
        },
        // Too late, or no longer the leader: the call was never sent.
        None | Some(Reply::NotSent) => write(record.released(Reason::DirectoryNotReady, None, later(now, back_off))),
        // The operator's account may also be what keeps the directory from showing evidence.
        Some(Reply::Denied { code }) => {
            // If the check finds the cause, the Directory is not Ready and requests wait. If not, each try is refused like this one.
            let back_off = SignedDuration::from_secs(2i64.saturating_pow(record.attempt.number.min(11)));
            let released = record.released(Reason::DirectoryNotReady, Some(code.clone()), later(now, back_off));
            unless_contradicted(world, record, code, released)
        }
        Some(Reply::Throttled { after }) => {
            // Each try costs a Secret and two writes: a directory that keeps throttling is tried ever more rarely.
            let wait = after
                .map_or(SignedDuration::from_secs(30), |s| {
                    SignedDuration::from_secs(i64::from(s)).max(MIN_THROTTLE_WAIT)
                })
                .max(back_off);
            write(record.released(Reason::Throttled, None, later(now, wait)))
        }
        Some(Reply::Outdated) => write(record.not_applied(Reason::ChangedSinceRequest, None, now)),
        Some(Reply::NoSuchUser) => {
            unless_contradicted(world, record, "no such user", record.not_applied(Reason::UserNotFound, None, now))
        }
        Some(Reply::Rejected { code }) => refused(world, record, code, false),
        Some(Reply::PasswordRefused { code }) => {
            let generated = world
                .subject
                .request()
                .is_some_and(|r| matches!(&r.action, Action::Password { source: PasswordSource::Generate { .. }, .. }));
            // A policy that the generator does not know: another password, under a new attempt.
            // Where the CRDs are of another version the count is not kept, but the attempt's number is.
            let again = record.attempt.regenerated + 1 < MAX_GENERATED_PASSWORDS
                && record.attempt.number < 2 * MAX_GENERATED_PASSWORDS;
            refused(world, record, code, generated && again)
        }
        Some(Reply::Done) => finish(world, record, Evidence::Response),
        Some(Reply::Conflict | Reply::Unsure) => verify(world, record),
    }
}

/// The directory refused the change. `again`: it may accept another password.
fn refused(world: &World, record: &Record, code: &str, again: bool) -> Decision {
    let now = world.now;
    let Seen::Unknown(why) = &world.evidence.finding else {
        let refusal = Some(code.to_owned());
        let believed = if again {
            record.released(Reason::Rejected, refusal, now)
        } else {
            record.not_applied(Reason::Rejected, refusal, now)
        };
        return unless_contradicted(world, record, code, believed);
    };
    if now >= record.cannot_arrive_after() {
        let shown = format!("The directory could not be queried since: {}", why.message);
        return Decision::Do(Effect::Write(Box::new(record.doubted(code.to_owned(), shown, now))));
    }
    let next = later(now, SignedDuration::from_secs(5)).min(record.cannot_arrive_after());
    let view = View::of(
        record,
        Reason::Verifying,
        format!(
            "The directory refused the call with {code}. The operator could not check whether it shows a change all the same: {} It tries \
             again at {next:.0}.",
            why.message
        ),
    );
    Decision::rest(view, Next::At(next))
}

/// No proof either way: the operator looks again, reading only, ever more rarely, until the record is deleted.
fn unknown(world: &World, record: &Record, now: Timestamp) -> Decision {
    // Another process gave the attempt up while this one was still waiting for the reply, or was paused.
    if world.replied(record, &Reply::Done) {
        return Decision::Do(Effect::Write(Box::new(record.changed(Evidence::Response))));
    }
    if now >= record.keep_until {
        return Decision::rest(view::settled(record, true), Next::Never);
    }
    let not_counted = match &world.evidence.settlements {
        Seen::Unread => return Decision::Read(Fact::Settlements),
        Seen::Known(all) => {
            let valid = all.iter().filter(|settlement| settlement.fault(record).is_none());
            if let Some(first) = valid.min_by_key(|settlement| (settlement.created, &settlement.name)) {
                return Decision::Do(Effect::Write(Box::new(record.settle(first, now))));
            }
            let named = |settlement: &Settlement| {
                settlement
                    .fault(record)
                    .map(|fault| format!("{} is {fault}", text::printable(&settlement.name, text::NAME)))
            };
            let faults: Vec<String> = all.iter().filter_map(named).take(8).collect();
            if faults.is_empty() { String::new() } else { format!(" Settlements not counted: {}.", faults.join(", ")) }
        }
        Seen::Absent => String::new(),
        Seen::Unknown(why) => format!(" The operator could not read the settlements: {}", why.message),
    };
    match &world.evidence.superseded {
        Seen::Unread => return Decision::Read(Fact::Superseded),
        Seen::Known(true) => return Decision::Do(Effect::Write(Box::new(record.superseded(now)))),
        Seen::Known(false) | Seen::Absent | Seen::Unknown(_) => {}
    }
    // What the directory shows now, not what it showed when the operator gave up.
    let shown = match &world.evidence.finding {
        Seen::Unread => return Decision::Read(Fact::Finding),
        Seen::Known(Finding::Proven(evidence)) if counts(world, record, *evidence) => {
            return Decision::Do(Effect::Write(Box::new(record.changed(*evidence))));
        }
        Seen::Known(Finding::NeedsSignIn(shown)) => match sign_in(world, record, shown) {
            Ok(decision) => return decision,
            Err(inconclusive) => Some(inconclusive),
        },
        Seen::Known(Finding::Inconclusive(shown) | Finding::Changed(shown)) => Some(shown.clone()),
        Seen::Known(_) | Seen::Absent | Seen::Unknown(_) => None,
    };
    let note = shown.or_else(|| record.note.clone()).unwrap_or_default() + &not_counted;
    let view = view::settled(&Record { note: Some(note).filter(|note| !note.is_empty()), ..record.clone() }, true);
    let age = record.settled_at.map_or(SignedDuration::ZERO, |at| now.duration_since(at));
    let pause = (age / 2).clamp(SignedDuration::from_mins(1), SignedDuration::from_hours(1));
    Decision::rest(view, Next::At(later(now, pause).min(record.keep_until)))
}
