//! One healer for each endpoint that has a registry: so a dead registry holds up nobody else's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use roadstead_outbound::tags::{TagStore, TagStoreError};
use roadstead_reconcile::keep;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::healer::Healer;
use crate::{control::endpoints::Registry, endpoint::Endpoint, journal::Journal};

/// Starts and stops healers as endpoints come and go.
pub(crate) struct Supervisor {
    /// The endpoints that are served.
    pub(crate) endpoints: Registry,
    /// Changes when they do.
    pub(crate) changed: watch::Receiver<u64>,
    /// Where differences go.
    pub(crate) journal: Journal,
    /// What is known of tags.
    pub(crate) tags: TagStore,
}

/// A healer at work; ends when dropped.
struct Healing {
    endpoint: watch::Sender<Arc<Endpoint>>,
    _stop: DropGuard,
}

impl Supervisor {
    /// Runs until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        let mut running: BTreeMap<String, Healing> = BTreeMap::new();
        loop {
            let wanted = self.endpoints.served().into_iter().filter(|endpoint| endpoint.registry.is_some());
            let wanted: BTreeMap<_, _> = wanted.map(|endpoint| (endpoint.stream.uid.clone(), endpoint)).collect();
            running.retain(|uid, _| wanted.contains_key(uid));
            for (uid, endpoint) in wanted {
                if let Some(healing) = running.get(&uid) {
                    healing.endpoint.send_if_modified(|known| {
                        let other = !Arc::ptr_eq(known, &endpoint);
                        *known = endpoint;
                        other
                    });
                    continue;
                }
                let (sender, receiver) = watch::channel(endpoint);
                let (journal, tags) = (self.journal.clone(), self.tags.clone());
                let healing = keep("healing of an endpoint", move || {
                    Healer::new(receiver.clone(), journal.clone(), tags.clone()).run()
                });
                let token = stop.child_token();
                let ended = token.clone();
                tasks.spawn(async move {
                    tokio::select! {
                        () = ended.cancelled() => {}
                        () = healing => {}
                    }
                });
                running.insert(uid, Healing { endpoint: sender, _stop: token.drop_guard() });
            }
            if let Err(error) = self.forget().await {
                tracing::warn!(%error, "failed to forget the tags of deleted endpoints; the next change tries again");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = self.changed.changed() => if changed.is_err() { return },
                Some(_) = tasks.join_next() => {}
            }
        }
    }

    /// Drops what is known of endpoints that the log no longer has: it knew each of them before the store did.
    async fn forget(&self) -> Result<(), TagStoreError> {
        let streams: BTreeSet<String> = self.journal.log().streams().into_iter().map(|stream| stream.uid).collect();
        for source in self.tags.sources().await? {
            if !streams.contains(&source) {
                self.tags.forget(&source).await?;
            }
        }
        Ok(())
    }
}
