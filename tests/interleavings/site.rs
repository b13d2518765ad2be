//! What the search plays on: an API server, a directory, two operator processes and a clock, all of it data. The operators are
//! the real [`decide`] and the real transitions of the ledger; around them is, in short, what `src/k8s` does.
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{Hash, Hasher},
    sync::Arc,
};

use credreset::core::{
    Decision, Effect, Fact, Mode, Next, Outcome, Request, View, World, decide,
    ledger::{Attempt, Evidence, Record, Reply, State, record_name},
    report::Shown,
    request::UserRef,
    world::{Delivery, Found, Holding, Me, Past, Progress, Proof, Seen, StepState, Subject, Why},
};
use jiff::{SignedDuration, Timestamp};

use crate::planted::Fault;

/// Longer than the time limit of any call: a call that has not ended by its attempt's deadline never will for its client.
const TIMEOUT: i64 = 15;
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
        (&w.proof, &w.superseded, &w.delivery, w.past.len()).hash(state);
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
    let Attempt { id, number, holder, started_at, deadline: _, secret: _, baseline, conditional: _, redrawn } =
        record.attempt.clone();
    let verdict = record.verdict.as_ref().map(|v| v.reason);
    let ends = (record.evidence, verdict, record.retry_at, record.note.is_some(), record.settled_at);
    let attempt = (id, number, holder, started_at, baseline, redrawn);
    (record.requested_at, record.request.uid.clone(), record.state, attempt, record.adopted_by.clone(), ends)
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
    incarnation: u32,
    held: BTreeMap<String, Held>,
    past: BTreeMap<String, Past>,
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
        (&self.truths, self.changed, &self.forgotten, self.deleted, self.late.len()).hash(state);
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

macro_rules! ensure {
    ($condition:expr, $($what:tt)*) => {
        if !$condition {
            return Err(format!($($what)*));
        }
    };
}

fn moves(from: State, to: State) -> bool {
    use State::{Applied, Changed, NotApplied, Released, Sent, Superseded, Unknown};
    from == to
        || matches!(
            (from, to),
            (Sent, Released | Changed | Applied | NotApplied | Unknown)
                | (Released, Sent | NotApplied)
                | (Changed, Applied)
                | (Unknown, Changed | Applied | Superseded)
        )
}

fn digest(value: &impl Hash) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
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
        self.at(self.now + self.scenario.skew[p])
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

    // Processes.

    fn lead(&mut self, p: usize) {
        self.leader = Some(p);
        let in_memory = self.has(Fault::LimitsInMemory);
        let process = &mut self.processes[p];
        if !process.alive {
            process.alive = true;
            process.incarnation += 1;
        }
        process.rests.clear();
        if !in_memory {
            process.past = self.records.iter().map(|(name, (_, r))| (name.clone(), past(r))).collect();
        }
    }

    fn crash(&mut self, p: usize) {
        let process = &mut self.processes[p];
        *process = Process { incarnation: process.incarnation, ..Process::default() };
        if self.leader == Some(p) {
            self.leader = None;
        }
        for call in self.calls.iter_mut().filter(|c| c.client.is_some_and(|(client, _)| client == p)) {
            call.client = None;
        }
    }

    /// Nobody else's, and the same in two histories that come to the same.
    fn me(&self, p: usize) -> Me {
        Me { holder: format!("p{p}/{}", self.processes[p].incarnation), attempt: format!("a{}p{p}", self.attempts) }
    }

    /// What can be seen of an item, so that a process at rest looks again when it changes.
    fn visible(&self, item: &Item) -> u64 {
        match item {
            Item::Request(slot) => digest(&self.objects[*slot].as_ref().map(|o| &o.request.uid)),
            Item::Record(name) => {
                let record = self.records.get(name).map(|(_, r)| r);
                let seen = record.map(|r| (r.state, &r.request.uid, r.attempt.number));
                let object =
                    record.is_some_and(|r| self.objects.iter().flatten().any(|o| o.request.uid == r.request.uid));
                digest(&(seen, object))
            }
        }
    }

    /// What a process would take up now.
    fn due(&self, p: usize) -> Vec<Item> {
        let requests = (0..2)
            .filter(|slot| self.objects[*slot].as_ref().is_some_and(|o| o.shown.outcome.is_none()))
            .map(Item::Request);
        let records = self
            .records
            .iter()
            .filter(|(_, (_, r))| !r.state.is_settled())
            // Its own attempt is under way: the request's work goes on with it.
            .filter(|(_, (_, r))| {
                let own = self.processes[p].held.contains_key(&r.attempt.id);
                r.state != State::Sent || !own || r.over() <= self.clock(p)
            })
            .map(|(name, _)| Item::Record(name.clone()));
        let now = self.clock(p);
        requests
            .chain(records)
            .filter(|item| {
                self.processes[p]
                    .rests
                    .get(item)
                    .is_none_or(|rest| rest.seen != self.visible(item) || rest.again.is_some_and(|again| again <= now))
            })
            .collect()
    }

    /// Begins a run, as `Run::load` does.
    fn load(&mut self, p: usize, item: &Item) -> Option<Run> {
        let (slot, record) = match item {
            Item::Request(slot) => (Some(*slot), None),
            Item::Record(name) => {
                let (_, record) = self.records.get(name)?.clone();
                let named = |o: &Arc<Object>| o.request.name == record.request.name;
                (self.objects.iter().position(|o| o.as_ref().is_some_and(named)), Some(record))
            }
        };
        let object = slot.and_then(|slot| self.objects[slot].clone());
        let own = |o: &Arc<Object>| {
            record.as_ref().is_none_or(|r| r.request.digest == o.request.digest() && r.request.key == o.request.key())
        };
        let object = object.filter(own).filter(|o| record.is_none() || !o.shown.is_settled());
        let subject = match &object {
            Some(o) => Subject::Object { request: Box::new((*o.request).clone()), shown: o.shown.clone() },
            None if record.is_some() => Subject::Gone,
            None => return None,
        };
        let me = self.me(p);
        let mut run = Run {
            item: item.clone(),
            world: World::new(self.clock(p), me, subject),
            seen: self.visible(item),
            version: 0,
            dark: false,
            object: object.and_then(|o| Some((slot?, o.request.uid.clone()))),
            doing: None,
        };
        self.look_back(p, &mut run);
        if let Some(record) = record {
            self.found(&mut run, Some(&record.name));
        }
        Some(run)
    }

    fn look_back(&self, p: usize, run: &mut Run) {
        run.world.past = self.processes[p].past.values().cloned().collect();
    }

    fn look_around(&self, p: usize, run: &mut Run) {
        run.world.now = self.clock(p);
        let Seen::Known(record) = &run.world.record else { return };
        let Some(held) = self.processes[p].held.get(&record.attempt.id) else { return };
        let in_time = self.now + TIMEOUT <= held.deadline;
        if run.world.holding.is_none() {
            run.world.progress = held.progress.clone();
        }
        let may_send = self.leader == Some(p) && in_time && !held.sent;
        run.world.holding = Some(Holding {
            attempt: record.attempt.id.clone(),
            may_send: may_send || self.has(Fault::NoFence),
            reply: held
                .reply
                .clone()
                .or_else(|| held.sent.then_some(Reply::Unsure))
                .filter(|_| !self.has(Fault::NoFence)),
        });
    }

    fn found(&self, run: &mut Run, name: Option<&str>) {
        let found = name.and_then(|name| self.records.get(name));
        let Some((version, record)) = found else {
            run.world.record = Seen::Absent;
            return;
        };
        let record = (**record).clone();
        if run.world.record != Seen::Known(record.clone()) {
            run.world.proof = Seen::Unread;
        }
        if run.world.stored.is_none() && record.needs_password() {
            run.world.stored.clone_from(&record.attempt.secret);
        }
        run.version = *version;
        run.world.record = Seen::Known(record);
    }

    fn name_of(&self, run: &Run) -> Option<String> {
        let (Seen::Known(directory), Seen::Known(Found::One(user)), Some(request)) =
            (&run.world.directory, &run.world.user, run.world.subject.request())
        else {
            return None;
        };
        let name = record_name(&directory.identity, &user.id.id, request.mode(), request.requested_at);
        Some(if self.has(Fault::NameNotCanonical) { format!("{name}-{}", request.name) } else { name })
    }

    fn read(&self, p: usize, run: &mut Run, fact: Fact) {
        let template = &self.scenario.template;
        match fact {
            Fact::Record => {
                run.world.looked = Some(run.world.now);
                run.world.record_by_name = Seen::Unread;
                let key = run.world.subject.request().map(Request::key);
                let name = self
                    .records
                    .values()
                    .find(|(_, r)| Some(&r.request.key) == key.as_ref())
                    .map(|(_, r)| r.name.clone());
                let name = name.filter(|_| !self.has(Fault::StatusIsTheLedger));
                self.found(run, name.as_deref());
            }
            Fact::RecordByName => {
                let name = self.name_of(run);
                if name.as_ref().is_some_and(|n| self.records.contains_key(n))
                    && !self.has(Fault::StatusIsTheLedger)
                    && !run.dark
                {
                    self.found(run, name.as_deref());
                } else {
                    run.world.record_by_name = Seen::Absent;
                }
            }
            Fact::Directory => {
                run.world.directory = template.directory.clone();
                if let (Seen::Known(directory), Kind::Conditional) = (&mut run.world.directory, self.scenario.kind) {
                    directory.conditional = [Mode::Password, Mode::MFA].into();
                }
            }
            Fact::NamespaceLabels => run.world.namespace_labels = Seen::Absent,
            Fact::User => {
                run.world.user = template.user.clone();
                if let Seen::Known(Found::One(user)) = &mut run.world.user {
                    user.changed_at = self.shown_change();
                }
            }
            Fact::Entered => run.world.entered = Seen::Absent,
            Fact::Delivery => {
                let name = self.name_of(run);
                let taken = name.is_some_and(|name| self.delivered.contains_key(&name));
                run.world.delivery = if taken { Seen::Known(Delivery::Taken) } else { Seen::Absent };
            }
            Fact::Proof => {
                run.world.proof = self.proof(run);
                self.look_back(p, run);
            }
            Fact::Superseded => {
                let Seen::Known(record) = &run.world.record else { return };
                let later = |r: &Record| {
                    r.state == State::Applied
                        && r.mode == record.mode
                        && r.attempt.started_at > record.attempt.started_at
                };
                run.world.superseded = Seen::Known(self.records.values().any(|(_, r)| later(r)));
            }
        }
    }

    fn shown_change(&self) -> Seen<Timestamp> {
        match (self.scenario.kind, self.changed) {
            (Kind::Silent, _) => Seen::Unknown(Why::new("not shown")),
            (_, None) => Seen::Absent,
            (_, Some(second)) => Seen::Known(self.at(second)),
        }
    }

    fn proof(&self, run: &Run) -> Seen<Proof> {
        let Seen::Known(record) = &run.world.record else { return Seen::Absent };
        if self.has(Fault::AnythingIsEvidence) {
            return Seen::Known(Proof::Proven(Evidence::Marker));
        }
        let kept = record.attempt.secret.as_ref().is_some_and(|s| self.secrets.contains(s));
        if kept && self.delivered.get(&record.name) == Some(&record.attempt.id) {
            return Seen::Known(Proof::Proven(Evidence::Response));
        }
        Seen::Known(record.marker(&self.shown_change(), run.world.now))
    }

    /// Reads and decides, until there is something to do.
    fn think(&mut self, p: usize, item: &Item, blind: bool) {
        let taken_up = self.processes[p].run.take().map(Arc::unwrap_or_clone);
        let Some(mut run) = taken_up.or_else(|| self.load(p, item)) else {
            let seen = self.visible(item);
            return self.rest(p, item.clone(), seen, None);
        };
        for _ in 0..64 {
            self.look_around(p, &mut run);
            let decision = match decide(&run.world) {
                // A fault of the kind that must be found.
                Decision::Rest { .. }
                    if self.has(Fault::TakesOverSent)
                        && matches!(&run.world.record, Seen::Known(r) if r.state == State::Sent)
                        && run.world.holding.is_none() =>
                {
                    let Seen::Known(record) = &mut run.world.record else { unreachable!() };
                    record.state = State::Released;
                    record.retry_at = None;
                    continue;
                }
                decision => decision,
            };
            match decision {
                Decision::Read(Fact::Record | Fact::RecordByName) if blind && !self.has(Fault::UnknownIsAbsent) => {
                    return self.fail(p, &run);
                }
                Decision::Read(fact) if blind => {
                    run.dark = true;
                    dark(&mut run.world, fact);
                }
                Decision::Read(fact) => {
                    self.read(p, &mut run, fact);
                    if self.fine {
                        break;
                    }
                }
                Decision::Do(Effect::StorePassword { .. } | Effect::Open(_) | Effect::TakeOver(_))
                    if self.leader != Some(p) =>
                {
                    return;
                }
                Decision::Do(effect) => {
                    run.doing = Some(Doing::Effect(effect));
                    break;
                }
                Decision::Rest { view, next } => {
                    run.doing = Some(Doing::Show(view, next));
                    break;
                }
            }
        }
        self.processes[p].run = Some(Arc::new(run));
    }

    fn rest(&mut self, p: usize, item: Item, seen: u64, again: Option<Timestamp>) {
        self.processes[p].rests.insert(item, Rest { seen, again });
    }

    /// The run ends with an error: it is taken up again.
    fn fail(&mut self, p: usize, run: &Run) {
        let again = self.clock(p);
        self.rest(p, run.item.clone(), run.seen, Some(again));
    }

    /// What a process is about to do, for its fates and for the story.
    fn doing(&self, p: usize) -> Option<&Doing> {
        self.processes[p].run.as_ref().and_then(|run| run.doing.as_ref())
    }

    fn act(&mut self, p: usize, fate: Fate) -> Checked {
        let Some(run) = self.processes[p].run.take() else { return Ok(()) };
        let mut run = Arc::unwrap_or_clone(run);
        let Some(doing) = run.doing.take() else { return Ok(()) };
        let goes_on = match doing {
            Doing::Waiting => true,
            Doing::Show(view, next) => {
                if view.as_ref().is_some_and(|view| view.record.is_none()) && self.leader != Some(p) {
                    return Ok(());
                }
                if let (Some(view), Some((slot, uid))) = (&view, &run.object) {
                    if fate == Fate::Failed {
                        self.fail(p, &run);
                        return Ok(());
                    }
                    self.show(*slot, uid, view)?;
                }
                let again = match next {
                    Next::Never => None,
                    Next::At(at) => Some(at),
                };
                self.rest(p, run.item.clone(), run.seen, again);
                return Ok(());
            }
            Doing::Effect(effect) => self.carry_out(p, &mut run, effect, fate)?,
        };
        if goes_on {
            let item = run.item.clone();
            let waiting = run.doing.is_some();
            self.processes[p].run = Some(Arc::new(run));
            if !self.fine && !waiting {
                self.think(p, &item, false);
            }
        } else {
            self.fail(p, &run);
        }
        Ok(())
    }

    /// One effect. False: it ended with an error.
    fn carry_out(&mut self, p: usize, run: &mut Run, effect: Effect, fate: Fate) -> Result<bool, String> {
        match effect {
            Effect::StorePassword { attempt, .. } => {
                self.attempts += 1;
                let name = format!("credreset-{attempt}");
                if fate != Fate::Failed {
                    self.secrets.insert(name.clone());
                }
                run.world.stored = Some(name);
                Ok(fate == Fate::Stored)
            }
            Effect::Open(_) | Effect::TakeOver(_) => self.begin(p, run, fate),
            Effect::Send(_) => self.send(p, run),
            Effect::Repeat(_) => {
                let Seen::Known(record) = run.world.record.clone() else { return Ok(false) };
                ensure!(record.attempt.conditional, "I5: a call without a condition is sent again");
                let kept = record.attempt.secret.as_ref().is_none_or(|s| self.secrets.contains(s));
                if !kept {
                    run.world.proof = self.proof(run);
                    return Ok(true);
                }
                self.fly(p, &record, false, self.now + TIMEOUT);
                run.doing = Some(Doing::Waiting);
                Ok(true)
            }
            Effect::Write(record) => self.write(p, run, *record, fate),
            Effect::Deliver { .. } => {
                run.world.progress.deliver = self.deliver(run, fate)?;
                self.progressed(p, run);
                Ok(true)
            }
            Effect::Mail { .. } => {
                run.world.progress.mail = self.deliver(run, fate)?;
                self.progressed(p, run);
                Ok(true)
            }
            Effect::DropPassword { secret } => {
                if fate != Fate::Failed {
                    self.secrets.remove(&secret);
                }
                run.world.stored = None;
                Ok(fate == Fate::Stored)
            }
        }
    }

    fn deliver(&mut self, run: &Run, fate: Fate) -> Result<StepState, String> {
        let Seen::Known(record) = &run.world.record else { return Err("no record".to_owned()) };
        if record.attempt.secret.as_ref().is_some_and(|s| !self.secrets.contains(s)) {
            return Ok(StepState::Lost("it is gone".to_owned()));
        }
        if fate == Fate::Failed {
            return Ok(StepState::Failed("no answer".to_owned()));
        }
        ensure!(
            self.applied(&record.attempt.id),
            "I4: the password of {} is delivered, and is not in force",
            record.attempt.id
        );
        self.delivered.insert(record.name.clone(), record.attempt.id.clone());
        Ok(if fate == Fate::Stored { StepState::Done } else { StepState::Failed("no answer".to_owned()) })
    }

    fn progressed(&mut self, p: usize, run: &Run) {
        let Seen::Known(record) = &run.world.record else { return };
        let lasting = |state: &StepState| match state {
            StepState::Failed(_) => StepState::Pending,
            other => other.clone(),
        };
        let Progress { deliver, mail } = &run.world.progress;
        if let Some(held) = self.processes[p].held.get_mut(&record.attempt.id) {
            held.progress = Progress { deliver: lasting(deliver), mail: lasting(mail) };
        }
    }

    /// Opens the record or takes it over, as `Run::begin` and `Ledger::open` do.
    fn begin(&mut self, p: usize, run: &mut Run, fate: Fate) -> Result<bool, String> {
        self.look_around(p, run);
        self.look_back(p, run);
        let (mut record, new) = match decide(&run.world) {
            Decision::Do(Effect::Open(record)) => (*record, true),
            Decision::Do(Effect::TakeOver(record)) => (*record, false),
            _ => return Ok(true),
        };
        if self.has(Fault::NameNotCanonical) {
            record.name = format!("{}-{}", record.name, record.request.name);
        }
        self.attempts += 1;
        let window = record.attempt.deadline.duration_since(record.attempt.started_at).as_secs();
        let held = Held { deadline: self.now + window, sent: false, reply: None, progress: Progress::default() };
        self.processes[p].held.insert(record.attempt.id.clone(), held);
        self.processes[p].past.insert(record.name.clone(), past(&record));
        let truth =
            Truth { record: record.name.clone(), needs_secret: record.attempt.secret.is_some(), ..Truth::default() };
        self.truths.insert(record.attempt.id.clone(), truth);
        if self.has(Fault::CallBeforeRecord) && fate == Fate::Failed {
            // The call first, then the record, which does not come to be.
            run.world.record = Seen::Known(record.clone());
            return self.send(p, run);
        }
        match fate {
            Fate::Failed => return Ok(false),
            Fate::Late => {
                self.late.push(Arc::new(record));
                return Ok(false);
            }
            Fate::Stored | Fate::Unanswered => {}
        }
        let free = match self.records.get(&record.name) {
            None => new,
            Some((version, _)) => !new && (*version == run.version || self.has(Fault::TakesOverSent)),
        };
        if free {
            self.store(record.clone())?;
            if fate == Fate::Unanswered {
                return Ok(false);
            }
            self.found(run, Some(&record.name));
            return Ok(true);
        }
        if fate == Fate::Unanswered {
            return Ok(false);
        }
        self.lost(p, run, &record);
        Ok(true)
    }

    /// The record is there already, or was written by somebody else: ours only if it names our attempt.
    fn lost(&mut self, p: usize, run: &mut Run, record: &Record) {
        let now = self.records.get(&record.name).map(|(_, r)| Arc::clone(r));
        if now.as_ref().is_none_or(|r| r.attempt != record.attempt) {
            self.processes[p].held.remove(&record.attempt.id);
            run.world.holding = None;
            match &now {
                Some(r) => drop(self.processes[p].past.insert(r.name.clone(), past(r))),
                None => drop(self.processes[p].past.remove(&record.name)),
            }
        }
        if now.is_none() {
            run.world.record_by_name = Seen::Unread;
        }
        self.found(run, Some(&record.name));
    }

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

    fn write(&mut self, p: usize, run: &mut Run, record: Record, fate: Fate) -> Result<bool, String> {
        let holds = self.processes[p].held.contains_key(&record.attempt.id);
        if fate == Fate::Failed {
            // What only this process knows is tried until it is written.
            if holds {
                run.doing = Some(Doing::Effect(Effect::Write(Box::new(record))));
                return Ok(true);
            }
            return Ok(false);
        }
        let old = self.records.get(&record.name).map(|(v, r)| (*v, Arc::clone(r)));
        match old {
            Some((version, now)) if version != run.version && *now != record && !self.has(Fault::LastWriteWins) => {
                // As `Run::written` does; the attempt stays held, should it come back.
                if now.attempt != record.attempt || now.state.is_settled() {
                    run.world.holding = None;
                }
                self.found(run, Some(&record.name));
                return Ok(true);
            }
            Some((version, now)) if version != run.version && *now == record => {}
            None if !record.is_made_again() => {
                self.lost(p, run, &record);
                return Ok(true);
            }
            _ => self.store(record.clone())?,
        }
        if fate == Fate::Unanswered && !holds {
            return Ok(false);
        }
        self.processes[p].past.insert(record.name.clone(), past(&record));
        if !matches!(record.state, State::Sent | State::Changed) {
            self.processes[p].held.remove(&record.attempt.id);
        }
        if record.state == State::Released || record.state.is_settled() {
            run.world.holding = None;
            run.world.progress = Progress::default();
            run.world.me = self.me(p);
        }
        self.found(run, Some(&record.name));
        Ok(true)
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
        let in_time = self.now + TIMEOUT <= deadline || self.has(Fault::NoDeadline);
        let early = self.clock(p) < record.expires_at || self.has(Fault::NoDeadline);
        let still = mine && self.leader == Some(p) && in_time && early;
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
        Ok(())
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
        let carried_out = matches!(end, End::Done | End::Unanswered) && holds;
        if carried_out {
            let record = self.truths.get(&call.attempt).map(|t| t.record.clone()).unwrap_or_default();
            let before = self.truths.values().any(|t| t.applied && Self::same_reset(&t.record, &record));
            ensure!(!before || self.forgotten.contains(&record), "I1: changed a second time, by {}", call.attempt);
            if let Some(truth) = self.truths.get_mut(&call.attempt) {
                truth.applied = true;
            }
            self.changed = Some(self.now);
        }
        let reply = match end {
            End::Done if !holds => Reply::Conflict,
            End::Done => Reply::Done,
            End::Unanswered | End::Gone | End::GivenUp => Reply::Unsure,
            End::Throttled => Reply::Throttled { after: Some(7) },
            End::Rejected => Reply::Rejected { code: "POLICY".to_owned() },
        };
        let client = call.client.take();
        if call.first
            && client.is_some()
            && matches!(reply, Reply::Throttled { .. } | Reply::Rejected { .. } | Reply::Conflict)
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
                Reply::Conflict => Seen::Known(Proof::Moved),
                Reply::Rejected { code } => Seen::Known(Proof::Nothing(code)),
                _ => Seen::Unknown(Why::new("no answer that tells.")),
            };
        }
        if self.has(Fault::SecretDeletedEarly) {
            self.secrets.remove(&format!("credreset-{attempt}"));
        }
        let item = run.item.clone();
        self.processes[p].run = Some(Arc::new(run));
        if !self.fine {
            self.think(p, &item, false);
        }
    }

    fn applied(&self, attempt: &str) -> bool {
        self.truths.get(attempt).is_some_and(|t| t.applied)
    }

    // What is told.

    fn show(&mut self, slot: usize, uid: &str, view: &View) -> Checked {
        let Some(object) = self.objects[slot].clone().filter(|o| o.request.uid == uid) else { return Ok(()) };
        if object.shown.is_settled() {
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
        let told = !self.deleted && self.now < self.seconds(request.keep_until());
        match outcome {
            Some(Outcome::Applied) => ensure!(changed, "I4: success is shown, and nothing was changed"),
            // An object that came too late is told that nothing was done for it.
            Some(Outcome::Lapsed) if request.created >= request.deadline() => {}
            Some(Outcome::NotApplied | Outcome::Lapsed) if told => {
                ensure!(!changed, "I4: {:?} is shown ({:?}), and the change is in force", outcome, view.reason);
                ensure!(!open, "I4: {:?} is shown ({:?}), and the call may still arrive", outcome, view.reason);
            }
            _ => {}
        }
        let shown = Shown { outcome, reason: Some(view.reason), message: Some(view.message.clone()) };
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
        if self.leader != Some(p) {
            // Who takes over from a process that is gone does no more than that.
            all.push((Event::Lead(p), self.leader.is_some()));
        }
        if !process.alive {
            return;
        }
        all.push((Event::Crash(p), true));
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
            Event::Wait(at) => self.now = *at,
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

    /// Every name of an event is one of the site as it is before it.
    pub fn tell(&self, event: &Event) -> String {
        let at = format!("{:>6} s  ", self.now);
        let what = match event {
            Event::Think(p, Item::Request(slot)) => format!("process {p} looks at request {slot}"),
            Event::Think(p, Item::Record(_)) => format!("process {p} looks at the record"),
            Event::Blind(p, _) => format!("process {p} asks, and gets no answer"),
            Event::Act(p, fate) => {
                let doing = match self.doing(*p) {
                    Some(Doing::Effect(effect)) => described(effect),
                    Some(Doing::Show(Some(view), _)) => format!("shows {}", view.reason),
                    Some(Doing::Show(None, _)) => "rests".to_owned(),
                    Some(Doing::Waiting) | None => "goes on".to_owned(),
                };
                let fate = match fate {
                    Fate::Stored => "",
                    Fate::Unanswered => "; it is stored, and the answer is lost",
                    Fate::Failed => "; it fails",
                    Fate::Late => "; there is no answer, and it may arrive later",
                };
                format!("process {p} {doing}{fate}")
            }
            Event::Call(i, end) => {
                let attempt = self.calls.get(*i).map(|c| c.attempt.clone()).unwrap_or_default();
                let end = match end {
                    End::Done => "arrives and is answered",
                    End::Unanswered => "takes effect, and the answer is lost",
                    End::Gone => "is lost on its way",
                    End::GivenUp => "takes too long: its client gives up, and it is still on its way",
                    End::Throttled => "is turned away: too many",
                    End::Rejected => "is refused",
                };
                format!("the call of {attempt} {end}")
            }
            Event::Arrive(_) => "a late write of a record arrives".to_owned(),
            Event::Crash(p) => format!("process {p} is killed"),
            Event::Lead(p) => format!("process {p} leads"),
            Event::Wait(at) => format!("time goes by until {at} s"),
            Event::Apply(slot) => format!("manifest {slot} is applied"),
            Event::Delete(slot) => format!("request {slot} is deleted"),
            Event::WipeStatus(slot) => format!("the status of request {slot} is lost"),
            Event::DeleteRecord(_) => "somebody deletes the record".to_owned(),
        };
        at + &what
    }
}

/// What a read that gets no answer leaves.
fn dark(world: &mut World, fact: Fact) {
    let why = || Why::new("no answer.");
    match fact {
        // Only where a fault is planted.
        Fact::Record => world.record = Seen::Absent,
        Fact::RecordByName => world.record_by_name = Seen::Absent,
        Fact::Directory => world.directory = Seen::Unknown(why()),
        Fact::NamespaceLabels => world.namespace_labels = Seen::Unknown(why()),
        Fact::User => world.user = Seen::Unknown(why()),
        Fact::Entered => world.entered = Seen::Unknown(why()),
        Fact::Delivery => world.delivery = Seen::Unknown(why()),
        Fact::Proof => world.proof = Seen::Unknown(why()),
        Fact::Superseded => world.superseded = Seen::Unknown(why()),
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

fn described(effect: &Effect) -> String {
    match effect {
        Effect::StorePassword { attempt, .. } => format!("stores the password of {attempt}"),
        Effect::Open(record) => format!("creates the record with {}", record.attempt.id),
        Effect::TakeOver(record) => format!("takes the record over with {}", record.attempt.id),
        Effect::Send(_) => "sends the call".to_owned(),
        Effect::Repeat(_) => "sends the conditional call again".to_owned(),
        Effect::Write(record) => format!("writes the record: {:?}", record.state),
        Effect::Deliver { .. } => "delivers the password".to_owned(),
        Effect::Mail { .. } => "mails the password".to_owned(),
        Effect::DropPassword { secret } => format!("deletes Secret {secret}"),
    }
}

fn past(record: &Record) -> Past {
    Past {
        record: record.name.clone(),
        directory_identity: record.directory_identity.clone(),
        user: record.user.id.clone(),
        mode: record.mode,
        state: record.state,
        started_at: record.attempt.started_at,
        over: record.over(),
    }
}
