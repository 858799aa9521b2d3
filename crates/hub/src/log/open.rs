//! Opening a log directory: refuse what is damaged or newer, recover what a crash left, then start the threads' state.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{DirBuilder, File, TryLockError},
    os::unix::fs::DirBuilderExt,
    path::Path,
    sync::Arc,
};

use rusqlite::Connection;

use super::{
    catalogue::Catalogue,
    dedupe::Dedupe,
    error::LogError,
    files, ids,
    options::Options,
    seal,
    segment::Segment,
    shared::{Found, Shared, lock, read, write},
};

/// A log that is open but does not run yet.
pub(super) struct Opened {
    pub shared: Arc<Shared>,
    /// The segment to write to.
    pub active: Arc<Segment>,
    pub connection: Connection,
    pub dedupe: Dedupe,
    pub position: u64,
    /// Id files to load, newest last.
    pub unloaded: Vec<u64>,
    /// Held while the log is open.
    pub lock: File,
}

/// Opens the log in `directory`, which is made if need be. Blocking.
pub(super) fn open(directory: &Path, options: Options) -> Result<Opened, LogError> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let lock_file = hold(directory)?;
    let (mut segments, id_files) = files::scan(directory)?;
    let new = !files::catalogue_path(directory).exists();
    if new && !(segments.is_empty() && id_files.is_empty()) {
        return Err(LogError::unusable(
            files::catalogue_path(directory),
            "is missing, but there are segments; restore the whole directory from a backup",
        ));
    }
    let catalogue = Catalogue::open(directory, new)?;
    let mut extents = BTreeMap::new();
    for ordinal in &id_files {
        extents.insert(*ordinal, ids::inspect(directory, *ordinal)?);
    }
    let mut opened = Vec::new();
    for ordinal in segments.drain(..) {
        let segment = Arc::new(Segment::new(directory, ordinal));
        let connection = segment.open()?;
        opened.push((segment, connection));
    }
    discard_spare(&mut opened)?;
    let shared = load(directory, options, catalogue, &mut opened, extents)?;
    start(shared, opened, lock_file, id_files)
}

fn hold(directory: &Path) -> Result<File, LogError> {
    let path = directory.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::unusable(directory, "is in use by another process")),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// A spare that a crash left behind the segment being written would close that one early.
fn discard_spare(opened: &mut Vec<(Arc<Segment>, Connection)>) -> Result<(), LogError> {
    while let [.., (before, _), (last, _)] = opened.as_slice() {
        if !last.is_empty() || before.sealed() {
            break;
        }
        let path = last.path.clone();
        opened.pop();
        files::remove(&path)?;
    }
    Ok(())
}

/// Puts together what the catalogue and the segments know.
fn load(
    directory: &Path,
    options: Options,
    catalogue: Catalogue,
    opened: &mut [(Arc<Segment>, Connection)],
    extents: BTreeMap<u64, ids::Extent>,
) -> Result<Arc<Shared>, LogError> {
    let lives = catalogue.lives()?;
    let mut rows = catalogue.streams()?;
    for (segment, _) in opened.iter() {
        for row in &mut rows {
            if let Some(share) = segment.share(row.key) {
                row.last_sequence = row.last_sequence.max(share.last_sequence);
                row.last_position = row.last_position.max(share.last_position);
            }
        }
    }
    let head = opened.iter().map(|(segment, _)| segment.last()).max().unwrap_or(0).max(catalogue.head()?);
    let segments = opened.iter().map(|(segment, _)| segment.clone()).collect();
    let shared = Shared::new(directory.into(), options, catalogue, Found { lives, segments, extents, head });
    for row in rows {
        shared.load_stream(row);
    }
    Ok(Arc::new(shared))
}

/// Chooses the segment to write to, and hands the closed but unsealed ones to the janitor.
fn start(
    shared: Arc<Shared>,
    mut opened: Vec<(Arc<Segment>, Connection)>,
    lock_file: File,
    unloaded: Vec<u64>,
) -> Result<Opened, LogError> {
    let last = read(&shared.segments).last().map(|segment| segment.ordinal);
    let ordinal = last.max(unloaded.last().copied()).unwrap_or(0) + 1;
    let (active, connection) = match opened.pop_if(|(segment, _)| !segment.sealed()) {
        Some(active) => active,
        None => {
            let (segment, connection) = shared.new_segment(ordinal)?;
            write(&shared.segments).push(segment.clone());
            (segment, connection)
        }
    };
    let mut recent = VecDeque::new();
    for (segment, connection) in opened {
        if lock(&shared.extents).contains_key(&segment.ordinal) && segment.sealed() {
            continue;
        }
        // Also one whose id file is lost: it is sealed again.
        segment.set_sealed(false);
        recent.push_back((segment.clone(), seal::recent_ids(&shared, &connection)?));
        lock(&shared.closing).push((segment, connection));
    }
    recent.push_back((active.clone(), seal::recent_ids(&shared, &connection)?));
    shared.measure()?;
    let position = shared.head();
    let dedupe = Dedupe::new(shared.clone(), recent);
    Ok(Opened { shared, active, connection, dedupe, position, unloaded, lock: lock_file })
}
