//! Random histories of one request: the test chooses what the directory answers, which reads fail, when a process ends, and when the
//! status or the object is lost. It compares what the request reports with a ledger and a directory that know what really happened.
use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
};

use credreset::core::{
    Decision, Effect, Fact, Next, Outcome, Request, World,
    approvals::Approval,
    call::Reply,
    decide,
    directory::DirectoryFacts,
    driver::{Reader, read},
    finding::Finding,
    record::{Evidence, Record, Settlement, State},
    seen::{Seen, Why},
    user::LookUp,
    view::StatusSummary,
    world::{Delivery, OwnAttempt, Process, Progress, StepState, Subject, SuppliedPassword},
};
use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::json;

/// More looks than any request of an hour needs, with its record kept for a day more.
const MAX_LOOKS: usize = 20_000;

/// Throws that come round again: a directory that fails in a pattern fails for good.
struct Dice(Vec<u8>, usize);

impl Dice {
    fn one_in(&mut self, n: u8) -> bool {
        self.of(n) == 0
    }

    fn of(&mut self, n: u8) -> u8 {
        self.1 += 1;
        self.0[self.1 % self.0.len()].wrapping_mul(31).wrapping_add(u8::try_from(self.1 / self.0.len() % 256).unwrap())
            % n
    }
}

struct Life {
    template: World,
    dice: Dice,
    now: Timestamp,
    process: u32,
    attempts: u32,
    shown: StatusSummary,
    object: bool,
    ledger: Option<Record>,
    /// What the process of the moment knows of its own attempt: its id, whether it was sent, what came back, how far it is.
    held: Option<(String, bool, Option<Reply>, Progress)>,
    secrets: BTreeSet<String>,
    /// The attempt whose call took effect.
    in_force: Option<String>,
    delivered: bool,
    /// Calls that took effect, or may have for all that the operator can know.
    uncertain: u32,
    /// The last call was refused in words, and took effect all the same.
    lied: bool,
}

/// One read, which may fail.
struct Reading<'a> {
    fails: bool,
    life: &'a mut Life,
}

impl Reading<'_> {
    fn unless_fails<T>(&self, seen: Seen<T>) -> Seen<T> {
        if self.fails { Seen::Unknown(no_answer()) } else { seen }
    }
}

impl Reader for Reading<'_> {
    type Error = Infallible;

    async fn record_by_key(&mut self, _: &Request) -> Result<Option<Record>, Infallible> {
        Ok(self.life.ledger.clone())
    }

    async fn record_by_name(&mut self, _: &str) -> Result<Option<Record>, Infallible> {
        Ok(self.life.ledger.clone().filter(|_| !self.fails))
    }

    async fn directory(&mut self, _: &str, _: bool) -> Seen<DirectoryFacts> {
        self.unless_fails(self.life.template.facts.directory.clone())
    }

    async fn namespace_labels(&mut self, _: &str) -> Seen<BTreeMap<String, String>> {
        Seen::Absent
    }

    async fn user(&mut self, _: &Request) -> Seen<LookUp> {
        self.unless_fails(self.life.template.facts.user.clone())
    }

    async fn supplied_password(&mut self, _: &str, _: &str, _: &str) -> Seen<SuppliedPassword> {
        if self.fails { Seen::Absent } else { Seen::Known(SuppliedPassword::Usable) }
    }

    async fn delivery(&mut self, _: &Request, _: &str) -> (Seen<Delivery>, Option<Timestamp>) {
        if self.fails {
            let made = self.life.now.saturating_sub(SignedDuration::from_mins(10)).ok();
            return (Seen::Known(Delivery::Taken), made);
        }
        (Seen::Absent, None)
    }

    async fn approvals(&mut self, _: &Request) -> Seen<Vec<Approval>> {
        Seen::Absent
    }

    async fn finding(&mut self, record: &Record) -> Seen<Finding> {
        if self.fails {
            return Seen::Unknown(no_answer());
        }
        if self.life.lied {
            return Seen::Known(Finding::Changed("It has changed.".to_owned()));
        }
        let proven = self.life.in_force.as_ref() == Some(&record.attempt.id) && self.life.dice.one_in(3);
        Seen::Known(if proven {
            Finding::Proven(Evidence::Marker)
        } else {
            Finding::Inconclusive("Nothing is shown.".to_owned())
        })
    }

    async fn superseded(&mut self, _: &Record) -> Seen<bool> {
        Seen::Known(false)
    }

    async fn settlements(&mut self, _: &Record) -> Seen<Vec<Settlement>> {
        Seen::Absent
    }
}

fn no_answer() -> Why {
    Why::new("no answer.")
}

impl Life {
    fn new(template: World, dice: Vec<u8>) -> Self {
        Self {
            now: template.now,
            template,
            dice: Dice(dice, 0),
            process: 0,
            attempts: 0,
            shown: StatusSummary::default(),
            object: true,
            ledger: None,
            held: None,
            secrets: BTreeSet::new(),
            in_force: None,
            delivered: false,
            uncertain: 0,
            lied: false,
        }
    }

    fn me(&mut self) -> Process {
        self.attempts += 1;
        Process { holder: format!("op/{}", self.process), attempt: format!("t{}", self.attempts) }
    }

    /// The process ends, and another takes its place.
    fn crash(&mut self, world: &mut World) {
        self.process += 1;
        self.held = None;
        *world = self.look();
    }

    /// A reconcile begins: nothing has been read.
    fn look(&mut self) -> World {
        let subject = match &self.template.subject {
            Subject::Object { request, .. } if self.object => {
                Subject::Object { request: request.clone(), status: self.shown.clone() }
            }
            _ => Subject::Gone,
        };
        let mut world = World::new(self.now, self.me(), subject);
        if !self.object {
            self.found(&mut world);
        }
        world
    }

    fn found(&self, world: &mut World) {
        world.record_read(self.ledger.clone());
    }

    fn read(&mut self, world: &mut World, fact: Fact) {
        let mut reading = Reading { fails: self.dice.one_in(9), life: self };
        read(world, fact, &mut reading).now_or_never().unwrap().unwrap();
        if reading.fails && fact == Fact::RecordByName {
            world.ledger.record_by_name = Seen::Unknown(no_answer());
        }
    }

    fn send(&mut self, world: &World) {
        let record = self.ledger.clone().unwrap();
        let (id, sent, ..) = self.held.as_mut().unwrap();
        assert!(*id == record.attempt.id && !*sent && record.state == State::Sent, "sent without the right to");
        *sent = true;
        assert_eq!(self.uncertain, 0, "a second call, after one that may have taken effect");
        assert!(world.now < record.expires_at, "sent too late");
        assert!(record.attempt.secret.as_ref().is_none_or(|s| self.secrets.contains(s)), "the password is not stored");
        let refused = || Reply::PasswordRefused { code: "X".to_owned() };
        let (reply, effect, uncertain) = match self.dice.of(9) {
            0 => (Reply::NotSent, false, false),
            1 => (Reply::Throttled { after: Some(7) }, false, false),
            2 => (Reply::Denied { code: "X".to_owned() }, false, false),
            3 => (refused(), false, false),
            // It answers so, and has done it: what it shows then decides.
            8 => (refused(), true, true),
            4 => (Reply::Unsure, false, true),
            5 => (Reply::Unsure, true, true),
            _ => (Reply::Done, true, true),
        };
        if effect {
            self.in_force = Some(record.attempt.id.clone());
        }
        self.lied = effect && reply == refused();
        self.uncertain += u32::from(uncertain);
        self.held.as_mut().unwrap().2 = Some(reply);
    }

    fn write(&mut self, world: &mut World, record: Record) {
        let old = self.ledger.as_ref().unwrap();
        assert!(super::moves(old.state).contains(&record.state), "{:?} -> {:?}", old.state, record.state);
        let ours = self.in_force.as_ref() == Some(&record.attempt.id);
        match record.state {
            State::Changed | State::Applied => assert!(ours, "success without evidence"),
            State::Released | State::NotApplied => assert!(!ours, "it is in force, and the record says it is not"),
            State::Sent | State::Unknown | State::Superseded => {}
        }
        if !matches!(record.state, State::Sent | State::Changed) {
            self.held = None;
        }
        self.ledger = Some(record.clone());
        world.record_written(record, || self.me().attempt);
    }

    fn step(&mut self) -> StepState {
        let password = self.ledger.as_ref().and_then(|r| r.attempt.secret.as_ref());
        assert!(self.in_force.is_some(), "delivered before it is in force");
        assert!(password.is_some_and(|s| self.secrets.contains(s)), "the password is lost");
        match self.dice.of(6) {
            0 | 1 => StepState::Failed("it is in the way.".to_owned()),
            2 => StepState::Impossible("the namespace is gone.".to_owned()),
            _ => {
                self.delivered = true;
                StepState::Done
            }
        }
    }

    fn carry_out(&mut self, world: &mut World, effect: Effect) {
        match effect {
            Effect::StorePassword { attempt, .. } => {
                let name = format!("credreset-{attempt}");
                self.secrets.insert(name.clone());
                world.own.password_secret = Some(name);
                world.facts.approvals = Seen::Unread;
            }
            Effect::Open(record) | Effect::TakeOver(record) => {
                let free = self.ledger.as_ref().is_none_or(|r| r.state == State::Released);
                assert!(free, "a record that may be another's was taken");
                assert!(world.now < record.expires_at);
                self.held = Some((record.attempt.id.clone(), false, None, Progress::default()));
                self.ledger = Some(*record);
                self.found(world);
            }
            Effect::Send(_) => self.send(world),
            Effect::Repeat(_) => unreachable!("no conditional directory"),
            Effect::Write(record) => self.write(world, *record),
            Effect::Deliver { .. } => world.own.progress.deliver = self.step(),
            Effect::AfterReset(_) | Effect::SignIn => unreachable!("no directory of that kind"),
            Effect::Mail { .. } => world.own.progress.mail = self.step(),
            Effect::DropPassword { secret } => {
                let needed = self.ledger.as_ref().is_some_and(|r| {
                    r.attempt.secret.as_ref() == Some(&secret) && !r.state.is_settled() && r.state != State::Released
                });
                assert!(!needed, "a password that may be in force is thrown away");
                self.secrets.remove(&secret);
                world.own.password_secret = None;
            }
        }
        if let Some((.., progress)) = &mut self.held {
            progress.clone_from(&world.own.progress);
        }
    }

    /// One reconcile; when to look again.
    fn reconcile(&mut self) -> Next {
        let mut world = self.look();
        for _ in 0..64 {
            world.now = self.now;
            if let (Some((id, sent, reply, progress)), Seen::Known(record)) = (&self.held, &world.ledger.record)
                && *id == record.attempt.id
            {
                let in_time = self.now < record.attempt.deadline && !sent && self.dice.0[0] != 7;
                let own = OwnAttempt { attempt: id.clone(), may_send: in_time, reply: reply.clone(), replied_at: None };
                world.own_attempt(Some((own, progress.lasting())));
            }
            match decide(&world) {
                Decision::Read(fact) => self.read(&mut world, fact),
                Decision::Do(effect) => {
                    self.carry_out(&mut world, effect);
                    self.now = self.now.saturating_add(SignedDuration::from_millis(20)).unwrap();
                    if self.dice.one_in(11) {
                        self.crash(&mut world);
                    }
                }
                Decision::Rest { view, next } => {
                    if let (Some(view), true) = (view, self.object) {
                        let outcome = view.outcome();
                        assert!(!self.shown.is_settled() || self.shown.outcome == outcome, "an outcome was changed");
                        // As long as it waits, whatever for.
                        let since = self.shown.since.filter(|_| outcome.is_none()).or(Some(self.now));
                        let message = Some(view.message.clone());
                        self.shown = StatusSummary { outcome, reason: Some(view.reason), message, since };
                    }
                    return next;
                }
            }
        }
        panic!("it does not come to rest: {world:#?}");
    }

    fn live(&mut self) {
        for _ in 0..MAX_LOOKS {
            match self.reconcile() {
                Next::Never => return self.ended(),
                Next::At(at) => {
                    assert!(at >= self.now, "to be looked at again at {at}, which has passed at {}", self.now);
                    self.now = at.max(self.now.saturating_add(SignedDuration::from_millis(20)).unwrap());
                }
            }
            match self.dice.of(60) {
                0 => (self.process, self.held) = (self.process + 1, None),
                1 => self.shown = StatusSummary::default(),
                2 if self.ledger.is_some() => self.object = false,
                _ => {}
            }
        }
        panic!("no end: {:?} {:?}", self.shown, self.ledger);
    }

    /// The final status is true.
    fn ended(&self) {
        let record = self.ledger.as_ref();
        if let Some(record) = record {
            assert!(record.state.is_settled() || record.state == State::Unknown, "left as {:?}", record.state);
            assert!(self.now <= record.keep_until.saturating_add(SignedDuration::from_hours(1)).unwrap());
            let undelivered = record.follow_up != credreset::core::call::FollowUp::default() && !self.delivered;
            if record.state == State::Applied && undelivered {
                assert!(record.note.is_some(), "the password was not delivered, and no note reports it");
            }
        } else {
            assert!(self.in_force.is_none() && self.uncertain == 0, "a call without a record");
        }
        if self.object {
            match self.shown.outcome.expect("it ends with an outcome") {
                Outcome::Applied => assert!(self.in_force.is_some(), "success is claimed"),
                Outcome::NotApplied | Outcome::Lapsed => assert!(self.in_force.is_none(), "failure is claimed"),
                // A process that ended just before its call leaves the same record as one that ended just after it.
                Outcome::Unknown => assert!(record.is_some(), "nothing can have been sent"),
                Outcome::Superseded => unreachable!("no later request"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_request_is_carried_out_at_most_once_and_told_of_truly(
        name in prop_oneof![3 => Just("password"), 1 => Just("mfa")],
        mail in any::<bool>(),
        entered in any::<bool>(),
        dice in proptest::collection::vec(any::<u8>(), 3..60),
    ) {
        let mut patch = json!({"subject": {"object": {"request": {"validFor": "PT1H"}}}, "own": {"passwordSecret": null}, "facts": {"directory": {"known": {"mail": true}}}});
        if name == "password" {
            patch["subject"]["object"]["request"]["action"] = json!({"password": {"emailToUser": mail}});
            if entered {
                let source = json!({"generate": null, "fromSecret": {"name": "chosen", "key": "password"}});
                patch["subject"]["object"]["request"]["action"]["password"]["source"] = source;
                patch["subject"]["object"]["request"]["action"]["password"]["deliverTo"] = json!(null);
            }
        }
        let world = super::base(name, patch);
        prop_assume!(matches!(world.facts.user, Seen::Known(LookUp::One(_))));
        Life::new(world, dice).live();
    }
}
