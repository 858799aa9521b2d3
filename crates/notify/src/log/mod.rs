//! The delivery log: every message that is to be told, what became of it, and how far each source has been read. The queue's only
//! memory: what a runner holds is a window onto it.
//!
//! In: messages together with the cursor of their source ([`DeliveryLog::accept`]), attempts ([`DeliveryLog::record`]), and what people
//! ask for. Out: messages that may be sent ([`DeliveryLog::ready`], [`Notices`]), deliveries to show, and webhooks in numbers. Every call that
//! writes resolves when it is on disk.
//!
//! | file | what |
//! |---|---|
//! | `deliveries.db` | SQLite: webhooks, events (shared by the messages about them), messages, cursors |
//! | `lock` | held by the process that has the log open |
//!
//! One thread writes ([`writer`]): what waits goes into one transaction ([`transaction`]) and one fsync. Order is kept by the log: a message
//! behind another of its key has no lane, so no runner sees it; the transaction that finishes the one before it gives it one.
//! Beside the writer the [`janitor`] applies retention. Memory: some 500 bytes for each webhook, the last changes, the mailboxes;
//! messages stay on disk, whether there are a hundred or a million.
//!
//! A message is known by webhook, origin and event id for as long as it is kept: told again by its source it is not queued again.

mod accept;
mod backup;
mod error;
mod files;
mod handle;
mod janitor;
mod notices;
mod options;
mod reader;
mod reads;
mod record;
mod schema;
mod shared;
mod transaction;
mod types;
mod upkeep;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

use jiff::Timestamp;

pub use backup::restore;
pub use error::LogError;
pub use handle::DeliveryLog;
pub use notices::{News, Notices};
pub use options::{OnCommit, Options};
pub use types::{
    Changed, Decision, Delivery, HISTORY, Lane, LastAttempt, MOST_GAP, Outcome, Page, Place, Ready, Selection, Stats,
    Totals, WebhookKey,
};

/// A time as the resources have it: RFC 3339, UTC, microseconds.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    format!("{time:.6}")
}
