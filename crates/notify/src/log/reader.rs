//! Reading beside the writer: bounded in concurrency and in what one call looks at. Runs on blocking threads.

use std::sync::{Arc, Mutex};

use roadstead_api::registry_webhook::DeliveryState;
use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::Semaphore;

use super::{
    error::LogError,
    files, schema,
    shared::{SharedRef, lock},
    transaction::{message_id, parse_event},
    types::{Delivery, Lane, Page, Place, Ready, Selection, WebhookKey},
};
use crate::delivery::Message;

/// The reading connections.
pub(super) struct Readers {
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub fn new(at_once: usize) -> Arc<Self> {
        Arc::new(Self { idle: Mutex::default(), permits: Arc::new(Semaphore::new(at_once)) })
    }

    /// Runs `query` on a blocking thread, when one of the permits is free.
    pub async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        shared: &SharedRef,
        query: impl FnOnce(&Connection) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| LogError::Closed)?;
        let (readers, path) = (self.clone(), shared.path.clone());
        let task = tokio::task::spawn_blocking(move || {
            let idle = lock(&readers.idle).pop();
            let connection = idle.map_or_else(|| files::connect_reader(&path), Ok)?;
            let result = query(&connection)?;
            lock(&readers.idle).push(connection);
            drop(permit);
            Ok(result)
        });
        task.await.map_err(|error| LogError::Storage(format!("reading failed: {error}")))?
    }
}

/// A row of a ready message.
pub(super) struct RawReady {
    number: u64,
    lane: i64,
    due: i64,
    accepted: i64,
    attempts: u32,
    tries: u32,
    order_key: Option<String>,
    body: String,
}

impl RawReady {
    /// One message (webhook, number).
    pub const ONE: &'static str = "SELECT m.number, m.lane, m.due, m.accepted, m.attempt, m.tries, m.order_key, e.body
         FROM message m JOIN event e ON e.key = m.event WHERE m.webhook = ?1 AND m.number = ?2 AND m.lane IS NOT NULL";

    pub fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            number: row.get(0)?,
            lane: row.get(1)?,
            due: row.get(2)?,
            accepted: row.get(3)?,
            attempts: row.get(4)?,
            tries: row.get(5)?,
            order_key: row.get(6)?,
            body: row.get(7)?,
        })
    }

    pub fn build(self, uid: &str) -> Result<Ready, LogError> {
        let event = Arc::new(parse_event(&self.body)?);
        let message = Message {
            number: self.number,
            id: message_id(uid, &event, self.number),
            webhook: uid.into(),
            key: self.order_key,
            event,
            accepted_at: schema::time_of(self.accepted),
            attempts: self.attempts,
        };
        let lane = if self.lane == Lane::Retry.number() { Lane::Retry } else { Lane::First };
        Ok(Ready { lane, due: schema::time_of(self.due), tries: self.tries, message: Arc::new(message) })
    }
}

/// The first ready messages (webhook, lane, how many).
pub(super) const READY: &str = "SELECT m.number, m.lane, m.due, m.accepted, m.attempt, m.tries, m.order_key, e.body
     FROM message m INDEXED BY ready JOIN event e ON e.key = m.event
     WHERE m.webhook = ?1 AND m.lane = ?2 ORDER BY m.due, m.number LIMIT ?3";

/// The first `limit` ready messages of a lane, by the time when they may be sent. Reads so many entries of an index, whatever waits.
pub(super) fn ready(
    connection: &Connection,
    key: WebhookKey,
    uid: &str,
    lane: Lane,
    limit: usize,
) -> Result<Vec<Ready>, LogError> {
    let mut select = connection.prepare_cached(READY)?;
    let rows = select.query_map(params![key, lane.number(), limit as u64], RawReady::read)?;
    rows.map(|row| row?.build(uid)).collect()
}

/// What a page needs to know of a webhook.
#[derive(Clone)]
pub(super) struct Owner {
    pub key: WebhookKey,
    pub uid: String,
    pub namespace: String,
    pub name: String,
}

const DELIVERY: &str =
    "m.number, m.state, m.lane, m.due, m.accepted, m.attempt, m.order_key, m.history, m.born, m.changed, e.body";

fn delivery(row: &Row<'_>, owner: &Owner) -> rusqlite::Result<Result<Delivery, LogError>> {
    let (number, state) = (row.get(0)?, schema::state_of(row.get(1)?));
    let lane: Option<i64> = row.get(2)?;
    let due: i64 = row.get(3)?;
    let accepted: i64 = row.get(4)?;
    let (attempts, key, history): (u32, Option<String>, String) = (row.get(5)?, row.get(6)?, row.get(7)?);
    let (born, changed, body): (u64, u64, String) = (row.get(8)?, row.get(9)?, row.get(10)?);
    let built = || {
        let event = Arc::new(parse_event(&body)?);
        let message = Message {
            number,
            id: message_id(&owner.uid, &event, number),
            webhook: owner.uid.clone(),
            key,
            event,
            accepted_at: schema::time_of(accepted),
            attempts,
        };
        Ok(Delivery {
            namespace: owner.namespace.clone(),
            webhook: owner.name.clone(),
            key: owner.key,
            message,
            state,
            next_attempt: (state == DeliveryState::Pending && lane.is_some()).then(|| schema::time_of(due)),
            history: serde_json::from_str(&history)
                .map_err(|error| LogError::Storage(format!("attempts in the delivery log cannot be read: {error}")))?,
            born,
            changed,
        })
    };
    Ok(built())
}

/// One message.
pub(super) fn one(connection: &Connection, owner: &Owner, number: u64) -> Result<Option<Delivery>, LogError> {
    let mut select = connection.prepare_cached(&format!(
        "SELECT {DELIVERY} FROM message m JOIN event e ON e.key = m.event WHERE m.webhook = ?1 AND m.number = ?2"
    ))?;
    select.query_row(params![owner.key, number], |row| delivery(row, owner)).optional()?.transpose()
}

/// Messages of `owners` (by key) after `after`.
pub(super) fn page(
    connection: &Connection,
    owners: &[Owner],
    selection: &Selection,
    after: Place,
    limit: usize,
) -> Result<Page, LogError> {
    let mut page = Page::default();
    let state = selection.state.map(schema::state_number);
    // By state an index gives the numbers: one dead letter among a million messages is found at once.
    let numbers = match selection.state {
        None => "",
        Some(DeliveryState::Pending) => {
            "AND m.number IN (SELECT number FROM message INDEXED BY pending
                 WHERE webhook = ?1 AND state = 0 AND number > ?2 ORDER BY number LIMIT ?4)"
        }
        Some(_) => {
            "AND m.number IN (SELECT number FROM message INDEXED BY done
                 WHERE webhook = ?1 AND state = ?3 AND finished IS NOT NULL AND number > ?2 ORDER BY number LIMIT ?4)"
        }
    };
    let mut select = connection.prepare_cached(&format!(
        "SELECT {DELIVERY} FROM message m JOIN event e ON e.key = m.event
         WHERE m.webhook = ?1 AND m.number > ?2 AND (?3 IS NULL OR m.state = ?3) {numbers} ORDER BY m.number LIMIT ?4"
    ))?;
    for owner in owners.iter().filter(|owner| owner.key >= after.webhook) {
        let number = if owner.key == after.webhook { after.number } else { 0 };
        // One more than wanted tells whether there is another page.
        let room = limit + 1 - page.deliveries.len();
        let rows = select.query_map(params![owner.key, number, state, room as u64], |row| delivery(row, owner))?;
        for row in rows {
            page.deliveries.push(row??);
        }
        if page.deliveries.len() > limit {
            page.deliveries.truncate(limit);
            page.next = page.deliveries.last().map(|last| Place { webhook: last.key, number: last.message.number });
            break;
        }
    }
    Ok(page)
}
