//! Registries that tell nothing by themselves: they are asked again and again, and what differs is queued.
//!
//! In: webhooks with `spec.source.poll`, compiled to [`Polled`], and what is known of their registries' tags in the [`TagStore`]. Out: messages in
//! the delivery log, and a [`Report`] for the status. One task for each such webhook, so a dead registry holds up no other.
//!
//! A difference is queued first, with an id that is the same whenever it is found again from the same knowledge, and known afterwards. A crash
//! in between finds it again, and the log queues nothing twice. What is there at first contact is taken over in silence; so it is after the
//! spec has come to mean other tags.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use roadstead_api::{RegistryWebhookSpec, registry_webhook::Poll};
use roadstead_outbound::{
    glob::{self, BadGlob},
    registry::{Registry, RegistryError},
    tags::{Obstacle, Scope, Settle, Step, TagStore, TagStoreError, Walked, look, walk},
};
use roadstead_reconcile::backoff::{Backoff, dice, jitter};
use tokio::time::sleep;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    log::{DeliveryLog, LogError},
    source::Change,
    table::Table,
};

/// How soon a registry is asked first; many do not ask at once.
const FIRST: Duration = Duration::from_secs(1);
/// Between attempts at a registry that cannot be asked.
const RETRY: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(600));

/// A registry that is polled for one webhook, ready to be asked.
pub struct Polled {
    registry: Registry,
    url: String,
    scope: Scope,
    every: Duration,
    source: String,
    credentials: Vec<u8>,
}

impl fmt::Debug for Polled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Polled").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Polled {
    /// For the webhook with this uid. A repository without wildcards is asked for by its name, others are looked for in the catalog. `credentials` is whatever differs when the registry must be asked with others; it is compared only.
    pub(crate) fn new(
        uid: &str,
        spec: &RegistryWebhookSpec,
        poll: &Poll,
        every: Duration,
        registry: Registry,
        credentials: Vec<u8>,
    ) -> Result<Polled, BadGlob> {
        // What is known is of these tags of these repositories of this registry: of others nothing is.
        let known = serde_json::json!([poll.url, poll.repositories, spec.tags]);
        poll.repositories.iter().try_for_each(|pattern| glob::check(pattern))?;
        let (names, globs): (Vec<_>, Vec<_>) =
            poll.repositories.iter().cloned().partition(|name| glob::is_literal(name));
        let scope = match globs.is_empty() {
            true => Scope::named(names),
            false => Scope::named(names).and(move |name| globs.iter().any(|pattern| glob::matches(pattern, name))),
        };
        Ok(Polled { registry, url: poll.url.clone(), scope, every, source: format!("{uid}/{known}"), credentials })
    }

    fn same(&self, other: &Polled) -> bool {
        (&self.source, self.every, &self.credentials) == (&other.source, other.every, &other.credentials)
    }
}

/// What asking a registry came to last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// A message, or why it could not be asked: reason and message.
    pub(crate) reachable: Result<String, (&'static str, String)>,
    /// When all of it was last compared, RFC 3339.
    pub(crate) at: Option<String>,
}

/// Told when a report is new: the webhook's uid and the report.
pub(crate) type Tell = Arc<dyn Fn(&str, Report) + Send + Sync>;

/// Asks the registries of all webhooks that poll one. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Poller {
    pub(crate) log: Arc<DeliveryLog>,
    pub(crate) tags: TagStore,
    pub(crate) table: Table,
    pub(crate) tell: Tell,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
    pub(crate) running: Running,
}

/// The tasks by uid, each ended when it is taken out.
pub(crate) type Running = Arc<Mutex<HashMap<String, (Arc<Polled>, DropGuard)>>>;

impl Poller {
    /// Forgets the tags of webhooks that the log no longer knows.
    pub(crate) async fn begin(&self) -> Result<(), TagStoreError> {
        for source in self.tags.sources().await? {
            let uid = source.split('/').next().unwrap_or_default();
            if self.log.stats(uid).is_none_or(|stats| stats.forgotten) {
                self.tags.forget(&source).await?;
            }
        }
        Ok(())
    }

    /// Polls from now on for a webhook, or no longer. Does nothing if that is so already.
    pub(crate) fn configure(&self, uid: &str, polled: Option<Arc<Polled>>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(polled) = polled else {
            running.remove(uid);
            return;
        };
        if running.get(uid).is_some_and(|(known, _)| known.same(&polled)) {
            return;
        }
        let token = self.stop.child_token();
        let task = Task { poller: self.clone(), uid: uid.to_owned(), polled: polled.clone() };
        let ended = token.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = task.run() => {}
            }
        });
        running.insert(uid.to_owned(), (polled, token.drop_guard()));
    }
}

/// What of our own can fail.
#[derive(Debug, thiserror::Error)]
enum PollError {
    #[error("{0}")]
    Store(#[from] TagStoreError),
    #[error("{0}")]
    Log(#[from] LogError),
}

type Trouble = Obstacle<PollError>;

fn own(error: impl Into<PollError>) -> Trouble {
    Obstacle::Own(error.into())
}

/// Polling for one webhook.
struct Task {
    poller: Poller,
    uid: String,
    polled: Arc<Polled>,
}

impl Task {
    async fn run(self) {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        let mut resume = String::new();
        let mut at = None;
        sleep(jitter(FIRST, dice())).await;
        loop {
            let Polled { registry, source, scope, every, .. } = &*self.polled;
            let outcome = walk(registry, &self.poller.tags, source, scope, &mut resume, &self).await;
            let delay = match &outcome {
                Ok(_) => {
                    backoff.reset();
                    at = Some(format!("{:.0}", Timestamp::now()));
                    jitter(*every, dice())
                }
                Err(error) => {
                    tracing::warn!(webhook = self.uid, %error, "failed to poll the registry; will retry");
                    backoff.next_delay()
                }
            };
            (self.poller.tell)(&self.uid, Report { reachable: reachable(outcome), at: at.clone() });
            sleep(delay).await;
        }
    }
}

/// For people; of our own troubles only that there are some.
fn reachable(outcome: Result<Walked, Trouble>) -> Result<String, (&'static str, String)> {
    match outcome {
        Ok(Walked { repositories, unreadable, why, .. }) => {
            let but = why.map_or(String::new(), |why| format!("; {unreadable} not readable: {why}"));
            Ok(format!("{repositories} repositories compared{but}"))
        }
        Err(Obstacle::Registry(error)) => Err((error.class(), error.to_string())),
        Err(Obstacle::Own(_)) => Err(("HubFailed", "the hub cannot compare at present; its log says why".into())),
    }
}

impl Settle for Task {
    type Error = PollError;

    async fn settle(&self, repository: &str) -> Result<usize, Trouble> {
        let Poller { log, tags, table, .. } = &self.poller;
        let Polled { registry, source, url, .. } = &*self.polled;
        // Without filters nobody knows what is wanted, and what is taken over now would never be told.
        let Some(webhook) = table.get(&self.uid) else { return Ok(0) };
        let Some(wants) = &webhook.wants else { return Ok(0) };
        let known = tags.known(source, repository).await.map_err(own)?;
        let seen = look(registry, repository, &known, |tag| wants.tag(tag)).await?;
        let news = known.news(&seen);
        let at = Timestamp::now();
        let messages: Vec<_> = news
            .iter()
            .filter_map(|difference| {
                let change = Change {
                    position: 0,
                    namespace: webhook.namespace.clone(),
                    endpoint: url.clone(),
                    id: difference.id(repository, known.touched),
                    at,
                    image: difference.image(registry.host(), repository),
                    verified: true,
                    reconciled: true,
                };
                wants.polled(&webhook.uid, &change)
            })
            .collect();
        let announced = messages.len();
        if announced > 0 {
            log.enqueue(messages).await.map_err(own)?;
        }
        // A time, so that ids differ even from those of a store that was lost.
        let touched = u64::try_from(at.as_microsecond()).unwrap_or_default().max(known.touched + 1);
        if let found @ Some(_) = known.found(repository, &seen, touched) {
            tags.apply(source, Step { found, ..Step::default() }).await.map_err(own)?;
        }
        Ok(announced)
    }

    fn waits(&self, error: &RegistryError) {
        (self.poller.tell)(&self.uid, Report { reachable: Err((error.class(), error.to_string())), at: None });
    }
}

#[cfg(test)]
mod tests;
