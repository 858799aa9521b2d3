//! One segment: a database with the events of a range of positions, and what memory knows about it.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, Row, params};

use super::{
    error::LogError,
    files::{self, FileKind},
    record::{INLINE_BODY, Record},
    shared::{read, write},
    streams::Streams,
};

/// `event_stream` is ordered by position within a stream, because every index entry ends with the row's key. Small columns come
/// first: what a scan looks at is on the page of the row, and bodies stay unread on their overflow pages. `share` is filled
/// when the segment is closed; rows in it say that it is.
const SCHEMA: &str = "
    CREATE TABLE event (
      position INTEGER PRIMARY KEY, stream INTEGER NOT NULL, sequence INTEGER NOT NULL, received INTEGER NOT NULL,
      id TEXT NOT NULL, type TEXT NOT NULL, spec TEXT NOT NULL, body BLOB NOT NULL
    ) STRICT;
    CREATE INDEX event_stream ON event (stream);
    CREATE TABLE share (
      stream INTEGER PRIMARY KEY, first_sequence INTEGER NOT NULL, last_sequence INTEGER NOT NULL,
      first_position INTEGER NOT NULL, last_position INTEGER NOT NULL, bytes INTEGER NOT NULL,
      oldest INTEGER NOT NULL, newest INTEGER NOT NULL
    ) STRICT;";

/// What one stream has in one segment. Its events are `first_sequence..=last_sequence`, without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub first_sequence: u64,
    pub last_sequence: u64,
    pub first_position: u64,
    pub last_position: u64,
    /// Of bodies and fragments.
    pub bytes: u64,
    /// When its oldest and newest events were received, microseconds since 1970.
    pub oldest: i64,
    pub newest: i64,
}

/// A segment in memory.
pub(super) struct Segment {
    pub ordinal: u64,
    pub path: PathBuf,
    shares: RwLock<HashMap<u32, Share>>,
    first: AtomicU64,
    last: AtomicU64,
    sealed: AtomicBool,
    removed: AtomicBool,
}

impl Segment {
    pub fn new(directory: &Path, ordinal: u64) -> Self {
        Self {
            ordinal,
            path: files::segment_path(directory, ordinal),
            shares: RwLock::default(),
            first: AtomicU64::new(u64::MAX),
            last: AtomicU64::new(0),
            sealed: AtomicBool::new(false),
            removed: AtomicBool::new(false),
        }
    }

    /// First position; `u64::MAX` while empty.
    pub fn first(&self) -> u64 {
        self.first.load(Ordering::Acquire)
    }

    /// Last position; 0 while empty.
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    pub fn is_empty(&self) -> bool {
        self.last() == 0
    }

    /// Closed, with its shares and ids written.
    pub fn sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    pub fn set_sealed(&self, sealed: bool) {
        self.sealed.store(sealed, Ordering::Release);
    }

    /// Its file is gone, or about to go.
    pub fn removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    pub fn set_removed(&self) {
        self.removed.store(true, Ordering::Release);
    }

    pub fn share(&self, stream: u32) -> Option<Share> {
        read(&self.shares).get(&stream).copied()
    }

    pub fn shares(&self) -> Vec<(u32, Share)> {
        read(&self.shares).iter().map(|(key, share)| (*key, *share)).collect()
    }

    pub fn holds_any(&self, streams: &[u32]) -> bool {
        let shares = read(&self.shares);
        streams.iter().any(|key| shares.contains_key(key))
    }

    /// When its oldest and its newest event were received.
    pub fn span(&self) -> Option<(i64, i64)> {
        let shares = read(&self.shares);
        let oldest = shares.values().map(|share| share.oldest).min()?;
        Some((oldest, shares.values().map(|share| share.newest).max()?))
    }

    /// Takes note of committed rows: (stream, one-event share).
    pub fn extend(&self, rows: impl IntoIterator<Item = (u32, Share)>) {
        let mut shares = write(&self.shares);
        for (key, row) in rows {
            self.first.fetch_min(row.first_position, Ordering::AcqRel);
            self.last.fetch_max(row.last_position, Ordering::AcqRel);
            shares
                .entry(key)
                .and_modify(|share| {
                    share.last_sequence = row.last_sequence;
                    share.last_position = row.last_position;
                    share.bytes += row.bytes;
                    share.oldest = share.oldest.min(row.oldest);
                    share.newest = share.newest.max(row.newest);
                })
                .or_insert(row);
        }
    }

    pub fn create(&self) -> Result<Connection, LogError> {
        let connection = files::create(&self.path, FileKind::Segment, SCHEMA)?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        Ok(connection)
    }

    /// Another connection to the open segment.
    pub fn connect(&self) -> Result<Connection, LogError> {
        // Read-write even for readers, because the last one to close must be able to remove the write-ahead log.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        Ok(connection)
    }

    /// Opens it after a restart: recovers, checks, and learns its shares, from the stored ones if it was sealed.
    pub fn open(&self) -> Result<Connection, LogError> {
        let connection = files::open(&self.path, FileKind::Segment)?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        let damaged = |error: rusqlite::Error| LogError::unreadable(&self.path, "is damaged", &error);
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(damaged)?;
        files::check_length(&connection, &self.path)?;
        let stored = query_shares(&connection, "SELECT * FROM share").map_err(damaged)?;
        let sealed = !stored.is_empty();
        let shares = match sealed {
            true => stored,
            false => query_shares(
                &connection,
                "SELECT stream, min(sequence), max(sequence), min(position), max(position),
                        sum(octet_length(spec) + length(body)), min(received), max(received) FROM event GROUP BY stream",
            )
            .map_err(damaged)?,
        };
        self.extend(shares);
        self.set_sealed(sealed);
        Ok(connection)
    }

    /// Stores the shares: the mark of a closed segment.
    pub fn write_shares(&self, connection: &mut Connection) -> Result<(), LogError> {
        let transaction = connection.transaction()?;
        for (key, s) in self.shares() {
            transaction.execute(
                "INSERT OR REPLACE INTO share VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    key,
                    s.first_sequence,
                    s.last_sequence,
                    s.first_position,
                    s.last_position,
                    s.bytes,
                    s.oldest,
                    s.newest
                ],
            )?;
        }
        Ok(transaction.commit()?)
    }
}

fn query_shares(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<(u32, Share)>> {
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        let share = Share {
            first_sequence: row.get(1)?,
            last_sequence: row.get(2)?,
            first_position: row.get(3)?,
            last_position: row.get(4)?,
            bytes: row.get(5)?,
            oldest: row.get(6)?,
            newest: row.get(7)?,
        };
        Ok((row.get(0)?, share))
    })?;
    rows.collect()
}

/// Columns for [`read_record`]; the body only if it is small enough to be inline.
pub(super) fn record_columns() -> String {
    format!(
        "position, stream, sequence, received, id, type, spec, CASE WHEN length(body) <= {INLINE_BODY} THEN body END"
    )
}

/// A row of [`record_columns`]; `None` if its stream is not known any more.
pub(super) fn read_record(row: &Row<'_>, streams: &Streams) -> rusqlite::Result<Option<Record>> {
    let Some(state) = streams.by_key(row.get(1)?) else { return Ok(None) };
    let id = row.get_ref(4)?.as_str().map_err(rusqlite::Error::from)?.into();
    let kind = row.get_ref(5)?.as_str().map_err(rusqlite::Error::from)?.into();
    let spec = row.get_ref(6)?.as_str().map_err(rusqlite::Error::from)?.into();
    Ok(Some(Record {
        position: row.get(0)?,
        sequence: row.get(2)?,
        received: row.get(3)?,
        id,
        kind,
        spec,
        state: Arc::clone(state),
        body: row.get::<_, Option<Vec<u8>>>(7)?.map(Into::into),
        frame: OnceLock::new(),
    }))
}
