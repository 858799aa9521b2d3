//! Webhooks that come, change and go, and what the log tells about their messages.

use std::{sync::PoisonError, time::Instant};

use jiff::Timestamp;

use super::{Entry, Run, entry::health, now};
use crate::{
    log::{Lane, LogError, News, Ready, WebhookKey},
    queue::{
        places::Weight,
        plan::{Queue, due_at},
        window::Item,
    },
};

impl Run {
    /// Applies `change` to a webhook, and has it asked.
    pub(super) fn with(&mut self, key: WebhookKey, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        change(entry);
        if !entry.queued {
            entry.queued = true;
            self.ring.push_back(key);
        }
    }

    /// Takes a webhook in, if it is not.
    pub(super) fn enter(&mut self, key: WebhookKey) {
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

    pub(super) fn configure(&mut self, key: WebhookKey) {
        let Some(entry) = self.entries.get(&key) else { return };
        let limits = self.table.get(&entry.uid).filter(|_| entry.held);
        self.with(key, |entry| entry.queue.configure(limits));
    }

    pub(super) fn rehold(&mut self) {
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

    pub(super) fn hear(&mut self, news: News) {
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

    /// Has those read again of which messages are pending and none is known here. That is never so for longer than news of the
    /// log take, unless news were lost.
    pub(super) fn recheck(&mut self) {
        let idle = self.entries.iter().filter(|(_, entry)| entry.queue.is_idle()).map(|(key, _)| *key);
        let left: Vec<WebhookKey> =
            idle.filter(|key| self.log.stats_of(*key).is_some_and(|stats| stats.pending > 0)).collect();
        for key in left {
            self.with(key, |entry| entry.queue.note_more());
        }
    }

    /// A webhook of which nothing is left.
    pub(super) fn leave(&mut self, key: WebhookKey) {
        if self.entries.get(&key).is_some_and(|entry| entry.queue.is_quiet())
            && let Some(entry) = self.entries.remove(&key)
        {
            self.places.replace(entry.weight, Weight::default());
            self.broken -= usize::from(entry.broken);
        }
    }

    /// A message as the planner has it.
    pub(super) fn item(&self, ready: &Ready, now: Instant, wall: Timestamp) -> Item {
        let due = due_at(ready.due, (now, wall), &self.options.schedule);
        Item { due, tries: ready.tries, message: ready.message.clone() }
    }

    pub(super) fn loaded(
        &mut self,
        key: WebhookKey,
        generation: u64,
        lane: Lane,
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
}
