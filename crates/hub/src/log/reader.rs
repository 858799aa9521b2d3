//! Reading events from disk: bounded in concurrency, in size, and in what one call may scan. Runs on blocking threads.

use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex},
};

use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::Semaphore;

use super::{
    error::LogError,
    files, ids,
    record::{Record, parse_fragment},
    segment::{Segment, read_record, record_columns},
    shared::{Shared, lock, read},
    types::{Endpoints, Limit, Page, RecordedBody, Selection},
};

/// Connections kept for reuse.
const IDLE: usize = 16;
/// Rows that one call looks at before it returns what it has, so that no call holds a thread for long.
const SCAN: usize = 20_000;

/// The reading connections.
pub(super) struct Readers {
    idle: Mutex<Vec<(u64, Connection)>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub fn new(at_once: usize) -> Self {
        Self { idle: Mutex::default(), permits: Arc::new(Semaphore::new(at_once)) }
    }

    /// Runs `work` on a blocking thread, when one of the permits is free.
    pub async fn run<T: Send + 'static>(
        shared: &Arc<Shared>,
        work: impl FnOnce(&Shared) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let permit = shared.readers.permits.clone().acquire_owned().await.map_err(|_| LogError::Closed)?;
        let shared = shared.clone();
        let task = tokio::task::spawn_blocking(move || {
            let result = work(&shared);
            drop(permit);
            result
        });
        task.await.map_err(|error| LogError::Storage(format!("reading failed: {error}")))?
    }

    /// Runs `query` on a connection to `segment`; `None` if retention has taken the segment.
    pub fn with<T>(
        &self,
        segment: &Segment,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, LogError> {
        if segment.removed() {
            return Ok(None);
        }
        let idle = {
            let mut idle = lock(&self.idle);
            let index = idle.iter().position(|(ordinal, _)| *ordinal == segment.ordinal);
            index.map(|index| idle.remove(index).1)
        };
        let connection = match idle.map_or_else(|| connect(segment), Ok) {
            Ok(connection) => connection,
            Err(_) if segment.removed() => return Ok(None),
            Err(error) => return Err(error),
        };
        let result = query(&connection);
        // The file may have gone while it was being read; then whatever is wrong is right.
        if segment.removed() {
            return Ok(result.ok());
        }
        let result = result?;
        let mut idle = lock(&self.idle);
        if idle.len() >= IDLE {
            idle.remove(0);
        }
        idle.push((segment.ordinal, connection));
        Ok(Some(result))
    }

    /// Closes the idle connections to a segment, so that it can be sealed or removed.
    pub fn release(&self, ordinal: u64) {
        lock(&self.idle).retain(|(open, _)| *open != ordinal);
    }
}

fn connect(segment: &Segment) -> Result<Connection, LogError> {
    let connection = segment.connect()?;
    connection.pragma_update(None, "query_only", true)?;
    files::keep_small(&connection)?;
    Ok(connection)
}

impl Shared {
    /// Retained events of `selection` with `after < position <= through`. Blocking.
    pub fn read_disk(&self, selection: &Selection, after: u64, through: u64, limit: Limit) -> Result<Page, LogError> {
        let mut scan =
            Scan { shared: self, selection, limit, bytes: 0, seen: 0, page: Page { records: vec![], through: after } };
        let wanted = self.keys(&selection.endpoints);
        for segment in self.segments() {
            if segment.last() <= scan.page.through || segment.first() > through {
                continue;
            }
            if scan.segment(&segment, wanted.as_deref(), through)?.is_break() {
                return Ok(scan.page);
            }
        }
        scan.page.through = scan.page.through.max(through);
        Ok(scan.page)
    }

    /// Numbers of the live streams of named endpoints; `None`: look at every row.
    fn keys(&self, endpoints: &Endpoints) -> Option<Vec<u32>> {
        let streams = read(&self.streams);
        match endpoints {
            Endpoints::Named(list) => {
                Some(list.iter().filter_map(|(ns, name)| streams.live(ns, name)).map(|state| state.key).collect())
            }
            _ => None,
        }
    }

    /// One retained event. Blocking.
    pub fn find_sequence(&self, namespace: &str, name: &str, sequence: u64) -> Result<Option<Arc<Record>>, LogError> {
        self.locate(namespace, name, sequence, |connection, position| {
            let sql = format!("SELECT {} FROM event WHERE position = ?1", record_columns());
            let streams = read(&self.streams);
            connection.prepare_cached(&sql)?.query_row([position], |row| read_record(row, &streams))
        })
        .map(|record| record.flatten().map(Arc::new))
    }

    /// The body of one retained event. Blocking.
    pub fn find_body(&self, namespace: &str, name: &str, sequence: u64) -> Result<Option<RecordedBody>, LogError> {
        let found = self.locate(namespace, name, sequence, |connection, position| {
            let mut statement =
                connection.prepare_cached("SELECT id, type, spec, body FROM event WHERE position = ?1")?;
            statement.query_row([position], |row| {
                Ok((row.get::<_, String>(0)?, row.get(1)?, row.get::<_, String>(2)?, row.get::<_, Vec<u8>>(3)?))
            })
        })?;
        let Some((id, kind, spec, body)) = found else { return Ok(None) };
        let request = parse_fragment(&spec).map_err(|error| LogError::Storage(format!("event {id}: {error}")))?;
        Ok(Some(RecordedBody { id, kind, method: request.method, headers: request.headers, body: body.into() }))
    }

    /// Runs `query` at the position of a retained event.
    fn locate<T>(
        &self,
        namespace: &str,
        name: &str,
        sequence: u64,
        query: impl FnOnce(&Connection, u64) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, LogError> {
        let Some(state) = read(&self.streams).live(namespace, name).cloned() else { return Ok(None) };
        if !state.retains(sequence) || sequence > state.last_sequence() {
            return Ok(None);
        }
        for segment in self.segments().iter().rev() {
            let Some(share) = segment.share(state.key) else { continue };
            if (share.first_sequence..=share.last_sequence).contains(&sequence) {
                let found = self.readers.with(segment, |connection| {
                    let span = (share.first_position, share.last_position);
                    position_of(connection, state.key, sequence, span)?.map(|p| query(connection, p)).transpose()
                })?;
                return Ok(found.flatten());
            }
        }
        Ok(None)
    }

    /// The sequence of a live stream's event by its id: from the segments that are not sealed, then from the id files. Blocking.
    pub fn sequence_of_id(&self, namespace: &str, name: &str, id: &str) -> Result<Option<u64>, LogError> {
        let Some(state) = read(&self.streams).live(namespace, name).cloned() else { return Ok(None) };
        for segment in self.segments().iter().rev() {
            if segment.sealed() || segment.share(state.key).is_none() {
                continue;
            }
            let found = self.readers.with(segment, |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT sequence FROM event INDEXED BY event_stream WHERE stream = ?1 AND id = ?2 LIMIT 1",
                )?;
                statement.query_row(params![state.key, id], |row| row.get(0)).optional()
            })?;
            if let Some(sequence) = found.flatten() {
                return Ok(Some(sequence));
            }
        }
        let hash = ids::hash(&state.stream.uid, id);
        for ordinal in self.fingerprints.candidates(&hash) {
            // A file that expires at this moment has nothing that is retained.
            let Ok(connection) = ids::open(&self.directory, ordinal) else { continue };
            if let Some((sequence, _)) = ids::lookup(&connection, &hash)? {
                return Ok(Some(sequence));
            }
        }
        Ok(None)
    }

    /// Position of a sequence of a stream, if its segment is still there. Blocking.
    pub fn position_of(&self, key: u32, sequence: u64) -> Result<Option<u64>, LogError> {
        for segment in self.segments().iter().rev() {
            let Some(share) = segment.share(key) else { continue };
            if (share.first_sequence..=share.last_sequence).contains(&sequence) {
                let span = (share.first_position, share.last_position);
                return Ok(self.readers.with(segment, |c| position_of(c, key, sequence, span))?.flatten());
            }
        }
        Ok(None)
    }
}

/// Bisects: within a stream, sequences grow with positions, and the index is by position.
fn position_of(connection: &Connection, key: u32, sequence: u64, span: (u64, u64)) -> rusqlite::Result<Option<u64>> {
    let mut statement = connection.prepare_cached(
        "SELECT position, sequence FROM event INDEXED BY event_stream
         WHERE stream = ?1 AND position >= ?2 ORDER BY position LIMIT 1",
    )?;
    let (mut low, mut high) = span;
    while low <= high {
        let middle = low + (high - low) / 2;
        let at: Option<(u64, u64)> =
            statement.query_row(params![key, middle], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        match at {
            Some((position, found)) if found == sequence => return Ok(Some(position)),
            Some((position, found)) if found < sequence => low = position + 1,
            _ if middle == 0 => break,
            _ => high = middle - 1,
        }
    }
    Ok(None)
}

/// One read over several segments.
struct Scan<'a> {
    shared: &'a Shared,
    selection: &'a Selection,
    limit: Limit,
    bytes: usize,
    seen: usize,
    page: Page,
}

impl Scan<'_> {
    /// Reads from one segment; breaks when the page is full.
    fn segment(
        &mut self,
        segment: &Segment,
        wanted: Option<&[u32]>,
        through: u64,
    ) -> Result<ControlFlow<()>, LogError> {
        if wanted.is_some_and(|keys| !segment.holds_any(keys)) {
            return Ok(ControlFlow::Continue(()));
        }
        // One stream: through its index. Several: through the table, which is read in order of position anyway.
        let from = match wanted {
            Some([_]) => "event INDEXED BY event_stream WHERE stream = ?3 AND",
            _ => "event NOT INDEXED WHERE",
        };
        let sql = format!("SELECT {} FROM {from} position > ?1 AND position <= ?2 ORDER BY position", record_columns());
        let after = self.page.through;
        let flow = self.shared.readers.with(segment, |connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = match wanted {
                Some([key]) => statement.query(params![after, through, key])?,
                _ => statement.query(params![after, through])?,
            };
            while let Some(row) = rows.next()? {
                if self.row(row, wanted)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(flow.unwrap_or(ControlFlow::Continue(())))
    }

    fn row(&mut self, row: &rusqlite::Row<'_>, wanted: Option<&[u32]>) -> rusqlite::Result<ControlFlow<()>> {
        let (position, stream) = (row.get::<_, u64>(0)?, row.get::<_, u32>(1)?);
        self.seen += 1;
        if wanted.is_none_or(|keys| keys.contains(&stream)) {
            let record = read_record(row, &read(&self.shared.streams))?;
            let endpoints = &self.selection.endpoints;
            let takes = |record: &Record| {
                record.visible()
                    && (wanted.is_some() || endpoints.contains(&record.stream().namespace, &record.stream().name))
                    && self.selection.takes(record)
            };
            if let Some(record) = record.filter(takes) {
                let size = record.frame().line.len();
                if !self.page.records.is_empty() && self.bytes + size > self.limit.bytes {
                    return Ok(ControlFlow::Break(()));
                }
                self.bytes += size;
                self.page.records.push(Arc::new(record));
            }
        }
        self.page.through = position;
        let full = self.page.records.len() >= self.limit.events || self.seen >= SCAN;
        Ok(if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}
