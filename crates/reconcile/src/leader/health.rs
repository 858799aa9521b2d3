//! How an election goes, for probes: whether its loop moves, and whether its requests are answered.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::Options;

/// The state of an election. Cheap to clone.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    began: Instant,
    /// When the loop went round last, milliseconds after `began`.
    beat: AtomicU64,
    /// How long it may take to go round.
    patience: Duration,
    lease: String,
    /// How the last request failed, if it did.
    failing: Mutex<Option<String>>,
}

impl Health {
    pub(super) fn new(options: &Options) -> Self {
        Self(Arc::new(Inner {
            began: Instant::now(),
            beat: AtomicU64::new(0),
            patience: options.duration + options.renew_deadline,
            lease: format!("{}/{}", options.namespace, options.lease),
            failing: Mutex::default(),
        }))
    }

    /// Whether the loop moves; if not, the process should be restarted. A standby is alive, and so is one whose API server
    /// does not answer. Errors: for people.
    pub fn alive(&self) -> Result<(), String> {
        let beat = Duration::from_millis(self.0.beat.load(Ordering::Relaxed));
        let silent = self.0.began.elapsed().saturating_sub(beat);
        if silent <= self.0.patience {
            return Ok(());
        }
        Err(format!("the election for {} has not moved for {} s", self.0.lease, silent.as_secs()))
    }

    /// Whether the Lease can be read and written; a standby is ready. Errors: for people.
    pub fn ready(&self) -> Result<(), String> {
        match &*self.0.failing.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(format!("the Lease {} cannot be used: {error}", self.0.lease)),
            None => Ok(()),
        }
    }

    /// The loop went round.
    pub(super) fn beat(&self) {
        let now = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.beat.store(now, Ordering::Relaxed);
    }

    /// Notes how a request went. Answers whether that is news.
    pub(super) fn note(&self, error: Option<String>) -> bool {
        let mut failing = self.0.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let news = *failing != error;
        *failing = error;
        news
    }
}
