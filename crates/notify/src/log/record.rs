//! What became of an attempt: the message moves on, the next of its key may go, and the webhook's health is taken down.

use std::time::Duration;

use roadstead_api::registry_webhook::{DeliveryAttempt, DeliveryState};
use rusqlite::{OptionalExtension, params};

use super::{
    error::LogError,
    reader::RawReady,
    schema,
    transaction::Transaction,
    types::{Decision, HISTORY, Lane, LastAttempt, MOST_GAP, Outcome, WebhookKey},
};
use crate::delivery::{Attempt, Verdict};

/// A message as far as recording needs it.
struct Known {
    state: DeliveryState,
    order_key: Option<String>,
    attempt: u32,
    tries: u32,
    history: Vec<DeliveryAttempt>,
}

impl Transaction<'_> {
    /// Records one attempt. A message that is gone meanwhile is passed over.
    pub fn record(&mut self, outcome: &Outcome) -> Result<(), LogError> {
        let (key, number) = (outcome.webhook, outcome.number);
        let Some(known) = self.known(key, number)? else { return Ok(()) };
        self.note_health(key, outcome);
        let mut history = known.history;
        history.push(listed(&outcome.attempt));
        if history.len() > HISTORY {
            history.remove(0);
        }
        let history = serde_json::to_string(&history).map_err(|error| LogError::Storage(error.to_string()))?;
        let (state, due) = next_state(known.state, &outcome.decision);
        let lane = (state == DeliveryState::Pending).then_some(Lane::Retry.number());
        let finished = (state != DeliveryState::Pending).then_some(self.now);
        let position = self.changed(key, number);
        let mut update = self.connection.prepare_cached(
            "UPDATE message SET state = ?3, lane = ?4, due = coalesce(?5, due), attempt = ?6, tries = ?7, finished = ?8,
             changed = ?9, history = ?10 WHERE webhook = ?1 AND number = ?2",
        )?;
        update.execute(params![
            key,
            number,
            schema::state_number(state),
            lane,
            due,
            known.attempt + 1,
            known.tries + 1,
            finished,
            position,
            history
        ])?;
        self.staged.bytes += history.len() as u64 + 64;
        self.count(key, number, known.state, state);
        if state != DeliveryState::Pending
            && known.state == DeliveryState::Pending
            && let Some(order_key) = &known.order_key
        {
            self.promote(key, order_key)?;
        }
        if state == DeliveryState::Pending {
            self.announce(key, number)?;
        }
        Ok(())
    }

    fn known(&self, key: WebhookKey, number: u64) -> Result<Option<Known>, LogError> {
        let mut select = self.connection.prepare_cached(
            "SELECT state, order_key, attempt, tries, history FROM message WHERE webhook = ?1 AND number = ?2",
        )?;
        let found = select.query_row(params![key, number], |row| {
            // A history that cannot be read is not worth losing the attempt for.
            let history = serde_json::from_str(&row.get::<_, String>(4)?).unwrap_or_default();
            Ok(Known {
                state: schema::state_of(row.get(0)?),
                order_key: row.get(1)?,
                attempt: row.get(2)?,
                tries: row.get(3)?,
                history,
            })
        });
        Ok(found.optional()?)
    }

    /// Counters of the webhook for a message that went from one state to another.
    pub fn count(&mut self, key: WebhookKey, number: u64, from: DeliveryState, to: DeliveryState) {
        let Some(row) = self.row(key) else { return };
        if from == to {
            return;
        }
        let counter = |row: &mut super::shared::Row, state, by: i64| {
            let counter = match state {
                DeliveryState::Pending => &mut row.stats.pending,
                DeliveryState::Delivered => &mut row.kept,
                DeliveryState::DeadLetter => &mut row.stats.dead_letters,
                DeliveryState::Cancelled => &mut row.cancelled,
            };
            *counter = counter.saturating_add_signed(by);
        };
        counter(row, from, -1);
        counter(row, to, 1);
        if to == DeliveryState::Delivered {
            row.stats.delivered += 1;
        }
        let oldest = row.oldest;
        let touches_oldest = match (from, to) {
            (DeliveryState::Pending, _) => oldest == Some(number),
            (_, DeliveryState::Pending) => oldest.is_none_or(|oldest| number < oldest),
            _ => false,
        };
        if touches_oldest {
            self.stale.insert(key);
        }
    }

    fn note_health(&mut self, key: WebhookKey, outcome: &Outcome) {
        let now = self.now;
        let Some(row) = self.row(key) else { return };
        let attempt = &outcome.attempt;
        // As exact as on disk.
        let at = schema::time_of(attempt.at.as_microsecond());
        let success = attempt.verdict == Verdict::Delivered;
        if success {
            row.stats.failures = 0;
            row.stats.failing_since = None;
            row.stats.failing = Duration::ZERO;
        } else {
            if let (Some(last), 1..) = (&row.stats.last, row.stats.failures) {
                // Back in time adds nothing.
                row.stats.failing += Duration::try_from(at.duration_since(last.at)).unwrap_or_default().min(MOST_GAP);
            }
            row.stats.failures = row.stats.failures.saturating_add(1);
            row.stats.failing_since.get_or_insert(at);
        }
        let text = match (attempt.status, &attempt.error) {
            (_, Some(error)) => error.clone(),
            (Some(status), None) => status.to_string(),
            (None, None) => String::new(),
        };
        row.stats.last = Some(LastAttempt { number: outcome.number, at, success, text });
        if let Decision::Disable { reason } = &outcome.decision {
            row.stats.disabled.get_or_insert_with(|| (schema::time_of(now), reason.clone()));
            self.staged.reload.insert(key);
            self.staged.sweep = true;
        }
    }

    /// Tells listeners of a retry, with the message as it now is.
    fn announce(&mut self, key: WebhookKey, number: u64) -> Result<(), LogError> {
        let Some(uid) = self.row(key).map(|row| row.stats.uid.clone()) else { return Ok(()) };
        let mut select = self.connection.prepare_cached(RawReady::ONE)?;
        if let Some(raw) = select.query_row(params![key, number], RawReady::read).optional()? {
            self.staged.ready.push((key, raw.build(&uid)?));
        }
        Ok(())
    }
}

/// Where a message goes. An attempt that succeeded counts even if the message was given up or cancelled meanwhile; one that failed
/// does not bring it back.
fn next_state(now: DeliveryState, decision: &Decision) -> (DeliveryState, Option<i64>) {
    match (now, decision) {
        (_, Decision::Delivered) => (DeliveryState::Delivered, None),
        (DeliveryState::Pending, Decision::Retry { due }) => (DeliveryState::Pending, Some(due.as_microsecond())),
        (DeliveryState::Pending, Decision::DeadLetter | Decision::Disable { .. }) => (DeliveryState::DeadLetter, None),
        (state, _) => (state, None),
    }
}

fn listed(attempt: &Attempt) -> DeliveryAttempt {
    DeliveryAttempt {
        at: crate::log::rfc3339(attempt.at),
        duration_ms: u64::try_from(attempt.duration.as_millis()).unwrap_or(u64::MAX),
        status: attempt.status,
        error: attempt.error.clone(),
        response_snippet: attempt.snippet.clone(),
    }
}
