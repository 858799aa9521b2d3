//! The store's file: how it is made, recognised, checked and brought to the present format.
//!
//! A new store is made aside and renamed into place, so a file by the store's name is always a whole store: whatever does not
//! look like one is damage and is refused, never silently replaced by an empty one. The format version is SQLite's
//! `user_version`; `application_id` says whose file it is. Older formats are migrated in one transaction after a copy was
//! kept; newer ones are refused.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, params};

use super::{cipher::Cipher, error::OpenError};
use crate::files::sync_parent;

/// The format that this release reads and writes.
pub const FORMAT: i64 = 1;
/// `RSTD`: marks the file as ours.
const APPLICATION_ID: i64 = 0x5253_5444;
/// How long the integrity check at open may take; a store too large for it is trusted.
const CHECK_TIME: Duration = Duration::from_secs(2);
/// What the key check row holds, sealed.
const KEY_CHECK: &[u8] = b"roadstead";

/// Format 1.
///
/// `objects.body` is the present JSON (or a sealed body, see the cipher). `changes` is an undo log: each row has the body
/// before the change, so the body after it is that of the key's next change, or the present one. No body is stored twice,
/// and every kept change can tell both what was and what became. `resources.floor` is the version up to which a resource's
/// changes are no longer kept.
const SCHEMA: &str = "
    CREATE TABLE facts (name TEXT PRIMARY KEY, value ANY NOT NULL) WITHOUT ROWID, STRICT;
    CREATE TABLE resources (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, floor INTEGER NOT NULL) STRICT;
    CREATE TABLE objects (
        id INTEGER PRIMARY KEY, resource INTEGER NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
        version INTEGER NOT NULL, body BLOB NOT NULL, UNIQUE (resource, namespace, name)) STRICT;
    CREATE TABLE changes (
        version INTEGER PRIMARY KEY, resource INTEGER NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
        before_version INTEGER, before BLOB) STRICT;
";

/// One step from a format to the next.
pub type Migration = fn(&Connection) -> rusqlite::Result<()>;

/// `MIGRATIONS[n]` leads from format n + 1 to n + 2.
const MIGRATIONS: &[Migration] = &[];

/// Opens the store's file at `path`, making it if it is not there, and its cipher.
pub fn open(path: &Path, key_file: &Path) -> Result<(Connection, Cipher), OpenError> {
    let exists = path.try_exists().map_err(OpenError::io(path))?;
    if !exists {
        create(path, &Cipher::from_file(key_file, true)?)?;
    }
    open_existing(path, key_file)
}

/// Opens a store's file that must be there, and its cipher.
pub fn open_existing(path: &Path, key_file: &Path) -> Result<(Connection, Cipher), OpenError> {
    recognise(path)?;
    let connection = connect(path)?;
    migrate(&connection, path, MIGRATIONS)?;
    check(&connection, path)?;
    let cipher = Cipher::from_file(key_file, false)?;
    let sealed: Vec<u8> = fact(&connection, "key-check").map_err(OpenError::sqlite(path))?;
    if cipher.open("key-check", &sealed).as_deref() != Some(KEY_CHECK) {
        return Err(OpenError::Key { path: key_file.into(), reason: "it belongs to another store".into() });
    }
    Ok((connection, cipher))
}

/// A connection with the settings that all of the store's connections share.
pub fn connect(path: &Path) -> Result<Connection, OpenError> {
    let set_up = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        // The checkpointer and the writer may meet for a moment; neither must fail for it.
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        Ok(connection)
    };
    set_up().map_err(OpenError::sqlite(path))
}

/// A value of the `facts` table.
pub fn fact<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> rusqlite::Result<T> {
    connection.query_row("SELECT value FROM facts WHERE name = ?1", [name], |row| row.get(0))
}

/// Sets a value of the `facts` table.
pub fn set_fact(connection: &Connection, name: &str, value: impl rusqlite::ToSql) -> rusqlite::Result<()> {
    connection.prepare_cached("INSERT OR REPLACE INTO facts VALUES (?1, ?2)")?.execute(params![name, value])?;
    Ok(())
}

fn create(path: &Path, cipher: &Cipher) -> Result<(), OpenError> {
    let aside = with_suffix(path, ".new");
    for leftover in ["", "-wal", "-shm"] {
        let leftover = with_suffix(&aside, leftover);
        match fs::remove_file(&leftover) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(OpenError::io(leftover)(error)),
            _ => {}
        }
    }
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside).map_err(OpenError::io(&aside))?;
    let connection = connect(&aside)?;
    let fill = || {
        connection.execute_batch("BEGIN")?;
        connection.execute_batch(SCHEMA)?;
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        connection.pragma_update(None, "user_version", FORMAT)?;
        set_fact(&connection, "version", 0)?;
        set_fact(&connection, "floor", 0)?;
        set_fact(&connection, "key-check", cipher.seal("key-check", KEY_CHECK))?;
        connection.execute_batch("COMMIT")
    };
    fill().map_err(OpenError::sqlite(&aside))?;
    // Closing the last connection copies everything from the WAL into the file.
    connection.close().map_err(|(_, error)| OpenError::sqlite(&aside)(error))?;
    let publish = || {
        fs::File::open(&aside)?.sync_all()?;
        fs::rename(&aside, path)?;
        sync_parent(path)
    };
    publish().map_err(OpenError::io(path))
}

/// Refuses what is not a store or is newer, without touching it: read from the header (SQLite file format, section 1.3).
fn recognise(path: &Path) -> Result<(), OpenError> {
    let corrupt = |reason: &str| OpenError::Corrupt { path: path.into(), reason: reason.into() };
    let mut header = [0_u8; 100];
    let mut file = fs::File::open(path).map_err(OpenError::io(path))?;
    let length = file.metadata().map_err(OpenError::io(path))?.len();
    std::io::Read::read_exact(&mut file, &mut header).map_err(|_| corrupt("it is cut off"))?;
    let number = |at: usize| header[at..at + 4].iter().fold(0_i64, |number, byte| number << 8 | i64::from(*byte));
    if !header.starts_with(b"SQLite format 3\0") || number(68) != APPLICATION_ID {
        return Err(corrupt("it is some other file"));
    }
    let page_size = i64::from(header[16]) << 8 | i64::from(header[17]);
    let page_size = if page_size == 1 { 65536 } else { page_size };
    // A kill in the middle of a checkpoint leaves a short file too, but then the WAL has the rest.
    let wal = fs::metadata(with_suffix(path, "-wal")).map_or(0, |wal| wal.len());
    if wal == 0 && i64::try_from(length).unwrap_or(i64::MAX) < number(28) * page_size {
        return Err(corrupt("it is cut off"));
    }
    match number(60) {
        found if found > FORMAT => Err(OpenError::Newer { path: path.into(), found, known: FORMAT }),
        found if found < 1 => Err(corrupt("it has no format version")),
        _ => Ok(()),
    }
}

/// Brings the file to the newest format, one transaction for all steps; a copy by the name of the old format stays.
fn migrate(connection: &Connection, path: &Path, steps: &[Migration]) -> Result<(), OpenError> {
    let newest = 1 + i64::try_from(steps.len()).unwrap_or_default();
    let found: i64 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(OpenError::sqlite(path))?;
    if found > newest {
        // The header was older: a newer release's migration is still in the WAL.
        return Err(OpenError::Newer { path: path.into(), found, known: newest });
    }
    if found == newest {
        return Ok(());
    }
    let done = usize::try_from(found - 1).unwrap_or_default();
    let run = || {
        let copy = with_suffix(path, &format!(".format-{found}"));
        if !copy.exists() {
            connection.execute("VACUUM INTO ?1", [copy.to_string_lossy()])?;
        }
        let transaction = connection.unchecked_transaction()?;
        for step in &steps[done..] {
            step(&transaction)?;
        }
        transaction.pragma_update(None, "user_version", newest)?;
        transaction.commit()
    };
    run().map_err(OpenError::sqlite(path))
}

/// SQLite's own check, bounded in time.
fn check(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let (done, waiting) = mpsc::channel::<()>();
    let interrupt = connection.get_interrupt_handle();
    let guard = thread::spawn(move || {
        if waiting.recv_timeout(CHECK_TIME) == Err(mpsc::RecvTimeoutError::Timeout) {
            interrupt.interrupt();
        }
    });
    let answer = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    drop(done);
    let _ = guard.join();
    match answer {
        Ok(answer) if answer == "ok" => Ok(()),
        Ok(answer) => Err(OpenError::Corrupt { path: path.into(), reason: answer }),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) => Ok(()),
        Err(error) => Err(OpenError::sqlite(path)(error)),
    }
}

/// `path` with `suffix` added to its name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (path, key) = (dir.path().join("store.db"), dir.path().join("store.key"));
        open(&path, &key).unwrap();
        (dir, path, key)
    }

    #[test]
    fn damage_is_refused_with_the_reason_and_left_alone() {
        let (_dir, path, key) = fresh();
        let whole = fs::read(&path).unwrap();
        let mut other = whole.clone();
        other[68..72].copy_from_slice(b"ELSE");
        let mut broken = whole.clone();
        broken[4096..8192].fill(0x55);
        let mut newer = whole.clone();
        newer[60..64].copy_from_slice(&2_u32.to_be_bytes());
        for (bytes, expected) in [
            (vec![], "cut off"),
            (whole[..50].to_vec(), "cut off"),
            (whole[..4096].to_vec(), "cut off"),
            (whole[..whole.len() - 1].to_vec(), "cut off"),
            (b"hello".repeat(1000), "some other file"),
            (other, "some other file"),
            (broken, "not a usable store"),
            (newer, "has format 2, and this release knows formats up to 1"),
        ] {
            fs::write(&path, &bytes).unwrap();
            let error = open(&path, &key).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }

    #[test]
    fn only_its_own_key_opens_a_store() {
        let (dir, path, key) = fresh();
        fs::rename(&key, dir.path().join("away")).unwrap();
        assert!(open(&path, &key).unwrap_err().to_string().contains("missing"));
        Cipher::from_file(&key, true).unwrap();
        assert!(open(&path, &key).unwrap_err().to_string().contains("another store"));
    }

    #[test]
    fn a_half_made_store_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("store.db.new"), b"half").unwrap();
        open(&dir.path().join("store.db"), &dir.path().join("store.key")).unwrap();
    }

    #[test]
    fn older_formats_are_migrated_whole_after_a_copy() {
        let (_dir, path, _key) = fresh();
        let connection = connect(&path).unwrap();
        let fine: Migration = |c| c.execute_batch("CREATE TABLE extra (a INTEGER)");
        let failing: Migration = |c| c.execute_batch("CREATE TABLE nonsense (");
        let format = |c: &Connection| c.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).unwrap();
        assert!(migrate(&connection, &path, &[fine, failing]).is_err());
        assert_eq!(format(&connection), 1);
        assert!(connection.prepare("SELECT * FROM extra").is_err());
        migrate(&connection, &path, &[fine]).unwrap();
        assert_eq!(format(&connection), 2);
        assert!(connection.prepare("SELECT * FROM extra").is_ok());
        assert_eq!(format(&Connection::open(with_suffix(&path, ".format-1")).unwrap()), 1);
    }
}
