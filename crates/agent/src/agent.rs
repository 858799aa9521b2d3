//! The agent as a whole: start, follow the Triggers, stop.
//!
//! In: [`Options`], and the Triggers of its own control plane. Out: a runner for each Trigger, replaced when its spec changes; a
//! report to each hub; replays that dead letters ask for. A stop waits for what runs and for the last positions.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use futures::StreamExt;
use kube::ResourceExt;
use prometheus_client::registry::Registry;
use roadstead_api::Trigger;
use roadstead_reconcile::{
    Lead, Recorder,
    recorder::Severity,
    scope::{Seen, follow},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::AbortOnDropHandle,
};

use crate::{
    actions::{Tools, forward},
    allow::Allowed,
    dead_letters::{DeadLetters, TriggerKey},
    hub::{AccessError, Hub, HubAccess, report},
    kinds::Kinds,
    metrics::{Metrics, TriggerLabels},
    options::Options,
    replay, runner,
    shared::{MANAGER, Shared, Told},
};

/// Events for people that wait to be written; more are dropped.
const TOLD: usize = 64;

/// Why an agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A hub's kubeconfig cannot be used.
    #[error("hub {hub}: the kubeconfig cannot be used: {source}")]
    Hub {
        /// Name of the hub.
        hub: String,
        /// What is wrong with it.
        source: Box<AccessError>,
    },
    /// TLS for `forward` cannot be set up.
    #[error("TLS for forward cannot be set up: {0}")]
    Tls(#[from] Box<kube::Error>),
}

/// Starts agents.
pub struct Agent;

impl Agent {
    /// Starts an agent and registers its metrics; it runs until `cancel` or [`Handle::shutdown`]. Hubs and the own
    /// control plane need not be there yet.
    ///
    /// Errors: a kubeconfig cannot be read, TLS cannot be set up.
    pub async fn start(options: Options, registry: &mut Registry, cancel: CancellationToken) -> Result<Handle, Error> {
        let metrics = Metrics::default();
        metrics.register(registry);
        Self::lead(options, metrics, Lead::unelected(cancel)).await
    }

    /// Whether the hubs can be used, as far as that can be told without asking them. Errors: a kubeconfig cannot be read.
    pub async fn check(hubs: BTreeMap<String, HubAccess>) -> Result<(), Error> {
        open(hubs).await.map(drop)
    }

    /// Starts an agent for as long as `lead` lasts. When that is lost, everything ends at once: no action begins, what is under
    /// way is abandoned, no position is written. When it is asked to stop, the agent stops as with [`Handle::shutdown`].
    ///
    /// Errors: as those of [`start`](Self::start).
    pub async fn lead(options: Options, metrics: Metrics, lead: Lead) -> Result<Handle, Error> {
        let hubs = open(options.hubs).await?;
        let own = options.own;
        let tools = Tools {
            own: own.clone(),
            kinds: Kinds::new(own.clone()),
            allowed: Allowed::new(options.ground, options.allow_forward),
            allow_cross_namespace: options.allow_cross_namespace,
            http: forward::http(None).map_err(Box::new)?,
        };
        let (events, told) = mpsc::channel(TOLD);
        let shared = Arc::new(Shared {
            dead_letters: DeadLetters::new(own.clone(), options.dead_letters),
            own,
            namespaces: options.namespaces,
            hubs,
            tools: Arc::new(tools),
            events,
            metrics,
            limits: options.limits,
            retry_delays: options.retry_delays,
            drain: options.drain,
            recheck: options.recheck,
            lead: lead.clone(),
        });
        let cancel = lead.stopping().child_token();
        let (state, watched) = watch::channel(State::Starting);
        let stop = cancel.clone();
        tokio::spawn(async move {
            let all = supervise(shared, told, options.instance, stop, &state);
            if lead.lost().run_until_cancelled(all).await.is_none() {
                tracing::warn!("the lease is lost: what was under way is abandoned");
            }
            state.send_replace(State::Stopped);
        });
        Ok(Handle { cancel: cancel.clone(), state: watched, _last: Arc::new(cancel.drop_guard()) })
    }
}

async fn open(hubs: BTreeMap<String, HubAccess>) -> Result<BTreeMap<String, Arc<Hub>>, Error> {
    let mut opened = BTreeMap::new();
    for (name, access) in hubs {
        let hub = Hub::open(&name, access).await;
        let hub = hub.map_err(|source| Error::Hub { hub: name.clone(), source: Box::new(source) })?;
        opened.insert(name, Arc::new(hub));
    }
    Ok(opened)
}

/// How far an agent's life is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The Triggers have not been read yet.
    Starting,
    /// They are followed.
    Ready,
    /// It has ended.
    Stopped,
}

/// A running agent. When the last clone is dropped, the agent stops by itself, as with [`shutdown`](Self::shutdown).
#[derive(Clone)]
pub struct Handle {
    cancel: CancellationToken,
    state: watch::Receiver<State>,
    /// Cancels with the last clone.
    _last: Arc<DropGuard>,
}

impl Handle {
    /// Whether the Triggers have been read and are followed.
    pub fn ready(&self) -> bool {
        *self.state.borrow() == State::Ready
    }

    /// Whether the Triggers have not been read yet.
    pub fn starting(&self) -> bool {
        *self.state.borrow() == State::Starting
    }

    /// Stops: no new action begins, running ones end within [`Options::drain`], positions are persisted and reported.
    /// Returns when that is done.
    pub async fn shutdown(&self) {
        self.cancel.cancel();
        self.stopped().await;
    }

    /// Waits until it has stopped.
    pub async fn stopped(&self) {
        // An error means that the sender is gone, and so is the agent.
        let _ = self.state.clone().wait_for(|state| *state == State::Stopped).await;
    }
}

/// Runs everything until cancelled: triggers first, then the reports that tell where they stopped.
async fn supervise(
    shared: Arc<Shared>,
    told: mpsc::Receiver<Told>,
    instance: String,
    cancel: CancellationToken,
    state: &watch::Sender<State>,
) {
    let reporting = CancellationToken::new();
    let mut reports = JoinSet::new();
    for hub in shared.hubs.values() {
        reports.spawn(report::run(hub.clone(), instance.clone(), shared.metrics.clone(), reporting.clone()));
    }
    // Dropping this set ends what is in it.
    let mut beside = JoinSet::new();
    beside.spawn(replay::run(shared.clone(), cancel.clone()));
    beside.spawn(tell(Recorder::new(shared.own.clone(), MANAGER), told));
    triggers(&shared, &cancel, state).await;
    reporting.cancel();
    while reports.join_next().await.is_some() {}
}

/// Writes the Events that the triggers tell of, one after the other.
async fn tell(recorder: Recorder, mut told: mpsc::Receiver<Told>) {
    while let Some(Told { object, reason, message }) = told.recv().await {
        recorder.record(&object, Severity::Warning, reason, &message).await;
    }
}

/// A trigger's runner.
struct Running {
    /// uid and generation that it was started for; `None` while it is being removed.
    version: Option<(Option<String>, Option<i64>)>,
    cancel: CancellationToken,
    /// Aborted with whoever holds it, so that nothing outlives a lost lease.
    task: AbortOnDropHandle<()>,
}

impl Running {
    fn is_ending(&self) -> bool {
        self.version.is_none()
    }
}

/// Gives each Trigger a runner, and a new one when its spec changes.
async fn triggers(shared: &Arc<Shared>, cancel: &CancellationToken, state: &watch::Sender<State>) {
    let mut triggers = follow::<Trigger>(&shared.own, &shared.namespaces);
    let mut running: HashMap<TriggerKey, Running> = HashMap::new();
    loop {
        let event = tokio::select! {
            () = cancel.cancelled() => break,
            event = triggers.next() => event,
        };
        match event {
            Some(Ok(Seen::Listed(listing))) => {
                let listed: HashSet<TriggerKey> = listing.objects.iter().map(key_of).collect();
                let gone = |key: &&TriggerKey| listing.covers(&key.0) && !listed.contains(*key);
                let gone: Vec<TriggerKey> = running.keys().filter(gone).cloned().collect();
                gone.into_iter().for_each(|key| remove(shared, &mut running, key));
                listing.objects.iter().for_each(|trigger| apply(shared, &mut running, trigger, cancel));
                if listing.is_last() {
                    state.send_replace(State::Ready);
                }
            }
            Some(Ok(Seen::Applied(trigger))) => apply(shared, &mut running, &trigger, cancel),
            Some(Ok(Seen::Deleted(trigger))) => remove(shared, &mut running, key_of(&trigger)),
            None => break,
            // The watcher backs off and goes on; the runners go on meanwhile.
            Some(Err(error)) => tracing::warn!(%error, "Triggers cannot be watched"),
        }
        running.retain(|_, runner| !(runner.is_ending() && runner.task.is_finished()));
        shared.metrics.triggers(running.values().filter(|runner| !runner.is_ending()).count());
    }
    // All runners see the same token; they stop at the same time.
    for (_, runner) in running {
        runner.cancel.cancel();
        let _ = runner.task.await;
    }
}

fn spawn(work: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(work))
}

fn key_of(trigger: &Trigger) -> TriggerKey {
    (trigger.namespace().unwrap_or_default(), trigger.name_any())
}

fn apply(
    shared: &Arc<Shared>,
    running: &mut HashMap<TriggerKey, Running>,
    trigger: &Trigger,
    parent: &CancellationToken,
) {
    let key = key_of(trigger);
    let version = Some((trigger.uid(), trigger.metadata.generation));
    if running.get(&key).is_some_and(|runner| runner.version == version) {
        return;
    }
    let before = running.remove(&key);
    let cancel = parent.child_token();
    let (shared, name, token) = (shared.clone(), key.clone(), cancel.clone());
    let task = spawn(async move {
        // The one before persists where it was; this one reads it.
        if let Some(before) = before {
            before.cancel.cancel();
            let _ = before.task.await;
        }
        runner::run(shared, name, token).await;
    });
    running.insert(key, Running { version, cancel, task });
}

/// The trigger is deleted: whatever it was doing ends here. Its place is kept until then, so that a new trigger of the
/// same name begins after it.
fn remove(shared: &Arc<Shared>, running: &mut HashMap<TriggerKey, Running>, key: TriggerKey) {
    if running.get(&key).is_none_or(Running::is_ending) {
        return;
    }
    let Some(runner) = running.remove(&key) else { return };
    let (shared, cancel) = (shared.clone(), runner.cancel.clone());
    let (namespace, trigger) = key.clone();
    let task = spawn(async move {
        runner.task.abort();
        let _ = runner.task.await;
        for hub in shared.hubs.values() {
            hub.positions.set(&format!("{namespace}/{trigger}"), None);
        }
        shared.metrics.forget(&TriggerLabels { namespace, trigger });
    });
    running.insert(key, Running { version: None, cancel, task });
}
