//! `WebhookEndpoint.status`: what it should say (pure), and a writer that says it at a bounded rate.
//!
//! Deliveries come by the thousand a second; an object can take ten writes. [`Writer::touch`] marks an endpoint; its first
//! change is written at once, later ones are merged and written at most every [`INTERVAL`]. A write that fails is retried
//! with back-off, from the then current truth.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use roadstead_api::{
    WebhookEndpoint,
    endpoint::{EventSummary, WebhookEndpointStatus},
};
use roadstead_reconcile::conditions::{self, Wanted};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::endpoint::{Gate, Tail};

use super::endpoints::{Entry, Key, Registry};

/// At most one status write of an endpoint in this time: ten a second.
const INTERVAL: Duration = Duration::from_millis(100);
/// Writes under way at once, over all endpoints.
const CONCURRENCY: usize = 16;
/// How long the control plane may take to answer a write.
const ANSWER: Duration = Duration::from_secs(10);
/// Most bytes of `status.recent`.
const RECENT_BYTES: usize = 8 << 10;

/// The status that an endpoint should have. `previous` keeps transition times.
pub(super) fn desired(entry: &Entry, previous: &WebhookEndpointStatus, now: Timestamp) -> WebhookEndpointStatus {
    let Tail { sequence, recent, last_ping, filter_error } = entry.endpoint.live.tail().clone();
    let mut conditions = previous.conditions.clone();
    let mut set = |wanted| {
        conditions::set(&mut conditions, &wanted, Some(entry.generation), now);
    };
    match &entry.endpoint.gate {
        Gate::Open(_) => set(Wanted::new("Ready", true, "Listening", "deliveries are taken")),
        Gate::Closed { reason, message } => set(Wanted::new("Ready", false, reason, message)),
    }
    match (&filter_error, &entry.endpoint.filter) {
        (_, None) => {}
        (_, Some(Err(error))) => set(Wanted::new("FilterHealthy", false, "InvalidFilter", error)),
        (Some(error), Some(Ok(_))) => set(Wanted::new("FilterHealthy", false, "EvaluationFailed", error)),
        (None, Some(Ok(_))) => set(Wanted::new("FilterHealthy", true, "Evaluates", "the filter evaluates")),
    }
    let report = entry.endpoint.live.healing.report();
    match (&entry.endpoint.registry, &report.reachable) {
        (None, _) | (Some(_), None) => {}
        (Some(_), Some(Ok(message))) => set(Wanted::new("RegistryReachable", true, "Compared", message)),
        (Some(_), Some(Err((reason, message)))) => set(Wanted::new("RegistryReachable", false, reason, message)),
    }
    if entry.endpoint.filter.is_none() {
        conditions::remove(&mut conditions, "FilterHealthy");
    }
    if entry.endpoint.registry.is_none() {
        conditions::remove(&mut conditions, "RegistryReachable");
    }
    WebhookEndpointStatus {
        url: Some(entry.url.clone()),
        sequence,
        last_event: recent.front().cloned(),
        recent: bounded(recent),
        last_ping: last_ping.or_else(|| previous.last_ping.clone()),
        last_reconciled: report.reconciled_at.or_else(|| previous.last_reconciled.clone()),
        counters: entry.endpoint.live.counters(),
        conditions,
        observed_generation: Some(entry.generation),
    }
}

/// The newest summaries that fit.
fn bounded(recent: impl IntoIterator<Item = EventSummary>) -> Vec<EventSummary> {
    let mut room = RECENT_BYTES;
    recent
        .into_iter()
        .map_while(|summary| {
            let size = serde_json::to_string(&summary).map_or(usize::MAX, |text| text.len() + 1);
            room = room.checked_sub(size)?;
            Some(summary)
        })
        .collect()
}

/// The marking half: cheap, never waits.
#[derive(Clone)]
pub struct Writer {
    touched: mpsc::Sender<Key>,
    pending: Arc<std::sync::Mutex<HashSet<Key>>>,
}

impl Writer {
    /// A writer and the task that does the writing until `stop`.
    pub(crate) fn start(client: Client, registry: Registry, stop: CancellationToken) -> Self {
        let (touched, touches) = mpsc::channel(4096);
        let pending = Arc::<std::sync::Mutex<HashSet<Key>>>::default();
        tokio::spawn(run(client, registry, touches, pending.clone(), stop));
        Self { touched, pending }
    }

    /// Says that an endpoint's status may have changed.
    pub fn touch(&self, key: &Key) {
        let Ok(mut pending) = self.pending.lock() else { return };
        if pending.contains(key) {
            return;
        }
        // A full channel loses only the wake-up: the key stays unmarked and the next delivery marks it again.
        if self.touched.try_send(key.clone()).is_ok() {
            pending.insert(key.clone());
        }
    }
}

async fn run(
    client: Client,
    registry: Registry,
    mut touches: mpsc::Receiver<Key>,
    pending: Arc<std::sync::Mutex<HashSet<Key>>>,
    stop: CancellationToken,
) {
    let mut due: HashMap<Key, Instant> = HashMap::new();
    let mut rested: HashMap<Key, Instant> = HashMap::new();
    let mut failures: HashMap<Key, u32> = HashMap::new();
    let mut writes = FuturesUnordered::new();
    loop {
        let now = Instant::now();
        rested.retain(|_, until| *until > now);
        while writes.len() < CONCURRENCY
            && let Some(key) = due.iter().find(|(_, at)| **at <= now).map(|(key, _)| key.clone())
        {
            due.remove(&key);
            // Unmarked before the truth is read: what changes from here on marks it anew.
            if let Ok(mut pending) = pending.lock() {
                pending.remove(&key);
            }
            rested.insert(key.clone(), now + INTERVAL);
            let (client, registry) = (client.clone(), registry.clone());
            writes.push(async move {
                let result = match tokio::time::timeout(ANSWER, write(&client, &registry, &key)).await {
                    Ok(result) => result.map_err(|error| error.to_string()),
                    Err(_) => Err(format!("no answer within {} s", ANSWER.as_secs())),
                };
                (key, result)
            });
        }
        let next = due.values().min().copied().filter(|_| writes.len() < CONCURRENCY);
        tokio::select! {
            () = stop.cancelled() => return,
            Some(key) = touches.recv() => {
                let at = rested.get(&key).copied().unwrap_or_else(Instant::now);
                due.entry(key).or_insert(at);
            }
            Some((key, result)) = writes.next(), if !writes.is_empty() => match result {
                Ok(()) => { failures.remove(&key); }
                Err(error) => {
                    let failed = failures.entry(key.clone()).or_insert(0);
                    *failed = (*failed + 1).min(8);
                    tracing::warn!(endpoint = %key, error, "failed to write the endpoint's status; will retry");
                    due.insert(key, Instant::now() + INTERVAL * 2u32.pow(*failed));
                }
            },
            () = sleep_until(next.unwrap_or(now)), if next.is_some() => {}
        }
    }
}

async fn write(client: &Client, registry: &Registry, key: &Key) -> Result<(), kube::Error> {
    let Some((entry, previous)) = registry.entry(key) else { return Ok(()) };
    let status = desired(&entry, &previous, Timestamp::now());
    if status == previous {
        return Ok(());
    }
    let api: Api<WebhookEndpoint> = Api::namespaced(client.clone(), &key.namespace);
    // The uid makes sure that a namesake made meanwhile is not written to.
    let patch = json!({"metadata": {"uid": entry.endpoint.stream.uid}, "status": explicit(&status, &previous)});
    match api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(written) => {
            registry.observed(key, written);
            Ok(())
        }
        // Gone: the watch will say so. A conflict with a namesake is tried again, until the watch has told of that one.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}

/// The status as a merge patch: fields that went away are null.
fn explicit(status: &WebhookEndpointStatus, previous: &WebhookEndpointStatus) -> Value {
    let mut patch = serde_json::to_value(status).unwrap_or_default();
    if let (Value::Object(patch), Ok(Value::Object(before))) = (&mut patch, serde_json::to_value(previous)) {
        for key in before.keys() {
            patch.entry(key.clone()).or_insert(Value::Null);
        }
    }
    patch
}
