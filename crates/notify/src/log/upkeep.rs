//! What happens to messages other than attempts: webhooks that come and go, messages that are queued again or given up, and what is
//! too old. Everything that may touch many rows does so in batches, each a transaction of its own, and can be repeated.

use std::{collections::HashSet, time::Duration};

use roadstead_api::registry_webhook::DeliveryState;
use rusqlite::{OptionalExtension, params};

use super::{
    error::LogError,
    schema,
    shared::Row,
    transaction::Transaction,
    types::{Lane, Stats, WebhookKey},
};

/// Which finished messages are to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trim {
    pub webhook: WebhookKey,
    pub state: DeliveryState,
    /// Those finished before this.
    pub before: i64,
    /// And the oldest of those beyond this many.
    pub most: u64,
}

/// Which dead letters are to be queued again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recovery {
    pub uid: String,
    /// Accepted at or after this.
    pub since: i64,
    /// Given up before this: what fails again meanwhile is not recovered twice.
    pub before: i64,
}

impl Transaction<'_> {
    /// Makes a webhook known. Numbers go on where an earlier one of this name stopped, so that names of deliveries stay unique.
    pub fn register(&mut self, uid: &str, namespace: &str, name: &str) -> Result<(), LogError> {
        if self.key_of(uid).is_some() {
            return Ok(());
        }
        let mut select =
            self.connection.prepare_cached("SELECT max(numbered) FROM webhook WHERE namespace = ?1 AND name = ?2")?;
        let numbered: Option<u64> = select.query_row(params![namespace, name], |row| row.get(0))?;
        self.counters.webhook += 1;
        let stats = Stats {
            key: self.counters.webhook,
            uid: uid.into(),
            namespace: namespace.into(),
            name: name.into(),
            pending: 0,
            oldest_pending: None,
            delivered: 0,
            dead_letters: 0,
            failures: 0,
            failing_since: None,
            failing: Duration::ZERO,
            overflowed: 0,
            disabled: None,
            last: None,
            forgotten: false,
        };
        let row = Row { stats, numbered: numbered.unwrap_or(0), kept: 0, cancelled: 0, oldest: None };
        self.staged.reload.insert(row.stats.key);
        self.staged.rows.insert(row.stats.key, row);
        Ok(())
    }

    /// Takes down that a webhook was deleted. Its messages are cancelled by [`sweep`](Self::sweep).
    pub fn forget(&mut self, uid: &str) {
        let Some(key) = self.key_of(uid) else { return };
        if let Some(row) = self.row(key) {
            row.stats.forgotten = true;
            self.staged.reload.insert(key);
            self.staged.sweep = true;
        }
    }

    /// Pending messages of a webhook that is deleted or disabled become cancelled or dead letters, some at a time; of any other the
    /// oldest ones beyond as many as may be pending. How many.
    pub fn sweep(&mut self, key: WebhookKey, limit: u64) -> Result<u64, LogError> {
        let most = self.shared.options.most_pending;
        let Some(row) = self.row(key) else { return Ok(0) };
        let pending = row.stats.pending;
        let state = match (row.stats.forgotten, &row.stats.disabled) {
            (true, _) => DeliveryState::Cancelled,
            (false, Some(_)) => DeliveryState::DeadLetter,
            (false, None) => return self.overflow(key, surplus(pending, most).min(limit)),
        };
        let numbers = self.oldest(key, limit)?;
        for number in &numbers {
            self.close(key, *number, state)?;
        }
        Ok(numbers.len() as u64)
    }

    /// The oldest pending messages become dead letters, and those behind them may go. How many.
    fn overflow(&mut self, key: WebhookKey, count: u64) -> Result<u64, LogError> {
        if count == 0 {
            return Ok(0);
        }
        let mut order_keys = HashSet::new();
        let numbers = self.oldest(key, count)?;
        for number in &numbers {
            order_keys.extend(self.order_key(key, *number)?);
            self.close(key, *number, DeliveryState::DeadLetter)?;
        }
        for order_key in &order_keys {
            self.promote(key, order_key)?;
        }
        if let Some(row) = self.row(key) {
            row.stats.overflowed += numbers.len() as u64;
        }
        // Those that were given up must not go out behind newer ones of their key.
        self.staged.reload.insert(key);
        Ok(numbers.len() as u64)
    }

    fn oldest(&self, key: WebhookKey, limit: u64) -> Result<Vec<u64>, LogError> {
        let sql =
            "SELECT number FROM message INDEXED BY pending WHERE webhook = ?1 AND state = 0 ORDER BY number LIMIT ?2";
        self.numbers(sql, params![key, limit])
    }

    /// Cancels one pending message; the next of its key may go.
    pub fn cancel(&mut self, uid: &str, number: u64) -> Result<(), LogError> {
        let (key, state, order_key) = self.find(uid, number)?;
        if state != DeliveryState::Pending {
            return Ok(());
        }
        self.close(key, number, DeliveryState::Cancelled)?;
        if let Some(order_key) = order_key {
            self.promote(key, &order_key)?;
        }
        self.staged.reload.insert(key);
        Ok(())
    }

    fn close(&mut self, key: WebhookKey, number: u64, state: DeliveryState) -> Result<(), LogError> {
        let position = self.changed(key, number);
        let mut update = self.connection.prepare_cached(
            "UPDATE message SET state = ?3, lane = NULL, finished = ?4, changed = ?5 WHERE webhook = ?1 AND number = ?2",
        )?;
        update.execute(params![key, number, schema::state_number(state), self.now, position])?;
        self.count(key, number, DeliveryState::Pending, state);
        Ok(())
    }

    /// Queues one message again, whatever became of it. It waits for no other: who asks for it wants it now.
    pub fn redeliver(&mut self, uid: &str, number: u64) -> Result<(), LogError> {
        let (key, state, _) = self.find(uid, number)?;
        if self.row(key).is_some_and(|row| row.stats.disabled.is_some()) {
            return Err(LogError::Disabled);
        }
        match state {
            DeliveryState::Pending => {
                // One that waits behind others waits for them no longer.
                let mut update = self.connection.prepare_cached(
                    "UPDATE message SET due = ?3, lane = coalesce(lane, 0),
                     order_key = CASE WHEN lane IS NULL THEN NULL ELSE order_key END
                     WHERE webhook = ?1 AND number = ?2",
                )?;
                update.execute(params![key, number, self.now])?;
            }
            _ => self.requeue(key, number, state, None)?,
        }
        self.staged.reload.insert(key);
        Ok(())
    }

    /// Enables a webhook. The sweep may have given up the first messages of a key and not yet come to those behind them: these go on.
    pub fn enable(&mut self, uid: &str) -> Result<(), LogError> {
        let key = self.key_of(uid).ok_or_else(|| unknown_webhook(uid))?;
        let row = self.row(key).ok_or_else(|| unknown_webhook(uid))?;
        row.stats.overflowed = 0;
        if row.stats.disabled.take().is_none() {
            return Ok(());
        }
        row.stats.failures = 0;
        row.stats.failing_since = None;
        row.stats.failing = Duration::ZERO;
        self.staged.reload.insert(key);
        let mut select = self.connection.prepare_cached(
            "SELECT DISTINCT order_key FROM message INDEXED BY keyed
             WHERE webhook = ?1 AND state = 0 AND order_key IS NOT NULL",
        )?;
        let order_keys = select.query_map([key], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
        order_keys.iter().try_for_each(|order_key| self.promote(key, order_key))
    }

    /// Queues dead letters again, oldest first, some at a time. How many; none of a webhook that is disabled.
    pub fn recover(&mut self, recovery: &Recovery, limit: u64) -> Result<u64, LogError> {
        let key = self.key_of(&recovery.uid).ok_or_else(|| unknown_webhook(&recovery.uid))?;
        let row = self.row(key).ok_or_else(|| unknown_webhook(&recovery.uid))?;
        if row.stats.disabled.is_some() {
            return Ok(0);
        }
        self.staged.reload.insert(key);
        let numbers = self.numbers(
            "SELECT number FROM message INDEXED BY done WHERE webhook = ?1 AND state = 2
             AND finished >= ?2 AND finished < ?3 AND accepted >= ?2 ORDER BY finished, number LIMIT ?4",
            params![key, recovery.since, recovery.before, limit],
        )?;
        for number in &numbers {
            let order_key = self.order_key(key, *number)?;
            self.requeue(key, *number, DeliveryState::DeadLetter, order_key)?;
        }
        Ok(numbers.len() as u64)
    }

    /// Makes a finished message pending, at the start of the schedule.
    fn requeue(
        &mut self,
        key: WebhookKey,
        number: u64,
        from: DeliveryState,
        order_key: Option<String>,
    ) -> Result<(), LogError> {
        let blocked = match &order_key {
            Some(order_key) => self.has_pending(key, order_key)?,
            None => false,
        };
        let lane = (!blocked).then_some(Lane::First.number());
        let position = self.changed(key, number);
        let mut update = self.connection.prepare_cached(
            "UPDATE message SET state = 0, lane = ?3, due = ?4, tries = 0, finished = NULL, order_key = ?5, changed = ?6
             WHERE webhook = ?1 AND number = ?2",
        )?;
        update.execute(params![key, number, lane, self.now, order_key, position])?;
        self.count(key, number, from, DeliveryState::Pending);
        Ok(())
    }

    /// Removes finished messages, oldest first, some at a time, and events that no message needs any more. How many.
    pub fn trim(&mut self, trim: &Trim, limit: u64) -> Result<u64, LogError> {
        let Some(row) = self.row(trim.webhook) else { return Ok(0) };
        let kept = match trim.state {
            DeliveryState::Delivered => row.kept,
            DeliveryState::DeadLetter => row.stats.dead_letters,
            DeliveryState::Cancelled => row.cancelled,
            DeliveryState::Pending => return Ok(0),
        };
        let surplus = kept.saturating_sub(trim.most).min(limit);
        let state = schema::state_number(trim.state);
        let mut numbers = self.numbers(
            "SELECT number FROM message INDEXED BY done WHERE webhook = ?1 AND state = ?2 AND finished < ?3
             ORDER BY finished, number LIMIT ?4",
            params![trim.webhook, state, trim.before, limit],
        )?;
        if surplus > numbers.len() as u64 {
            numbers = self.numbers(
                "SELECT number FROM message INDEXED BY done WHERE webhook = ?1 AND state = ?2
                 AND finished IS NOT NULL ORDER BY finished, number LIMIT ?3",
                params![trim.webhook, state, surplus],
            )?;
        }
        for number in &numbers {
            self.remove(trim.webhook, *number)?;
        }
        let removed = numbers.len() as u64;
        if let Some(row) = self.row(trim.webhook) {
            let counter = match trim.state {
                DeliveryState::Delivered => &mut row.kept,
                DeliveryState::DeadLetter => &mut row.stats.dead_letters,
                DeliveryState::Cancelled => &mut row.cancelled,
                DeliveryState::Pending => &mut row.stats.pending,
            };
            *counter = counter.saturating_sub(removed);
        }
        Ok(removed)
    }

    fn remove(&mut self, key: WebhookKey, number: u64) -> Result<(), LogError> {
        // Not more on disk, but something to measure.
        self.staged.bytes += 1;
        let mut delete =
            self.connection.prepare_cached("DELETE FROM message WHERE webhook = ?1 AND number = ?2 RETURNING event")?;
        let Some(event) = delete.query_row(params![key, number], |row| row.get::<_, i64>(0)).optional()? else {
            return Ok(());
        };
        let mut count = self
            .connection
            .prepare_cached("UPDATE event SET messages = messages - 1 WHERE key = ?1 RETURNING messages")?;
        let left: Option<i64> = count.query_row(params![event], |row| row.get(0)).optional()?;
        if left == Some(0) {
            self.connection.prepare_cached("DELETE FROM event WHERE key = ?1")?.execute(params![event])?;
        }
        Ok(())
    }

    /// Removes a deleted webhook of which nothing is left.
    pub fn drop_row(&mut self, key: WebhookKey) -> Result<(), LogError> {
        let empty = self.row(key).is_some_and(|row| row.stats.forgotten && is_empty(row));
        if empty {
            self.connection.execute("DELETE FROM webhook WHERE key = ?1", params![key])?;
            self.staged.removed.push(key);
            self.staged.reload.insert(key);
        }
        Ok(())
    }

    fn find(&self, uid: &str, number: u64) -> Result<(WebhookKey, DeliveryState, Option<String>), LogError> {
        let key = self.key_of(uid).ok_or_else(|| unknown_webhook(uid))?;
        let mut select = self
            .connection
            .prepare_cached("SELECT state, order_key FROM message WHERE webhook = ?1 AND number = ?2")?;
        let found = select.query_row(params![key, number], |row| Ok((schema::state_of(row.get(0)?), row.get(1)?)));
        let (state, order_key) = found.optional()?.ok_or_else(|| LogError::Unknown(format!("message {number}")))?;
        Ok((key, state, order_key))
    }

    fn order_key(&self, key: WebhookKey, number: u64) -> Result<Option<String>, LogError> {
        let mut select =
            self.connection.prepare_cached("SELECT order_key FROM message WHERE webhook = ?1 AND number = ?2")?;
        Ok(select.query_row(params![key, number], |row| row.get(0)).optional()?.flatten())
    }

    fn numbers(&self, sql: &str, values: impl rusqlite::Params) -> Result<Vec<u64>, LogError> {
        let mut select = self.connection.prepare_cached(sql)?;
        let rows = select.query_map(values, |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// How many messages are to be given up where so many are pending: a hundredth of the most beyond what is over, so that it is not done
/// anew for each further one.
pub(super) fn surplus(pending: u64, most: u64) -> u64 {
    match pending.checked_sub(most) {
        None | Some(0) => 0,
        Some(over) => over + most / 100,
    }
}

/// Whether a webhook has no messages.
pub(super) fn is_empty(row: &Row) -> bool {
    row.stats.pending == 0 && row.kept == 0 && row.cancelled == 0 && row.stats.dead_letters == 0
}

fn unknown_webhook(uid: &str) -> LogError {
    LogError::Unknown(format!("webhook {uid}"))
}
