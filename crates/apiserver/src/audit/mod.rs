//! Who did what to which object: an append-only log of JSON lines.
//!
//! In: a [`Record`] of each finished request. Out: lines in `audit.log`, written at once by a thread of its own, and synced within
//! 100 ms. Requests never wait for it: the queue is bounded, and what does not fit, or cannot be written because the disk fails, is counted, warned
//! about once, and told in the log itself (`{"time": ..., "lost": 3}`) as soon as it can be written again.

pub mod entry;
pub mod file;

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use roadstead_kubewire::observe::{Observer, Record};
use serde_json::json;

use self::file::{Bounds, LogFile};

/// Lines that may wait to be written.
const QUEUE: usize = 8192;
/// Bytes that are gathered for one write.
const BATCH: usize = 64 << 10;
/// How long a line may be in the system's memory alone. A sync of each would slow down the store's own, on the same disk.
const SYNC: Duration = Duration::from_millis(100);

enum Message {
    Line(String),
    /// Answered when all lines before are written.
    Flush(SyncSender<()>),
}

/// Counters.
#[derive(Debug, Default)]
pub struct Stats {
    /// Lines written.
    pub written: AtomicU64,
    /// Lines that found the queue full, or could not be written.
    pub lost: AtomicU64,
}

/// The audit log. Lines that wait are written before it is dropped.
pub struct Audit {
    queue: Option<SyncSender<Message>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    stats: Arc<Stats>,
}

impl Audit {
    /// Opens the log at `path`, and starts its writer. Errors: the file cannot be opened.
    pub fn open(path: &Path, bounds: Bounds) -> io::Result<Self> {
        Self::start(LogFile::open(path, bounds)?, QUEUE)
    }

    fn start(file: LogFile, places: usize) -> io::Result<Self> {
        let (queue, waiting) = sync_channel(places);
        let stats = Arc::new(Stats::default());
        let mut writer = Writer { file, stats: stats.clone(), told: 0, failing: false };
        let thread = std::thread::Builder::new().name("audit".into()).spawn(move || writer.run(&waiting))?;
        Ok(Self { queue: Some(queue), thread: Mutex::new(Some(thread)), stats })
    }

    /// Counters, for metrics.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Waits until all that was recorded before is written, or lost. Blocks.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.queue.as_ref().is_some_and(|queue| queue.send(Message::Flush(done)).is_ok()) {
            // An error says that the writer is gone, and so are the lines.
            let _ = wait.recv();
        }
    }
}

impl Observer for Audit {
    fn finished(&self, record: &Record) {
        let Some(line) = entry::line(record) else { return };
        let sent = self.queue.as_ref().is_some_and(|queue| queue.try_send(Message::Line(line)).is_ok());
        if !sent && self.stats.lost.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!("the audit log cannot keep up: lines are lost and counted");
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.queue = None;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It ends when the queue is empty; a panic there has been reported.
            let _ = thread.join();
        }
    }
}

struct Writer {
    file: LogFile,
    stats: Arc<Stats>,
    /// Of the lost lines, those that the log tells of.
    told: u64,
    failing: bool,
}

impl Writer {
    fn run(&mut self, waiting: &Receiver<Message>) {
        // Until when what was written must be synced.
        let mut due: Option<Instant> = None;
        loop {
            let first = match due {
                None => waiting.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => waiting.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            let mut flushes = Vec::new();
            match first {
                Ok(first) => {
                    flushes = self.take(first, waiting);
                    due.get_or_insert_with(|| Instant::now() + SYNC);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if !flushes.is_empty() || due.is_some_and(|at| at <= Instant::now()) {
                self.sync();
                due = None;
            }
            for done in flushes {
                // Whoever asked may have gone.
                let _ = done.send(());
            }
        }
        self.sync();
    }

    /// Writes all that waits, from `first` on; gives who waits for that.
    fn take(&mut self, first: Message, waiting: &Receiver<Message>) -> Vec<SyncSender<()>> {
        let mut batch = String::new();
        let (mut lines, mut flushes) = (0, Vec::new());
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Line(line) => {
                    batch.push_str(&line);
                    batch.push('\n');
                    lines += 1;
                }
                Message::Flush(done) => flushes.push(done),
            }
            next = if batch.len() < BATCH { waiting.try_recv().ok() } else { None };
        }
        self.write(batch, lines);
        flushes
    }

    fn sync(&mut self) {
        if let Err(error) = self.file.sync() {
            tracing::error!(%error, "the audit log cannot be synced");
        }
    }

    fn write(&mut self, mut batch: String, lines: u64) {
        let lost = self.stats.lost.load(Ordering::Relaxed);
        if lost > self.told {
            let line = json!({"time": Timestamp::now().to_string(), "lost": lost - self.told});
            batch.insert_str(0, &format!("{line}\n"));
        }
        if batch.is_empty() {
            return;
        }
        match self.file.append(batch.as_bytes()) {
            Ok(()) => {
                self.told = lost;
                self.stats.written.fetch_add(lines, Ordering::Relaxed);
                self.failing = false;
            }
            Err(error) => {
                self.stats.lost.fetch_add(lines, Ordering::Relaxed);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "the audit log cannot be written: lines are lost and counted");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use roadstead_kubewire::{Attributes, User};
    use serde_json::Value;

    use super::*;

    fn record(name: &str) -> Record {
        Record {
            user: Some(User { name: "ann".into(), ..User::default() }),
            code: 201,
            attributes: Attributes {
                verb: "create".into(),
                resource: "secrets".into(),
                name: name.into(),
                ..Attributes::default()
            },
            ..Record::default()
        }
    }

    fn lines(path: &Path) -> Vec<Value> {
        fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn what_was_recorded_is_there_after_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        for round in 0..2 {
            let audit = Audit::open(&path, Bounds::default()).unwrap();
            for number in 0..50 {
                audit.finished(&record(&format!("{round}-{number}")));
            }
            audit.flush();
            assert_eq!(audit.stats().written.load(Ordering::Relaxed), 50);
        }
        let lines = lines(&path);
        assert_eq!(lines.len(), 100);
        assert_eq!((lines[99]["name"].as_str(), lines[99]["user"].as_str()), (Some("1-49"), Some("ann")));
    }

    #[test]
    fn a_disk_that_fails_hangs_nobody_and_is_told_of_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        // One line for each file, so that each append rotates, which fails while a directory is in the way.
        let audit = Audit::open(&path, Bounds { bytes: 1, files: 2 }).unwrap();
        audit.finished(&record("first"));
        audit.flush();
        let obstacle = directory.path().join("audit.log.1");
        fs::create_dir(&obstacle).unwrap();
        for name in ["second", "third"] {
            audit.finished(&record(name));
            audit.flush();
        }
        assert_eq!(audit.stats().lost.load(Ordering::Relaxed), 2);
        fs::remove_dir(&obstacle).unwrap();
        audit.finished(&record("fourth"));
        audit.flush();
        let lines = lines(&path);
        assert_eq!((&lines[0]["lost"], &lines[1]["name"]), (&json!(2), &json!("fourth")));
    }

    #[test]
    fn a_full_queue_refuses_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let (queue, waiting) = sync_channel(2);
        let audit = Audit { queue: Some(queue), thread: Mutex::new(None), stats: Arc::default() };
        for _ in 0..5 {
            audit.finished(&record("x"));
        }
        assert_eq!(audit.stats().lost.load(Ordering::Relaxed), 3);
        let stats = audit.stats.clone();
        drop(audit);
        let file = LogFile::open(&path, Bounds::default()).unwrap();
        Writer { file, stats, told: 0, failing: false }.run(&waiting);
        let lines = lines(&path);
        assert_eq!((lines.len(), &lines[0]["lost"]), (3, &json!(3)));
    }
}
