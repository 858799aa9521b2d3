//! The store's counters for Prometheus, read when they are asked for.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use crate::store::Store;

/// Reads the store.
#[derive(Debug)]
pub struct StoreMetrics {
    store: Store,
}

impl StoreMetrics {
    /// Of `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

impl Collector for StoreMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (state, stats) = (self.store.state(), self.store.stats());
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let writes = ConstCounter::new(stats.writes());
        let help = "Changes of objects that were made durable";
        writes.encode(encoder.encode_descriptor("roadstead_store_writes", help, None, writes.metric_type())?)?;
        let commits = ConstCounter::new(stats.commits());
        let help = "Transactions, each with one fsync";
        commits.encode(encoder.encode_descriptor("roadstead_store_commits", help, None, commits.metric_type())?)?;
        let time = ConstCounter::new(stats.commit_time().as_secs_f64());
        let (help, unit) = ("Time spent in transactions", Some(&Unit::Seconds));
        time.encode(encoder.encode_descriptor("roadstead_store_commit", help, unit, time.metric_type())?)?;
        let version = ConstGauge::new(signed(state.version));
        let help = "The newest resourceVersion";
        version.encode(encoder.encode_descriptor(
            "roadstead_store_resource_version",
            help,
            None,
            version.metric_type(),
        )?)?;
        let help = "Objects that are stored now";
        let kind = ConstGauge::new(0_i64).metric_type();
        let mut family = encoder.encode_descriptor("roadstead_store_objects", help, None, kind)?;
        for (resource, table) in &state.tables {
            let labels = [("resource", &**resource)];
            ConstGauge::new(signed(table.len() as u64)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;
    use crate::store::Options;

    #[test]
    fn the_counters_are_shown() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(StoreMetrics::new(Store::open(&Options::default()).unwrap())));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for name in [
            "roadstead_store_writes_total 0",
            "roadstead_store_commit_seconds_total",
            "roadstead_store_resource_version 0",
        ] {
            assert!(text.contains(name), "{text}");
        }
    }
}
