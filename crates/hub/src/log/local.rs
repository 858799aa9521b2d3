//! The log in local files: the handle that implements the trait, and the threads behind it.

use std::{
    fs::File,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::Ordering,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::{
    Follow, Log,
    error::LogError,
    follow::LocalFollow,
    ids,
    janitor::{Bell, Janitor},
    open::{self, Opened},
    options::Options,
    reader::Readers,
    record::{Record, fragment},
    shared::{Shared, lock, read},
    types::{Draft, Limit, Metrics, Outcome, Page, RecordedBody, Retention, Selection, Stream, StreamStats},
    writer::{Job, Message, Prepared, Writer},
};

/// A log in local files. Closing (or dropping) it waits for what is queued.
pub struct LocalLog {
    pub(super) shared: Arc<Shared>,
    pub(super) queue: SyncSender<Message>,
    pub(super) janitor: Arc<Bell>,
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    writer: JoinHandle<()>,
    janitor: JoinHandle<()>,
    lock: File,
}

impl LocalLog {
    /// Opens the log in `directory`, made if need be (mode 0700).
    ///
    /// Errors: `Unusable` with the reason for a file that is damaged, cut short, newer, or in use by another process.
    pub async fn open(directory: &Path, options: Options) -> Result<Arc<Self>, LogError> {
        let directory = directory.to_path_buf();
        let opened = tokio::task::spawn_blocking(move || open::open(&directory, options));
        let opened = opened.await.map_err(|error| LogError::Storage(error.to_string()))??;
        Self::start(opened).map(Arc::new)
    }

    fn start(opened: Opened) -> Result<Self, LogError> {
        let Opened { shared, active, connection, dedupe, position, unloaded, lock } = opened;
        let (sender, queue) = sync_channel(shared.options.queue_deliveries);
        let bell = Arc::new(Bell::default());
        let content = active.shares().iter().map(|(_, share)| share.bytes).sum();
        let writer = Writer {
            shared: shared.clone(),
            queue,
            connection,
            active,
            dedupe,
            position,
            content,
            janitor: bell.clone(),
        };
        let janitor = Janitor::new(shared.clone(), sender.clone(), bell.clone(), unloaded);
        let spawn =
            |name: &str, run: Box<dyn FnOnce() + Send>| std::thread::Builder::new().name(name.into()).spawn(run);
        let ringing = shared.clone();
        tokio::spawn(async move {
            while !ringing.closed.load(Ordering::Acquire) {
                ringing.ring.ring_marked().await;
            }
        });
        let threads = Threads {
            writer: spawn("log-writer", Box::new(move || writer.run()))?,
            janitor: spawn("log-janitor", Box::new(move || janitor.run()))?,
            lock,
        };
        Ok(Self { shared, queue: sender, janitor: bell, threads: Mutex::new(Some(threads)) })
    }

    /// Writes what is queued and closes the files. Appends and followers end with `Closed`.
    pub async fn close(self: Arc<Self>) {
        let closing = tokio::task::spawn_blocking(move || self.stop());
        let _ = closing.await;
    }

    fn stop(&self) {
        let Some(threads) = lock(&self.threads).take() else { return };
        self.shared.closed.store(true, Ordering::Release);
        self.shared.ring.ring_all(lock(&self.shared.endpoints).values());
        self.janitor.stop();
        let _ = threads.janitor.join();
        // The queue may be full; the writer empties it.
        let _ = self.queue.send(Message::Stop);
        let _ = threads.writer.join();
        // A child that another thread is just starting shares the file until it runs its program: closing alone would not let go.
        let _ = threads.lock.unlock();
    }

    /// Puts a job into the queue if there is room for its bytes too.
    fn enqueue(&self, job: Job) -> Result<(), LogError> {
        let counters = &self.shared.counters;
        let bytes = job.bytes;
        let waiting = counters.queue_bytes.fetch_add(bytes, Ordering::AcqRel);
        counters.queue_deliveries.fetch_add(1, Ordering::AcqRel);
        let sent = match waiting > 0 && waiting + bytes > self.shared.options.queue_bytes {
            true => Err(LogError::Overloaded),
            false => self.queue.try_send(Message::Append(job)).map_err(|error| match error {
                TrySendError::Full(_) => LogError::Overloaded,
                TrySendError::Disconnected(_) => LogError::Closed,
            }),
        };
        if sent.is_err() {
            counters.queue_bytes.fetch_sub(bytes, Ordering::AcqRel);
            counters.queue_deliveries.fetch_sub(1, Ordering::AcqRel);
        }
        sent
    }
}

impl Drop for LocalLog {
    fn drop(&mut self) {
        self.stop();
    }
}

fn prepare(stream: &Stream, draft: Draft) -> Result<Prepared, LogError> {
    let spec = fragment(&draft).map_err(|error| LogError::Storage(format!("event {}: {error}", draft.id)))?;
    Ok(Prepared {
        hash: ids::hash(&stream.uid, &draft.id),
        id: draft.id,
        dedupe: draft.dedupe,
        kind: draft.kind,
        received: draft.received_at.as_microsecond(),
        spec,
        body: draft.body,
    })
}

#[async_trait]
impl Log for LocalLog {
    async fn append(&self, stream: &Stream, drafts: Vec<Draft>) -> Result<Vec<Outcome>, LogError> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(LogError::Closed);
        }
        let drafts = drafts.into_iter().map(|draft| prepare(stream, draft)).collect::<Result<Vec<_>, _>>()?;
        let bytes = drafts.iter().map(|draft| 512 + draft.spec.len() + draft.body.len()).sum();
        let (reply, answer) = oneshot::channel();
        self.enqueue(Job { stream: stream.clone(), drafts, bytes, reply })?;
        answer.await.unwrap_or(Err(LogError::Closed))
    }

    fn head(&self) -> u64 {
        self.shared.head()
    }

    async fn reached(&self, position: u64, patience: Duration) -> bool {
        self.shared.reached(position, patience).await
    }

    async fn read(&self, selection: &Selection, after: u64, through: u64, limit: Limit) -> Result<Page, LogError> {
        let (selection, through) = (selection.clone(), through.min(self.head()));
        Readers::run(&self.shared, move |shared| shared.read_disk(&selection, after, through, limit)).await
    }

    async fn get(&self, namespace: &str, endpoint: &str, sequence: u64) -> Result<Option<Arc<Record>>, LogError> {
        let (namespace, endpoint) = (namespace.to_string(), endpoint.to_string());
        Readers::run(&self.shared, move |shared| shared.find_sequence(&namespace, &endpoint, sequence)).await
    }

    async fn find(&self, namespace: &str, endpoint: &str, id: &str) -> Result<Option<Arc<Record>>, LogError> {
        let (namespace, endpoint, id) = (namespace.to_string(), endpoint.to_string(), id.to_string());
        Readers::run(&self.shared, move |shared| match shared.sequence_of_id(&namespace, &endpoint, &id)? {
            Some(sequence) => shared.find_sequence(&namespace, &endpoint, sequence),
            None => Ok(None),
        })
        .await
    }

    async fn body(&self, namespace: &str, endpoint: &str, sequence: u64) -> Result<Option<RecordedBody>, LogError> {
        let (namespace, endpoint) = (namespace.to_string(), endpoint.to_string());
        Readers::run(&self.shared, move |shared| shared.find_body(&namespace, &endpoint, sequence)).await
    }

    fn follow(&self, selection: Selection, after: u64) -> Box<dyn Follow> {
        Box::new(LocalFollow::new(self.shared.clone(), selection, after))
    }

    fn stats(&self, stream: &Stream) -> Option<StreamStats> {
        let streams = read(&self.shared.streams);
        streams.by_uid(&stream.uid).filter(|state| !state.dropped()).map(|state| state.stats())
    }

    fn streams(&self) -> Vec<Stream> {
        let streams = read(&self.shared.streams);
        streams.all().filter(|state| !state.dropped()).map(|state| state.stream.clone()).collect()
    }

    async fn retain(&self, stream: &Stream, retention: Retention) -> Result<(), LogError> {
        let stream = stream.clone();
        Readers::run(&self.shared, move |shared| {
            let state = shared.stream(&stream)?;
            if state.retention() != retention {
                lock(&shared.catalogue).retain(state.key, &retention)?;
                state.set_retention(retention);
            }
            Ok(())
        })
        .await
    }

    async fn drop_stream(&self, stream: &Stream) -> Result<(), LogError> {
        let stream = stream.clone();
        Readers::run(&self.shared, move |shared| shared.drop_stream(&stream)).await
    }

    fn metrics(&self) -> Metrics {
        let counters = &self.shared.counters;
        let segments = self.shared.segments();
        let oldest = segments.iter().filter_map(|segment| segment.span()).map(|(oldest, _)| oldest).min();
        Metrics {
            appended: counters.appended.load(Ordering::Relaxed),
            duplicates: counters.duplicates.load(Ordering::Relaxed),
            commits: counters.commits.load(Ordering::Relaxed),
            queue_deliveries: counters.queue_deliveries.load(Ordering::Relaxed) as u64,
            queue_bytes: counters.queue_bytes.load(Ordering::Relaxed) as u64,
            log_bytes: counters.log_bytes.load(Ordering::Relaxed),
            ring_bytes: self.shared.ring.bytes() as u64,
            oldest_event: oldest.and_then(|at| jiff::Timestamp::from_microsecond(at).ok()),
            segments: segments.len() as u64,
            followers: counters.followers.load(Ordering::Relaxed) as u64,
        }
    }
}
