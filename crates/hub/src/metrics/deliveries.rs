//! Deliveries by provider and result, and how long their answers took.

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};
use roadstead_api::endpoint::Provider;

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Verdict {
    Accepted,
    Duplicate,
    Filtered,
    Ping,
    Unknown,
    Unverified,
    Limited,
    Closed,
    Malformed,
    TooLarge,
    Overloaded,
    Full,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Delivery {
    provider: &'static str,
    result: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByProvider {
    provider: &'static str,
}

/// The hub's own metrics. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    deliveries: Family<Delivery, Counter>,
    seconds: Histogram,
    filter_errors: Family<ByProvider, Counter>,
}

impl Metrics {
    /// Registers the metrics.
    pub fn new(registry: &mut Registry) -> Self {
        // 0.25 ms to 8 s: an acknowledgement should take one fsync, and senders give up after 1 to 10 s.
        let buckets = (0..16).map(|n| 0.000_25 * f64::from(1u32 << n));
        let inner =
            Inner { deliveries: Family::default(), seconds: Histogram::new(buckets), filter_errors: Family::default() };
        registry.register(
            "roadstead_hub_deliveries",
            "Deliveries posted, by the endpoint's provider and by result",
            inner.deliveries.clone(),
        );
        registry.register(
            "roadstead_hub_delivery_seconds",
            "Time from a delivery's headers to its answer",
            inner.seconds.clone(),
        );
        registry.register(
            "roadstead_hub_filter_errors",
            "Times a filter began to fail or failed differently",
            inner.filter_errors.clone(),
        );
        Self { inner: Arc::new(inner) }
    }

    /// Counts a delivery.
    pub(crate) fn delivery(&self, provider: Option<Provider>, result: Verdict, took: Duration) {
        let provider = provider.map_or("none", Provider::as_str);
        self.inner.deliveries.get_or_create(&Delivery { provider, result }).inc();
        self.inner.seconds.observe(took.as_secs_f64());
    }

    /// Counts a change in how a filter fails.
    pub(crate) fn filter_error(&self, provider: Provider) {
        self.inner.filter_errors.get_or_create(&ByProvider { provider: provider.as_str() }).inc();
    }
}
