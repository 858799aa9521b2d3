//! Decides which event is acted on when: pure, no clock, no I/O.
//!
//! In flow events as the hub tells them ([`Plan::seen`], [`Plan::passed`]), results ([`Plan::finished`],
//! [`Plan::buried`]) and the time; out flow [`Action`]s ([`Plan::poll`]), the next moment that matters
//! ([`Plan::wake`]), whether more may be read ([`Plan::wants_more`]) and how far the trigger is ([`Plan::progress`]).
//!
//! Rules that hold at any time:
//! - events of one key are acted on one at a time in the order of the log; a failing one holds its own key only;
//! - [`Plan::progress`] never covers an event that is neither done nor dead-lettered, so continuing from any progress
//!   ever persisted repeats events but loses none;
//! - memory is bounded: at most [`Limits::window`] events are held, half of them for keys that are blocked; further
//!   events of blocked keys are kept by position alone (to be read from the hub again) up to [`Limits::pending`]; then
//!   nothing more is read.

pub mod progress;
pub mod retry;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Duration,
};

pub use progress::Progress;
use retry::{FailureKind, Next, Rules};

/// How much is done and held at a time.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Actions at the same time.
    pub concurrency: usize,
    /// Events held in memory.
    pub window: usize,
    /// Their size in bytes.
    pub window_bytes: u64,
    /// Events that are known and not done, held or not.
    pub pending: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { concurrency: 8, window: 256, window_bytes: 16 << 20, pending: 10_000 }
    }
}

/// Which events must keep their order among themselves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// This event is alone; the number is its position.
    Alone(u64),
    /// All events with this text.
    Shared(String),
}

/// An event as it comes from the hub.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Position in the log.
    pub position: u64,
    /// Number within the endpoint.
    pub sequence: u64,
    /// Its key; `None` if it needs no action.
    pub key: Option<Key>,
    /// Size in memory.
    pub bytes: u64,
}

/// What became of an event that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It will be acted on: keep it until told otherwise.
    Taken,
    /// It needs no action: done.
    Skipped,
    /// It was seen or done before.
    Known,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Act on the event; answer with [`Plan::finished`]. Attempts count from 1.
    Start {
        /// Position of the event.
        position: u64,
        /// Number of the attempt.
        attempt: u32,
    },
    /// Make the event a dead letter; answer with [`Plan::buried`].
    Bury {
        /// Position of the event.
        position: u64,
        /// Attempts made.
        attempts: u32,
        /// Why the last one failed.
        reason: String,
    },
    /// The event's data is not needed for now; read it again if it is started.
    Park {
        /// Position of the event.
        position: u64,
    },
    /// The event is done: nothing more will be said about it.
    Close {
        /// Position of the event.
        position: u64,
    },
}

/// The result of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, or nothing to do.
    Done,
    /// Not done.
    Failed {
        /// What kind of failure.
        kind: FailureKind,
        /// For people, without secrets.
        reason: String,
        /// Time that the receiver asked to wait.
        asked: Option<Duration>,
    },
}

/// Where an event stands. The time is since the plan began.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Its turn has not come.
    Waiting,
    /// Being acted on.
    Running,
    /// Failed; the next attempt is due at this time.
    Backoff(Duration),
    /// Given up; being made a dead letter.
    Burying,
    /// Given up, but the dead letter could not be written; due again at this time.
    Unburied(Duration),
}

#[derive(Clone, Debug)]
struct Item {
    sequence: u64,
    /// Position of the event seen before it.
    before: u64,
    key: Key,
    bytes: u64,
    held: bool,
    state: State,
    attempts: u32,
    unread: u32,
    first_attempt: Option<Duration>,
    reason: String,
}

/// Delays for what must be done sooner or later: reading an event, writing a dead letter.
const INSIST_MIN: Duration = Duration::from_secs(1);
const INSIST_MAX: Duration = Duration::from_secs(30);

/// The decisions for one trigger.
#[derive(Debug)]
pub struct Plan {
    limits: Limits,
    rules: Rules,
    seed: u64,
    /// What was done before this plan began.
    earlier: Progress,
    /// Everything up to here has been seen.
    last_position: u64,
    /// Sequence of the last event seen; `None` while unknown.
    last_sequence: Option<u64>,
    items: BTreeMap<u64, Item>,
    /// Positions by key, in order; the first is the one whose turn it is.
    queues: HashMap<Key, VecDeque<u64>>,
    /// Those that may start now.
    ready: BTreeSet<u64>,
    /// Those that wait for a time.
    timers: BTreeSet<(Duration, u64)>,
    running: usize,
    held: usize,
    held_bytes: u64,
    out: Vec<Action>,
    stopping: bool,
}

impl Plan {
    /// Continues from `progress`. `seed` makes the jitter differ between plans.
    pub fn resume(progress: Progress, limits: Limits, rules: Rules, seed: u64) -> Self {
        Self {
            limits,
            rules,
            seed,
            last_position: progress.position,
            last_sequence: progress.known_sequence(),
            earlier: progress,
            items: BTreeMap::new(),
            queues: HashMap::new(),
            ready: BTreeSet::new(),
            timers: BTreeSet::new(),
            running: 0,
            held: 0,
            held_bytes: 0,
            out: Vec::new(),
            stopping: false,
        }
    }

    /// An event arrived. Also answers how many events of the endpoint are missing before it, by its sequence.
    pub fn seen(&mut self, event: Seen) -> (Arrival, u64) {
        if event.position <= self.last_position {
            return (Arrival::Known, 0);
        }
        let missing = self.last_sequence.map_or(0, |last| event.sequence.saturating_sub(last + 1));
        let before = std::mem::replace(&mut self.last_position, event.position);
        self.last_sequence = Some(event.sequence);
        if self.earlier.covers(event.position) {
            return (Arrival::Known, missing);
        }
        let Some(key) = event.key else { return (Arrival::Skipped, missing) };
        let queue = self.queues.entry(key.clone()).or_default();
        queue.push_back(event.position);
        let head = queue[0];
        self.held += 1;
        self.held_bytes += event.bytes;
        let item = Item {
            sequence: event.sequence,
            before,
            key,
            bytes: event.bytes,
            held: true,
            state: State::Waiting,
            attempts: 0,
            unread: 0,
            first_attempt: None,
            reason: String::new(),
        };
        self.items.insert(event.position, item);
        if head == event.position {
            self.ready.insert(head);
        } else if self.is_blocked(head) {
            self.park(event.position);
        }
        (Arrival::Taken, missing)
    }

    /// Everything up to `position` has been told (a bookmark).
    pub fn passed(&mut self, position: u64) {
        self.last_position = self.last_position.max(position);
    }

    /// An attempt ended.
    pub fn finished(&mut self, position: u64, outcome: Outcome, now: Duration) {
        let random = self.random(position);
        let Some(item) = self.items.get_mut(&position).filter(|item| item.state == State::Running) else { return };
        self.running -= 1;
        let Outcome::Failed { kind, reason, asked } = outcome else { return self.complete(position) };
        item.reason = reason;
        if kind == FailureKind::Unread {
            item.attempts -= 1;
            item.unread += 1;
            if item.attempts == 0 {
                item.first_attempt = None;
            }
            let until = now + insist(item.unread, random);
            return self.wait(position, State::Backoff(until), until);
        }
        let elapsed = now.saturating_sub(item.first_attempt.unwrap_or(now));
        match self.rules.next(item.attempts, elapsed, kind, asked, random) {
            Next::GiveUp => {
                item.state = State::Burying;
                item.unread = 0;
                let (attempts, reason) = (item.attempts, item.reason.clone());
                self.out.push(Action::Bury { position, attempts, reason });
            }
            Next::After(delay) => self.wait(position, State::Backoff(now + delay), now + delay),
        }
    }

    /// A dead letter was written, or could not be.
    pub fn buried(&mut self, position: u64, written: bool, now: Duration) {
        let random = self.random(position);
        let Some(item) = self.items.get_mut(&position).filter(|item| item.state == State::Burying) else { return };
        if written {
            return self.complete(position);
        }
        item.unread += 1;
        let until = now + insist(item.unread, random);
        self.wait(position, State::Unburied(until), until);
    }

    /// What is to be done at `now`.
    pub fn poll(&mut self, now: Duration) -> Vec<Action> {
        while let Some((_, position)) = self.timers.first().copied().filter(|(due, _)| *due <= now) {
            self.timers.pop_first();
            let Some(item) = self.items.get_mut(&position) else { continue };
            if let State::Unburied(_) = item.state {
                item.state = State::Burying;
                let (attempts, reason) = (item.attempts, item.reason.clone());
                self.out.push(Action::Bury { position, attempts, reason });
            } else {
                item.state = State::Waiting;
                self.ready.insert(position);
            }
        }
        while self.running < self.limits.concurrency && !self.stopping {
            let Some(position) = self.ready.pop_first() else { break };
            let Some(item) = self.items.get_mut(&position) else { continue };
            item.state = State::Running;
            item.attempts += 1;
            item.first_attempt.get_or_insert(now);
            self.running += 1;
            self.out.push(Action::Start { position, attempt: item.attempts });
        }
        std::mem::take(&mut self.out)
    }

    /// When [`poll`](Self::poll) has something to do though nothing else happened.
    pub fn wake(&self) -> Option<Duration> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Whether another event may be read.
    pub fn wants_more(&self) -> bool {
        !self.stopping
            && self.items.len() < self.limits.pending
            && self.held < self.limits.window
            && self.held_bytes < self.limits.window_bytes
    }

    /// Nothing new starts from here on.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Actions under way.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Events that are known and not done.
    pub fn pending(&self) -> usize {
        self.items.len()
    }

    /// How far the trigger is; safe to continue from at any time.
    pub fn progress(&self) -> Progress {
        let mut pending = self.items.iter();
        let Some((first, item)) = pending.next() else {
            return self.beyond(Progress {
                position: self.last_position,
                sequence: self.last_sequence.unwrap_or_default(),
                done_ahead: Vec::new(),
            });
        };
        let mut progress =
            Progress { position: first - 1, sequence: item.sequence.saturating_sub(1), done_ahead: Vec::new() };
        let mut open = *first;
        for (position, item) in pending {
            if item.before > open {
                progress.done_ahead.push((open + 1, item.before));
            }
            open = *position;
        }
        if self.last_position > open {
            progress.done_ahead.push((open + 1, self.last_position));
        }
        self.beyond(progress)
    }

    /// Adds what was done earlier and has not been seen again yet.
    fn beyond(&self, mut progress: Progress) -> Progress {
        for (first, last) in &self.earlier.done_ahead {
            if *last > self.last_position {
                progress.done_ahead.push((*first.max(&(self.last_position + 1)), *last));
            }
        }
        progress.bound();
        progress
    }

    /// The event is done: the next of its key may come.
    fn complete(&mut self, position: u64) {
        let Some(item) = self.items.remove(&position) else { return };
        self.release(&item);
        self.out.push(Action::Close { position });
        let Some(queue) = self.queues.get_mut(&item.key) else { return };
        queue.pop_front();
        match queue.front() {
            Some(next) => {
                self.ready.insert(*next);
            }
            None => {
                self.queues.remove(&item.key);
            }
        }
    }

    /// The head of a key waits until `due`: the events behind it make room.
    fn wait(&mut self, position: u64, state: State, due: Duration) {
        self.timers.insert((due, position));
        let Some(item) = self.items.get_mut(&position) else { return };
        item.state = state;
        let behind: Vec<u64> = self.queues.get(&item.key).into_iter().flatten().copied().collect();
        for position in behind {
            self.park(position);
        }
    }

    fn is_blocked(&self, head: u64) -> bool {
        self.items.get(&head).is_some_and(|item| !matches!(item.state, State::Waiting | State::Running))
    }

    /// Gives up the data of an event that cannot start soon, unless half the room is free.
    fn park(&mut self, position: u64) {
        let roomy = self.held * 2 <= self.limits.window && self.held_bytes * 2 <= self.limits.window_bytes;
        let Some(item) = self.items.get_mut(&position).filter(|item| item.held && !roomy) else { return };
        item.held = false;
        self.held -= 1;
        self.held_bytes -= item.bytes;
        self.out.push(Action::Park { position });
    }

    fn release(&mut self, item: &Item) {
        if item.held {
            self.held -= 1;
            self.held_bytes -= item.bytes;
        }
    }

    /// A number that depends on the seed, the event and its attempt, well mixed (splitmix64's finaliser).
    fn random(&self, position: u64) -> u64 {
        let attempts = self.items.get(&position).map_or(0, |item| u64::from(item.attempts + item.unread));
        let mut x = self.seed ^ position.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ attempts.rotate_left(32);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

/// The delay after `failures` failures of what must succeed in the end.
fn insist(failures: u32, random: u64) -> Duration {
    let delay = INSIST_MIN.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(INSIST_MAX);
    roadstead_reconcile::backoff::jitter(delay, random)
}
