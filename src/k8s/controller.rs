//! The watches and the two controllers of a term of leadership.
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
    hash, housekeeping,
    lean::{Guarded, Lean, PAGE, watch},
    lease::Leadership,
    ledger::OPEN,
    lock,
    metrics::Metrics,
    reconcile::{self, Item, Operator, Term},
    slots::Slots,
};
use crate::{
    api::{CredentialReset, CredentialResetApproval, CredentialResetRecord},
    core::{Next, record::State},
};

/// Work that waits for a slot asks again after this, even if it was not woken: the work that was woken instead may no longer exist.
const SLOT_RETRY: Duration = Duration::from_secs(30);
/// The pause after the first failed reconcile of an item. It doubles with each further one.
const MIN_BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// What the two controllers share.
struct Context {
    term: Arc<Term>,
    /// Each reconcile is a task of its own. One that has sent a call must record the reply even after the term has ended, and a panic
    /// ends only that task.
    tasks: TaskTracker,
    /// Failed reconciles in a row.
    failures: Mutex<HashMap<Item, u32>>,
}

/// A reconcile failed. It has logged why.
#[derive(Debug, thiserror::Error)]
#[error("reconcile failed")]
struct Failed;

/// Runs a term until leadership is lost, or `stop`. `concurrency`: reconciles at the same time, for
/// each Directory and for each of requests and records.
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
    let context = Arc::new(Context { term: Arc::clone(&term), tasks, failures: Mutex::default() });
    let work = async {
        tokio::join!(
            directories.run(),
            reconcile_requests(Arc::clone(&context), directories_changed, concurrency),
            watch_settled_requests(&term.operator),
            reconcile_records(Arc::clone(&context), concurrency),
            term.operator.ledger.watch_keys(),
            housekeeping::run(&term.operator),
        )
    };
    tokio::select! {
        _ = work => {}
        () = lost.cancelled() => {}
        () = stop.cancelled() => {}
    }
    // The tasks of the checks hold the Directories, so dropping them is not enough. A process that is no longer the leader neither calls
    // directories nor writes their status.
    term.directories.abort_checks();
    Ok(())
}

/// Reconciles each open request when it is new, when its requeue time has come, when its Directory has
/// changed, and when an approval names it.
async fn reconcile_requests(context: Arc<Context>, changes: mpsc::UnboundedReceiver<String>, concurrency: u16) {
    let operator = &context.term.operator;
    let open = watcher::Config::default().fields("status.outcome=");
    let (reader, writer) = reflector::store();
    let metrics = operator.metrics.clone();
    metrics.watch_requests(reader.clone());
    let new = watch::<CredentialReset>(operator.client.clone(), open)
        .reflect(writer)
        // The operator writes the status itself. What matters is an object that is new, or whose status was lost or is about another
        // generation.
        .filter_map(|event| async {
            match event {
                Ok(watcher::Event::InitApply(object)) => Some(Ok(object)),
                Ok(watcher::Event::Apply(object)) if !object.is_observed() => Some(Ok(object)),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            }
        });
    let store = reader.clone();
    let affected = stream_of(changes).flat_map(move |name| {
        let waiting = store.state_filter(|object| object.spec.directory == name);
        stream::iter(waiting.into_iter().map(|object| ObjectRef::from_obj(object.as_ref())).collect::<Vec<_>>())
    });
    let (wake, woken) = mpsc::unbounded_channel();
    let slots = Slots::new(concurrency, wake);
    Controller::for_stream(new, reader)
        .reconcile_on(affected)
        .reconcile_on(stream_of(woken))
        .watches(
            Api::<Guarded<CredentialResetApproval>>::all(operator.client.clone()),
            watcher::Config::default().page_size(PAGE),
            |approval| {
                let approval = approval.readable()?;
                Some(ObjectRef::new(&approval.spec.request).within(&approval.namespace().unwrap_or_default()))
            },
        )
        .run(
            move |object: Arc<Lean<CredentialReset>>, context: Arc<Context>| {
                let slot = slots.try_acquire(&object.spec.directory, ObjectRef::from_obj(object.as_ref()));
                async move {
                    let Some(_slot) = slot else { return Ok(Action::requeue(SLOT_RETRY)) };
                    reconcile_item(&context, Item::of_request(&object)).await
                }
            },
            |object, _, context| error_policy(&context, Item::of_request(&object)),
            context,
        )
        .for_each(|result| async { log_result(&metrics, result) })
        .await;
}

/// Watches the requests with an outcome, for which nothing more is done. If the generation of one
/// rises, its status is updated to it: tools that wait for the status compare the two.
async fn watch_settled_requests(operator: &Operator) {
    let done = watcher::Config::default().fields("status.outcome!=");
    let mut touched = pin!(watch::<CredentialReset>(operator.client.clone(), done).applied_objects());
    while let Some(event) = touched.next().await {
        match event {
            // The deletion itself raises the generation of an object that is being deleted.
            Ok(Lean(object)) if !object.is_observed() && object.metadata.deletion_timestamp.is_none() => {
                if let Err(error) = operator.statuses.observe_generation(&object).await {
                    let (namespace, name) = (object.namespace(), object.name_any());
                    tracing::warn!(namespace, name, error = %error, "failed to update the observed generation");
                }
            }
            Ok(_) => {}
            Err(error) => {
                operator.metrics.count_error("watch");
                tracing::warn!(error = %error, "the watch of requests with an outcome failed; retrying");
            }
        }
    }
}

/// Reconciles the open records: those of requests whose objects were deleted, and those whose outcome is unknown.
async fn reconcile_records(context: Arc<Context>, concurrency: u16) {
    let api = context.term.operator.ledger.api();
    let open = watcher::Config::default().fields(OPEN).page_size(500);
    let (reader, writer) = reflector::store();
    let metrics = context.term.operator.metrics.clone();
    metrics.watch_records(reader.clone());
    let term = Arc::clone(&context.term);
    let moved = watcher(api, open)
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer)
        .touched_objects()
        .inspect(move |object| {
            if let Ok(object) = object {
                term.operator.ledger.note_watched(&object.record());
            }
        })
        .predicate_filter(
            |object: &CredentialResetRecord| Some(hash(&(object.uid(), object.spec.state))),
            PredicateConfig::default(),
        );
    let (wake, woken) = mpsc::unbounded_channel();
    let slots = Slots::new(concurrency, wake);
    Controller::for_stream(moved, reader)
        .reconcile_on(stream_of(woken))
        .watches(context.term.operator.ledger.settlements(), watcher::Config::default().page_size(PAGE), |settlement| {
            let settlement = settlement.readable()?;
            Some(ObjectRef::new(&settlement.spec.record).within(&settlement.namespace().unwrap_or_default()))
        })
        .run(
            move |object: Arc<CredentialResetRecord>, context: Arc<Context>| {
                let slots = Arc::clone(&slots);
                async move {
                    let record = object.record();
                    // This process's own attempt is in flight: the reconcile of its request continues it, unless the object was deleted.
                    let over = record.cannot_arrive_after() <= Timestamp::now();
                    if record.state == State::Sent && !over && context.term.operator.ledger.attempts.contains(&record) {
                        return Ok(Action::requeue(duration_until(record.cannot_arrive_after())));
                    }
                    let slot = slots.try_acquire(&record.directory, ObjectRef::from_obj(object.as_ref()));
                    let Some(_slot) = slot else { return Ok(Action::requeue(SLOT_RETRY)) };
                    reconcile_item(&context, Item::Record(record.name)).await
                }
            },
            |object, _, context| error_policy(&context, Item::Record(object.name_any())),
            context,
        )
        .for_each(|result| async { log_result(&metrics, result) })
        .await;
}

/// The messages of a channel, until its senders are dropped.
fn stream_of<T>(channel: mpsc::UnboundedReceiver<T>) -> impl Stream<Item = T> {
    stream::unfold(channel, |mut channel| async { Some((channel.recv().await?, channel)) })
}

/// Reconciles `item` in a task of its own.
async fn reconcile_item(context: &Arc<Context>, item: Item) -> Result<Action, Failed> {
    let metrics = &context.term.operator.metrics;
    let (term, of_task) = (Arc::clone(&context.term), item.clone());
    let started = Instant::now();
    let result = context.tasks.spawn(async move { Box::pin(reconcile::reconcile(&term, &of_task)).await }).await;
    metrics.observe_reconcile(started.elapsed());
    let name = item.to_string();
    match result {
        Ok(Ok(next)) => {
            lock(&context.failures).remove(&item);
            Ok(match next {
                Next::Never => Action::await_change(),
                Next::At(at) => Action::requeue(duration_until(at)),
            })
        }
        Ok(Err(error)) => {
            metrics.count_error(error.kind());
            tracing::warn!(name, error = %error, "reconcile failed; retrying");
            Err(Failed)
        }
        Err(_) => {
            tracing::error!(name, "reconcile panicked: a defect of this program");
            Err(Failed)
        }
    }
}

/// The pause before `item`, whose reconcile has failed, is reconciled again.
fn error_policy(context: &Context, item: Item) -> Action {
    let mut failures = lock(&context.failures);
    let count = failures.entry(item).or_default();
    *count = count.saturating_add(1);
    Action::requeue((MIN_BACKOFF * 2u32.pow((*count - 1).min(7))).min(MAX_BACKOFF))
}

fn log_result<K: kube::Resource>(
    metrics: &Metrics,
    result: Result<(ObjectRef<K>, Action), controller::Error<Failed, watcher::Error>>,
) where
    K::DynamicType: std::fmt::Debug + Clone + Eq + Hash,
{
    match result {
        Ok((object, action)) => tracing::debug!(name = object.name, ?action, "reconciled"),
        // The selectors no longer match the object, or it was deleted.
        Err(controller::Error::ObjectNotFound(object)) => tracing::debug!(name = object.name, "settled or deleted"),
        Err(controller::Error::ReconcilerFailed(..)) => {}
        Err(error) => {
            metrics.count_error("watch");
            tracing::warn!(error = %error, "a watch failed; retrying");
        }
    }
}

fn duration_until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default()
}
