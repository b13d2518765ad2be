//! The promises of docs/guarantees.md, I1 to I7: each is a function that checks what really happened. Three more functions check that
//! no call overtakes a later one, that none is made for an attempt that another process gave up, and that nothing is lost.
use super::*;

impl Site {
    /// Of a call that is about to be sent.
    pub(super) fn may_be_sent(&self, p: usize, record: &Record) -> Checked {
        self.i2_recorded_before_the_call(record)?;
        self.i1_at_most_one_call(record)?;
        self.i3_nothing_after_the_end(p, record)?;
        self.i6_the_password_is_kept_for_the_call(record)?;
        self.nothing_overtakes(record)?;
        self.nobody_has_given_it_up(record)
    }

    /// For one record at most one call that must not be repeated reaches the directory.
    fn i1_at_most_one_call(&self, record: &Record) -> Checked {
        let id = &record.attempt.id;
        ensure!(!self.truths.get(id).is_some_and(|t| t.sent), "I1: the call of {id} is sent twice");
        for (other, t) in self.truths.iter().filter(|(other, t)| *other != id && t.sent) {
            let same = Self::same_reset(&t.record, &record.name);
            let harmless = record.attempt.conditional && !t.applied && !self.is_flying(other);
            ensure!(
                !same || t.turned_away || harmless || self.forgotten.contains(&record.name),
                "I1: {id} is sent, and {other} of the same request may have taken effect"
            );
        }
        Ok(())
    }

    /// The same, of a call that takes effect.
    pub(super) fn i1_changed_once(&self, attempt: &str) -> Checked {
        let record = self.truths.get(attempt).map(|t| t.record.clone()).unwrap_or_default();
        let before = self.truths.values().any(|t| t.applied && Self::same_reset(&t.record, &record));
        ensure!(!before || self.forgotten.contains(&record), "I1: changed a second time, by {attempt}");
        Ok(())
    }

    /// The record is stored before the call.
    fn i2_recorded_before_the_call(&self, record: &Record) -> Checked {
        let id = &record.attempt.id;
        let stored = self.truths.get(id).is_some_and(|truth| truth.stored);
        ensure!(stored, "I2: {id} is sent, and its record was never stored");
        Ok(())
    }

    /// Nothing is started at or after `requestedAt + validFor`.
    fn i3_nothing_after_the_end(&self, p: usize, record: &Record) -> Checked {
        let (id, now) = (&record.attempt.id, self.clock(p));
        ensure!(now < record.expires_at, "I3: {id} is sent at {now}, after the request's end");
        Ok(())
    }

    /// Success is reported on evidence alone, and so is that nothing was changed: of a record that is written.
    pub(super) fn i4_the_record_is_true(&self, record: &Record) -> Checked {
        let (id, state) = (&record.attempt.id, record.state);
        match state {
            // What its holder knows is all that is left of a record that a user has deleted.
            _ if self.forgotten.contains(&record.name) => {}
            State::Sent | State::Unknown | State::Superseded => {}
            // Not the wrong word is looked for there, but what follows from it.
            State::Released | State::NotApplied if self.has(Fault::OldFacts) => {}
            State::Changed | State::Applied => {
                ensure!(self.applied(id), "I4: the record says {state:?}, and nothing was changed by {id}");
            }
            State::Released | State::NotApplied => {
                ensure!(!self.applied(id), "I4: the record says {state:?}, and {id} is in force");
                ensure!(!self.is_flying(id), "I4: the record says {state:?}, and the call of {id} may still arrive");
            }
        }
        Ok(())
    }

    /// The same, of a status that is shown. `unread`: the user or the Directory could not be asked.
    pub(super) fn i4_the_status_is_true(&self, request: &Request, view: &View, unread: bool) -> Checked {
        let Seen::Known(directory) = &self.scenario.template.facts.directory else { return Ok(()) };
        let name = record_name(&directory.identity, "7", request.mode(), request.requested_at);
        let changed = self.truths.values().any(|t| t.applied && Self::same_reset(&t.record, &name));
        let open =
            self.calls.iter().any(|c| self.truths.get(&c.attempt).is_some_and(|t| Self::same_reset(&t.record, &name)));
        // A user who deletes a record takes away what could be reported with it.
        let msg = !self.deleted && !self.has(Fault::OldFacts) && self.now < self.seconds(request.keep_until());
        let outcome = view.outcome();
        match outcome {
            Some(Outcome::Applied) => ensure!(changed, "I4: success is shown, and nothing was changed"),
            // An object that was created too late reports that nothing was done for it.
            Some(Outcome::Lapsed) if request.created >= request.deadline() => {}
            // Nor can anybody know of a twin in other words while the user cannot be looked up.
            Some(Outcome::NotApplied) if view.reason == Reason::Expired && unread => {}
            Some(Outcome::NotApplied | Outcome::Lapsed) if msg => {
                ensure!(!changed, "I4: {:?} is shown ({:?}), and the change is in force", outcome, view.reason);
                ensure!(!open, "I4: {:?} is shown ({:?}), and the call may still arrive", outcome, view.reason);
            }
            _ => {}
        }
        Ok(())
    }

    /// The same, of what follows a change: `what` is done.
    pub(super) fn i4_in_force_before(&self, what: &str, record: &Record) -> Checked {
        // Of a record that a user has deleted while its call was on its way nothing is promised: see `delete_record`.
        let in_force = self.applied(&record.attempt.id) || self.forgotten.contains(&record.name);
        ensure!(in_force, "I4: {what} for {}, which is not in force", record.attempt.id);
        Ok(())
    }

    /// Finding out only reads: a call is sent again only on condition that nothing has changed.
    pub(super) fn i5_sent_again_on_condition(record: &Record) -> Checked {
        ensure!(record.attempt.conditional, "I5: a call without a condition is sent again");
        Ok(())
    }

    /// The same: there is one sign-in with the new password.
    pub(super) fn i5_one_sign_in(&self, attempt: &str) -> Checked {
        let again = self.truths.get(attempt).is_some_and(|truth| truth.signed_in);
        ensure!(!again, "I5: the password of {attempt} is tried a second time");
        Ok(())
    }

    /// A password that may be in force is in a Secret, from before the call.
    fn i6_the_password_is_kept_for_the_call(&self, record: &Record) -> Checked {
        ensure!(self.is_kept(record), "I6: {} is sent, and its password is in no Secret", record.attempt.id);
        Ok(())
    }

    /// The same, until it is delivered or the record goes.
    pub(super) fn i6_the_password_is_kept(&self) -> Checked {
        for (_, record) in self.records.values() {
            let id = &record.attempt.id;
            let Some(truth) = self.truths.get(id).filter(|t| t.needs_secret && t.sent) else { continue };
            let may_be_in_force = truth.applied || self.is_flying(id);
            if may_be_in_force && record.needs_password() && self.now < self.seconds(record.keep_until) {
                let delivered = self.delivered.get(&record.name) == Some(id);
                ensure!(
                    self.is_kept(record) && record.attempt.secret.is_some() || delivered || self.deleted,
                    "I6: the password of {id} may be in force, and is in no Secret"
                );
            }
        }
        Ok(())
    }

    /// What the status shows is a view: without it the same is done.
    pub(super) fn i7_the_status_decides_nothing(world: &World, effect: &Effect) -> Checked {
        let mut without = world.clone();
        if let Subject::Object { status: shown, .. } = &mut without.subject {
            *shown = StatusSummary::default();
        }
        let decision = decide(&without);
        let same = matches!(&decision, Decision::Do(other) if other == effect);
        ensure!(same, "I7: {effect:?} is done, and without the status it would be {decision:?}");
        Ok(())
    }

    /// A call that is late arrives before the next reset of its user begins.
    fn nothing_overtakes(&self, record: &Record) -> Checked {
        let id = &record.attempt.id;
        let others = self.truths.iter().filter(|(other, t)| *other != id && t.sent);
        for (other, _) in others.filter(|(_, t)| !Self::same_reset(&t.record, &record.name)) {
            ensure!(
                !self.is_flying(other) || !self.forgotten.is_empty() || self.deleted,
                "a late arrival of {other} may overtake {id}"
            );
        }
        Ok(())
    }

    fn nobody_has_given_it_up(&self, record: &Record) -> Checked {
        let id = &record.attempt.id;
        let now = self.records.get(&record.name).filter(|(_, now)| now.attempt.id == *id);
        let given_up = now.is_none_or(|(_, now)| now.state != State::Sent);
        // A conditional one may be ended by the process that sends it again, and has no effect then.
        let harmless = record.attempt.conditional || self.deleted;
        ensure!(!given_up || harmless, "given up: {id} is sent, and others have ended its record");
        Ok(())
    }

    /// In the end every request has an outcome, and a password is delivered or kept.
    pub(super) fn nothing_is_lost(&self) -> Checked {
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
            ensure!(!silent || delivered, "the password of {id} was not delivered, and the request does not report it");
        }
        Ok(())
    }

    pub(super) fn applied(&self, attempt: &str) -> bool {
        self.truths.get(attempt).is_some_and(|t| t.applied)
    }

    fn is_flying(&self, attempt: &str) -> bool {
        self.calls.iter().any(|call| call.attempt == attempt)
    }

    /// Its password, if it has one, is in a Secret.
    pub(super) fn is_kept(&self, record: &Record) -> bool {
        record.attempt.secret.as_ref().is_none_or(|secret| self.secrets.contains(secret))
    }
}
