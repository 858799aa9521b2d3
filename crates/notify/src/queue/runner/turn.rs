//! The runner's turns: take what happened, ask the planner, do what it says.

use std::{
    hash::{BuildHasher, Hasher},
    sync::PoisonError,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::{sync::watch, task::JoinError, time::timeout};

use super::{Entry, LONGEST_PAUSE, PAUSE, Run, Side, entry::health, failed, handle::Phase, now};
use crate::{
    delivery::{Attempt, Verdict},
    log::{LogError, News, Outcome, Ready, WebhookKey},
    queue::{
        places::Weight,
        plan::{Next, Queue, due_at},
        window::Item,
    },
};

/// What a turn takes in.
#[derive(Default)]
struct Taken {
    back: Vec<(WebhookKey, u64, Attempt)>,
    sides: Vec<Side>,
}

impl Run {
    /// Runs until told to end, or until the log is closed.
    pub(super) async fn run(mut self, mut phases: watch::Receiver<Phase>) {
        for stats in self.log.webhooks() {
            self.enter(stats.key);
        }
        let mut ending = false;
        loop {
            if !ending {
                self.drive();
            } else if self.entries.values().all(|entry| entry.queue.is_quiet()) {
                return;
            }
            let wake = self.wakes.first().map(|(at, _)| *at);
            let sleep = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            let mut taken = Taken::default();
            tokio::select! {
                Some(flight) = self.flights.join_next_with_id() => self.land(flight, &mut taken),
                Some(side) = self.side.join_next() => taken.sides.extend(side),
                () = self.notices.wait() => {}
                () = self.table.bell.notified() => {}
                () = sleep => {}
                held = self.held.changed() => {
                    if held.is_err() { return }
                    self.rehold();
                }
                phase = phases.changed() => match phase {
                    Ok(()) => ending = *phases.borrow_and_update() == Phase::Ending,
                    Err(_) => return,
                },
            }
            while let Some(flight) = self.flights.try_join_next_with_id() {
                self.land(flight, &mut taken);
            }
            while let Some(side) = self.side.try_join_next() {
                taken.sides.extend(side);
            }
            if !self.take(taken) {
                return;
            }
        }
    }

    fn land(&mut self, flight: Result<(tokio::task::Id, (WebhookKey, u64, Attempt)), JoinError>, taken: &mut Taken) {
        match flight {
            Ok((id, back)) => {
                self.flown.remove(&id);
                taken.back.push(back);
            }
            Err(error) => {
                let Some((key, number)) = self.flown.remove(&error.id()) else { return };
                tracing::error!(%error, "an attempt ended badly");
                let attempt = failed(Timestamp::now(), Duration::ZERO, "internal error".into());
                taken.back.push((key, number, attempt));
            }
        }
    }

    /// Applies what happened; false if the log is closed. News come first: a commit posts them before it answers.
    fn take(&mut self, taken: Taken) -> bool {
        self.hear(self.notices.take());
        for uid in self.table.take_changed() {
            if let Some(stats) = self.log.stats(&uid) {
                self.enter(stats.key);
                self.configure(stats.key);
            }
        }
        for side in taken.sides {
            match side {
                Side::Loaded { key, generation, lane, limit, read } => {
                    self.loaded(key, generation, lane, limit, read);
                }
                Side::Recorded(numbers) => {
                    for (key, number) in numbers {
                        self.with(key, |entry| entry.queue.recorded(number));
                    }
                }
                Side::Closed => {
                    tracing::error!("the delivery log is closed: nothing more is sent");
                    return false;
                }
            }
        }
        let outcomes: Vec<Outcome> =
            taken.back.into_iter().filter_map(|(key, number, attempt)| self.finish(key, number, attempt)).collect();
        if !outcomes.is_empty() {
            self.record(outcomes);
        }
        let now = now();
        while let Some((at, key)) = self.wakes.first().copied()
            && at <= now
        {
            self.wakes.pop_first();
            self.with(key, |entry| entry.wake = None);
        }
        true
    }

    /// Applies `change` to a webhook, and has it asked.
    fn with(&mut self, key: WebhookKey, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        change(entry);
        if !entry.queued {
            entry.queued = true;
            self.ring.push_back(key);
        }
    }

    /// Takes a webhook in, if it is not.
    fn enter(&mut self, key: WebhookKey) {
        if self.entries.contains_key(&key) {
            return;
        }
        let Some(stats) = self.log.stats_of(key) else { return };
        let entry = Entry {
            held: self.held.borrow().contains(&stats.uid),
            queue: Queue::new(health(&stats), now(), &self.options),
            uid: stats.uid,
            weight: Weight::default(),
            broken: false,
            wake: None,
            queued: false,
            generation: 0,
        };
        self.entries.insert(key, entry);
        self.configure(key);
    }

    fn configure(&mut self, key: WebhookKey) {
        let Some(entry) = self.entries.get(&key) else { return };
        let limits = self.table.get(&entry.uid).filter(|_| entry.held);
        self.with(key, |entry| entry.queue.configure(limits));
    }

    fn rehold(&mut self) {
        let shards = self.held.borrow_and_update().clone();
        let keys: Vec<WebhookKey> = self.entries.keys().copied().collect();
        for key in keys {
            let stats = self.log.stats_of(key);
            self.with(key, |entry| {
                let before = std::mem::replace(&mut entry.held, shards.contains(&entry.uid));
                // Another has sent meanwhile: what is in memory is old.
                if let (false, true, Some(stats)) = (before, entry.held, stats) {
                    entry.generation += 1;
                    entry.queue.reload(health(&stats), now());
                }
            });
            self.configure(key);
        }
        *self.acting.lock().unwrap_or_else(PoisonError::into_inner) = shards;
    }

    fn hear(&mut self, news: News) {
        let (now, wall) = (now(), Timestamp::now());
        for key in news.reload {
            self.enter(key);
            let Some(stats) = self.entries.get(&key).map(|entry| self.log.stats(&entry.uid)) else { continue };
            let Some(stats) = stats else {
                self.leave(key);
                continue;
            };
            self.with(key, |entry| {
                entry.generation += 1;
                entry.queue.reload(health(&stats), now);
            });
        }
        for (key, ready) in news.ready {
            self.enter(key);
            let item = self.item(&ready, now, wall);
            self.with(key, |entry| entry.queue.add(ready.lane, item));
        }
        for key in news.more {
            self.enter(key);
            self.with(key, |entry| entry.queue.note_more());
        }
    }

    /// A webhook of which nothing is left.
    fn leave(&mut self, key: WebhookKey) {
        if self.entries.get(&key).is_some_and(|entry| entry.queue.is_quiet())
            && let Some(entry) = self.entries.remove(&key)
        {
            self.places.replace(entry.weight, Weight::default());
            self.broken -= usize::from(entry.broken);
        }
    }

    /// A message as the planner has it.
    fn item(&self, ready: &Ready, now: Instant, wall: Timestamp) -> Item {
        let due = due_at(ready.due, (now, wall), &self.options.schedule);
        Item { due, tries: ready.tries, message: ready.message.clone() }
    }

    fn loaded(
        &mut self,
        key: WebhookKey,
        generation: u64,
        lane: crate::log::Lane,
        limit: usize,
        read: Result<Vec<Ready>, LogError>,
    ) {
        let (now, wall) = (now(), Timestamp::now());
        let more = read.as_ref().map_or(true, |read| read.len() >= limit);
        let items = read.unwrap_or_default().iter().map(|ready| self.item(ready, now, wall)).collect();
        self.with(key, |entry| {
            if entry.generation == generation {
                entry.queue.loaded(lane, items, more);
            }
        });
    }

    fn finish(&mut self, key: WebhookKey, number: u64, attempt: Attempt) -> Option<Outcome> {
        let dice = self.throw();
        let clock = (now(), Timestamp::now());
        let options = &self.options;
        let entry = self.entries.get_mut(&key)?;
        let decision = entry.queue.finish(number, &attempt, clock, dice, options);
        self.metrics.attempt(attempt.verdict, &decision);
        self.with(key, |_| {});
        Some(Outcome { webhook: key, number, attempt, decision })
    }

    /// Records outcomes until the log has them: these messages must not go out again meanwhile.
    fn record(&mut self, outcomes: Vec<Outcome>) {
        let log = self.log.clone();
        self.side.spawn(async move {
            let mut pause = PAUSE;
            loop {
                match log.record(outcomes.clone()).await {
                    Ok(()) => return Side::Recorded(outcomes.iter().map(|done| (done.webhook, done.number)).collect()),
                    Err(LogError::Closed) => return Side::Closed,
                    Err(error) => {
                        tracing::warn!(%error, attempts = outcomes.len(), "attempts are not recorded yet; trying again");
                    }
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        });
    }

    /// Asks the planner for every webhook in the ring, round robin, until none can go on.
    fn drive(&mut self) {
        let now = now();
        let mut stuck = 0;
        while stuck < self.ring.len()
            && let Some(key) = self.ring.pop_front()
        {
            self.weigh(key, now);
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            match entry.queue.next(now, self.places.room(entry.weight.unproven)) {
                Next::Start(lane) => {
                    if let Some(item) = entry.queue.start(lane, now) {
                        self.fly(key, item);
                    }
                    self.weigh(key, now);
                    self.ring.push_back(key);
                    stuck = 0;
                }
                Next::Wait(at) => {
                    entry.queued = false;
                    self.wake(key, at, now);
                }
                Next::Room => {
                    self.ring.push_back(key);
                    stuck += 1;
                    self.wake(key, None, now);
                }
            }
            self.load(key);
        }
        self.metrics.broken(self.broken);
    }

    /// Brings the places, and the number of open breakers, up to date with a webhook.
    fn weigh(&mut self, key: WebhookKey, now: Instant) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let was_broken = std::mem::replace(&mut entry.broken, entry.queue.is_broken());
        self.broken = self.broken + usize::from(entry.broken) - usize::from(was_broken);
        let weight = entry.queue.weight(now, &self.options);
        self.places.replace(entry.weight, weight);
        entry.weight = weight;
    }

    fn wake(&mut self, key: WebhookKey, at: Option<Instant>, now: Instant) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let slow = entry.queue.slow_at(now, &self.options);
        let at = [at, slow].into_iter().flatten().min();
        if entry.wake != at {
            if let Some(before) = entry.wake {
                self.wakes.remove(&(before, key));
            }
            self.wakes.extend(at.map(|at| (at, key)));
            entry.wake = at;
        }
    }

    fn load(&mut self, key: WebhookKey) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        while let Some((lane, limit)) = entry.queue.wants() {
            let (log, generation) = (self.log.clone(), entry.generation);
            self.side.spawn(async move {
                let read = log.ready(key, lane, limit).await;
                if let Err(error) = &read {
                    tracing::warn!(%error, "waiting messages cannot be read; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
                Side::Loaded { key, generation, lane, limit, read }
            });
        }
    }

    fn fly(&mut self, key: WebhookKey, item: Item) {
        let (deliver, deadline, metrics) = (self.deliver.clone(), self.options.deadline, self.metrics.clone());
        let number = item.message.number;
        let task = self.flights.spawn(async move {
            let (at, started) = (Timestamp::now(), tokio::time::Instant::now());
            let message = item.message;
            let attempt = match timeout(deadline, deliver.deliver(&message)).await {
                Ok(attempt) => attempt,
                Err(_) => failed(at, started.elapsed(), format!("no answer within {} s", deadline.as_secs())),
            };
            if attempt.verdict == Verdict::Delivered {
                let waited = Timestamp::now().duration_since(message.accepted_at);
                metrics.delivered(Duration::try_from(waited).unwrap_or_default());
            }
            (key, number, attempt)
        });
        self.flown.insert(task.id(), (key, number));
    }

    /// A number from 0 to 1; nobody can guess the next, which is all that jitter needs.
    fn throw(&mut self) -> f64 {
        self.throws += 1;
        let mut hasher = self.dice.build_hasher();
        hasher.write_u64(self.throws);
        (hasher.finish() >> 11) as f64 / (1u64 << 53) as f64
    }
}
