//! The thread beside the writer: sweeps what deleted and disabled webhooks left pending, removes what is too old or too much,
//! checkpoints in small steps, and measures the disk. It asks the writer for one small batch at a time, so that deliveries go first.

use std::{
    sync::{Arc, Condvar, Mutex, atomic::Ordering},
    time::{Duration, Instant},
};

use roadstead_api::registry_webhook::DeliveryState;
use rusqlite::{Connection, params};
use tokio::sync::{mpsc, oneshot};

use super::{
    error::LogError,
    files,
    options::Options,
    schema,
    shared::{Row, SharedRef, lock},
    upkeep::{Trim, is_empty},
    writer::{Job, Work},
};

/// Wakes the janitor.
#[derive(Default)]
pub(super) struct Bell {
    state: Mutex<(bool, bool)>,
    condition: Condvar,
}

impl Bell {
    /// Makes a round due.
    pub fn ring(&self) {
        lock(&self.state).0 = true;
        self.condition.notify_one();
    }

    /// Ends the thread after its present step.
    pub fn stop(&self) {
        lock(&self.state).1 = true;
        self.condition.notify_one();
    }

    fn stopped(&self) -> bool {
        lock(&self.state).1
    }

    /// Waits for a ring, at most for `tick`; false to stop.
    fn wait(&self, tick: Duration) -> bool {
        let state = lock(&self.state);
        let waited = self.condition.wait_timeout_while(state, tick, |(rung, stop)| !*rung && !*stop);
        let mut state = match waited {
            Ok((state, _)) => state,
            Err(poisoned) => poisoned.into_inner().0,
        };
        state.0 = false;
        !state.1
    }
}

/// The janitor's state.
pub(super) struct Janitor {
    pub shared: SharedRef,
    pub queue: mpsc::Sender<Job>,
    pub bell: Arc<Bell>,
    pub connection: Connection,
}

impl Janitor {
    /// Runs until told to stop.
    pub fn run(self) {
        let tick = self.shared.options.interval;
        let mut next_trim = Instant::now();
        loop {
            let mut steps = vec![("sweeping", self.sweep())];
            if Instant::now() >= next_trim {
                steps.push(("removing old messages", self.trim()));
                next_trim = Instant::now() + tick;
            }
            steps.push(("checkpointing", self.checkpoint()));
            for (what, done) in steps {
                match done {
                    Ok(()) | Err(LogError::Closed) => {}
                    Err(error) => tracing::warn!(%error, "{what} of the delivery log failed; it will be tried again"),
                }
            }
            if !self.bell.wait(tick) {
                return;
            }
        }
    }

    /// Has the writer do `work` until there is nothing left of it.
    fn exhaust(&self, work: impl Fn() -> Work) -> Result<(), LogError> {
        while !self.bell.stopped() {
            let (reply, answer) = oneshot::channel();
            self.queue.blocking_send(Job { work: work(), reply }).map_err(|_| LogError::Closed)?;
            if answer.blocking_recv().map_err(|_| LogError::Closed)?? < self.shared.options.batch {
                break;
            }
        }
        Ok(())
    }

    fn sweep(&self) -> Result<(), LogError> {
        let most = self.shared.options.most_pending;
        let stopped = |row: &Row| row.stats.forgotten || row.stats.disabled.is_some();
        let left = |row: &Row| row.stats.pending > 0 && stopped(row) || row.stats.pending > most;
        for row in self.shared.all().iter().filter(|row| left(row)) {
            if !stopped(row) {
                let (namespace, webhook, pending) = (&row.stats.namespace, &row.stats.name, row.stats.pending);
                tracing::warn!(
                    namespace,
                    webhook,
                    pending,
                    most,
                    "too many messages are pending: the oldest become dead letters"
                );
            }
            self.exhaust(|| Work::Sweep(row.stats.key))?;
        }
        Ok(())
    }

    fn trim(&self) -> Result<(), LogError> {
        for row in self.shared.all() {
            for trim in trims(&row, &self.shared.options, schema::now()) {
                if self.is_due(&trim, &row)? {
                    self.exhaust(|| Work::Trim(trim))?;
                }
            }
            if row.stats.forgotten && is_empty(&row) {
                let (reply, answer) = oneshot::channel();
                let job = Job { work: Work::Drop(row.stats.key), reply };
                self.queue.blocking_send(job).map_err(|_| LogError::Closed)?;
                answer.blocking_recv().map_err(|_| LogError::Closed)??;
            }
        }
        Ok(())
    }

    /// Whether there is anything to remove: the writer is not bothered for nothing.
    fn is_due(&self, trim: &Trim, row: &Row) -> Result<bool, LogError> {
        if kept(row, trim.state) > trim.most {
            return Ok(true);
        }
        let mut select = self.connection.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM message INDEXED BY done WHERE webhook = ?1 AND state = ?2 AND finished < ?3)",
        )?;
        let state = schema::state_number(trim.state);
        Ok(select.query_row(params![trim.webhook, state, trim.before], |row| row.get(0))?)
    }

    /// Moves the write-ahead log into the database without making the writer wait, and measures.
    fn checkpoint(&self) -> Result<(), LogError> {
        if self.shared.unchecked.swap(0, Ordering::AcqRel) > 0 {
            // https://www.sqlite.org/pragma.html#pragma_wal_checkpoint: busy, pages in the log, pages moved; -1 where there is no log.
            let left = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
                Ok(row.get::<_, i64>(1)?.saturating_sub(row.get(2)?))
            })?;
            self.shared.measure(&self.connection, u64::try_from(left).unwrap_or(0))?;
        }
        Ok(())
    }

    /// A connection of the janitor's.
    pub fn connect(shared: &SharedRef) -> Result<Connection, LogError> {
        files::connect(&shared.path)
    }
}

fn kept(row: &Row, state: DeliveryState) -> u64 {
    match state {
        DeliveryState::Pending => 0,
        DeliveryState::Delivered => row.kept,
        DeliveryState::DeadLetter => row.stats.dead_letters,
        DeliveryState::Cancelled => row.cancelled,
    }
}

/// What retention asks for one webhook: a pure function of its counters, the options and the time.
fn trims(row: &Row, options: &Options, now: i64) -> Vec<Trim> {
    let before = |age: Duration| now.saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
    [
        (DeliveryState::Delivered, options.keep_delivered, options.most_delivered),
        (DeliveryState::Cancelled, options.keep_delivered, options.most_delivered),
        (DeliveryState::DeadLetter, options.keep_dead, options.most_dead),
    ]
    .into_iter()
    .filter(|(state, ..)| kept(row, *state) > 0)
    .map(|(state, age, most)| Trim { webhook: row.stats.key, state, before: before(age), most })
    .collect()
}
