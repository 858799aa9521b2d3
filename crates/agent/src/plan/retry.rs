//! When a failed action is tried again, and when it is given up.

use std::time::Duration;

use roadstead_reconcile::backoff;

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// May go away by itself: no connection, a timeout, 5xx, 429, a conflict.
    Transient,
    /// The other side understood and said no (4xx, a missing object, a missing right). Often a deployment that is not
    /// complete yet, so it is tried [`Rules::refused_attempts`] times; more would only hold up the key.
    Refused,
    /// Trying again cannot help: the trigger's filter fails on the event.
    Hopeless,
    /// The hub no longer retains the event.
    Gone,
    /// The event itself could not be read from the hub. Nothing was tried, so it does not count as an attempt.
    Unread,
}

/// When to try again and when to stop.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Attempts, the first included.
    pub attempts: u32,
    /// Attempts for what is refused.
    pub refused_attempts: u32,
    /// Time since the first attempt after which no other begins.
    pub timeout: Duration,
    /// First delay.
    pub min_delay: Duration,
    /// Longest delay; the delays grow evenly from the first to this over the attempts.
    pub max_delay: Duration,
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another attempt after this time.
    After(Duration),
    /// A dead letter.
    GiveUp,
}

impl Rules {
    /// What follows `failed` failed attempts, `elapsed` after the first began. `asked` is what the receiver asked for
    /// (`Retry-After`); it can only lengthen the delay, and not beyond [`max_delay`](Self::max_delay).
    pub fn next(
        &self,
        failed: u32,
        elapsed: Duration,
        kind: FailureKind,
        asked: Option<Duration>,
        random: u64,
    ) -> Next {
        let allowed = match kind {
            FailureKind::Hopeless | FailureKind::Gone => 0,
            FailureKind::Refused => self.refused_attempts.min(self.attempts),
            FailureKind::Transient | FailureKind::Unread => self.attempts,
        };
        let delay = backoff::jitter(self.delay(failed), random).max(asked.unwrap_or_default()).min(self.max_delay);
        if failed >= allowed || elapsed + delay > self.timeout { Next::GiveUp } else { Next::After(delay) }
    }

    /// The delay after `failed` failed attempts, before jitter: a geometric series from `min_delay` to `max_delay` over
    /// the attempts, at least half as long again each time.
    fn delay(&self, failed: u32) -> Duration {
        let max = self.max_delay.as_secs_f64();
        let min = self.min_delay.as_secs_f64().clamp(0.001, max.max(0.001));
        let steps = f64::from(self.attempts.saturating_sub(2).max(1));
        let factor = (max / min).powf(1.0 / steps).max(1.5);
        let seconds = min * factor.powf(f64::from(failed.saturating_sub(1)).min(1000.0));
        Duration::from_secs_f64(seconds.min(max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            attempts: 10,
            refused_attempts: 3,
            timeout: Duration::from_secs(24 * 3600),
            min_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(3600),
        }
    }

    /// A `random` for which jitter changes nothing.
    const STILL: u64 = 200;

    #[test]
    fn delays_grow_from_a_second_to_an_hour_over_the_attempts() {
        let rules = rules();
        let delays: Vec<u64> = (1..10).map(|failed| rules.delay(failed).as_secs()).collect();
        assert_eq!(delays, [1, 2, 7, 21, 60, 166, 464, 1293, 3600]);
        let few = Rules { attempts: 2, ..rules.clone() };
        assert_eq!(few.delay(1), Duration::from_secs(1));
        let many = Rules { attempts: 10_000, ..rules };
        assert!(many.delay(30) == Duration::from_secs(3600), "many attempts still back off");
    }

    #[test]
    fn gives_up_by_attempts_kind_and_time() {
        let rules = rules();
        let hour = Duration::from_secs(3600);
        use FailureKind::*;
        for (failed, elapsed, kind, up) in [
            (1, hour, Transient, false),
            (9, hour, Transient, false),
            (10, hour, Transient, true),
            (2, hour, Refused, false),
            (3, hour, Refused, true),
            (1, Duration::ZERO, Hopeless, true),
            (1, Duration::ZERO, Gone, true),
            (1, 24 * hour, Transient, true),
            (9, 23 * hour + hour / 2, Transient, true),
        ] {
            let next = rules.next(failed, elapsed, kind, None, STILL);
            assert_eq!(next == Next::GiveUp, up, "{failed} {elapsed:?} {kind:?}");
        }
    }

    #[test]
    fn what_the_receiver_asks_for_lengthens_within_bounds() {
        let rules = rules();
        let after =
            |asked| rules.next(1, Duration::ZERO, FailureKind::Transient, Some(Duration::from_secs(asked)), STILL);
        assert_eq!(after(0), Next::After(Duration::from_secs(1)));
        assert_eq!(after(30), Next::After(Duration::from_secs(30)));
        assert_eq!(after(1_000_000), Next::After(Duration::from_secs(3600)));
    }
}
