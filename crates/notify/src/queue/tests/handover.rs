//! Several processes: each webhook is sent to by the one that holds its shard, and goes on where the other stopped.

use std::{collections::HashSet, time::Duration};

use tempfile::tempdir;

use super::support::*;
use crate::{
    log::Options as LogOptions,
    queue::{Shards, owner},
};

#[tokio::test]
async fn a_shard_goes_from_one_process_to_another_with_its_log() {
    // Two shards, each with a log of its own; the first process holds both, as after the second has died.
    let directories = [tempdir().unwrap(), tempdir().unwrap()];
    let uids: Vec<String> = (0..8).map(|n| format!("uid-{n}")).collect();
    let of = |shard: u32| uids.iter().filter(move |uid| owner(uid, 2) == shard);
    assert!(of(0).count() > 0 && of(1).count() > 0);
    let receiver = Scripted::new(|_, _| OK);
    let mut first = Vec::new();
    for (shard, directory) in directories.iter().enumerate() {
        let log = open(directory.path(), LogOptions::default()).await;
        for uid in of(shard as u32) {
            log.register(uid, "default", uid).await.unwrap();
            log.accept("hub", 1, vec![message(uid, Some("a"), "1")]).await.unwrap();
        }
        let handle = start(&log, &receiver, quick());
        drained(&log).await;
        first.push((log, handle));
    }
    // The second process is back: the first ends what it does for shard 1 and lets the log go, then the lease.
    let (log, handle) = first.pop().unwrap();
    handle.shutdown(Duration::from_secs(10)).await;
    log.close().await;
    let second = Scripted::new(|_, _| OK);
    let log = open(directories[1].path(), LogOptions::default()).await;
    let _second = start(&log, &second, quick());
    for uid in &uids {
        let log = if owner(uid, 2) == 1 { &log } else { &first[0].0 };
        log.accept("hub", 2, vec![message(uid, Some("a"), "2")]).await.unwrap();
    }
    drained(&log).await;
    drained(&first[0].0).await;
    let webhooks = |received: Vec<Received>, event: &str| -> HashSet<String> {
        received.into_iter().filter(|received| received.event == event).map(|received| received.webhook).collect()
    };
    assert_eq!(webhooks(receiver.received(), "1"), uids.iter().cloned().collect());
    assert_eq!(webhooks(receiver.received(), "2"), of(0).cloned().collect());
    assert_eq!(webhooks(second.received(), "2"), of(1).cloned().collect());
}

#[tokio::test]
async fn a_runner_sends_only_for_the_shards_it_holds() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), LogOptions::default()).await;
    let uids: Vec<String> = (0..8).map(|n| format!("uid-{n}")).collect();
    for uid in &uids {
        log.register(uid, "default", uid).await.unwrap();
    }
    let (left, right) = (Scripted::new(|_, _| OK), Scripted::new(|_, _| OK));
    let (one, other) = (start(&log, &left, quick()), start(&log, &right, quick()));
    one.hold(Shards::some(2, [0]));
    other.hold(Shards::some(2, []));
    // Until both have heard it nothing is queued.
    until("it is heard", async || one.holds(&Shards::some(2, [0])) && other.holds(&Shards::some(2, []))).await;
    let batch = |id: &str| uids.iter().map(|uid| message(uid, None, id)).collect();
    log.accept("hub", 1, batch("1")).await.unwrap();
    let foreign = uids.iter().filter(|uid| owner(uid, 2) == 1).count() as u64;
    until("its own are delivered", async || log.totals().pending == foreign).await;
    assert!(right.received().is_empty());
    other.hold(Shards::some(2, [1]));
    drained(&log).await;
    assert_eq!(right.received().len() as u64, foreign);
    assert_eq!(left.received().len() + right.received().len(), uids.len());
}
