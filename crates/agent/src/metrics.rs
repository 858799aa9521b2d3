//! The agent's metrics, for a `prometheus-client` registry of whoever runs it.

use std::sync::Arc;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// Labels of a trigger.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct TriggerLabels {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub trigger: String,
}

/// Labels of a trigger's result.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    namespace: String,
    trigger: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct HubLabels {
    hub: String,
}

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acted on.
    Succeeded,
    /// Needed nothing.
    Skipped,
    /// Failed; perhaps to be tried again.
    Failed,
    /// Given up.
    Dead,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Outcome::Succeeded => "succeeded",
            Outcome::Skipped => "skipped",
            Outcome::Failed => "failed",
            Outcome::Dead => "dead",
        }
    }
}

/// All of them. Cheap to clone; clones count together.
#[derive(Clone, Default)]
pub struct Metrics {
    inner: Arc<Families>,
}

#[derive(Default)]
struct Families {
    lag: Family<TriggerLabels, Gauge<i64>>,
    results: Family<ResultLabels, Counter>,
    dead_letters: Family<TriggerLabels, Gauge<i64>>,
    missed: Family<TriggerLabels, Counter>,
    reconnects: Family<HubLabels, Counter>,
    delay: Delays,
    triggers: Gauge<i64>,
    reports: Family<HubLabels, Counter>,
}

struct Delays(Family<TriggerLabels, Histogram, fn() -> Histogram>);

impl Default for Delays {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 4.0, 12))))
    }
}

impl Metrics {
    /// Registers all of them under their own prefix.
    pub fn register(&self, registry: &mut Registry) {
        let families = &self.inner;
        let agent = registry.sub_registry_with_prefix("roadstead_agent");
        agent.register("triggers", "Triggers that are followed", families.triggers.clone());
        agent.register("reconnects", "Watches opened again", families.reconnects.clone());
        agent.register("reports", "Reports of positions to the hub", families.reports.clone());
        let trigger = registry.sub_registry_with_prefix("roadstead_trigger");
        trigger.register("lag_events", "Events that are known and not done", families.lag.clone());
        trigger.register("results", "Attempts by outcome", families.results.clone());
        trigger.register("dead_letters", "DeadLetters that are there now", families.dead_letters.clone());
        trigger.register("missed_events", "Events removed before they were read", families.missed.clone());
        trigger.register_with_unit(
            "delay",
            "From the hub's reception to the action done, by both clocks",
            Unit::Seconds,
            families.delay.0.clone(),
        );
    }

    /// How far a trigger is behind.
    pub(crate) fn lag(&self, labels: &TriggerLabels, events: u64) {
        self.inner.lag.get_or_create(labels).set(i64::try_from(events).unwrap_or(i64::MAX));
    }

    /// One result.
    pub(crate) fn result(&self, labels: &TriggerLabels, outcome: Outcome) {
        let TriggerLabels { namespace, trigger } = labels.clone();
        self.inner.results.get_or_create(&ResultLabels { namespace, trigger, outcome: outcome.as_str() }).inc();
    }

    pub(crate) fn dead_letters(&self, labels: &TriggerLabels, count: usize) {
        self.inner.dead_letters.get_or_create(labels).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn missed(&self, labels: &TriggerLabels, events: u64) {
        self.inner.missed.get_or_create(labels).inc_by(events);
    }

    pub(crate) fn reconnected(&self, hub: &str) {
        self.inner.reconnects.get_or_create(&HubLabels { hub: hub.into() }).inc();
    }

    pub(crate) fn reported(&self, hub: &str) {
        self.inner.reports.get_or_create(&HubLabels { hub: hub.into() }).inc();
    }

    pub(crate) fn delay(&self, labels: &TriggerLabels, seconds: f64) {
        self.inner.delay.0.get_or_create(labels).observe(seconds.max(0.0));
    }

    pub(crate) fn triggers(&self, count: usize) {
        self.inner.triggers.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The trigger is gone: so are its series.
    pub(crate) fn forget(&self, labels: &TriggerLabels) {
        let families = &self.inner;
        families.lag.remove(labels);
        families.dead_letters.remove(labels);
        families.missed.remove(labels);
        families.delay.0.remove(labels);
        for outcome in [Outcome::Succeeded, Outcome::Skipped, Outcome::Failed, Outcome::Dead] {
            let TriggerLabels { namespace, trigger } = labels.clone();
            families.results.remove(&ResultLabels { namespace, trigger, outcome: outcome.as_str() });
        }
    }
}
