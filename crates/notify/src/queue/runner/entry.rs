//! A webhook as the runner holds it.

use std::time::Instant;

use crate::{
    delivery::WebhookUid,
    log::Stats,
    queue::{
        places::Weight,
        plan::{Health, Queue},
    },
};

/// One webhook.
pub(super) struct Entry {
    pub uid: WebhookUid,
    pub queue: Queue,
    /// What it is counted with among the places.
    pub weight: Weight,
    /// Whether it is counted among the open breakers.
    pub broken: bool,
    /// The time in the runner's `wakes`.
    pub wake: Option<Instant>,
    /// Whether it is in the ring.
    pub queued: bool,
    /// Reads begun before this one are of no use.
    pub generation: u64,
    /// Whether this process acts for it.
    pub held: bool,
}

/// The health that the log knows.
pub(super) fn health(stats: &Stats) -> Health {
    Health { failures: stats.failures, failing: stats.failing, stopped: stats.forgotten || stats.disabled.is_some() }
}
