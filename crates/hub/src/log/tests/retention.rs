//! Retention, dropped endpoints, and what readers are told of them.

use std::time::Duration;

use tempfile::tempdir;

use super::support::*;
use crate::log::{Log, LogError, Missed, Options, Outcome, Retention, Stream};

const KEEP: Retention = Retention { age: Duration::from_secs(3600), bytes: u64::MAX, events: None };

#[tokio::test]
async fn segments_that_nobody_needs_are_removed_and_ids_are_remembered() {
    let directory = tempdir().unwrap();
    let log = open(&directory, small()).await;
    let (shop, blog) = (stream("shop"), stream("blog"));
    append(&log, &blog, "holds the first segment").await;
    for n in 0..200 {
        append(&log, &shop, &format!("{n}")).await;
    }
    log.retain(&shop, Retention { events: Some(5), ..KEEP }).await.unwrap();
    until("the floor moves", async || log.stats(&shop).unwrap().first == 196).await;
    until("segments go", async || !directory.path().join("segment-00000002.db").exists()).await;
    assert!(directory.path().join("segment-00000001.db").exists(), "another endpoint needs it");
    assert_eq!(ids(&read_all(&log, &only(&["shop"]), 0).await), ["195", "196", "197", "198", "199"]);
    assert!(log.get("default", "shop", 195).await.unwrap().is_none());
    assert!(log.find("default", "shop", "7").await.unwrap().is_none());
    let again = log.append(&shop, vec![draft("7")]).await.unwrap();
    assert_eq!(again, [Outcome::Duplicate { sequence: 8 }], "the id outlives the event");

    log.close().await;
    let log = open(&directory, small()).await;
    assert_eq!(log.stats(&shop).unwrap().first, 196);
    assert_eq!(append(&log, &shop, "next").await, 201);
    assert_eq!(log.append(&shop, vec![draft("7")]).await.unwrap(), [Outcome::Duplicate { sequence: 8 }]);
}

#[tokio::test]
async fn age_and_bytes_take_closed_segments() {
    let directory = tempdir().unwrap();
    let log = open(&directory, small()).await;
    let (old, large) = (stream("old"), stream("large"));
    for n in 0..50 {
        append(&log, &old, &format!("{n}")).await;
        append(&log, &large, &format!("{n}")).await;
    }
    log.retain(&old, Retention { age: Duration::from_millis(1), ..KEEP }).await.unwrap();
    until("age takes all", async || log.stats(&old).unwrap().first == 51).await;
    assert_eq!(log.stats(&large).unwrap().first, 1);
    log.retain(&large, Retention { bytes: 1, ..KEEP }).await.unwrap();
    until("bytes take all but the newest", async || log.stats(&large).unwrap().first > 1).await;
}

#[tokio::test]
async fn ids_are_forgotten_after_their_window() {
    let directory = tempdir().unwrap();
    let log = open(&directory, Options { id_window: Duration::from_millis(1), ..small() }).await;
    let shop = stream("shop");
    for n in 0..150 {
        append(&log, &shop, &format!("{n}")).await;
    }
    log.retain(&shop, Retention { events: Some(1), ..KEEP }).await.unwrap();
    until("the first id file goes", async || {
        !directory.path().join("ids-00000001.db").exists() && directory.path().join("ids-00000002.db").exists()
            || log.append(&shop, vec![draft("0")]).await.unwrap() != [Outcome::Duplicate { sequence: 1 }]
    })
    .await;
}

#[tokio::test]
async fn a_reader_is_told_exactly_how_many_events_it_missed() {
    let directory = tempdir().unwrap();
    let log = open(&directory, small()).await;
    let (shop, blog) = (stream("shop"), stream("blog"));
    let mut positions = vec![log.head()];
    for n in 0..100 {
        append(&log, &shop, &format!("{n}")).await;
        positions.push(log.head());
    }
    append(&log, &blog, "other").await;
    log.retain(&shop, Retention { events: Some(10), ..KEEP }).await.unwrap();
    until("the floor moves", async || log.stats(&shop).unwrap().first == 91).await;
    for seen in [0, 1, 42, 89] {
        let gone = take(&mut log.follow(all(), positions[seen]), 1).await.unwrap_err();
        let expected = Missed::Removed {
            namespace: "default".into(),
            name: "shop".into(),
            events: 90 - seen as u64,
            exact: true,
            first_retained: 91,
            deleted: false,
        };
        assert_eq!(gone, LogError::Gone(expected));
    }
    assert_eq!(take(&mut log.follow(all(), positions[90]), 11).await.unwrap().len(), 11, "nothing after it is missing");
    assert_eq!(ids(&take(&mut log.follow(only(&["blog"]), positions[0]), 1).await.unwrap()), ["other"]);
}

#[tokio::test]
async fn a_deleted_endpoint_takes_its_events_along_and_may_come_back() {
    let directory = tempdir().unwrap();
    let mut log = open(&directory, small()).await;
    let first = stream("shop");
    let start = log.head();
    for n in 0..10 {
        append(&log, &first, &format!("{n}")).await;
    }
    let end = log.head();
    log.drop_stream(&first).await.unwrap();
    for round in 0..2 {
        assert!(matches!(log.append(&first, vec![draft("late")]).await, Err(LogError::Dropped { .. })));
        assert!(read_all(&log, &all(), 0).await.is_empty(), "{round}");
        assert!(log.get("default", "shop", 1).await.unwrap().is_none());
        assert!(log.stats(&first).is_none() && log.streams().is_empty());
        let told = take(&mut log.follow(only(&["shop"]), start), 1).await.unwrap_err().to_string();
        assert!(told.contains("10 events of endpoint default/shop missed, because the endpoint was deleted"), "{told}");
        log.close().await;
        log = open(&directory, small()).await;
    }
    let second = Stream { uid: "another".into(), ..first.clone() };
    assert_eq!(append(&log, &second, "0").await, 1, "ids and sequences begin anew");
    assert_eq!(ids(&take(&mut log.follow(only(&["shop"]), end), 1).await.unwrap()), ["0"]);
    let third = Stream { uid: "yet another".into(), ..first };
    assert_eq!(append(&log, &third, "0").await, 1, "a later incarnation replaces one that was not dropped");
    assert!(matches!(log.append(&second, vec![draft("late")]).await, Err(LogError::Dropped { .. })));
}
