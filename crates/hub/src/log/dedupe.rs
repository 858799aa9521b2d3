//! The writer's memory of ids: exact for the segments that are not sealed yet, fingerprints and id files for the rest.

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::Arc,
};

use rusqlite::Connection;

use super::{
    error::LogError,
    ids::{self, IdHash},
    segment::Segment,
    shared::Shared,
};

/// Open id files kept by the writer.
const OPEN_FILES: usize = 32;

/// The ids of one segment that has no id file yet: sequence by hash.
pub(super) type RecentIds = HashMap<IdHash, u64>;

/// Owned by the writer, so that looking up and recording an id is one step.
pub(super) struct Dedupe {
    shared: Arc<Shared>,
    recent: VecDeque<(Arc<Segment>, RecentIds)>,
    /// Of the transaction that is open.
    pending: RecentIds,
    files: IdFiles,
}

impl Dedupe {
    /// `recent`: the ids of every segment that is not sealed, the one being written last.
    pub fn new(shared: Arc<Shared>, recent: VecDeque<(Arc<Segment>, RecentIds)>) -> Self {
        let files = IdFiles { directory: shared.directory.clone(), open: Vec::new() };
        Self { shared, recent, pending: RecentIds::default(), files }
    }

    /// The sequence of the event that has this id.
    pub fn find(&mut self, hash: &IdHash) -> Result<Option<u64>, LogError> {
        if let Some(sequence) = self.pending.get(hash) {
            return Ok(Some(*sequence));
        }
        if let Some(sequence) = self.recent.iter().rev().find_map(|(_, ids)| ids.get(hash)) {
            return Ok(Some(*sequence));
        }
        for ordinal in self.shared.fingerprints.candidates(hash) {
            if let Some((sequence, _)) = self.files.lookup(ordinal, hash)? {
                return Ok(Some(sequence));
            }
        }
        Ok(None)
    }

    /// Takes note of an id within the open transaction.
    pub fn note(&mut self, hash: IdHash, sequence: u64) {
        self.pending.insert(hash, sequence);
    }

    /// The transaction is on disk.
    pub fn commit(&mut self) {
        let pending = self.pending.drain();
        if let Some((_, ids)) = self.recent.back_mut() {
            ids.extend(pending);
        }
    }

    /// The transaction is undone.
    pub fn rollback(&mut self) {
        self.pending.clear();
    }

    /// Another segment is being written. Segments sealed meanwhile have their fingerprints in memory.
    pub fn roll(&mut self, active: Arc<Segment>) {
        self.forget_sealed();
        self.recent.push_back((active, RecentIds::default()));
    }

    /// Drops exact ids that the id files have taken over.
    pub fn forget_sealed(&mut self) {
        while self.recent.len() > 1 && self.recent.front().is_some_and(|(segment, _)| segment.sealed()) {
            self.recent.pop_front();
        }
    }
}

/// Connections to id files, least recently used first.
struct IdFiles {
    directory: PathBuf,
    open: Vec<(u64, Connection)>,
}

impl IdFiles {
    fn lookup(&mut self, ordinal: u64, hash: &IdHash) -> Result<Option<(u64, u64)>, LogError> {
        match self.open.iter().position(|(open, _)| *open == ordinal) {
            Some(index) => {
                let entry = self.open.remove(index);
                self.open.push(entry);
            }
            None => {
                let connection = match ids::open(&self.directory, ordinal) {
                    Ok(connection) => connection,
                    // It expired between the fingerprint and now.
                    Err(_) if !super::files::ids_path(&self.directory, ordinal).exists() => return Ok(None),
                    Err(error) => return Err(error),
                };
                if self.open.len() >= OPEN_FILES {
                    self.open.remove(0);
                }
                self.open.push((ordinal, connection));
            }
        }
        match self.open.last() {
            Some((_, connection)) => ids::lookup(connection, hash),
            None => Ok(None),
        }
    }
}
