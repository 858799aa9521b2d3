//! A world without a disk and without waiting: a log in memory, receivers by script, and time that jumps to the next thing to happen.
//! The planner runs in it as the runner would have it, and every rule is checked at every start.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::{
    delivery::{Attempt, Message, Verdict},
    log::{
        Decision, Lane, MOST_GAP,
        tests::support::{attempt, event},
    },
    queue::{
        Limits, Options,
        places::{Places, Weight},
        plan::{Health, Next, Queue, due_at},
        window::Item,
    },
};

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Pending,
    Delivered,
    DeadLetter,
}

/// A message in the log.
#[derive(Clone, Debug)]
pub struct Stored {
    pub key: Option<String>,
    pub state: State,
    lane: Option<Lane>,
    due: Timestamp,
    tries: u32,
    pub attempts: u32,
    /// When it was last started.
    pub started: Option<Instant>,
}

/// A webhook with its part of the log.
pub struct Webhook {
    pub limits: Limits,
    pub messages: Vec<Stored>,
    pub disabled: bool,
    pub failures: u32,
    failing: Duration,
    last_failed: Option<Timestamp>,
    /// Reads begun before this one are ignored.
    generation: u64,
    pub queue: Queue,
    weight: Weight,
    /// Under way since, by index.
    flying: HashMap<usize, Lane>,
    unrecorded: HashSet<usize>,
}

impl Webhook {
    fn health(&self) -> Health {
        Health { failures: self.failures, failing: self.failing, stopped: self.disabled }
    }

    fn reload(&mut self, now: Instant) {
        self.generation += 1;
        self.queue.reload(self.health(), now);
    }
}

/// Something that will happen.
enum Happening {
    Answer {
        webhook: usize,
        index: usize,
        attempt: Attempt,
    },
    Recorded {
        webhook: usize,
        index: usize,
        attempt: Attempt,
        decision: Decision,
    },
    /// The log is read; what was read arrives later, and is old by then.
    Read {
        webhook: usize,
        generation: u64,
        lane: Lane,
        limit: usize,
    },
    Loaded {
        webhook: usize,
        generation: u64,
        lane: Lane,
        items: Vec<Item>,
        more: bool,
    },
}

/// What a receiver does: how long it takes, and what it answers.
pub type Receiver = Box<dyn Fn(usize, usize, u32) -> (Duration, Verdict)>;

pub struct World {
    pub now: Instant,
    pub wall: Timestamp,
    pub begun: Instant,
    pub webhooks: Vec<Webhook>,
    pub options: Options,
    receiver: Receiver,
    places: Places,
    happenings: BTreeMap<(Instant, u64), Happening>,
    counter: u64,
    pub starts: u64,
}

impl World {
    pub fn new(options: Options, receiver: Receiver) -> Self {
        let now = Instant::now();
        let places = Places::new(options.places);
        let (happenings, webhooks) = (BTreeMap::new(), Vec::new());
        let wall = Timestamp::from_second(1_800_000_000).unwrap();
        Self { now, wall, begun: now, webhooks, options, receiver, places, happenings, counter: 0, starts: 0 }
    }

    /// A webhook with messages of these keys.
    pub fn webhook(&mut self, limits: Limits, keys: &[Option<&str>]) {
        let mut messages: Vec<Stored> = Vec::new();
        for key in keys {
            let blocked = key.is_some() && messages.iter().any(|other| other.key.as_deref() == *key);
            messages.push(Stored {
                key: key.map(Into::into),
                state: State::Pending,
                lane: (!blocked).then_some(Lane::First),
                due: self.wall,
                tries: 0,
                attempts: 0,
                started: None,
            });
        }
        let mut queue = Queue::new(Health::default(), self.now, &self.options);
        queue.configure(Some(limits));
        self.webhooks.push(Webhook {
            limits,
            messages,
            disabled: false,
            failures: 0,
            failing: Duration::ZERO,
            last_failed: None,
            generation: 0,
            queue,
            weight: Weight::default(),
            flying: HashMap::new(),
            unrecorded: HashSet::new(),
        });
    }

    fn later(&mut self, after: Duration, happening: Happening) {
        self.counter += 1;
        self.happenings.insert((self.now + after, self.counter), happening);
    }

    /// The process dies: what is under way is forgotten, the log stays.
    pub fn crash(&mut self) {
        self.happenings.clear();
        self.places = Places::new(self.options.places);
        for webhook in &mut self.webhooks {
            let health = webhook.health();
            webhook.queue = Queue::new(health, self.now, &self.options);
            webhook.queue.configure(Some(webhook.limits));
            webhook.weight = Weight::default();
            webhook.flying.clear();
            webhook.unrecorded.clear();
        }
    }

    /// Somebody changes the log from outside: everything is read again.
    pub fn reload(&mut self, index: usize) {
        let now = self.now;
        if let Some(webhook) = self.webhooks.get_mut(index) {
            webhook.reload(now);
        }
    }

    /// Starts all that may start, then moves on to the next happening. False when nothing will ever happen.
    pub fn step(&mut self) -> bool {
        let mut wakes: Vec<Instant> = Vec::new();
        let mut progress = true;
        while progress {
            progress = false;
            wakes.clear();
            for index in 0..self.webhooks.len() {
                self.load(index);
                self.weigh(index);
                let webhook = &self.webhooks[index];
                match webhook.queue.next(self.now, self.places.room(webhook.weight.unproven)) {
                    Next::Start(lane) => {
                        self.start(index, lane);
                        self.weigh(index);
                        progress = true;
                    }
                    Next::Wait(at) => wakes.extend(at),
                    Next::Room => {}
                }
                wakes.extend(self.webhooks[index].queue.slow_at(self.now, &self.options));
            }
        }
        let next = self.happenings.first_key_value().map(|((at, _), _)| *at);
        let Some(at) = wakes.into_iter().chain(next).min() else { return false };
        assert!(at >= self.now);
        self.wall += at - self.now;
        self.now = at;
        while let Some(((at, _), _)) = self.happenings.first_key_value()
            && *at <= self.now
            && let Some((_, happening)) = self.happenings.pop_first()
        {
            self.happen(happening);
        }
        true
    }

    fn weigh(&mut self, index: usize) {
        let webhook = &mut self.webhooks[index];
        let weight = webhook.queue.weight(self.now, &self.options);
        self.places.replace(webhook.weight, weight);
        webhook.weight = weight;
    }

    fn load(&mut self, index: usize) {
        while let Some((lane, limit)) = self.webhooks[index].queue.wants() {
            let generation = self.webhooks[index].generation;
            self.later(Duration::from_micros(300), Happening::Read { webhook: index, generation, lane, limit });
        }
    }

    fn item(&self, webhook: usize, index: usize) -> Item {
        let stored = &self.webhooks[webhook].messages[index];
        let message = Message {
            number: index as u64,
            id: format!("msg_{index}"),
            webhook: format!("{webhook}"),
            key: stored.key.clone(),
            event: event("e"),
            accepted_at: stored.due,
            attempts: stored.attempts,
        };
        let due = due_at(stored.due, (self.now, self.wall), &self.options.schedule);
        Item { due, tries: stored.tries, message: Arc::new(message) }
    }

    fn start(&mut self, index: usize, lane: Lane) {
        let (now, begun) = (self.now, self.starts);
        let webhook = &mut self.webhooks[index];
        let item = webhook.queue.start(lane, now).expect("what next names is there");
        let number = item.message.number as usize;
        let stored = &webhook.messages[number];
        assert_eq!(stored.state, State::Pending, "message {number} is done");
        assert!(!webhook.disabled && !webhook.flying.contains_key(&number) && !webhook.unrecorded.contains(&number));
        if let Some(key) = &stored.key {
            let before = webhook.messages[..number].iter().filter(|other| other.key.as_ref() == Some(key));
            assert!(before.clone().all(|other| other.state != State::Pending), "{number} overtook one of {key}");
        }
        webhook.flying.insert(number, lane);
        let retries = webhook.flying.values().filter(|lane| **lane == Lane::Retry).count();
        let most = webhook.limits.concurrency as usize;
        assert!(webhook.flying.len() <= most, "more than {most} at once");
        assert!(retries <= (most / 2).max(1), "{retries} retries at once of {most}");
        let tries = webhook.messages[number].attempts;
        webhook.messages[number].started = Some(now);
        let under_way: usize = self.webhooks.iter().map(|webhook| webhook.flying.len()).sum();
        assert!(under_way <= self.options.places.max(2), "{under_way} of all");
        self.starts = begun + 1;
        let (takes, verdict) = (self.receiver)(index, number, tries);
        let attempt = Attempt { at: self.wall, ..attempt(verdict) };
        self.later(takes, Happening::Answer { webhook: index, index: number, attempt });
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Read { webhook, generation, lane, limit } => {
                let messages = &self.webhooks[webhook].messages;
                let mut found: Vec<usize> =
                    (0..messages.len()).filter(|index| messages[*index].lane == Some(lane)).collect();
                found.sort_by_key(|index| (messages[*index].due, *index));
                let more = found.len() >= limit;
                found.truncate(limit);
                let items = found.into_iter().map(|index| self.item(webhook, index)).collect();
                // The one lane takes longer than the other, so that a reload meets them half done.
                let takes = Duration::from_millis(if lane == Lane::First { 4 } else { 7 });
                self.later(takes, Happening::Loaded { webhook, generation, lane, items, more });
            }
            Happening::Loaded { webhook, generation, lane, items, more } => {
                if self.webhooks[webhook].generation == generation {
                    self.webhooks[webhook].queue.loaded(lane, items, more);
                }
            }
            Happening::Answer { webhook, index, attempt } => {
                let clock = (self.now, self.wall);
                let dice = (self.counter % 11) as f64 / 10.0;
                let entry = &mut self.webhooks[webhook];
                entry.flying.remove(&index);
                entry.unrecorded.insert(index);
                let decision = entry.queue.finish(index as u64, &attempt, clock, dice, &self.options);
                let recorded = Happening::Recorded { webhook, index, attempt, decision };
                self.later(Duration::from_micros(1700), recorded);
            }
            Happening::Recorded { webhook, index, attempt, decision } => {
                self.record(webhook, index, &attempt, decision);
            }
        }
    }

    /// What the log does, and what it tells.
    fn record(&mut self, at: usize, index: usize, attempt: &Attempt, decision: Decision) {
        let wall = self.wall;
        let webhook = &mut self.webhooks[at];
        webhook.unrecorded.remove(&index);
        if attempt.verdict == Verdict::Delivered {
            (webhook.failures, webhook.failing, webhook.last_failed) = (0, Duration::ZERO, None);
        } else {
            webhook.failures += 1;
            if let Some(last) = webhook.last_failed.replace(attempt.at) {
                webhook.failing +=
                    Duration::try_from(attempt.at.duration_since(last)).unwrap_or_default().min(MOST_GAP);
            }
        }
        let stored = &mut webhook.messages[index];
        stored.attempts += 1;
        stored.tries += 1;
        let mut told = Vec::new();
        match decision {
            Decision::Retry { due } => {
                if stored.state == State::Pending {
                    (stored.lane, stored.due) = (Some(Lane::Retry), due);
                    told.push((index, Lane::Retry));
                }
            }
            done => {
                let state = if done == Decision::Delivered { State::Delivered } else { State::DeadLetter };
                let was = std::mem::replace(&mut stored.state, state);
                stored.lane = None;
                let key = stored.key.clone();
                let next = webhook.messages.iter_mut().enumerate().find(|(_, other)| {
                    key.is_some() && other.key == key && other.state == State::Pending && other.lane.is_none()
                });
                if let (State::Pending, Some((next, stored))) = (was, next) {
                    (stored.lane, stored.due) = (Some(Lane::First), wall);
                    told.push((next, Lane::First));
                }
                if let Decision::Disable { .. } = done {
                    webhook.disabled = true;
                    for stored in webhook.messages.iter_mut().filter(|stored| stored.state == State::Pending) {
                        (stored.state, stored.lane) = (State::DeadLetter, None);
                    }
                    told.clear();
                    webhook.reload(self.now);
                }
            }
        }
        for (index, lane) in told {
            let item = self.item(at, index);
            if !self.webhooks[at].disabled {
                self.webhooks[at].queue.add(lane, item);
            }
        }
        self.webhooks[at].queue.recorded(index as u64);
    }
}
