//! What the parts of the local log share: the head, the segments, the streams, the ring, the counters.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::{Semaphore, watch};

use super::{
    catalogue::{Catalogue, Life, StreamRow},
    error::LogError,
    fingerprints::Fingerprints,
    follow,
    ids::Extent,
    options::Options,
    reader::Readers,
    ring::{Endpoint, Ring},
    segment::Segment,
    streams::{StreamState, Streams},
    types::{Endpoints, Retention, Stream},
};

/// Locks even after a panic elsewhere: every structure here is valid between any two statements.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See [`lock`].
pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// See [`lock`].
pub(super) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Counters of the process.
#[derive(Default)]
pub(super) struct Counters {
    pub appended: AtomicU64,
    pub duplicates: AtomicU64,
    pub commits: AtomicU64,
    pub queue_deliveries: AtomicUsize,
    pub queue_bytes: AtomicUsize,
    pub followers: AtomicUsize,
    /// Bytes of the files.
    pub log_bytes: AtomicU64,
    /// What counts against the quota: measured by the janitor, added to by the writer in between.
    pub used: AtomicU64,
    /// Bytes appended since the last checkpoint.
    pub unchecked: AtomicU64,
    /// An append was refused for the quota since retention was last applied.
    pub refused_full: AtomicBool,
}

/// What is on disk at the start.
pub(super) struct Found {
    pub lives: Vec<Life>,
    pub segments: Vec<Arc<Segment>>,
    pub extents: BTreeMap<u64, Extent>,
    pub head: u64,
}

/// One open log.
pub(super) struct Shared {
    pub directory: PathBuf,
    pub options: Options,
    pub lives: Vec<Life>,
    pub catalogue: Mutex<Catalogue>,
    pub streams: RwLock<Streams>,
    pub endpoints: Mutex<HashMap<(String, String), Arc<Endpoint>>>,
    /// Ascending; the last is being written.
    pub segments: RwLock<Vec<Arc<Segment>>>,
    /// The next segment, made ahead of time.
    pub spare: Mutex<Option<(Arc<Segment>, Connection)>>,
    /// Segments that are closed but not sealed, each with a connection to it.
    pub closing: Mutex<Vec<(Arc<Segment>, Connection)>>,
    /// What the id files cover, by ordinal.
    pub extents: Mutex<BTreeMap<u64, Extent>>,
    pub fingerprints: Fingerprints,
    pub ring: Ring,
    pub readers: Readers,
    /// Permits for large reads of followers.
    pub large_reads: Arc<Semaphore>,
    pub counters: Counters,
    pub closed: AtomicBool,
    /// Taken while segments must not go away: by a backup, and by what removes them.
    pub removal: Mutex<()>,
    head: watch::Sender<u64>,
    /// Highest `removed_through` of any endpoint: lets readers of everything skip the look at each.
    removed_anywhere: AtomicU64,
}

impl Shared {
    /// A log as found on disk, without its streams.
    pub fn new(directory: PathBuf, options: Options, catalogue: Catalogue, found: Found) -> Self {
        let ordinals: Vec<u64> = found.extents.keys().copied().collect();
        Self {
            directory,
            lives: found.lives,
            catalogue: Mutex::new(catalogue),
            streams: RwLock::default(),
            endpoints: Mutex::default(),
            segments: RwLock::new(found.segments),
            spare: Mutex::default(),
            closing: Mutex::default(),
            extents: Mutex::new(found.extents),
            fingerprints: Fingerprints::new(&ordinals, options.id_memory),
            ring: Ring::new(options.ring_bytes, found.head),
            readers: Readers::new(options.readers),
            large_reads: follow::budget(),
            counters: Counters::default(),
            closed: AtomicBool::new(false),
            removal: Mutex::new(()),
            head: watch::Sender::new(found.head),
            removed_anywhere: AtomicU64::new(0),
            options,
        }
    }

    /// Adds a stream that the catalogue knows.
    pub fn load_stream(&self, row: StreamRow) {
        let endpoint = self.endpoint(&row.stream.namespace, &row.stream.name);
        endpoint.on_disk(row.last_position);
        let removed = if row.dropped { row.removed_through.max(row.last_position) } else { row.removed_through };
        endpoint.removed(removed);
        self.removed_anywhere.fetch_max(removed, Ordering::AcqRel);
        write(&self.streams).insert(Arc::new(StreamState::new(row, endpoint)));
    }

    pub fn head(&self) -> u64 {
        *self.head.borrow()
    }

    /// Makes everything up to `position` visible.
    pub fn set_head(&self, position: u64) {
        self.head.send_replace(position);
    }

    pub async fn reached(&self, position: u64, patience: Duration) -> bool {
        let mut head = self.head.subscribe();
        tokio::time::timeout(patience, head.wait_for(|head| *head >= position)).await.is_ok_and(|waited| waited.is_ok())
    }

    pub fn segments(&self) -> Vec<Arc<Segment>> {
        read(&self.segments).clone()
    }

    /// The live side of an endpoint, made if nobody has asked before. An endpoint without a stream has nothing on disk.
    pub fn endpoint(&self, namespace: &str, name: &str) -> Arc<Endpoint> {
        let key = (namespace.to_string(), name.to_string());
        let mut endpoints = lock(&self.endpoints);
        endpoints.entry(key).or_insert_with(|| Arc::new(Endpoint::new(namespace, name, 0))).clone()
    }

    /// Forgets an endpoint that only one last reader has waited for and that never came to be.
    pub fn release_endpoint(&self, endpoint: &Arc<Endpoint>) {
        let key = (endpoint.namespace.clone(), endpoint.name.clone());
        let mut endpoints = lock(&self.endpoints);
        // The map's own reference and the caller's; a stream would hold a third.
        if Arc::strong_count(endpoint) == 2 {
            endpoints.remove(&key);
        }
    }

    /// The state of a stream, made known (durably) if it is new. An earlier incarnation of its endpoint is dropped then.
    pub fn stream(&self, stream: &Stream) -> Result<Arc<StreamState>, LogError> {
        let known = read(&self.streams).by_uid(&stream.uid).cloned();
        let state = match known {
            Some(state) => state,
            None => self.add_stream(stream)?,
        };
        match state.dropped() {
            true => Err(LogError::Dropped { namespace: stream.namespace.clone(), name: stream.name.clone() }),
            false => Ok(state),
        }
    }

    fn add_stream(&self, stream: &Stream) -> Result<Arc<StreamState>, LogError> {
        // The catalogue's lock is held throughout: two callers must not add the same stream.
        let mut catalogue = lock(&self.catalogue);
        if let Some(state) = read(&self.streams).by_uid(&stream.uid) {
            return Ok(state.clone());
        }
        let earlier = read(&self.streams).live(&stream.namespace, &stream.name).cloned();
        let dropping = earlier.as_ref().map(|state| state.dropping());
        let key = catalogue.add(stream, dropping.as_ref())?;
        if let Some(earlier) = earlier {
            self.hide(&earlier);
        }
        let row = StreamRow {
            key,
            stream: stream.clone(),
            dropped: false,
            last_sequence: 0,
            last_position: 0,
            floor: 1,
            removed_through: 0,
            retention: Retention::default(),
        };
        let state = Arc::new(StreamState::new(row, self.endpoint(&stream.namespace, &stream.name)));
        write(&self.streams).insert(state.clone());
        Ok(state)
    }

    /// Durably drops a stream; one that is not known is fine.
    pub fn drop_stream(&self, stream: &Stream) -> Result<(), LogError> {
        let mut catalogue = lock(&self.catalogue);
        let Some(state) = read(&self.streams).by_uid(&stream.uid).cloned() else { return Ok(()) };
        if !state.dropped() {
            catalogue.drop_stream(&state.dropping())?;
            self.hide(&state);
        }
        Ok(())
    }

    fn hide(&self, state: &StreamState) {
        state.mark_dropped();
        self.removed_anywhere.fetch_max(state.last_position(), Ordering::AcqRel);
    }

    /// Moves a stream's floor in memory; the catalogue has it already.
    pub fn raise_floor(&self, state: &StreamState, floor: u64, removed_through: u64) {
        state.raise_floor(floor, removed_through);
        self.removed_anywhere.fetch_max(removed_through, Ordering::AcqRel);
    }

    /// An endpoint of the selection of which an event after `position` was removed.
    pub fn removed_after(&self, endpoints: &Endpoints, position: u64) -> Option<Arc<Endpoint>> {
        if self.removed_anywhere.load(Ordering::Acquire) <= position {
            return None;
        }
        let all = lock(&self.endpoints);
        all.values().find(|e| e.removed_through() > position && endpoints.contains(&e.namespace, &e.name)).cloned()
    }
}
