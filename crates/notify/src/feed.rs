//! Follows the source from where the log stands, and queues what follows from each change.
//!
//! One feed for each part of the scope (all namespaces, or each that is named), with a cursor of its own, begins when that part's
//! webhooks are known: a namespace that cannot be listed loses nothing and holds up no other. A webhook is told of what is
//! recorded after it was registered, which is before its status says Ready.
//!
//! Messages and cursor are one transaction, so that a crash repeats a batch, of which the log queues nothing twice.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use roadstead_reconcile::{Backoff, Namespaces};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    delivery::NewMessage,
    log::{DeliveryLog, LogError},
    matching::fan_out,
    source::{Batch, Source, SourceError},
    table::Table,
};

/// Cursor of a feed over all namespaces.
const ALL: &str = "hub";

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

/// Gives each part a cursor, durably, where it has none yet: the other scope's, or the end of the source. Comes before any webhook
/// is called ready.
pub(crate) async fn begin(log: &DeliveryLog, source: &dyn Source, namespaces: &Namespaces) -> Result<(), LogError> {
    for part in parts(namespaces) {
        let cursor = cursor_of(part.as_deref());
        if log.cursor(&cursor).is_none() {
            let from = log.cursor(ALL).unwrap_or_else(|| source.head());
            log.accept(&cursor, from, Vec::new()).await?;
        } else if log.cursor(&cursor).is_some_and(|cursor| cursor > source.head()) {
            // The event log was made anew: all of it is news, and what is known is not queued twice.
            log.rewind(&cursor, 0).await?;
        }
    }
    Ok(())
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
                        continue;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "image changes cannot be read; will retry");
                        break;
                    }
                };
                match self.log.accept(&cursor, batch.through, self.messages(&batch)).await {
                    Ok(_) => backoff.reset(),
                    Err(error) => {
                        tracing::warn!(%error, "image changes cannot be queued; will retry");
                        break;
                    }
                }
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    fn messages(&self, batch: &Batch) -> Vec<NewMessage> {
        let mut messages = Vec::new();
        self.table.read(|webhooks| {
            let mine = || {
                let webhooks = webhooks.values();
                let part = self.part.as_deref();
                webhooks.filter(move |webhook| part.is_none_or(|part| part == webhook.namespace))
            };
            for change in &batch.changes {
                let wanting = mine().filter_map(|webhook| Some((&webhook.uid, webhook.wants.as_ref()?)));
                messages.extend(fan_out(change, wanting));
            }
        });
        messages
    }
}
