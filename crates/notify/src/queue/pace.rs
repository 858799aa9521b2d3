//! How fast a webhook is asked: its rate, and how many requests at once it has shown that it can take.
//!
//! A webhook begins with one request at a time and gains one with each success, up to what its spec allows; a failure halves that. So one
//! that hangs never holds more than a place or two. A receiver that has too much (429, 502, 503, 504) is left alone for a while.

use std::time::{Duration, Instant};

use super::options::{Limits, Rate};

/// Pauses that grow while a receiver says that it has too much and not for how long.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_GUESS: Duration = Duration::from_secs(60);

/// A webhook's pace.
#[derive(Clone, Debug)]
pub struct Pace {
    window: u32,
    paused_until: Option<Instant>,
    throttles: u32,
    tokens: f64,
    refilled: Instant,
}

impl Pace {
    /// At the start: one request at a time, a full bucket.
    pub fn new(now: Instant) -> Self {
        Self { window: 1, paused_until: None, throttles: 0, tokens: f64::INFINITY, refilled: now }
    }

    /// Most requests at the same time.
    pub fn concurrency(&self, limits: &Limits) -> usize {
        self.window.clamp(1, limits.concurrency.max(1)) as usize
    }

    /// When the next request may start; `None` if now.
    pub fn wait(&self, limits: &Limits, now: Instant) -> Option<Instant> {
        let paused = self.paused_until.filter(|until| *until > now);
        let dry = limits.rate.and_then(|rate| {
            let missing = 1.0 - self.level(rate, now);
            // A little more than exactly, so that rounding does not ask twice.
            (missing > 0.0).then(|| now + Duration::from_secs_f64(missing / f64::from(rate.per_second.max(1)) + 1e-6))
        });
        paused.max(dry)
    }

    fn level(&self, rate: Rate, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.refilled).as_secs_f64();
        (self.tokens + passed * f64::from(rate.per_second)).min(f64::from(rate.burst.max(1)))
    }

    /// Takes down a start.
    pub fn started(&mut self, limits: &Limits, now: Instant) {
        if let Some(rate) = limits.rate {
            self.tokens = (self.level(rate, now) - 1.0).max(0.0);
            self.refilled = now;
        }
    }

    /// Takes down a success.
    pub fn succeeded(&mut self, limits: &Limits) {
        self.window = self.window.saturating_add(1).min(limits.concurrency.max(1));
        self.throttles = 0;
    }

    /// Takes down a failure.
    pub fn failed(&mut self) {
        self.window = (self.window / 2).max(1);
    }

    /// Takes down that the receiver has too much: it is left alone for as long as it asks, within bounds, or for longer each time.
    pub fn throttled(&mut self, after: Option<Duration>, longest: Duration, now: Instant) {
        let guess = SHORTEST_PAUSE.saturating_mul(1 << self.throttles.min(16)).min(LONGEST_GUESS);
        self.throttles = self.throttles.saturating_add(1);
        let pause = after.unwrap_or(guess).max(SHORTEST_PAUSE).min(longest);
        self.paused_until = self.paused_until.max(Some(now + pause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(concurrency: u32, rate: Option<Rate>) -> Limits {
        Limits { concurrency, rate, suspended: false }
    }

    #[test]
    fn concurrency_is_earned_and_halved() {
        let limits = limits(4, None);
        let mut pace = Pace::new(Instant::now());
        let mut seen = vec![pace.concurrency(&limits)];
        for _ in 0..5 {
            pace.succeeded(&limits);
            seen.push(pace.concurrency(&limits));
        }
        pace.failed();
        seen.push(pace.concurrency(&limits));
        assert_eq!(seen, [1, 2, 3, 4, 4, 4, 2]);
    }

    #[test]
    fn the_rate_bounds_any_second() {
        let limits = limits(8, Some(Rate { per_second: 10, burst: 5 }));
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let (mut now, mut starts) = (start, 0);
        while now < start + Duration::from_secs(10) {
            match pace.wait(&limits, now) {
                None => {
                    pace.started(&limits, now);
                    starts += 1;
                }
                Some(at) => now = at,
            }
        }
        assert!((104..=106).contains(&starts), "{starts}: a burst of 5, then 10 a second");
    }

    #[test]
    fn throttling_pauses_as_asked_within_bounds() {
        let now = Instant::now();
        let seconds = Duration::from_secs;
        let limits = limits(8, None);
        for (asked, expected) in [(Some(0), 1), (Some(30), 30), (Some(u64::MAX), 3600), (None, 1)] {
            let mut pace = Pace::new(now);
            pace.throttled(asked.map(seconds), seconds(3600), now);
            assert_eq!(pace.wait(&limits, now), Some(now + seconds(expected)), "{asked:?}");
        }
        let mut pace = Pace::new(now);
        for _ in 0..40 {
            pace.throttled(None, seconds(3600), now);
        }
        assert_eq!(pace.wait(&limits, now), Some(now + seconds(60)), "guesses are bounded");
    }
}
