//! Online backup and restore of the delivery log.
//!
//! A restored log may be older than what was sent since: those messages are sent again, with the same ids. Its cursor is older too,
//! so what the source still holds is accepted again and told once more.

use std::{
    fs::{self, File},
    path::Path,
};

use rusqlite::Connection;

use super::{DeliveryLog, error::LogError, files};

impl DeliveryLog {
    /// Copies the log, as it is now, into a directory that is made for it; deliveries go on.
    ///
    /// # Errors
    /// `Storage`, `Full` (of the target's disk); the target is then to be thrown away.
    pub async fn backup_to(&self, target: &Path) -> Result<(), LogError> {
        let target = target.to_path_buf();
        let source = self.shared.path.clone();
        let copy = move |_: &Connection| {
            fs::create_dir_all(&target)?;
            let path = files::database_path(&target);
            // One reading transaction: a snapshot, whatever is written meanwhile.
            files::connect(&source)?.execute("VACUUM INTO ?1", [path.to_string_lossy()])?;
            File::open(&path)?.sync_all()?;
            files::sync_directory(&target)
        };
        self.readers.run(&self.shared, copy).await
    }
}

/// Makes a log directory at `target`, which must not exist, from a backup. Blocking. All or nothing: the directory appears when it is
/// complete.
///
/// # Errors
/// `Unusable` for a backup that is damaged or newer, or a target that exists.
pub fn restore(backup: &Path, target: &Path) -> Result<(), LogError> {
    if target.exists() {
        return Err(LogError::unusable(target, "exists; restore into a new directory"));
    }
    let source = files::database_path(backup);
    files::check_header(&source)?;
    files::check_kind(&files::connect(&source)?, &source)?;
    let partial = target.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial)?;
    let copy = files::database_path(&partial);
    fs::copy(&source, &copy)?;
    begin_life(&copy)?;
    File::open(&copy)?.sync_all()?;
    files::sync_directory(&partial)?;
    fs::rename(&partial, target)?;
    files::sync_directory(target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// Moves the position above every one that the lost life can have given (the time in microseconds, which no log outruns), so that
/// whoever watched that life is told to list again.
fn begin_life(path: &Path) -> Result<(), LogError> {
    let connection = files::connect(path)?;
    connection.execute(
        "INSERT OR REPLACE INTO meta SELECT 'position', max(?1, coalesce((SELECT value FROM meta WHERE name = 'position'), 0) + 1)",
        [super::schema::now()],
    )?;
    connection.close().map_err(|(_, error)| error.into())
}
