//! The runner over a real log and a scripted receiver.

use std::{collections::HashMap, time::Duration};

use roadstead_api::registry_webhook::DeliveryState;
use tempfile::tempdir;

use super::support::*;
use crate::{
    delivery::Verdict,
    log::{Options as LogOptions, Stats},
    queue::{Limits, Options, Rate},
};

const RETRY: Verdict = Verdict::Retry { after: None };

async fn states(log: &crate::log::DeliveryLog) -> HashMap<String, DeliveryState> {
    all(log).await.into_iter().map(|delivery| (delivery.message.event.id.clone(), delivery.state)).collect()
}

fn stats(log: &crate::log::DeliveryLog) -> Stats {
    log.stats("uid").unwrap()
}

#[tokio::test]
async fn a_backlog_and_what_comes_later_are_delivered_in_order_by_key() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), LogOptions::default()).await;
    log.register("uid", "default", "client").await.unwrap();
    let id = |n: u64| format!("{}-{n:04}", ["a", "b", "c"][n as usize % 3]);
    let batch = |from: u64, to: u64| (from..to).map(|n| message("uid", Some(&id(n)[..1]), &id(n))).collect();
    log.accept("hub", 1, batch(0, 600)).await.unwrap();
    // Every fifth fails twice.
    let receiver = Scripted::new(|message, tries| {
        let failing = message.number % 5 == 0 && tries < 2;
        if failing { FAIL } else { OK }
    });
    let handle = start(&log, &receiver, quick());
    log.accept("hub", 2, batch(600, 900)).await.unwrap();
    drained(&log).await;
    let mut seen: HashMap<String, Vec<String>> = HashMap::new();
    for event in receiver.events() {
        let list = seen.entry(event[..1].into()).or_default();
        if list.last() != Some(&event) {
            list.push(event);
        }
    }
    for (key, events) in &seen {
        assert!(events.is_sorted(), "{key}: {events:?}");
        assert_eq!(events.len(), 300);
    }
    assert_eq!((stats(&log).delivered, receiver.received().len()), (900, 900 + 2 * 180));
    assert!(receiver.most("uid") <= 8);
    handle.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn retries_end_in_a_dead_letter_which_lets_its_key_go_on() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), LogOptions::default()).await;
    log.register("uid", "default", "client").await.unwrap();
    let receiver = Scripted::new(|message, _| if message.event.id == "bad" { FAIL } else { OK });
    let _handle = start(&log, &receiver, quick());
    log.accept("hub", 1, vec![message("uid", Some("a"), "bad"), message("uid", Some("a"), "good")]).await.unwrap();
    drained(&log).await;
    assert_eq!(receiver.events(), ["bad", "bad", "bad", "bad", "bad", "good"]);
    assert_eq!(states(&log).await["bad"], DeliveryState::DeadLetter);
    let ids: std::collections::HashSet<String> = receiver.received().into_iter().map(|r| r.id).collect();
    assert_eq!(ids.len(), 2, "the same id for each attempt");
    let bad = log.get("default", "client", 1).await.unwrap().unwrap();
    assert_eq!(bad.history.len(), 5);
}

#[tokio::test]
async fn gone_disables_at_once_and_recover_enables() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), LogOptions::default()).await;
    log.register("uid", "default", "client").await.unwrap();
    let receiver = Scripted::new(|_, tries| if tries == 0 { Act::Answer(Verdict::Gone) } else { OK });
    let handle = start(&log, &receiver, quick());
    handle.configure("uid", Some(Limits { concurrency: 1, ..LIMITS }));
    log.accept("hub", 1, (0..20).map(|n| message("uid", None, &format!("{n}"))).collect()).await.unwrap();
    until("dead letters", async || stats(&log).dead_letters == 20).await;
    assert_eq!(receiver.events(), ["0"], "not one more");
    assert!(stats(&log).disabled.is_some());
    // The rest would be answered 410 too, one after the other.
    for left in (0..20).rev() {
        let recovered = log.recover("uid", jiff::Timestamp::UNIX_EPOCH).await.unwrap();
        assert_eq!(recovered, left + 1);
        if left == 0 {
            drained(&log).await;
        } else {
            until("disabled again", async || stats(&log).disabled.is_some() && stats(&log).pending == 0).await;
        }
    }
    assert_eq!(stats(&log).delivered, 20);
}

#[tokio::test]
async fn nothing_is_sent_without_limits_or_while_suspended() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), LogOptions::default()).await;
    for uid in ["uid", "other"] {
        log.register(uid, "default", uid).await.unwrap();
    }
    let receiver = Scripted::new(|_, _| OK);
    let handle = start(&log, &receiver, quick());
    handle.configure("uid", None);
    handle.configure("other", Some(Limits { suspended: true, ..LIMITS }));
    log.register("witness", "default", "witness").await.unwrap();
    handle.configure("witness", Some(LIMITS));
    let batch = ["uid", "other", "witness"].map(|uid| message(uid, None, "1")).to_vec();
    log.accept("hub", 1, batch).await.unwrap();
    until("the witness is told", async || log.totals().pending == 2).await;
    assert_eq!(receiver.received().len(), 1);
    handle.configure("uid", Some(LIMITS));
    handle.configure("other", Some(LIMITS));
    drained(&log).await;
}

#[tokio::test]
async fn a_panic_and_a_hanging_attempt_are_failures() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), LogOptions::default()).await;
    log.register("uid", "default", "client").await.unwrap();
    let receiver = Scripted::new(|message, tries| match (message.event.id.as_str(), tries) {
        ("panic", 0) => Act::Panic,
        ("hang", 0) => Act::Hang,
        _ => OK,
    });
    let _handle = start(&log, &receiver, Options { deadline: Duration::from_millis(30), ..quick() });
    log.accept("hub", 1, vec![message("uid", None, "panic"), message("uid", None, "hang")]).await.unwrap();
    drained(&log).await;
    let errors: Vec<String> =
        all(&log).await.into_iter().map(|d| d.history[0].error.clone().unwrap_or_default()).collect();
    assert_eq!(errors, ["internal error", "no answer within 0 s"]);
}

#[tokio::test]
async fn redelivery_test_messages_and_cancel_take_effect_while_running() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), LogOptions::default()).await;
    log.register("uid", "default", "client").await.unwrap();
    let receiver = Scripted::new(|message, _| if message.event.id == "stuck" { FAIL } else { OK });
    let schedule = crate::queue::Schedule(vec![Duration::from_secs(3600)]);
    let _handle = start(&log, &receiver, Options { schedule, ..quick() });
    log.accept("hub", 1, vec![message("uid", Some("a"), "stuck"), message("uid", Some("a"), "behind")]).await.unwrap();
    until("it waits for its retry", async || stats(&log).failures == 1).await;
    log.enqueue(vec![message("uid", None, "test")]).await.unwrap();
    until("the test waits for no other", async || stats(&log).delivered == 1).await;
    log.redeliver("uid", 1).await.unwrap();
    until("it is tried at once, the last time", async || stats(&log).dead_letters == 1).await;
    drained(&log).await;
    assert_eq!(receiver.events(), ["stuck", "test", "stuck", "behind"]);
    log.redeliver("uid", 2).await.unwrap();
    until("a delivered one is sent again", async || stats(&log).delivered == 3).await;
    log.accept("hub", 2, vec![message("uid", Some("b"), "stuck"), message("uid", Some("b"), "next")]).await.unwrap();
    assert_eq!(stats(&log).pending, 1, "the id is known: only the next is new");
}

#[tokio::test]
async fn hanging_webhooks_do_not_keep_the_others_waiting() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), LogOptions::default()).await;
    for n in 0..60 {
        log.register(&format!("uid-{n}"), "default", &format!("client-{n}")).await.unwrap();
    }
    let hangs = |uid: &str| uid["uid-".len()..].parse::<u32>().unwrap() < 30;
    let receiver = Scripted::new(move |message, _| if hangs(&message.webhook) { Act::Hang } else { OK });
    let _handle = start(&log, &receiver, Options { places: 64, ..quick() });
    for round in 0..20 {
        let shared = message("", None, &format!("{round}"));
        let batch = (0..60).map(|n| crate::delivery::NewMessage { webhook: format!("uid-{n}"), ..shared.clone() });
        log.accept("hub", round, batch.collect()).await.unwrap();
    }
    until("the healthy have all", async || (30..60).all(|n| log.stats(&format!("uid-{n}")).unwrap().pending == 0))
        .await;
    assert_eq!(log.totals().pending, 30 * 20, "the hanging ones have none");
    assert!((0..30).all(|n| receiver.most(&format!("uid-{n}")) == 1));
}

#[tokio::test]
async fn a_rate_is_kept() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), LogOptions::default()).await;
    log.register("uid", "default", "client").await.unwrap();
    let receiver = Scripted::new(|_, _| OK);
    let handle = start(&log, &receiver, quick());
    handle.configure("uid", Some(Limits { rate: Some(Rate { per_second: 100, burst: 5 }), ..LIMITS }));
    log.accept("hub", 1, (0..25).map(|n| message("uid", None, &format!("{n}"))).collect()).await.unwrap();
    drained(&log).await;
    let received = receiver.received();
    let span = received[24].at - received[4].at;
    assert!(span >= Duration::from_millis(195), "20 after the burst took {span:?}");
}

#[tokio::test]
async fn a_thousand_waiting_behind_a_failing_receiver_lose_no_attempts() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), LogOptions::default()).await;
    log.register("uid", "default", "client").await.unwrap();
    let up = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let state = up.clone();
    let receiver = Scripted::new(move |_, _| match state.load(std::sync::atomic::Ordering::SeqCst) {
        true => OK,
        false => Act::Answer(RETRY),
    });
    let options = Options { breaker_pause: Duration::from_millis(20), ..quick() };
    let options = Options { schedule: crate::queue::Schedule(vec![Duration::from_millis(1); 50]), ..options };
    let _handle = start(&log, &receiver, options);
    log.accept("hub", 1, (0..1000).map(|n| message("uid", None, &format!("{n}"))).collect()).await.unwrap();
    until("some probes", async || receiver.received().len() > 10).await;
    let attempts: u32 = all(&log).await.iter().map(|delivery| delivery.message.attempts).sum();
    assert!(attempts < 100, "{attempts} attempts while the breaker is open");
    up.store(true, std::sync::atomic::Ordering::SeqCst);
    drained(&log).await;
    assert_eq!(stats(&log).delivered, 1000);
}

#[tokio::test]
async fn a_backlog_of_a_hundred_thousand_is_begun_at_its_head_and_stays_on_disk() {
    const BACKLOG: u64 = 100_000;
    let directory = tempdir().unwrap();
    let log = open(directory.path(), LogOptions::default()).await;
    log.register("uid", "default", "client").await.unwrap();
    let shared = message("uid", None, "x");
    for from in (0..BACKLOG).step_by(5000) {
        let batch = (from..from + 5000).map(|n| {
            let event = crate::delivery::Event { id: format!("{n}"), ..(*shared.event).clone() };
            crate::delivery::NewMessage { event: event.into(), ..shared.clone() }
        });
        log.accept("hub", from, batch.collect()).await.unwrap();
    }
    log.close().await;
    let log = open(directory.path(), LogOptions::default()).await;
    // What comes after the first stays under way: whatever is sent beyond it was not needed for it.
    let receiver = Scripted::new(|message, _| if message.number == 1 { OK } else { Act::Hang });
    let _handle = start(&log, &receiver, quick());
    until("the first is delivered", async || stats(&log).delivered == 1).await;
    until("two more are under way", async || receiver.received().len() == 3).await;
    assert_eq!(stats(&log).pending, BACKLOG - 1);
    assert_eq!(receiver.events(), ["0", "1", "2"], "oldest first");
}

#[tokio::test]
async fn what_the_news_did_not_tell_is_found() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), LogOptions::default()).await;
    log.register("uid", "default", "client").await.unwrap();
    log.accept("hub", 1, vec![message("uid", None, "1")]).await.unwrap();
    let connection = rusqlite::Connection::open(directory.path().join("deliveries.db")).unwrap();
    connection.execute("UPDATE message SET lane = NULL", []).unwrap();
    let receiver = Scripted::new(|_, _| OK);
    let _handle = start(&log, &receiver, Options { recheck: Duration::from_millis(20), ..quick() });
    log.accept("hub", 2, vec![message("uid", None, "2")]).await.unwrap();
    until("the other is delivered", async || stats(&log).delivered == 1).await;
    connection.execute("UPDATE message SET lane = 0 WHERE number = 1", []).unwrap();
    drained(&log).await;
    assert_eq!(receiver.events(), ["2", "1"]);
}
