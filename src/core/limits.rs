//! The last gate: how often, counted over records, so that a restart changes nothing.
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{
    Decision,
    gates::wait_about,
    ledger::{
        State::{self, Applied, Changed, NotApplied, Released, Sent, Superseded, Unknown},
        record_name,
    },
    report::Reason,
    request::{Request, later},
    world::{Directory, Found, Past, Seen, User, World},
};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// A user's attempts one at a time and apart; a Directory's within its hour.
pub(super) fn check(world: &World, request: &Request, directory: &Directory, user: &User) -> Result<(), Decision> {
    let now = world.now;
    let own = record_name(&directory.identity, &user.id.id, request.mode(), request.requested_at);
    let busy = world
        .past
        .iter()
        .filter(|p| p.user == user.id.id && p.directory_identity == directory.identity && p.record != own)
        .filter_map(|p| {
            let interval = later(p.started_at, directory.limits.min_interval_per_user);
            match p.state {
                Sent | Changed | Unknown => Some(p.over.max(interval)),
                Applied | Superseded => Some(interval),
                NotApplied | Released => None,
            }
        })
        .max()
        .filter(|until| *until > now);
    if let Some(until) = busy {
        let message = format!(
            "Another reset of {} was started a short while ago: this one starts at {until:.0} at the earliest.",
            user.id.name
        );
        return Err(wait_about(world, request, Reason::UserBusy, message, until, user));
    }
    let allowed = directory.limits.resets_per_hour;
    let full = if allowed == 0 { Some(request.deadline()) } else { world.full_since.map(|at| later(at, HOUR)) };
    if let Some(until) = full.filter(|until| *until > now) {
        let message = format!(
            "Directory {} allows {allowed} resets an hour and that many were started: this one starts at {until:.0} at the earliest.",
            directory.name
        );
        return Err(wait_about(world, request, Reason::LimitReached, message, until, user));
    }
    Ok(())
}

/// The open records, and those whose latest attempt began within the last hour. There may be thousands, and every decision needs
/// those of one user, and one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct History {
    records: BTreeMap<String, Arc<Past>>,
    /// The same by identity of the directory and id of the user, sorted by name.
    users: BTreeMap<(String, String), Vec<Arc<Past>>>,
    /// When the latest attempts of a directory began, within the hour, and the names of their records.
    started: BTreeMap<String, BTreeSet<(Timestamp, String)>>,
}

impl History {
    /// The record of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Past> {
        self.records.get(name).map(AsRef::as_ref)
    }

    /// Takes in a record, in place of what was known of it.
    pub fn note(&mut self, past: Arc<Past>) {
        self.forget(&past.record);
        let of_user = self.users.entry(user_of(&past)).or_default();
        of_user.insert(of_user.partition_point(|other| other.record < past.record), Arc::clone(&past));
        let started = self.started.entry(past.directory_identity.clone()).or_default();
        started.insert((past.started_at, past.record.clone()));
        self.records.insert(past.record.clone(), past);
    }

    /// There is no record of this name.
    pub fn forget(&mut self, name: &str) {
        let Some(past) = self.records.remove(name) else { return };
        if let Entry::Occupied(mut users) = self.users.entry(user_of(&past)) {
            users.get_mut().retain(|other| other.record != name);
            if users.get().is_empty() {
                users.remove();
            }
        }
        if let Entry::Occupied(mut started) = self.started.entry(past.directory_identity.clone()) {
            started.get_mut().remove(&(past.started_at, past.record.clone()));
            if started.get().is_empty() {
                started.remove();
            }
        }
    }

    /// What began more than an hour ago no longer counts for a directory; for a user it does as long as it is open.
    pub fn expire(&mut self, now: Timestamp) {
        let hour_ago = now.saturating_sub(HOUR).unwrap_or(now);
        let mut over = Vec::new();
        for started in self.started.values_mut() {
            while let Some((at, _)) = started.first()
                && *at <= hour_ago
            {
                over.extend(started.pop_first());
            }
        }
        self.started.retain(|_, started| !started.is_empty());
        for (_, name) in over {
            if self.get(&name).is_some_and(|past| !is_open(past.state)) {
                self.forget(&name);
            }
        }
    }

    fn of_user(&self, directory: &str, user: &str) -> Vec<Arc<Past>> {
        self.users.get(&(directory.to_owned(), user.to_owned())).cloned().unwrap_or_default()
    }

    /// When the attempt began that is the `most`th, counted back from the latest. Those that came to nothing do not count, nor
    /// does the record `own`.
    fn full_since(&self, directory: &str, own: &str, most: u32) -> Option<Timestamp> {
        let started = self.started.get(directory)?;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if started.len() < most {
            return None;
        }
        let counts = |name: &str| name != own && self.get(name).is_some_and(|past| past.state != Released);
        let (at, _) = started.iter().rev().filter(|(_, name)| counts(name)).nth(most.checked_sub(1)?)?;
        Some(*at)
    }

    /// Lets `world` look back, as far as it knows whom it is about.
    pub fn show(&self, world: &mut World) {
        let (identity, user, own) = match (&world.record, &world.directory, &world.user, world.subject.request()) {
            (Seen::Known(record), ..) => (&record.directory_identity, &record.user.id, record.name.clone()),
            (_, Seen::Known(Directory { identity, .. }), Seen::Known(Found::One(user)), Some(request)) => {
                let id = &user.id.id;
                (identity, id, record_name(identity, id, request.mode(), request.requested_at))
            }
            _ => return,
        };
        world.past = self.of_user(identity, user);
        if let Seen::Known(directory) = &world.directory {
            world.full_since = self.full_since(identity, &own, directory.limits.resets_per_hour);
        }
    }
}

fn is_open(state: State) -> bool {
    !(state.is_settled() || state == Released)
}

fn user_of(past: &Past) -> (String, String) {
    (past.directory_identity.clone(), past.user.clone())
}
