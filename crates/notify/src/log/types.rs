//! What callers of the delivery log give and get. Plain data.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use roadstead_api::registry_webhook::{DeliveryAttempt, DeliveryState};

use crate::delivery::{Attempt, Event, Message, WebhookUid};

/// A webhook within this log: short for its uid. Not stable over restarts' lives of the file, but within one.
pub type WebhookKey = u32;

/// Which queue of a webhook a message waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Not tried yet, or queued again on demand.
    First,
    /// Has failed; waits for its next time.
    Retry,
}

impl Lane {
    pub(crate) fn number(self) -> i64 {
        match self {
            Self::First => 0,
            Self::Retry => 1,
        }
    }
}

/// A message that may be sent when its time has come: none of its key is before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ready {
    /// Where it waits.
    pub lane: Lane,
    /// When it may be sent.
    pub due: Timestamp,
    /// Attempts since it was last queued: its place in the schedule.
    pub tries: u32,
    /// The message.
    pub message: Arc<Message>,
}

/// What follows from an attempt. Made by the planner, done by the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The message is delivered.
    Delivered,
    /// The message is tried again.
    Retry {
        /// Not before this.
        due: Timestamp,
    },
    /// The message is given up; it can be sent again on demand.
    DeadLetter,
    /// The webhook is disabled, and this and every pending message become dead letters: nothing would ever be sent, and
    /// [`recover`](super::DeliveryLog::recover) brings them back.
    Disable {
        /// Why; without secrets.
        reason: String,
    },
}

/// The most that the time between two failures adds to the time for which a webhook has been failing.
pub const MOST_GAP: Duration = Duration::from_secs(24 * 3600);

/// An attempt to be recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The webhook.
    pub webhook: WebhookKey,
    /// The message's number.
    pub number: u64,
    /// What happened.
    pub attempt: Attempt,
    /// What follows.
    pub decision: Decision,
}

/// The last attempt of a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastAttempt {
    /// Number of the message.
    pub number: u64,
    /// When it began.
    pub at: Timestamp,
    /// Whether it was answered 2xx.
    pub success: bool,
    /// What was answered, or why there was no answer.
    pub text: String,
}

/// A webhook in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Its key.
    pub key: WebhookKey,
    /// Its uid.
    pub uid: WebhookUid,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Messages that wait for their first or next attempt.
    pub pending: u64,
    /// When the oldest of them was accepted.
    pub oldest_pending: Option<Timestamp>,
    /// Messages ever answered 2xx.
    pub delivered: u64,
    /// Dead letters that are kept.
    pub dead_letters: u64,
    /// Messages given up because too many were pending, since the webhook was last recovered.
    pub overflowed: u64,
    /// Attempts that failed since the last success.
    pub failures: u32,
    /// When the first of these was.
    pub failing_since: Option<Timestamp>,
    /// For how long they have failed: the time between them, of which each gap counts at most [`MOST_GAP`], so that a clock that jumps
    /// adds little.
    pub failing: Duration,
    /// Since when it is disabled, and why.
    pub disabled: Option<(Timestamp, String)>,
    /// The last attempt.
    pub last: Option<LastAttempt>,
    /// Whether the webhook was deleted.
    pub forgotten: bool,
}

/// A message with what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Namespace of the webhook.
    pub namespace: String,
    /// Name of the webhook.
    pub webhook: String,
    /// Its key in this log.
    pub key: WebhookKey,
    /// The message; `attempts` is the total.
    pub message: Message,
    /// Where it is.
    pub state: DeliveryState,
    /// When it is tried next; `None` if it is done or waits behind another.
    pub next_attempt: Option<Timestamp>,
    /// The last attempts, oldest first, at most [`HISTORY`].
    pub history: Vec<DeliveryAttempt>,
    /// Position of its acceptance in the change feed.
    pub born: u64,
    /// Position of its last change.
    pub changed: u64,
}

/// Attempts that are kept of a message.
pub const HISTORY: usize = 16;

/// Which messages a page is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Of webhooks in this namespace; all if `None`.
    pub namespace: Option<String>,
    /// Of the webhook of this name.
    pub webhook: Option<String>,
    /// In this state.
    pub state: Option<DeliveryState>,
}

/// Where the next page begins: after this message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Key of the webhook.
    pub webhook: WebhookKey,
    /// Number within it.
    pub number: u64,
}

/// Some messages, by webhook and number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The messages.
    pub deliveries: Vec<Delivery>,
    /// Where the next page begins; `None` if this is the last.
    pub next: Option<Place>,
}

/// A change of a message, in the order of commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Position; grows over restarts.
    pub position: u64,
    /// Key of the webhook.
    pub webhook: WebhookKey,
    /// Number of the message.
    pub number: u64,
}

/// The log in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages that wait.
    pub pending: u64,
    /// Dead letters that are kept.
    pub dead_letters: u64,
    /// Of these, those given up because too many were pending, since their webhook was last recovered.
    pub overflowed: u64,
    /// Webhooks that are disabled.
    pub disabled: u64,
    /// Bytes of all files.
    pub bytes: u64,
}

/// An event as it is stored.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct StoredEvent {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    image: roadstead_api::event::ImageChange,
    at: i64,
    reconciled: bool,
    origin: String,
}

impl From<&Event> for StoredEvent {
    fn from(event: &Event) -> Self {
        Self {
            id: event.id.clone(),
            kind: event.kind.clone(),
            image: event.image.clone(),
            at: event.at.as_microsecond(),
            reconciled: event.reconciled,
            origin: event.origin.clone(),
        }
    }
}

impl From<StoredEvent> for Event {
    fn from(stored: StoredEvent) -> Self {
        Self {
            id: stored.id,
            kind: stored.kind,
            image: stored.image,
            at: super::schema::time_of(stored.at),
            reconciled: stored.reconciled,
            origin: stored.origin,
        }
    }
}
