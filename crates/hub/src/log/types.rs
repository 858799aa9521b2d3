//! What goes into the log and what it tells: plain data, shared by every implementation of the trait.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use roadstead_api::{
    endpoint::Provider,
    event::{GitChange, Header, ImageChange},
};

use super::record::Record;

/// One incarnation of an endpoint. An endpoint that is deleted and made again has another uid, starts at sequence 1, and the
/// events of its earlier life are gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stream {
    /// Namespace of the endpoint.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
}

/// An event that is to be recorded.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The provider's delivery id, unique within the stream.
    pub id: String,
    /// Whether an earlier event with the same id makes this one a duplicate. False where the id is random anyway.
    pub dedupe: bool,
    /// The provider's event type, e.g. `push`.
    pub kind: String,
    /// Who sent it.
    pub provider: Provider,
    /// When the hub had read it.
    pub received_at: jiff::Timestamp,
    /// Whether the sender was proven.
    pub verified: bool,
    /// Whether a comparison with the registry found it, and nobody sent it.
    pub reconciled: bool,
    /// What a git host told.
    pub git: Option<GitChange>,
    /// What a registry told.
    pub image: Option<ImageChange>,
    /// HTTP method.
    pub method: String,
    /// Headers to keep, in order; those that carry a credential in clear are already gone.
    pub headers: Vec<Header>,
    /// The raw body.
    pub body: Bytes,
}

/// What became of a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is on disk.
    Recorded {
        /// Position in the log, over all streams; the event's resourceVersion.
        position: u64,
        /// Number within the stream, from 1, without gaps.
        sequence: u64,
    },
    /// An event with its id is on disk already.
    Duplicate {
        /// That event's number within the stream.
        sequence: u64,
    },
}

/// How long a stream's events are kept; whatever limit is reached first counts. `events` is exact; `age` and `bytes` are
/// applied to whole segments, so that somewhat more is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Since it was received.
    pub age: Duration,
    /// Bodies, headers and normalised fields together.
    pub bytes: u64,
    /// Number of events.
    pub events: Option<u64>,
}

impl Default for Retention {
    /// The defaults of `WebhookEndpoint.spec.retention`: 168 hours, 10 GiB.
    fn default() -> Self {
        Self { age: Duration::from_secs(168 * 3600), bytes: 10 << 30, events: None }
    }
}

/// A stream in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamStats {
    /// First sequence that is retained; `last + 1` if none is.
    pub first: u64,
    /// Last sequence given; 0 if none was.
    pub last: u64,
    /// Position of the last event; 0 if none.
    pub last_position: u64,
}

/// Which endpoints a reader wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoints {
    /// All, those made later included.
    All,
    /// All of one namespace, those made later included.
    Namespace(String),
    /// These (namespace, name), whether they exist yet or not.
    Named(Vec<(String, String)>),
}

impl Endpoints {
    /// Whether an endpoint is among them.
    pub fn contains(&self, namespace: &str, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(wanted) => wanted == namespace,
            Self::Named(list) => list.iter().any(|(ns, n)| ns == namespace && n == name),
        }
    }
}

/// Narrows a selection; sees everything of a record but its body. Runs for every candidate, so it should be cheap.
pub type Filter = Arc<dyn Fn(&Record) -> bool + Send + Sync>;

/// What a reader wants.
#[derive(Clone)]
pub struct Selection {
    /// Of which endpoints.
    pub endpoints: Endpoints,
    /// Which of their events; all if `None`.
    pub filter: Option<Filter>,
}

impl Selection {
    /// Everything of `endpoints`.
    pub fn of(endpoints: Endpoints) -> Self {
        Self { endpoints, filter: None }
    }

    /// Whether the filter takes `record` (its endpoint is not looked at).
    pub(super) fn takes(&self, record: &Record) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter(record))
    }
}

impl fmt::Debug for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}{}", self.endpoints, if self.filter.is_some() { " filtered" } else { "" })
    }
}

/// How much a read may return. At least one event is returned even if it is larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Events.
    pub events: usize,
    /// Bytes of their frames.
    pub bytes: usize,
}

/// One page of a read.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// In the order of their positions.
    pub records: Vec<Arc<Record>>,
    /// Everything selected up to and with this position is in the pages so far.
    pub through: u64,
}

/// A body with what is needed to answer with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedBody {
    /// The event's id.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// HTTP method of the delivery.
    pub method: String,
    /// Its headers.
    pub headers: Vec<Header>,
    /// The bytes as received.
    pub body: Bytes,
}

/// Why a reader cannot go on from its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missed {
    /// Events were removed by retention, or with their endpoint.
    Removed {
        /// Namespace of the endpoint.
        namespace: String,
        /// Its name.
        name: String,
        /// How many after the position; at least so many if not `exact`.
        events: u64,
        /// Whether `events` is the true number.
        exact: bool,
        /// First sequence that is still there.
        first_retained: u64,
        /// Whether they went because the endpoint was deleted.
        deleted: bool,
    },
    /// The position belongs to a life of the log that a restore from a backup ended.
    Restored {
        /// The position.
        position: u64,
    },
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Removed { namespace, name, events, exact, first_retained, deleted } => {
                let least = if *exact { "" } else { "at least " };
                let noun = if *events == 1 { "event" } else { "events" };
                write!(f, "too old resource version: {least}{events} {noun} of endpoint {namespace}/{name} ")?;
                match deleted {
                    true => write!(f, "missed, because the endpoint was deleted"),
                    false => write!(f, "missed, removed by retention; the first retained sequence is {first_retained}"),
                }
            }
            Self::Restored { position } => write!(
                f,
                "too old resource version: {position} is of before the log was restored from a backup; list again"
            ),
        }
    }
}

/// The log in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Events recorded since the start.
    pub appended: u64,
    /// Duplicates since the start.
    pub duplicates: u64,
    /// Commits (each one fsync) since the start.
    pub commits: u64,
    /// Deliveries that wait for the writer.
    pub queue_deliveries: u64,
    /// Their bytes.
    pub queue_bytes: u64,
    /// Bytes of the files on disk.
    pub log_bytes: u64,
    /// Bytes of frames kept in memory for live readers.
    pub ring_bytes: u64,
    /// When the oldest event that is still on disk was received; `None` if there is none.
    pub oldest_event: Option<jiff::Timestamp>,
    /// Files that hold events.
    pub segments: u64,
    /// Readers that follow the log.
    pub followers: u64,
}
