//! A runner that ends without warning, between any two steps, and starts again over the same log: nothing is lost, and what is sent
//! again has the same id.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tempfile::tempdir;

use super::support::*;
use crate::{
    log::{LogError, Options as LogOptions, tests::full::pages},
    queue::Options,
};

#[tokio::test]
async fn killed_between_sending_and_recording_the_same_id_goes_out_again() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), LogOptions::default()).await;
    log.register("uid", "default", "client").await.unwrap();
    log.accept("hub", 1, vec![message("uid", Some("a"), "1"), message("uid", Some("a"), "2")]).await.unwrap();
    let receiver = Scripted::new(|_, _| Act::Hang);
    let handle = start(&log, &receiver, quick());
    until("it is received", async || receiver.received().len() == 1).await;
    drop(handle);
    log.close().await;
    let log = open(directory.path(), LogOptions::default()).await;
    let second = Scripted::new(|_, _| OK);
    let _handle = start(&log, &second, quick());
    drained(&log).await;
    assert_eq!(second.events(), ["1", "2"]);
    assert_eq!(second.received()[0].id, receiver.received()[0].id);
    assert_eq!(log.stats("uid").unwrap().delivered, 2);
}

#[tokio::test]
async fn killed_again_and_again_everything_is_delivered_in_order() {
    let directory = tempdir().unwrap();
    let sent = Arc::new(AtomicU32::new(0));
    let mut order: Vec<(String, String)> = Vec::new();
    let mut accepted = 0;
    for round in 0..30u32 {
        let log = open(directory.path(), LogOptions::default()).await;
        log.register("uid", "default", "client").await.unwrap();
        let count = sent.clone();
        // Some answers come at once, some later than the end, and some are failures.
        let receiver = Scripted::new(move |_, tries| match count.fetch_add(1, Ordering::SeqCst) % 11 {
            3 => FAIL,
            5 => Act::After(Duration::from_millis(u64::from(tries % 3)), crate::delivery::Verdict::Delivered),
            7 if tries < 2 => Act::Hang,
            _ => OK,
        });
        let handle = start(&log, &receiver, Options { deadline: Duration::from_millis(20), ..quick() });
        let batch = |from: u64| {
            let id = |n: u64| format!("{}{n:04}", ["a", "b", "c", "d"][n as usize % 4]);
            (from..from + 10).map(|n| message("uid", Some(&id(n)[..1]), &id(n))).collect()
        };
        log.accept("hub", u64::from(round), batch(accepted)).await.unwrap();
        accepted += 10;
        let end = 1 + (round as usize * 7) % 23;
        until("some are received", async || receiver.received().len() >= end || log.totals().pending == 0).await;
        drop(handle);
        order.extend(receiver.received().into_iter().map(|received| (received.event, received.id)));
        log.close().await;
    }
    let log = open(directory.path(), LogOptions::default()).await;
    let receiver = Scripted::new(|_, _| OK);
    let _handle = start(&log, &receiver, quick());
    drained(&log).await;
    order.extend(receiver.received().into_iter().map(|received| (received.event, received.id)));
    let mut ids: HashMap<&str, HashSet<&str>> = HashMap::new();
    let mut last: HashMap<&str, &str> = HashMap::new();
    for (event, id) in &order {
        ids.entry(event).or_default().insert(id);
        let before = last.insert(&event[..1], event);
        assert!(before.is_none_or(|before| before <= event.as_str()), "{event} after {before:?}");
    }
    assert_eq!(ids.len() as u64, accepted, "every message was sent");
    assert!(ids.values().all(|ids| ids.len() == 1), "always with the same id");
    assert_eq!(log.stats("uid").unwrap().delivered, accepted);
}

#[tokio::test]
async fn an_orderly_end_records_what_is_under_way() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), LogOptions::default()).await;
    log.register("uid", "default", "client").await.unwrap();
    log.accept("hub", 1, (0..50).map(|n| message("uid", None, &format!("{n}"))).collect()).await.unwrap();
    let slow = Act::After(Duration::from_millis(30), crate::delivery::Verdict::Delivered);
    let receiver = Scripted::new(move |_, _| slow);
    let handle = start(&log, &receiver, quick());
    until("it is received", async || !receiver.received().is_empty()).await;
    handle.shutdown(Duration::from_secs(20)).await;
    let stats = log.stats("uid").unwrap();
    assert_eq!(stats.delivered, receiver.received().len() as u64);
    assert_eq!(stats.pending, 50 - stats.delivered);
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_sent_again_and_is_recorded_later() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), LogOptions::default()).await;
    log.register("uid", "default", "client").await.unwrap();
    let receiver = Scripted::new(|_, _| Act::Answer(crate::delivery::Verdict::Delivered));
    log.accept("hub", 1, (0..40).map(|n| message("uid", Some("a"), &format!("{n:02}"))).collect()).await.unwrap();
    pages(&log, 1).await;
    let refused = log.accept("hub", 2, (0..500).map(|n| message("uid", None, &format!("x{n}"))).collect()).await;
    assert!(matches!(refused, Err(LogError::Full(_))), "{refused:?}");
    let _handle = start(&log, &receiver, quick());
    until("some are received", async || !receiver.received().is_empty()).await;
    pages(&log, 1_000_000).await;
    drained(&log).await;
    let expected: Vec<String> = (0..40).map(|n| format!("{n:02}")).collect();
    assert_eq!(receiver.events(), expected, "each once, in order");
    assert_eq!(log.stats("uid").unwrap().delivered, 40);
}
