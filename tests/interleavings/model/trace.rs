//! Descriptions of events, for a failing search.
use super::*;

impl Site {
    /// Every name of an event is one of the site as it is before it.
    pub fn describe(&self, event: &Event) -> String {
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
                    End::Throttled => "is throttled",
                    End::Rejected => "is refused",
                    End::Lied => "takes effect, and is answered as refused",
                };
                format!("the call of {attempt} {end}")
            }
            Event::Arrive(_) => "a late write of a record arrives".to_owned(),
            Event::Crash(p) => format!("process {p} is killed"),
            Event::Lead(p) => format!("process {p} leads"),
            Event::Sleep(p) => format!("process {p}'s machine sleeps"),
            Event::Wake(p) => format!("process {p}'s machine wakes up"),
            Event::Jump(p) => format!("process {p}'s clock jumps by an hour"),
            Event::Set(p) => format!("process {p}'s clock is set right"),
            Event::Wait(at) => format!("time goes by until {at} s"),
            Event::Apply(slot) => format!("manifest {slot} is applied"),
            Event::Delete(slot) => format!("request {slot} is deleted"),
            Event::WipeStatus(slot) => format!("the status of request {slot} is lost"),
            Event::DeleteRecord(_) => "a user deletes the record".to_owned(),
            Event::TurnOn => "the user turns MFA on again".to_owned(),
        };
        at + &what
    }
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
        Effect::AfterReset(_) => "ends the sessions".to_owned(),
        Effect::SignIn => "signs in with the new password".to_owned(),
        Effect::Mail { .. } => "mails the password".to_owned(),
        Effect::DropPassword { secret } => format!("deletes Secret {secret}"),
    }
}
