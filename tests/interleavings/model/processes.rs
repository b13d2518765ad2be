//! The operator's processes: in short, what `src/k8s` does around the decision.
use super::{reads::dark, *};

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
                process.history.insert(record.summary());
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

    /// Unique to the process, and the same in two histories that reach the same state.
    pub(super) fn me(&self, p: usize) -> Me {
        Me { holder: format!("p{p}/{}", self.processes[p].incarnation), attempt: format!("a{}p{p}", self.attempts) }
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
                r.state != State::Sent || !own || r.cannot_arrive_after() <= self.clock(p)
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

    /// Reads and decides, until there is something to do.
    pub(super) fn think(&mut self, p: usize, item: &Item, blind: bool) {
        let taken_up = self.processes[p].run.take().map(Arc::unwrap_or_clone);
        let Some(mut run) = taken_up.or_else(|| self.load(p, item)) else {
            let seen = self.visible(item);
            return self.rest(p, item.clone(), seen, None);
        };
        for _ in 0..64 {
            self.refresh(p, &mut run);
            let decision = match decide(&run.world) {
                // A fault of the kind that must be found.
                Decision::Rest { .. }
                    if self.has(Fault::TakesOverSent)
                        && matches!(&run.world.ledger.record, Seen::Known(r) if r.state == State::Sent)
                        && run.world.own.attempt.is_none() =>
                {
                    let Seen::Known(record) = &mut run.world.ledger.record else { unreachable!() };
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
                Decision::Do(effect) if effect.starts_attempt() && self.leader != Some(p) => return,
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

    /// What a process is about to do, for its fates and for the trace.
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
                    let unread = matches!(run.world.facts.user, Seen::Unknown(_))
                        || matches!(run.world.facts.directory, Seen::Unknown(_));
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

    /// Carries out one effect. False: it ended with an error.
    fn carry_out(&mut self, p: usize, run: &mut Run, effect: Effect, fate: Fate) -> Result<bool, String> {
        Self::i7_the_status_decides_nothing(&run.world, &effect)?;
        match effect {
            Effect::StorePassword { attempt, .. } => {
                self.attempts += 1;
                let name = format!("credreset-{attempt}");
                if fate != Fate::Failed {
                    self.secrets.insert(name.clone());
                }
                run.world.own.password_secret = Some(name);
                run.world.facts.approvals = Seen::Unread;
                Ok(fate == Fate::Stored)
            }
            Effect::Open(_) | Effect::TakeOver(_) => self.begin(p, run, fate),
            Effect::Send(_) => self.send(p, run),
            Effect::Repeat(_) => {
                let Seen::Known(record) = run.world.ledger.record.clone() else { return Ok(false) };
                Self::i5_sent_again_on_condition(&record)?;
                if !self.is_kept(&record) {
                    run.world.evidence.finding = self.proof(&record, run.world.now);
                    return Ok(true);
                }
                self.fly(p, &record, false, self.now + TIMEOUT);
                run.doing = Some(Doing::Waiting);
                Ok(true)
            }
            Effect::Write(record) => self.write(p, run, *record, fate),
            Effect::Deliver { .. } => {
                run.world.own.progress.deliver = self.deliver(run, fate)?;
                self.progressed(p, run);
                Ok(true)
            }
            Effect::Mail { .. } => {
                run.world.own.progress.mail = self.deliver(run, fate)?;
                self.progressed(p, run);
                Ok(true)
            }
            Effect::AfterReset(_) => {
                let Seen::Known(record) = &run.world.ledger.record else { return Ok(false) };
                self.i4_in_force_before("sessions are ended", record)?;
                run.world.own.progress.after_reset = match fate {
                    Fate::Stored => StepState::Done,
                    _ => StepState::Failed("no answer".to_owned()),
                };
                self.progressed(p, run);
                Ok(true)
            }
            Effect::SignIn => {
                let Seen::Known(record) = &run.world.ledger.record else { return Ok(false) };
                if fate == Fate::Failed {
                    run.world.evidence.finding = Seen::Unknown(Why::new("nothing was sent."));
                    return Ok(true);
                }
                self.processes[p].signed_in.insert(record.attempt.id.clone());
                self.i5_one_sign_in(&record.attempt.id)?;
                let Some(truth) = self.truths.get_mut(&record.attempt.id) else { return Ok(false) };
                truth.signed_in = true;
                let opens = self.in_force.as_ref() == Some(&record.attempt.id);
                let kept = record.attempt.secret.as_ref().is_some_and(|s| self.secrets.contains(s));
                if opens && kept && fate == Fate::Stored {
                    run.world.evidence.finding = Seen::Known(Finding::Proven(Evidence::SignIn));
                }
                Ok(true)
            }
            Effect::DropPassword { secret } => {
                if fate != Fate::Failed {
                    self.secrets.remove(&secret);
                }
                run.world.own.password_secret = None;
                Ok(fate == Fate::Stored)
            }
        }
    }

    fn deliver(&mut self, run: &Run, fate: Fate) -> Result<StepState, String> {
        let Seen::Known(record) = &run.world.ledger.record else { return Err("no record".to_owned()) };
        if record.attempt.secret.as_ref().is_some_and(|s| !self.secrets.contains(s)) {
            return Ok(StepState::Lost("it is gone".to_owned()));
        }
        if fate == Fate::Failed {
            return Ok(StepState::Failed("no answer".to_owned()));
        }
        self.i4_in_force_before("the password is delivered", record)?;
        self.delivered.insert(record.name.clone(), record.attempt.id.clone());
        Ok(if fate == Fate::Stored { StepState::Done } else { StepState::Failed("no answer".to_owned()) })
    }

    fn progressed(&mut self, p: usize, run: &Run) {
        let Seen::Known(record) = &run.world.ledger.record else { return };
        if let Some(held) = self.processes[p].held.get_mut(&record.attempt.id) {
            held.progress = run.world.own.progress.lasting();
        }
    }

    /// Opens the record or takes it over, as `Run::begin` and `Ledger::open` do.
    fn begin(&mut self, p: usize, run: &mut Run, fate: Fate) -> Result<bool, String> {
        self.refresh(p, run);
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
        let held = Held {
            deadline: self.now + window,
            sent: false,
            reply: None,
            replied_at: None,
            progress: Progress::default(),
        };
        self.processes[p].held.insert(record.attempt.id.clone(), held);
        self.processes[p].history.insert(record.summary());
        let truth =
            Truth { record: record.name.clone(), needs_secret: record.attempt.secret.is_some(), ..Truth::default() };
        self.truths.insert(record.attempt.id.clone(), truth);
        if self.has(Fault::CallBeforeRecord) && fate == Fate::Failed {
            // The call first, then the record, which is never stored.
            run.world.ledger.record = Seen::Known(record.clone());
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
            self.reread(run, &record.name);
            return Ok(true);
        }
        if fate == Fate::Unanswered {
            return Ok(false);
        }
        self.lost(p, run, &record);
        Ok(true)
    }

    /// The record is there already, or was written by another process: ours only if it names our attempt.
    fn lost(&mut self, p: usize, run: &mut Run, record: &Record) {
        let now = self.records.get(&record.name).map(|(_, r)| Arc::clone(r));
        if now.as_ref().is_some_and(|r| r.attempt == record.attempt) {
            self.reread(run, &record.name);
            return;
        }
        self.processes[p].held.remove(&record.attempt.id);
        match &now {
            Some(r) => self.processes[p].history.insert(r.summary()),
            None => self.processes[p].history.remove(&record.name),
        }
        self.overwritten(run, &record.name);
    }

    /// What is there instead of what this process was about to write.
    fn overwritten(&self, run: &mut Run, name: &str) {
        let now = self.records.get(name);
        run.version = now.map_or(run.version, |(version, _)| *version);
        run.world.write_lost(now.map(|(_, record)| (**record).clone()));
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
                self.overwritten(run, &record.name);
                return Ok(true);
            }
            Some((version, now)) if version != run.version && *now == record => {}
            None if !record.recreate_if_deleted() => {
                self.lost(p, run, &record);
                return Ok(true);
            }
            _ => self.store(record.clone())?,
        }
        if fate == Fate::Unanswered && !holds {
            return Ok(false);
        }
        self.processes[p].history.insert(record.summary());
        if !matches!(record.state, State::Sent | State::Changed) {
            self.processes[p].held.remove(&record.attempt.id);
        }
        let old = self.has(Fault::OldFacts).then(|| run.world.facts.clone());
        run.version = self.records.get(&record.name).map_or(run.version, |(version, _)| *version);
        let next = self.me(p).attempt;
        run.world.record_written(record, || next);
        if let Some(old) = old {
            run.world.facts = old;
        }
        Ok(true)
    }

    pub(super) fn send(&mut self, p: usize, run: &mut Run) -> Result<bool, String> {
        let Seen::Known(record) = run.world.ledger.record.clone() else { return Ok(false) };
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
        self.may_be_sent(p, &record)?;
        if let Some(truth) = self.truths.get_mut(&id) {
            truth.sent = true;
        }
        self.fly(p, &record, true, deadline.max(self.now));
        run.doing = Some(Doing::Waiting);
        Ok(true)
    }

    pub(super) fn answer(&mut self, p: usize, attempt: &str, first: bool, reply: Reply) {
        let reply = match reply {
            Reply::Unsure if self.has(Fault::RetriesUnsure) => Reply::NotSent,
            reply => reply,
        };
        let now = self.clock(p);
        if first && let Some(held) = self.processes[p].held.get_mut(attempt) {
            held.reply = Some(reply.clone());
            held.replied_at = Some(now);
        }
        let Some(run) = self.processes[p].run.take() else { return };
        let mut run = Arc::unwrap_or_clone(run);
        run.doing = None;
        if !first {
            run.world.evidence.finding = Finding::of_repeat(reply);
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

    /// Whether the process takes itself for the leader. Once it has slept it does not.
    pub(super) fn leads(&self, p: usize) -> bool {
        self.leader == Some(p) || self.processes[p].dozy
    }

    /// By its monotonic clock, on which `deadline` is, and by that of the day.
    pub(super) fn in_time(&self, p: usize, attempt: &Attempt, deadline: i64) -> bool {
        let now = self.seconds(self.clock(p));
        let by_day = self.seconds(attempt.started_at) <= now && now + TIMEOUT <= self.seconds(attempt.deadline);
        self.now + TIMEOUT <= deadline && (by_day || self.has(Fault::SleeperTrusted))
    }

    pub(super) fn awake(&self, p: usize) -> bool {
        self.processes[p].asleep.is_none() && !self.processes[p].wrong
    }

    pub(super) fn wake(&mut self, p: usize) {
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

    pub(super) fn jump(&mut self, p: usize) {
        self.processes[p].wrong = true;
        if self.leader == Some(p) {
            self.leader = None;
        }
    }
}
