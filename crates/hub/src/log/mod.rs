//! The durable event log: what the hub has accepted, in the order of acceptance.
//!
//! In flow [`Draft`]s, one delivery's at a time; [`Log::append`] resolves when they are on disk. Out flow [`Record`]s, by name, by
//! range of positions, or live from any retained position ([`Log::follow`]). Every event has a position over all endpoints (its
//! resourceVersion) and a sequence within its endpoint, from 1, without gaps.
//!
//! The trait is the seam; [`LocalLog`] keeps it in SQLite files of this directory:
//!
//! | file | what |
//! |---|---|
//! | `catalogue.db` | streams, what retention removed, the head; small |
//! | `segment-N.db` | events, appended by one thread; closed at a size, deleted whole |
//! | `ids-N.db` | ids of segment N, sorted by hash, for deduplication; outlives the segment where need be |
//! | `lock` | held by the process that has the log open |
//!
//! One delivery's way: [`local`] serialises and queues it, [`writer`] commits what waits in one transaction, [`ring`] shows it to
//! live readers, and the caller is answered. Beside that path the [`janitor`] checkpoints, closes segments and removes old ones.
//! Why SQLite in files of our own size: the commit is one append and one fsync, crash recovery is proven, and rolling over
//! bounds the write-ahead log without ever stopping the writer for a checkpoint.
//!
//! Memory is bounded by [`Options`]: what waits for the writer (64 MiB), the ring (32 MiB), 4 bytes for each id of the closed segments (64
//! MiB, the rest is looked up on disk) and about 50 for each of the open one, 64 MiB for large reads of followers. A follower that waits
//! takes about 600 bytes; one that stalls while it reads from disk up to 64 KiB.

mod backup;
mod catalogue;
mod dedupe;
mod error;
mod files;
mod fingerprints;
mod follow;
mod ids;
mod janitor;
mod local;
mod missed;
mod open;
mod options;
mod reader;
mod record;
mod retention;
mod ring;
mod seal;
mod segment;
mod shared;
mod streams;
mod types;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;

pub use backup::restore;
pub use error::LogError;
pub use local::LocalLog;
pub use options::{OnCommit, Options};
pub use record::{INLINE_BODY, Record};
pub use types::{
    Draft, Endpoints, Filter, Limit, Metrics, Missed, Outcome, Page, RecordedBody, Retention, Selection, Stream,
    StreamStats,
};

/// A durable log of events.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Records one delivery's events, all or none. Resolves after they are on disk, with one outcome for each draft. A draft
    /// whose id is known is not recorded again; two at the same time yield one `Recorded` and one `Duplicate`.
    ///
    /// Errors: `Full`, `Overloaded`, `Storage`: nothing was recorded, the sender should try again; `Dropped`: the endpoint is
    /// no more.
    async fn append(&self, stream: &Stream, drafts: Vec<Draft>) -> Result<Vec<Outcome>, LogError>;

    /// Position of the last event (or later). Everything up to it can be read.
    fn head(&self) -> u64;

    /// Waits until the head has reached `position`; false if it has not within `patience`.
    async fn reached(&self, position: u64, patience: std::time::Duration) -> bool;

    /// Retained events of `selection` with `after < position <= through`, oldest first, at most `limit`. What retention removed is
    /// left out silently: use [`follow`](Self::follow) to be told.
    async fn read(&self, selection: &Selection, after: u64, through: u64, limit: Limit) -> Result<Page, LogError>;

    /// One retained event by its endpoint and sequence.
    async fn get(&self, namespace: &str, endpoint: &str, sequence: u64) -> Result<Option<Arc<Record>>, LogError>;

    /// One retained event by its endpoint and id.
    async fn find(&self, namespace: &str, endpoint: &str, id: &str) -> Result<Option<Arc<Record>>, LogError>;

    /// The body of one retained event, whatever its size.
    async fn body(&self, namespace: &str, endpoint: &str, sequence: u64) -> Result<Option<RecordedBody>, LogError>;

    /// Every event of `selection` after position `after`, then live. Cheap: a follower is a position and a selection.
    fn follow(&self, selection: Selection, after: u64) -> Box<dyn Follow>;

    /// A stream in numbers; `None` if it is not known or was dropped.
    fn stats(&self, stream: &Stream) -> Option<StreamStats>;

    /// Streams that are known and not dropped; the owner of the endpoints drops those that have none.
    fn streams(&self) -> Vec<Stream>;

    /// Makes the stream known, and sets how long its events are kept. Durable.
    async fn retain(&self, stream: &Stream, retention: Retention) -> Result<(), LogError>;

    /// Removes a stream with all its events, for an endpoint that was deleted. Durable; its files go later.
    async fn drop_stream(&self, stream: &Stream) -> Result<(), LogError>;

    /// The log in numbers.
    fn metrics(&self) -> Metrics;
}

/// A reader that follows the log.
#[async_trait]
pub trait Follow: Send {
    /// Waits for events and returns the next ones, at least one, oldest first. Cancel safe: dropping the future loses nothing.
    ///
    /// Errors: `Gone` if an event of the selection after the position has been removed (never merely for being slow), `Storage`.
    async fn next(&mut self) -> Result<Vec<Arc<Record>>, LogError>;

    /// Everything selected up to this position has been returned; safe to resume from. Moves on with other streams' events.
    fn position(&mut self) -> u64;
}
