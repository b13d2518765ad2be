//! What a plan says is what is done: a forecast on a world, and a run of the same world.
use std::cell::Cell;

use credreset::core::{
    Decision, Effect, Mode, World,
    call::Call,
    decide,
    directory::Feature,
    forecast::{Verdict, forecast},
    request::{Action, Factor, PasswordSource},
    rules::{Protect, Users},
    seen::Seen,
    user::LookUp,
    view::StatusSummary,
    world::{OwnAttempt, Progress, Subject, SuppliedPassword},
};
use jiff::SignedDuration;
use proptest::prelude::*;

use super::arbitrary::{Facts, walk, world};

/// The call that a run of `world` sends, if it sends one. A process that has just begun, and leads.
fn run(world: World, facts: &Facts) -> Result<Option<Call>, TestCaseError> {
    let (mut world, mut decision) = walk(world, facts)?;
    for _ in 0..8 {
        match decision {
            Decision::Do(Effect::StorePassword { attempt, .. }) => {
                world.own.password_secret = Some(format!("credreset-{attempt}"));
            }
            Decision::Do(Effect::DropPassword { .. }) => world.own.password_secret = None,
            Decision::Do(Effect::Open(record) | Effect::TakeOver(record)) => {
                world.own.attempt = Some(OwnAttempt {
                    attempt: record.attempt.id.clone(),
                    may_send: true,
                    reply: None,
                    replied_at: None,
                });
                world.ledger.record = Seen::Known(*record);
            }
            Decision::Do(Effect::Send(once)) => return Ok(Some(once)),
            _ => return Ok(None),
        }
        (world, decision) = match decide(&world) {
            Decision::Read(_) => walk(world, facts)?,
            decision => (world, decision),
        };
    }
    Err(TestCaseError::fail("it does not come to rest"))
}

/// The steps in words, made of the request and the call that is sent.
fn steps_of(world: &World, once: &Call) -> Vec<String> {
    let Subject::Object { request, .. } = &world.subject else { unreachable!("a request was planned") };
    let whose = format!("of {} in Directory {}", request.user, request.directory);
    let at = |secret: &str| format!("{}/{secret}", request.namespace);
    match (&request.action, once) {
        (
            Action::Password { source, email_to_user, deliver_to, sealed_for, expires_after, .. },
            Call::SetPassword {
                force_change_on_login,
                clear_mobile_sessions_and_api_tokens,
                email_to_user: by_directory,
            },
        ) => {
            assert!(*email_to_user || !by_directory, "a mail that was not asked for");
            let mut all = vec![match source {
                PasswordSource::Generate { length, .. } => format!("Generate a password of {length} characters."),
                PasswordSource::FromSecret { name, key } => {
                    format!("Take the password from key {key} of Secret {}.", at(name))
                }
            }];
            all.push(match force_change_on_login {
                true => {
                    format!("Set it as the password {whose}; the user must choose another one at the next sign-in.")
                }
                false => format!(
                    "Set it as the password {whose}; the user may keep it: no change is required at the next sign-in."
                ),
            });
            all.push(match clear_mobile_sessions_and_api_tokens {
                true => "End the user's web sessions, mobile sessions and API tokens.".to_owned(),
                false => "End the user's web sessions. Mobile sessions and API tokens stay.".to_owned(),
            });
            all.extend(deliver_to.iter().map(|secret| match &sealed_for[..] {
                [] => format!("Write it into Secret {}: everyone who may read Secrets there can read it.", at(secret)),
                [_] => format!(
                    "Seal it into Secret {}, where only a private key of its recipients (1) opens it.",
                    at(secret)
                ),
                _ => unreachable!("one recipient at most is drawn"),
            }));
            all.extend(sealed_for.iter().map(|one| format!("Recipient 1 of 1: {one}.")));
            all.extend(expires_after.map(|_| "Delete that Secret 24h later, or within the hour after.".to_owned()));
            all.extend(email_to_user.then(|| "Mail it to the user.".to_owned()));
            all
        }
        (Action::Mfa { factors }, Call::ResetMfa {}) if factors.is_empty() => {
            vec![format!("Remove the second factors {whose} that the directory lets the operator remove.")]
        }
        (Action::Mfa { .. }, Call::RemoveFactors { factors, .. }) => {
            let name = |factor: &Factor| format!("{factor:?}");
            match factors.iter().map(name).collect::<Vec<_>>().join(", ") {
                none if none.is_empty() => {
                    vec![format!("Remove the second factors {whose} that the directory lets the operator remove.")]
                }
                kinds => vec![format!("Remove second factors {whose} of these kinds: {kinds}.")],
            }
        }
        other => unreachable!("another call than was asked for: {other:?}"),
    }
}

/// Worlds at random hardly ever send anything: of the things that stand in the way, those whose bit is set are taken away.
fn clear_the_way(world: &mut World, facts: &mut Facts, bits: u16) {
    let clear = |bit: u32| bits & (1 << bit) != 0;
    let Subject::Object { request, status: shown } = &mut world.subject else { return };
    if clear(0) {
        (facts.record, facts.record_by_name) = (Seen::Absent, Seen::Absent);
        (*shown, request.restored) = (StatusSummary::default(), false);
    }
    if clear(1) {
        world.now = request.requested_at;
        request.created = request.requested_at;
        request.valid_for = SignedDuration::from_hours(1);
    }
    if clear(2) {
        world.ledger.past.clear();
    }
    if let (true, Seen::Known(directory)) = (clear(3), &mut facts.directory) {
        (directory.suspend, directory.not_ready, directory.mail) = (false, None, true);
        directory.protect = Protect { administrators: false, ..Protect::default() };
        directory.supports = Feature::ALL.into();
        // So that the operator has to mail the password itself.
        if directory.mail_trouble.is_some() {
            directory.supports.remove(&Feature::EmailToUser);
        }
    }
    if let (true, Seen::Known(directory)) = (clear(4), &mut facts.directory) {
        for rule in &mut directory.allow {
            rule.modes = vec![Mode::Password, Mode::MFA];
            rule.namespaces = vec![request.namespace.clone()];
            rule.users = Users { everyone: true, ..Users::default() };
            (rule.max_valid_for, rule.approvals) = (None, None);
        }
    }
    if let (true, Seen::Known(LookUp::One(user))) = (clear(5), &mut facts.user) {
        (user.confirmed, user.active, user.federated) = (true, true, false);
        (user.operator, user.administrator) = (Seen::Known(false), Seen::Known(false));
        (user.changed_at, user.groups) = (Seen::Absent, Seen::Known(Vec::new()));
        user.lacks.clear();
    }
    if clear(6) {
        (facts.entered, facts.delivery) = (Seen::Known(SuppliedPassword::Usable), Seen::Absent);
    }
}

/// Seven bits, each set nine times of ten.
fn mostly() -> impl Strategy<Value = u16> {
    proptest::collection::vec(proptest::bool::weighted(0.9), 7)
        .prop_map(|bits| bits.iter().enumerate().map(|(at, bit)| u16::from(*bit) << at).sum())
}

#[test]
fn allowed_is_what_is_sent() {
    let (sent, kept, mail) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let config = ProptestConfig { cases: 6000, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |((mut world, mut facts) in world(), bits in mostly())| {
        clear_the_way(&mut world, &mut facts, bits);
        // A plan, and an operator that has just begun, hold nothing.
        (world.own.attempt, world.own.password_secret, world.own.progress) = (None, None, Progress::default());
        if world.subject.request().is_none() {
            return Ok(()); // a record without its object has no manifest to plan
        }
        let (known, decision) = walk(world.clone(), &facts)?;
        let plan = forecast(&known, &decision).expect("all has been read");
        let once = run(world, &facts)?;
        prop_assert_eq!(plan.verdict == Verdict::Allowed && plan.view.is_none(), once.is_some(), "{:?}", plan);
        if let Some(once) = once {
            prop_assert_eq!(&plan.steps, &steps_of(&known, &once));
            prop_assert!(plan.rule.is_some() && !plan.impact.is_empty());
            sent.set(sent.get() + 1);
        } else {
            kept.set(kept.get() + 1);
            let waits = plan.view.as_ref().is_some_and(|view| view.message.contains("cannot send mail"));
            mail.set(mail.get() + u32::from(waits));
        }
    });
    println!("{} would be sent, {} would not, {} of them since no mail can go out", sent.get(), kept.get(), mail.get());
    assert!(sent.get() > 200 && kept.get() > 200 && mail.get() > 20, "one side is hardly ever met");
}
