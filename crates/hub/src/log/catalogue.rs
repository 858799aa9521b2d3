//! The catalogue: which streams there are, what retention removed, and from where positions go on. A small database of its own,
//! written only when a stream is made or dropped, retention moves, or a segment goes; never on the path of an append to a known
//! stream.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, Row, params};

use super::{
    error::LogError,
    files::{self, FileKind},
    types::{Retention, Stream},
};

const SCHEMA: &str = "
    CREATE TABLE stream (
      key INTEGER PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL, uid TEXT NOT NULL UNIQUE,
      dropped INTEGER NOT NULL DEFAULT 0,
      last_sequence INTEGER NOT NULL DEFAULT 0, last_position INTEGER NOT NULL DEFAULT 0,
      floor INTEGER NOT NULL DEFAULT 1, removed_through INTEGER NOT NULL DEFAULT 0,
      age_seconds INTEGER NOT NULL, bytes INTEGER NOT NULL, events INTEGER
    ) STRICT;
    CREATE TABLE life (after INTEGER NOT NULL, start INTEGER NOT NULL) STRICT;
    CREATE TABLE head (position INTEGER NOT NULL) STRICT;
    INSERT INTO head VALUES (1);";

/// A stream as stored. `last_*` are at least those of its events in segments that are gone.
#[derive(Clone, Debug)]
pub(super) struct StreamRow {
    pub key: u32,
    pub stream: Stream,
    pub dropped: bool,
    pub last_sequence: u64,
    pub last_position: u64,
    /// First retained sequence.
    pub floor: u64,
    /// Position of the last event that was removed; 0 if none.
    pub removed_through: u64,
    pub retention: Retention,
}

/// Positions that no event of this log has, because a restore jumped over them: `after < position < start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    pub after: u64,
    pub start: u64,
}

/// The open catalogue.
pub(super) struct Catalogue {
    connection: Connection,
}

impl Catalogue {
    /// Opens the catalogue of `directory`, or makes it if the directory holds no log yet.
    pub fn open(directory: &Path, new: bool) -> Result<Self, LogError> {
        let path = files::catalogue_path(directory);
        if new {
            return Ok(Self { connection: files::create(&path, FileKind::Catalogue, SCHEMA)? });
        }
        let connection = files::open(&path, FileKind::Catalogue)?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        files::check_length(&connection, &path)?;
        Ok(Self { connection })
    }

    /// All streams, dropped ones included.
    pub fn streams(&self) -> Result<Vec<StreamRow>, LogError> {
        let mut statement = self.connection.prepare(
            "SELECT key, namespace, name, uid, dropped, last_sequence, last_position, floor, removed_through,
                    age_seconds, bytes, events FROM stream ORDER BY key",
        )?;
        let rows = statement.query_map([], read_stream)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The jumps of restores, oldest first.
    pub fn lives(&self) -> Result<Vec<Life>, LogError> {
        let mut statement = self.connection.prepare("SELECT after, start FROM life ORDER BY start")?;
        let rows = statement.query_map([], |row| Ok(Life { after: row.get(0)?, start: row.get(1)? }))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The stored head: a lower bound of the log's.
    pub fn head(&self) -> Result<u64, LogError> {
        Ok(self.connection.query_row("SELECT position FROM head", [], |row| row.get(0))?)
    }

    /// Begins another life, after a restore: positions go on at `life.start`.
    pub fn begin(&mut self, life: Life) -> Result<(), LogError> {
        let transaction = self.connection.transaction()?;
        transaction.execute("INSERT INTO life VALUES (?1, ?2)", [life.after, life.start])?;
        transaction.execute("UPDATE head SET position = ?1", [life.start - 1])?;
        Ok(transaction.commit()?)
    }

    /// Writes a copy.
    pub fn copy_to(&self, path: &Path) -> Result<(), LogError> {
        let path = path.to_str().ok_or_else(|| LogError::unusable(path, "the path is not UTF-8"))?;
        self.connection.execute("VACUUM INTO ?1", [path])?;
        Ok(())
    }

    /// Adds a stream. `replaced`: the earlier life of the endpoint, dropped in the same transaction.
    pub fn add(&mut self, stream: &Stream, replaced: Option<&Dropping>) -> Result<u32, LogError> {
        let defaults = Retention::default();
        let transaction = self.connection.transaction()?;
        if let Some(dropping) = replaced {
            dropping.write(&transaction)?;
        }
        transaction.execute(
            "INSERT INTO stream (namespace, name, uid, age_seconds, bytes) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![stream.namespace, stream.name, stream.uid, clamp(defaults.age.as_secs()), clamp(defaults.bytes)],
        )?;
        let key = transaction.last_insert_rowid();
        transaction.commit()?;
        u32::try_from(key).map_err(|_| LogError::Storage("too many endpoints have been made".into()))
    }

    /// Marks a stream as dropped.
    pub fn drop_stream(&mut self, dropping: &Dropping) -> Result<(), LogError> {
        dropping.write(&self.connection)
    }

    /// Stores how long a stream's events are kept.
    pub fn retain(&self, key: u32, retention: &Retention) -> Result<(), LogError> {
        self.connection.execute(
            "UPDATE stream SET age_seconds = ?2, bytes = ?3, events = ?4 WHERE key = ?1",
            params![key, clamp(retention.age.as_secs()), clamp(retention.bytes), retention.events.map(clamp)],
        )?;
        Ok(())
    }

    /// Stores moved floors: (key, floor, removed_through).
    pub fn move_floors(&mut self, floors: &[(u32, u64, u64)]) -> Result<(), LogError> {
        let transaction = self.connection.transaction()?;
        for (key, floor, removed_through) in floors {
            transaction.execute(
                "UPDATE stream SET floor = max(floor, ?2), removed_through = max(removed_through, ?3) WHERE key = ?1",
                params![key, floor, removed_through],
            )?;
        }
        Ok(transaction.commit()?)
    }

    /// Before a segment goes: what would be forgotten with it. `lasts`: (key, sequence, position) of each stream's last event in it.
    pub fn before_removal(&mut self, head: u64, lasts: &[(u32, u64, u64)]) -> Result<(), LogError> {
        let transaction = self.connection.transaction()?;
        transaction.execute("UPDATE head SET position = max(position, ?1)", [head])?;
        for (key, sequence, position) in lasts {
            transaction.execute(
                "UPDATE stream SET last_sequence = max(last_sequence, ?2), last_position = max(last_position, ?3)
                 WHERE key = ?1",
                params![key, sequence, position],
            )?;
        }
        Ok(transaction.commit()?)
    }
}

/// A stream that is being dropped, with where it ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dropping {
    pub key: u32,
    pub last_sequence: u64,
    pub last_position: u64,
}

impl Dropping {
    fn write(&self, connection: &Connection) -> Result<(), LogError> {
        connection.execute(
            "UPDATE stream SET dropped = 1, last_sequence = max(last_sequence, ?2), last_position = max(last_position, ?3),
                    floor = max(floor, ?2 + 1), removed_through = max(removed_through, ?3) WHERE key = ?1",
            params![self.key, self.last_sequence, self.last_position],
        )?;
        Ok(())
    }
}

fn read_stream(row: &Row<'_>) -> rusqlite::Result<StreamRow> {
    Ok(StreamRow {
        key: row.get(0)?,
        stream: Stream { namespace: row.get(1)?, name: row.get(2)?, uid: row.get(3)? },
        dropped: row.get(4)?,
        last_sequence: row.get(5)?,
        last_position: row.get(6)?,
        floor: row.get(7)?,
        removed_through: row.get(8)?,
        retention: Retention { age: Duration::from_secs(row.get(9)?), bytes: row.get(10)?, events: row.get(11)? },
    })
}

/// SQLite's integers are signed; nothing real is larger.
fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
