//! The streams in memory: what the writer counts with and readers are filtered by.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{
    catalogue::{Dropping, StreamRow},
    ring::Endpoint,
    shared::lock,
    types::{Retention, Stream, StreamStats},
};

/// One incarnation of an endpoint.
pub(crate) struct StreamState {
    /// Number of the stream in the files.
    pub key: u32,
    /// Who it is.
    pub stream: Stream,
    /// Where live readers of its endpoint wait.
    pub endpoint: Arc<Endpoint>,
    last_sequence: AtomicU64,
    last_position: AtomicU64,
    floor: AtomicU64,
    dropped: AtomicBool,
    retention: Mutex<Retention>,
}

impl StreamState {
    pub fn new(row: StreamRow, endpoint: Arc<Endpoint>) -> Self {
        Self {
            key: row.key,
            stream: row.stream,
            endpoint,
            last_sequence: row.last_sequence.into(),
            last_position: row.last_position.into(),
            floor: row.floor.into(),
            dropped: row.dropped.into(),
            retention: Mutex::new(row.retention),
        }
    }

    /// Sequence of the last event on disk.
    pub fn last_sequence(&self) -> u64 {
        self.last_sequence.load(Ordering::Acquire)
    }

    /// Position of the last event on disk.
    pub fn last_position(&self) -> u64 {
        self.last_position.load(Ordering::Acquire)
    }

    /// First retained sequence.
    pub fn floor(&self) -> u64 {
        self.floor.load(Ordering::Acquire)
    }

    pub fn dropped(&self) -> bool {
        self.dropped.load(Ordering::Acquire)
    }

    pub fn retention(&self) -> Retention {
        *lock(&self.retention)
    }

    pub fn set_retention(&self, retention: Retention) {
        *lock(&self.retention) = retention;
    }

    /// Whether an event is neither removed by retention nor dropped with its endpoint.
    pub fn retains(&self, sequence: u64) -> bool {
        sequence >= self.floor() && !self.dropped()
    }

    /// Takes note of an event that is on disk; sequences only grow.
    pub fn recorded(&self, sequence: u64, position: u64) {
        self.last_sequence.fetch_max(sequence, Ordering::AcqRel);
        self.last_position.fetch_max(position, Ordering::AcqRel);
    }

    /// Hides everything before `floor`; `removed_through` is the position of the last hidden event.
    pub fn raise_floor(&self, floor: u64, removed_through: u64) {
        self.endpoint.removed(removed_through);
        self.floor.fetch_max(floor, Ordering::AcqRel);
    }

    pub fn dropping(&self) -> Dropping {
        Dropping { key: self.key, last_sequence: self.last_sequence(), last_position: self.last_position() }
    }

    /// Hides everything, for good.
    pub fn mark_dropped(&self) {
        self.endpoint.removed(self.last_position());
        self.dropped.store(true, Ordering::Release);
    }

    pub fn stats(&self) -> StreamStats {
        StreamStats { first: self.floor(), last: self.last_sequence(), last_position: self.last_position() }
    }
}

/// All streams, by what they are looked up by.
#[derive(Default)]
pub(super) struct Streams {
    by_uid: HashMap<String, Arc<StreamState>>,
    by_key: HashMap<u32, Arc<StreamState>>,
    live: HashMap<(String, String), Arc<StreamState>>,
}

impl Streams {
    pub fn insert(&mut self, state: Arc<StreamState>) {
        self.by_uid.insert(state.stream.uid.clone(), state.clone());
        self.by_key.insert(state.key, state.clone());
        if !state.dropped() {
            self.live.insert((state.stream.namespace.clone(), state.stream.name.clone()), state);
        }
    }

    pub fn by_uid(&self, uid: &str) -> Option<&Arc<StreamState>> {
        self.by_uid.get(uid)
    }

    pub fn by_key(&self, key: u32) -> Option<&Arc<StreamState>> {
        self.by_key.get(&key)
    }

    /// The present incarnation of an endpoint.
    pub fn live(&self, namespace: &str, name: &str) -> Option<&Arc<StreamState>> {
        let key = (namespace.to_string(), name.to_string());
        self.live.get(&key).filter(|state| !state.dropped())
    }

    /// All incarnations, dropped ones too.
    pub fn all(&self) -> impl Iterator<Item = &Arc<StreamState>> {
        self.by_key.values()
    }
}
