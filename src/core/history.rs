//! The records that limits are counted over: those of the last hour, and those that are open.
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{
    directory::DirectoryFacts,
    record::{
        RecordSummary,
        State::{self, Released},
        record_name,
    },
    seen::Seen,
    user::LookUp,
    world::World,
};

pub(super) const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// The open records, and those whose latest attempt began within the last hour. There may be thousands, and every decision needs
/// those of one user, and the time at which the hourly limit was reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct History {
    records: BTreeMap<String, Arc<RecordSummary>>,
    /// The records by identity of the directory and id of the user, sorted by name.
    users: BTreeMap<(String, String), Vec<Arc<RecordSummary>>>,
    /// By identity of the directory: when its latest attempts began, within the last hour, and the names of their records.
    started: BTreeMap<String, BTreeSet<(Timestamp, String)>>,
}

impl History {
    /// The record of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&RecordSummary> {
        self.records.get(name).map(AsRef::as_ref)
    }

    /// Inserts a record, or replaces it.
    pub fn insert(&mut self, past: Arc<RecordSummary>) {
        self.remove(&past.record);
        let of_user = self.users.entry(user_of(&past)).or_default();
        of_user.insert(of_user.partition_point(|other| other.record < past.record), Arc::clone(&past));
        let started = self.started.entry(past.directory_identity.clone()).or_default();
        started.insert((past.started_at, past.record.clone()));
        self.records.insert(past.record.clone(), past);
    }

    /// Removes the record of this name.
    pub fn remove(&mut self, name: &str) {
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

    /// Drops what began more than an hour before `now`. It no longer counts for its directory; for its user it does as long as it is open.
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
                self.remove(&name);
            }
        }
    }

    /// How many attempts at the directory of this identity count for its hourly limit: those that [`Self::expire`] has left, without the
    /// ones that had no effect.
    #[must_use]
    pub fn counted(&self, directory: &str) -> usize {
        let started = self.started.get(directory).into_iter().flatten();
        started.filter(|(_, name)| self.counts(name)).count()
    }

    fn counts(&self, name: &str) -> bool {
        self.get(name).is_some_and(|past| past.state != Released)
    }

    fn of_user(&self, directory: &str, user: &str) -> Vec<Arc<RecordSummary>> {
        self.users.get(&(directory.to_owned(), user.to_owned())).cloned().unwrap_or_default()
    }

    /// When the attempt began that is number `limit`, counted back from the latest. Attempts without effect do not count, nor does the
    /// record `own`. `None`: there are fewer.
    fn hourly_limit_reached_at(&self, directory: &str, own: &str, limit: u32) -> Option<Timestamp> {
        let started = self.started.get(directory)?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        if started.len() < limit {
            return None;
        }
        let counts = |name: &str| name != own && self.counts(name);
        let (at, _) = started.iter().rev().filter(|(_, name)| counts(name)).nth(limit.checked_sub(1)?)?;
        Some(*at)
    }

    /// Fills in the past of `world`, if the user is known there.
    pub fn fill_in(&self, world: &mut World) {
        let (identity, user, own) =
            match (&world.ledger.record, &world.facts.directory, &world.facts.user, world.subject.request()) {
                (Seen::Known(record), ..) => (&record.directory_identity, &record.user.id, record.name.clone()),
                (_, Seen::Known(DirectoryFacts { identity, .. }), Seen::Known(LookUp::One(user)), Some(request)) => {
                    let id = &user.id.id;
                    (identity, id, record_name(identity, id, request.mode(), request.requested_at))
                }
                _ => return,
            };
        world.ledger.past = self.of_user(identity, user);
        if let Seen::Known(directory) = &world.facts.directory {
            world.ledger.hourly_limit_reached_at =
                self.hourly_limit_reached_at(identity, &own, directory.limits.resets_per_hour);
        }
    }
}

fn is_open(state: State) -> bool {
    !(state.is_settled() || state == Released)
}

fn user_of(past: &RecordSummary) -> (String, String) {
    (past.directory_identity.clone(), past.user.clone())
}
