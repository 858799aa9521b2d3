//! Doing what the planner says: starting requests, reading what waits in the log, and waking when it is time.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::time::timeout;

use super::{PAUSE, Run, Side, failed, now};
use crate::{
    delivery::Verdict,
    log::WebhookKey,
    queue::{plan::Next, window::Item},
};

impl Run {
    /// Asks the planner for every webhook in the ring, round robin, until none can go on.
    pub(super) fn drive(&mut self) {
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
    pub(super) fn weigh(&mut self, key: WebhookKey, now: Instant) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let was_broken = std::mem::replace(&mut entry.broken, entry.queue.is_broken());
        self.broken = self.broken + usize::from(entry.broken) - usize::from(was_broken);
        let weight = entry.queue.weight(now, &self.options);
        self.places.replace(entry.weight, weight);
        entry.weight = weight;
    }

    pub(super) fn wake(&mut self, key: WebhookKey, at: Option<Instant>, now: Instant) {
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

    pub(super) fn load(&mut self, key: WebhookKey) {
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

    pub(super) fn fly(&mut self, key: WebhookKey, item: Item) {
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
}
