//! The log's files: names, format, first checks, and who may have them open.
//!
//! `deliveries.db` says in its header what it is (`application_id`) and in which format (`user_version`). One of a newer format, of
//! another program, or cut short is refused before anything is written to it.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io::Read,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{error::LogError, schema};

/// The format that this release writes.
const FORMAT: i64 = 1;
/// `RSLd`.
const APPLICATION: i64 = 0x5253_4c64;

/// How long a statement waits for another connection's lock.
pub(super) const BUSY: Duration = Duration::from_secs(5);

pub(super) fn database_path(directory: &Path) -> PathBuf {
    directory.join("deliveries.db")
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

/// Makes the directory if need be, and holds it for this process.
pub(super) fn hold(directory: &Path) -> Result<File, LogError> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let file = File::options().create(true).truncate(false).write(true).open(directory.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::unusable(directory, "is in use by another process")),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Opens the database for writing; makes it if there is none.
pub(super) fn open_or_create(directory: &Path) -> Result<Connection, LogError> {
    let path = database_path(directory);
    if !path.exists() {
        create(&path)?;
    }
    check_header(&path)?;
    let connection = connect(&path)?;
    check_kind(&connection, &path)?;
    configure(&connection)?;
    check_content(&connection, &path)?;
    // Checkpoints are the janitor's: a commit must not wait for one.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    Ok(connection)
}

/// A further connection to a database that is open.
pub(super) fn connect(path: &Path) -> Result<Connection, LogError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| unreadable(path, &error))?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(48);
    Ok(connection)
}

/// A connection that only reads, with a small cache: the pages are in the system's cache anyway.
pub(super) fn connect_reader(path: &Path) -> Result<Connection, LogError> {
    let connection = connect(path)?;
    connection.pragma_update(None, "query_only", true)?;
    // Negative: KiB.
    connection.pragma_update(None, "cache_size", -256)?;
    Ok(connection)
}

/// Makes creations, renames and removals in `directory` durable.
pub(super) fn sync_directory(directory: &Path) -> Result<(), LogError> {
    Ok(File::open(directory)?.sync_all()?)
}

/// The file gets its name when it is complete, and that is durable.
fn create(path: &Path) -> Result<(), LogError> {
    let unfinished = path.with_extension("new");
    for stale in [&unfinished, &wal_path(&unfinished)] {
        match fs::remove_file(stale) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    let connection = Connection::open(&unfinished)?;
    connection.pragma_update(None, "application_id", APPLICATION)?;
    connection.pragma_update(None, "user_version", FORMAT)?;
    configure(&connection)?;
    connection.execute_batch(schema::TABLES)?;
    // Closing it empties and removes its write-ahead log.
    connection.close().map_err(|(_, error)| error)?;
    fs::rename(&unfinished, path)?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

fn configure(connection: &Connection) -> Result<(), LogError> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // The write-ahead log is cut to this when it starts over.
    connection.pragma_update(None, "journal_size_limit", 16 << 20)?;
    Ok(())
}

/// Refuses a file of another program or of a newer release.
pub(super) fn check_kind(connection: &Connection, path: &Path) -> Result<(), LogError> {
    let number = |pragma: &str| {
        let read = connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        read.map_err(|error| unreadable(path, &error))
    };
    let (application, version) = (number("application_id")?, number("user_version")?);
    if application != APPLICATION {
        return Err(LogError::unusable(path, format!("is not a delivery log (application_id {application:#x})")));
    }
    if version > FORMAT {
        let reason =
            format!("has format {version}, which is newer than this release's {FORMAT}; start the newer release again");
        return Err(LogError::unusable(path, reason));
    }
    Ok(())
}

/// Refuses a file that is shorter than its header says, before SQLite touches it. With a write-ahead log beside it that may be the
/// trace of an interrupted checkpoint, which recovery completes.
pub(super) fn check_header(path: &Path) -> Result<(), LogError> {
    if length(&wal_path(path)) > 0 {
        return Ok(());
    }
    let mut header = [0; 32];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    read.map_err(|error| LogError::unusable(path, format!("is not a usable SQLite database ({error})")))?;
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(LogError::unusable(path, "is not a usable SQLite database; restore it from a backup"));
    }
    // https://www.sqlite.org/fileformat.html: page size at 16 (1 means 65536), pages at 28.
    let page_size = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65536,
        size => u64::from(size),
    };
    let expected = u64::from(u32::from_be_bytes([header[28], header[29], header[30], header[31]])) * page_size;
    let length = length(path);
    if length < expected {
        let reason = format!("is cut short: {length} of {expected} bytes; restore it from a backup");
        return Err(LogError::unusable(path, reason));
    }
    Ok(())
}

/// Reads through what is small, so that damage there is told at the start.
fn check_content(connection: &Connection, path: &Path) -> Result<(), LogError> {
    let tables = ["meta", "cursor", "webhook", "event", "message"];
    for table in tables {
        let read =
            connection.query_row(&format!("SELECT count(*) FROM (SELECT * FROM {table} LIMIT 1)"), [], |_| Ok(()));
        read.map_err(|error| unreadable(path, &error))?;
    }
    Ok(())
}

/// A full disk must never look like damage: who restores a backup then throws away what is good.
fn unreadable(path: &Path, error: &rusqlite::Error) -> LogError {
    use ErrorCode::{CannotOpen, DiskFull, PermissionDenied, ReadOnly, SystemIoFailure};
    let reason = match error.sqlite_error_code() {
        Some(DiskFull | SystemIoFailure | CannotOpen | ReadOnly | PermissionDenied) => format!(
            "cannot be opened ({error}): it needs to be writable, with some free space on its disk; nothing says that it is damaged"
        ),
        _ => format!("is damaged ({error}); restore it from a backup"),
    };
    LogError::unusable(path, reason)
}
