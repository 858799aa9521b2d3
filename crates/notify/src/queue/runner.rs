//! Does what the planner says: one task that owns all queues, and a task for each request under way.
//!
//! It wakes for news of the log, requests that are back, outcomes that are on disk, new limits, and times that have come. Each turn takes
//! all that has happened, asks the planner for every webhook that it touches, round robin, and records all answers in one call. It
//! holds no truth: everything in it can be read from the log again.

mod drive;
mod entry;
mod handle;
mod turn;
mod webhooks;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    task::{Id, JoinSet},
};

use super::{Deliver, options::Options, places::Places, shards::Shards};
use crate::{
    delivery::{Attempt, Verdict},
    log::{DeliveryLog, Lane, LogError, Notices, Ready, WebhookKey},
    metrics::Metrics,
};

use entry::Entry;
pub use handle::Handle;
use handle::{Phase, Table};

/// First and longest pause after the log could not be read or written.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Starts runners.
pub struct Runner;

impl Runner {
    /// Starts sending what the log holds. Webhooks are sent to once [`Handle::configure`] has told their limits.
    pub fn start(log: Arc<DeliveryLog>, deliver: Arc<dyn Deliver>, options: Options, metrics: Metrics) -> Handle {
        let table = Arc::new(Table::default());
        let (phase, phases) = watch::channel(Phase::Running);
        let (shards, held) = watch::channel(Shards::all());
        let acting = Arc::new(Mutex::new(Shards::all()));
        let notices = log.listen();
        let run = Run {
            places: Places::new(options.places),
            broken: 0,
            log,
            deliver,
            options,
            metrics,
            table: table.clone(),
            notices,
            held,
            acting: acting.clone(),
            entries: HashMap::new(),
            ring: VecDeque::new(),
            wakes: BTreeSet::new(),
            flights: JoinSet::new(),
            flown: HashMap::new(),
            side: JoinSet::new(),
            dice: std::hash::RandomState::new(),
            throws: 0,
        };
        let task = tokio::spawn(run.run(phases));
        Handle { table, phase, shards, held: acting, abort: task.abort_handle(), task: Mutex::new(Some(task)) }
    }
}

/// The runner's state.
struct Run {
    log: Arc<DeliveryLog>,
    deliver: Arc<dyn Deliver>,
    options: Options,
    metrics: Metrics,
    table: Arc<Table>,
    notices: Arc<Notices>,
    /// Shards as they should be, and as they are.
    held: watch::Receiver<Shards>,
    acting: Arc<Mutex<Shards>>,
    entries: HashMap<WebhookKey, Entry>,
    /// Webhooks to be asked, each at most once.
    ring: VecDeque<WebhookKey>,
    wakes: BTreeSet<(Instant, WebhookKey)>,
    places: Places,
    /// Webhooks with an open breaker.
    broken: usize,
    /// Requests under way, and which each is, for one that panics.
    flights: JoinSet<(WebhookKey, u64, Attempt)>,
    flown: HashMap<Id, (WebhookKey, u64)>,
    /// Reads and writes of the log.
    side: JoinSet<Side>,
    dice: std::hash::RandomState,
    throws: u64,
}

/// What a call of the log came to.
enum Side {
    Loaded {
        key: WebhookKey,
        generation: u64,
        lane: Lane,
        limit: usize,
        read: Result<Vec<Ready>, LogError>,
    },
    Recorded(Vec<(WebhookKey, u64)>),
    /// The log is closed: the runner ends.
    Closed,
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// An attempt of which nothing is known but that it took too long or ended badly.
fn failed(at: jiff::Timestamp, duration: Duration, error: String) -> Attempt {
    let verdict = Verdict::Retry { after: None };
    Attempt { at, duration, status: None, error: Some(error), snippet: String::new(), verdict }
}
