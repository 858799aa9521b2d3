//! Registries that tell nothing by themselves: they are asked again and again, and what differs is queued.
//!
//! In: webhooks with `spec.source.poll`, compiled to [`Polled`], and what is known of their registries' tags in the [`TagStore`]. Out: messages in
//! the delivery log, and a [`Report`] for the status. One task for each such webhook, so a dead registry holds up no other.
//!
//! A difference is queued first, with an id that is the same whenever it is found again from the same knowledge, and known afterwards. A crash
//! in between finds it again, and the log queues nothing twice. What is there at first contact is taken over in silence; so it is after the
//! spec has come to mean other tags, and what was known of those before is forgotten: to come back to it later would tell all that
//! happened meanwhile. While a spec cannot be acted on nothing is compared, and nothing forgotten.

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
use roadstead_reconcile::{
    backoff::{Backoff, dice, jitter},
    keep,
};
use tokio::time::sleep;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    log::{DeliveryLog, LogError},
    matching::Wants,
    source::Change,
    table::{Table, Webhook},
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
    /// Whether the catalog is needed to find what is meant.
    globs: bool,
    /// As in the spec that `source` is of: the table may have another one already.
    tags: Vec<String>,
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
        poll.repositories.iter().chain(&spec.tags).try_for_each(|pattern| glob::check(pattern))?;
        let (names, globs): (Vec<_>, Vec<_>) =
            poll.repositories.iter().cloned().partition(|name| glob::is_literal(name));
        let (has_globs, scope) = match globs.is_empty() {
            true => (false, Scope::named(names)),
            false => {
                let wanted = move |name: &str| globs.iter().any(|pattern| glob::matches(pattern, name));
                (true, Scope::named(names).and(wanted))
            }
        };
        let (url, tags, source) = (poll.url.clone(), spec.tags.clone(), source_of(uid, spec, poll));
        Ok(Polled { registry, url, scope, globs: has_globs, tags, every, source, credentials })
    }

    /// Whether it is what [`Polled::new`] would make of these.
    pub(crate) fn is(
        &self,
        uid: &str,
        spec: &RegistryWebhookSpec,
        poll: &Poll,
        every: Duration,
        credentials: &[u8],
    ) -> bool {
        (self.every, &self.credentials[..]) == (every, credentials) && self.source == source_of(uid, spec, poll)
    }

    fn same(&self, other: &Polled) -> bool {
        (&self.source, self.every, &self.credentials) == (&other.source, other.every, &other.credentials)
    }
}

/// Where the store keeps what is known: of these tags of these repositories of this registry. Of others nothing is.
fn source_of(uid: &str, spec: &RegistryWebhookSpec, poll: &Poll) -> String {
    format!("{uid}/{}", serde_json::json!([poll.url, poll.repositories, spec.tags]))
}

/// Whose a source is.
fn owner_of(source: &str) -> &str {
    source.split('/').next().unwrap_or_default()
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
            let uid = owner_of(&source);
            if self.log.stats(uid).is_none_or(|stats| stats.forgotten) {
                self.tags.forget(&source).await?;
            }
        }
        Ok(())
    }

    /// Forgets what is known for a webhook, but for one source.
    async fn forget(&self, uid: &str, but: Option<&str>) -> Result<(), TagStoreError> {
        for source in self.tags.sources().await? {
            if owner_of(&source) == uid && Some(source.as_str()) != but {
                self.tags.forget(&source).await?;
            }
        }
        Ok(())
    }

    /// What is polled for a webhook now.
    pub(crate) fn polled(&self, uid: &str) -> Option<Arc<Polled>> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.get(uid).map(|(polled, _)| polled.clone())
    }

    /// Polls no longer for a webhook until it is configured again; what is known is kept until then.
    pub(crate) fn pause(&self, uid: &str) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// Polls from now on for a webhook, or no longer. Does nothing if that is so already.
    pub(crate) fn configure(&self, uid: &str, polled: Option<Arc<Polled>>) {
        let Some(polled) = polled else {
            self.pause(uid);
            let (poller, uid) = (self.clone(), uid.to_owned());
            self.tasks.spawn(async move {
                if let Err(error) = poller.forget(&uid, None).await {
                    tracing::warn!(webhook = uid, %error, "failed to forget the tags of a registry that is no longer polled");
                }
            });
            return;
        };
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.get(uid).is_some_and(|(known, _)| known.same(&polled)) {
            return;
        }
        let token = self.stop.child_token();
        let task = Task { poller: self.clone(), uid: uid.to_owned(), polled: polled.clone() };
        let ended = token.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = keep("polling a registry", || task.run()) => {}
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
    /// What is taken over now would never be told.
    #[error("the webhook's filters cannot be read: nothing is compared until they can")]
    NoFilter,
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
    async fn run(&self) {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        let mut resume = String::new();
        let mut at = None;
        sleep(jitter(FIRST, dice())).await;
        loop {
            let outcome = self.poll(&mut resume).await;
            let delay = match &outcome {
                Ok(_) => {
                    backoff.reset();
                    at = Some(format!("{:.0}", Timestamp::now()));
                    jitter(self.polled.every, dice())
                }
                Err(error) => {
                    tracing::warn!(webhook = self.uid, %error, "failed to poll the registry; will retry");
                    backoff.next_delay()
                }
            };
            (self.poller.tell)(&self.uid, Report { reachable: reachable(outcome, self.polled.globs), at: at.clone() });
            sleep(delay).await;
        }
    }

    /// Compares everything once. What was known under an earlier spec is forgotten here, when the task that used it is over.
    async fn poll(&self, resume: &mut String) -> Result<Walked, Trouble> {
        let Polled { registry, source, scope, .. } = &*self.polled;
        self.webhook()?;
        self.poller.forget(&self.uid, Some(source)).await.map_err(own)?;
        walk(registry, &self.poller.tags, source, scope, resume, self).await
    }

    /// The webhook, and what it wants.
    fn webhook(&self) -> Result<(Arc<Webhook>, Wants), Trouble> {
        let webhook = self.poller.table.get(&self.uid).ok_or(Obstacle::Own(PollError::NoFilter))?;
        let wants = webhook.wants.clone().ok_or(Obstacle::Own(PollError::NoFilter))?;
        Ok((webhook, wants))
    }
}

/// For people; of our own troubles only that there are some. `globs`: whether the catalog is needed.
fn reachable(outcome: Result<Walked, Trouble>, globs: bool) -> Result<String, (&'static str, String)> {
    match outcome {
        Ok(Walked { repositories, unreadable, why, catalog, .. }) => {
            let but = why.map_or(String::new(), |why| format!("; {unreadable} not readable: {why}"));
            let compared = format!("{repositories} repositories compared{but}");
            if globs && !catalog {
                let refused = "the registry gives no catalog, so wildcards in spec.source.poll.repositories find nothing: name the repositories";
                return Err(("CatalogRefused", format!("{refused}; {compared}")));
            }
            Ok(compared)
        }
        Err(Obstacle::Own(error @ PollError::NoFilter)) => Err(("InvalidFilter", error.to_string())),
        Err(Obstacle::Registry(error)) => Err((error.class(), error.to_string())),
        Err(Obstacle::Own(_)) => Err(("HubFailed", "the hub cannot compare at present; its log says why".into())),
    }
}

impl Settle for Task {
    type Error = PollError;

    async fn settle(&self, repository: &str) -> Result<usize, Trouble> {
        let Poller { log, tags, .. } = &self.poller;
        let Polled { registry, source, url, tags: patterns, .. } = &*self.polled;
        let known = tags.known(source, repository).await.map_err(own)?;
        let wanted = |tag: &str| patterns.is_empty() || patterns.iter().any(|pattern| glob::matches(pattern, tag));
        let seen = look(registry, repository, &known, wanted).await?;
        let (webhook, wants) = self.webhook()?;
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
