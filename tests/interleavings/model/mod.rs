//! The model that the search runs on: an API server, a directory, two operator processes and a clock, all of it data. The operators are
//! the real [`decide`] and the real transitions of the ledger.
/// Returns an error, a broken promise, unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($what:tt)*) => {
        if !$condition {
            return Err(format!($($what)*));
        }
    };
}

mod api_server;
mod clock;
mod directory;
mod events;
mod processes;
mod promises;
mod reads;
mod trace;

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    hash::{Hash, Hasher},
    sync::Arc,
};

use credreset::core::{
    Decision, Effect, Fact, Mode, Next, Outcome, Reason, Request, View, World,
    approvals::Approval,
    call::{AfterReset, Reply},
    decide,
    directory::DirectoryFacts,
    driver::{Reader, read},
    finding::Finding,
    history::History,
    record::{Attempt, Evidence, Record, Settlement, State, record_name},
    request::UserRef,
    seen::{Seen, Why},
    user::{LookUp, SWITCHED_ON},
    view::StatusSummary,
    world::{Delivery, OwnAttempt, Process as Me, Progress, StepState, Subject, SuppliedPassword},
};
use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};

use crate::{digest::digest, mutations::Fault};

/// Longer than the time limit of any call: a call that has not ended by its attempt's deadline never will for its client.
const TIMEOUT: i64 = 15;
/// Seconds by which a clock jumps.
const HOUR: i64 = 3600;
/// A leader that has slept for so long is no longer the leader (`lease::Config::renew_deadline`).
const RENEWED: i64 = 10;
/// How late a request may still arrive after its attempt's deadline, clocks being right (`ledger::CLOCK_SKEW_MARGIN`).
const LATE: i64 = 60;

/// How the directory can show what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It shows nothing.
    Silent,
    /// It shows when something was last changed.
    Marked,
    /// That, and it changes only on condition that nothing has changed.
    Conditional,
    /// It shows when something was last changed, which only a sign-in can distinguish from another change; sessions are ended by
    /// calls of their own.
    SignedInto,
    /// It shows whether MFA is on, which the call turns off, and no time; its user may turn it on again.
    Switched,
}

/// The kinds of second manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Second {
    /// The first under another name.
    Copy,
    /// The first under another name, with the user named by id.
    Respelled,
    /// Another reset of the same user.
    Another,
}

/// What a search starts from.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: String,
    pub kind: Kind,
    pub second: Second,
    /// Seconds that each process's clock is wrong.
    pub skew: [i64; 2],
    pub template: World,
    /// A fault that the search must find.
    pub fault: Option<Fault>,
}

/// One step of a history.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A process takes up an item, or goes on with it: reads and decides.
    Think(usize, Item),
    /// The same, and nothing that it asks is answered.
    Blind(usize, Item),
    /// A process carries out what it has decided.
    Act(usize, Fate),
    /// A call that is under way ends.
    Call(usize, End),
    /// A late write reaches the API server.
    Arrive(usize),
    Crash(usize),
    /// The lease goes to this process, which is started if it is not running.
    Lead(usize),
    /// The process's machine sleeps, and its monotonic clock stands still.
    Sleep(usize),
    Wake(usize),
    /// The process's clock of the day jumps by an hour.
    Jump(usize),
    /// The process's clock of the day is set right again.
    Set(usize),
    /// The clock moves on to this second.
    Wait(i64),
    Apply(usize),
    Delete(usize),
    WipeStatus(usize),
    DeleteRecord(usize),
    /// The user turns MFA on again.
    TurnOn,
}

/// The result of a write to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Stored, and answered.
    Stored,
    /// Stored, and the answer is lost.
    Unanswered,
    /// Not stored, and no answer.
    Failed,
    /// No answer, and stored later perhaps.
    Late,
}

/// The result of a call to the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// Carried out, and answered.
    Done,
    /// Carried out, and the answer is lost.
    Unanswered,
    /// Never arrives; the client sees a broken connection.
    Gone,
    /// The client gives up; the call is still on its way.
    GivenUp,
    /// Refused, and answered: busy.
    Throttled,
    /// Refused, and answered: not such a password.
    Rejected,
    /// Carried out, and answered: not such a password.
    Lied,
}

/// What a process works on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Item {
    Request(usize),
    Record(String),
}

/// An object of the API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Object {
    request: Arc<Request>,
    shown: StatusSummary,
}

/// An attempt as it really is.
#[allow(clippy::struct_excessive_bools, reason = "facts that do not exclude each other")]
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Truth {
    record: String,
    /// Its record was stored with it.
    stored: bool,
    sent: bool,
    applied: bool,
    /// The process that sent it knows that it took no effect.
    turned_away: bool,
    needs_secret: bool,
    signed_in: bool,
}

/// When something was last changed, as an attempt saw it; never, if there is no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Unchanged(Option<i64>);

/// A call on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Call {
    attempt: String,
    /// The one call, or a conditional one sent again.
    first: bool,
    /// The process that still waits for the answer, and its incarnation.
    client: Option<(usize, u32)>,
    /// The client gives up by then.
    gives_up: i64,
    /// It arrives by then or never.
    ends: i64,
    /// Only if the last change is still this one, if it is a conditional call.
    condition: Option<Unchanged>,
}

/// What a process alone knows of its attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Held {
    deadline: i64,
    sent: bool,
    reply: Option<Reply>,
    replied_at: Option<Timestamp>,
    progress: Progress,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Doing {
    Effect(Effect),
    Show(Option<Box<View>>, Next),
    /// Waits for the answer to its call.
    Waiting,
}

/// An item being worked on.
#[derive(Clone, Debug)]
struct Run {
    item: Item,
    world: World,
    /// What was to be seen of the item when it was taken up.
    seen: u64,
    /// The record's version, as it was read.
    version: u64,
    /// The ledger gave no answer.
    dark: bool,
    /// The object to show the outcome in, and its uid.
    object: Option<(usize, String)>,
    doing: Option<Doing>,
}

/// What of a run differs from one history to another: names and rules are the same in all of them.
impl Hash for Run {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let w = &self.world;
        (&self.item, self.seen, self.dark, &self.object, &self.doing).hash(state);
        (
            w.now,
            &w.process.attempt,
            w.ledger.record_looked_up_at,
            &w.ledger.record_by_name,
            &w.own.password_secret,
            &w.own.attempt,
            &w.own.progress,
        )
            .hash(state);
        (
            &w.evidence.finding,
            w.own.may_sign_in,
            &w.evidence.superseded,
            &w.facts.delivery,
            w.ledger.hourly_limit_reached_at,
            w.ledger.past.len(),
        )
            .hash(state);
        for past in &w.ledger.past {
            (past.state, past.started_at).hash(state);
        }
        if let Seen::Known(record) = &w.ledger.record {
            brief(record).hash(state);
        }
        (std::mem::discriminant(&w.ledger.record), std::mem::discriminant(&w.facts.directory)).hash(state);
        if let Subject::Object { status: shown, .. } = &w.subject {
            shown.hash(state);
        }
        if let Seen::Known(LookUp::One(user)) = &w.facts.user {
            (&user.changed_at, &user.mfa_on).hash(state);
        }
    }
}

/// What of a record differs.
fn brief(record: &Record) -> impl Hash + use<> {
    let Attempt {
        id,
        number,
        holder,
        started_at,
        deadline: _,
        secret: _,
        baseline,
        conditional: _,
        approved_by: _,
        regenerated,
    } = record.attempt.clone();
    let refusal = record.refusal.as_ref().map(|v| v.reason);
    let ends = (record.evidence, refusal, record.retry_at, record.note.is_some(), record.settled_at);
    let attempt = (id, number, holder, started_at, baseline, regenerated);
    let others = (record.repeated_by.clone(), record.sign_in_by.clone(), record.gave_up_at);
    (record.requested_at, record.request.uid.clone(), record.state, attempt, others, ends)
}

/// An item at rest: what was to be seen of it then, and when it is looked at again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Rest {
    seen: u64,
    again: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, Hash)]
struct Process {
    alive: bool,
    /// Since when its machine sleeps.
    asleep: Option<i64>,
    /// Its clock is wrong by an hour, which it learns from the API server's.
    wrong: bool,
    /// It has slept, and takes itself for the leader that it was: by a fault alone.
    dozy: bool,
    incarnation: u32,
    held: BTreeMap<String, Held>,
    history: History,
    signed_in: BTreeSet<String>,
    run: Option<Arc<Run>>,
    rests: BTreeMap<Item, Rest>,
}

/// The state of the model.
#[allow(clippy::struct_excessive_bools, reason = "facts that do not exclude each other")]
#[derive(Clone, Debug)]
pub struct Site {
    scenario: Arc<Scenario>,
    /// Seconds since the search began.
    now: i64,
    objects: [Option<Arc<Object>>; 2],
    records: BTreeMap<String, (u64, Arc<Record>)>,
    /// Writes of records that are still on their way.
    late: Vec<Arc<Record>>,
    /// Passwords in the operator's namespace.
    secrets: BTreeSet<String>,
    /// The attempts whose password was delivered, by record.
    delivered: BTreeMap<String, String>,
    processes: [Process; 2],
    leader: Option<usize>,
    calls: Vec<Call>,
    truths: BTreeMap<String, Truth>,
    /// When something was last changed at the directory.
    changed: Option<i64>,
    /// The attempt that changed it last.
    in_force: Option<String>,
    /// MFA is on.
    on: bool,
    /// And that by its user, after a reset: it no longer shows that there was one.
    on_again: bool,
    attempts: u32,
    objects_made: u32,
    versions: u64,
    /// A user has deleted the ledger's record of these, and the directory could not show what happened then.
    forgotten: BTreeSet<String>,
    /// A user has deleted a record.
    deleted: bool,
    /// Each read is an event of its own.
    pub fine: bool,
}

impl Hash for Site {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.now, &self.secrets, &self.delivered, &self.processes, self.leader, &self.calls).hash(state);
        (&self.truths, self.changed, &self.in_force, &self.forgotten, self.deleted, self.late.len()).hash(state);
        (self.on, self.on_again).hash(state);
        for object in self.objects.iter().flatten() {
            (&object.request.uid, object.request.created, &object.shown).hash(state);
        }
        self.objects.each_ref().map(Option::is_some).hash(state);
        for record in &self.late {
            brief(record).hash(state);
        }
        // Versions matter only as far as a process holds an old one.
        for (version, record) in self.records.values() {
            let current = self.processes.each_ref().map(|p| p.run.as_ref().is_some_and(|r| r.version == *version));
            (brief(record), current).hash(state);
        }
    }
}

type Checked = Result<(), String>;

fn moves(from: State, to: State) -> bool {
    use State::{Applied, Changed, NotApplied, Released, Sent, Superseded, Unknown};
    from == to
        || matches!(
            (from, to),
            (Sent, Released | Changed | Applied | NotApplied | Unknown)
                | (Released, Sent | NotApplied)
                | (Changed, Applied)
                | (Unknown, Changed | Applied | NotApplied | Superseded)
        )
}

impl Site {
    /// The first manifest is applied, and the first process leads.
    pub fn new(scenario: Arc<Scenario>, fine: bool) -> Self {
        let mut site = Self {
            scenario,
            now: 0,
            objects: [None, None],
            records: BTreeMap::new(),
            late: Vec::new(),
            secrets: BTreeSet::new(),
            delivered: BTreeMap::new(),
            processes: [Process::default(), Process::default()],
            leader: None,
            calls: Vec::new(),
            truths: BTreeMap::new(),
            changed: None,
            in_force: None,
            on: true,
            on_again: false,
            attempts: 0,
            objects_made: 0,
            versions: 0,
            forgotten: BTreeSet::new(),
            deleted: false,
            fine,
        };
        site.create(0);
        site.lead(0);
        site
    }

    fn has(&self, fault: Fault) -> bool {
        self.scenario.fault == Some(fault)
    }

    /// Lets `event` happen. An error is a broken promise.
    pub fn happen(&mut self, event: &Event) -> Checked {
        match event {
            Event::Think(p, item) => self.think(*p, item, false),
            Event::Blind(p, item) => self.think(*p, item, true),
            Event::Act(p, fate) => self.act(*p, *fate)?,
            Event::Call(i, end) => self.call(*i, *end)?,
            Event::Arrive(i) => self.arrive(*i)?,
            Event::Crash(p) => self.crash(*p),
            Event::Lead(p) => self.lead(*p),
            Event::Sleep(p) => self.processes[*p].asleep = Some(self.now),
            Event::Wake(p) => self.wake(*p),
            Event::Jump(p) => self.jump(*p),
            Event::Set(p) => self.processes[*p].wrong = false,
            Event::Wait(at) => {
                self.now = *at;
                self.processes.iter_mut().filter(|p| p.asleep.is_none()).for_each(|p| p.dozy = false);
            }
            Event::Apply(slot) => self.create(*slot),
            Event::Delete(slot) => self.objects[*slot] = None,
            Event::WipeStatus(slot) => {
                if let Some(object) = &mut self.objects[*slot] {
                    Arc::make_mut(object).shown = StatusSummary::default();
                    let item = Item::Request(*slot);
                    for process in &mut self.processes {
                        process.rests.remove(&item);
                    }
                }
            }
            Event::TurnOn => self.turn_on(),
            Event::DeleteRecord(i) => {
                if let Some(name) = self.records.keys().nth(*i).cloned() {
                    self.delete_record(&name);
                }
            }
        }
        self.i6_the_password_is_kept()
    }

    /// Without mishaps from now on: what is under way ends, one process leads, time goes by. Every request must end with a true status.
    pub fn settle(&mut self) -> Checked {
        self.late.clear();
        self.fine = false;
        for p in 0..2 {
            self.wake(p);
            self.processes[p].wrong = false;
        }
        let mut last = std::collections::VecDeque::new();
        for _ in 0..20_000 {
            let event = if let Some(call) = self.calls.first() {
                Event::Call(0, if call.client.is_some() { End::Done } else { End::Gone })
            } else if self.leader.is_none() {
                Event::Lead(0)
            } else if let Some(event) = self.next_step() {
                event
            } else {
                let next = self.moments().first().copied();
                let Some(at) = next.filter(|_| self.unsettled()) else { return self.nothing_is_lost() };
                Event::Wait(at)
            };
            last.push_back(self.describe(&event));
            if last.len() > 12 {
                last.pop_front();
            }
            self.happen(&event)?;
        }
        Err(format!("nothing is lost: it does not end, but goes on with this: {last:#?}"))
    }

    fn next_step(&self) -> Option<Event> {
        for p in 0..2 {
            match (&self.processes[p].run, self.doing(p)) {
                (Some(_), Some(Doing::Waiting)) | (None, _) => {}
                (Some(_), Some(_)) => return Some(Event::Act(p, Fate::Stored)),
                (Some(run), None) => return Some(Event::Think(p, run.item.clone())),
            }
        }
        let p = self.leader?;
        self.due(p).into_iter().next().map(|item| Event::Think(p, item))
    }

    fn unsettled(&self) -> bool {
        self.objects.iter().flatten().any(|o| !o.shown.is_settled())
            || self.records.values().any(|(_, r)| !r.state.is_settled())
    }
}
