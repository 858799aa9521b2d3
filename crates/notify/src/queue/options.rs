//! Times and bounds of the queue. The defaults are what the documentation promises; tests shrink them.

use std::time::Duration;

use super::schedule::Schedule;

/// How a runner behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// When a message is tried again.
    pub schedule: Schedule,
    /// Most requests at the same time, of all webhooks. Default 512.
    pub places: usize,
    /// Longest time that one attempt may take, whatever the webhook's own timeout says. Default 90 s.
    pub deadline: Duration,
    /// A webhook of which a request takes longer than this shares the places with the unproven. Default 1 s.
    pub slow_after: Duration,
    /// Different messages that fail one after the other until the breaker opens. Default 5.
    pub breaker_failures: usize,
    /// First pause of an open breaker. Default 5 s; doubled by each probe that fails.
    pub breaker_pause: Duration,
    /// Longest pause of an open breaker. Default 5 min.
    pub breaker_longest: Duration,
    /// Longest pause that a receiver can ask of a whole webhook. Default 1 h.
    pub throttle_longest: Duration,
    /// A webhook is disabled when every attempt has failed for so long, pauses of more than a day between two counting as a day.
    /// Default 120 h.
    pub disable_after: Duration,
    /// And at least so many did: a few messages in a quiet week are not enough. Default 12.
    pub disable_failures: u32,
    /// How often webhooks with pending messages of which none is in memory are read again: a net under the news of the log.
    /// Default 60 s.
    pub recheck: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            schedule: Schedule::default(),
            places: 512,
            deadline: Duration::from_secs(90),
            slow_after: Duration::from_secs(1),
            breaker_failures: 5,
            breaker_pause: Duration::from_secs(5),
            breaker_longest: Duration::from_secs(300),
            throttle_longest: Duration::from_secs(3600),
            disable_after: Duration::from_secs(120 * 3600),
            disable_failures: 12,
            recheck: Duration::from_secs(60),
        }
    }
}

/// What one webhook's spec allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most requests at the same time.
    pub concurrency: u32,
    /// Most attempts a second, and at once.
    pub rate: Option<Rate>,
    /// Nothing is sent.
    pub suspended: bool,
}

/// A token bucket's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Attempts a second.
    pub per_second: u32,
    /// Attempts at once.
    pub burst: u32,
}
