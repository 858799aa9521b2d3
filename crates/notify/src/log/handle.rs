//! The handle: opening, closing, and everything that writes. Reading is in `reads`.

use std::{
    collections::HashMap,
    fs::File,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{
    error::LogError,
    files,
    janitor::{Bell, Janitor},
    options::Options,
    reader::Readers,
    schema,
    shared::{Feed, Rows, Shared, SharedRef, lock},
    transaction::{self, Counters},
    types::Outcome,
    upkeep::Recovery,
    writer::{Job, Work, Writer},
};
use crate::delivery::NewMessage;

/// How long a writer whose queue is full may take to make room when the log is closed, and how often that is looked at.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
const STOP_STEP: Duration = Duration::from_millis(2);

/// The log in a directory. Closing (or dropping) it writes what is queued first.
pub struct DeliveryLog {
    pub(super) shared: SharedRef,
    pub(super) readers: Arc<Readers>,
    pub(super) queue: mpsc::Sender<Job>,
    janitor: Arc<Bell>,
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    writer: JoinHandle<()>,
    janitor: JoinHandle<()>,
    lock: File,
}

impl DeliveryLog {
    /// Opens the log in `directory`, made if need be (mode 0700).
    ///
    /// # Errors
    /// `Unusable` with the reason for a file that is damaged, cut short, newer, or in use by another process.
    pub async fn open(directory: &Path, options: Options) -> Result<Arc<Self>, LogError> {
        let directory = directory.to_path_buf();
        let opened = tokio::task::spawn_blocking(move || Self::start(&directory, options));
        opened.await.map_err(|error| LogError::Storage(error.to_string()))?.map(Arc::new)
    }

    fn start(directory: &Path, options: Options) -> Result<Self, LogError> {
        let held = files::hold(directory)?;
        let connection = files::open_or_create(directory)?;
        let counters = counters(&connection)?;
        let mut rows = Rows::default();
        for row in transaction::load_rows(&connection)? {
            rows.put(row);
        }
        let shared = Arc::new(Shared {
            path: files::database_path(directory),
            rows: Mutex::new(rows),
            cursors: Mutex::new(cursors(&connection)?),
            feed: Feed::new(counters.position, options.changes),
            listeners: Mutex::default(),
            used: AtomicU64::new(0),
            unchecked: AtomicU64::new(1),
            closed: AtomicBool::new(false),
            options,
        });
        shared.measure(&connection, 0)?;
        let (queue, jobs) = mpsc::channel(shared.options.queue);
        let bell = Arc::new(Bell::default());
        let janitor = Janitor {
            shared: shared.clone(),
            queue: queue.clone(),
            bell: bell.clone(),
            connection: Janitor::connect(&shared)?,
        };
        let writer = Writer {
            shared: shared.clone(),
            queue: jobs,
            connection,
            counters,
            janitor: bell.clone(),
            next_truncate: Instant::now(),
        };
        let spawn =
            |name: &str, run: Box<dyn FnOnce() + Send>| std::thread::Builder::new().name(name.into()).spawn(run);
        let threads = Threads {
            writer: spawn("delivery-writer", Box::new(move || writer.run()))?,
            janitor: spawn("delivery-janitor", Box::new(move || janitor.run()))?,
            lock: held,
        };
        let readers = Readers::new(shared.options.readers);
        Ok(Self { shared, readers, queue, janitor: bell, threads: Mutex::new(Some(threads)) })
    }

    /// Writes what is queued and closes the file. Later calls end with `Closed`.
    pub async fn close(self: Arc<Self>) {
        let closing = tokio::task::spawn_blocking(move || self.stop());
        let _ = closing.await;
    }

    fn stop(&self) {
        let Some(threads) = lock(&self.threads).take() else { return };
        self.shared.closed.store(true, Ordering::Release);
        self.janitor.stop();
        let _ = threads.janitor.join();
        // Not through the runtime, which may be gone. The queue may be full; the writer empties it.
        let (reply, _) = oneshot::channel();
        let mut job = Job { work: Work::Stop, reply };
        let deadline = Instant::now() + STOP_PATIENCE;
        while let Err(mpsc::error::TrySendError::Full(back)) = self.queue.try_send(job) {
            if Instant::now() > deadline {
                tracing::error!("the delivery log's writer takes nothing more; it is left behind");
                return;
            }
            job = back;
            std::thread::sleep(STOP_STEP);
        }
        let _ = threads.writer.join();
        // A child that another thread is just starting shares the file until it runs its program: closing alone would not let go.
        // Nobody is left to be told of a failure.
        let _ = threads.lock.unlock();
    }

    async fn call(&self, work: Work) -> Result<u64, LogError> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(LogError::Closed);
        }
        let (reply, answer) = oneshot::channel();
        self.queue.send(Job { work, reply }).await.map_err(|_| LogError::Closed)?;
        answer.await.map_err(|_| LogError::Closed)?
    }

    /// Queues messages and moves the source's cursor to `through`, in one transaction. Resolves with the number of those that were
    /// new: a repetition adds nothing. Those of webhooks that are not known (deleted meanwhile) are passed over; those of a
    /// disabled webhook become dead letters at once, for whoever recovers it.
    ///
    /// # Errors
    /// `Full`, `Storage`: nothing was queued and the cursor stays; try again later.
    pub async fn accept(&self, source: &str, through: u64, messages: Vec<NewMessage>) -> Result<u64, LogError> {
        self.call(Work::Accept { source: Some((source.into(), through)), messages }).await
    }

    /// Sets cursors of sources, also back, in one transaction; `None` removes one. What is told again is not queued twice for as
    /// long as it is kept.
    ///
    /// # Errors
    /// `Full`, `Storage`.
    pub async fn set_cursors(&self, cursors: Vec<(String, Option<u64>)>) -> Result<(), LogError> {
        self.call(Work::Cursors(cursors)).await.map(drop)
    }

    /// Queues messages that come from no source, such as tests. A test message has no key, so that it waits for no other, and an
    /// event id of its own.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub async fn enqueue(&self, messages: Vec<NewMessage>) -> Result<u64, LogError> {
        self.call(Work::Accept { source: None, messages }).await
    }

    /// Makes a webhook known, by its uid. Only then can it be sent messages. Does nothing if it is known.
    ///
    /// # Errors
    /// `Full`, `Storage`.
    pub async fn register(&self, uid: &str, namespace: &str, name: &str) -> Result<(), LogError> {
        if self.shared.key_of(uid).is_some() {
            return Ok(());
        }
        let work = Work::Register { uid: uid.into(), namespace: namespace.into(), name: name.into() };
        self.call(work).await.map(drop)
    }

    /// Takes down that a webhook was deleted: what is pending is cancelled, and all of it goes with time.
    ///
    /// # Errors
    /// `Full`, `Storage`.
    pub async fn forget(&self, uid: &str) -> Result<(), LogError> {
        self.call(Work::Forget { uid: uid.into() }).await.map(drop)
    }

    /// Records what became of attempts, and lets the next messages of their keys go.
    ///
    /// # Errors
    /// `Full`, `Storage`: nothing was recorded; try again, and do not send these messages meanwhile.
    pub async fn record(&self, outcomes: Vec<Outcome>) -> Result<(), LogError> {
        self.call(Work::Record(outcomes)).await.map(drop)
    }

    /// Queues one message again, with the same id, from the start of the schedule; it waits for no other. A pending one is due at
    /// once.
    ///
    /// # Errors
    /// `Unknown` for a message that is not kept; `Disabled` for a webhook that is.
    pub async fn redeliver(&self, uid: &str, number: u64) -> Result<(), LogError> {
        self.call(Work::Redeliver { uid: uid.into(), number }).await.map(drop)
    }

    /// Enables a webhook, and queues every dead letter accepted since a time again, oldest first. How many. Can be repeated after
    /// a crash: what was queued is no dead letter any more.
    ///
    /// # Errors
    /// `Unknown` for a webhook that is not known; `Full`, `Storage`.
    pub async fn recover(&self, uid: &str, since: Timestamp) -> Result<u64, LogError> {
        // First, so that nothing more is given up for its being disabled.
        self.call(Work::Enable { uid: uid.into() }).await?;
        // Clocks may have jumped back since a message was given up: the bound only keeps this call from meeting its own work.
        let now = schema::now();
        let newest = self.newest_dead(uid).await?.map_or(now, |newest| newest.max(now) + 1);
        let (since, mut recovered) = (since.as_microsecond(), 0);
        loop {
            let recovery = Recovery { uid: uid.into(), since, before: newest };
            let batch = self.call(Work::Recover(recovery)).await?;
            recovered += batch;
            if batch < self.shared.options.batch {
                return Ok(recovered);
            }
        }
    }

    async fn newest_dead(&self, uid: &str) -> Result<Option<i64>, LogError> {
        let Some(key) = self.shared.key_of(uid) else { return Ok(None) };
        let sql = "SELECT max(finished) FROM message INDEXED BY done WHERE webhook = ?1 AND state = 2 AND finished IS NOT NULL";
        self.readers.run(&self.shared, move |connection| Ok(connection.query_row(sql, [key], |row| row.get(0))?)).await
    }

    /// Cancels a pending message; the next of its key may go. Does nothing to one that is done.
    ///
    /// # Errors
    /// `Unknown` for a message that is not kept.
    pub async fn cancel(&self, uid: &str, number: u64) -> Result<(), LogError> {
        self.call(Work::Cancel { uid: uid.into(), number }).await.map(drop)
    }
}

impl Drop for DeliveryLog {
    fn drop(&mut self) {
        self.stop();
    }
}

fn counters(connection: &Connection) -> Result<Counters, LogError> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, Option<u64>>(0));
    Ok(Counters {
        position: number("SELECT max(value) FROM meta WHERE name = 'position'")?.unwrap_or(0),
        event: i64::try_from(number("SELECT max(key) FROM event")?.unwrap_or(0)).unwrap_or(0),
        webhook: u32::try_from(number("SELECT max(key) FROM webhook")?.unwrap_or(0)).unwrap_or(0),
    })
}

fn cursors(connection: &Connection) -> Result<HashMap<String, u64>, LogError> {
    let mut select = connection.prepare("SELECT source, position FROM cursor")?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
