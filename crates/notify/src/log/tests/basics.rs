//! Accepting, order by key, recording, queueing again, and what is the same after a restart.

use roadstead_api::registry_webhook::DeliveryState;
use tempfile::tempdir;

use super::support::*;
use crate::log::{Decision, Lane, LogError, Options, Place, Selection};

fn later() -> Decision {
    Decision::Retry { due: jiff::Timestamp::now() + std::time::Duration::from_secs(60) }
}

#[tokio::test]
async fn a_repetition_adds_nothing_and_the_cursor_moves_with_the_messages() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), Options::default()).await;
    log.register("uid", "default", "client").await.unwrap();
    assert_eq!(log.cursor("hub"), None);
    let batch = || vec![message("uid", Some("a"), "1"), message("uid", Some("a"), "2"), message("gone", None, "1")];
    assert_eq!(log.accept("hub", 7, batch()).await, Ok(2), "one webhook is not known");
    assert_eq!(log.accept("hub", 7, batch()).await, Ok(0));
    assert_eq!(log.accept("hub", 5, vec![message("uid", None, "3")]).await, Ok(1));
    assert_eq!(log.cursor("hub"), Some(7), "never back");
    log.close().await;
    let log = open(directory.path(), Options::default()).await;
    assert_eq!(log.cursor("hub"), Some(7));
    assert_eq!(log.accept("hub", 9, batch()).await, Ok(0), "known after a restart too");
    log.set_cursors(vec![("hub".into(), Some(2))]).await.unwrap();
    assert_eq!(log.cursor("hub"), Some(2));
    assert_eq!(log.accept("hub", 3, batch()).await, Ok(0));
    assert_eq!(log.cursor("hub"), Some(3));
    assert_eq!(log.stats("uid").unwrap().pending, 3);
    let numbers: Vec<u64> = all(&log).await.iter().map(|delivery| delivery.message.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[tokio::test]
async fn an_event_is_stored_once_for_all_and_ids_differ_by_webhook() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), Options::default()).await;
    let shared = event("1");
    let mut batch = Vec::new();
    for n in 0..50 {
        let uid = format!("uid-{n}");
        log.register(&uid, "default", &format!("client-{n}")).await.unwrap();
        batch.push(crate::delivery::NewMessage { webhook: uid, key: None, event: shared.clone() });
    }
    assert_eq!(log.accept("hub", 1, batch).await, Ok(50));
    let ids: std::collections::HashSet<String> =
        all(&log).await.into_iter().map(|delivery| delivery.message.id).collect();
    assert_eq!(ids.len(), 50);
    assert!(ids.iter().all(|id| id.starts_with("msg_") && id[4..].chars().all(|c| c.is_ascii_alphanumeric())));
    log.close().await;
    let connection = rusqlite::Connection::open(directory.path().join("deliveries.db")).unwrap();
    let events: u64 = connection.query_row("SELECT count(*) FROM event", [], |row| row.get(0)).unwrap();
    assert_eq!(events, 1);
}

#[tokio::test]
async fn the_next_of_a_key_is_ready_when_the_one_before_is_done() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), Options::default()).await;
    log.register("uid", "default", "client").await.unwrap();
    let batch = [("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3"), ("b", "b2")];
    let batch = batch.map(|(key, id)| message("uid", Some(key), id)).to_vec();
    log.accept("hub", 1, batch).await.unwrap();
    log.accept("hub", 2, vec![message("uid", None, "free")]).await.unwrap();
    assert_eq!(ready(&log, "uid", Lane::First).await, ["a1", "b1", "free"]);
    record(&log, 1, later()).await;
    assert_eq!(ready(&log, "uid", Lane::First).await, ["b1", "free"], "a failing head holds its key");
    assert_eq!(ready(&log, "uid", Lane::Retry).await, ["a1"]);
    record(&log, 3, Decision::Delivered).await;
    assert_eq!(ready(&log, "uid", Lane::First).await, ["free", "b2"]);
    record(&log, 1, Decision::DeadLetter).await;
    assert_eq!(ready(&log, "uid", Lane::First).await, ["free", "b2", "a2"]);
    log.cancel("uid", 2).await.unwrap();
    assert_eq!(ready(&log, "uid", Lane::First).await, ["free", "b2", "a3"]);
    let stats = log.stats("uid").unwrap();
    assert_eq!((stats.pending, stats.delivered, stats.dead_letters), (3, 1, 1));
    log.close().await;
    let log = open(directory.path(), Options::default()).await;
    assert_eq!(ready(&log, "uid", Lane::First).await, ["free", "b2", "a3"], "the same after a restart");
    assert_eq!(log.stats("uid").unwrap(), stats);
}

#[tokio::test]
async fn attempts_are_listed_and_the_health_is_kept() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), Options::default()).await;
    log.register("uid", "default", "client").await.unwrap();
    log.accept("hub", 1, vec![message("uid", None, "1"), message("uid", None, "2")]).await.unwrap();
    for _ in 0..20 {
        record(&log, 1, later()).await;
    }
    let stats = log.stats("uid").unwrap();
    assert_eq!(stats.failures, 20);
    assert!(
        stats.failing_since.is_some() && stats.last.as_ref().is_some_and(|last| !last.success && last.text == "500")
    );
    let delivery = log.get("default", "client", 1).await.unwrap().unwrap();
    assert_eq!((delivery.history.len(), delivery.message.attempts), (16, 20));
    assert_eq!(delivery.history[0].response_snippet, "sorry");
    assert!(delivery.next_attempt.is_some());
    let oldest = stats.oldest_pending.unwrap();
    record(&log, 1, Decision::Delivered).await;
    let stats = log.stats("uid").unwrap();
    assert_eq!((stats.failures, stats.failing_since), (0, None));
    assert!(stats.oldest_pending.unwrap() >= oldest);
    record(&log, 2, Decision::Delivered).await;
    assert_eq!(log.stats("uid").unwrap().oldest_pending, None);
    assert_eq!(log.get("default", "client", 3).await, Ok(None));
    assert_eq!(log.get("other", "client", 1).await, Ok(None));
}

#[tokio::test]
async fn a_disabled_webhook_keeps_dead_letters_and_recover_brings_them_back_in_order() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), Options { batch: 3, ..Options::default() }).await;
    log.register("uid", "default", "client").await.unwrap();
    let batch = (0..10).map(|n| message("uid", Some("a"), &format!("{n}"))).collect();
    log.accept("hub", 1, batch).await.unwrap();
    record(&log, 1, Decision::Delivered).await;
    record(&log, 2, Decision::Disable { reason: "410".into() }).await;
    until("all are dead letters", async || log.stats("uid").unwrap().dead_letters == 9).await;
    assert_eq!(log.stats("uid").unwrap().disabled.unwrap().1, "410");
    log.accept("hub", 2, vec![message("uid", Some("a"), "late")]).await.unwrap();
    let stats = log.stats("uid").unwrap();
    assert_eq!((stats.pending, stats.dead_letters), (0, 10), "what is missed can be recovered");
    assert_eq!(log.redeliver("uid", 3).await, Err(LogError::Disabled));
    assert_eq!(log.recover("uid", jiff::Timestamp::UNIX_EPOCH).await, Ok(10));
    assert_eq!(log.recover("uid", jiff::Timestamp::UNIX_EPOCH).await, Ok(0));
    let stats = log.stats("uid").unwrap();
    assert_eq!((stats.pending, stats.dead_letters, stats.disabled), (10, 0, None));
    let mut order = Vec::new();
    while let Some(id) = ready(&log, "uid", Lane::First).await.first() {
        let delivery = all(&log).await.into_iter().find(|delivery| delivery.message.event.id == *id).unwrap();
        order.push(id.clone());
        record(&log, delivery.message.number, Decision::Delivered).await;
    }
    assert_eq!(order, ["1", "2", "3", "4", "5", "6", "7", "8", "9", "late"]);
    assert_eq!(
        log.recover("nobody", jiff::Timestamp::UNIX_EPOCH).await,
        Err(LogError::Unknown("webhook nobody".into()))
    );
}

#[tokio::test]
async fn recover_takes_what_was_accepted_since() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), Options::default()).await;
    log.register("uid", "default", "client").await.unwrap();
    log.accept("hub", 1, vec![message("uid", None, "old")]).await.unwrap();
    let since = log.get("default", "client", 1).await.unwrap().unwrap().message.accepted_at
        + std::time::Duration::from_micros(1);
    until("the clock moves on", async || jiff::Timestamp::now() > since).await;
    log.accept("hub", 2, vec![message("uid", None, "new")]).await.unwrap();
    record(&log, 1, Decision::DeadLetter).await;
    record(&log, 2, Decision::DeadLetter).await;
    assert_eq!(log.recover("uid", since).await, Ok(1));
    assert_eq!(ready(&log, "uid", Lane::First).await, ["new"]);
}

#[tokio::test]
async fn redelivery_has_the_same_id_and_waits_for_no_other() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), Options::default()).await;
    log.register("uid", "default", "client").await.unwrap();
    log.accept("hub", 1, vec![message("uid", Some("a"), "1"), message("uid", Some("a"), "2")]).await.unwrap();
    record(&log, 1, Decision::Delivered).await;
    let before = log.get("default", "client", 1).await.unwrap().unwrap();
    log.redeliver("uid", 1).await.unwrap();
    assert_eq!(ready(&log, "uid", Lane::First).await, ["2", "1"]);
    let after = log.get("default", "client", 1).await.unwrap().unwrap();
    assert_eq!(after.message.id, before.message.id);
    assert_eq!((after.state, after.message.attempts), (DeliveryState::Pending, 1));
    record(&log, 1, Decision::Delivered).await;
    assert_eq!(ready(&log, "uid", Lane::First).await, ["2"]);
    assert_eq!(log.redeliver("uid", 77).await, Err(LogError::Unknown("message 77".into())));
}

#[tokio::test]
async fn an_answer_that_comes_after_the_end_counts_if_it_is_a_success() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), Options::default()).await;
    log.register("uid", "default", "client").await.unwrap();
    log.accept("hub", 1, vec![message("uid", None, "1"), message("uid", None, "2")]).await.unwrap();
    log.cancel("uid", 1).await.unwrap();
    log.cancel("uid", 2).await.unwrap();
    record(&log, 1, Decision::Delivered).await;
    record(&log, 2, later()).await;
    let states: Vec<DeliveryState> = all(&log).await.into_iter().map(|delivery| delivery.state).collect();
    assert_eq!(states, [DeliveryState::Delivered, DeliveryState::Cancelled]);
    let stats = log.stats("uid").unwrap();
    assert_eq!((stats.pending, stats.delivered), (0, 1));
}

#[tokio::test]
async fn a_deleted_webhook_is_cancelled_and_its_name_goes_on_counting() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), Options { batch: 2, ..Options::default() }).await;
    log.register("uid", "default", "client").await.unwrap();
    let batch = (0..7).map(|n| message("uid", Some("a"), &format!("{n}"))).collect();
    log.accept("hub", 1, batch).await.unwrap();
    log.forget("uid").await.unwrap();
    until("all are cancelled", async || log.stats("uid").unwrap().pending == 0).await;
    assert_eq!(log.accept("hub", 2, vec![message("uid", None, "late")]).await, Ok(0));
    log.register("second", "default", "client").await.unwrap();
    log.accept("hub", 3, vec![message("second", None, "0")]).await.unwrap();
    let found = log.get("default", "client", 8).await.unwrap().unwrap();
    assert_eq!(found.message.webhook, "second");
    let old = log.get("default", "client", 1).await.unwrap().unwrap();
    assert_eq!((old.message.webhook.as_str(), old.state), ("uid", DeliveryState::Cancelled));
}

#[tokio::test]
async fn pages_are_by_webhook_and_number_and_changes_can_be_followed() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), Options { changes: 8, ..Options::default() }).await;
    for (uid, namespace, name) in [("uid", "default", "a"), ("b", "default", "b"), ("c", "other", "c")] {
        log.register(uid, namespace, name).await.unwrap();
    }
    let start = log.head();
    for n in 0..3 {
        let batch = ["uid", "b", "c"].map(|uid| message(uid, None, &format!("{n}"))).to_vec();
        log.accept("hub", n, batch).await.unwrap();
    }
    record(&log, 2, Decision::Delivered).await;
    let select =
        |namespace: Option<&str>, state| Selection { namespace: namespace.map(Into::into), webhook: None, state };
    for (selection, expected) in [
        (select(None, None), vec!["a1", "a2", "a3", "b1", "b2", "b3", "c1", "c2", "c3"]),
        (select(Some("other"), None), vec!["c1", "c2", "c3"]),
        (select(Some("default"), Some(DeliveryState::Pending)), vec!["a1", "a3", "b1", "b2", "b3"]),
        (select(None, Some(DeliveryState::Delivered)), vec!["a2"]),
    ] {
        let (mut found, mut after) = (Vec::new(), Some(Place::default()));
        while let Some(place) = after {
            let page = log.page(&selection, place, 2).await.unwrap();
            assert!(page.deliveries.len() <= 2);
            found.extend(page.deliveries.iter().map(|d| format!("{}{}", d.webhook, d.message.number)));
            after = page.next;
        }
        assert_eq!(found, expected, "{selection:?}");
    }
    assert_eq!(log.changes(start, 100), None, "more changes than are remembered");
    let changes = log.changes(log.head() - 3, 100).unwrap();
    assert_eq!(changes.len(), 3);
    let last = log.changed(vec![changes[2]]).await.unwrap();
    assert_eq!((last[0].message.number, last[0].state), (2, DeliveryState::Delivered));
    let head = log.head();
    log.close().await;
    let log = open(directory.path(), Options::default()).await;
    assert_eq!(log.head(), head);
    assert_eq!(log.changes(head, 1), Some(vec![]));
    assert_eq!(log.changes(head - 1, 1), None, "not remembered over a restart");
}

#[tokio::test]
async fn how_long_a_webhook_fails_is_little_moved_by_a_clock_that_jumps() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), Options::default()).await;
    log.register("uid", "default", "client").await.unwrap();
    log.accept("hub", 1, vec![message("uid", None, "1")]).await.unwrap();
    let webhook = log.stats("uid").unwrap().key;
    let hour = |n: i64| jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(n);
    let fail = async |log: &crate::log::DeliveryLog, at, verdict| {
        let attempt = crate::delivery::Attempt { at, ..attempt(verdict) };
        log.record(vec![crate::log::Outcome { webhook, number: 1, attempt, decision: later() }]).await.unwrap();
    };
    let retry = crate::delivery::Verdict::Retry { after: None };
    // Two hours; a month ahead, which counts for a day; far back, which counts for nothing; one hour.
    for (at, hours) in [(1000, 0), (1002, 2), (1722, 26), (100, 26), (101, 27)] {
        fail(&log, hour(at), retry).await;
        assert_eq!(log.stats("uid").unwrap().failing.as_secs(), hours * 3600, "{at}");
    }
    log.close().await;
    let log = open(directory.path(), Options::default()).await;
    assert_eq!(log.stats("uid").unwrap().failing.as_secs(), 27 * 3600);
    fail(&log, hour(102), crate::delivery::Verdict::Delivered).await;
    assert!(log.stats("uid").unwrap().failing.is_zero());
}
