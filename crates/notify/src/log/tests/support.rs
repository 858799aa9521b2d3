//! What the tests share: a log in a temporary directory, messages, attempts, and waiting for something to become true.

use std::{path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;
use roadstead_api::event::ImageChange;

use crate::{
    delivery::{Attempt, Event, NewMessage, Verdict},
    log::{Decision, Delivery, DeliveryLog, Lane, Options, Outcome, Place, Selection},
};

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub async fn open(directory: &Path, options: Options) -> Arc<DeliveryLog> {
    DeliveryLog::open(directory, options).await.unwrap()
}

pub fn event(id: &str) -> Arc<Event> {
    let image = ImageChange { repository: "team/shop".into(), tag: id.into(), ..ImageChange::default() };
    let (kind, origin) = ("push".to_string(), "registry".to_string());
    Arc::new(Event { id: id.into(), kind, image, at: Timestamp::now(), reconciled: false, origin })
}

pub fn message(webhook: &str, key: Option<&str>, id: &str) -> NewMessage {
    NewMessage { webhook: webhook.into(), key: key.map(Into::into), event: event(id) }
}

pub fn attempt(verdict: Verdict) -> Attempt {
    let status = if verdict == Verdict::Delivered { 204 } else { 500 };
    Attempt {
        at: Timestamp::now(),
        duration: Duration::from_millis(3),
        status: Some(status),
        error: None,
        snippet: if status == 204 { String::new() } else { "sorry".into() },
        verdict,
    }
}

/// Records an attempt of a message of the only webhook.
pub async fn record(log: &DeliveryLog, number: u64, decision: Decision) {
    let verdict = match decision {
        Decision::Delivered => Verdict::Delivered,
        Decision::Disable { .. } => Verdict::Gone,
        _ => Verdict::Retry { after: None },
    };
    let webhook = log.stats("uid").unwrap().key;
    log.record(vec![Outcome { webhook, number, attempt: attempt(verdict), decision }]).await.unwrap();
}

/// Event ids of the ready messages of a webhook's lane.
pub async fn ready(log: &DeliveryLog, uid: &str, lane: Lane) -> Vec<String> {
    let key = log.stats(uid).unwrap().key;
    let ready = log.ready(key, lane, 1000).await.unwrap();
    ready.into_iter().map(|ready| ready.message.event.id.clone()).collect()
}

pub async fn all(log: &DeliveryLog) -> Vec<Delivery> {
    log.page(&Selection::default(), Place::default(), 100_000).await.unwrap().deliveries
}

/// Polls until `done`, or fails.
pub async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let end = std::time::Instant::now() + PATIENCE;
    while !done().await {
        assert!(std::time::Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
