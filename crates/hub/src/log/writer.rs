//! The thread that appends: everything that waits goes into one transaction, one fsync answers all of it.
//!
//! Positions and sequences are given here, inside the transaction, so that neither a crash nor a failed commit leaves a gap in a
//! sequence. Nobody is answered and no reader sees anything before the commit has returned.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::Ordering,
        mpsc::{Receiver, TryRecvError},
    },
    time::Instant,
};

use bytes::Bytes;
use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use super::{
    dedupe::Dedupe,
    error::LogError,
    files,
    ids::IdHash,
    janitor::Bell,
    record::{INLINE_BODY, Record},
    segment::{Segment, Share},
    shared::{Shared, lock, write},
    streams::StreamState,
    types::{Outcome, Stream},
};

/// Deliveries in one transaction at most.
const BATCH: usize = 1024;
/// Bytes in one transaction, about.
const BATCH_BYTES: usize = 8 << 20;

/// A draft, serialised.
pub(super) struct Prepared {
    pub id: String,
    pub hash: IdHash,
    pub dedupe: bool,
    pub kind: String,
    pub received: i64,
    pub spec: String,
    pub body: Bytes,
}

/// One delivery.
pub(super) struct Job {
    pub stream: Stream,
    pub drafts: Vec<Prepared>,
    pub bytes: usize,
    pub reply: oneshot::Sender<Result<Vec<Outcome>, LogError>>,
}

/// What the writer is told.
pub(super) enum Message {
    Append(Job),
    /// Close the segment, if it holds anything; answered when another is being written.
    Roll(Option<oneshot::Sender<Result<(), LogError>>>),
    Stop,
    /// Limits the segment to so many pages, as a full disk would.
    #[cfg(test)]
    Pages(u64),
}

/// The writer's state.
pub(super) struct Writer {
    pub shared: Arc<Shared>,
    pub queue: Receiver<Message>,
    pub connection: Connection,
    pub active: Arc<Segment>,
    pub dedupe: Dedupe,
    /// The last position given.
    pub position: u64,
    /// Bytes of events in the active segment.
    pub content: u64,
    pub janitor: Arc<Bell>,
}

/// A transaction in the making.
#[derive(Default)]
struct Batch {
    answers: Vec<Result<Vec<Outcome>, LogError>>,
    records: Vec<Arc<Record>>,
    shares: Vec<(u32, Share)>,
    sequences: HashMap<u32, u64>,
    bytes: u64,
    duplicates: u64,
}

impl Writer {
    /// Runs until told to stop.
    pub fn run(mut self) {
        while let Ok(first) = self.queue.recv() {
            let mut jobs = Vec::new();
            let control = self.gather(first, &mut jobs);
            if !jobs.is_empty() {
                self.commit(jobs);
            }
            match control {
                None => {}
                Some(Message::Stop) => break,
                Some(Message::Roll(reply)) => {
                    let rolled = self.roll();
                    if let Some(reply) = reply {
                        let _ = reply.send(rolled);
                    }
                }
                Some(Message::Append(_)) => {}
                #[cfg(test)]
                Some(Message::Pages(pages)) => {
                    let _ = self.connection.pragma_update(None, "max_page_count", pages);
                }
            }
        }
    }

    /// Takes what waits, up to the size of a batch, or up to a message that is not an append.
    fn gather(&self, first: Message, jobs: &mut Vec<Job>) -> Option<Message> {
        let mut bytes = 0;
        let mut next = Ok(first);
        loop {
            match next {
                Ok(Message::Append(job)) => {
                    bytes += job.bytes;
                    jobs.push(job);
                }
                Ok(control) => return Some(control),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return None,
            }
            if jobs.len() >= BATCH || bytes >= BATCH_BYTES {
                return None;
            }
            next = self.queue.try_recv();
        }
    }

    fn commit(&mut self, jobs: Vec<Job>) {
        let started = Instant::now();
        let mut batch = Batch::default();
        let written = self.write(&jobs, &mut batch);
        match &written {
            Ok(()) => self.publish(&batch, started),
            Err(error) => {
                self.undo();
                tracing::warn!(%error, deliveries = jobs.len(), "appending to the event log failed");
            }
        }
        let counters = &self.shared.counters;
        counters.queue_deliveries.fetch_sub(jobs.len(), Ordering::AcqRel);
        counters.queue_bytes.fetch_sub(jobs.iter().map(|job| job.bytes).sum(), Ordering::AcqRel);
        let mut answers = batch.answers.into_iter();
        for job in jobs {
            let answer = match &written {
                Ok(()) => answers.next().unwrap_or(Err(LogError::Closed)),
                Err(error) => Err(error.clone()),
            };
            // Whoever asked may have left; the event is recorded all the same.
            let _ = job.reply.send(answer);
        }
        if written.is_ok() {
            self.shared.ring.mark(&batch.records);
            self.roll_if_large();
        }
    }

    /// Everything up to and with the fsync. An error fails the whole batch.
    fn write(&mut self, jobs: &[Job], batch: &mut Batch) -> Result<(), LogError> {
        self.dedupe.forget_sealed();
        for job in jobs {
            let answer = match self.admit(job, batch) {
                Ok(state) => Ok(self.write_job(job, &state, batch)?),
                Err(refused) => Err(refused),
            };
            batch.answers.push(answer);
        }
        if !batch.records.is_empty() {
            self.connection.execute_batch("COMMIT")?;
        }
        Ok(())
    }

    /// Refuses a job alone, without harm to the others.
    fn admit(&self, job: &Job, batch: &Batch) -> Result<Arc<StreamState>, LogError> {
        if let Some(quota) = self.shared.options.quota {
            let used = self.shared.counters.used.load(Ordering::Acquire);
            if used + reserve(batch.bytes + job.bytes as u64) > quota {
                self.shared.counters.refused_full.store(true, Ordering::Release);
                self.janitor.ring();
                return Err(LogError::Full(format!("{used} of {quota} bytes of its quota are used")));
            }
        }
        self.shared.stream(&job.stream)
    }

    fn write_job(&mut self, job: &Job, state: &Arc<StreamState>, batch: &mut Batch) -> Result<Vec<Outcome>, LogError> {
        let mut outcomes = Vec::with_capacity(job.drafts.len());
        for draft in &job.drafts {
            if draft.dedupe
                && let Some(sequence) = self.dedupe.find(&draft.hash)?
            {
                batch.duplicates += 1;
                outcomes.push(Outcome::Duplicate { sequence });
                continue;
            }
            let sequence = batch.sequences.entry(state.key).or_insert_with(|| state.last_sequence());
            *sequence += 1;
            let (sequence, position) = (*sequence, self.position + 1 + batch.records.len() as u64);
            self.insert(draft, state.key, sequence, position, batch.records.is_empty())?;
            self.dedupe.note(draft.hash, sequence);
            batch.take(draft, state, sequence, position);
            outcomes.push(Outcome::Recorded { position, sequence });
        }
        Ok(outcomes)
    }

    fn insert(&self, draft: &Prepared, key: u32, sequence: u64, position: u64, first: bool) -> Result<(), LogError> {
        if first {
            self.connection.execute_batch("BEGIN IMMEDIATE")?;
        }
        let mut insert = self.connection.prepare_cached("INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
        let body = draft.body.as_ref();
        insert.execute(params![position, key, sequence, draft.received, draft.id, draft.kind, draft.spec, body])?;
        Ok(())
    }

    /// After the fsync: memory takes over what is on disk, then readers may see it.
    fn publish(&mut self, batch: &Batch, started: Instant) {
        let counters = &self.shared.counters;
        counters.duplicates.fetch_add(batch.duplicates, Ordering::Relaxed);
        let Some(last) = batch.records.last() else { return };
        self.position = last.position;
        self.content += batch.bytes;
        self.dedupe.commit();
        self.active.extend(batch.shares.iter().copied());
        for record in &batch.records {
            record.state.recorded(record.sequence, record.position);
        }
        self.shared.ring.publish(&batch.records);
        self.shared.set_head(last.position);
        counters.appended.fetch_add(batch.records.len() as u64, Ordering::Relaxed);
        counters.commits.fetch_add(1, Ordering::Relaxed);
        counters.used.fetch_add(reserve(batch.bytes), Ordering::AcqRel);
        if counters.unchecked.fetch_add(batch.bytes, Ordering::AcqRel) > super::janitor::CHECKPOINT_STEP {
            self.janitor.ring();
        }
        if let Some(told) = &self.shared.options.on_commit {
            told(started.elapsed());
        }
    }

    fn undo(&mut self) {
        self.dedupe.rollback();
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "rolling back the event log's transaction failed");
        }
    }

    fn roll_if_large(&mut self) {
        let limit = self.shared.options.segment_bytes;
        if (self.content >= limit || files::length(&files::wal_path(&self.active.path)) >= limit)
            && let Err(error) = self.roll()
        {
            // The old segment goes on growing; the next batch tries again.
            tracing::warn!(%error, "closing a segment of the event log failed");
        }
    }

    /// Goes on in another segment; the old one is left to the janitor, with its connection.
    fn roll(&mut self) -> Result<(), LogError> {
        if self.active.is_empty() {
            return Ok(());
        }
        // Held until the new segment is in the list: the janitor looks there for the next ordinal.
        let mut spare = lock(&self.shared.spare);
        let (segment, connection) = match spare.take() {
            Some(spare) => spare,
            None => self.shared.new_segment(self.active.ordinal + 1)?,
        };
        write(&self.shared.segments).push(segment.clone());
        drop(spare);
        self.dedupe.roll(segment.clone());
        let old = std::mem::replace(&mut self.connection, connection);
        lock(&self.shared.closing).push((std::mem::replace(&mut self.active, segment), old));
        self.content = 0;
        self.janitor.ring();
        Ok(())
    }
}

/// What appending so many bytes may take on disk: once in the write-ahead log, once in the database, and some pages.
fn reserve(bytes: u64) -> u64 {
    2 * bytes + (16 << 10)
}

impl Batch {
    fn take(&mut self, draft: &Prepared, state: &Arc<StreamState>, sequence: u64, position: u64) {
        let bytes = (draft.spec.len() + draft.body.len()) as u64;
        self.bytes += bytes + 256;
        let share = Share {
            first_sequence: sequence,
            last_sequence: sequence,
            first_position: position,
            last_position: position,
            bytes,
            oldest: draft.received,
            newest: draft.received,
        };
        self.shares.push((state.key, share));
        self.records.push(Arc::new(Record {
            position,
            sequence,
            id: draft.id.as_str().into(),
            kind: draft.kind.as_str().into(),
            received: draft.received,
            state: state.clone(),
            spec: draft.spec.as_str().into(),
            body: (draft.body.len() <= INLINE_BODY).then(|| draft.body.clone()),
            frame: OnceLock::new(),
        }));
    }
}
