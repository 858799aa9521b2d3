//! What the writer, the readers and the handle share: the webhooks in memory, the cursors, the change feed and the listeners.
//!
//! All of it mirrors what is on disk and is changed only after a commit has returned.

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use rusqlite::Connection;
use tokio::sync::watch;

use super::{
    error::LogError,
    files,
    notices::Notices,
    options::Options,
    types::{Changed, Stats, WebhookKey},
};

/// A webhook in memory.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub stats: Stats,
    /// The last number given.
    pub numbered: u64,
    /// Delivered messages that are kept.
    pub kept: u64,
    /// Cancelled messages that are kept.
    pub cancelled: u64,
    /// Number of the oldest pending message; its time is in `stats`.
    pub oldest: Option<u64>,
}

/// Webhooks by key and by uid.
#[derive(Default)]
pub(super) struct Rows {
    pub by_key: HashMap<WebhookKey, Row>,
    pub by_uid: HashMap<String, WebhookKey>,
}

impl Rows {
    pub fn put(&mut self, row: Row) {
        self.by_uid.insert(row.stats.uid.clone(), row.stats.key);
        self.by_key.insert(row.stats.key, row);
    }

    pub fn remove(&mut self, key: WebhookKey) {
        if let Some(row) = self.by_key.remove(&key) {
            self.by_uid.remove(&row.stats.uid);
        }
    }
}

/// The last changes, and where they end.
pub(super) struct Feed {
    ring: Mutex<Ring>,
    head: watch::Sender<u64>,
}

struct Ring {
    changes: VecDeque<Changed>,
    capacity: usize,
    /// Changes up to this position are not in the ring any more.
    floor: u64,
}

impl Feed {
    pub fn new(head: u64, capacity: usize) -> Self {
        let ring = Ring { changes: VecDeque::new(), capacity, floor: head };
        Self { ring: Mutex::new(ring), head: watch::Sender::new(head) }
    }

    pub fn head(&self) -> u64 {
        *self.head.borrow()
    }

    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    pub fn publish(&self, changes: &[Changed]) {
        let Some(last) = changes.last() else { return };
        let mut ring = lock(&self.ring);
        for change in changes {
            if ring.changes.len() == ring.capacity
                && let Some(gone) = ring.changes.pop_front()
            {
                ring.floor = gone.position;
            }
            ring.changes.push_back(*change);
        }
        drop(ring);
        self.head.send_replace(last.position);
    }

    /// At most `limit` changes after a position; `None` if some of them are forgotten.
    pub fn after(&self, position: u64, limit: usize) -> Option<Vec<Changed>> {
        let ring = lock(&self.ring);
        if position < ring.floor {
            return None;
        }
        let start = ring.changes.partition_point(|change| change.position <= position);
        Some(ring.changes.iter().skip(start).take(limit).copied().collect())
    }
}

/// The state behind a log.
pub(super) struct Shared {
    pub path: PathBuf,
    pub options: Options,
    pub rows: Mutex<Rows>,
    pub cursors: Mutex<HashMap<String, u64>>,
    pub feed: Feed,
    pub listeners: Mutex<Vec<Weak<Notices>>>,
    /// Bytes that the messages take as last measured, and about what was written since.
    pub used: AtomicU64,
    /// Bytes written since the last checkpoint.
    pub unchecked: AtomicU64,
    pub closed: AtomicBool,
}

impl Shared {
    pub fn row(&self, key: WebhookKey) -> Option<Row> {
        lock(&self.rows).by_key.get(&key).cloned()
    }

    pub fn key_of(&self, uid: &str) -> Option<WebhookKey> {
        lock(&self.rows).by_uid.get(uid).copied()
    }

    pub fn all(&self) -> Vec<Row> {
        lock(&self.rows).by_key.values().cloned().collect()
    }

    /// Runs `tell` for everyone who listens.
    pub fn tell(&self, tell: impl Fn(&Notices)) {
        lock(&self.listeners).retain(|listener| match listener.upgrade() {
            Some(notices) => {
                tell(&notices);
                true
            }
            None => false,
        });
    }

    /// Takes down what the messages take on disk: pages in use, and what has yet to be copied from the write-ahead log. The pages of
    /// removed messages are free for others, though the file stays as long as it is.
    pub fn measure(&self, connection: &Connection, unchecked_pages: u64) -> Result<(), LogError> {
        let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, u64>(0));
        let in_use = number("page_count")?.saturating_sub(number("freelist_count")?);
        self.used.store((in_use + 2 * unchecked_pages) * number("page_size")?, Ordering::Release);
        Ok(())
    }

    /// Bytes of all files.
    pub fn file_bytes(&self) -> u64 {
        files::length(&self.path) + files::length(&files::wal_path(&self.path))
    }
}

/// Locks; a thread that panicked leaves nothing half-done behind these locks.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Handle type that everything behind the log holds.
pub(super) type SharedRef = Arc<Shared>;
