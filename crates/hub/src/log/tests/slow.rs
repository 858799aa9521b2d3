//! Readers that are slow, or many.

use std::time::Duration;

use bytes::Bytes;
use tempfile::tempdir;

use super::support::*;
use crate::log::{Log, Options};

#[tokio::test]
async fn a_reader_that_falls_out_of_the_ring_gets_every_event_from_disk() {
    let directory = tempdir().unwrap();
    let log = open(&directory, Options { ring_bytes: 20_000, ..small() }).await;
    let shop = stream("shop");
    let mut slow = log.follow(only(&["shop"]), log.head());
    append(&log, &shop, "0").await;
    assert_eq!(ids(&take(&mut slow, 1).await.unwrap()), ["0"]);
    let mut fast = log.follow(only(&["shop"]), log.head());
    for n in 1..300 {
        append(&log, &shop, &n.to_string()).await;
        assert_eq!(ids(&take(&mut fast, 1).await.unwrap()), [n.to_string()], "the slow one delays nobody");
    }
    assert!(log.metrics().ring_bytes <= 20_000);
    let expected: Vec<String> = (1..300).map(|n| n.to_string()).collect();
    assert_eq!(ids(&take(&mut slow, 299).await.unwrap()), expected);
}

#[tokio::test]
async fn stalled_readers_of_a_long_log_hold_little() {
    let directory = tempdir().unwrap();
    let log = open(&directory, Options { ring_bytes: 20_000, ..Options::default() }).await;
    let shop = stream("shop");
    let body = Bytes::from(vec![b'x'; 20_000]);
    let drafts = (0..200).map(|n| draft_of(&n.to_string(), body.clone())).collect();
    log.append(&shop, drafts).await.unwrap();
    let mut held = 0;
    let mut stalled = Vec::new();
    for _ in 0..300 {
        let mut follow = log.follow(only(&["shop"]), 1);
        let first = tokio::time::timeout(PATIENCE, follow.next()).await.unwrap().unwrap();
        held += first.iter().map(|record| record.frame().line.len()).sum::<usize>();
        stalled.push((follow, first));
    }
    // The budget for large reads, and a small one for each of the rest.
    assert!(held <= (64 << 20) + 300 * (64 << 10) + (1 << 20), "{held}");
}

#[tokio::test]
async fn many_readers_of_one_endpoint_all_get_it() {
    let directory = tempdir().unwrap();
    let log = open(&directory, small()).await;
    let shop = stream("shop");
    let readers: Vec<_> = (0..1000)
        .map(|_| {
            let mut follow = log.follow(only(&["shop"]), log.head());
            tokio::spawn(async move { ids(&take(&mut follow, 3).await.unwrap()) })
        })
        .collect();
    assert_eq!(log.metrics().followers, 1000);
    for id in ["a", "b", "c"] {
        append(&log, &shop, id).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for reader in readers {
        assert_eq!(reader.await.unwrap(), ["a", "b", "c"]);
    }
    until("they are gone", async || log.metrics().followers == 0).await;
}

#[tokio::test]
async fn closing_ends_followers_and_appends() {
    let directory = tempdir().unwrap();
    let log = open(&directory, small()).await;
    let mut follow = log.follow(all(), log.head());
    let waiting = tokio::spawn(async move { follow.next().await.map(|_| ()) });
    tokio::task::yield_now().await;
    let handle = log.clone();
    log.close().await;
    assert_eq!(waiting.await.unwrap(), Err(crate::log::LogError::Closed));
    assert_eq!(handle.append(&stream("shop"), vec![draft("1")]).await, Err(crate::log::LogError::Closed));
}

#[tokio::test]
async fn a_reader_that_never_lets_go_cannot_grow_the_write_ahead_log() {
    let directory = tempdir().unwrap();
    let options = small();
    let limit = options.segment_bytes + (1 << 20);
    let log = open(&directory, options).await;
    append(&log, &stream("shop"), "first").await;
    let reader = rusqlite::Connection::open(directory.path().join("segment-00000001.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM event;").unwrap();
    for n in 0..400 {
        append(&log, &stream("shop"), &n.to_string()).await;
    }
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        let length = entry.metadata().unwrap().len();
        assert!(length <= limit, "{:?}: {length}", entry.file_name());
    }
    let sealed = |ordinal: u64| directory.path().join(format!("ids-{ordinal:08}.db")).exists();
    until("segments that nobody reads are sealed", async || sealed(2)).await;
    drop(reader);
    until("the first one follows", async || sealed(1)).await;
}
