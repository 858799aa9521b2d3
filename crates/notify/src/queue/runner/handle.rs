//! The handle of a runner: limits in, an orderly end.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    task::{AbortHandle, JoinHandle},
};

use crate::{
    delivery::WebhookUid,
    queue::{Limits, Shards},
};

/// Where a runner is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// Starts nothing; ends when what is under way is recorded.
    Ending,
}

/// Limits as they should be, and which of them are news.
#[derive(Default)]
pub(super) struct Table {
    inner: Mutex<Inner>,
    pub bell: Notify,
}

#[derive(Default)]
struct Inner {
    limits: HashMap<WebhookUid, Limits>,
    changed: HashSet<WebhookUid>,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The webhooks with other limits than before.
    pub fn take_changed(&self) -> HashSet<WebhookUid> {
        std::mem::take(&mut self.lock().changed)
    }

    pub fn get(&self, uid: &str) -> Option<Limits> {
        self.lock().limits.get(uid).copied()
    }
}

/// A running runner. Dropping it ends it at once, as a crash would: what is under way may be sent again.
pub struct Handle {
    pub(super) table: Arc<Table>,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) shards: watch::Sender<Shards>,
    pub(super) held: Arc<Mutex<Shards>>,
    pub(super) abort: AbortHandle,
    pub(super) task: Mutex<Option<JoinHandle<()>>>,
}

impl Handle {
    /// Sets what a webhook's spec allows; `None` holds its messages back, e.g. while its Secret is missing. Takes effect for the next
    /// request. The webhook may become known to the log before or after.
    pub fn configure(&self, uid: &str, limits: Option<Limits>) {
        let mut inner = self.table.lock();
        let before = match limits {
            Some(limits) => inner.limits.insert(uid.into(), limits),
            None => inner.limits.remove(uid),
        };
        if before != limits {
            inner.changed.insert(uid.into());
            self.table.bell.notify_one();
        }
    }

    /// Sets which shards this process acts for. Nothing new is started for others; requests under way end as they may.
    pub fn hold(&self, shards: Shards) {
        self.shards.send_replace(shards);
    }

    /// Whether exactly these shards are acted for by now.
    pub fn holds(&self, shards: &Shards) -> bool {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) == *shards
    }

    /// Starts nothing more, and ends when every request under way is back and recorded, or after `patience`: what is under way then is
    /// sent again after the next start. A second call does nothing.
    pub async fn shutdown(&self, patience: Duration) {
        self.phase.send_replace(Phase::Ending);
        let Some(task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        if tokio::time::timeout(patience, task).await.is_err() {
            tracing::info!("requests under way did not end in time; they are made again after the next start");
            self.abort.abort();
        }
    }

    /// Tells whether the runner still runs, and can end it.
    pub(crate) fn abort_handle(&self) -> AbortHandle {
        self.abort.clone()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.abort.abort();
    }
}
