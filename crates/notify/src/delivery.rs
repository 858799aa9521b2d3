//! What the parts of this room pass to each other: messages, attempts, and what an answer means. Plain data.

use std::time::Duration;

use jiff::Timestamp;
use roadstead_api::event::ImageChange;

/// One life of a `RegistryWebhook`: its `metadata.uid`.
pub type WebhookUid = String;

/// What happened, told once to each webhook that wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Id of the event at its source; for a test delivery a random one.
    pub id: String,
    /// `push`, `delete` or `test`.
    pub kind: String,
    /// What changed; for a test an example.
    pub image: ImageChange,
    /// When it was received.
    pub at: Timestamp,
    /// Whether a comparison with the registry found it.
    pub reconciled: bool,
    /// Name of the endpoint, or URL of the polled registry.
    pub origin: String,
}

/// A message that is to be queued.
#[derive(Clone, Debug, PartialEq)]
pub struct NewMessage {
    /// To whom.
    pub webhook: WebhookUid,
    /// What keeps its order: the repository, the empty text for all, or `None` for a message that waits for no other.
    pub key: Option<String>,
    /// What happened. Kept beside the messages: an event that a thousand webhooks are told is stored once.
    pub event: std::sync::Arc<Event>,
}

/// A queued message as it is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Number within the webhook, from 1.
    pub number: u64,
    /// Header `webhook-id`: `msg_` and letters and digits; the same for each attempt and each repetition.
    pub id: String,
    /// To whom.
    pub webhook: WebhookUid,
    /// What keeps its order.
    pub key: Option<String>,
    /// What happened.
    pub event: std::sync::Arc<Event>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Attempts made so far.
    pub attempts: u32,
}

/// What one attempt came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// Status of the answer, if there was one.
    pub status: Option<u16>,
    /// Why there was none, or why it does not count; without secrets.
    pub error: Option<String>,
    /// The beginning of an answer that was not 2xx; without what is secret in the request.
    pub snippet: String,
    /// What follows from it.
    pub verdict: Verdict,
}

/// What an attempt means for the message and for the webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// 2xx: done.
    Delivered,
    /// Try this message again by the schedule, not before `after`.
    Retry {
        /// What `Retry-After` asks for, as it came; the planner bounds it.
        after: Option<Duration>,
    },
    /// 429, 502, 503, 504: the receiver has too much; the whole webhook slows down, not only this message.
    Throttle {
        /// What `Retry-After` asks for, as it came; the planner bounds it.
        after: Option<Duration>,
    },
    /// 410: the receiver wants no more of this webhook, ever.
    Gone,
}
