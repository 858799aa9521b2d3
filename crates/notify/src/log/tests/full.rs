//! A full disk and a full quota: nothing is accepted, nothing is lost, and it goes on by itself when there is room.

use std::time::Duration;

use tempfile::tempdir;
use tokio::sync::oneshot;

use super::support::*;
use crate::{
    delivery::{NewMessage, Verdict},
    log::{
        Decision, DeliveryLog, LogError, Options, Outcome,
        writer::{Job, Work},
    },
};

fn large(n: u64) -> NewMessage {
    let mut message = message("uid", Some("a"), &format!("{n}"));
    let mut event = (*message.event).clone();
    event.image.actor = "x".repeat(100_000);
    message.event = event.into();
    message
}

pub async fn pages(log: &DeliveryLog, most: u64) {
    let (reply, answer) = oneshot::channel();
    log.queue.send(Job { work: Work::Pages(most), reply }).await.ok().unwrap();
    answer.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_keeps_the_cursor_and_recovers() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), Options::default()).await;
    log.register("uid", "default", "client").await.unwrap();
    log.accept("hub", 1, vec![message("uid", Some("a"), "first")]).await.unwrap();
    pages(&log, 1).await;
    let refused = log.accept("hub", 2, vec![large(2), large(3)]).await;
    assert!(matches!(refused, Err(LogError::Full(_))), "{refused:?}");
    assert_eq!((log.cursor("hub"), log.stats("uid").unwrap().pending), (Some(1), 1));
    let failed = Decision::Retry { due: jiff::Timestamp::now() };
    let mut attempt = attempt(Verdict::Retry { after: None });
    attempt.snippet = "x".repeat(100_000);
    let outcome = Outcome { webhook: log.stats("uid").unwrap().key, number: 1, attempt, decision: failed };
    let refused = log.record(vec![outcome.clone()]).await;
    assert!(matches!(refused, Err(LogError::Full(_))), "{refused:?}");
    assert_eq!(log.stats("uid").unwrap().failures, 0, "nothing of it is remembered");
    pages(&log, 1_000_000).await;
    log.record(vec![outcome]).await.unwrap();
    assert_eq!(log.accept("hub", 2, vec![large(2), large(3)]).await, Ok(2));
    assert_eq!((log.cursor("hub"), log.stats("uid").unwrap().pending), (Some(2), 3));
    let numbers: Vec<u64> = all(&log).await.iter().map(|delivery| delivery.message.number).collect();
    assert_eq!(numbers, [1, 2, 3], "no gap");
}

#[tokio::test]
async fn a_used_up_quota_refuses_messages_but_not_outcomes() {
    let directory = tempdir().unwrap();
    let options = Options {
        quota: Some(4 << 20),
        keep_delivered: Duration::ZERO,
        interval: Duration::from_millis(20),
        ..Options::default()
    };
    let log = open(directory.path(), options).await;
    log.register("uid", "default", "client").await.unwrap();
    let mut accepted = 0;
    let refused = loop {
        match log.accept("hub", accepted + 1, vec![large(accepted)]).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 1000, "the quota must end it");
    };
    assert!(matches!(&refused, LogError::Full(reason) if reason.contains("quota")), "{refused}");
    assert_eq!(log.cursor("hub"), Some(accepted));
    for number in 1..=accepted {
        record(&log, number, Decision::Delivered).await;
    }
    assert_eq!(log.stats("uid").unwrap().delivered, accepted);
    until("room is made", async || log.accept("hub", accepted + 1, vec![large(accepted)]).await.is_ok()).await;
}
