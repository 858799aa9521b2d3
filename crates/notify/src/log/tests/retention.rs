//! What is old or too much goes; what waits never does.

use std::time::Duration;

use tempfile::tempdir;

use super::support::*;
use crate::log::{Decision, Options};

fn quick() -> Options {
    Options { interval: Duration::from_millis(10), batch: 7, ..Options::default() }
}

#[tokio::test]
async fn done_messages_go_by_number_and_age_and_pending_ones_stay() {
    let directory = tempdir().unwrap();
    let options = Options { most_delivered: 5, keep_dead: Duration::ZERO, ..quick() };
    let log = open(directory.path(), options).await;
    log.register("uid", "default", "client").await.unwrap();
    log.accept("hub", 1, (0..60).map(|n| message("uid", None, &format!("{n}"))).collect()).await.unwrap();
    for number in 1..=50 {
        let decision = if number > 40 { Decision::DeadLetter } else { Decision::Delivered };
        record(&log, number, decision).await;
    }
    until("old ones are gone", async || all(&log).await.len() == 15).await;
    let numbers: Vec<u64> = all(&log).await.iter().map(|delivery| delivery.message.number).collect();
    assert_eq!(numbers, [36, 37, 38, 39, 40, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60]);
    let stats = log.stats("uid").unwrap();
    assert_eq!((stats.pending, stats.delivered, stats.dead_letters), (10, 40, 0));
    log.close().await;
    let connection = rusqlite::Connection::open(directory.path().join("deliveries.db")).unwrap();
    let events: u64 = connection.query_row("SELECT count(*) FROM event", [], |row| row.get(0)).unwrap();
    assert_eq!(events, 15, "an event goes with its last message");
}

#[tokio::test]
async fn a_deleted_webhook_goes_with_its_last_message() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), Options { keep_delivered: Duration::ZERO, ..quick() }).await;
    log.register("uid", "default", "client").await.unwrap();
    log.accept("hub", 1, (0..20).map(|n| message("uid", Some("a"), &format!("{n}"))).collect()).await.unwrap();
    log.forget("uid").await.unwrap();
    until("nothing is left", async || log.stats("uid").is_none()).await;
    log.close().await;
    let log = open(directory.path(), Options::default()).await;
    assert!(log.webhooks().is_empty() && all(&log).await.is_empty());
}
