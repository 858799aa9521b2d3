//! The part of a lane that is in memory: the messages that may be sent first. What is beyond stays in the log.
//!
//! `more` says that the log has ready messages that are not here. Those are never due before the last one here, so nothing is
//! overtaken for long; when few are left, the runner reads again.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Instant,
};

use crate::delivery::Message;

/// A message in memory.
#[derive(Clone, Debug)]
pub struct Item {
    /// When it may be sent.
    pub due: Instant,
    /// Attempts since it was last queued.
    pub tries: u32,
    /// The message.
    pub message: Arc<Message>,
}

/// A bounded, ordered set of messages.
#[derive(Clone, Debug)]
pub struct Window {
    items: BTreeMap<(Instant, u64), Item>,
    numbers: HashSet<u64>,
    capacity: usize,
    more: bool,
    loading: bool,
    /// Recorded while a read is under way: what is read about them may be older.
    settled: HashSet<u64>,
    /// What was read waits for an outcome: reading before that would tell no more.
    doubtful: bool,
}

impl Window {
    /// An empty one that has everything to read yet.
    pub fn new(capacity: usize) -> Self {
        Self {
            items: BTreeMap::new(),
            numbers: HashSet::new(),
            capacity,
            more: true,
            loading: false,
            settled: HashSet::new(),
            doubtful: false,
        }
    }

    /// The message that may be sent first.
    pub fn first(&self) -> Option<&Item> {
        self.items.values().next()
    }

    /// Whether a message is here.
    pub fn contains(&self, number: u64) -> bool {
        self.numbers.contains(&number)
    }

    /// Takes the first message.
    pub fn pop(&mut self) -> Option<Item> {
        let (_, item) = self.items.pop_first()?;
        self.numbers.remove(&item.message.number);
        Some(item)
    }

    /// A message that has just become ready. It is left to the log if there is no room, or if others that are not here come first.
    pub fn add(&mut self, item: Item) {
        if self.numbers.contains(&item.message.number) {
            return;
        }
        let key = (item.due, item.message.number);
        let overtakes = self.items.last_key_value().is_some_and(|(last, _)| key < *last);
        if overtakes || (!self.more && self.items.len() < self.capacity) {
            self.numbers.insert(item.message.number);
            self.items.insert(key, item);
        } else {
            self.more = true;
        }
        if self.items.len() > self.capacity
            && let Some((_, last)) = self.items.pop_last()
        {
            self.numbers.remove(&last.message.number);
            self.more = true;
        }
    }

    /// The log has messages that are not here.
    pub fn note_more(&mut self) {
        self.more = true;
    }

    /// Whether it is time to read from the log.
    pub fn wants(&self) -> bool {
        self.more && !self.loading && self.items.len() <= self.capacity / 4
    }

    /// A read begins; how many to read beside those that are known.
    pub fn begin_load(&mut self) -> usize {
        self.loading = true;
        self.more = false;
        self.settled.clear();
        self.capacity + self.items.len()
    }

    /// A read has ended.
    pub fn end_load(&mut self, items: Vec<Item>, more: bool) {
        self.loading = false;
        self.settled.clear();
        for item in items {
            if self.numbers.insert(item.message.number) {
                self.items.insert((item.due, item.message.number), item);
            }
        }
        self.more |= more;
        while self.items.len() > self.capacity
            && let Some((_, last)) = self.items.pop_last()
        {
            self.numbers.remove(&last.message.number);
            self.more = true;
        }
    }

    /// Forgets everything: it is to be read again. A read that is under way is worthless; its end is not to be told.
    pub fn clear(&mut self) {
        *self = Self::new(self.capacity);
    }

    /// Sets how much is kept.
    pub fn resize(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// Takes down that the outcome of a message is on disk: what was doubtful can be read now.
    pub fn settle(&mut self, number: u64) {
        if self.loading {
            self.settled.insert(number);
        }
        self.more |= std::mem::take(&mut self.doubtful);
    }

    /// Whether the outcome of a message came to disk while it was being read.
    pub fn is_settled(&self, number: u64) -> bool {
        self.settled.contains(&number)
    }

    /// Takes down that the read met a message whose outcome is not on disk: to be read again when it is.
    pub fn doubt(&mut self) {
        self.doubtful = true;
    }

    /// Whether nothing is here, and nothing is being read.
    pub fn is_idle(&self) -> bool {
        self.items.is_empty() && !self.loading
    }

    /// How many messages are here.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.items.len()
    }
}
