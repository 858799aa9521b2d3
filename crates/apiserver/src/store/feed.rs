//! The last changes of one resource: a ring bounded in number and bytes, which every watcher reads at its own pace.
//!
//! Watchers hold a position (a resourceVersion) and wait for a newer one; nothing is queued for anybody, so a slow watcher
//! costs nothing and, once its position has left the ring, is told so. Who follows one namespace sleeps while others change, but
//! for a nudge now and then, so that its position does not leave the ring. Because each change keeps what was before it, the ring
//! also answers what the resource looked like at any version that it covers.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
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

/// Those who follow one namespace each.
#[derive(Debug, Default)]
struct Scoped {
    newest: HashMap<String, watch::Sender<u64>>,
    /// Changes, and bytes of them, since all were woken.
    changes: usize,
    bytes: usize,
}

/// The changes of one resource.
#[derive(Debug)]
pub struct Feed {
    ring: RwLock<Ring>,
    bounds: Bounds,
    newest: watch::Sender<u64>,
    scoped: Mutex<Scoped>,
}

impl Feed {
    /// An empty feed that can be resumed from `floor` on.
    pub fn new(bounds: Bounds, floor: u64) -> Self {
        let ring = Ring { bounds, floor, bytes: 0, changes: VecDeque::new() };
        Self { ring: RwLock::new(ring), bounds, newest: watch::Sender::new(floor), scoped: Mutex::default() }
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

    /// Wakes those whom `changes`, which end with `version`, concern; and everybody before a quarter of the ring is new to them.
    pub(super) fn wake(&self, version: u64, changes: &[&Arc<Change>]) {
        self.newest.send_replace(version);
        let mut scoped = self.scoped();
        if scoped.newest.is_empty() {
            return;
        }
        scoped.changes += changes.len();
        scoped.bytes += changes.iter().map(|change| change.size()).sum::<usize>();
        if scoped.changes > self.bounds.changes / 4 || scoped.bytes > self.bounds.bytes / 4 {
            (scoped.changes, scoped.bytes) = (0, 0);
            for newest in scoped.newest.values() {
                newest.send_replace(version);
            }
            return;
        }
        for change in changes {
            if let Some(newest) = scoped.newest.get(&*change.key.namespace) {
                newest.send_replace(version);
            }
        }
    }

    fn scoped(&self) -> MutexGuard<'_, Scoped> {
        self.scoped.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// A cursor behind `version`, woken for changes of `namespace`, or of all. It hands out the others' too.
    pub fn cursor(self: &Arc<Self>, version: u64, namespace: Option<&str>) -> Cursor {
        let newest = match namespace {
            None => self.newest.subscribe(),
            Some(namespace) => {
                let mut scoped = self.scoped();
                // Nobody else comes by when a watcher has gone.
                scoped.newest.retain(|_, newest| newest.receiver_count() > 0);
                let newest = scoped.newest.entry(namespace.into());
                newest.or_insert_with(|| watch::Sender::new(version)).subscribe()
            }
        };
        Cursor { newest, feed: self.clone(), position: version }
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
