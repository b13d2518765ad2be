//! What the requests of a set mean for each other: two for one user, and the limits of a Directory.
use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use serde::Serialize;

use super::Planned;
use crate::{
    cli::sources::{
        Sources,
        filed::{Filed, Open},
        users::assumed_user,
    },
    core::{
        Reason, Request, World,
        directory::DirectoryFacts,
        forecast::Verdict,
        queue::{Turn, turns},
        request::Mode,
        seen::Seen,
        text::{NAME, folded, printable},
        user::{LookUp, UserId},
        world::{Process, Subject},
    },
};

/// A request of the set, with what its plan is based on.
pub(super) struct Member {
    pub planned: Planned,
    /// `None`: its manifest is refused, or there is nothing to do.
    pub request: Option<Request>,
    /// The facts that were read. `None`: nothing but the manifest is known.
    pub world: Option<Box<World>>,
}

/// How the limits of a Directory affect the set.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Queue {
    /// Name of the Directory.
    directory: String,
    /// Its `spec.limits.resetsPerHour`.
    resets_per_hour: u32,
    /// Resets that began in the last hour and count for the limit. Absent: records could not be read, and none is assumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    begun: Option<usize>,
    /// Open requests of the cluster that are not in the set and wait for the same limit.
    others: usize,
    /// Requests of the set that the limits let begin now.
    at_once: usize,
    /// Requests of the set that begin later.
    later: usize,
    /// When the last of them begins, at the earliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    last_at: Option<Timestamp>,
    /// Requests of the set whose deadline passes before their turn.
    expire: usize,
}

impl Queue {
    /// In words, without the name of the Directory.
    pub(super) fn sentence(&self) -> String {
        let Self { resets_per_hour, begun, others, at_once, later, last_at, expire, .. } = self;
        let begun = match begun {
            None => "assuming that none began in the last hour".to_owned(),
            Some(begun) => format!("{begun} began in the last hour"),
        };
        let others = match others {
            0 => String::new(),
            others => format!(", {others} more wait in the cluster"),
        };
        let last = last_at.map_or_else(String::new, |at| format!(", the last of {} at about {at:.0}", at_once + later));
        let expire = match expire {
            0 => String::new(),
            n => format!("; at least {n} would expire before their turn"),
        };
        format!("{resets_per_hour} resets an hour ({begun}{others}): {at_once} can begin at once{last}{expire}.")
    }

    pub(super) fn directory(&self) -> &str {
        &self.directory
    }

    /// Whether it says more than that everything begins at once.
    pub(super) fn matters(&self) -> bool {
        self.later + self.expire > 0
    }
}

/// Marks requests for a user of whom another open request, of the set or of the cluster, resets the same.
pub(super) fn mark_twice(members: &mut [Member], sources: Option<&Sources>, filed: &Filed) {
    /// An open request: name, file if it is of the set, and what stands for its user.
    struct One {
        name: (String, String),
        /// The same reset asked for at the same time has the same record: it is carried out once.
        requested_at: Timestamp,
        file: Option<String>,
        users: Vec<(String, Mode, String)>,
    }
    let identity =
        |directory: &str| sources.and_then(|sources| sources.directory(directory)).map(|d| d.identity.clone());
    // The id in the directory and the name in the manifest, at the Directory and at the server behind it: each may show that two are one.
    let users = |request: &Request, found: Option<&UserId>| -> Vec<(String, Mode, String)> {
        let directories = std::iter::once(format!("name {}", request.directory))
            .chain(identity(&request.directory).map(|identity| format!("server {identity}")));
        let typed = folded(request.user.typed());
        directories
            .flat_map(|directory| {
                let id = found.map(|user| (directory.clone(), request.mode(), format!("id {}", user.id)));
                id.into_iter().chain([(directory, request.mode(), typed.clone())])
            })
            .collect()
    };
    let name = |request: &Request| (request.namespace.clone(), request.name.clone());
    let mut all: Vec<One> = members
        .iter()
        .filter(|member| is_open(&member.planned))
        .filter_map(|Member { planned, request, .. }| {
            let request = request.as_ref()?;
            let users = users(request, planned.found.as_ref());
            let (requested_at, file) = (request.requested_at, Some(planned.file.clone()));
            Some(One { name: name(request), requested_at, file, users })
        })
        .collect();
    let of_set: BTreeSet<(String, String)> = all.iter().map(|one| one.name.clone()).collect();
    all.extend(filed.open.iter().filter(|open| !of_set.contains(&name(&open.request))).map(|open| One {
        name: name(&open.request),
        requested_at: open.request.requested_at,
        file: None,
        users: users(&open.request, open.user.as_ref()),
    }));
    let mut by_user: HashMap<&(String, Mode, String), Vec<usize>> = HashMap::new();
    for (number, one) in all.iter().enumerate() {
        for user in &one.users {
            by_user.entry(user).or_default().push(number);
        }
    }
    for member in members.iter_mut().filter(|member| is_open(&member.planned)) {
        let Some(request) = &member.request else { continue };
        let own = name(request);
        let others: BTreeSet<usize> = users(request, member.planned.found.as_ref())
            .iter()
            .filter_map(|user| by_user.get(user))
            .flatten()
            .copied()
            .filter(|number| all[*number].name != own && all[*number].requested_at != request.requested_at)
            .collect();
        let Some(first) = others.first().map(|number| &all[*number]) else { continue };
        let place = first.file.as_ref().map_or_else(|| "in the cluster, and open".to_owned(), Clone::clone);
        let more = if others.len() > 1 { format!(" and {} more", others.len() - 1) } else { String::new() };
        let effect = match request.mode() {
            Mode::Password => "the second password would replace the first",
            Mode::MFA => "the user would have to enrol twice",
        };
        member.planned.stop(
            Verdict::Unclear,
            "Twice",
            format!(
                "{} has another request for the same reset: {}/{} ({place}){more}. The operator would carry out both, and {effect}. Remove \
                 one.",
                printable(request.user.typed(), NAME),
                first.name.0,
                first.name.1
            ),
        );
    }
}

fn is_open(planned: &Planned) -> bool {
    matches!(planned.verdict, Verdict::Allowed | Verdict::Unclear)
}

/// Has the allowed requests queue for the limits of their Directories: each gets the time at which it can begin, or is refused since that
/// comes after its deadline.
pub(super) fn queue(members: &mut [Member], sources: &Sources, filed: &Filed) -> Vec<Queue> {
    let history =
        sources.cluster.as_ref().filter(|cluster| cluster.history_loaded).map(|cluster| cluster.ledger.history());
    let mut queues: BTreeMap<String, Queue> = BTreeMap::new();
    let (mut worlds, mut places) = (Vec::new(), Vec::new());
    for (number, Member { planned, world, .. }) in members.iter().enumerate() {
        let Some((world, directory)) = world.as_ref().and_then(|world| Some((world, queueing(world)?))) else {
            continue;
        };
        if planned.verdict != Verdict::Allowed {
            continue;
        }
        queues.entry(directory.name.clone()).or_insert_with(|| Queue {
            directory: directory.name.clone(),
            resets_per_hour: directory.limits.resets_per_hour,
            begun: history.as_ref().map(|history| history.counted(&directory.identity)),
            others: 0,
            at_once: 0,
            later: 0,
            last_at: None,
            expire: 0,
        });
        worlds.push((**world).clone());
        places.push(number);
    }
    let of_set: BTreeSet<(&str, &str)> =
        members.iter().map(|member| (member.planned.namespace.as_str(), member.planned.name.as_str())).collect();
    for open in filed.open.iter().filter(|open| open.is_queued()) {
        let Request { namespace, name, directory, .. } = &open.request;
        if let (Some(queue), Some(directory), false) = (
            queues.get_mut(directory),
            sources.directory(directory),
            of_set.contains(&(namespace.as_str(), name.as_str())),
        ) {
            queue.others += 1;
            worlds.push(world_of(open, directory));
        }
    }
    let begins: Vec<Timestamp> = worlds.iter().map(|world| world.now).collect();
    for ((place, turn), ready) in places.into_iter().zip(turns(history.unwrap_or_default(), worlds)).zip(begins) {
        let Member { planned, request: Some(request), .. } = &mut members[place] else { continue };
        let Some(queue) = queues.get_mut(&request.directory) else { continue };
        apply(queue, planned, request, turn, ready);
    }
    queues.into_values().collect()
}

/// The Directory of a world whose request can queue: its Directory and its user are known.
fn queueing(world: &World) -> Option<&DirectoryFacts> {
    match (&world.facts.directory, &world.facts.user) {
        (Seen::Known(directory), Seen::Known(LookUp::One(_))) => Some(directory),
        _ => None,
    }
}

/// A world with as much as the limits ask about of an open request of the cluster.
fn world_of(open: &Open, directory: &DirectoryFacts) -> World {
    let subject = Subject::Object { request: Box::new(open.request.clone()), status: open.status.clone() };
    let process = Process { holder: "plan".to_owned(), attempt: "plan".to_owned() };
    let mut world = World::new(Timestamp::now().max(open.request.requested_at), process, subject);
    let mut user = assumed_user(&open.request, directory);
    user.id = open.user.clone().unwrap_or(user.id);
    world.facts.user = Seen::Known(LookUp::One(Box::new(user)));
    world.facts.directory = Seen::Known(directory.clone());
    world
}

/// Adds to a plan, and to the sums of its Directory, when the request can begin.
fn apply(queue: &mut Queue, planned: &mut Planned, request: &Request, turn: Turn, ready: Timestamp) {
    let Queue { directory, resets_per_hour, .. } = &*queue;
    match turn {
        Turn { begins: Some(at), waits_for } => {
            if waits_for.is_none() {
                queue.at_once += 1;
            } else {
                queue.later += 1;
                queue.last_at = queue.last_at.max(Some(at));
            }
            planned.starts_at = (at > ready).then_some(at);
            // An approval or a time that it waits for comes first.
            let limits = [Reason::LimitReached, Reason::UserBusy].map(|reason| reason.to_string());
            if planned.reason.as_ref().is_none_or(|reason| limits.contains(reason)) {
                planned.reason = waits_for.map(|reason| reason.to_string());
                planned.message = waits_for.map(|reason| match reason {
                    Reason::UserBusy => {
                        format!("Another reset of {} comes first: this one begins at about {at:.0}.", request.user)
                    }
                    _ => format!("It begins at about {at:.0}."),
                });
            }
        }
        Turn { begins: None, waits_for } => {
            let cause = match waits_for {
                Some(Reason::UserBusy) => format!("Another reset of {} comes first", request.user),
                _ => format!("Directory {directory} allows {resets_per_hour} resets an hour"),
            };
            let message = format!(
                "{cause}, and its turn would come after its deadline, {:.0}: it would expire. Raise spec.limits of Directory {directory} for \
                 as long as it takes, or file it later.",
                request.deadline()
            );
            planned.stop(Verdict::Refused, "Expired", message);
            queue.expire += 1;
        }
    }
}
