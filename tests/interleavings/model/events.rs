//! What can happen next, and when.
use super::*;

impl Site {
    /// Everything that can happen now, and whether it is a mishap or a user's action, of which there are so many in a history.
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
                    if object.shown != StatusSummary::default() {
                        all.push((Event::WipeStatus(slot), true));
                    }
                }
            }
        }
        for i in 0..self.records.len() {
            all.push((Event::DeleteRecord(i), true));
        }
        if self.scenario.kind == Kind::Switched && !self.on {
            all.push((Event::TurnOn, true));
        }
        let moments = self.moments();
        // To a later one there are several steps; only the request's end is too far for that.
        let Subject::Object { request, .. } = &self.scenario.template.subject else { return all };
        let end = self.seconds(request.deadline());
        let offered = moments.iter().enumerate().filter(|(i, at)| self.fine || *i == 0 || (end..end + 3).contains(at));
        all.extend(offered.map(|(_, at)| (Event::Wait(*at), false)));
        all
    }

    pub(super) fn events_of(&self, p: usize, all: &mut Vec<(Event, bool)>) {
        let process = &self.processes[p];
        if self.leader != Some(p) && self.awake(p) {
            // Taking over from a process that is gone, or sleeps, does nothing else.
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
    pub(super) fn moments(&self) -> Vec<i64> {
        let mut next: Vec<i64> = Vec::new();
        for p in 0..2 {
            let wakes = self.processes[p].rests.values().filter_map(|r| r.again);
            next.extend(wakes.map(|at| self.seconds(at) - self.scenario.skew[p] + 1));
        }
        let mut ends: Vec<i64> = Vec::new();
        for (_, record) in self.records.values().filter(|(_, r)| !r.state.is_settled()) {
            ends.extend(
                [record.attempt.deadline, record.cannot_arrive_after(), record.expires_at, record.keep_until]
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
    pub(super) fn last_moment(&self) -> i64 {
        let calls = self.calls.iter().map(|c| if c.client.is_some() { c.gives_up } else { c.ends });
        calls.min().unwrap_or(i64::MAX)
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
