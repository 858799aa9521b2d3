//! Copies the WAL into the file in small passive steps, on a thread and connection of its own.
//!
//! SQLite's automatic checkpoint runs inside a commit and stalls it for tens of milliseconds; a passive one beside the writer
//! never waits for it and is never waited for. The WAL itself starts anew only when a step has caught up with the writer,
//! which under constant load never happens: then it grows, and the writer empties it when it reaches the limit.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
};

use rusqlite::Connection;

use super::{error::OpenError, format};

/// So many bytes written are worth a step.
const STEP: u64 = 1 << 20;

/// The thread's handle.
pub struct Checkpointer {
    wake: mpsc::SyncSender<()>,
    thread: thread::JoinHandle<()>,
    written: u64,
    wal: Arc<AtomicU64>,
}

impl Checkpointer {
    /// Starts the thread for the store at `path`.
    pub fn start(path: &Path) -> Result<Self, OpenError> {
        let connection = format::connect(path)?;
        let (wake, woken) = mpsc::sync_channel(1);
        let wal = Arc::new(AtomicU64::new(0));
        let seen = wal.clone();
        let run = move || {
            while woken.recv().is_ok() {
                match step(&connection) {
                    Ok(bytes) => seen.store(bytes, Relaxed),
                    Err(error) => tracing::warn!(%error, "a checkpoint failed; it is tried again after more writes"),
                }
            }
        };
        let thread = thread::Builder::new().name("store-checkpoint".into()).spawn(run).map_err(OpenError::io(path))?;
        Ok(Self { wake, thread, written: 0, wal })
    }

    /// Tells it what has been written. Never waits: if it is busy, it will be told again.
    pub fn wrote(&mut self, bytes: u64) {
        self.written += bytes;
        if self.written >= STEP {
            self.written = 0;
            let _ = self.wake.try_send(());
        }
    }

    /// How large the WAL was at the last step, in bytes.
    pub fn wal(&self) -> u64 {
        self.wal.load(Relaxed)
    }

    /// Says that the WAL has been emptied, or cannot be just now: it counts as small until the next step.
    pub fn forget(&self) {
        self.wal.store(0, Relaxed);
    }

    /// Ends the thread after the step that it is in.
    pub fn stop(self) {
        drop(self.wake);
        let _ = self.thread.join();
    }
}

/// One step; answers the size of the WAL.
fn step(connection: &Connection) -> rusqlite::Result<u64> {
    let page: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    // Columns: whether it was kept from running, pages in the WAL, pages copied; -1 where there is none.
    let pages: i64 = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1))?;
    Ok(u64::try_from(pages).unwrap_or(0) * u64::from(page))
}
