//! One transaction of the writer: what several callers asked for, on disk together or not at all.
//!
//! It works on copies of the webhooks it touches. [`Transaction::finish`] writes them; after the commit [`Staged`] carries them, the changes
//! and the news over into memory. If anything fails all of it is thrown away.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    error::LogError,
    schema,
    shared::{Row, Shared, lock},
    types::{Changed, Ready, Stats, StoredEvent, WebhookKey},
};
use crate::delivery::{Event, Message};

/// The first pending message of a key (webhook, key).
pub(super) const NEXT_OF_KEY: &str = "SELECT m.number, m.lane IS NULL, m.accepted, m.attempt, m.tries, e.body
     FROM message m INDEXED BY keyed JOIN event e ON e.key = m.event
     WHERE m.webhook = ?1 AND m.order_key = ?2 AND m.state = 0 ORDER BY m.number LIMIT 1";

/// The oldest pending message (webhook).
pub(super) const OLDEST: &str = "SELECT number, accepted FROM message INDEXED BY pending
     WHERE webhook = ?1 AND state = 0 ORDER BY number LIMIT 1";

/// What a commit carries over into memory.
#[derive(Default)]
pub(super) struct Staged {
    pub rows: HashMap<WebhookKey, Row>,
    pub removed: Vec<WebhookKey>,
    /// `None`: it is removed.
    pub cursors: HashMap<String, Option<u64>>,
    pub changes: Vec<Changed>,
    pub ready: Vec<(WebhookKey, Ready)>,
    pub reload: HashSet<WebhookKey>,
    /// Bytes added, about.
    pub bytes: u64,
    /// Whether the janitor has pending messages to sweep.
    pub sweep: bool,
}

/// Numbers that the writer gives, beyond those of webhooks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counters {
    /// The last position.
    pub position: u64,
    /// The last event's key.
    pub event: i64,
    /// The last webhook's key.
    pub webhook: WebhookKey,
}

/// A transaction in the making.
pub(super) struct Transaction<'a> {
    pub connection: &'a Connection,
    pub shared: &'a Shared,
    pub counters: Counters,
    pub staged: Staged,
    /// Webhooks whose oldest pending message is to be looked up.
    pub stale: HashSet<WebhookKey>,
    pub now: i64,
}

impl<'a> Transaction<'a> {
    pub fn begin(connection: &'a Connection, shared: &'a Shared, counters: Counters) -> Result<Self, LogError> {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let (staged, stale) = (Staged::default(), HashSet::new());
        Ok(Self { connection, shared, counters, staged, stale, now: schema::now() })
    }

    /// The copy of a webhook that this transaction changes.
    pub fn row(&mut self, key: WebhookKey) -> Option<&mut Row> {
        if !self.staged.rows.contains_key(&key) {
            let row = self.shared.row(key)?;
            self.staged.rows.insert(key, row);
        }
        self.staged.rows.get_mut(&key).filter(|_| !self.staged.removed.contains(&key))
    }

    pub fn key_of(&self, uid: &str) -> Option<WebhookKey> {
        let staged = || self.staged.rows.values().find(|row| row.stats.uid == uid).map(|row| row.stats.key);
        self.shared.key_of(uid).or_else(staged)
    }

    /// Takes down that a message changed; its position.
    pub fn changed(&mut self, webhook: WebhookKey, number: u64) -> u64 {
        self.counters.position += 1;
        self.staged.changes.push(Changed { position: self.counters.position, webhook, number });
        self.counters.position
    }

    /// Lets the next message of a key go, if none of it is ready.
    pub fn promote(&mut self, key: WebhookKey, order_key: &str) -> Result<(), LogError> {
        let mut next = self.connection.prepare_cached(NEXT_OF_KEY)?;
        let found = next.query_row(params![key, order_key], |row| {
            let waits: bool = row.get(1)?;
            let head = (row.get::<_, u64>(0)?, row.get::<_, i64>(2)?, row.get::<_, u32>(3)?, row.get::<_, u32>(4)?);
            Ok((waits, head, row.get::<_, String>(5)?))
        });
        let Some((true, (number, accepted, attempts, tries), body)) = found.optional()? else { return Ok(()) };
        let mut update = self
            .connection
            .prepare_cached("UPDATE message SET lane = 0, due = ?3 WHERE webhook = ?1 AND number = ?2")?;
        update.execute(params![key, number, self.now])?;
        let Some(uid) = self.row(key).map(|row| row.stats.uid.clone()) else { return Ok(()) };
        let event = Arc::new(parse_event(&body)?);
        let message = Message {
            number,
            id: message_id(&uid, &event, number),
            webhook: uid,
            key: Some(order_key.into()),
            event,
            accepted_at: schema::time_of(accepted),
            attempts,
        };
        self.ready(key, super::types::Lane::First, self.now, tries, message);
        Ok(())
    }

    /// Announces a message that may be sent.
    pub fn ready(&mut self, key: WebhookKey, lane: super::types::Lane, due: i64, tries: u32, message: Message) {
        let ready = Ready { lane, due: schema::time_of(due), tries, message: Arc::new(message) };
        self.staged.ready.push((key, ready));
    }

    /// Writes what was staged; everything but the commit itself.
    pub fn finish(mut self) -> Result<(Counters, Staged), LogError> {
        for key in std::mem::take(&mut self.stale) {
            let mut oldest = self.connection.prepare_cached(OLDEST)?;
            let found = oldest.query_row(params![key], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?))).optional()?;
            if let Some(row) = self.row(key) {
                row.oldest = found.map(|(number, _)| number);
                row.stats.oldest_pending = found.map(|(_, accepted)| schema::time_of(accepted));
            }
        }
        for row in self.staged.rows.values().filter(|row| !self.staged.removed.contains(&row.stats.key)) {
            save(self.connection, row)?;
        }
        for (source, position) in &self.staged.cursors {
            match position {
                Some(position) => {
                    let mut put = self.connection.prepare_cached("INSERT OR REPLACE INTO cursor VALUES (?1, ?2)")?;
                    put.execute(params![source, position])?
                }
                None => self.connection.execute("DELETE FROM cursor WHERE source = ?1", [source])?,
            };
        }
        if !self.staged.changes.is_empty() {
            let mut put = self.connection.prepare_cached("INSERT OR REPLACE INTO meta VALUES ('position', ?1)")?;
            put.execute(params![self.counters.position])?;
        }
        Ok((self.counters, self.staged))
    }
}

impl Staged {
    /// After the commit: memory takes over, then listeners hear of it.
    pub fn publish(self, shared: &Shared) {
        {
            let mut rows = lock(&shared.rows);
            for (_, row) in self.rows {
                rows.put(row);
            }
            for key in &self.removed {
                rows.remove(*key);
            }
        }
        {
            let mut cursors = lock(&shared.cursors);
            for (source, position) in self.cursors {
                match position {
                    Some(position) => drop(cursors.insert(source, position)),
                    None => drop(cursors.remove(&source)),
                }
            }
        }
        shared.feed.publish(&self.changes);
        if !self.ready.is_empty() || !self.reload.is_empty() {
            shared.tell(|notices| notices.post(&self.ready, &self.reload));
        }
    }
}

/// Id of a message: the same for each attempt and each repetition, different for each message. Never has a dot, which separates
/// the parts that are signed.
pub(super) fn message_id(uid: &str, event: &Event, number: u64) -> String {
    let digest = digest(&[uid, &event.origin, &event.id, &number.to_string()]);
    let hex: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("msg_{hex}")
}

/// What makes an event the same for one webhook: its origin and id.
pub(super) fn fingerprint(event: &Event) -> Vec<u8> {
    digest(&[&event.origin, &event.id])[..16].to_vec()
}

fn digest(parts: &[&str]) -> Vec<u8> {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        // Lengths keep `a, bc` and `ab, c` apart.
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    context.finish().as_ref().to_vec()
}

pub(super) fn parse_event(body: &str) -> Result<Event, LogError> {
    let stored: StoredEvent = serde_json::from_str(body)
        .map_err(|error| LogError::Storage(format!("an event in the delivery log cannot be read: {error}")))?;
    Ok(stored.into())
}

const COLUMNS: &str = "key, uid, namespace, name, numbered, pending, delivered, kept, dead, cancelled, failures, failing_since, \
     disabled_at, disabled_for, forgotten, last_number, last_at, last_success, last_text, failing, overflowed";

fn save(connection: &Connection, row: &Row) -> Result<(), LogError> {
    let stats = &row.stats;
    let micros = |time: Option<jiff::Timestamp>| time.map(|time| time.as_microsecond());
    let last = stats.last.as_ref();
    let mut put = connection.prepare_cached(
        "INSERT OR REPLACE INTO webhook VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,
         ?21)",
    )?;
    put.execute(params![
        stats.key,
        stats.uid,
        stats.namespace,
        stats.name,
        row.numbered,
        stats.pending,
        stats.delivered,
        row.kept,
        stats.dead_letters,
        row.cancelled,
        stats.failures,
        micros(stats.failing_since),
        stats.disabled.as_ref().map(|(at, _)| at.as_microsecond()),
        stats.disabled.as_ref().map(|(_, reason)| reason),
        stats.forgotten,
        last.map(|last| last.number),
        last.map(|last| last.at.as_microsecond()),
        last.map(|last| last.success),
        last.map(|last| &last.text),
        i64::try_from(stats.failing.as_micros()).unwrap_or(i64::MAX),
        stats.overflowed,
    ])?;
    Ok(())
}

/// All webhooks, with their oldest pending messages.
pub(super) fn load_rows(connection: &Connection) -> Result<Vec<Row>, LogError> {
    let mut select = connection.prepare(&format!(
        "SELECT {COLUMNS}, (SELECT min(number) FROM message INDEXED BY pending WHERE webhook = key AND state = 0)
         FROM webhook"
    ))?;
    let rows = select.query_map([], |row| {
        let time = |index| row.get::<_, Option<i64>>(index).map(|time| time.map(schema::time_of));
        let last = match (row.get(15)?, time(16)?) {
            (Some(number), Some(at)) => {
                Some(super::types::LastAttempt { number, at, success: row.get(17)?, text: row.get(18)? })
            }
            _ => None,
        };
        let stats = Stats {
            key: row.get(0)?,
            uid: row.get(1)?,
            namespace: row.get(2)?,
            name: row.get(3)?,
            pending: row.get(5)?,
            oldest_pending: None,
            delivered: row.get(6)?,
            dead_letters: row.get(8)?,
            failures: row.get(10)?,
            failing_since: time(11)?,
            failing: Duration::from_micros(row.get(19)?),
            overflowed: row.get(20)?,
            disabled: time(12)?.zip(row.get(13)?),
            forgotten: row.get(14)?,
            last,
        };
        Ok(Row { stats, numbered: row.get(4)?, kept: row.get(7)?, cancelled: row.get(9)?, oldest: row.get(21)? })
    })?;
    let mut rows = rows.collect::<Result<Vec<Row>, _>>()?;
    let mut accepted = connection.prepare("SELECT accepted FROM message WHERE webhook = ?1 AND number = ?2")?;
    for row in &mut rows {
        if let Some(number) = row.oldest {
            let at: i64 = accepted.query_row(params![row.stats.key, number], |row| row.get(0))?;
            row.stats.oldest_pending = Some(schema::time_of(at));
        }
    }
    Ok(rows)
}
