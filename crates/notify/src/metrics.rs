//! What the queue measures, in Prometheus' names. No label names a webhook or a URL: there may be thousands.

use std::{
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric},
    metrics::{counter::Counter, family::Family, gauge::ConstGauge, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::{
    delivery::Verdict,
    log::{Decision, DeliveryLog, OnCommit},
};

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Result {
    Delivered,
    Retry,
    Throttled,
    DeadLetter,
    Disabled,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempts {
    result: Result,
}

/// The queue's metrics. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    attempts: Family<Attempts, Counter>,
    seconds: Histogram,
    broken: Gauge<i64, AtomicI64>,
    missed: Counter,
}

impl Metrics {
    /// Registers the metrics.
    pub fn new(registry: &mut Registry) -> Self {
        // 1 ms to 9 hours: a healthy receiver, and one that was down for a day.
        let buckets = (0..13).map(|n| 0.001 * f64::from(1u32 << (2 * n)));
        let metrics = Self {
            attempts: Family::default(),
            seconds: Histogram::new(buckets),
            broken: Gauge::default(),
            missed: Counter::default(),
        };
        registry.register(
            "roadstead_notify_attempts",
            "Attempts to deliver a message, by what they came to",
            metrics.attempts.clone(),
        );
        registry.register_with_unit(
            "roadstead_notify_delivery",
            "Time from a message's acceptance to its delivery",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register(
            "roadstead_notify_open_breakers",
            "Webhooks whose receiver is only probed because it keeps failing",
            metrics.broken.clone(),
        );
        registry.register(
            "roadstead_notify_missed",
            "Times that image changes were removed from the event log before they were told",
            metrics.missed.clone(),
        );
        metrics
    }

    pub(crate) fn attempt(&self, verdict: Verdict, decision: &Decision) {
        let result = match (decision, verdict) {
            (Decision::Delivered, _) => Result::Delivered,
            (Decision::DeadLetter, _) => Result::DeadLetter,
            (Decision::Disable { .. }, _) => Result::Disabled,
            (Decision::Retry { .. }, Verdict::Throttle { .. }) => Result::Throttled,
            (Decision::Retry { .. }, _) => Result::Retry,
        };
        self.attempts.get_or_create(&Attempts { result }).inc();
    }

    pub(crate) fn missed(&self) {
        self.missed.inc();
    }

    pub(crate) fn delivered(&self, waited: Duration) {
        self.seconds.observe(waited.as_secs_f64());
    }

    pub(crate) fn broken(&self, webhooks: usize) {
        self.broken.set(i64::try_from(webhooks).unwrap_or(i64::MAX));
    }
}

/// A histogram of commits for the log's `on_commit`: one commit is one fsync.
pub fn on_commit(registry: &mut Registry) -> OnCommit {
    let histogram = Histogram::new((0..16).map(|n| 0.000_05 * f64::from(1u32 << n)));
    registry.register_with_unit(
        "roadstead_notify_log_commit",
        "Time of a commit of the delivery log, fsync included",
        Unit::Seconds,
        histogram.clone(),
    );
    Arc::new(move |took| histogram.observe(took.as_secs_f64()))
}

/// Registers the log's own numbers, read from it whenever somebody asks.
pub fn register_log(registry: &mut Registry, log: Arc<DeliveryLog>) {
    registry.register_collector(Box::new(LogCollector(log)));
}

struct LogCollector(Arc<DeliveryLog>);

impl std::fmt::Debug for LogCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogCollector")
    }
}

impl Collector for LogCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::result::Result<(), std::fmt::Error> {
        let now = self.0.totals();
        for (name, help, unit, value) in [
            ("roadstead_notify_pending", "Messages that wait for their first or next attempt", None, now.pending),
            ("roadstead_notify_dead_letters", "Messages that were given up and are kept", None, now.dead_letters),
            (
                "roadstead_notify_overflowed",
                "Messages that were given up because too many of their webhook were pending",
                None,
                now.overflowed,
            ),
            (
                "roadstead_notify_disabled_webhooks",
                "Webhooks that are sent nothing until recovered",
                None,
                now.disabled,
            ),
            ("roadstead_notify_log", "Size of the delivery log's files", Some(Unit::Bytes), now.bytes),
        ] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let metric = encoder.encode_descriptor(name, help, unit.as_ref(), gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use tempfile::tempdir;

    use super::*;
    use crate::log::{Options, tests::support::*};

    #[tokio::test]
    async fn numbers_have_prometheus_names_and_no_unbounded_labels() {
        let directory = tempdir().unwrap();
        let mut registry = Registry::default();
        let options = Options { on_commit: Some(on_commit(&mut registry)), ..Options::default() };
        let log = open(directory.path(), options).await;
        let metrics = Metrics::new(&mut registry);
        register_log(&mut registry, log.clone());
        log.register("uid", "default", "client").await.unwrap();
        log.accept("hub", 1, vec![message("uid", None, "1"), message("uid", None, "2")]).await.unwrap();
        record(&log, 1, Decision::DeadLetter).await;
        metrics.attempt(Verdict::Throttle { after: None }, &Decision::Retry { due: jiff::Timestamp::now() });
        metrics.delivered(Duration::from_millis(3));
        metrics.broken(2);
        metrics.missed();
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "roadstead_notify_pending 1",
            "roadstead_notify_dead_letters 1",
            "roadstead_notify_disabled_webhooks 0",
            "roadstead_notify_open_breakers 2",
            "roadstead_notify_overflowed 0",
            "roadstead_notify_missed_total 1",
            "roadstead_notify_attempts_total{result=\"Throttled\"} 1",
            "roadstead_notify_delivery_seconds_count 1",
            "roadstead_notify_log_commit_seconds_count 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("client"), "{text}");
    }
}
