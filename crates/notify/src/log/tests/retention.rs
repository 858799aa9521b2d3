//! What is old or too much goes; what waits never does.

use std::time::Duration;

use tempfile::tempdir;

use super::support::*;
use crate::log::{Decision, Lane, Options};

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

#[tokio::test]
async fn beyond_the_most_pending_the_oldest_are_given_up_and_those_behind_them_go() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), Options { most_pending: 20, ..quick() }).await;
    for uid in ["uid", "other"] {
        log.register(uid, "default", uid).await.unwrap();
    }
    let of = |uid: &'static str, numbers: std::ops::Range<u64>| {
        numbers.map(|n| message(uid, Some(["a", "b"][n as usize % 2]), &format!("{n:02}"))).collect::<Vec<_>>()
    };
    log.accept("hub", 1, of("uid", 0..20)).await.unwrap();
    log.accept("hub", 2, of("other", 0..20)).await.unwrap();
    assert_eq!(ready(&log, "uid", Lane::First).await, ["00", "01"]);
    log.accept("hub", 3, of("uid", 20..55)).await.unwrap();
    until("the oldest are given up", async || log.stats("uid").unwrap().pending == 20).await;
    let stats = log.stats("uid").unwrap();
    assert_eq!((stats.dead_letters, stats.overflowed), (35, 35));
    assert_eq!(ready(&log, "uid", Lane::First).await, ["35", "36"], "each key goes on with its next");
    assert_eq!(log.stats("other").unwrap().pending, 20, "nobody else is touched");
    log.close().await;
    let log = open(directory.path(), Options::default()).await;
    assert_eq!(log.totals().overflowed, 35, "it is remembered");
    assert_eq!(log.recover("uid", jiff::Timestamp::UNIX_EPOCH).await, Ok(35), "and can be sent again");
    assert_eq!(log.totals().overflowed, 0);
}

#[tokio::test]
async fn one_that_is_enabled_while_its_messages_are_being_given_up_goes_on() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), quick()).await;
    log.register("uid", "default", "client").await.unwrap();
    let names = |n: u64| format!("{n:04}");
    log.accept("hub", 1, (0..3000).map(|n| message("uid", Some("a"), &names(n))).collect()).await.unwrap();
    record(&log, 1, Decision::Disable { reason: "410".into() }).await;
    until("some are given up", async || log.stats("uid").unwrap().dead_letters > 10).await;
    log.recover("uid", jiff::Timestamp::UNIX_EPOCH).await.unwrap();
    let stats = log.stats("uid").unwrap();
    assert!(stats.disabled.is_none());
    assert_eq!((stats.pending, stats.dead_letters), (3000, 0));
    // One by one, each key has exactly one message that may go.
    for _ in 0..20 {
        let head = ready(&log, "uid", Lane::First).await;
        assert_eq!(head.len(), 1, "{head:?}");
        record(&log, head[0].parse::<u64>().unwrap() + 1, Decision::Delivered).await;
    }
    // One that waits behind others can be asked for.
    log.redeliver("uid", 2000).await.unwrap();
    assert_eq!(ready(&log, "uid", Lane::First).await.len(), 2);
}
