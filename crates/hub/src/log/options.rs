//! Sizes and times of the local log. The defaults fit a hub on a small machine; tests shrink them.

use std::{fmt, sync::Arc, time::Duration};

/// Called after each commit with the time that it took, fsync included: feeds a histogram.
pub type OnCommit = Arc<dyn Fn(Duration) + Send + Sync>;

/// How a [`LocalLog`](super::LocalLog) behaves.
#[derive(Clone)]
pub struct Options {
    /// A segment is closed at about this size, in bytes; it also bounds the write-ahead log.
    pub segment_bytes: u64,
    /// Most bytes of all files; above it appends fail with `Full`. `None`: only the disk itself ends it.
    pub quota: Option<u64>,
    /// Most bytes of recent events kept in memory for live readers.
    pub ring_bytes: usize,
    /// Most deliveries that wait for the writer.
    pub queue_deliveries: usize,
    /// Most bytes that wait for the writer (one delivery may always wait, whatever its size).
    pub queue_bytes: usize,
    /// How long ids are remembered for deduplication at least, even if their events are gone.
    pub id_window: Duration,
    /// Most memory for recognising ids, in bytes (4 each); older ones are looked up on disk.
    pub id_memory: usize,
    /// How often retention is applied.
    pub retention_interval: Duration,
    /// A segment is closed when its oldest event is a tenth of the shortest retention old, but not before this.
    pub shortest_segment: Duration,
    /// Reads from disk at the same time.
    pub readers: usize,
    /// Told how long each commit took.
    pub on_commit: Option<OnCommit>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 256 << 20,
            quota: None,
            ring_bytes: 32 << 20,
            queue_deliveries: 4096,
            queue_bytes: 64 << 20,
            id_window: Duration::from_secs(72 * 3600),
            id_memory: 64 << 20,
            retention_interval: Duration::from_secs(5),
            shortest_segment: Duration::from_secs(60),
            readers: 4,
            on_commit: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("segment_bytes", &self.segment_bytes)
            .field("quota", &self.quota)
            .finish_non_exhaustive()
    }
}
