//! When a message is tried again: the schedule of Standard Webhooks, with jitter, and what `Retry-After` may change about it.
//!
//! Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md, "Retry schedule".

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;

/// Pauses between attempts. One more attempt than pauses is made, then the message is a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule(pub Vec<Duration>);

impl Default for Schedule {
    fn default() -> Self {
        let pauses = [5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
        Self(pauses.map(Duration::from_secs).into())
    }
}

/// The latest that `Retry-After` can ask for.
const LATEST: Duration = Duration::from_secs(24 * HOUR);

impl Schedule {
    /// The pause after `tries` failed attempts, 1 or more; `None` if there are no more. The pause has up to 20 % of jitter to either
    /// side, by `dice` from 0 to 1. `after` is what the receiver asks for: it makes the pause longer, up to 24 h, never shorter.
    pub fn pause(&self, tries: u32, after: Option<Duration>, dice: f64) -> Option<Duration> {
        let index = usize::try_from(tries.checked_sub(1)?).ok()?;
        let pause = self.0.get(index)?.mul_f64(0.8 + 0.4 * dice.clamp(0.0, 1.0));
        Some(pause.max(after.unwrap_or_default().min(LATEST)))
    }

    /// No pause is longer than this.
    pub fn longest(&self) -> Duration {
        self.0.iter().max().copied().unwrap_or_default().mul_f64(1.2).max(LATEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_attempts_with_jitter_then_none() {
        let schedule = Schedule::default();
        let hours: Vec<f64> = (1..=9).map(|n| schedule.pause(n, None, 0.5).unwrap().as_secs_f64() / 3600.0).collect();
        let expected = [5.0 / 3600.0, 5.0 / 60.0, 0.5, 2.0, 5.0, 10.0, 14.0, 20.0, 24.0];
        for (pause, expected) in hours.iter().zip(expected) {
            assert!((pause - expected).abs() < 1e-9, "{hours:?}");
        }
        assert_eq!(schedule.pause(10, None, 0.5), None);
        assert_eq!(schedule.pause(10, Some(Duration::from_secs(1)), 0.5), None, "asking for a pause gives no attempt");
        assert_eq!(schedule.pause(0, None, 0.5), None);
        assert_eq!(schedule.pause(1, None, 0.0), Some(Duration::from_secs(4)));
        assert_eq!(schedule.pause(1, None, 1.0), Some(Duration::from_secs(6)));
    }

    #[test]
    fn retry_after_is_honoured_within_bounds() {
        let schedule = Schedule::default();
        let cases = [
            (0, 5, "never earlier"),
            (60, 60, "as asked"),
            (24 * 3600, 24 * 3600, "as asked"),
            (10 * 365 * 24 * 3600, 24 * 3600, "absurd"),
            (u64::MAX, 24 * 3600, "absurd"),
        ];
        for (asked, expected, what) in cases {
            let pause = schedule.pause(1, Some(Duration::from_secs(asked)), 0.5);
            assert_eq!(pause, Some(Duration::from_secs(expected)), "{what}: {asked}");
        }
    }
}
