//! Copies the WAL into the file in small passive steps, on a thread and connection of its own.
//!
//! SQLite's automatic checkpoint runs inside a commit and stalls it for tens of milliseconds; a passive one beside the writer
//! never waits for it and is never waited for.

use std::{path::Path, sync::mpsc, thread};

use rusqlite::Connection;

use super::{error::OpenError, format};

/// The WAL may grow to this before it is worth a step.
const STEP: u64 = 1 << 20;

/// The thread's handle.
pub struct Checkpointer {
    wake: mpsc::SyncSender<()>,
    thread: thread::JoinHandle<()>,
}

impl Checkpointer {
    /// Starts the thread for the store at `path`.
    pub fn start(path: &Path) -> Result<Self, OpenError> {
        let connection = format::connect(path)?;
        let (wake, woken) = mpsc::sync_channel(1);
        let run = move || {
            while woken.recv().is_ok() {
                step(&connection);
            }
        };
        let thread = thread::Builder::new().name("store-checkpoint".into()).spawn(run).map_err(OpenError::io(path))?;
        Ok(Self { wake, thread })
    }

    /// Tells it how large the WAL is. Never waits: if it is busy, it will be told again.
    pub fn wake_at(&self, wal: u64) {
        if wal >= STEP {
            let _ = self.wake.try_send(());
        }
    }

    /// Ends the thread after the step that it is in.
    pub fn stop(self) {
        drop(self.wake);
        let _ = self.thread.join();
    }
}

fn step(connection: &Connection) {
    if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
        tracing::warn!(%error, "a checkpoint failed; it is tried again after the next writes");
    }
}
