//! The thread that writes: everything that waits goes into one transaction, one fsync answers all of it. Nobody is answered and
//! nothing is told before the commit has returned.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{
    error::LogError,
    files,
    janitor::Bell,
    shared::SharedRef,
    transaction::{Counters, Transaction},
    types::{Outcome, WebhookKey},
    upkeep::{Recovery, Trim},
};
use crate::delivery::NewMessage;

/// Rows touched by one transaction, about.
const BATCH: usize = 2048;
/// A write-ahead log of this size is emptied by the writer itself, which costs a pause; the janitor mostly gets there first.
const LARGEST_WAL: u64 = 64 << 20;
/// Pause until that is tried again when somebody reads or copies just now.
const TRUNCATE_PAUSE: Duration = Duration::from_millis(500);
/// Bytes written since the last checkpoint that make the next one due.
pub(super) const CHECKPOINT_STEP: u64 = 4 << 20;

/// What the writer is asked to do.
pub(super) enum Work {
    Accept {
        source: Option<(String, u64)>,
        messages: Vec<NewMessage>,
    },
    /// Sets cursors; `None` removes one.
    Cursors(Vec<(String, Option<u64>)>),
    Record(Vec<Outcome>),
    Register {
        uid: String,
        namespace: String,
        name: String,
    },
    Forget {
        uid: String,
    },
    Redeliver {
        uid: String,
        number: u64,
    },
    Cancel {
        uid: String,
        number: u64,
    },
    Enable {
        uid: String,
    },
    Recover(Recovery),
    Sweep(WebhookKey),
    Trim(Trim),
    Drop(WebhookKey),
    Stop,
    /// Limits the file to so many pages, as a full disk would.
    #[cfg(test)]
    Pages(u64),
}

/// A piece of work, and whom to tell. The number is what was done: messages accepted, recovered, swept, removed.
pub(super) struct Job {
    pub work: Work,
    pub reply: oneshot::Sender<Result<u64, LogError>>,
}

/// The writer's state.
pub(super) struct Writer {
    pub shared: SharedRef,
    pub queue: mpsc::Receiver<Job>,
    pub connection: Connection,
    pub counters: Counters,
    pub janitor: Arc<Bell>,
    /// When the write-ahead log may be emptied again.
    pub next_truncate: Instant,
}

impl Writer {
    /// Runs until told to stop, or until everybody has left.
    pub fn run(mut self) {
        while let Some(first) = self.queue.blocking_recv() {
            let mut jobs = vec![first];
            let mut weight = jobs[0].work.weight();
            while weight < BATCH
                && let Ok(job) = self.queue.try_recv()
            {
                weight += job.work.weight();
                jobs.push(job);
            }
            let stop = jobs.iter().any(|job| matches!(job.work, Work::Stop));
            self.commit(jobs);
            if stop {
                return;
            }
        }
    }

    fn commit(&mut self, jobs: Vec<Job>) {
        let started = Instant::now();
        let (works, replies): (Vec<Work>, Vec<_>) = jobs.into_iter().map(|job| (job.work, job.reply)).unzip();
        let written = self.write(&works);
        if let Err(error) = &written {
            self.undo();
            tracing::warn!(%error, calls = replies.len(), "writing to the delivery log failed");
        } else if let Some(told) = &self.shared.options.on_commit {
            told(started.elapsed());
        }
        for (index, reply) in replies.into_iter().enumerate() {
            let answer = match &written {
                Ok(answers) => answers.get(index).cloned().unwrap_or(Err(LogError::Closed)),
                Err(error) => Err(error.clone()),
            };
            // Whoever asked may have left; it is done all the same.
            let _ = reply.send(answer);
        }
        self.bound_wal();
    }

    /// Everything up to and with the fsync, then memory. An error fails the whole batch; a refusal only its own call.
    fn write(&mut self, works: &[Work]) -> Result<Vec<Result<u64, LogError>>, LogError> {
        let mut transaction = Transaction::begin(&self.connection, &self.shared, self.counters)?;
        let batch = self.shared.options.batch;
        let mut answers = Vec::with_capacity(works.len());
        for work in works {
            let answer = match over_quota(&transaction, work) {
                Some(refused) => Err(refused),
                None => perform(&mut transaction, work, batch),
            };
            answers.push(match answer {
                Err(error @ (LogError::Storage(_) | LogError::Closed)) => return Err(error),
                // Not the quota but the disk: whoever else waits meets it too.
                Err(error @ LogError::Full(_)) if over_quota(&transaction, work).is_none() => return Err(error),
                answer => answer,
            });
        }
        let (counters, staged) = transaction.finish()?;
        self.connection.execute_batch("COMMIT")?;
        self.counters = counters;
        let (bytes, sweep) = (staged.bytes, staged.sweep);
        staged.publish(&self.shared);
        self.shared.used.fetch_add(2 * bytes, Ordering::AcqRel);
        if self.shared.unchecked.fetch_add(bytes, Ordering::AcqRel) > CHECKPOINT_STEP || sweep {
            self.janitor.ring();
        }
        Ok(answers)
    }

    fn undo(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "rolling back the delivery log's transaction failed");
        }
    }

    /// Bounds the write-ahead log, most of which the janitor has copied by then. A reader that takes long (a backup) makes it wait
    /// for the next time, not the deliveries.
    fn bound_wal(&mut self) {
        if files::length(&files::wal_path(&self.shared.path)) < LARGEST_WAL || Instant::now() < self.next_truncate {
            return;
        }
        let truncate = || -> rusqlite::Result<bool> {
            self.connection.busy_timeout(Duration::ZERO)?;
            let busy = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0))?;
            self.connection.busy_timeout(files::BUSY)?;
            Ok(busy)
        };
        match truncate() {
            Ok(false) => return,
            Ok(true) => {}
            Err(error) => {
                tracing::warn!(%error, "emptying the delivery log's write-ahead log failed; it will be tried again");
            }
        }
        self.next_truncate = Instant::now() + TRUNCATE_PAUSE;
    }
}

impl Work {
    fn weight(&self) -> usize {
        match self {
            Self::Accept { messages, .. } => 1 + messages.len(),
            Self::Record(outcomes) => 1 + outcomes.len(),
            Self::Recover(_) | Self::Sweep(_) | Self::Trim(_) => 256,
            _ => 1,
        }
    }
}

/// Why messages are not accepted, if the quota is used up. Everything else is done: it mostly makes room.
fn over_quota(transaction: &Transaction<'_>, work: &Work) -> Option<LogError> {
    let Work::Accept { messages, .. } = work else { return None };
    let used = transaction.shared.used.load(Ordering::Acquire) + 2 * transaction.staged.bytes;
    let quota = transaction.shared.options.quota.filter(|quota| used > *quota && !messages.is_empty())?;
    Some(LogError::Full(format!("{used} of {quota} bytes of its quota are used")))
}

fn perform(transaction: &mut Transaction<'_>, work: &Work, batch: u64) -> Result<u64, LogError> {
    match work {
        Work::Accept { source, messages } => transaction.accept(source.clone(), messages),
        Work::Cursors(cursors) => {
            transaction.staged.cursors.extend(cursors.iter().cloned());
            Ok(0)
        }
        Work::Record(outcomes) => {
            for outcome in outcomes {
                transaction.record(outcome)?;
            }
            Ok(outcomes.len() as u64)
        }
        Work::Register { uid, namespace, name } => transaction.register(uid, namespace, name).map(|()| 1),
        Work::Forget { uid } => {
            transaction.forget(uid);
            Ok(1)
        }
        Work::Redeliver { uid, number } => transaction.redeliver(uid, *number).map(|()| 1),
        Work::Cancel { uid, number } => transaction.cancel(uid, *number).map(|()| 1),
        Work::Enable { uid } => transaction.enable(uid).map(|()| 1),
        Work::Recover(recovery) => transaction.recover(recovery, batch),
        Work::Sweep(key) => transaction.sweep(*key, batch),
        Work::Trim(trim) => transaction.trim(trim, batch),
        Work::Drop(key) => transaction.drop_row(*key).map(|()| 1),
        Work::Stop => Ok(0),
        #[cfg(test)]
        Work::Pages(pages) => {
            transaction.connection.pragma_update(None, "max_page_count", pages)?;
            Ok(0)
        }
    }
}
