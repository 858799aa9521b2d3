//! Id files: the ids of one closed segment, sorted by hash, so that a duplicate is one indexed lookup away. They outlive their
//! segment where retention is shorter than the time for which duplicates must be recognised.

use std::{
    fs::{self, File},
    path::Path,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::{
    error::LogError,
    files::{self, FileKind},
};

/// Of an id within its stream: SHA-256 of the stream's uid and the id, cut to 128 bits. Nobody can make two ids that collide, so a
/// hit needs no comparison of the texts.
pub(super) type IdHash = [u8; 16];

/// `extent` has one row: what the file covers, and when its newest event was received (microseconds since 1970).
const SCHEMA: &str = "
    CREATE TABLE id (
      hash BLOB PRIMARY KEY, stream INTEGER NOT NULL, sequence INTEGER NOT NULL, position INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE extent (first INTEGER NOT NULL, last INTEGER NOT NULL, newest INTEGER NOT NULL) STRICT;";

/// One id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct IdRow {
    pub hash: IdHash,
    pub stream: u32,
    pub sequence: u64,
    pub position: u64,
}

/// What a file covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub first: u64,
    pub last: u64,
    pub newest: i64,
}

pub(super) fn hash(uid: &str, id: &str) -> IdHash {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    // The length keeps uid and id apart, whatever characters they have.
    context.update(&(uid.len() as u64).to_be_bytes());
    context.update(uid.as_bytes());
    context.update(id.as_bytes());
    let mut hash = [0; 16];
    hash.copy_from_slice(&context.finish().as_ref()[..16]);
    hash
}

/// Writes the file of `ordinal`, whole or not at all. `rows` must be sorted.
pub(super) fn build(directory: &Path, ordinal: u64, rows: &[IdRow], extent: Extent) -> Result<(), LogError> {
    let path = files::ids_path(directory, ordinal);
    let temporary = path.with_extension("tmp");
    files::remove(&temporary)?;
    {
        let mut connection = Connection::open(&temporary)?;
        // Nothing is lost if this file is torn: it is made again from the segment.
        connection.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")?;
        connection.pragma_update(None, "application_id", FileKind::Ids as i64)?;
        connection.pragma_update(None, "user_version", files::FORMAT)?;
        connection.execute_batch(SCHEMA)?;
        let transaction = connection.transaction()?;
        {
            let mut insert = transaction.prepare("INSERT OR IGNORE INTO id VALUES (?1, ?2, ?3, ?4)")?;
            for row in rows {
                insert.execute(params![row.hash, row.stream, row.sequence, row.position])?;
            }
        }
        transaction
            .execute("INSERT INTO extent VALUES (?1, ?2, ?3)", params![extent.first, extent.last, extent.newest])?;
        transaction.commit()?;
    }
    File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, &path)?;
    files::sync_directory(directory)
}

/// Opens a finished file for reading.
pub(super) fn open(directory: &Path, ordinal: u64) -> Result<Connection, LogError> {
    let path = files::ids_path(directory, ordinal);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&path, flags);
    let connection = connection.map_err(|error| LogError::unusable(path, error.to_string()))?;
    files::keep_small(&connection)?;
    Ok(connection)
}

/// Checks what the file is, and tells what it covers.
pub(super) fn inspect(directory: &Path, ordinal: u64) -> Result<Extent, LogError> {
    let path = files::ids_path(directory, ordinal);
    files::check_header(&path)?;
    let connection = open(directory, ordinal)?;
    files::check_kind(&connection, &path, FileKind::Ids)?;
    connection
        .query_row("SELECT first, last, newest FROM extent", [], |row| {
            Ok(Extent { first: row.get(0)?, last: row.get(1)?, newest: row.get(2)? })
        })
        .map_err(|error| LogError::unreadable(&path, "is damaged", &error))
}

/// Sequence and position of an id.
pub(super) fn lookup(connection: &Connection, hash: &IdHash) -> Result<Option<(u64, u64)>, LogError> {
    let mut statement = connection.prepare_cached("SELECT sequence, position FROM id WHERE hash = ?1")?;
    Ok(statement.query_row([hash], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// All fingerprints, sorted.
pub(super) fn fingerprints(connection: &Connection) -> Result<Vec<u32>, LogError> {
    let mut statement = connection.prepare("SELECT hash FROM id ORDER BY hash")?;
    let rows =
        statement.query_map([], |row| row.get::<_, IdHash>(0).map(|hash| super::fingerprints::fingerprint(&hash)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The first sequence of a stream after a position.
pub(super) fn first_after(connection: &Connection, stream: u32, position: u64) -> Result<Option<u64>, LogError> {
    Ok(connection.query_row(
        "SELECT min(sequence) FROM id WHERE stream = ?1 AND position > ?2",
        params![stream, position],
        |row| row.get(0),
    )?)
}
