//! What a process reads before it decides, and what it finds unreadable.
use super::*;

impl Site {
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

    /// Begins a run, as `Run::load` does.
    pub(super) fn load(&mut self, p: usize, item: &Item) -> Option<Run> {
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
            Some(o) => Subject::Object { request: Box::new((*o.request).clone()), status: o.shown.clone() },
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
            self.reread(&mut run, &record.name);
        }
        Some(run)
    }

    pub(super) fn refresh(&mut self, p: usize, run: &mut Run) {
        run.world.now = self.clock(p);
        self.processes[p].history.expire(run.world.now);
        self.processes[p].history.fill_in(&mut run.world);
        let Seen::Known(record) = &run.world.ledger.record else { return };
        run.world.own.may_sign_in = record.sign_in_by.as_ref() == Some(&self.me(p).holder)
            && !self.processes[p].signed_in.contains(&record.attempt.id);
        let Some(held) = self.processes[p].held.get(&record.attempt.id) else { return };
        let in_time = self.in_time(p, &record.attempt, held.deadline);
        let may_send = self.leads(p) && in_time && !held.sent;
        let own = OwnAttempt {
            attempt: record.attempt.id.clone(),
            may_send: may_send || self.has(Fault::NoFence),
            reply: held
                .reply
                .clone()
                .or_else(|| held.sent.then_some(Reply::Unsure))
                .filter(|_| !self.has(Fault::NoFence)),
            replied_at: held.replied_at,
        };
        run.world.own_attempt(Some((own, held.progress.lasting())));
    }

    /// The record as it is now.
    pub(super) fn reread(&self, run: &mut Run, name: &str) {
        let found = self.records.get(name);
        run.version = found.map_or(run.version, |(version, _)| *version);
        run.world.record_read(found.map(|(_, record)| (**record).clone()));
    }

    pub(super) fn name_of(&self, run: &Run) -> Option<String> {
        let name = run.world.name_of_record()?;
        let request = run.world.subject.request()?;
        Some(if self.has(Fault::NameNotCanonical) { format!("{name}-{}", request.name) } else { name })
    }

    pub(super) fn read(&self, run: &mut Run, fact: Fact) {
        let refused =
            matches!(&run.world.own.attempt, Some(own) if matches!(own.reply, Some(Reply::PasswordRefused { .. })));
        let (name, now) = (self.name_of(run), run.world.now);
        let mut reading = Reading { site: self, dark: run.dark, refused, name, now, version: None };
        // It never waits, and asks for nothing that the world does not have.
        read(&mut run.world, fact, &mut reading).now_or_never().unwrap().unwrap();
        run.version = reading.version.unwrap_or(run.version);
    }

    pub(super) fn shown_change(&self) -> Seen<Timestamp> {
        match (self.scenario.kind, self.changed) {
            (Kind::Silent | Kind::Switched, _) => Seen::Unknown(Why::new("not shown")),
            (_, None) => Seen::Absent,
            (_, Some(second)) => Seen::Known(self.at(second)),
        }
    }

    pub(super) fn proof(&self, record: &Record, now: Timestamp) -> Seen<Finding> {
        if self.has(Fault::AnythingIsEvidence) {
            return Seen::Known(Finding::Proven(Evidence::Marker));
        }
        let kept = record.attempt.secret.as_ref().is_some_and(|s| self.secrets.contains(s));
        if kept && self.delivered.get(&record.name) == Some(&record.attempt.id) {
            return Seen::Known(Finding::Proven(Evidence::Response));
        }
        if record.attempt.baseline.as_deref() == Some(SWITCHED_ON) {
            return Seen::Known(record.finding_by_state(&Seen::Known(self.on), now));
        }
        let marker = record.finding_by_change_time(&self.shown_change(), now);
        let moved = record.attempt.baseline.as_deref().is_some_and(|before| match self.shown_change() {
            Seen::Known(at) => at.to_string() != before,
            _ => false,
        });
        if self.scenario.kind == Kind::SignedInto && moved {
            return Seen::Known(Finding::NeedsSignIn("It has changed.".to_owned()));
        }
        Seen::Known(marker)
    }
}

/// One read of a process.
struct Reading<'a> {
    site: &'a Site,
    /// The ledger gave no answer.
    dark: bool,
    /// The directory has refused the password of this process's attempt.
    refused: bool,
    /// Of the record, as this process has it.
    name: Option<String>,
    now: Timestamp,
    /// Of the record that was read.
    version: Option<u64>,
}

impl Reading<'_> {
    fn record(&mut self, name: Option<&str>) -> Option<Record> {
        let name = name.filter(|_| !self.site.has(Fault::StatusIsTheLedger))?;
        let (version, record) = self.site.records.get(name)?;
        self.version = Some(*version);
        Some((**record).clone())
    }
}

impl Reader for Reading<'_> {
    type Error = Infallible;

    async fn record_by_key(&mut self, request: &Request) -> Result<Option<Record>, Infallible> {
        let key = request.key();
        let name = self.site.records.values().find(|(_, r)| r.request.key == key).map(|(_, r)| r.name.clone());
        Ok(self.record(name.as_deref()))
    }

    async fn record_by_name(&mut self, _: &str) -> Result<Option<Record>, Infallible> {
        let name = self.name.clone().filter(|_| !self.dark);
        Ok(self.record(name.as_deref()))
    }

    async fn directory(&mut self, _: &str, _: bool) -> Seen<DirectoryFacts> {
        let mut seen = self.site.scenario.template.facts.directory.clone();
        if let Seen::Known(directory) = &mut seen {
            match self.site.scenario.kind {
                Kind::Conditional => directory.conditional = [Mode::Password, Mode::MFA].into(),
                Kind::SignedInto => {
                    directory.separate_calls = AfterReset { web_sessions: true, ..AfterReset::default() }
                }
                _ => {}
            }
        }
        seen
    }

    async fn namespace_labels(&mut self, _: &str) -> Seen<BTreeMap<String, String>> {
        Seen::Absent
    }

    async fn user(&mut self, _: &Request) -> Seen<LookUp> {
        let mut seen = self.site.scenario.template.facts.user.clone();
        if let Seen::Known(LookUp::One(user)) = &mut seen {
            user.changed_at = self.site.shown_change();
            if self.site.scenario.kind == Kind::Switched {
                user.mfa_on = Seen::Known(self.site.on);
            }
        }
        seen
    }

    async fn supplied_password(&mut self, _: &str, _: &str, _: &str) -> Seen<SuppliedPassword> {
        Seen::Absent
    }

    async fn delivery(&mut self, _: &Request, _: &str) -> (Seen<Delivery>, Option<Timestamp>) {
        let taken = self.name.as_ref().is_some_and(|name| self.site.delivered.contains_key(name));
        (if taken { Seen::Known(Delivery::Taken) } else { Seen::Absent }, None)
    }

    /// No rule asks for them.
    async fn approvals(&mut self, _: &Request) -> Seen<Vec<Approval>> {
        Seen::Absent
    }

    async fn finding(&mut self, record: &Record) -> Seen<Finding> {
        if self.refused && (self.site.has(Fault::RefusedIsNothingDone) || self.site.has(Fault::OldFacts)) {
            return Seen::Known(Finding::Inconclusive("There was no look.".to_owned()));
        }
        self.site.proof(record, self.now)
    }

    async fn superseded(&mut self, record: &Record) -> Seen<bool> {
        let later = |r: &Record| {
            r.state == State::Applied && r.mode == record.mode && r.attempt.started_at > record.attempt.started_at
        };
        Seen::Known(self.site.records.values().any(|(_, r)| later(r)))
    }

    /// There is no settlement: the search is about what is found out.
    async fn settlements(&mut self, _: &Record) -> Seen<Vec<Settlement>> {
        Seen::Absent
    }
}

/// What a read that gets no answer leaves.
pub(super) fn dark(world: &mut World, fact: Fact) {
    let why = || Why::new("no answer.");
    match fact {
        // Only where a fault is planted.
        Fact::Record => world.ledger.record = Seen::Absent,
        Fact::RecordByName => world.ledger.record_by_name = Seen::Absent,
        Fact::Directory => world.facts.directory = Seen::Unknown(why()),
        Fact::NamespaceLabels => world.facts.namespace_labels = Seen::Unknown(why()),
        Fact::User => world.facts.user = Seen::Unknown(why()),
        Fact::SuppliedPassword => world.facts.supplied_password = Seen::Unknown(why()),
        Fact::Delivery => world.facts.delivery = Seen::Unknown(why()),
        Fact::Approvals => world.facts.approvals = Seen::Unknown(why()),
        Fact::Finding => world.evidence.finding = Seen::Unknown(why()),
        Fact::Superseded => world.evidence.superseded = Seen::Unknown(why()),
        Fact::Settlements => world.evidence.settlements = Seen::Unknown(why()),
    }
}
