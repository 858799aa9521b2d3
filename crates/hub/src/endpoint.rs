//! What ingest needs to know about an endpoint, compiled once per change, and the table that finds it by its URL.
//!
//! In: `WebhookEndpoint` resources and their Secrets, resolved by [`control::endpoints`](crate::control::endpoints). Out: an
//! immutable [`Endpoint`] behind an atomically swapped table, so that a delivery never waits for the control plane. What
//! deliveries change is in [`Live`], which outlives recompilation.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use roadstead_api::endpoint::{Counters, EventSummary, Provider};
use roadstead_outbound::registry::Registry;
use roadstead_reconcile::filter::Filter;

use crate::{healing::Signals, limits::Bucket, log::Stream, tag_index::TagIndex, verify::Policy};

/// Most summaries in `status.recent`.
pub(crate) const RECENT: usize = 16;
/// Tags of a registry that are remembered, at about 300 bytes each.
pub(crate) const KNOWN_TAGS: usize = 20_000;

/// An endpoint, ready to take deliveries.
pub struct Endpoint {
    /// Namespace, name and uid: one incarnation.
    pub stream: Stream,
    /// The random part of the URL.
    pub hook_id: String,
    /// Sender's dialect.
    pub provider: Provider,
    /// Whether deliveries are taken, and if not why.
    pub gate: Gate,
    /// Event types to keep; empty keeps all.
    pub events: Vec<String>,
    /// Filter, if any, or why it can't be compiled. A broken one keeps everything: most senders never come again, and too much
    /// can be dropped later.
    pub filter: Option<Result<Filter, String>>,
    /// Body cap in bytes.
    pub max_body: u64,
    /// Limit for verified deliveries.
    pub bucket: Option<Bucket>,
    /// Where to confirm a registry's events, and to find what they have not told.
    pub registry: Option<Registry>,
    /// How often to look there; None: never without a reason.
    pub reconcile_every: Option<Duration>,
    /// Of the spec that this was made from.
    pub generation: i64,
    /// What deliveries change.
    pub live: Arc<Live>,
}

/// Whether deliveries are taken.
pub enum Gate {
    /// Yes, when they pass this policy.
    Open(Policy),
    /// No: answered 503. Reason and message are those of condition `Ready`.
    Closed {
        /// CamelCase reason.
        reason: &'static str,
        /// For people.
        message: String,
    },
}

/// Counters, the last events, and the known tags of an endpoint.
#[derive(Debug)]
pub struct Live {
    accepted: AtomicU64,
    duplicate: AtomicU64,
    filtered: AtomicU64,
    rejected: AtomicU64,
    tail: Mutex<Tail>,
    tags: Mutex<TagIndex>,
    /// Between deliveries and the healer.
    pub healing: Signals,
}

impl Default for Live {
    fn default() -> Self {
        Self::restore(&Counters::default(), 0, VecDeque::new(), TagIndex::new(KNOWN_TAGS))
    }
}

/// The part of [`Live`] that is not a counter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Sequence of the last recorded event.
    pub sequence: u64,
    /// Newest first.
    pub recent: VecDeque<EventSummary>,
    /// When the last ping came, RFC 3339.
    pub last_ping: Option<String>,
    /// Why the filter failed last; cleared by its next success.
    pub filter_error: Option<String>,
}

/// What became of a delivery, for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "described at status.counters")]
pub enum Counted {
    Accepted,
    Duplicate,
    Filtered,
    Rejected,
}

impl Live {
    /// Starts from what the status said before a restart; all but the counters comes from the log.
    pub fn restore(counters: &Counters, sequence: u64, recent: VecDeque<EventSummary>, tags: TagIndex) -> Self {
        Self {
            // Every recorded event has a sequence, so the log knows better than a status that was written late.
            accepted: counters.accepted.max(sequence).into(),
            duplicate: counters.duplicate.into(),
            filtered: counters.filtered.into(),
            rejected: counters.rejected.into(),
            tail: Mutex::new(Tail { sequence, recent, ..Tail::default() }),
            tags: Mutex::new(tags),
            healing: Signals::default(),
        }
    }

    /// Counts `n` of a kind.
    pub fn count(&self, what: Counted, n: u64) {
        let counter = match what {
            Counted::Accepted => &self.accepted,
            Counted::Duplicate => &self.duplicate,
            Counted::Filtered => &self.filtered,
            Counted::Rejected => &self.rejected,
        };
        counter.fetch_add(n, Ordering::Relaxed);
    }

    /// Notes a recorded event. Commits may be noted out of order; the newest stays in front.
    pub fn recorded(&self, summary: EventSummary) {
        let mut tail = self.tail();
        tail.sequence = tail.sequence.max(summary.sequence);
        let at = tail.recent.iter().position(|known| known.sequence < summary.sequence).unwrap_or(tail.recent.len());
        if at < RECENT {
            tail.recent.insert(at, summary);
            tail.recent.truncate(RECENT);
        }
    }

    /// The counters now.
    pub fn counters(&self) -> Counters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            accepted: load(&self.accepted),
            duplicate: load(&self.duplicate),
            filtered: load(&self.filtered),
            rejected: load(&self.rejected),
        }
    }

    /// The registry's tags, locked; hold it briefly.
    pub fn tags(&self) -> MutexGuard<'_, TagIndex> {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rest, locked; hold it briefly.
    pub fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Endpoints by the random part of their URL. Cheap to clone; readers never wait.
#[derive(Clone, Default)]
pub struct Endpoints {
    table: Arc<ArcSwap<Table>>,
}

#[derive(Default)]
struct Table {
    by_hook: HashMap<String, Arc<Endpoint>>,
    complete: bool,
}

/// Why there is no endpoint to a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// It is nobody's: all endpoints are known.
    Nobodys,
    /// It may be that of an endpoint that is not known yet.
    NotYet,
}

impl Endpoints {
    /// The endpoint that `hook_id` belongs to.
    ///
    /// # Errors
    /// It belongs to none that is known.
    pub fn by_hook(&self, hook_id: &str) -> Result<Arc<Endpoint>, Unknown> {
        let table = self.table.load();
        let unknown = if table.complete { Unknown::Nobodys } else { Unknown::NotYet };
        table.by_hook.get(hook_id).cloned().ok_or(unknown)
    }

    /// Replaces the whole table; `complete`: it has every endpoint that was ever given a URL.
    pub fn publish(&self, endpoints: impl IntoIterator<Item = Arc<Endpoint>>, complete: bool) {
        let by_hook = endpoints.into_iter().map(|endpoint| (endpoint.hook_id.clone(), endpoint)).collect();
        self.table.store(Arc::new(Table { by_hook, complete }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(sequence: u64) -> EventSummary {
        EventSummary { sequence, ..EventSummary::default() }
    }

    #[test]
    fn the_newest_event_stays_in_front_whatever_order_commits_are_noted_in() {
        let live = Live::default();
        for sequence in [2, 1, 4, 3] {
            live.recorded(summary(sequence));
        }
        let tail = live.tail();
        assert_eq!(tail.sequence, 4);
        assert_eq!(tail.recent.iter().map(|s| s.sequence).collect::<Vec<_>>(), [4, 3, 2, 1]);
    }

    #[test]
    fn recent_is_bounded() {
        let live = Live::default();
        for sequence in 1..=100 {
            live.recorded(summary(sequence));
        }
        live.recorded(summary(5));
        assert_eq!(
            live.tail().recent.iter().map(|s| s.sequence).collect::<Vec<_>>(),
            (85..=100).rev().collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_late_status_does_not_lower_what_the_log_knows() {
        let live = Live::restore(
            &Counters { accepted: 3, duplicate: 2, ..Counters::default() },
            7,
            VecDeque::new(),
            TagIndex::new(1),
        );
        live.count(Counted::Accepted, 1);
        assert_eq!(live.counters(), Counters { accepted: 8, duplicate: 2, filtered: 0, rejected: 0 });
    }
}
