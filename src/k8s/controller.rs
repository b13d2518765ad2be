//! What is watched, and what is done about it. All of it belongs to a term of leadership.
use std::{
    collections::HashMap,
    hash::Hash,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    runtime::{
        Controller, PredicateConfig, WatchStreamExt,
        controller::{self, Action},
        reflector::{self, ObjectRef},
        watcher,
    },
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    directories::Directories,
    hash,
    lean::{Lean, PAGE},
    lease::Leadership,
    ledger::OPEN,
    lock,
    metrics::Metrics,
    reconcile::{self, Item, Operator, Term},
    status,
    turns::Turns,
};
use crate::{
    api::{CredentialReset, CredentialResetApproval, CredentialResetRecord},
    core::{Next, ledger::State},
};

/// Between two looks for password Secrets that nobody needs.
const SWEEP: Duration = Duration::from_secs(60);
/// Between two looks for records whose time has passed.
const EXPIRE: Duration = Duration::from_secs(3600);
/// After so long whoever waits for a turn asks again, whether or not it was told to: whoever was told in its stead may be gone.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// The first pause after a failed reconcile; doubled up to a minute.
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// What the two controllers share.
struct Shared {
    term: Arc<Term>,
    /// Reconciles run as tasks of their own: one that has sent a call must write down what came back, whatever becomes of the
    /// term; and a panic ends that one only.
    tasks: TaskTracker,
    failures: Mutex<HashMap<String, u32>>,
}

/// Why a reconcile ended badly; told where it happened.
#[derive(Debug, thiserror::Error)]
#[error("reconcile failed")]
struct Failed;

/// Works until leadership is lost, or `stop`. `concurrency`: reconciles at once of each Directory, and of each kind.
///
/// # Errors
/// If the ledger cannot be read at the start: then nothing may be started.
pub async fn run(
    operator: Arc<Operator>,
    leadership: Leadership,
    concurrency: u16,
    tasks: TaskTracker,
    stop: &CancellationToken,
) -> kube::Result<()> {
    let lost = leadership.lost.clone();
    tokio::select! {
        loaded = operator.ledger.load(Timestamp::now()) => loaded?,
        () = lost.cancelled() => return Ok(()),
        () = stop.cancelled() => return Ok(()),
    }
    let (changed, directories_changed) = mpsc::unbounded_channel();
    let directories = Directories::new(
        operator.client.clone(),
        operator.secrets.clone(),
        operator.events.clone(),
        operator.metrics.clone(),
        operator.life.clone(),
        changed,
    );
    let term = Arc::new(Term { operator, leadership, directories: Arc::clone(&directories) });
    let shared = Arc::new(Shared { term: Arc::clone(&term), tasks, failures: Mutex::default() });
    let work = async {
        tokio::join!(
            directories.run(),
            requests(Arc::clone(&shared), directories_changed, concurrency),
            settled(&term.operator),
            records(Arc::clone(&shared), concurrency),
            term.operator.ledger.keep_keys(),
            housekeeping(&term),
        )
    };
    tokio::select! {
        _ = work => {}
        () = lost.cancelled() => {}
        () = stop.cancelled() => {}
    }
    // Their tasks hold each other: whoever leads no more neither calls directories nor writes about them.
    term.directories.end();
    Ok(())
}

/// The open requests, each when it is new, when its time has come, and when its Directory has changed.
async fn requests(shared: Arc<Shared>, changes: mpsc::UnboundedReceiver<String>, concurrency: u16) {
    let operator = &shared.term.operator;
    let api: Api<Lean<CredentialReset>> = Api::all(operator.client.clone());
    let open = watcher::Config::default().fields("status.outcome=").page_size(PAGE);
    let (reader, writer) = reflector::store();
    let metrics = operator.metrics.clone();
    metrics.watch_requests(reader.clone());
    let new = watcher(api, open)
        .default_backoff()
        .reflect(writer)
        // The status is our own: what matters is an object that is new, or whose status was lost or is about another generation.
        .filter_map(|event| async {
            match event {
                Ok(watcher::Event::InitApply(object)) => Some(Ok(object)),
                Ok(watcher::Event::Apply(object)) if !object.is_seen() => Some(Ok(object)),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            }
        });
    let store = reader.clone();
    let affected = received(changes).flat_map(move |name| {
        let waiting = store.state_filter(|object| object.spec.directory == name);
        stream::iter(waiting.into_iter().map(|object| ObjectRef::from_obj(object.as_ref())).collect::<Vec<_>>())
    });
    let (next, turn_comes) = mpsc::unbounded_channel();
    let turns = Turns::new(concurrency, next);
    Controller::for_stream(new, reader)
        .reconcile_on(affected)
        .reconcile_on(received(turn_comes))
        .watches(
            Api::<Lean<CredentialResetApproval>>::all(operator.client.clone()),
            watcher::Config::default().page_size(PAGE),
            |approval| Some(ObjectRef::new(&approval.spec.request).within(&approval.namespace().unwrap_or_default())),
        )
        .run(
            move |object: Arc<Lean<CredentialReset>>, shared: Arc<Shared>| {
                let turn = turns.take(&object.spec.directory, ObjectRef::from_obj(object.as_ref()));
                async move {
                    let Some(_turn) = turn else { return Ok(Action::requeue(ASK_AGAIN)) };
                    work(&shared, Item::Request(object.namespace().unwrap_or_default(), object.name_any())).await
                }
            },
            |object, _, shared| {
                back_off(&shared, &format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any()))
            },
            shared,
        )
        .for_each(|result| async { told(&metrics, result) })
        .await;
}

/// Requests with an outcome: nothing more is done about them. Should the generation of one rise all the same, tools wait until its status
/// is about that.
async fn settled(operator: &Operator) {
    let api: Api<Lean<CredentialReset>> = Api::all(operator.client.clone());
    let done = watcher::Config::default().fields("status.outcome!=").page_size(PAGE);
    let mut touched = pin!(watcher(api, done).default_backoff().applied_objects());
    while let Some(event) = touched.next().await {
        match event {
            // One that is being deleted has another generation for that alone.
            Ok(Lean(object)) if !object.is_seen() && object.metadata.deletion_timestamp.is_none() => {
                if let Err(error) = status::take_over_generation(&operator.client, &object).await {
                    let (namespace, name) = (object.namespace(), object.name_any());
                    tracing::warn!(namespace, name, error = %error, "the status could not take the generation over");
                }
            }
            Ok(_) => {}
            Err(error) => {
                operator.metrics.failed("watch");
                tracing::warn!(error = %error, "requests with an outcome cannot be watched");
            }
        }
    }
}

/// The records that still move: of requests whose objects are gone, and those whose outcome is not known.
async fn records(shared: Arc<Shared>, concurrency: u16) {
    let api = shared.term.operator.ledger.api();
    let open = watcher::Config::default().fields(OPEN).page_size(500);
    let (reader, writer) = reflector::store();
    let metrics = shared.term.operator.metrics.clone();
    metrics.watch_records(reader.clone());
    let noted = Arc::clone(&shared);
    let moved = watcher(api, open)
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer)
        .touched_objects()
        .inspect(move |object| {
            if let Ok(object) = object {
                noted.term.operator.ledger.note_seen(&object.record());
            }
        })
        .predicate_filter(
            |object: &CredentialResetRecord| Some(hash(&(object.uid(), object.spec.state))),
            PredicateConfig::default(),
        );
    let (next, turn_comes) = mpsc::unbounded_channel();
    let turns = Turns::new(concurrency, next);
    Controller::for_stream(moved, reader)
        .reconcile_on(received(turn_comes))
        .watches(shared.term.operator.ledger.settlements(), watcher::Config::default().page_size(PAGE), |said| {
            Some(ObjectRef::new(&said.spec.record).within(&said.namespace().unwrap_or_default()))
        })
        .run(
            move |object: Arc<CredentialResetRecord>, shared: Arc<Shared>| {
                let turns = Arc::clone(&turns);
                async move {
                    let record = object.record();
                    // This process's own attempt is under way: its request's reconcile goes on with it, unless the object is gone.
                    let over = record.over() <= Timestamp::now();
                    if record.state == State::Sent && !over && shared.term.operator.ledger.holds(&record) {
                        return Ok(Action::requeue(until(record.over())));
                    }
                    let turn = turns.take(&record.directory, ObjectRef::from_obj(object.as_ref()));
                    let Some(_turn) = turn else { return Ok(Action::requeue(ASK_AGAIN)) };
                    work(&shared, Item::Record(record.name)).await
                }
            },
            |object, _, shared| back_off(&shared, &object.name_any()),
            shared,
        )
        .for_each(|result| async { told(&metrics, result) })
        .await;
}

/// What comes out of a channel, until nobody can put anything in.
fn received<T>(channel: mpsc::UnboundedReceiver<T>) -> impl Stream<Item = T> {
    stream::unfold(channel, |mut channel| async { Some((channel.recv().await?, channel)) })
}

async fn work(shared: &Arc<Shared>, item: Item) -> Result<Action, Failed> {
    let metrics = &shared.term.operator.metrics;
    let name = match &item {
        Item::Request(namespace, name) => format!("{namespace}/{name}"),
        Item::Record(name) => name.clone(),
    };
    let term = Arc::clone(&shared.term);
    let began = Instant::now();
    let ended = shared.tasks.spawn(async move { Box::pin(reconcile::reconcile(&term, &item)).await }).await;
    metrics.reconciled(began.elapsed());
    match ended {
        Ok(Ok(next)) => {
            lock(&shared.failures).remove(&name);
            Ok(match next {
                Next::Never => Action::await_change(),
                Next::At(at) => Action::requeue(until(at)),
            })
        }
        Ok(Err(error)) => {
            metrics.failed(error.kind());
            tracing::warn!(name, error = %error, "will be tried again");
            Err(Failed)
        }
        Err(_) => {
            tracing::error!(name, "a reconcile ended in a panic: a defect of this program");
            Err(Failed)
        }
    }
}

fn back_off(shared: &Shared, name: &str) -> Action {
    let mut failures = lock(&shared.failures);
    let count = failures.entry(name.to_owned()).or_default();
    *count = count.saturating_add(1);
    Action::requeue((FIRST_RETRY * 2u32.pow((*count - 1).min(7))).min(Duration::from_secs(60)))
}

fn told<K: kube::Resource>(
    metrics: &Metrics,
    result: Result<(ObjectRef<K>, Action), controller::Error<Failed, watcher::Error>>,
) where
    K::DynamicType: std::fmt::Debug + Clone + Eq + Hash,
{
    match result {
        Ok((object, action)) => tracing::debug!(name = object.name, ?action, "looked at"),
        // It has left the selection: settled, or deleted.
        Err(controller::Error::ObjectNotFound(object)) => tracing::debug!(name = object.name, "settled or gone"),
        Err(controller::Error::ReconcilerFailed(..)) => {}
        Err(error) => {
            metrics.failed("watch");
            tracing::warn!(error = %error, "watching goes on");
        }
    }
}

async fn housekeeping(term: &Term) {
    let operator = &term.operator;
    let mut sweep = tokio::time::interval(SWEEP);
    // It reads all records: a leader that has just begun has other things to do.
    let mut expire = tokio::time::interval_at(Instant::now() + SWEEP, EXPIRE);
    for timer in [&mut sweep, &mut expire] {
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    }
    loop {
        let expires = tokio::select! {
            _ = sweep.tick() => false,
            _ = expire.tick() => true,
        };
        // By a clock that is wrong nothing is too old; the term is about to end.
        if !operator.clock.is_right() {
            continue;
        }
        let now = Timestamp::now();
        let (what, result) = if expires {
            ("records", operator.ledger.expire(now).await)
        } else {
            ("password Secrets", operator.secrets.sweep(&operator.ledger, now).await)
        };
        match result {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "removed {what} that nobody needs any more"),
            Err(error) => tracing::warn!(error = %error, "{what} could not be swept; tried again later"),
        }
    }
}

fn until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default()
}
