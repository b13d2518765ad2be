//! The directory, and calls on their way to it.
use super::*;

impl Site {
    pub(super) fn turn_on(&mut self) {
        self.on = true;
        self.on_again = true;
        let gone = self.truths.values().map(|t| &t.record).filter(|name| !self.records.contains_key(*name));
        self.forgotten.extend(gone.cloned());
    }

    /// The same request, also where a planted fault gives it two names.
    pub(super) fn same_reset(one: &str, other: &str) -> bool {
        one.split('-').take(2).eq(other.split('-').take(2))
    }

    pub(super) fn fly(&mut self, p: usize, record: &Record, first: bool, deadline: i64) {
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

    pub(super) fn call(&mut self, index: usize, end: End) -> Checked {
        let mut call = self.calls.remove(index);
        let holds = call.condition.is_none_or(|Unchanged(since)| since == self.changed);
        let carried_out = matches!(end, End::Done | End::Unanswered | End::Lied) && holds;
        if carried_out {
            self.i1_changed_once(&call.attempt)?;
            if let Some(truth) = self.truths.get_mut(&call.attempt) {
                truth.applied = true;
            }
            self.changed = Some(self.now);
            self.in_force = Some(call.attempt.clone());
            self.on = false;
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
}
