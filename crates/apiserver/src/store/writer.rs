//! The one thread that writes: it takes all that waits, decides it, makes it durable with one fsync, and only then shows it
//! to readers and watchers and answers.
//!
//! Why a thread: SQLite and fsync block. Why one: the order of writes is the order of resourceVersions. Its only queue is
//! bounded; who finds it full is told so after a deadline.

use std::{
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
            if let Err(error) = durable.disk.empty_wal() {
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
        // Each body is written twice: as what is, and later as what was.
        durable.checkpointer.wrote(changes.iter().map(|change| 2 * change.size() as u64).sum());
        if durable.checkpointer.wal() > WAL_LIMIT {
            durable.checkpointer.forget();
            // It is durable already: a WAL that cannot be emptied just now, e.g. under a backup, is no reason to fail.
            if let Err(error) = durable.disk.empty_wal() {
                tracing::warn!(%error, "the WAL could not be emptied; it is tried again after more writes");
            }
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

#[cfg(test)]
mod tests {
    use roadstead_kubewire::Key;
    use serde_json::json;

    use super::*;
    use crate::store::{Bounds, Draft, Expect, Files, Options, Refusal, Store};

    fn job(name: &str, text: &str) -> (Job, oneshot::Receiver<Result<Arc<Change>, WriteError>>) {
        let object = json!({"metadata": {"name": name}, "text": text});
        let (resource, key, action) = ("things".into(), Key::new("", name), Action::Put(Draft::new(&object)));
        let (reply, answer) = oneshot::channel();
        (Job { write: Write { resource, key, expect: Expect::Absent, guard: None, action }, reply }, answer)
    }

    #[test]
    fn a_full_disk_fails_the_whole_batch_and_heals() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files { store: dir.path().join("store.db"), key: dir.path().join("store.key") };
        let (disk, _) = Disk::open(&files.store, &files.key, Bounds::default()).unwrap();
        // The store in memory lends what readers see; its own writer has nothing to do.
        let store = Store::open(&Options::default()).unwrap();
        let checkpointer = Checkpointer::start(&files.store).unwrap();
        let durable = Some(Durable { disk, checkpointer });
        let mut writer = Writer { inner: store.inner.clone(), durable, dropped: Vec::new() };
        let limit = |writer: &mut Writer, pages| writer.durable.as_mut().unwrap().disk.limit_pages(pages);

        limit(&mut writer, 20);
        let large = "x".repeat(200_000);
        let jobs = [job("small", ""), job("large", &large), job("small", "")];
        let (jobs, answers): (Vec<_>, Vec<_>) = jobs.into_iter().unzip();
        writer.write(jobs);
        for mut answer in answers {
            assert!(matches!(answer.try_recv().unwrap(), Err(WriteError::Storage(_))));
        }
        assert!(store.stats().failing());
        assert_eq!(store.state().version, 0);
        assert!(store.feed("things").after(0, 10).unwrap().is_empty());

        limit(&mut writer, 10_000);
        let jobs = [job("small", ""), job("large", &large), job("small", "")];
        let (jobs, mut answers): (Vec<_>, Vec<_>) = jobs.into_iter().unzip();
        writer.write(jobs);
        assert_eq!(answers[1].try_recv().unwrap().unwrap().version, 2);
        assert_eq!(answers[2].try_recv().unwrap().unwrap_err(), WriteError::Refused(Refusal::Exists));
        assert!(!store.stats().failing());
        let Durable { disk, checkpointer } = writer.durable.unwrap();
        checkpointer.stop();
        drop(disk);
        let again = Store::open(&Options { files: Some(files), history: Bounds::default() }).unwrap();
        assert_eq!(again.state().table("things").len(), 2);
    }
}
