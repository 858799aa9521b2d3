//! The circuit breaker of a webhook: when several different messages fail one after the other, it is the receiver that fails, and
//! asking it with every message only costs both sides. Then one message at a time probes, with growing pauses; the others wait and
//! lose no attempt. A success closes it.

use std::time::{Duration, Instant};

/// State of a breaker.
#[derive(Clone, Debug, PartialEq)]
pub enum Breaker {
    /// Everything may go.
    Closed {
        /// Different messages that failed since the last success.
        failed: Vec<u64>,
    },
    /// Nothing may go before a time, then one probe.
    Open {
        /// When the probe may go.
        until: Instant,
        /// How long this pause is.
        pause: Duration,
    },
    /// A probe is under way.
    Probing {
        /// The message.
        number: u64,
        /// How long the pause before it was.
        pause: Duration,
    },
}

/// What a breaker lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// As much as the other limits do.
    Open,
    /// One message.
    Probe,
    /// Nothing until then; `None`: until the probe is back.
    Shut(Option<Instant>),
}

/// How a breaker behaves.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Different messages in a row.
    pub failures: usize,
    /// First pause.
    pub first: Duration,
    /// Longest pause.
    pub longest: Duration,
}

impl Breaker {
    /// A closed one.
    pub fn closed() -> Self {
        Self::Closed { failed: Vec::new() }
    }

    /// One for a webhook that failed `failures` times in a row before a restart: a probe may go at once.
    pub fn resumed(failures: u32, now: Instant, settings: &Settings) -> Self {
        match failures as usize >= settings.failures {
            true => Self::Open { until: now, pause: settings.first },
            false => Self::closed(),
        }
    }

    /// What may go now.
    pub fn gate(&self, now: Instant) -> Gate {
        match self {
            Self::Closed { .. } => Gate::Open,
            Self::Open { until, .. } if *until <= now => Gate::Probe,
            Self::Open { until, .. } => Gate::Shut(Some(*until)),
            Self::Probing { .. } => Gate::Shut(None),
        }
    }

    /// Somebody wants it now: an open one lets its probe go at once.
    pub fn hurry(&mut self, now: Instant) {
        if let Self::Open { until, .. } = self {
            *until = now;
        }
    }

    /// Takes down that a message was started.
    pub fn started(&mut self, number: u64) {
        if let Self::Open { pause, .. } = self {
            *self = Self::Probing { number, pause: *pause };
        }
    }

    /// Takes down a success.
    pub fn succeeded(&mut self) {
        *self = Self::closed();
    }

    /// Takes down a failure. `dice` from 0 to 1 spreads the pauses of many webhooks.
    pub fn failed(&mut self, number: u64, now: Instant, settings: &Settings, dice: f64) {
        let open = |pause: Duration| {
            let until = now + pause.mul_f64(0.8 + 0.4 * dice.clamp(0.0, 1.0));
            Self::Open { until, pause }
        };
        match self {
            Self::Closed { failed } => {
                if !failed.contains(&number) {
                    failed.push(number);
                }
                if failed.len() >= settings.failures {
                    *self = open(settings.first);
                }
            }
            Self::Probing { number: probe, pause } if *probe == number => {
                *self = open((*pause * 2).min(settings.longest));
            }
            // One that was under way when the breaker opened tells nothing new.
            Self::Open { .. } | Self::Probing { .. } => {}
        }
    }

    /// Whether it holds messages back.
    pub fn is_open(&self) -> bool {
        !matches!(self, Self::Closed { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings =
        Settings { failures: 3, first: Duration::from_secs(10), longest: Duration::from_secs(25) };

    #[test]
    fn opens_after_different_messages_probes_with_growing_pauses_and_closes() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut breaker = Breaker::closed();
        for _ in 0..9 {
            breaker.failed(1, start, &SETTINGS, 0.5);
        }
        breaker.failed(2, start, &SETTINGS, 0.5);
        assert_eq!(breaker.gate(start), Gate::Open, "one message that fails is not the receiver");
        breaker.failed(3, start, &SETTINGS, 0.5);
        assert_eq!(breaker.gate(at(9)), Gate::Shut(Some(at(10))));
        breaker.failed(4, at(9), &SETTINGS, 0.5);
        assert_eq!(breaker.gate(at(10)), Gate::Probe, "late failures do not prolong the pause");
        breaker.started(5);
        assert_eq!(breaker.gate(at(10)), Gate::Shut(None), "one probe at a time");
        breaker.failed(4, at(11), &SETTINGS, 0.5);
        assert_eq!(breaker.gate(at(11)), Gate::Shut(None));
        breaker.failed(5, at(12), &SETTINGS, 0.5);
        assert_eq!(breaker.gate(at(12)), Gate::Shut(Some(at(32))), "twice as long");
        breaker.started(6);
        breaker.failed(6, at(40), &SETTINGS, 0.5);
        assert_eq!(breaker.gate(at(40)), Gate::Shut(Some(at(65))), "bounded");
        breaker.started(7);
        breaker.succeeded();
        assert_eq!(breaker.gate(at(66)), Gate::Open);
        breaker.failed(1, at(67), &SETTINGS, 0.5);
        assert!(!breaker.is_open(), "counted from the last success");
    }

    #[test]
    fn after_a_restart_a_failing_webhook_is_probed_first() {
        let now = Instant::now();
        assert_eq!(Breaker::resumed(3, now, &SETTINGS).gate(now), Gate::Probe);
        assert_eq!(Breaker::resumed(2, now, &SETTINGS).gate(now), Gate::Open);
    }
}
