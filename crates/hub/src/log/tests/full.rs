//! No space: appends are refused, nothing is damaged, and it goes on by itself when there is room.

use std::time::Duration;

use bytes::Bytes;
use tempfile::tempdir;

use super::support::*;
use crate::log::{Log, LogError, Options, Outcome, Retention, writer::Message};

#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    let directory = tempdir().unwrap();
    let log = open(&directory, Options::default()).await;
    let shop = stream("shop");
    append(&log, &shop, "before").await;
    log.queue.send(Message::Pages(1)).unwrap();
    let large = || draft_of("large", Bytes::from(vec![0; 100_000]));
    let refused = log.append(&shop, vec![draft("small"), large()]).await;
    assert!(matches!(refused, Err(LogError::Full(_))), "{refused:?}");
    log.queue.send(Message::Pages(1_000_000)).unwrap();
    let outcomes = log.append(&shop, vec![draft("small"), large()]).await.unwrap();
    let sequences: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Recorded { sequence, .. } => *sequence,
            Outcome::Duplicate { .. } => panic!("nothing of the refused delivery may be remembered"),
        })
        .collect();
    assert_eq!(sequences, [2, 3], "no gap");
    assert_eq!(ids(&read_all(&log, &all(), 0).await), ["before", "small", "large"]);
}

#[tokio::test]
async fn the_quota_refuses_before_it_is_exceeded_and_retention_makes_room() {
    let directory = tempdir().unwrap();
    let quota = 2 << 20;
    let log = open(&directory, Options { quota: Some(quota), segment_bytes: 256 << 10, ..small() }).await;
    let shop = stream("shop");
    let body = Bytes::from(vec![0; 20_000]);
    let mut recorded = 0;
    let refused = loop {
        match log.append(&shop, vec![draft_of(&format!("{recorded}"), body.clone())]).await {
            Ok(_) => recorded += 1,
            Err(error) => break error,
        }
        assert!(recorded < 1000, "the quota must end it");
    };
    assert!(matches!(refused, LogError::Full(_)), "{refused}");
    let on_disk: u64 = std::fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
    assert!(on_disk <= quota, "{on_disk} bytes on disk");
    log.retain(&shop, Retention { age: Duration::from_secs(3600), bytes: u64::MAX, events: Some(3) }).await.unwrap();
    until("room is made", async || log.append(&shop, vec![draft_of("after", body.clone())]).await.is_ok()).await;
    assert_eq!(log.stats(&shop).unwrap().last, recorded + 1);
}

#[tokio::test]
async fn a_full_queue_answers_at_once() {
    let directory = tempdir().unwrap();
    let log = open(&directory, Options { queue_bytes: 200_000, ..Options::default() }).await;
    let body = Bytes::from(vec![0; 150_000]);
    let shop = stream("shop");
    let burst = (0..20).map(|n| log.append(&shop, vec![draft_of(&format!("{n}"), body.clone())]));
    let answers = futures::future::join_all(burst).await;
    let recorded = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(LogError::Overloaded))), "{answers:?}");
    assert!((1..20).contains(&recorded), "{recorded} of a burst that is larger than the queue");
    assert_eq!(log.stats(&shop).unwrap().last, recorded);
    append(&log, &shop, "after").await;
}
