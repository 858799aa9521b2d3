//! Durable objects with resourceVersions, and what changed about them.
//!
//! What flows in: [`Write`]s, each with what it expects of the object. What flows out: an immutable [`State`] of all objects,
//! which reading never waits for, and a [`Feed`] of changes for each resource.
//!
//! One write goes: [`Store::write`] → the writer thread → [`plan`] decides the batch → SQLite, one transaction, one fsync →
//! the new state and the feeds' rings are shown together → watchers wake → the caller is answered. Whatever fails before the
//! fsync leaves no trace; nothing is shown or answered before it.
//!
//! Lists are consistent without keeping snapshots: [`Store::table_at`] undoes the changes of the ring, which are kept for
//! watchers anyway, and survive a restart with them. A store without a path has no file and is otherwise the same.

mod backup;
mod checkpoint;
mod cipher;
mod disk;
mod error;
mod feed;
mod format;
mod object;
mod plan;
mod stats;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    thread,
    time::Duration,
};

use arc_swap::ArcSwap;
use roadstead_kubewire::Key;
use tokio::sync::{mpsc, oneshot, watch};

pub use backup::restore;
pub use error::{OpenError, WriteError};
pub use feed::{Bounds, Cursor, Feed, Gone};
pub use object::{Draft, Object};
pub use plan::{Action, Change, Expect, Guard, Refusal, ResourceName, State, Table, Write};
pub use stats::Stats;

use self::{
    checkpoint::Checkpointer,
    disk::{Disk, Loaded},
    writer::{Durable, Job, Writer},
};

/// Writes that may wait.
const QUEUE: usize = 1024;
/// How long a write waits for a place in the queue.
const QUEUE_WAIT: Duration = Duration::from_secs(10);

/// Where a store lives and how much history it keeps.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The file and the key file; `None`: memory only.
    pub files: Option<Files>,
    /// History of each resource.
    pub history: Bounds,
}

/// The store's files.
#[derive(Clone, Debug)]
pub struct Files {
    /// The SQLite file; `-wal` and `-shm` appear beside it, and `.lock`.
    pub store: PathBuf,
    /// The key that Secrets are sealed with; made at first start.
    pub key: PathBuf,
}

/// What readers and the writer share.
#[derive(Debug)]
struct Inner {
    state: ArcSwap<State>,
    version: watch::Sender<u64>,
    feeds: RwLock<HashMap<ResourceName, Arc<Feed>>>,
    history: Bounds,
    floor: u64,
    stats: Stats,
    path: Option<PathBuf>,
}

/// A handle on the store; cheap to clone. The writer thread ends when [`Store::close`] is called or all are gone.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
    jobs: Arc<RwLock<Option<mpsc::Sender<Job>>>>,
    thread: Arc<Mutex<Option<thread::JoinHandle<()>>>>,
}

impl Store {
    /// Opens a store; blocks while its file is read.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing has been changed then.
    pub fn open(options: &Options) -> Result<Self, OpenError> {
        let (disk, loaded, lock) = match &options.files {
            Some(files) => {
                let lock = lock(&files.store)?;
                let (disk, loaded) = Disk::open(&files.store, &files.key, options.history)?;
                let checkpointer = Checkpointer::start(&files.store)?;
                (Some(Durable { disk, checkpointer }), loaded, Some(lock))
            }
            None => (None, Loaded::default(), None),
        };
        let inner = Arc::new(Inner {
            version: watch::Sender::new(loaded.state.version),
            state: ArcSwap::from_pointee(loaded.state),
            feeds: RwLock::new(loaded.feeds),
            history: options.history,
            floor: loaded.floor,
            stats: Stats::default(),
            path: options.files.as_ref().map(|files| files.store.clone()),
        });
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let writer = Writer { inner: inner.clone(), durable: disk, dropped: loaded.dropped };
        let run = move || {
            writer.run(waiting);
            // A child that another thread is just starting shares the file until it runs its program: closing alone would not
            // let go. Nobody is left to be told of a failure.
            let _ = lock.map(|lock| lock.unlock());
        };
        let thread =
            thread::Builder::new().name("store-writer".into()).spawn(run).map_err(OpenError::io("store-writer"))?;
        Ok(Self { inner, jobs: Arc::new(RwLock::new(Some(jobs))), thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// All objects as of now. Never waits.
    pub fn state(&self) -> Arc<State> {
        self.inner.state.load_full()
    }

    /// The object, if it exists now.
    pub fn get(&self, resource: &str, key: &Key) -> Option<Arc<Object>> {
        self.inner.state.load().get(resource, key).cloned()
    }

    /// The objects of `resource` as they were at `version`.
    ///
    /// # Errors
    /// [`Gone`] when the changes since are no longer kept. A version that is still to come is answered like the present.
    pub fn table_at(&self, resource: &str, version: u64) -> Result<Table, Gone> {
        let state = self.state();
        match state.version <= version {
            true => Ok(state.table(resource)),
            false => self.feed(resource).rewind(state.table(resource), state.version, version),
        }
    }

    /// The changes of `resource`, to be followed with [`Feed::cursor`].
    pub fn feed(&self, resource: &str) -> Arc<Feed> {
        self.inner.feed(resource)
    }

    /// Waits until the store has reached `version`, for at most `patience`. `false`: it has not.
    pub async fn reached(&self, version: u64, patience: Duration) -> bool {
        let mut newest = self.inner.version.subscribe();
        let reached = newest.wait_for(|newest| *newest >= version);
        matches!(tokio::time::timeout(patience, reached).await, Ok(Ok(_)))
    }

    /// Does one write, and answers when it is durable.
    ///
    /// # Errors
    /// See [`WriteError`]. Nothing has changed, except that after `Closed` the outcome is unknown.
    pub async fn write(&self, write: Write) -> Result<Arc<Change>, WriteError> {
        let jobs = self.jobs.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(WriteError::Closed)?;
        let place = match tokio::time::timeout(QUEUE_WAIT, jobs.reserve()).await {
            Err(_) => return Err(WriteError::Busy),
            Ok(Err(_)) => return Err(WriteError::Closed),
            Ok(Ok(place)) => place,
        };
        let (reply, answer) = oneshot::channel();
        place.send(Job { write, reply });
        drop(jobs);
        answer.await.unwrap_or(Err(WriteError::Closed))
    }

    /// Counters.
    pub fn stats(&self) -> &Stats {
        &self.inner.stats
    }

    /// Copies the store to a new file while it is in use; Secrets stay sealed. Blocks. See [`restore`].
    ///
    /// # Errors
    /// When there is no file to copy, or the new one exists or cannot be written.
    pub fn backup(&self, to: &Path) -> Result<(), OpenError> {
        backup::backup(self.inner.path.as_deref(), to)
    }

    /// Does the writes that wait, refuses later ones, and closes the file. Blocks until done.
    pub fn close(&self) {
        drop(self.jobs.write().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Inner {
    fn feed(&self, resource: &str) -> Arc<Feed> {
        if let Some(feed) = self.feeds.read().unwrap_or_else(PoisonError::into_inner).get(resource) {
            return feed.clone();
        }
        let mut feeds = self.feeds.write().unwrap_or_else(PoisonError::into_inner);
        feeds.entry(resource.into()).or_insert_with(|| Arc::new(Feed::new(self.history, self.floor))).clone()
    }

    fn floors(&self) -> Vec<(ResourceName, u64)> {
        let feeds = self.feeds.read().unwrap_or_else(PoisonError::into_inner);
        feeds.iter().map(|(name, feed)| (name.clone(), feed.floor())).collect()
    }

    /// Shows a batch: the new state and the changes, together. Returns the versions that fell off the rings.
    fn publish(&self, next: State, changes: &[Arc<Change>]) -> Vec<u64> {
        let mut by_resource: HashMap<&ResourceName, Vec<&Arc<Change>>> = HashMap::new();
        for change in changes {
            by_resource.entry(&change.resource).or_default().push(change);
        }
        let feeds: Vec<_> = by_resource.into_iter().map(|(name, changes)| (self.feed(name), changes)).collect();
        let version = next.version;
        let mut fell_off = Vec::new();
        {
            // All rings are held while the state is swapped: who sees a change in one sees it in the other.
            let mut held = Vec::with_capacity(feeds.len());
            for (feed, changes) in &feeds {
                let mut ring = feed.lock();
                for change in changes {
                    ring.push((*change).clone(), |version| fell_off.push(version));
                }
                held.push(ring);
            }
            self.state.store(Arc::new(next));
        }
        for (feed, changes) in &feeds {
            feed.wake(version, changes);
        }
        self.version.send_replace(version);
        fell_off
    }
}

/// Makes sure that no other process has the store open, until the file returned is dropped.
fn lock(store: &Path) -> Result<fs::File, OpenError> {
    let path = format::with_suffix(store, ".lock");
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(OpenError::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(OpenError::Locked(store.into())),
        Err(fs::TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
    }
}
