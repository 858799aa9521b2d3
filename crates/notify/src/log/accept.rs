//! New messages: numbered, stored beside their event, and ready at once unless one of their key is before them.

use std::{collections::HashMap, sync::Arc};

use roadstead_api::registry_webhook::DeliveryState;
use rusqlite::params;

use super::{
    error::LogError,
    schema,
    transaction::{Transaction, fingerprint, message_id},
    types::{Lane, StoredEvent, WebhookKey},
};
use crate::delivery::{Event, Message, NewMessage};

impl Transaction<'_> {
    /// Queues messages, and moves the cursor of their source. Those that are known, and those of webhooks that are gone, are
    /// passed over. How many were new.
    pub fn accept(&mut self, source: Option<(String, u64)>, messages: &[NewMessage]) -> Result<u64, LogError> {
        let mut new = 0;
        for (event, receivers) in by_event(messages) {
            new += self.accept_event(event, &receivers)?;
        }
        if let Some((source, through)) = source {
            let known = super::shared::lock(&self.shared.cursors).get(&source).copied();
            let cursor = self.staged.cursors.entry(source).or_insert(known);
            *cursor = Some(through.max(cursor.unwrap_or(0)));
        }
        Ok(new)
    }

    /// One event and those who are told. The event is stored once, if at all.
    fn accept_event(&mut self, event: &Arc<Event>, receivers: &[&NewMessage]) -> Result<u64, LogError> {
        let (event_key, fingerprint) = (self.counters.event + 1, fingerprint(event));
        let mut new = 0;
        for receiver in receivers {
            let Some(key) = self.key_of(&receiver.webhook) else { continue };
            if self.accept_one(key, event_key, &fingerprint, receiver)? {
                new += 1;
            }
        }
        if new > 0 {
            let body = serde_json::to_string(&StoredEvent::from(&**event))
                .map_err(|error| LogError::Storage(error.to_string()))?;
            let mut insert = self.connection.prepare_cached("INSERT INTO event VALUES (?1, ?2, ?3)")?;
            insert.execute(params![event_key, new, body])?;
            self.counters.event = event_key;
            self.staged.bytes += body.len() as u64 + 64 + new * 256;
        }
        Ok(new)
    }

    /// Whether the message was new.
    fn accept_one(
        &mut self,
        key: WebhookKey,
        event_key: i64,
        fingerprint: &[u8],
        new: &NewMessage,
    ) -> Result<bool, LogError> {
        let Some(row) = self.row(key).filter(|row| !row.stats.forgotten) else { return Ok(false) };
        let (number, uid) = (row.numbered + 1, row.stats.uid.clone());
        let (disabled, idle) = (row.stats.disabled.is_some(), row.stats.pending == 0);
        // What a disabled webhook misses is kept as dead letters, for whoever enables it again.
        let state = if disabled { DeliveryState::DeadLetter } else { DeliveryState::Pending };
        let order_key = new.key.as_deref();
        let blocked = match order_key {
            Some(order_key) if !idle && !disabled => self.has_pending(key, order_key)?,
            _ => false,
        };
        let lane = (!disabled && !blocked).then_some(Lane::First);
        let position = self.counters.position + 1;
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO message VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, 0, 0, ?9, ?10, ?10, '[]')
             ON CONFLICT (fingerprint, webhook) DO NOTHING",
        )?;
        let inserted = insert.execute(params![
            key,
            number,
            event_key,
            fingerprint,
            order_key,
            schema::state_number(state),
            lane.map(Lane::number),
            self.now,
            disabled.then_some(self.now),
            position,
        ])?;
        if inserted == 0 {
            return Ok(false);
        }
        self.changed(key, number);
        let accepted_at = schema::time_of(self.now);
        let (most, mut overflows) = (self.shared.options.most_pending, false);
        if let Some(row) = self.row(key) {
            row.numbered = number;
            if disabled {
                row.stats.dead_letters += 1;
            } else {
                row.stats.pending += 1;
                overflows = row.stats.pending > most;
                if row.oldest.is_none() {
                    row.oldest = Some(number);
                    row.stats.oldest_pending = Some(accepted_at);
                }
            }
        }
        self.staged.sweep |= overflows;
        if lane.is_some() {
            let message = Message {
                number,
                id: message_id(&uid, &new.event, number),
                webhook: uid,
                key: new.key.clone(),
                event: new.event.clone(),
                accepted_at,
                attempts: 0,
            };
            self.ready(key, Lane::First, self.now, 0, message);
        }
        Ok(true)
    }

    /// Whether a message of this key waits or is being sent.
    pub fn has_pending(&self, key: WebhookKey, order_key: &str) -> Result<bool, LogError> {
        let mut select = self.connection.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM message INDEXED BY keyed WHERE webhook = ?1 AND order_key = ?2 AND state = 0)",
        )?;
        Ok(select.query_row(params![key, order_key], |row| row.get(0))?)
    }
}

/// Messages grouped by the event that they share, in the order of the events.
fn by_event(messages: &[NewMessage]) -> Vec<(&Arc<Event>, Vec<&NewMessage>)> {
    let mut groups: Vec<(&Arc<Event>, Vec<&NewMessage>)> = Vec::new();
    let mut index: HashMap<*const Event, usize> = HashMap::new();
    for message in messages {
        let at = *index.entry(Arc::as_ptr(&message.event)).or_insert_with(|| {
            groups.push((&message.event, Vec::new()));
            groups.len() - 1
        });
        groups[at].1.push(message);
    }
    groups
}
