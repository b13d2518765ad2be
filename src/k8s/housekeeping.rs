//! Deletes what nothing needs any more: password Secrets, delivered Secrets that have expired, and records.
use std::{collections::HashSet, time::Duration};

use jiff::{SignedDuration, Timestamp};
use kube::api::ListParams;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

use super::{next_page, reconcile::Operator};
use crate::core::{record::Record, request::later};

/// How often password Secrets that no record needs are deleted.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// How often delivered Secrets that have expired, and records whose retention has ended, are deleted.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(3600);

/// A record waits for its Secret no longer than this after it could have been deleted itself: a namespace whose Secrets the operator may no
/// longer read does not keep it for ever. More than a Secret may stay (720h).
const MAX_WAIT: SignedDuration = SignedDuration::from_hours(31 * 24);

/// Runs until it is dropped, at the end of the term.
pub(super) async fn run(operator: &Operator) {
    let mut sweep = interval(SWEEP_INTERVAL);
    // Not at the start of a term, when there is more urgent work: it reads all records.
    let mut expire = interval_at(Instant::now() + SWEEP_INTERVAL, EXPIRY_INTERVAL);
    for timer in [&mut sweep, &mut expire] {
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    let mut gone = HashSet::new();
    loop {
        let expire_records = tokio::select! {
            _ = sweep.tick() => false,
            _ = expire.tick() => true,
        };
        // A wrong clock cannot say what is too old. The term is about to end.
        if !operator.clock.is_right() {
            continue;
        }
        let now = Timestamp::now();
        let (what, result) = if expire_records {
            ("records", delete_expired(operator, &mut gone, now).await)
        } else {
            ("password Secrets", operator.secrets.sweep(&operator.ledger, now).await)
        };
        match result {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "deleted {what} that are no longer needed"),
            Err(error) => {
                tracing::warn!(error = %error, "failed to delete {what} that are no longer needed; retrying later");
            }
        }
    }
}

/// Deletes the delivered Secrets that have expired, and the records whose retention has ended; returns how many records. `gone`: names of
/// records whose Secret need not be looked at again in this term. A record stays as long as its Secret may have to be deleted.
async fn delete_expired(operator: &Operator, gone: &mut HashSet<String>, now: Timestamp) -> kube::Result<usize> {
    let mut deleted = 0;
    let mut params = ListParams::default().limit(200);
    loop {
        let page = operator.ledger.api().list(&params).await?;
        for object in &page.items {
            let record = object.record();
            if has_no_secret(operator, &record, gone, now).await && operator.ledger.delete_expired(object, now).await? {
                gone.remove(&record.name);
                deleted += 1;
            }
        }
        if !next_page(&mut params, &page) {
            return Ok(deleted);
        }
    }
}

/// Whether no Secret waits for its deletion, after deleting it if it has expired.
async fn has_no_secret(operator: &Operator, record: &Record, gone: &mut HashSet<String>, now: Timestamp) -> bool {
    let Some(secret) = record.expiring_secret().filter(|_| !gone.contains(&record.name)) else { return true };
    let is_late = later(record.keep_until, MAX_WAIT) <= now;
    match operator.secrets.expire(record, secret, now).await {
        Ok(true) => gone.insert(record.name.clone()),
        Ok(false) => is_late,
        Err(error) => {
            operator.metrics.count_error("api");
            let namespace = &record.request.namespace;
            tracing::warn!(namespace, secret, error = %error, "failed to look at a delivered Secret that may have expired; retrying in an hour");
            is_late
        }
    }
}
