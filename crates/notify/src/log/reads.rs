//! Everything that reads: cursors and numbers from memory, messages from the file.

use std::{collections::HashMap, sync::Arc};

use rusqlite::Connection;
use tokio::sync::watch;

use super::{
    DeliveryLog,
    error::LogError,
    notices::Notices,
    reader::{self, Owner},
    shared::{Row, lock},
    types::{Changed, Delivery, Lane, Page, Place, Ready, Selection, Stats, Totals, WebhookKey},
};

impl DeliveryLog {
    /// How far a source has been accepted; `None` if nothing ever was.
    pub fn cursor(&self, source: &str) -> Option<u64> {
        lock(&self.shared.cursors).get(source).copied()
    }

    /// All cursors.
    pub fn cursors(&self) -> HashMap<String, u64> {
        lock(&self.shared.cursors).clone()
    }

    /// A webhook in numbers; `None` if it is not known.
    pub fn stats(&self, uid: &str) -> Option<Stats> {
        let rows = lock(&self.shared.rows);
        rows.by_uid.get(uid).and_then(|key| rows.by_key.get(key)).map(|row| row.stats.clone())
    }

    /// Likewise by its key.
    pub fn stats_of(&self, key: WebhookKey) -> Option<Stats> {
        lock(&self.shared.rows).by_key.get(&key).map(|row| row.stats.clone())
    }

    /// All webhooks in numbers, deleted ones of which something is kept among them.
    pub fn webhooks(&self) -> Vec<Stats> {
        self.shared.all().into_iter().map(|row| row.stats).collect()
    }

    /// The log in numbers.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals { bytes: self.shared.file_bytes(), ..Totals::default() };
        for row in lock(&self.shared.rows).by_key.values() {
            totals.pending += row.stats.pending;
            totals.dead_letters += row.stats.dead_letters;
            totals.overflowed += row.stats.overflowed;
            totals.disabled += u64::from(row.stats.disabled.is_some() && !row.stats.forgotten);
        }
        totals
    }

    /// The first ready messages of a webhook's lane, by the time when they may be sent, at most `limit`. Messages that are being sent
    /// are among them: nothing is written before an attempt.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn ready(&self, key: WebhookKey, lane: Lane, limit: usize) -> Result<Vec<Ready>, LogError> {
        let Some(row) = self.shared.row(key) else { return Ok(Vec::new()) };
        let query = move |connection: &Connection| reader::ready(connection, key, &row.stats.uid, lane, limit);
        self.readers.run(&self.shared, query).await
    }

    /// A mailbox that is told of what becomes ready from now on, for a runner.
    pub fn listen(&self) -> Arc<Notices> {
        let notices = Notices::new();
        lock(&self.shared.listeners).push(Arc::downgrade(&notices));
        notices
    }

    /// One message, by its webhook's name and its number.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn get(&self, namespace: &str, webhook: &str, number: u64) -> Result<Option<Delivery>, LogError> {
        let owners =
            self.owners(&Selection { namespace: Some(namespace.into()), webhook: Some(webhook.into()), state: None });
        let query = move |connection: &Connection| {
            for owner in &owners {
                if let Some(delivery) = reader::one(connection, owner, number)? {
                    return Ok(Some(delivery));
                }
            }
            Ok(None)
        };
        self.readers.run(&self.shared, query).await
    }

    /// Messages by webhook and number, after a place, at most `limit`.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn page(&self, selection: &Selection, after: Place, limit: usize) -> Result<Page, LogError> {
        let (owners, selection) = (self.owners(selection), selection.clone());
        let query = move |connection: &Connection| reader::page(connection, &owners, &selection, after, limit.max(1));
        self.readers.run(&self.shared, query).await
    }

    /// Position of the last change; grows over restarts.
    pub fn head(&self) -> u64 {
        self.shared.feed.head()
    }

    /// Follows the position of the last change.
    pub fn positions(&self) -> watch::Receiver<u64> {
        self.shared.feed.subscribe()
    }

    /// At most `limit` changes after a position, oldest first; `None` if some of them are not remembered any more. Removal by
    /// retention is no change.
    pub fn changes(&self, after: u64, limit: usize) -> Option<Vec<Changed>> {
        self.shared.feed.after(after, limit)
    }

    /// The messages of some changes, as they are now, in that order; those that are gone are left out.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn changed(&self, changes: Vec<Changed>) -> Result<Vec<Delivery>, LogError> {
        let owners: HashMap<WebhookKey, Owner> =
            self.owners(&Selection::default()).into_iter().map(|owner| (owner.key, owner)).collect();
        let query = move |connection: &Connection| {
            let mut found = Vec::new();
            for change in &changes {
                if let Some(owner) = owners.get(&change.webhook) {
                    found.extend(reader::one(connection, owner, change.number)?);
                }
            }
            Ok(found)
        };
        self.readers.run(&self.shared, query).await
    }

    /// Webhooks that a selection is about, by key.
    fn owners(&self, selection: &Selection) -> Vec<Owner> {
        let wanted = |row: &&Row| {
            selection.namespace.as_ref().is_none_or(|namespace| *namespace == row.stats.namespace)
                && selection.webhook.as_ref().is_none_or(|webhook| *webhook == row.stats.name)
        };
        let rows = lock(&self.shared.rows);
        let mut owners: Vec<Owner> = rows
            .by_key
            .values()
            .filter(wanted)
            .map(|row| Owner {
                key: row.stats.key,
                uid: row.stats.uid.clone(),
                namespace: row.stats.namespace.clone(),
                name: row.stats.name.clone(),
            })
            .collect();
        owners.sort_by_key(|owner| owner.key);
        owners
    }
}
