//! What all parts of one agent use.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Client, Resource};
use roadstead_api::{Trigger, trigger::HubEndpoint};
use roadstead_reconcile::{Lead, Namespaces};
use tokio::sync::mpsc;

use crate::{
    actions::Tools,
    dead_letters::DeadLetters,
    hub::{Asker, Hub},
    metrics::Metrics,
    plan::{Limits, retry::Rules},
};

/// Name under which the agent writes.
pub const MANAGER: &str = "roadstead-agent";

/// One agent's parts.
pub struct Shared {
    /// Its own control plane.
    pub own: Client,
    /// The namespaces whose triggers it runs.
    pub namespaces: Namespaces,
    /// The hubs by name.
    pub hubs: BTreeMap<String, Arc<Hub>>,
    /// What actions need.
    pub tools: Arc<Tools>,
    /// Takes Events (of `kubectl describe`) to be written beside.
    pub events: mpsc::Sender<Told>,
    /// Counts.
    pub metrics: Metrics,
    /// Events given up on.
    pub dead_letters: DeadLetters,
    /// Bounds of each trigger.
    pub limits: Limits,
    /// First and longest delay between attempts.
    pub retry_delays: (Duration, Duration),
    /// How long running actions may go on after a stop.
    pub drain: Duration,
    /// How often permissions are asked for again.
    pub recheck: Duration,
    /// What every action and every write hangs on.
    pub lead: Lead,
}

/// A Warning about an object.
pub struct Told {
    /// The object.
    pub object: ObjectReference,
    /// One word in CamelCase.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Shared {
    /// Does what only the leader may: acting, and writing what came of it. Where the lease is lost, it never ends: whoever waits for
    /// it is about to be dropped.
    pub async fn acting<F: Future>(&self, work: F) -> F::Output {
        match self.lead.hold(work).await {
            Some(done) => done,
            None => std::future::pending().await,
        }
    }

    /// Has an Event written. Best effort: if too many wait, this one is dropped.
    pub fn tell(&self, trigger: &Trigger, reason: &'static str, message: String) {
        let told = Told { object: trigger.object_ref(&()), reason, message };
        if self.events.try_send(told).is_err() {
            tracing::debug!(reason, "an Event is dropped: too many wait");
        }
    }

    /// The hub of an endpoint. Errors: for people.
    pub fn hub(&self, endpoint: &HubEndpoint) -> Result<Arc<Hub>, String> {
        self.hubs.get(&endpoint.hub).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.hubs.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_string() } else { known.join(", ") };
            format!("the agent has no hub {:?}; it has: {known} (--hub NAME=KUBECONFIG)", endpoint.hub)
        })
    }

    /// In whose name a trigger reads; `None` where triggers may see every endpoint.
    pub fn asker(&self, trigger: &Trigger) -> Option<Asker> {
        let namespace = trigger.metadata.namespace.clone().unwrap_or_default();
        (!self.tools.allow_cross_namespace).then_some(Asker { namespace, recheck: self.recheck })
    }

    /// Bounds of one trigger.
    pub fn limits_of(&self, trigger: &Trigger) -> Limits {
        let concurrency = trigger.spec.concurrency.map_or(self.limits.concurrency, |count| count.clamp(1, 64) as usize);
        Limits { concurrency, ..self.limits.clone() }
    }

    /// When one trigger's actions are tried again. Errors: for people.
    pub fn rules_of(&self, trigger: &Trigger) -> Result<Rules, String> {
        let retry = &trigger.spec.retry;
        let timeout = roadstead_reconcile::parse::duration(&retry.timeout);
        Ok(Rules {
            attempts: retry.attempts.max(1),
            refused_attempts: 3,
            timeout: timeout.map_err(|error| format!("retry.timeout: {error}"))?,
            min_delay: self.retry_delays.0,
            max_delay: self.retry_delays.1,
        })
    }
}
