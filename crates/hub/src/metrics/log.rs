//! The event log in numbers, read from the log itself whenever somebody asks.

use std::sync::Arc;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::{
    control::subscribers::Subscribers,
    log::{Log, OnCommit},
};

/// A histogram of commits for the log's `on_commit`: one commit is one fsync.
pub fn on_commit(registry: &mut Registry) -> OnCommit {
    // 50 µs to 1.6 s: memory that pretends to be a disk, and a disk that is in trouble.
    let histogram = Histogram::new((0..16).map(|n| 0.000_05 * f64::from(1u32 << n)));
    registry.register_with_unit(
        "roadstead_log_commit",
        "Time of a commit of the event log, fsync included",
        Unit::Seconds,
        histogram.clone(),
    );
    Arc::new(move |took| histogram.observe(took.as_secs_f64()))
}

/// Registers the log's own numbers.
pub fn register_log(registry: &mut Registry, log: Arc<dyn Log>) {
    registry.register_collector(Box::new(LogCollector(log)));
}

/// Registers how many watches are open.
pub(crate) fn register_watches(registry: &mut Registry, subscribers: Subscribers) {
    registry.register_collector(Box::new(WatchCollector(subscribers)));
}

struct LogCollector(Arc<dyn Log>);

impl std::fmt::Debug for LogCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogCollector")
    }
}

impl Collector for LogCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let now = self.0.metrics();
        for (name, help, value) in [
            ("roadstead_log_events", "Events recorded since the start", now.appended),
            ("roadstead_log_duplicates", "Deliveries that were known already, since the start", now.duplicates),
            ("roadstead_log_commits", "Commits, each one fsync, since the start", now.commits),
        ] {
            let counter = ConstCounter::new(value);
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        let oldest = now.oldest_event.map_or(0, jiff::Timestamp::as_second);
        for (name, help, unit, value) in [
            ("roadstead_log", "Size of the event log's files", Some(Unit::Bytes), signed(now.log_bytes)),
            ("roadstead_log_ring", "Recent events kept in memory", Some(Unit::Bytes), signed(now.ring_bytes)),
            ("roadstead_log_queue", "What waits for the log's writer", Some(Unit::Bytes), signed(now.queue_bytes)),
            (
                "roadstead_log_queue_deliveries",
                "Deliveries that wait for the log's writer",
                None,
                signed(now.queue_deliveries),
            ),
            ("roadstead_log_segments", "Files that hold events", None, signed(now.segments)),
            ("roadstead_log_followers", "Readers that follow the log", None, signed(now.followers)),
            (
                "roadstead_log_oldest_event_timestamp",
                "When the oldest retained event was received, Unix time; 0 if there is none",
                Some(Unit::Seconds),
                oldest,
            ),
        ] {
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, unit.as_ref(), gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

struct WatchCollector(Subscribers);

impl std::fmt::Debug for WatchCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WatchCollector")
    }
}

impl Collector for WatchCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauge = ConstGauge::new(signed(self.0.open_watches() as u64));
        let help = "Watches of events that subscribers have open";
        let metric = encoder.encode_descriptor("roadstead_hub_watches", help, None, gauge.metric_type())?;
        gauge.encode(metric)
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
