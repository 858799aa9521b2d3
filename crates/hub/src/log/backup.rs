//! Online backup and restore.
//!
//! A backup closes the segment being written and copies what is sealed, which never changes again, then the catalogue; appends go on
//! meanwhile, retention waits. A restore starts another life of the log: its positions begin above every position that the lost life
//! can have given (the time in microseconds, which no log outruns), so that a reader with a position of the lost life is told to list
//! again instead of silently missing or repeating events.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    catalogue::{Catalogue, Life},
    error::LogError,
    files, ids,
    local::LocalLog,
    segment::Segment,
    shared::{Shared, lock},
    writer::Message,
};

/// How long a backup waits for the segments to be sealed.
const SEALING: Duration = Duration::from_secs(120);

impl LocalLog {
    /// Copies the log, as it is now, into a directory that is made for it; appends go on. What was acknowledged before the call is in
    /// the copy. Errors: `Storage`, `Full` (of the target's disk); the target is then to be thrown away.
    pub async fn backup_to(&self, target: &Path) -> Result<(), LogError> {
        let (reply, rolled) = oneshot::channel();
        let queue = self.queue.clone();
        // The queue may be full; this waits for its turn.
        let sent = tokio::task::spawn_blocking(move || queue.send(Message::Roll(Some(reply))).is_ok());
        if !sent.await.unwrap_or(false) {
            return Err(LogError::Closed);
        }
        rolled.await.map_err(|_| LogError::Closed)??;
        let (shared, target, janitor) = (self.shared.clone(), target.to_path_buf(), self.janitor.clone());
        let copied = tokio::task::spawn_blocking(move || {
            let head = shared.head();
            let deadline = Instant::now() + SEALING;
            while closed(&shared, head).any(|segment| !segment.sealed()) {
                if Instant::now() > deadline {
                    return Err(LogError::Storage("closing the segments for the backup took too long".into()));
                }
                janitor.ring();
                std::thread::sleep(Duration::from_millis(5));
            }
            copy(&shared, head, &target)
        });
        copied.await.map_err(|error| LogError::Storage(error.to_string()))?
    }
}

/// Segments whose events are all at or below `head`.
fn closed(shared: &Shared, head: u64) -> impl Iterator<Item = Arc<Segment>> {
    shared.segments().into_iter().filter(move |segment| !segment.is_empty() && segment.last() <= head)
}

fn copy(shared: &Shared, head: u64, target: &Path) -> Result<(), LogError> {
    fs::create_dir_all(target)?;
    let _no_removal = lock(&shared.removal);
    let segments: Vec<PathBuf> = closed(shared, head).filter(|s| s.sealed()).map(|s| s.path.clone()).collect();
    let ids: Vec<PathBuf> = lock(&shared.extents)
        .iter()
        .filter(|(_, extent)| extent.last <= head)
        .map(|(ordinal, _)| files::ids_path(&shared.directory, *ordinal))
        .collect();
    for path in segments.iter().chain(&ids) {
        copy_file(path, target)?;
    }
    lock(&shared.catalogue).copy_to(&files::catalogue_path(target))?;
    File::open(files::catalogue_path(target))?.sync_all()?;
    files::sync_directory(target)
}

fn copy_file(path: &Path, target: &Path) -> Result<(), LogError> {
    let Some(name) = path.file_name() else { return Ok(()) };
    let copy = target.join(name);
    fs::copy(path, &copy)?;
    Ok(File::open(copy)?.sync_all()?)
}

/// Makes a log directory at `target`, which must not exist, from a backup. Blocking. All or nothing: the directory appears when it is
/// complete. Errors: `Unusable` for a backup that is damaged or newer, or a target that exists.
pub fn restore(backup: &Path, target: &Path) -> Result<(), LogError> {
    if target.exists() {
        return Err(LogError::unusable(target, "exists; restore into a new directory"));
    }
    let partial = target.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial)?;
    let (segments, id_files) = files::scan(backup)?;
    for ordinal in &segments {
        copy_file(&files::segment_path(backup, *ordinal), &partial)?;
    }
    for ordinal in &id_files {
        copy_file(&files::ids_path(backup, *ordinal), &partial)?;
    }
    copy_file(&files::catalogue_path(backup), &partial)?;
    begin_life(&partial, &segments, &id_files)?;
    files::sync_directory(&partial)?;
    fs::rename(&partial, target)?;
    match target.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => files::sync_directory(parent),
        None => files::sync_directory(Path::new(".")),
    }
}

/// Moves the next position of a directory that is not open.
fn begin_life(directory: &Path, segments: &[u64], id_files: &[u64]) -> Result<(), LogError> {
    let mut catalogue = Catalogue::open(directory, false)?;
    let mut head = catalogue.head()?;
    for ordinal in id_files {
        head = head.max(ids::inspect(directory, *ordinal)?.last);
    }
    for ordinal in segments {
        let segment = Segment::new(directory, *ordinal);
        drop(segment.open()?);
        head = head.max(segment.last());
    }
    let now = u64::try_from(jiff::Timestamp::now().as_microsecond()).unwrap_or(0);
    catalogue.begin(Life { after: head, start: now.max(head + 2) })
}
