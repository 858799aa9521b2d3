//! Backup while appending, and what readers of the lost life are told after a restore.

use tempfile::tempdir;

use super::support::*;
use crate::log::{LocalLog, Log, LogError, Missed, Outcome, restore};

#[tokio::test]
async fn a_backup_has_everything_acknowledged_before_it_and_a_restore_begins_another_life() {
    let (directory, elsewhere) = (tempdir().unwrap(), tempdir().unwrap());
    let log = open(&directory, small()).await;
    let shop = stream("shop");
    for n in 0..60 {
        append(&log, &shop, &format!("before-{n}")).await;
    }
    let at_backup = log.head();
    let backup = elsewhere.path().join("backup");
    let (copied, ()) = tokio::join!(log.backup_to(&backup), async {
        for n in 0..60 {
            append(&log, &shop, &format!("during-{n}")).await;
        }
    });
    copied.unwrap();
    let lost = log.head();
    log.close().await;

    let target = elsewhere.path().join("log");
    restore(&backup, &target).unwrap();
    let log = LocalLog::open(&target, small()).await.unwrap();
    let kept = read_all(&log, &all(), 0).await;
    let sequences: Vec<u64> = kept.iter().map(|record| record.sequence).collect();
    assert!(kept.len() >= 60 && sequences == (1..=kept.len() as u64).collect::<Vec<_>>(), "{sequences:?}");
    assert_eq!(log.append(&shop, vec![draft("before-7")]).await.unwrap(), [Outcome::Duplicate { sequence: 8 }]);

    assert!(log.head() > lost, "positions of the lost life are never given again");
    let next = append(&log, &shop, "after").await;
    assert_eq!(next, kept.len() as u64 + 1);
    if lost > kept.last().unwrap().position {
        let gone = take(&mut log.follow(all(), lost), 1).await.unwrap_err();
        assert_eq!(gone, LogError::Gone(Missed::Restored { position: lost }));
    }
    let resumed = take(&mut log.follow(all(), at_backup), kept.len() - 60 + 1).await.unwrap();
    assert_eq!(ids(&resumed).last().unwrap(), "after", "a reader from before the backup goes on");
    assert!(matches!(restore(&backup, &target), Err(LogError::Unusable { .. })));
}
