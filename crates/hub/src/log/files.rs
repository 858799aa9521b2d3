//! Names, versions and first checks of the log's files.
//!
//! Every file is an SQLite database that says in its header what it is (`application_id`) and in which format (`user_version`).
//! A file of a newer format, of another program, or cut short is refused before anything is written to it.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use super::error::LogError;

/// The format that this release writes.
pub(super) const FORMAT: i64 = 1;

/// What a file holds; also its `application_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    /// `RSLc`.
    Catalogue = 0x5253_4c63,
    /// `RSLs`.
    Segment = 0x5253_4c73,
    /// `RSLi`.
    Ids = 0x5253_4c69,
}

pub(super) fn catalogue_path(directory: &Path) -> PathBuf {
    directory.join("catalogue.db")
}

pub(super) fn segment_path(directory: &Path, ordinal: u64) -> PathBuf {
    directory.join(format!("segment-{ordinal:08}.db"))
}

pub(super) fn ids_path(directory: &Path, ordinal: u64) -> PathBuf {
    directory.join(format!("ids-{ordinal:08}.db"))
}

/// Ordinals of the segments and of the id files in `directory`, ascending.
pub(super) fn scan(directory: &Path) -> Result<(Vec<u64>, Vec<u64>), LogError> {
    let (mut segments, mut ids) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".db")) else { continue };
        if let Some(ordinal) = stem.strip_prefix("segment-").and_then(|digits| digits.parse().ok()) {
            segments.push(ordinal);
        } else if let Some(ordinal) = stem.strip_prefix("ids-").and_then(|digits| digits.parse().ok()) {
            ids.push(ordinal);
        }
    }
    segments.sort_unstable();
    ids.sort_unstable();
    Ok((segments, ids))
}

/// Makes a new database of `kind` with `schema`, in WAL mode. It gets its name when it is complete, and that is durable.
pub(super) fn create(path: &Path, kind: FileKind, schema: &str) -> Result<Connection, LogError> {
    let unfinished = path.with_extension("new");
    remove(&unfinished)?;
    let connection = Connection::open(&unfinished)?;
    connection.pragma_update(None, "application_id", kind as i64)?;
    connection.pragma_update(None, "user_version", FORMAT)?;
    configure(&connection)?;
    connection.execute_batch(schema)?;
    // Closing it empties and removes its write-ahead log.
    connection.close().map_err(|(_, error)| error)?;
    fs::rename(&unfinished, path)?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))?;
    open(path, kind)
}

/// Opens an existing database after checking what it is. Crash recovery happens here.
pub(super) fn open(path: &Path, kind: FileKind) -> Result<Connection, LogError> {
    check_header(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    check_kind(&connection, path, kind)?;
    configure(&connection)?;
    Ok(connection)
}

/// Refuses a file of another program, of another kind, or of a newer release.
pub(super) fn check_kind(connection: &Connection, path: &Path, kind: FileKind) -> Result<(), LogError> {
    connection.busy_timeout(Duration::from_secs(5))?;
    let number = |pragma: &str| {
        connection
            .pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
            .map_err(|error| LogError::unreadable(path, "not a usable SQLite database", &error))
    };
    let (application, version) = (number("application_id")?, number("user_version")?);
    if application != kind as i64 {
        let reason = format!("is not a {kind:?} file of the event log (application_id {application:#x})");
        return Err(LogError::unusable(path, reason));
    }
    if version > FORMAT {
        let reason =
            format!("has format {version}, which is newer than this release's {FORMAT}; start the newer release again");
        return Err(LogError::unusable(path, reason));
    }
    Ok(())
}

/// Refuses a file that is shorter than its header says, before SQLite touches it. With a write-ahead log beside it that may be the
/// trace of an interrupted checkpoint, which recovery completes; then [`check_length`] decides.
pub(super) fn check_header(path: &Path) -> Result<(), LogError> {
    if length(&wal_path(path)) > 0 {
        return Ok(());
    }
    let mut header = [0; 32];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    read.map_err(|error| LogError::unusable(path, format!("not a usable SQLite database ({error})")))?;
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(LogError::unusable(path, "not a usable SQLite database; restore it from a backup"));
    }
    // https://www.sqlite.org/fileformat.html: page size at 16 (1 means 65536), pages at 28.
    let page_size = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65536,
        size => u64::from(size),
    };
    let pages = u32::from_be_bytes([header[28], header[29], header[30], header[31]]);
    expect_length(path, u64::from(pages) * page_size)
}

fn expect_length(path: &Path, expected: u64) -> Result<(), LogError> {
    let length = length(path);
    match length < expected {
        true => {
            let reason = format!("is cut short: {length} of {expected} bytes; restore it from a backup");
            Err(LogError::unusable(path, reason))
        }
        false => Ok(()),
    }
}

/// Refuses a database file that is shorter than its own page count: SQLite itself would only notice at the missing page.
/// To be called after a checkpoint, when no pages are only in the write-ahead log.
pub(super) fn check_length(connection: &Connection, path: &Path) -> Result<(), LogError> {
    let pages: u64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    let page_size: u64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    expect_length(path, pages * page_size)
}

fn configure(connection: &Connection) -> Result<(), LogError> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

/// Makes creations, renames and removals in `directory` durable.
pub(super) fn sync_directory(directory: &Path) -> Result<(), LogError> {
    Ok(File::open(directory)?.sync_all()?)
}

/// Removes a database with its companions; files that are not there are fine.
pub(super) fn remove(path: &Path) -> Result<(), LogError> {
    for suffix in ["-wal", "-shm", ""] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Keeps a reading connection small; the pages are in the system's cache anyway.
pub(super) fn keep_small(connection: &Connection) -> Result<(), LogError> {
    // Negative: KiB.
    Ok(connection.pragma_update(None, "cache_size", -256)?)
}

/// The write-ahead log beside a database.
pub(super) fn wal_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Length of a file; 0 if it is not there.
pub(super) fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}
