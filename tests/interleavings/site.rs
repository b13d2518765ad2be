//! What the search plays on: an API server, a directory, two operator processes and a clock, all of it data. The operators are
//! the real [`decide`] and the real transitions of the ledger.
/// A promise, and how it is broken.
macro_rules! ensure {
    ($condition:expr, $($what:tt)*) => {
        if !$condition {
            return Err(format!($($what)*));
        }
    };
}

mod operator;
mod story;

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{Hash, Hasher},
    sync::Arc,
};

use credreset::core::{
    Decision, Effect, Fact, Mode, Next, Outcome, Reason, Request, View, World, decide,
    ledger::{Attempt, Evidence, Record, Reply, State, record_name},
    limits::History,
    plan::CleanUp,
    report::Shown,
    request::UserRef,
    world::{Delivery, Found, Holding, Me, Progress, Proof, Seen, StepState, Subject, Why},
};
use jiff::{SignedDuration, Timestamp};

use crate::{digest::digest, planted::Fault};

/// Longer than the time limit of any call: a call that has not ended by its attempt's deadline never will for its client.
const TIMEOUT: i64 = 15;
/// By how much a clock jumps.
const HOUR: i64 = 3600;
/// A leader that has slept for so long leads no more (`lease::Config::renew_deadline`).
const RENEWED: i64 = 10;
/// How late a request may still arrive after its attempt's deadline, clocks being right (`ledger::MARGIN`).
const LATE: i64 = 60;

/// What the directory can do to tell what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It shows nothing.
    Silent,
    /// It shows when something was last changed.
    Marked,
    /// That, and it changes only on condition that nothing has changed.
    Conditional,
    /// It shows when something was last changed, which only a sign-in can tell from somebody else's change; sessions are ended by
    /// calls of their own.
    SignedInto,
}

/// What the second manifest is.
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

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A process takes up an item, or goes on with it: reads and decides.
    Think(usize, Item),
    /// The same, and nothing that it asks is answered.
    Blind(usize, Item),
    /// A process carries out what it has decided.
    Act(usize, Fate),
    /// A call that is under way comes to an end.
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
    /// And is set right.
    Set(usize),
    /// The clock moves on to this second.
    Wait(i64),
    Apply(usize),
    Delete(usize),
    WipeStatus(usize),
    DeleteRecord(usize),
}

/// What becomes of a write to the API server.
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

/// What becomes of a call to the directory.
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
    shown: Shown,
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
    /// Who still waits for the answer: process and incarnation.
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
    /// Of the record, as it was read.
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
        (w.now, &w.me.attempt, w.looked, &w.record_by_name, &w.stored, &w.holding, &w.progress).hash(state);
        (&w.proof, w.may_sign_in, &w.superseded, &w.delivery, w.full_since, w.past.len()).hash(state);
        for past in &w.past {
            (past.state, past.started_at).hash(state);
        }
        if let Seen::Known(record) = &w.record {
            brief(record).hash(state);
        }
        (std::mem::discriminant(&w.record), std::mem::discriminant(&w.directory)).hash(state);
        if let Subject::Object { shown, .. } = &w.subject {
            shown.hash(state);
        }
        if let Seen::Known(Found::One(user)) = &w.user {
            user.changed_at.hash(state);
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
        redraws,
    } = record.attempt.clone();
    let verdict = record.verdict.as_ref().map(|v| v.reason);
    let ends = (record.evidence, verdict, record.retry_at, record.note.is_some(), record.settled_at);
    let attempt = (id, number, holder, started_at, baseline, redraws);
    let others = (record.adopted_by.clone(), record.sign_in_by.clone());
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
    /// Its clock is wrong by an hour, which the API server's tells it.
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

/// Everything there is.
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
    /// Whose password was delivered, by record.
    delivered: BTreeMap<String, String>,
    processes: [Process; 2],
    leader: Option<usize>,
    calls: Vec<Call>,
    truths: BTreeMap<String, Truth>,
    /// When something was last changed at the directory.
    changed: Option<i64>,
    /// By which attempt.
    in_force: Option<String>,
    attempts: u32,
    objects_made: u32,
    versions: u64,
    /// Somebody has deleted the ledger's record of these, and the directory could not show what happened then.
    forgotten: BTreeSet<String>,
    /// Somebody has deleted a record.
    deleted: bool,
    /// Each read is an event of its own.
    pub fine: bool,
}

impl Hash for Site {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.now, &self.secrets, &self.delivered, &self.processes, self.leader, &self.calls).hash(state);
        (&self.truths, self.changed, &self.in_force, &self.forgotten, self.deleted, self.late.len()).hash(state);
        for object in self.objects.iter().flatten() {
            (&object.request.uid, object.request.created, &object.shown).hash(state);
        }
        self.objects.each_ref().map(Option::is_some).hash(state);
        for record in &self.late {
            brief(record).hash(state);
        }
        // Versions matter only as far as somebody holds an old one.
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

    // Time.

    fn start(&self) -> Timestamp {
        self.scenario.template.now
    }

    fn seconds(&self, at: Timestamp) -> i64 {
        at.as_second().saturating_sub(self.start().as_second())
    }

    fn at(&self, second: i64) -> Timestamp {
        self.start().saturating_add(SignedDuration::from_secs(second)).unwrap()
    }

    /// What the process takes the time for.
    fn clock(&self, p: usize) -> Timestamp {
        self.at(self.now + self.scenario.skew[p] + if self.processes[p].wrong { HOUR } else { 0 })
    }

    /// How much later than by right clocks a process may believe it is.
    fn skewed(&self) -> i64 {
        self.scenario.skew.iter().map(|s| s.abs()).max().unwrap_or(0)
    }

    // The user with kubectl.

    fn manifest(&self, slot: usize) -> Request {
        let Subject::Object { request, .. } = &self.scenario.template.subject else { unreachable!("a template") };
        let mut request = (**request).clone();
        request.uid = format!("uid-{}", self.objects_made);
        request.created = self.at(self.now);
        if slot == 1 {
            request.name = "second".to_owned();
            match self.scenario.second {
                Second::Copy => {}
                Second::Respelled => request.user = UserRef::Id("7".to_owned()),
                Second::Another => {
                    request.requested_at = request.requested_at.saturating_add(SignedDuration::from_secs(1)).unwrap();
                }
            }
        }
        request
    }

    fn create(&mut self, slot: usize) {
        self.objects_made += 1;
        self.objects[slot] = Some(Arc::new(Object { request: Arc::new(self.manifest(slot)), shown: Shown::default() }));
    }

    /// Somebody deletes a record. Where nothing is left that could tell, what happens to its request is not promised: without
    /// a time of the last change, with a call that may still arrive, or while a change may be taken for another attempt's.
    fn delete_record(&mut self, name: &str) {
        let Some((_, record)) = self.records.remove(name) else { return };
        self.deleted = true;
        let open = self.calls.iter().any(|c| self.truths.get(&c.attempt).is_some_and(|t| t.record == name));
        let recent = self.now <= self.seconds(record.over()) + self.skewed();
        if self.scenario.kind == Kind::Silent || open || recent {
            self.forgotten.insert(name.to_owned());
        }
    }

    // The API server.

    fn store(&mut self, record: Record) -> Checked {
        if let Some((_, old)) = self.records.get(&record.name) {
            ensure!(moves(old.state, record.state), "the record goes from {:?} to {:?}", old.state, record.state);
        }
        let (id, state) = (&record.attempt.id, record.state);
        match state {
            State::Sent => {
                if let Some(truth) = self.truths.get_mut(id) {
                    truth.stored = true;
                }
            }
            // What its holder knows is all that is left of a record that somebody has deleted.
            State::Changed | State::Applied | State::Released | State::NotApplied
                if self.forgotten.contains(&record.name) => {}
            // Not the wrong word is looked for there, but what follows from it.
            State::Released | State::NotApplied if self.has(Fault::OldFacts) => {}
            State::Changed | State::Applied => {
                ensure!(self.applied(id), "I4: the record says {state:?}, and nothing was changed by {id}");
            }
            State::Released | State::NotApplied => {
                ensure!(!self.applied(id), "I4: the record says {state:?}, and {id} is in force");
                let flying = self.calls.iter().any(|c| c.attempt == *id);
                ensure!(!flying, "I4: the record says {state:?}, and the call of {id} may still arrive");
            }
            State::Unknown | State::Superseded => {}
        }
        self.versions += 1;
        self.records.insert(record.name.clone(), (self.versions, Arc::new(record)));
        Ok(())
    }

    // Calls.

    fn send(&mut self, p: usize, run: &mut Run) -> Result<bool, String> {
        let Seen::Known(record) = run.world.record.clone() else { return Ok(false) };
        let id = record.attempt.id.clone();
        let kept = record.attempt.secret.as_ref().is_none_or(|s| self.secrets.contains(s));
        let Some(held) = self.processes[p].held.get_mut(&id) else { return Ok(true) };
        if !kept {
            held.reply = Some(Reply::NotSent);
            return Ok(true);
        }
        let mine = !held.sent && record.state == State::Sent;
        held.sent = true;
        let deadline = held.deadline;
        let in_time = self.in_time(p, &record.attempt, deadline) || self.has(Fault::NoDeadline);
        let early = self.clock(p) < record.expires_at || self.has(Fault::NoDeadline);
        let still = mine && self.leads(p) && in_time && early;
        let planted = self.has(Fault::NoFence) || self.has(Fault::CallBeforeRecord) && in_time;
        if !(still || planted) {
            if let Some(held) = self.processes[p].held.get_mut(&id).filter(|_| mine) {
                held.reply = Some(Reply::NotSent);
            }
            return Ok(true);
        }
        self.check_send(p, &record)?;
        if let Some(truth) = self.truths.get_mut(&id) {
            truth.sent = true;
        }
        self.fly(p, &record, true, deadline.max(self.now));
        run.doing = Some(Doing::Waiting);
        Ok(true)
    }

    /// May this call be sent? Asked of what really happened.
    fn check_send(&self, p: usize, record: &Record) -> Checked {
        let id = &record.attempt.id;
        let truth = self.truths.get(id).cloned().unwrap_or_default();
        ensure!(truth.stored, "I2: {id} is sent, and its record was never stored");
        ensure!(!truth.sent, "I1: the call of {id} is sent twice");
        ensure!(self.clock(p) < record.expires_at, "I3: {id} is sent at {}, after the request's end", self.clock(p));
        let kept = record.attempt.secret.as_ref().is_none_or(|s| self.secrets.contains(s));
        ensure!(kept, "I6: {id} is sent, and its password is in no Secret");
        for (other, t) in self.truths.iter().filter(|(other, t)| *other != id && t.sent) {
            let open = !t.turned_away;
            let flying = self.calls.iter().any(|c| c.attempt == *other);
            if Self::same_reset(&t.record, &record.name) {
                let harmless = record.attempt.conditional && !t.applied && !flying;
                ensure!(
                    !open || harmless || self.forgotten.contains(&record.name),
                    "I1: {id} is sent, and {other} of the same request may have taken effect"
                );
            } else {
                ensure!(
                    !flying || !self.forgotten.is_empty() || self.deleted,
                    "a late arrival of {other} may overtake {id}"
                );
            }
        }
        let now = self.records.get(&record.name).filter(|(_, now)| now.attempt.id == *id);
        let given_up = now.is_none_or(|(_, now)| now.state != State::Sent);
        // One on a condition may be ended by whoever sends it again, and has no effect then.
        let harmless = record.attempt.conditional || self.deleted;
        ensure!(!given_up || harmless, "given up: {id} is sent, and others have ended its record");
        Ok(())
    }

    // Sleep, and clocks that jump.

    /// Whether the process takes itself for the leader. Once it has slept it does not.
    fn leads(&self, p: usize) -> bool {
        self.leader == Some(p) || self.processes[p].dozy
    }

    /// By its monotonic clock, on which `deadline` is, and by that of the day.
    fn in_time(&self, p: usize, attempt: &Attempt, deadline: i64) -> bool {
        let now = self.seconds(self.clock(p));
        let by_day = self.seconds(attempt.started_at) <= now && now + TIMEOUT <= self.seconds(attempt.deadline);
        self.now + TIMEOUT <= deadline && (by_day || self.has(Fault::SleeperTrusted))
    }

    fn awake(&self, p: usize) -> bool {
        self.processes[p].asleep.is_none() && !self.processes[p].wrong
    }

    fn wake(&mut self, p: usize) {
        let (now, trusted, led) = (self.now, self.has(Fault::SleeperTrusted), self.leader == Some(p));
        let process = &mut self.processes[p];
        let Some(slept) = process.asleep.take().map(|since| now - since) else { return };
        for held in process.held.values_mut() {
            held.deadline += slept;
        }
        process.dozy = trusted;
        if led && slept >= RENEWED {
            self.leader = None;
        }
    }

    fn jump(&mut self, p: usize) {
        self.processes[p].wrong = true;
        if self.leader == Some(p) {
            self.leader = None;
        }
    }

    /// The same request, also where a planted fault gives it two names.
    fn same_reset(one: &str, other: &str) -> bool {
        one.split('-').take(2).eq(other.split('-').take(2))
    }

    fn fly(&mut self, p: usize, record: &Record, first: bool, deadline: i64) {
        let condition = match (record.attempt.conditional, record.attempt.baseline.as_deref()) {
            (true, Some(baseline)) => Some(Unchanged(baseline.parse().ok().map(|at: Timestamp| self.seconds(at)))),
            _ => None,
        };
        self.calls.push(Call {
            attempt: record.attempt.id.clone(),
            first,
            client: Some((p, self.processes[p].incarnation)),
            gives_up: self.now + TIMEOUT,
            ends: (deadline + LATE - self.skewed()).max(self.now + TIMEOUT),
            condition,
        });
    }

    fn call(&mut self, index: usize, end: End) -> Checked {
        let mut call = self.calls.remove(index);
        let holds = call.condition.is_none_or(|Unchanged(since)| since == self.changed);
        let carried_out = matches!(end, End::Done | End::Unanswered | End::Lied) && holds;
        if carried_out {
            let record = self.truths.get(&call.attempt).map(|t| t.record.clone()).unwrap_or_default();
            let before = self.truths.values().any(|t| t.applied && Self::same_reset(&t.record, &record));
            ensure!(!before || self.forgotten.contains(&record), "I1: changed a second time, by {}", call.attempt);
            if let Some(truth) = self.truths.get_mut(&call.attempt) {
                truth.applied = true;
            }
            self.changed = Some(self.now);
            self.in_force = Some(call.attempt.clone());
        }
        let reply = match end {
            End::Done if !holds => Reply::Conflict,
            End::Done => Reply::Done,
            End::Unanswered | End::Gone | End::GivenUp => Reply::Unsure,
            End::Throttled => Reply::Throttled { after: Some(7) },
            End::Rejected | End::Lied => Reply::PasswordRefused { code: "POLICY".to_owned() },
        };
        let client = call.client.take();
        if call.first
            && client.is_some()
            && end != End::Lied
            && matches!(reply, Reply::Throttled { .. } | Reply::PasswordRefused { .. } | Reply::Conflict)
            && let Some(truth) = self.truths.get_mut(&call.attempt)
        {
            truth.turned_away = true;
        }
        let (attempt, first) = (call.attempt.clone(), call.first);
        if end == End::GivenUp {
            self.calls.push(call);
        }
        if let Some((p, incarnation)) = client
            && self.processes[p].incarnation == incarnation
        {
            self.answer(p, &attempt, first, reply);
        }
        Ok(())
    }

    fn answer(&mut self, p: usize, attempt: &str, first: bool, reply: Reply) {
        let reply = match reply {
            Reply::Unsure if self.has(Fault::RetriesUnsure) => Reply::NotSent,
            reply => reply,
        };
        if first && let Some(held) = self.processes[p].held.get_mut(attempt) {
            held.reply = Some(reply.clone());
        }
        let Some(run) = self.processes[p].run.take() else { return };
        let mut run = Arc::unwrap_or_clone(run);
        run.doing = None;
        if !first {
            run.world.proof = match reply {
                Reply::Done => Seen::Known(Proof::Proven(Evidence::ConditionalWrite)),
                Reply::Conflict | Reply::Outdated => Seen::Known(Proof::Moved),
                Reply::PasswordRefused { code } => Seen::Known(Proof::Nothing(code)),
                _ => Seen::Unknown(Why::new("no answer that tells.")),
            };
        }
        if self.has(Fault::SecretDeletedEarly) {
            self.secrets.remove(&format!("credreset-{attempt}"));
        }
        let item = run.item.clone();
        self.processes[p].run = Some(Arc::new(run));
        if !self.fine && self.awake(p) {
            self.think(p, &item, false);
        }
    }

    fn applied(&self, attempt: &str) -> bool {
        self.truths.get(attempt).is_some_and(|t| t.applied)
    }

    // What is told.

    fn show(&mut self, slot: usize, uid: &str, view: &View, unread: bool) -> Checked {
        let Some(object) = self.objects[slot].clone().filter(|o| o.request.uid == uid) else { return Ok(()) };
        if !view.may_replace(&object.shown) {
            return Ok(());
        }
        let outcome = view.outcome();
        let template = &self.scenario.template;
        let (Seen::Known(directory), request) = (&template.directory, &object.request) else { return Ok(()) };
        let name = record_name(&directory.identity, "7", request.mode(), request.requested_at);
        let changed = self.truths.values().any(|t| t.applied && Self::same_reset(&t.record, &name));
        let open =
            self.calls.iter().any(|c| self.truths.get(&c.attempt).is_some_and(|t| Self::same_reset(&t.record, &name)));
        // Whoever deletes a record takes what could be told with it.
        let told = !self.deleted && !self.has(Fault::OldFacts) && self.now < self.seconds(request.keep_until());
        match outcome {
            Some(Outcome::Applied) => ensure!(changed, "I4: success is shown, and nothing was changed"),
            // An object that came too late is told that nothing was done for it.
            Some(Outcome::Lapsed) if request.created >= request.deadline() => {}
            // Nor can anybody know of a twin in other words while the user cannot be looked up.
            Some(Outcome::NotApplied) if view.reason == Reason::Expired && unread => {}
            Some(Outcome::NotApplied | Outcome::Lapsed) if told => {
                ensure!(!changed, "I4: {:?} is shown ({:?}), and the change is in force", outcome, view.reason);
                ensure!(!open, "I4: {:?} is shown ({:?}), and the call may still arrive", outcome, view.reason);
            }
            _ => {}
        }
        let shown = Shown { outcome, reason: Some(view.reason), message: Some(view.message.clone()), since: None };
        self.objects[slot] = Some(Arc::new(Object { shown, ..(*object).clone() }));
        Ok(())
    }

    /// What must be so at any moment.
    fn check(&self) -> Checked {
        for (_, record) in self.records.values() {
            let id = &record.attempt.id;
            let Some(truth) = self.truths.get(id).filter(|t| t.needs_secret && t.sent) else { continue };
            let may_be_in_force = truth.applied || self.calls.iter().any(|c| c.attempt == *id);
            if may_be_in_force && record.needs_password() && self.now < self.seconds(record.keep_until) {
                let delivered = self.delivered.get(&record.name) == Some(id);
                let kept = record.attempt.secret.as_ref().is_some_and(|s| self.secrets.contains(s));
                ensure!(
                    kept || delivered || self.deleted,
                    "I6: the password of {id} may be in force, and is in no Secret"
                );
            }
        }
        Ok(())
    }

    // What can happen.

    /// Everything that can happen now, and whether it is a mishap or somebody's doing, of which there are so many in a history.
    pub fn events(&self) -> Vec<(Event, bool)> {
        let mut all = Vec::new();
        for p in 0..2 {
            self.events_of(p, &mut all);
        }
        for (i, call) in self.calls.iter().enumerate() {
            let waits = call.client.is_some();
            let mut end = |end, mishap| all.push((Event::Call(i, end), mishap));
            if waits {
                end(End::Done, false);
                end(End::Throttled, true);
                end(End::Rejected, true);
                // Where the directory shows nothing, there is only its word.
                if self.scenario.kind != Kind::Silent {
                    end(End::Lied, true);
                }
                end(End::GivenUp, true);
            }
            end(End::Unanswered, true);
            end(End::Gone, true);
        }
        for i in 0..self.late.len() {
            all.push((Event::Arrive(i), false));
        }
        for slot in 0..2 {
            match &self.objects[slot] {
                None => all.push((Event::Apply(slot), true)),
                Some(object) => {
                    all.push((Event::Delete(slot), true));
                    if object.shown != Shown::default() {
                        all.push((Event::WipeStatus(slot), true));
                    }
                }
            }
        }
        for i in 0..self.records.len() {
            all.push((Event::DeleteRecord(i), true));
        }
        let moments = self.moments();
        // To a later one there are several steps; only the request's end is too far for that.
        let Subject::Object { request, .. } = &self.scenario.template.subject else { return all };
        let end = self.seconds(request.deadline());
        let offered = moments.iter().enumerate().filter(|(i, at)| self.fine || *i == 0 || (end..end + 3).contains(at));
        all.extend(offered.map(|(_, at)| (Event::Wait(*at), false)));
        all
    }

    fn events_of(&self, p: usize, all: &mut Vec<(Event, bool)>) {
        let process = &self.processes[p];
        if self.leader != Some(p) && self.awake(p) {
            // Who takes over from a process that is gone, or sleeps, does no more than that.
            all.push((Event::Lead(p), self.leader.is_some_and(|leader| self.awake(leader))));
        }
        if !process.alive {
            return;
        }
        all.push((Event::Crash(p), true));
        if process.asleep.is_some() {
            return all.push((Event::Wake(p), false));
        }
        let about_to_send = matches!(self.doing(p), Some(Doing::Effect(Effect::Send(_))));
        if process.wrong {
            all.push((Event::Set(p), false));
            if about_to_send {
                all.push((Event::Act(p, Fate::Stored), false));
            }
            return;
        }
        // Between two pieces of work it makes no difference.
        if about_to_send || self.fine && process.run.is_some() && self.doing(p).is_none() {
            all.extend([(Event::Sleep(p), true), (Event::Jump(p), true)]);
        }
        match (&process.run, self.doing(p)) {
            (Some(_), Some(Doing::Waiting)) => {}
            (Some(_), Some(doing)) => {
                for (fate, mishap) in fates(doing) {
                    all.push((Event::Act(p, fate), mishap));
                }
            }
            (Some(run), None) => {
                all.push((Event::Think(p, run.item.clone()), false));
                all.push((Event::Blind(p, run.item.clone()), true));
            }
            (None, _) if self.leader == Some(p) => {
                for item in self.due(p) {
                    all.extend([(Event::Think(p, item.clone()), false), (Event::Blind(p, item), true)]);
                }
            }
            (None, _) => {}
        }
    }

    /// The moments that something waits for: the next one, and those that end something.
    fn moments(&self) -> Vec<i64> {
        let mut next: Vec<i64> = Vec::new();
        for p in 0..2 {
            let wakes = self.processes[p].rests.values().filter_map(|r| r.again);
            next.extend(wakes.map(|at| self.seconds(at) - self.scenario.skew[p] + 1));
        }
        let mut ends: Vec<i64> = Vec::new();
        for (_, record) in self.records.values().filter(|(_, r)| !r.state.is_settled()) {
            ends.extend(
                [record.attempt.deadline, record.over(), record.expires_at, record.keep_until]
                    .map(|at| self.seconds(at) + 1),
            );
        }
        ends.extend(
            self.objects
                .iter()
                .flatten()
                .filter(|o| o.shown.outcome.is_none())
                .map(|o| self.seconds(o.request.deadline()) + 1),
        );
        let last = self.last_moment();
        let nearest = next.into_iter().filter(|at| *at > self.now).min();
        let mut all: BTreeSet<i64> = ends.into_iter().filter(|at| *at > self.now).collect();
        all.extend(nearest);
        all.into_iter().filter(|at| *at <= last).collect()
    }

    /// Nothing that is under way may be left behind.
    fn last_moment(&self) -> i64 {
        let calls = self.calls.iter().map(|c| if c.client.is_some() { c.gives_up } else { c.ends });
        calls.min().unwrap_or(i64::MAX)
    }

    fn arrive(&mut self, index: usize) -> Checked {
        let record = self.late.remove(index);
        let free = match self.records.get(&record.name) {
            None => record.attempt.number == 1,
            Some((_, now)) => now.state == State::Released && now.attempt.number + 1 == record.attempt.number,
        };
        if free { self.store((*record).clone()) } else { Ok(()) }
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
                    Arc::make_mut(object).shown = Shown::default();
                    let item = Item::Request(*slot);
                    for process in &mut self.processes {
                        process.rests.remove(&item);
                    }
                }
            }
            Event::DeleteRecord(i) => {
                if let Some(name) = self.records.keys().nth(*i).cloned() {
                    self.delete_record(&name);
                }
            }
        }
        self.check()
    }

    /// No more mishaps: what is under way ends, one process leads, time goes by. Every request must end, and be told truly.
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
                let Some(at) = next.filter(|_| self.unsettled()) else { return self.ended() };
                Event::Wait(at)
            };
            last.push_back(self.tell(&event));
            if last.len() > 12 {
                last.pop_front();
            }
            self.happen(&event)?;
        }
        Err(format!("nothing is lost: it does not come to an end, but goes on with this: {last:#?}"))
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

    fn ended(&self) -> Checked {
        for object in self.objects.iter().flatten() {
            ensure!(
                object.shown.outcome.is_some(),
                "nothing is lost: {} is left without an outcome: {:?}",
                object.request.name,
                object.shown
            );
        }
        for (_, record) in self.records.values() {
            let ended = record.state.is_settled() || record.state == State::Unknown;
            ensure!(ended, "nothing is lost: the record is left as {:?}", record.state);
            let id = &record.attempt.id;
            let delivered = self.delivered.get(&record.name) == Some(id);
            let silent = record.state == State::Applied && record.attempt.secret.is_some() && record.note.is_none();
            ensure!(!silent || delivered, "nobody has the password of {id}, and nobody is told");
        }
        Ok(())
    }
}

fn fates(doing: &Doing) -> Vec<(Fate, bool)> {
    let mut all = vec![(Fate::Stored, false)];
    match doing {
        Doing::Effect(Effect::Open(_) | Effect::TakeOver(_)) => {
            all.extend([(Fate::Unanswered, true), (Fate::Failed, true), (Fate::Late, true)]);
        }
        Doing::Effect(Effect::Send(_) | Effect::Repeat(_)) | Doing::Show(None, _) | Doing::Waiting => {}
        Doing::Effect(_) => all.extend([(Fate::Unanswered, true), (Fate::Failed, true)]),
        Doing::Show(..) => all.push((Fate::Failed, true)),
    }
    all
}
