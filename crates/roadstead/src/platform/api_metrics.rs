//! Requests to the Kubernetes API by verb, resource and code, and how long they took.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};
use roadstead_kubewire::{Observer, observe::Record};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    verb: String,
    resource: String,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByVerb {
    verb: String,
}

/// Counts requests.
pub struct ApiMetrics {
    requests: Family<Request, Counter>,
    seconds: Family<ByVerb, Histogram, fn() -> Histogram>,
}

impl ApiMetrics {
    /// Registers the metrics.
    pub fn new(registry: &mut Registry) -> Self {
        // 0.1 ms to 3 s.
        let new: fn() -> Histogram = || Histogram::new((0..16).map(|n| 0.000_1 * f64::from(1u32 << n)));
        let metrics = Self { requests: Family::default(), seconds: Family::new_with_constructor(new) };
        registry.register("roadstead_api_requests", "Requests to the Kubernetes API", metrics.requests.clone());
        registry.register_with_unit(
            "roadstead_api_request",
            "Time of a request to the Kubernetes API, watches excepted",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        metrics
    }
}

impl Observer for ApiMetrics {
    fn finished(&self, record: &Record) {
        let asked = &record.attributes;
        // Names that nobody serves would make as many labels as a scanner can think of.
        let resource = if record.code == 404 && asked.name.is_empty() { String::new() } else { asked.resource.clone() };
        self.requests.get_or_create(&Request { verb: asked.verb.clone(), resource, code: record.code }).inc();
        if asked.verb != "watch" {
            self.seconds.get_or_create(&ByVerb { verb: asked.verb.clone() }).observe(record.duration.as_secs_f64());
        }
    }
}
