//! The API server: objects, records, and writes that arrive late.
use super::*;

impl Site {
    pub(super) fn manifest(&self, slot: usize) -> Request {
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

    pub(super) fn create(&mut self, slot: usize) {
        self.objects_made += 1;
        self.objects[slot] =
            Some(Arc::new(Object { request: Arc::new(self.manifest(slot)), shown: StatusSummary::default() }));
    }

    /// A user deletes a record. Where nothing is left that could show it, what happens to its request is not promised: without
    /// a time of the last change, with a call that may still arrive, or while a change may be taken for another attempt's.
    pub(super) fn delete_record(&mut self, name: &str) {
        let Some((_, record)) = self.records.remove(name) else { return };
        self.deleted = true;
        let open = self.calls.iter().any(|c| self.truths.get(&c.attempt).is_some_and(|t| t.record == name));
        let recent = self.now <= self.seconds(record.cannot_arrive_after()) + self.skewed();
        if self.scenario.kind == Kind::Silent || open || recent || self.on_again {
            self.forgotten.insert(name.to_owned());
        }
    }

    pub(super) fn store(&mut self, record: Record) -> Checked {
        if let Some((_, old)) = self.records.get(&record.name) {
            ensure!(moves(old.state, record.state), "the record goes from {:?} to {:?}", old.state, record.state);
        }
        if record.state == State::Sent
            && let Some(truth) = self.truths.get_mut(&record.attempt.id)
        {
            truth.stored = true;
        }
        self.i4_the_record_is_true(&record)?;
        self.versions += 1;
        self.records.insert(record.name.clone(), (self.versions, Arc::new(record)));
        Ok(())
    }

    pub(super) fn show(&mut self, slot: usize, uid: &str, view: &View, unread: bool) -> Checked {
        let Some(object) = self.objects[slot].clone().filter(|o| o.request.uid == uid) else { return Ok(()) };
        if !view.may_replace(&object.shown) {
            return Ok(());
        }
        self.i4_the_status_is_true(&object.request, view, unread)?;
        let outcome = view.outcome();
        let shown =
            StatusSummary { outcome, reason: Some(view.reason), message: Some(view.message.clone()), since: None };
        self.objects[slot] = Some(Arc::new(Object { shown, ..(*object).clone() }));
        Ok(())
    }

    pub(super) fn arrive(&mut self, index: usize) -> Checked {
        let record = self.late.remove(index);
        let free = match self.records.get(&record.name) {
            None => record.attempt.number == 1,
            Some((_, now)) => now.state == State::Released && now.attempt.number + 1 == record.attempt.number,
        };
        if free { self.store((*record).clone()) } else { Ok(()) }
    }
}
