//! Follows the source from where the log stands, and queues what follows from each change.
//!
//! One feed for each part of the scope (all namespaces, or each that is named), with a cursor of its own, begins when that part's
//! webhooks are known: a namespace that cannot be listed loses nothing and holds up no other. A webhook is told of what is
//! recorded after it was registered, which is before its status says Ready.
//!
//! Messages and cursor are one transaction, of bounded size, so that a crash repeats a piece of a batch, of which the log queues
//! nothing twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use roadstead_reconcile::{Backoff, Namespaces};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    delivery::NewMessage,
    log::{DeliveryLog, LogError},
    matching::fan_out,
    metrics::Metrics,
    source::{Batch, Change, Source, SourceError},
    table::Table,
};

/// Cursor of a feed over all namespaces.
const ALL: &str = "hub";

/// Most messages in one transaction: it holds up what others write for some tens of milliseconds.
const PIECE: usize = 2000;

/// Parts of the scope whose webhooks are known; `None` stands for all namespaces.
pub type Known = BTreeSet<Option<String>>;

/// One part's way from source to log.
pub(crate) struct Feed {
    pub(crate) log: Arc<DeliveryLog>,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) table: Table,
    /// Which part.
    pub(crate) part: Option<String>,
    /// Which parts are known.
    pub(crate) known: watch::Receiver<Known>,
    pub(crate) metrics: Metrics,
}

/// The parts of a scope.
pub(crate) fn parts(namespaces: &Namespaces) -> Vec<Option<String>> {
    match namespaces.is_all() {
        true => vec![None],
        false => namespaces.names().map(|name| Some(name.to_string())).collect(),
    }
}

fn cursor_of(part: Option<&str>) -> String {
    match part {
        Some(namespace) => format!("{ALL}/{namespace}"),
        None => ALL.into(),
    }
}

/// Gives each part a cursor, durably, and leaves no others: one that is left behind would tell all again when its scope comes back.
/// Comes before any webhook is called ready.
pub(crate) async fn begin(log: &DeliveryLog, source: &dyn Source, namespaces: &Namespaces) -> Result<(), LogError> {
    let known: BTreeMap<String, u64> = log.cursors().into_iter().filter(|(name, _)| is_cursor(name)).collect();
    let parts: Vec<String> = parts(namespaces).iter().map(|part| cursor_of(part.as_deref())).collect();
    let changes = cursors(&known, &parts, source.head());
    match changes.is_empty() {
        true => Ok(()),
        false => log.set_cursors(changes).await,
    }
}

fn is_cursor(name: &str) -> bool {
    name.strip_prefix(ALL).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What has to change about the cursors. Pure. A part that has none begins where the part that is furthest behind stands, so that
/// nothing accepted is passed over (what the others told is not queued twice), or at the end of the source if there is none at all.
fn cursors(known: &BTreeMap<String, u64>, parts: &[String], head: u64) -> Vec<(String, Option<u64>)> {
    let lowest = known.values().min().copied().unwrap_or(head);
    let mut changes = Vec::new();
    for part in parts {
        let now = known.get(part).copied();
        let from = now.unwrap_or(lowest);
        // Beyond the end: the event log was made anew. All of it is news, and what is known is not queued twice.
        let from = if from > head { 0 } else { from };
        if now != Some(from) {
            changes.push((part.clone(), Some(from)));
        }
    }
    changes.extend(known.keys().filter(|name| !parts.contains(name)).map(|name| (name.clone(), None)));
    changes
}

impl Feed {
    /// Runs until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let part = self.part.clone();
        tokio::select! {
            () = stop.cancelled() => return,
            known = self.known.wait_for(|known| known.contains(&part)) => if known.is_err() { return },
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow() => {}
        }
    }

    /// Never ends. Cancel safe between batches, and within one: the log finishes what it was given.
    async fn follow(&self) {
        let cursor = cursor_of(self.part.as_deref());
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
        loop {
            let mut follow = self.source.follow(self.log.cursor(&cursor).unwrap_or_else(|| self.source.head()));
            loop {
                let batch = match follow.next().await {
                    Ok(batch) => batch,
                    Err(SourceError::Missed(what)) => {
                        // What is gone cannot be told; what is there goes on.
                        tracing::error!(what, "image changes were removed before they were told");
                        self.metrics.missed();
                        continue;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "image changes cannot be read; will retry");
                        break;
                    }
                };
                match self.accept(&cursor, &batch).await {
                    Ok(()) => backoff.reset(),
                    Err(error) => {
                        tracing::warn!(%error, "image changes cannot be queued; will retry");
                        break;
                    }
                }
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    /// Queues what follows from a batch, in pieces. The cursor moves with each, up to the last change that is whole.
    async fn accept(&self, cursor: &str, batch: &Batch) -> Result<(), LogError> {
        let (mut piece, mut whole) = (Vec::new(), 0);
        for change in &batch.changes {
            for message in self.messages(change) {
                piece.push(message);
                if piece.len() == PIECE {
                    self.log.accept(cursor, whole, std::mem::take(&mut piece)).await?;
                }
            }
            whole = change.position;
        }
        self.log.accept(cursor, batch.through, piece).await.map(drop)
    }

    fn messages(&self, change: &Change) -> Vec<NewMessage> {
        self.table.read(|webhooks| {
            let part = self.part.as_deref();
            let mine = webhooks.values().filter(|webhook| part.is_none_or(|part| part == webhook.namespace));
            fan_out(change, mine.filter_map(|webhook| Some((&webhook.uid, webhook.wants.as_ref()?))))
        })
    }
}

#[cfg(test)]
mod tests;
