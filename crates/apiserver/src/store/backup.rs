//! Copying a store while it is in use, and putting a copy back.
//!
//! A copy holds everything but the key file. A restored store continues from a resourceVersion far beyond any that was handed
//! out before, and without history, so that every old watcher is told to list again (410) instead of missing something.

use std::{fs, io, path::Path};

use super::{Files, OpenError, format, lock};
use crate::files::sync_parent;

/// How far a restore moves resourceVersions forward. More writes than this between backup and restore are not expected,
/// and 2^53, the largest number that every JSON reader keeps exact, leaves room for a million restores.
const JUMP: i64 = 1_000_000_000;

/// Copies the store at `from` to the new file `to`, in one consistent state.
pub fn backup(from: Option<&Path>, to: &Path) -> Result<(), OpenError> {
    let Some(from) = from else {
        let source = io::Error::new(io::ErrorKind::Unsupported, "a store in memory has no file to copy");
        return Err(OpenError::Io { path: to.into(), source });
    };
    if to.exists() {
        return Err(OpenError::Io { path: to.into(), source: io::ErrorKind::AlreadyExists.into() });
    }
    let aside = format::with_suffix(to, ".part");
    let _ = fs::remove_file(&aside);
    private(&aside)?;
    let connection = format::connect(from)?;
    connection.execute("VACUUM INTO ?1", [aside.to_string_lossy()]).map_err(OpenError::sqlite(&aside))?;
    publish(&aside, to)
}

/// Puts the copy `from` in the place of a store that is not open. The key file must be the one it was made with.
///
/// # Errors
/// When the copy is not a usable store, or there is a store already (it is left as it is).
pub fn restore(from: &Path, files: &Files) -> Result<(), OpenError> {
    let _lock = lock(&files.store)?;
    if files.store.exists() {
        return Err(OpenError::Io { path: files.store.clone(), source: io::ErrorKind::AlreadyExists.into() });
    }
    let aside = format::with_suffix(&files.store, ".new");
    for leftover in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format::with_suffix(&aside, leftover));
    }
    private(&aside)?;
    copy(from, &aside).map_err(OpenError::io(from))?;
    let (connection, _) = format::open_existing(&aside, &files.key)?;
    let forward = || {
        let transaction = connection.unchecked_transaction()?;
        let version = format::fact::<i64>(&transaction, "version")? + JUMP;
        format::set_fact(&transaction, "version", version)?;
        format::set_fact(&transaction, "floor", version)?;
        transaction.execute("DELETE FROM changes", [])?;
        transaction.commit()
    };
    forward().map_err(OpenError::sqlite(&aside))?;
    connection.close().map_err(|(_, error)| OpenError::sqlite(&aside)(error))?;
    publish(&aside, &files.store)
}

/// Makes an empty file that only its owner may read, for SQLite or a copy to fill.
fn private(path: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.map(drop).map_err(OpenError::io(path))
}

fn copy(from: &Path, to: &Path) -> io::Result<u64> {
    io::copy(&mut fs::File::open(from)?, &mut fs::OpenOptions::new().write(true).open(to)?)
}

fn publish(aside: &Path, to: &Path) -> Result<(), OpenError> {
    let run = || {
        fs::File::open(aside)?.sync_all()?;
        fs::rename(aside, to)?;
        sync_parent(to)
    };
    run().map_err(OpenError::io(to))
}
