//! The delivery log: every message that is to be told, what became of it, and how far each source has been read. The queue's only
//! memory: what a runner holds is a window onto it.
//!
//! In: messages together with the cursor of their source ([`DeliveryLog::accept`]), attempts ([`DeliveryLog::record`]), and what people
//! ask for. Out: messages that may be sent ([`DeliveryLog::ready`], [`Notices`]), deliveries to show, and webhooks in numbers. Every call that
//! writes resolves when it is on disk.
//!
//! | file | what |
//! |---|---|
//! | `deliveries.db` | SQLite: webhooks, events (shared by the messages about them), messages, cursors |
//! | `lock` | held by the process that has the log open |
//!
//! One thread writes ([`writer`]): what waits goes into one transaction ([`transaction`]) and one fsync. Order is kept by the log: a message
//! behind another of its key has no lane, so no runner sees it; the transaction that finishes the one before it gives it one.
//! Beside the writer the [`janitor`] applies retention. Memory: some 500 bytes for each webhook, the last changes, the mailboxes;
//! messages stay on disk, whether there are a hundred or a million.
//!
//! A message is known by webhook, origin and event id for as long as it is kept: told again by its source it is not queued again.

mod accept;
mod backup;
mod error;
mod files;
mod janitor;
mod notices;
mod options;
mod reader;
mod record;
mod schema;
mod shared;
mod transaction;
mod types;
mod upkeep;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::HashMap,
    fs::File,
    path::Path,
    sync::{Arc, Mutex, atomic::AtomicBool, atomic::AtomicU64, atomic::Ordering},
    thread::JoinHandle,
};

use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

pub use backup::restore;
pub use error::LogError;
pub use notices::{News, Notices};
pub use options::{OnCommit, Options};
pub use types::{
    Changed, Decision, Delivery, HISTORY, Lane, LastAttempt, Outcome, Page, Place, Ready, Selection, Stats, Totals,
    WebhookKey,
};

use self::{
    janitor::{Bell, Janitor},
    reader::{Owner, Readers},
    shared::{Feed, Row, Rows, Shared, SharedRef, lock},
    transaction::Counters,
    upkeep::Recovery,
    writer::{Job, Work, Writer},
};
use crate::delivery::NewMessage;

/// The log in a directory. Closing (or dropping) it writes what is queued first.
pub struct DeliveryLog {
    shared: SharedRef,
    readers: Arc<Readers>,
    queue: mpsc::Sender<Job>,
    janitor: Arc<Bell>,
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    writer: JoinHandle<()>,
    janitor: JoinHandle<()>,
    _lock: File,
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
            next_truncate: std::time::Instant::now(),
        };
        let spawn =
            |name: &str, run: Box<dyn FnOnce() + Send>| std::thread::Builder::new().name(name.into()).spawn(run);
        let threads = Threads {
            writer: spawn("delivery-writer", Box::new(move || writer.run()))?,
            janitor: spawn("delivery-janitor", Box::new(move || janitor.run()))?,
            _lock: held,
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
        while let Err(mpsc::error::TrySendError::Full(back)) = self.queue.try_send(job) {
            job = back;
            std::thread::yield_now();
        }
        let _ = threads.writer.join();
    }

    async fn call(&self, work: Work) -> Result<u64, LogError> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(LogError::Closed);
        }
        let (reply, answer) = oneshot::channel();
        self.queue.send(Job { work, reply }).await.map_err(|_| LogError::Closed)?;
        answer.await.map_err(|_| LogError::Closed)?
    }

    /// How far a source has been accepted; `None` if nothing ever was.
    pub fn cursor(&self, source: &str) -> Option<u64> {
        lock(&self.shared.cursors).get(source).copied()
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

    /// Sets a source's cursor back: for a source that began anew and whose positions are lower than before. What it tells again is
    /// not queued twice.
    ///
    /// # Errors
    /// `Full`, `Storage`.
    pub async fn rewind(&self, source: &str, to: u64) -> Result<(), LogError> {
        self.call(Work::Rewind { source: source.into(), to }).await.map(drop)
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

    /// A webhook in numbers; `None` if it is not known.
    pub fn stats(&self, uid: &str) -> Option<Stats> {
        let rows = lock(&self.shared.rows);
        rows.by_uid.get(uid).and_then(|key| rows.by_key.get(key)).map(|row| row.stats.clone())
    }

    /// Likewise by its key.
    pub fn stats_of(&self, key: WebhookKey) -> Option<Stats> {
        lock(&self.shared.rows).by_key.get(&key).map(|row| row.stats.clone())
    }

    /// All webhooks in numbers, deleted ones of which something is kept among them.
    pub fn webhooks(&self) -> Vec<Stats> {
        self.shared.all().into_iter().map(|row| row.stats).collect()
    }

    /// The log in numbers.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals { bytes: self.shared.file_bytes(), ..Totals::default() };
        for row in lock(&self.shared.rows).by_key.values() {
            totals.pending += row.stats.pending;
            totals.dead_letters += row.stats.dead_letters;
            totals.disabled += u64::from(row.stats.disabled.is_some() && !row.stats.forgotten);
        }
        totals
    }

    /// The first ready messages of a webhook's lane, by the time when they may be sent, at most `limit`. Messages that are being sent
    /// are among them: nothing is written before an attempt.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn ready(&self, key: WebhookKey, lane: Lane, limit: usize) -> Result<Vec<Ready>, LogError> {
        let Some(row) = self.shared.row(key) else { return Ok(Vec::new()) };
        let query = move |connection: &Connection| reader::ready(connection, key, &row.stats.uid, lane, limit);
        self.readers.run(&self.shared, query).await
    }

    /// A mailbox that is told of what becomes ready from now on, for a runner.
    pub fn listen(&self) -> Arc<Notices> {
        let notices = Notices::new();
        lock(&self.shared.listeners).push(Arc::downgrade(&notices));
        notices
    }

    /// One message, by its webhook's name and its number.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn get(&self, namespace: &str, webhook: &str, number: u64) -> Result<Option<Delivery>, LogError> {
        let owners =
            self.owners(&Selection { namespace: Some(namespace.into()), webhook: Some(webhook.into()), state: None });
        let query = move |connection: &Connection| {
            for owner in &owners {
                if let Some(delivery) = reader::one(connection, owner, number)? {
                    return Ok(Some(delivery));
                }
            }
            Ok(None)
        };
        self.readers.run(&self.shared, query).await
    }

    /// Messages by webhook and number, after a place, at most `limit`.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn page(&self, selection: &Selection, after: Place, limit: usize) -> Result<Page, LogError> {
        let (owners, selection) = (self.owners(selection), selection.clone());
        let query = move |connection: &Connection| reader::page(connection, &owners, &selection, after, limit.max(1));
        self.readers.run(&self.shared, query).await
    }

    /// Position of the last change; grows over restarts.
    pub fn head(&self) -> u64 {
        self.shared.feed.head()
    }

    /// Follows the position of the last change.
    pub fn positions(&self) -> watch::Receiver<u64> {
        self.shared.feed.subscribe()
    }

    /// At most `limit` changes after a position, oldest first; `None` if some of them are not remembered any more. Removal by
    /// retention is no change.
    pub fn changes(&self, after: u64, limit: usize) -> Option<Vec<Changed>> {
        self.shared.feed.after(after, limit)
    }

    /// The messages of some changes, as they are now, in that order; those that are gone are left out.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn changed(&self, changes: Vec<Changed>) -> Result<Vec<Delivery>, LogError> {
        let owners: HashMap<WebhookKey, Owner> =
            self.owners(&Selection::default()).into_iter().map(|owner| (owner.key, owner)).collect();
        let query = move |connection: &Connection| {
            let mut found = Vec::new();
            for change in &changes {
                if let Some(owner) = owners.get(&change.webhook) {
                    found.extend(reader::one(connection, owner, change.number)?);
                }
            }
            Ok(found)
        };
        self.readers.run(&self.shared, query).await
    }

    /// Webhooks that a selection is about, by key.
    fn owners(&self, selection: &Selection) -> Vec<Owner> {
        let wanted = |row: &&Row| {
            selection.namespace.as_ref().is_none_or(|namespace| *namespace == row.stats.namespace)
                && selection.webhook.as_ref().is_none_or(|webhook| *webhook == row.stats.name)
        };
        let rows = lock(&self.shared.rows);
        let mut owners: Vec<Owner> = rows
            .by_key
            .values()
            .filter(wanted)
            .map(|row| Owner {
                key: row.stats.key,
                uid: row.stats.uid.clone(),
                namespace: row.stats.namespace.clone(),
                name: row.stats.name.clone(),
            })
            .collect();
        owners.sort_by_key(|owner| owner.key);
        owners
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

/// A time as the resources have it: RFC 3339, UTC, microseconds.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    format!("{time:.6}")
}
