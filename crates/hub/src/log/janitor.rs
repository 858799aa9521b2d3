//! The thread beside the writer: checkpoints in small steps, a spare segment ahead of time, sealing of closed segments, retention, and
//! the measuring of the disk. Nothing here is on the path of an append, and everything is retried on the next round.

use std::{
    sync::{Arc, Condvar, Mutex, atomic::Ordering, mpsc::SyncSender},
    time::{Duration, Instant},
};

use rusqlite::Connection;

use super::{
    error::LogError,
    files, ids, retention, seal,
    segment::{Segment, Share},
    shared::{Shared, lock, read, write},
    streams::StreamState,
    writer::Message,
};

/// Bytes appended since the last checkpoint that make the next one due.
pub(super) const CHECKPOINT_STEP: u64 = 4 << 20;
/// A round is made at least this often, or as often as retention is applied.
const TICK: Duration = Duration::from_millis(500);

/// Longest time that one round loads ids.
const LOADING: Duration = Duration::from_millis(100);

/// Wakes the janitor.
#[derive(Default)]
pub(super) struct Bell {
    state: Mutex<(bool, bool)>,
    condition: Condvar,
}

impl Bell {
    /// Makes a round due.
    pub fn ring(&self) {
        lock(&self.state).0 = true;
        self.condition.notify_one();
    }

    /// Ends the thread after its present round.
    pub fn stop(&self) {
        lock(&self.state).1 = true;
        self.condition.notify_one();
    }

    /// Waits for a ring, at most for `tick`; false to stop.
    fn wait(&self, tick: Duration) -> bool {
        let state = lock(&self.state);
        let waited = self.condition.wait_timeout_while(state, tick, |(rung, stop)| !*rung && !*stop);
        let mut state = match waited {
            Ok((state, _)) => state,
            Err(poisoned) => poisoned.into_inner().0,
        };
        state.0 = false;
        !state.1
    }
}

/// The janitor's state.
pub(super) struct Janitor {
    shared: Arc<Shared>,
    queue: SyncSender<Message>,
    bell: Arc<Bell>,
    /// Id files whose fingerprints are not in memory yet.
    unloaded: Vec<u64>,
    checkpointer: Option<(u64, Connection)>,
    next_retention: Instant,
    next_measure: Instant,
}

impl Janitor {
    pub fn new(shared: Arc<Shared>, queue: SyncSender<Message>, bell: Arc<Bell>, unloaded: Vec<u64>) -> Self {
        let now = Instant::now();
        Self { shared, queue, bell, unloaded, checkpointer: None, next_retention: now, next_measure: now }
    }

    /// Runs until told to stop.
    pub fn run(mut self) {
        let tick = TICK.min(self.shared.options.retention_interval);
        loop {
            for (what, done) in [
                ("preparing a segment", self.prepare()),
                ("loading ids", self.load()),
                ("checkpointing", self.checkpoint()),
                ("closing a segment", self.seal()),
                ("applying retention", self.retain()),
                ("measuring", self.measure()),
            ] {
                if let Err(error) = done {
                    tracing::warn!(%error, "{what} of the event log failed; it will be tried again");
                }
            }
            if !self.bell.wait(tick) {
                return;
            }
        }
    }

    /// Makes the next segment before the writer needs it.
    fn prepare(&self) -> Result<(), LogError> {
        let mut spare = lock(&self.shared.spare);
        let Some(active) = read(&self.shared.segments).last().cloned() else { return Ok(()) };
        if spare.is_none() && !active.is_empty() {
            *spare = Some(self.shared.new_segment(active.ordinal + 1)?);
        }
        Ok(())
    }

    /// Loads fingerprints, newest first, in portions that leave time for the rest.
    fn load(&mut self) -> Result<(), LogError> {
        let started = Instant::now();
        while let Some(ordinal) = self.unloaded.last().copied() {
            if started.elapsed() > LOADING {
                self.bell.ring();
                break;
            }
            let connection = ids::open(&self.shared.directory, ordinal)?;
            self.shared.fingerprints.add(ordinal, ids::fingerprints(&connection)?);
            self.unloaded.pop();
        }
        Ok(())
    }

    /// Moves a step of the write-ahead log into the database, without ever making the writer wait. When the writer rests this
    /// catches up and the log starts over; when it does not, the segment's size is the bound.
    fn checkpoint(&mut self) -> Result<(), LogError> {
        let Some(active) = read(&self.shared.segments).last().cloned() else { return Ok(()) };
        if self.shared.counters.unchecked.swap(0, Ordering::AcqRel) == 0 {
            return Ok(());
        }
        if self.checkpointer.as_ref().is_none_or(|(ordinal, _)| *ordinal != active.ordinal) {
            self.checkpointer = None;
            self.checkpointer = Some((active.ordinal, active.connect()?));
        }
        if let Some((_, connection)) = &self.checkpointer {
            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        }
        Ok(())
    }

    /// Seals what the writer has closed; one that is still being read does not hold up the others.
    fn seal(&mut self) -> Result<(), LogError> {
        let closing = std::mem::take(&mut *lock(&self.shared.closing));
        let mut result = Ok(());
        for (segment, mut connection) in closing {
            if self.checkpointer.as_ref().is_some_and(|(ordinal, _)| *ordinal == segment.ordinal) {
                self.checkpointer = None;
            }
            if let Err(error) = seal::seal(&self.shared, &segment, &mut connection) {
                lock(&self.shared.closing).push((segment, connection));
                result = Err(error);
            }
        }
        result
    }

    fn retain(&mut self) -> Result<(), LogError> {
        let full = self.shared.counters.refused_full.load(Ordering::Acquire);
        if Instant::now() < self.next_retention && !full {
            return Ok(());
        }
        self.next_retention = Instant::now() + self.shared.options.retention_interval;
        let now = jiff::Timestamp::now().as_microsecond();
        self.roll_old(now, full);
        // A backup holds this for as long as it copies; the rest of the house goes on.
        let Ok(_removal) = self.shared.removal.try_lock() else { return Ok(()) };
        self.shared.raise_floors(now)?;
        self.shared.remove_segments()?;
        self.shared.remove_ids(now)?;
        if full {
            self.next_measure = Instant::now();
            self.shared.counters.refused_full.store(false, Ordering::Release);
        }
        Ok(())
    }

    /// Closes the segment being written when age could free it, or when room is needed: retention takes closed segments only.
    fn roll_old(&self, now: i64, full: bool) {
        let Some(active) = read(&self.shared.segments).last().cloned() else { return };
        let Some((oldest, _)) = active.span() else { return };
        let streams = read(&self.shared.streams);
        let ages = active.shares().into_iter().filter_map(|(key, _)| streams.by_key(key).map(|s| s.retention().age));
        let shortest = ages.min().unwrap_or(Duration::MAX);
        let due = (shortest / 10).max(self.shared.options.shortest_segment);
        let old = now.saturating_sub(oldest) > i64::try_from(due.as_micros()).unwrap_or(i64::MAX);
        if old || full {
            // A full queue means that the writer is busy; the next round asks again.
            let _ = self.queue.try_send(Message::Roll(None));
        }
    }

    fn measure(&mut self) -> Result<(), LogError> {
        if Instant::now() < self.next_measure {
            return Ok(());
        }
        self.next_measure = Instant::now() + Duration::from_secs(1);
        self.shared.measure()
    }
}

impl Shared {
    /// A new, empty segment, durable in the directory.
    pub fn new_segment(&self, ordinal: u64) -> Result<(Arc<Segment>, Connection), LogError> {
        let segment = Arc::new(Segment::new(&self.directory, ordinal));
        let connection = segment.create()?;
        Ok((segment, connection))
    }

    /// Sums up the files. Write-ahead logs count twice: they have yet to be copied.
    pub fn measure(&self) -> Result<(), LogError> {
        let (mut total, mut pending) = (0, 0);
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            // A file may go between the two calls.
            let length = entry.metadata().map_or(0, |metadata| metadata.len());
            total += length;
            if entry.file_name().as_encoded_bytes().ends_with(b"-wal") {
                pending += length;
            }
        }
        self.counters.log_bytes.store(total, Ordering::Release);
        self.counters.used.store(total + pending, Ordering::Release);
        Ok(())
    }

    /// Applies every stream's retention: first durably, then for readers.
    fn raise_floors(&self, now: i64) -> Result<(), LogError> {
        let segments = self.segments();
        let Some((active, closed)) = segments.split_last() else { return Ok(()) };
        let states: Vec<Arc<StreamState>> = read(&self.streams).all().filter(|s| !s.dropped()).cloned().collect();
        let mut moved = Vec::new();
        for state in &states {
            let shares: Vec<Share> = closed.iter().filter_map(|segment| segment.share(state.key)).collect();
            let open_bytes = active.share(state.key).map_or(0, |share| share.bytes);
            let floor = retention::floor(&shares, state.last_sequence(), open_bytes, now, &state.retention());
            if floor <= state.floor() {
                continue;
            }
            let whole = shares.iter().find(|share| share.last_sequence + 1 == floor).map(|share| share.last_position);
            let through = match whole {
                Some(position) => Some(position),
                None => self.position_of(state.key, floor - 1)?,
            };
            if let Some(through) = through {
                moved.push((state, floor, through));
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = moved.iter().map(|(state, floor, through)| (state.key, *floor, *through)).collect();
        lock(&self.catalogue).move_floors(&rows)?;
        for (state, floor, through) in moved {
            self.raise_floor(state, floor, through);
        }
        Ok(())
    }

    /// Removes the sealed segments that no stream needs.
    fn remove_segments(&self) -> Result<(), LogError> {
        for segment in self.segments() {
            let shares = segment.shares();
            let needed = {
                let streams = read(&self.streams);
                let retained = |(key, share): &(u32, Share)| {
                    streams.by_key(*key).is_some_and(|state| state.retains(share.last_sequence))
                };
                shares.iter().any(retained)
            };
            if !segment.sealed() || needed {
                continue;
            }
            let lasts: Vec<_> = shares.iter().map(|(key, s)| (*key, s.last_sequence, s.last_position)).collect();
            lock(&self.catalogue).before_removal(segment.last(), &lasts)?;
            segment.set_removed();
            write(&self.segments).retain(|other| other.ordinal != segment.ordinal);
            self.readers.release(segment.ordinal);
            files::remove(&segment.path)?;
            tracing::info!(segment = segment.ordinal, "removed a segment of the event log");
        }
        files::sync_directory(&self.directory)
    }

    /// Removes id files that have outlived both their segment and the time for which duplicates are recognised.
    fn remove_ids(&self, now: i64) -> Result<(), LogError> {
        let window = i64::try_from(self.options.id_window.as_micros()).unwrap_or(i64::MAX);
        let segments: Vec<u64> = read(&self.segments).iter().map(|segment| segment.ordinal).collect();
        let mut extents = lock(&self.extents);
        let expired: Vec<u64> = extents
            .iter()
            .filter(|(ordinal, extent)| !segments.contains(ordinal) && extent.newest < now.saturating_sub(window))
            .map(|(ordinal, _)| *ordinal)
            .collect();
        for ordinal in expired {
            self.fingerprints.remove(ordinal);
            extents.remove(&ordinal);
            files::remove(&files::ids_path(&self.directory, ordinal))?;
        }
        Ok(())
    }
}
