//! Where image changes come from: a durable, ordered log that can be read again from any retained position.
//!
//! The trait is the seam to the hub's event log, which the binary adapts: rooms do not import each other.

use async_trait::async_trait;
use jiff::Timestamp;
use roadstead_api::event::ImageChange;

/// An image change as its source recorded it.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Position in the source; grows, with gaps.
    pub position: u64,
    /// Namespace of the endpoint that received it.
    pub namespace: String,
    /// Name of that endpoint.
    pub endpoint: String,
    /// Id of the event, unique within the endpoint.
    pub id: String,
    /// When it was received.
    pub at: Timestamp,
    /// What changed; `action` is `push` or `delete`, others are not told.
    pub image: ImageChange,
    /// Whether the sender proved who it is, or the registry confirmed it. Only then is anybody told.
    pub verified: bool,
    /// Whether a comparison with the registry found it, not a message of the registry.
    pub reconciled: bool,
}

/// Some changes, and how far the source has been read with them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Oldest first; may be empty when only other events were passed over.
    pub changes: Vec<Change>,
    /// Everything up to this position is in this batch or the ones before.
    pub through: u64,
}

/// Why a source cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Retention removed events after the position before they were read. The next call goes on with those that are retained.
    #[error("{0}")]
    Missed(String),
    /// It can't be read now.
    #[error("the event log cannot be read: {0}")]
    Unreadable(String),
}

/// A log of image changes.
pub trait Source: Send + Sync + 'static {
    /// Position of the last event (or later).
    fn head(&self) -> u64;

    /// Reads on after a position, then live.
    fn follow(&self, after: u64) -> Box<dyn Follow>;
}

/// A reader of a source.
#[async_trait]
pub trait Follow: Send {
    /// Waits for events. Cancel safe: dropping the future loses nothing.
    async fn next(&mut self) -> Result<Batch, SourceError>;
}
