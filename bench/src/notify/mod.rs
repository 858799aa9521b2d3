//! Registry webhooks: the whole way through the platform, then the queue, its log and its client, as the hub runs them, in this
//! process; the receiver beside them.

mod bare;
mod isolation;
mod latency;
mod memory;
mod receiver;
mod rig;
mod throughput;
mod whole;

use std::path::Path;

use anyhow::Result;

use crate::report::Report;
pub use memory::pending;

/// Requests of each webhook at the same time: the default of its spec.
const CONCURRENCY: u32 = 8;

/// Everything; `waiting` messages for the figures of memory and start.
pub async fn run(binary: &Path, seconds: u64, waiting: u64, report: &mut Report) -> Result<()> {
    whole::run(binary, seconds, report).await?;
    latency::run(seconds, report).await?;
    throughput::run(seconds, report).await?;
    isolation::run(seconds, report).await?;
    memory::run(waiting, report)
}
