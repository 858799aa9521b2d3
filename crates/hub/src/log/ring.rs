//! The recent events in memory, and the bells that wake live readers.
//!
//! The writer shows each committed batch here, then moves the head, then marks who is to be woken; a task of its own rings: one bell
//! for each endpoint that got something and one for readers of everything. Waking thousands takes milliseconds, which the next commit
//! must not wait for. Readers hold a position and look up what lies behind it; nobody holds a channel of events, so a
//! slow reader costs nothing and loses nothing: what is no longer here it reads from disk.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::sync::{Notify, watch};

use super::{
    record::Record,
    shared::{lock, read, write},
};

/// The live side of one endpoint, whatever its incarnation. Exists for every stream, and for every endpoint that somebody waits
/// for before it exists.
pub(crate) struct Endpoint {
    pub namespace: String,
    pub name: String,
    pub(super) tail: Tail,
    removed_through: AtomicU64,
}

impl Endpoint {
    /// `complete_after`: events up to this position are only on disk.
    pub fn new(namespace: &str, name: &str, complete_after: u64) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            tail: Tail::new(complete_after),
            removed_through: AtomicU64::new(0),
        }
    }

    /// Events up to `position` are on disk only.
    pub fn on_disk(&self, position: u64) {
        self.tail.complete_after.fetch_max(position, Ordering::AcqRel);
    }

    /// Position of the last event that retention or a deletion removed.
    pub fn removed_through(&self) -> u64 {
        self.removed_through.load(Ordering::Acquire)
    }

    pub fn removed(&self, position: u64) {
        self.removed_through.fetch_max(position, Ordering::AcqRel);
    }
}

/// Recent records of an endpoint, or of all, with a bell.
pub(super) struct Tail {
    records: RwLock<VecDeque<Arc<Record>>>,
    complete_after: AtomicU64,
    bell: watch::Sender<()>,
}

impl Tail {
    fn new(complete_after: u64) -> Self {
        Self { records: RwLock::default(), complete_after: complete_after.into(), bell: watch::Sender::new(()) }
    }

    /// A receiver that changes when there is something new.
    pub fn listen(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }

    fn ring(&self) {
        self.bell.send_replace(());
    }

    fn push(&self, record: Arc<Record>) {
        write(&self.records).push_back(record);
    }

    fn evict_through(&self, position: u64) {
        let mut records = write(&self.records);
        self.complete_after.fetch_max(position, Ordering::AcqRel);
        while records.front().is_some_and(|record| record.position <= position) {
            records.pop_front();
        }
    }

    /// Gives `visit` the records with `after < position <= through` until it returns false. `None` if some of them may be on disk
    /// only.
    pub fn visit(&self, after: u64, through: u64, mut visit: impl FnMut(&Arc<Record>) -> bool) -> Option<()> {
        let records = read(&self.records);
        if after < self.complete_after.load(Ordering::Acquire) {
            return None;
        }
        let start = records.partition_point(|record| record.position <= after);
        for record in records.range(start..).take_while(|record| record.position <= through) {
            if !visit(record) {
                break;
            }
        }
        Some(())
    }
}

/// The ring over all endpoints, bounded by bytes.
pub(super) struct Ring {
    pub all: Tail,
    bytes: AtomicUsize,
    limit: usize,
    /// Whose readers are to be woken, by stream.
    marked: Mutex<HashMap<u32, Arc<Endpoint>>>,
    due: Notify,
}

impl Ring {
    pub fn new(limit: usize, head: u64) -> Self {
        Self { all: Tail::new(head), bytes: AtomicUsize::new(0), limit, marked: Mutex::default(), due: Notify::new() }
    }

    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Shows a committed batch, and forgets the oldest records above the limit. Only the writer calls this.
    pub fn publish(&self, batch: &[Arc<Record>]) {
        let mut bytes = self.bytes.load(Ordering::Relaxed);
        for record in batch {
            bytes += record.weight();
            record.state.endpoint.tail.push(record.clone());
            self.all.push(record.clone());
        }
        while bytes > self.limit {
            let Some(oldest) = read(&self.all.records).front().cloned() else { break };
            bytes -= oldest.weight();
            self.all.evict_through(oldest.position);
            oldest.state.endpoint.tail.evict_through(oldest.position);
        }
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Has the readers of a batch woken, which must be below the head.
    pub fn mark(&self, batch: &[Arc<Record>]) {
        let mut marked = lock(&self.marked);
        for record in batch {
            marked.entry(record.state.key).or_insert_with(|| record.state.endpoint.clone());
        }
        drop(marked);
        self.due.notify_one();
    }

    /// Wakes everybody who waits for `endpoints` or for all, and the ringer.
    pub fn ring_all<'a>(&self, endpoints: impl Iterator<Item = &'a Arc<Endpoint>>) {
        endpoints.for_each(|endpoint| endpoint.tail.ring());
        self.all.ring();
        self.due.notify_one();
    }

    /// Waits until something is marked, and rings.
    pub async fn ring_marked(&self) {
        self.due.notified().await;
        let marked = std::mem::take(&mut *lock(&self.marked));
        marked.values().for_each(|endpoint| endpoint.tail.ring());
        self.all.ring();
    }
}
