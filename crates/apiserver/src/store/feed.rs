//! The last changes of one resource: a ring bounded in number and bytes, which every watcher reads at its own pace.
//!
//! Watchers hold a position (a resourceVersion) and wait for a newer one; nothing is queued for anybody, so a slow watcher
//! costs nothing and, once its position has left the ring, is told so. Because each change keeps what was before it, the
//! ring also answers what the resource looked like at any version that it covers.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use tokio::sync::watch;

use super::plan::{Change, Table};

/// How much history a resource keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Changes.
    pub changes: usize,
    /// Bytes of their objects.
    pub bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { changes: 10_000, bytes: 32 << 20 }
    }
}

/// A position that is older than what is kept; the watcher must list again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {asked} ({oldest})")]
pub struct Gone {
    /// The position asked for.
    pub asked: u64,
    /// The oldest that can be resumed from.
    pub oldest: u64,
}

/// The ring. All changes after `floor` are in it, in order.
#[derive(Debug)]
pub(super) struct Ring {
    bounds: Bounds,
    floor: u64,
    bytes: usize,
    changes: VecDeque<Arc<Change>>,
}

impl Ring {
    /// Adds a change, which is newer than all before, and tells the versions of those that fell off.
    pub(super) fn push(&mut self, change: Arc<Change>, mut fell_off: impl FnMut(u64)) {
        self.bytes += change.size();
        self.changes.push_back(change);
        while self.changes.len() > self.bounds.changes || (self.bytes > self.bounds.bytes && self.changes.len() > 1) {
            let Some(old) = self.changes.pop_front() else { break };
            self.bytes -= old.size();
            self.floor = old.version;
            fell_off(old.version);
        }
    }
}

/// The changes of one resource.
#[derive(Debug)]
pub struct Feed {
    ring: RwLock<Ring>,
    newest: watch::Sender<u64>,
}

impl Feed {
    /// An empty feed that can be resumed from `floor` on.
    pub fn new(bounds: Bounds, floor: u64) -> Self {
        let ring = Ring { bounds, floor, bytes: 0, changes: VecDeque::new() };
        Self { ring: RwLock::new(ring), newest: watch::Sender::new(floor) }
    }

    fn read(&self) -> RwLockReadGuard<'_, Ring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ring, for the writer alone: it holds this while it swaps the state, so that nobody sees a change in one of
    /// them and not in the other.
    pub(super) fn lock(&self) -> RwLockWriteGuard<'_, Ring> {
        self.ring.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest version that can be resumed from.
    pub fn floor(&self) -> u64 {
        self.read().floor
    }

    /// Wakes the watchers for everything up to `version`.
    pub(super) fn wake(&self, version: u64) {
        self.newest.send_replace(version);
    }

    /// At most `limit` changes after `version`.
    ///
    /// # Errors
    /// [`Gone`] when some of them are no longer kept.
    pub fn after(&self, version: u64, limit: usize) -> Result<Vec<Arc<Change>>, Gone> {
        let ring = self.read();
        if version < ring.floor {
            return Err(Gone { asked: version, oldest: ring.floor });
        }
        let first = ring.changes.partition_point(|change| change.version <= version);
        Ok(ring.changes.range(first..).take(limit).cloned().collect())
    }

    /// What `table`, the present one at `present`, looked like at `version`, by undoing the changes after it.
    ///
    /// # Errors
    /// [`Gone`] when some of them are no longer kept.
    pub fn rewind(&self, mut table: Table, present: u64, version: u64) -> Result<Table, Gone> {
        let ring = self.read();
        if version < ring.floor {
            return Err(Gone { asked: version, oldest: ring.floor });
        }
        for change in ring.changes.iter().rev().skip_while(|change| change.version > present) {
            if change.version <= version {
                break;
            }
            match &change.before {
                Some(before) => table.insert(change.key.clone(), before.clone()),
                None => table.remove(&*change.key),
            };
        }
        Ok(table)
    }

    /// The version of the last change.
    pub fn version(&self) -> u64 {
        *self.newest.borrow()
    }

    /// Tells the version of the last change.
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// A cursor behind `version`.
    pub fn cursor(self: &Arc<Self>, version: u64) -> Cursor {
        Cursor { newest: self.newest.subscribe(), feed: self.clone(), position: version }
    }
}

/// One watcher's place in a feed.
#[derive(Debug)]
pub struct Cursor {
    feed: Arc<Feed>,
    newest: watch::Receiver<u64>,
    position: u64,
}

impl Cursor {
    /// The version up to which everything has been handed out.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// At most `limit` changes that are there already; empty if there are none.
    ///
    /// # Errors
    /// [`Gone`] when this cursor was too slow.
    pub fn ready(&mut self, limit: usize) -> Result<Vec<Arc<Change>>, Gone> {
        self.newest.mark_unchanged();
        let changes = self.feed.after(self.position, limit)?;
        if let Some(last) = changes.last() {
            self.position = last.version;
        }
        Ok(changes)
    }

    /// Waits until there may be more. `false`: the store is closed.
    pub async fn changed(&mut self) -> bool {
        self.newest.changed().await.is_ok()
    }
}
