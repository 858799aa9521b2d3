//! The room as a whole: started in the order of need, stopped in the order of harm.
//!
//! In: a client, the source, the open delivery log. Out: tasks that run until [`Notify::stop`]. The control plane need not be there:
//! everything that asks it tries again until it answers. Nothing is sent before the webhooks of its namespace are known.

use std::{sync::Arc, time::Duration};

use kube::Client;
use prometheus_client::registry::Registry as MetricsRegistry;
use roadstead_outbound::{
    guard,
    tags::{TagStore, TagStoreError},
};
use roadstead_reconcile::{Namespaces, Targets, targets::Cidr};
use tokio::{sync::watch, task::AbortHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    control::{Controller, Webhooks, Writer},
    feed::{self, Feed, Known},
    log::{DeliveryLog, LogError},
    metrics::{self, Metrics},
    poll::{Poller, Running},
    queue::{self, Runner},
    send::Sender,
    source::Source,
    table::Table,
};

/// How long requests that are under way may take to come back when everything stops. One that does not is repeated later, with the
/// same id.
const PATIENCE: Duration = Duration::from_secs(10);

/// How it is to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The namespaces whose webhooks are told.
    pub namespaces: Namespaces,
    /// Private addresses that may be reached.
    pub allow_targets: Vec<Cidr>,
    /// What is known of the tags of polled registries; nobody else's.
    pub tags: TagStore,
}

/// Why it did not start.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// The delivery log.
    #[error("{0}")]
    Log(#[from] LogError),
    /// What is known of polled registries.
    #[error("{0}")]
    Tags(#[from] TagStoreError),
    /// The machine's certificates.
    #[error("the client for deliveries: {0}")]
    Client(#[from] guard::Error),
}

/// The running room. Dropping it stops it without waiting.
pub struct Notify {
    stop: CancellationToken,
    tasks: TaskTracker,
    queue: Arc<queue::Handle>,
    readiness: Readiness,
}

/// Whether everything that the room needs still runs. Cheap to clone.
#[derive(Clone)]
pub struct Readiness {
    stop: CancellationToken,
    needed: Arc<[(&'static str, AbortHandle)]>,
}

impl Readiness {
    /// Answers at once.
    ///
    /// # Errors
    /// For people: which part ended though nobody stopped it. Only a new start brings it back.
    pub fn check(&self) -> Result<(), String> {
        let ended = self.needed.iter().find(|(_, task)| task.is_finished());
        match ended.filter(|_| !self.stop.is_cancelled()) {
            Some((name, _)) => Err(format!("registry webhooks: the {name} has ended unexpectedly; see the log")),
            None => Ok(()),
        }
    }
}

impl Notify {
    /// Starts everything. Needs a runtime.
    ///
    /// # Errors
    /// The first position cannot be written, or there are no certificates to trust.
    pub async fn start(
        client: Client,
        source: Arc<dyn Source>,
        log: Arc<DeliveryLog>,
        options: Options,
        numbers: &mut MetricsRegistry,
    ) -> Result<Self, NotifyError> {
        let Options { namespaces, allow_targets, tags } = options;
        let targets = Targets::new(allow_targets);
        let http = guard::Client::new(guard::Options::new(targets.clone()))?;
        feed::begin(&log, source.as_ref(), &namespaces).await?;

        let (stop, tasks, table) = (CancellationToken::new(), TaskTracker::new(), Table::default());
        let sender = Arc::new(Sender::new(table.clone()));
        metrics::register_log(numbers, log.clone());
        let metrics = Metrics::new(numbers);
        let queue = Arc::new(Runner::start(log.clone(), sender, queue::Options::default(), metrics.clone()));
        let (registry, writer) = (Webhooks::default(), Writer::new(&client));
        let writing = writer.clone().run(client.clone(), registry.clone(), log.clone(), stop.clone());
        let mut needed =
            vec![("queue", queue.abort_handle()), ("writer of statuses", tasks.spawn(writing).abort_handle())];
        let (reports, touched) = (registry.clone(), writer.clone());
        let poller = Poller {
            log: log.clone(),
            tags,
            table: table.clone(),
            tell: Arc::new(move |uid, report| {
                reports.polled(uid, Some(report));
                touched.touch();
            }),
            tasks: tasks.clone(),
            stop: stop.clone(),
            running: Running::default(),
        };
        poller.begin().await?;
        let (known, is_known) = watch::channel(Known::new());
        let controller = Controller {
            client,
            namespaces: namespaces.clone(),
            log: log.clone(),
            table: table.clone(),
            queue: queue.clone(),
            registry,
            writer,
            poller,
            targets,
            http,
            known,
        };
        needed.push(("controller", tasks.spawn(controller.run(stop.clone())).abort_handle()));
        for part in feed::parts(&namespaces) {
            let (log, source, table) = (log.clone(), source.clone(), table.clone());
            let feed = Feed { log, source, table, part, known: is_known.clone(), metrics: metrics.clone() };
            needed.push(("feed", tasks.spawn(feed.run(stop.clone())).abort_handle()));
        }
        tasks.close();
        let readiness = Readiness { stop: stop.clone(), needed: needed.into() };
        Ok(Self { stop, tasks, queue, readiness })
    }

    /// For probes.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Takes up nothing more, waits for requests that are under way and records what came of them. The log is then the caller's to
    /// close.
    pub async fn stop(self) {
        self.stop.cancel();
        if tokio::time::timeout(PATIENCE, self.tasks.wait()).await.is_err() {
            tracing::warn!("the tasks of registry webhooks did not end within {} s", PATIENCE.as_secs());
        }
        self.queue.shutdown(PATIENCE).await;
    }
}

impl Drop for Notify {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_ends_before_stop_is_told() {
        let stop = CancellationToken::new();
        let (lives, dies) = (tokio::spawn(std::future::pending::<()>()), tokio::spawn(async { panic!("in a test") }));
        let needed = [("queue", lives.abort_handle()), ("feed", dies.abort_handle())];
        let of = |needed: &[(&'static str, AbortHandle)]| Readiness { stop: stop.clone(), needed: needed.into() };
        assert!(dies.await.unwrap_err().is_panic());
        assert_eq!(of(&needed[..1]).check(), Ok(()));
        let why = of(&needed).check().unwrap_err();
        assert!(why.contains("the feed has ended"), "{why}");
        stop.cancel();
        assert_eq!(of(&needed).check(), Ok(()), "then an end is what is asked for");
    }
}
