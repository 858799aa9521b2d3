//! The one thread that writes: it takes all that waits, decides it, makes it durable with one fsync, and only then shows it
//! to readers and watchers and answers.
//!
//! Why a thread: SQLite and fsync block. Why one: the order of writes is the order of resourceVersions. Its only queue is
//! bounded; who finds it full is told so after a deadline.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

use super::{
    Inner,
    checkpoint::Checkpointer,
    disk::Disk,
    error::WriteError,
    plan::{Action, Change, ResourceName, Write, plan},
};

/// A waiting write and who waits for it.
pub struct Job {
    /// The write.
    pub write: Write,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Arc<Change>, WriteError>>,
}

/// Writes in one transaction at most.
const BATCH: usize = 256;
/// Bytes in one transaction at most, but for the last write.
const BATCH_BYTES: usize = 8 << 20;
/// From this size on the writer itself empties the WAL, whatever the wait: the bound on its size.
const WAL_LIMIT: u64 = 64 << 20;

/// The file of a store that has one.
pub struct Durable {
    /// The rows.
    pub disk: Disk,
    /// The WAL beside it.
    pub wal: PathBuf,
    /// Copies the WAL into the file beside the writer.
    pub checkpointer: Checkpointer,
}

/// What the thread owns.
pub struct Writer {
    /// What it shares with readers.
    pub inner: Arc<Inner>,
    /// The file, if any.
    pub durable: Option<Durable>,
    /// Change rows that go with the next batch.
    pub dropped: Vec<u64>,
}

impl Writer {
    /// Runs until all senders are gone, then closes the file.
    pub fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut bytes = size(&first.write);
            let mut batch = vec![first];
            while batch.len() < BATCH && bytes < BATCH_BYTES {
                let Ok(job) = jobs.try_recv() else { break };
                bytes += size(&job.write);
                batch.push(job);
            }
            self.write(batch);
        }
        if let Some(durable) = self.durable {
            durable.checkpointer.stop();
            if let Err(error) = durable.disk.shrink_wal("TRUNCATE") {
                tracing::warn!(%error, "the last checkpoint failed; the next start does it");
            }
        }
    }

    fn write(&mut self, batch: Vec<Job>) {
        let state = self.inner.state.load_full();
        let (next, results) = plan(&state, batch.iter().map(|job| &job.write));
        let changes: Vec<Arc<Change>> = results.iter().flatten().cloned().collect();
        if let Err(error) = self.store(&changes) {
            tracing::error!(%error, writes = changes.len(), "a batch of writes could not be stored");
            self.inner.stats.failed();
            let error = WriteError::Storage(error.to_string());
            // Nothing of it happened; even a refusal may have been caused by an earlier write of the same batch.
            for job in batch {
                let _ = job.reply.send(Err(error.clone()));
            }
            return;
        }
        let fell_off = self.inner.publish(next, &changes);
        self.dropped.extend(fell_off);
        for (job, result) in batch.into_iter().zip(results) {
            // Who gave up waiting finds out by reading.
            let _ = job.reply.send(result.map_err(WriteError::from));
        }
    }

    /// Makes `changes` durable, if there is a file.
    fn store(&mut self, changes: &[Arc<Change>]) -> rusqlite::Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let Some(durable) = &mut self.durable else {
            self.dropped.clear();
            self.inner.stats.committed(changes.len(), Duration::ZERO);
            return Ok(());
        };
        let floors = self.inner.floors();
        let floors: Vec<(ResourceName, u64)> = if self.dropped.is_empty() { Vec::new() } else { floors };
        let start = Instant::now();
        durable.disk.commit(changes, &self.dropped, &floors)?;
        self.inner.stats.committed(changes.len(), start.elapsed());
        self.dropped.clear();
        let wal = std::fs::metadata(&durable.wal).map_or(0, |wal| wal.len());
        if wal > WAL_LIMIT {
            durable.disk.shrink_wal("RESTART")?;
        } else {
            durable.checkpointer.wake_at(wal);
        }
        Ok(())
    }
}

fn size(write: &Write) -> usize {
    match &write.action {
        Action::Put(draft) => draft.len(),
        Action::Delete => 0,
    }
}
