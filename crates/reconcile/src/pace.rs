//! When to write a status: at once for the first change, then at most once an interval, one write at a time, never less than
//! the last change.

use std::time::{Duration, Instant};

/// Decides when a coalesced write is due. Holds no data: the caller writes whatever is true when it writes.
#[derive(Clone, Debug)]
pub struct Pace {
    interval: Duration,
    dirty: bool,
    writing: bool,
    earliest: Option<Instant>,
}

impl Pace {
    /// At most one write each `interval`.
    pub fn new(interval: Duration) -> Self {
        Self { interval, dirty: false, writing: false, earliest: None }
    }

    /// Something changed.
    pub fn touch(&mut self) {
        self.dirty = true;
    }

    /// When the next write is due; `None` while nothing changed or one is under way. May lie in the past.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        (self.dirty && !self.writing).then(|| self.earliest.unwrap_or(now))
    }

    /// A write begins, with all that changed until now.
    pub fn begin(&mut self, now: Instant) {
        self.dirty = false;
        self.writing = true;
        self.earliest = Some(now + self.interval);
    }

    /// The write ended. One that failed is due again after the interval.
    pub fn end(&mut self, success: bool, now: Instant) {
        self.writing = false;
        if !success {
            self.dirty = true;
            self.earliest = Some(now + self.interval);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_change_at_once_then_one_each_interval() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut pace = Pace::new(second);
        assert_eq!(pace.due(start), None, "nothing to write");
        pace.touch();
        assert_eq!(pace.due(start), Some(start));
        pace.begin(start);
        pace.touch();
        assert_eq!(pace.due(start), None, "one at a time");
        pace.end(true, start);
        assert_eq!(pace.due(start), Some(start + second));
        pace.begin(start + second);
        pace.end(true, start + second);
        assert_eq!(pace.due(start + second), None, "all is written");
    }

    #[test]
    fn a_failed_write_is_due_again() {
        let start = Instant::now();
        let mut pace = Pace::new(Duration::from_secs(1));
        pace.touch();
        pace.begin(start);
        let later = start + Duration::from_secs(5);
        pace.end(false, later);
        assert_eq!(pace.due(later), Some(later + Duration::from_secs(1)));
    }
}
