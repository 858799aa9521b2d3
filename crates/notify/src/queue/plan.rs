//! What one webhook may send now, and what follows from an answer. Pure: time, dice and room are given; nothing is read or sent.
//!
//! In: messages that the log says are ready ([`Queue::add`]), the webhook's limits, room among the shared places, and answers. Out:
//! [`Next`] (start this one, or wait until then) and the [`Decision`] about a message. First attempts and retries have lanes of
//! their own, and retries take at most half of the webhook's requests (at least one), so that what has not been tried yet is not kept
//! waiting by what fails.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    breaker::{Breaker, Gate, Settings},
    options::{Limits, Options},
    pace::Pace,
    places::{Room, Weight},
    schedule::Schedule,
    window::{Item, Window},
};
use crate::{
    delivery::{Attempt, Verdict},
    log::{Decision, Lane, MOST_GAP},
};

/// Outcomes that are not on disk yet, of one webhook; beyond these it waits for the disk.
const UNRECORDED: usize = 256;

/// What to do next for a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send the first message of this lane.
    Start(Lane),
    /// Nothing before then; `None`: until something happens.
    Wait(Option<Instant>),
    /// It could go, but the shared places are taken.
    Room,
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
struct Flight {
    lane: Lane,
    tries: u32,
    since: Instant,
}

/// One webhook's queue.
#[derive(Clone, Debug)]
pub struct Queue {
    limits: Option<Limits>,
    stopped: bool,
    first: Window,
    retry: Window,
    flying: HashMap<u64, Flight>,
    unrecorded: HashMap<u64, u32>,
    breaker: Breaker,
    pace: Pace,
    failing: Failing,
    /// The last attempt since the start succeeded.
    proven: bool,
    last_lane: Lane,
}

/// The health that a webhook had before a restart.
#[derive(Clone, Copy, Debug, Default)]
pub struct Health {
    /// Attempts that failed in a row.
    pub failures: u32,
    /// For how long, see [`Failing`].
    pub failing: Duration,
    /// It is disabled or deleted.
    pub stopped: bool,
}

/// How long every attempt has failed: the time between failures, of which each gap adds at most [`MOST_GAP`]. By the clock that never
/// jumps, so that one that does disables nobody.
#[derive(Clone, Copy, Debug)]
struct Failing {
    failures: u32,
    total: Duration,
    last: Option<Instant>,
}

impl Failing {
    fn resumed(health: Health) -> Self {
        Self { failures: health.failures, total: health.failing, last: None }
    }

    fn failed(&mut self, now: Instant) {
        let gap = self.last.replace(now).map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        self.total += gap.min(MOST_GAP);
        self.failures = self.failures.saturating_add(1);
    }
}

impl Queue {
    /// A queue that has nothing in memory, of a webhook that has no limits yet: nothing is sent before it has.
    pub fn new(health: Health, now: Instant, options: &Options) -> Self {
        let capacity = capacity(None);
        Self {
            limits: None,
            stopped: health.stopped,
            first: Window::new(capacity),
            retry: Window::new(capacity),
            flying: HashMap::new(),
            unrecorded: HashMap::new(),
            breaker: Breaker::resumed(health.failures, now, &settings(options)),
            pace: Pace::new(now),
            failing: Failing::resumed(health),
            proven: false,
            last_lane: Lane::Retry,
        }
    }

    /// Sets what the webhook's spec allows; `None` holds everything back.
    pub fn configure(&mut self, limits: Option<Limits>) {
        self.limits = limits;
        self.first.resize(capacity(limits));
        self.retry.resize(capacity(limits));
    }

    /// The log was changed from outside: everything is to be read again. One that was stopped and is not any more starts afresh.
    pub fn reload(&mut self, health: Health, now: Instant) {
        if self.stopped && !health.stopped {
            self.breaker = Breaker::closed();
            self.pace = Pace::new(now);
            self.failing = Failing::resumed(health);
        }
        self.breaker.hurry(now);
        self.stopped = health.stopped;
        self.first.clear();
        self.retry.clear();
    }

    fn window(&mut self, lane: Lane) -> &mut Window {
        match lane {
            Lane::First => &mut self.first,
            Lane::Retry => &mut self.retry,
        }
    }

    /// A message that has become ready.
    pub fn add(&mut self, lane: Lane, item: Item) {
        self.window(lane).add(item);
    }

    /// The log has more ready messages than were told.
    pub fn note_more(&mut self) {
        self.first.note_more();
        self.retry.note_more();
    }

    /// A lane that is to be read from the log, if any: with how many messages. To be followed by [`loaded`](Self::loaded).
    pub fn wants(&mut self) -> Option<(Lane, usize)> {
        if self.stopped || self.limits.is_none_or(|limits| limits.suspended) {
            return None;
        }
        let lane = [Lane::First, Lane::Retry].into_iter().find(|lane| self.window(*lane).wants())?;
        // Those under way and those not recorded are in the log too.
        let known = self.flying.len() + self.unrecorded.len();
        Some((lane, self.window(lane).begin_load() + known))
    }

    /// What was read; `more`: there is more than that.
    pub fn loaded(&mut self, lane: Lane, items: Vec<Item>, mut more: bool) {
        let (mut fresh, mut doubtful) = (Vec::new(), false);
        for item in items {
            let number = item.message.number;
            if self.unrecorded.contains_key(&number) {
                // It may be the state before or after: reading again tells, but not before the outcome is on disk.
                doubtful = true;
            } else if self.window(lane).is_settled(number) {
                // Likewise, and it is on disk by now. The log may have been changed since, so dropping it could lose it.
                more = true;
            } else if !self.flying.contains_key(&number) && !self.first.contains(number) && !self.retry.contains(number)
            {
                fresh.push(item);
            }
        }
        self.window(lane).end_load(fresh, more);
        if doubtful {
            self.window(lane).doubt();
        }
    }

    /// What to do now.
    pub fn next(&self, now: Instant, room: Room) -> Next {
        let Some(limits) = self.limits.filter(|limits| !limits.suspended && !self.stopped) else {
            return Next::Wait(None);
        };
        let gate = self.breaker.gate(now);
        let concurrency = self.pace.concurrency(&limits);
        if let Gate::Shut(until) = gate {
            return Next::Wait(until);
        }
        if self.unrecorded.len() >= UNRECORDED || self.flying.len() >= concurrency {
            return Next::Wait(None);
        }
        let first = self.first.first().is_some();
        let due = self.retry.first().map(|item| item.due);
        if !first && due.is_none_or(|due| due > now) {
            return Next::Wait(due);
        }
        if let Some(at) = self.pace.wait(&limits, now) {
            return Next::Wait(Some(at));
        }
        let share = (concurrency / 2).max(1);
        let retrying = self.flying.values().filter(|flight| flight.lane == Lane::Retry).count();
        let retry = due.is_some_and(|due| due <= now) && (retrying < share || gate == Gate::Probe);
        // In turns, where both wait.
        let lanes = match self.last_lane {
            Lane::First => [(Lane::Retry, retry, room.retry), (Lane::First, first, room.first)],
            Lane::Retry => [(Lane::First, first, room.first), (Lane::Retry, retry, room.retry)],
        };
        if let Some((lane, ..)) = lanes.iter().find(|(_, candidate, room)| *candidate && *room) {
            return Next::Start(*lane);
        }
        // Retries beyond their share wait for one of them to come back.
        if first || retry { Next::Room } else { Next::Wait(None) }
    }

    /// Takes the message that [`next`](Self::next) named.
    pub fn start(&mut self, lane: Lane, now: Instant) -> Option<Item> {
        let item = self.window(lane).pop()?;
        let number = item.message.number;
        self.flying.insert(number, Flight { lane, tries: item.tries, since: now });
        self.last_lane = lane;
        self.breaker.started(number);
        if let Some(limits) = &self.limits {
            self.pace.started(limits, now);
        }
        Some(item)
    }

    /// What follows from an attempt that is back. `wall` is the clock's time, for what is written down.
    pub fn finish(
        &mut self,
        number: u64,
        attempt: &Attempt,
        clock: (Instant, Timestamp),
        dice: f64,
        options: &Options,
    ) -> Decision {
        let (now, wall) = clock;
        let tries = self.flying.remove(&number).map_or(0, |flight| flight.tries) + 1;
        *self.unrecorded.entry(number).or_default() += 1;
        if attempt.verdict == Verdict::Delivered {
            self.proven = true;
            self.failing = Failing::resumed(Health::default());
            self.breaker.succeeded();
            if let Some(limits) = &self.limits {
                self.pace.succeeded(limits);
            }
            return Decision::Delivered;
        }
        self.proven = false;
        self.failing.failed(now);
        self.breaker.failed(number, now, &settings(options), dice);
        self.pace.failed();
        let after = match attempt.verdict {
            Verdict::Throttle { after } => {
                self.pace.throttled(after, options.throttle_longest, now);
                after
            }
            Verdict::Retry { after } => after,
            Verdict::Gone => {
                self.stopped = true;
                return Decision::Disable { reason: "the receiver answered 410 Gone".into() };
            }
            Verdict::Delivered => None,
        };
        if self.failing.total >= options.disable_after && self.failing.failures >= options.disable_failures {
            self.stopped = true;
            let hours = options.disable_after.as_secs() / 3600;
            return Decision::Disable { reason: format!("every attempt has failed for {hours} hours") };
        }
        match options.schedule.pause(tries, after, dice) {
            Some(pause) => Decision::Retry { due: wall.saturating_add(pause).unwrap_or(Timestamp::MAX) },
            None => Decision::DeadLetter,
        }
    }

    /// The outcome of a message is on disk.
    pub fn recorded(&mut self, number: u64) {
        if let Some(count) = self.unrecorded.get_mut(&number) {
            *count -= 1;
            if *count == 0 {
                self.unrecorded.remove(&number);
            }
        }
        self.first.settle(number);
        self.retry.settle(number);
    }

    /// What it takes of the shared places.
    pub fn weight(&self, now: Instant, options: &Options) -> Weight {
        let retries = self.flying.values().filter(|flight| flight.lane == Lane::Retry).count();
        let slow = self.slowest().is_some_and(|since| now.saturating_duration_since(since) >= options.slow_after);
        Weight { flying: self.flying.len(), retries, unproven: !self.proven || slow }
    }

    /// When a request under way becomes slow, if none is yet.
    pub fn slow_at(&self, now: Instant, options: &Options) -> Option<Instant> {
        self.slowest().map(|since| since + options.slow_after).filter(|at| *at > now)
    }

    fn slowest(&self) -> Option<Instant> {
        self.flying.values().map(|flight| flight.since).min()
    }

    /// Whether the breaker holds messages back.
    pub fn is_broken(&self) -> bool {
        self.breaker.is_open()
    }

    /// Whether nothing is under way or waits for the disk.
    pub fn is_quiet(&self) -> bool {
        self.flying.is_empty() && self.unrecorded.is_empty()
    }

    /// Whether nothing at all is known of: no message here, under way, or being read.
    pub fn is_idle(&self) -> bool {
        self.is_quiet() && self.first.is_idle() && self.retry.is_idle()
    }

    /// Messages in memory.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.first.len() + self.retry.len() + self.flying.len()
    }
}

/// When a message may be sent that the log says is due at a time of the clock. From here on a jump of the clock changes nothing; one
/// that came before makes nobody wait longer than the longest pause. What is overdue keeps its order.
pub fn due_at(due: Timestamp, clock: (Instant, Timestamp), schedule: &Schedule) -> Instant {
    let (now, wall) = clock;
    match Duration::try_from(wall.duration_since(due)) {
        Ok(late) => now.checked_sub(late).unwrap_or(now),
        Err(_) => {
            let wait = Duration::try_from(due.duration_since(wall)).unwrap_or_default();
            now + wait.min(schedule.longest())
        }
    }
}

fn settings(options: &Options) -> Settings {
    Settings { failures: options.breaker_failures, first: options.breaker_pause, longest: options.breaker_longest }
}

/// How many messages of a lane are kept in memory.
fn capacity(limits: Option<Limits>) -> usize {
    limits.map_or(32, |limits| (limits.concurrency as usize * 4).clamp(32, 256))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        delivery::Message,
        log::tests::support::{attempt, event},
    };

    const LIMITS: Limits = Limits { concurrency: 8, rate: None, suspended: false };
    const ROOM: Room = Room { first: true, retry: true };

    fn item(number: u64, due: Instant) -> Item {
        let message = Message {
            number,
            id: format!("msg_{number}"),
            webhook: "uid".into(),
            key: None,
            event: event("e"),
            accepted_at: Timestamp::now(),
            attempts: 0,
        };
        Item { due, tries: 1, message: message.into() }
    }

    /// A queue of which both lanes are being read.
    fn reading(now: Instant) -> Queue {
        let mut queue = Queue::new(Health::default(), now, &Options::default());
        queue.configure(Some(LIMITS));
        read(&mut queue);
        queue
    }

    fn read(queue: &mut Queue) {
        assert_eq!(
            [queue.wants(), queue.wants()].map(|wants| wants.map(|(lane, _)| lane)),
            [Some(Lane::First), Some(Lane::Retry)]
        );
    }

    fn fail(queue: &mut Queue, number: u64, now: Instant) {
        assert!(queue.start(Lane::First, now).is_some_and(|item| item.message.number == number));
        let failed = attempt(Verdict::Retry { after: None });
        queue.finish(number, &failed, (now, Timestamp::now()), 0.5, &Options::default());
    }

    #[test]
    fn what_fails_while_a_lane_is_read_is_not_lost_to_a_reload() {
        let now = Instant::now();
        let mut queue = reading(now);
        queue.loaded(Lane::First, vec![item(7, now)], false);
        fail(&mut queue, 7, now);
        queue.recorded(7);
        queue.reload(Health::default(), now);
        read(&mut queue);
        let due = now + Duration::from_secs(5);
        queue.loaded(Lane::Retry, vec![item(7, due)], false);
        queue.loaded(Lane::First, vec![], false);
        assert_eq!(queue.next(now, ROOM), Next::Wait(Some(due)));
    }

    #[test]
    fn what_was_recorded_during_a_read_is_read_again() {
        let now = Instant::now();
        let mut queue = reading(now);
        queue.loaded(Lane::First, vec![item(7, now)], false);
        fail(&mut queue, 7, now);
        // Queued again from outside: the news of that are here before the answer to whoever recorded it.
        queue.reload(Health::default(), now);
        read(&mut queue);
        queue.recorded(7);
        queue.loaded(Lane::Retry, vec![], false);
        queue.loaded(Lane::First, vec![item(7, now)], false);
        assert_eq!(queue.wants().map(|(lane, _)| lane), Some(Lane::First));
    }

    #[test]
    fn nothing_is_read_for_an_outcome_that_cannot_be_written() {
        let now = Instant::now();
        let mut queue = reading(now);
        queue.loaded(Lane::Retry, vec![], false);
        queue.loaded(Lane::First, vec![item(7, now)], true);
        fail(&mut queue, 7, now);
        assert_eq!(queue.wants().map(|(lane, _)| lane), Some(Lane::First));
        queue.loaded(Lane::First, vec![item(7, now)], false);
        assert_eq!(queue.wants(), None, "it would find the same again, at once and for ever");
        queue.recorded(7);
        assert_eq!(queue.wants().map(|(lane, _)| lane), Some(Lane::First));
    }

    #[test]
    fn memory_is_bounded_whatever_waits() {
        let now = Instant::now();
        let mut queue = reading(now);
        for number in 0..100_000 {
            queue.add(Lane::First, item(number, now));
        }
        queue.loaded(Lane::First, (0..500).map(|number| item(number, now)).collect(), true);
        assert!(queue.held() <= 256, "{}", queue.held());
    }
}
