//! The operator's processes: in short, what `src/k8s` does around the decision.
use super::*;

impl Site {
    pub(super) fn lead(&mut self, p: usize) {
        self.leader = Some(p);
        let in_memory = self.has(Fault::LimitsInMemory);
        let process = &mut self.processes[p];
        if !process.alive {
            process.alive = true;
            process.incarnation += 1;
        }
        process.dozy = false;
        process.rests.clear();
        if !in_memory {
            process.history = History::default();
            for (_, record) in self.records.values() {
                process.history.note(record.past());
            }
        }
    }

    pub(super) fn crash(&mut self, p: usize) {
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
    pub(super) fn visible(&self, item: &Item) -> u64 {
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
    pub(super) fn due(&self, p: usize) -> Vec<Item> {
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
        if let Some(record) = record {
            self.found(&mut run, Some(&record.name));
        }
        Some(run)
    }

    pub(super) fn look_around(&mut self, p: usize, run: &mut Run) {
        run.world.now = self.clock(p);
        self.processes[p].history.expire(run.world.now);
        self.processes[p].history.show(&mut run.world);
        let Seen::Known(record) = &run.world.record else { return };
        run.world.may_sign_in = record.sign_in_by.as_ref() == Some(&self.me(p).holder)
            && !self.processes[p].signed_in.contains(&record.attempt.id);
        let Some(held) = self.processes[p].held.get(&record.attempt.id) else { return };
        let in_time = self.in_time(p, &record.attempt, held.deadline);
        if run.world.holding.is_none() {
            run.world.progress = held.progress.clone();
        }
        let may_send = self.leads(p) && in_time && !held.sent;
        run.world.holding = Some(Holding {
            attempt: record.attempt.id.clone(),
            may_send: may_send || self.has(Fault::NoFence),
            reply: held
                .reply
                .clone()
                .or_else(|| held.sent.then_some(Reply::Unsure))
                .filter(|_| !self.has(Fault::NoFence)),
            replied_at: None,
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

    fn read(&self, run: &mut Run, fact: Fact) {
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
                if let (Seen::Known(directory), Kind::SignedInto) = (&mut run.world.directory, self.scenario.kind) {
                    directory.apart = CleanUp { web_sessions: true, ..CleanUp::default() };
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
            // Nobody says anything: the search is about what is found out.
            Fact::Settlements => run.world.settlements = Seen::Absent,
            // No rule asks for them.
            Fact::Approvals => run.world.approvals = Seen::Absent,
            Fact::Proof => {
                run.world.proof = self.proof(run);
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

    pub(super) fn shown_change(&self) -> Seen<Timestamp> {
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
        let refused = matches!(&run.world.holding, Some(h) if matches!(h.reply, Some(Reply::PasswordRefused { .. })));
        if refused && (self.has(Fault::RefusedIsNothingDone) || self.has(Fault::OldFacts)) {
            return Seen::Known(Proof::Nothing("Nobody has looked.".to_owned()));
        }
        let kept = record.attempt.secret.as_ref().is_some_and(|s| self.secrets.contains(s));
        if kept && self.delivered.get(&record.name) == Some(&record.attempt.id) {
            return Seen::Known(Proof::Proven(Evidence::Response));
        }
        let marker = record.marker(&self.shown_change(), run.world.now);
        let moved = record.attempt.baseline.as_deref().is_some_and(|before| match self.shown_change() {
            Seen::Known(at) => at.to_string() != before,
            _ => false,
        });
        if self.scenario.kind == Kind::SignedInto && moved {
            return Seen::Known(Proof::Open("It has changed.".to_owned()));
        }
        Seen::Known(marker)
    }

    /// Reads and decides, until there is something to do.
    pub(super) fn think(&mut self, p: usize, item: &Item, blind: bool) {
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
                    self.read(&mut run, fact);
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
    pub(super) fn doing(&self, p: usize) -> Option<&Doing> {
        self.processes[p].run.as_ref().and_then(|run| run.doing.as_ref())
    }

    pub(super) fn act(&mut self, p: usize, fate: Fate) -> Checked {
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
                    let unread =
                        matches!(run.world.user, Seen::Unknown(_)) || matches!(run.world.directory, Seen::Unknown(_));
                    self.show(*slot, uid, view, unread)?;
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
            if !self.fine && !waiting && self.awake(p) {
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
                run.world.approvals = Seen::Unread;
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
            Effect::CleanUp(_) => {
                let Seen::Known(record) = &run.world.record else { return Ok(false) };
                let in_force = self.applied(&record.attempt.id) || self.forgotten.contains(&record.name);
                ensure!(in_force, "I4: sessions are ended for {}, which is not in force", record.attempt.id);
                run.world.progress.clean_up = match fate {
                    Fate::Stored => StepState::Done,
                    _ => StepState::Failed("no answer".to_owned()),
                };
                self.progressed(p, run);
                Ok(true)
            }
            Effect::SignIn => {
                let Seen::Known(record) = &run.world.record else { return Ok(false) };
                if fate == Fate::Failed {
                    run.world.proof = Seen::Unknown(Why::new("nothing was sent."));
                    return Ok(true);
                }
                self.processes[p].signed_in.insert(record.attempt.id.clone());
                let Some(truth) = self.truths.get_mut(&record.attempt.id) else { return Ok(false) };
                ensure!(!truth.signed_in, "the password of {} is tried a second time", record.attempt.id);
                truth.signed_in = true;
                let opens = self.in_force.as_ref() == Some(&record.attempt.id);
                let kept = record.attempt.secret.as_ref().is_some_and(|s| self.secrets.contains(s));
                if opens && kept && fate == Fate::Stored {
                    run.world.proof = Seen::Known(Proof::Proven(Evidence::SignIn));
                }
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
        // Of a record that somebody has deleted while its call was on its way nothing is promised: see `delete_record`.
        ensure!(
            self.applied(&record.attempt.id) || self.forgotten.contains(&record.name),
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
        let Progress { deliver, clean_up, mail } = &run.world.progress;
        if let Some(held) = self.processes[p].held.get_mut(&record.attempt.id) {
            held.progress = Progress { deliver: lasting(deliver), clean_up: lasting(clean_up), mail: lasting(mail) };
        }
    }

    /// Opens the record or takes it over, as `Run::begin` and `Ledger::open` do.
    fn begin(&mut self, p: usize, run: &mut Run, fate: Fate) -> Result<bool, String> {
        self.look_around(p, run);
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
        self.processes[p].history.note(record.past());
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
                Some(r) => self.processes[p].history.note(r.past()),
                None => self.processes[p].history.forget(&record.name),
            }
        }
        if now.is_none() {
            run.world.record_by_name = Seen::Unread;
        }
        self.found(run, Some(&record.name));
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
        self.processes[p].history.note(record.past());
        if !matches!(record.state, State::Sent | State::Changed) {
            self.processes[p].held.remove(&record.attempt.id);
        }
        if record.state == State::Released || record.state.is_settled() {
            run.world.holding = None;
            run.world.progress = Progress::default();
            run.world.me = self.me(p);
            if !self.has(Fault::OldFacts) {
                run.world.forget();
            }
        }
        self.found(run, Some(&record.name));
        Ok(true)
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
        Fact::Approvals => world.approvals = Seen::Unknown(why()),
        Fact::Proof => world.proof = Seen::Unknown(why()),
        Fact::Superseded => world.superseded = Seen::Unknown(why()),
        Fact::Settlements => world.settlements = Seen::Unknown(why()),
    }
}
