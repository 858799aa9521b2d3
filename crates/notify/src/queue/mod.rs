//! The queue: sends what the delivery log says is ready, as each webhook and its receiver allow, and records what came of it.
//!
//! In: the log, the webhooks' [`Limits`], and a [`Deliver`] that makes one attempt. Out: attempts in the log. [`plan`] decides, purely;
//! [`runner`] does. Per webhook there are a concurrency that is earned ([`pace`]), a rate, a circuit [`breaker`], and two lanes with a bounded
//! [`window`] of messages in memory; over all webhooks there are bounded [`places`], which hanging receivers and retries cannot fill.
//!
//! Nothing is written before an attempt: the message is durable already, and a crash in between sends the same id again. The next of a
//! key starts only when the outcome of the one before it is on disk, so a crash cannot swap them either.

mod breaker;
mod options;
mod pace;
mod places;
pub mod plan;
mod runner;
pub mod schedule;
mod shards;
mod window;

#[cfg(test)]
mod tests;

use async_trait::async_trait;

pub use options::{Limits, Options, Rate};
pub use runner::{Handle, Runner};
pub use schedule::Schedule;
pub use shards::{Shards, owner};

use crate::delivery::{Attempt, Message};

/// Makes one attempt.
#[async_trait]
pub trait Deliver: Send + Sync + 'static {
    /// Sends the message once and tells what came of it; never fails otherwise. Should keep to the webhook's timeout; the runner
    /// gives up after [`Options::deadline`].
    async fn deliver(&self, message: &Message) -> Attempt;
}
