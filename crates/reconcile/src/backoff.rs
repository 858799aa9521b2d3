//! Growing, jittered delays, so that many clients of one failing server do not come back together.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// A number that differs from call to call. Good for jitter, not for secrets.
pub fn dice() -> u64 {
    // The standard library keys each `RandomState` differently; an empty hash of it is a cheap random number.
    RandomState::new().build_hasher().finish()
}

/// `delay` moved by up to a fifth in either direction, as `random` says.
pub fn jitter(delay: Duration, random: u64) -> Duration {
    // 800 to 1200 thousandths.
    let thousandths = 800 + random % 401;
    delay.saturating_mul(thousandths as u32) / 1000
}

/// Doubling delays between two bounds, until something works again.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// The first delay is about `min`, the longest about `max`.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, failures: 0 }
    }

    /// The delay after one more failure.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.min.saturating_mul(1 << self.failures.min(20)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        jitter(delay, dice())
    }

    /// Something worked: the next delay is the first again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_limit_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
        for expected in [100u64, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000] {
            let delay = backoff.next_delay().as_millis() as u64;
            assert!((expected * 8 / 10..=expected * 12 / 10).contains(&delay), "{delay} is not near {expected}");
        }
        for _ in 0..100 {
            assert!(backoff.next_delay() <= Duration::from_secs(36));
        }
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(120));
    }

    #[test]
    fn jitter_stays_within_a_fifth_and_dice_differ() {
        for random in [0, 1, 200, 400, 401, u64::MAX] {
            let delay = jitter(Duration::from_secs(10), random);
            assert!((Duration::from_secs(8)..=Duration::from_secs(12)).contains(&delay));
        }
        assert_ne!((0..4).map(|_| dice()).collect::<Vec<_>>(), (0..4).map(|_| dice()).collect::<Vec<_>>());
    }
}
