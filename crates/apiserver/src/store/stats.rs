//! Counters of the store, for metrics.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// What the store has done since it was opened.
#[derive(Debug, Default)]
pub struct Stats {
    writes: AtomicU64,
    commits: AtomicU64,
    commit_nanos: AtomicU64,
    failing: AtomicBool,
}

impl Stats {
    pub(super) fn committed(&self, writes: usize, took: Duration) {
        self.failing.store(false, Relaxed);
        self.writes.fetch_add(writes as u64, Relaxed);
        self.commits.fetch_add(1, Relaxed);
        self.commit_nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failing.store(true, Relaxed);
    }

    /// Whether the last batch could not be stored.
    pub fn failing(&self) -> bool {
        self.failing.load(Relaxed)
    }

    /// Changes made durable.
    pub fn writes(&self) -> u64 {
        self.writes.load(Relaxed)
    }

    /// Transactions, i.e. fsyncs of the WAL; below `writes` under load.
    pub fn commits(&self) -> u64 {
        self.commits.load(Relaxed)
    }

    /// Time spent in transactions.
    pub fn commit_time(&self) -> Duration {
        Duration::from_nanos(self.commit_nanos.load(Relaxed))
    }
}
