//! Sizes and times of the delivery log. The defaults fit a hub on a small machine; tests shrink them.

use std::{fmt, sync::Arc, time::Duration};

/// Called after each commit with the time that it took, fsync included: feeds a histogram.
pub type OnCommit = Arc<dyn Fn(Duration) + Send + Sync>;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How a [`DeliveryLog`](super::DeliveryLog) behaves.
#[derive(Clone)]
pub struct Options {
    /// Most bytes that messages may take; above it nothing is accepted (attempts are still recorded). Default: only the disk ends it.
    pub quota: Option<u64>,
    /// Most pending messages of one webhook; beyond it the oldest become dead letters, so that one receiver that is down cannot use up
    /// what all have. Default 1,000,000.
    pub most_pending: u64,
    /// Calls that may wait for the writer; more wait for their turn. Default 1024.
    pub queue: usize,
    /// Reads at the same time. Default 4.
    pub readers: usize,
    /// How long delivered and cancelled messages are kept. Default 7 days.
    pub keep_delivered: Duration,
    /// How long dead letters are kept. Default 30 days.
    pub keep_dead: Duration,
    /// Most delivered messages kept for one webhook, and likewise cancelled ones. Default 10,000.
    pub most_delivered: u64,
    /// Most dead letters kept for one webhook. Default 100,000.
    pub most_dead: u64,
    /// How often the janitor looks. Default 5 s.
    pub interval: Duration,
    /// Rows that the janitor changes or removes in one transaction, so that it never holds up a delivery for long. Default 500.
    pub batch: u64,
    /// Last changes that watchers can resume from. Default 8192, of 24 bytes.
    pub changes: usize,
    /// Told how long each commit took.
    pub on_commit: Option<OnCommit>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            quota: None,
            most_pending: 1_000_000,
            queue: 1024,
            readers: 4,
            keep_delivered: 7 * DAY,
            keep_dead: 30 * DAY,
            most_delivered: 10_000,
            most_dead: 100_000,
            interval: Duration::from_secs(5),
            batch: 500,
            changes: 8192,
            on_commit: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("quota", &self.quota).finish_non_exhaustive()
    }
}
