//! The tables, and how states and times are written into them. Format 1; a change needs a new format and a step that makes it.
//!
//! A message that may be sent as soon as its time has come has a `lane`; one that waits behind another of its key has none. So the
//! index `ready` is all that a runner ever reads, whatever waits behind it.

use jiff::Timestamp;
use roadstead_api::registry_webhook::DeliveryState;

/// Everything. Times are microseconds since 1970.
///
/// `message.lane`: 0 first attempts, 1 retries. `message.state`: see [`state_number`]. `message.attempt` counts all attempts, `tries` those
/// since it was last queued, which is the place in the schedule. `webhook.failing` is microseconds too. `message.history` is JSON: the last attempts. `once` begins
/// with the event, so that one that a thousand webhooks are told touches one place and not a thousand.
pub(super) const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE cursor (source TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE webhook (
    key INTEGER PRIMARY KEY, uid TEXT NOT NULL UNIQUE, namespace TEXT NOT NULL, name TEXT NOT NULL,
    numbered INTEGER NOT NULL, pending INTEGER NOT NULL, delivered INTEGER NOT NULL, kept INTEGER NOT NULL,
    dead INTEGER NOT NULL, cancelled INTEGER NOT NULL, failures INTEGER NOT NULL, failing_since INTEGER,
    disabled_at INTEGER, disabled_for TEXT, forgotten INTEGER NOT NULL,
    last_number INTEGER, last_at INTEGER, last_success INTEGER, last_text TEXT,
    failing INTEGER NOT NULL, overflowed INTEGER NOT NULL
) STRICT;
CREATE TABLE event (key INTEGER PRIMARY KEY, messages INTEGER NOT NULL, body TEXT NOT NULL) STRICT;
CREATE TABLE message (
    webhook INTEGER NOT NULL, number INTEGER NOT NULL, event INTEGER NOT NULL, fingerprint BLOB NOT NULL,
    order_key TEXT, state INTEGER NOT NULL, lane INTEGER, due INTEGER NOT NULL, accepted INTEGER NOT NULL,
    attempt INTEGER NOT NULL, tries INTEGER NOT NULL, finished INTEGER, born INTEGER NOT NULL, changed INTEGER NOT NULL,
    history TEXT NOT NULL,
    PRIMARY KEY (webhook, number)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX once ON message (fingerprint, webhook);
CREATE INDEX ready ON message (webhook, lane, due) WHERE lane IS NOT NULL;
CREATE INDEX pending ON message (webhook) WHERE state = 0;
CREATE INDEX keyed ON message (webhook, order_key) WHERE state = 0 AND order_key IS NOT NULL;
CREATE INDEX done ON message (webhook, state, finished) WHERE finished IS NOT NULL;
";

/// A state as it is written.
pub(super) fn state_number(state: DeliveryState) -> i64 {
    match state {
        DeliveryState::Pending => 0,
        DeliveryState::Delivered => 1,
        DeliveryState::DeadLetter => 2,
        DeliveryState::Cancelled => 3,
    }
}

/// A state as it was written.
pub(super) fn state_of(number: i64) -> DeliveryState {
    match number {
        1 => DeliveryState::Delivered,
        2 => DeliveryState::DeadLetter,
        3 => DeliveryState::Cancelled,
        _ => DeliveryState::Pending,
    }
}

/// A time as it was written; times out of jiff's range, which nothing writes, become 1970.
pub(super) fn time_of(microseconds: i64) -> Timestamp {
    Timestamp::from_microsecond(microseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Now, as it is written.
pub(super) fn now() -> i64 {
    Timestamp::now().as_microsecond()
}
