//! Files that cannot be trusted are refused with the reason, and stay as they are; a backup is a log.

use std::{fs, path::Path};

use rusqlite::Connection;
use tempfile::tempdir;

use super::support::*;
use crate::log::{DeliveryLog, LogError, Options, restore};

async fn filled(directory: &Path) {
    let log = open(directory, Options::default()).await;
    log.register("uid", "default", "client").await.unwrap();
    log.accept("hub", 5, (0..500).map(|n| message("uid", None, &format!("{n}"))).collect()).await.unwrap();
    log.close().await;
}

async fn refused(directory: &Path) -> String {
    match DeliveryLog::open(directory, Options::default()).await {
        Err(LogError::Unusable { reason, .. }) => reason,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("the log opened"),
    }
}

#[tokio::test]
async fn damaged_and_newer_files_are_refused_with_the_reason() {
    let truncate = |path: &Path| {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() - 4096).unwrap();
    };
    let newer = |path: &Path| Connection::open(path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let other = |path: &Path| Connection::open(path).unwrap().pragma_update(None, "application_id", 7).unwrap();
    let garbage =
        |path: &Path| fs::write(path, "not a database, but long enough to have a header".repeat(200)).unwrap();
    let scribbled = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let end = bytes.len();
        bytes[4096..end].fill(0xa5);
        fs::write(path, bytes).unwrap();
    };
    type Damage<'a> = (&'a dyn Fn(&Path), &'a str);
    let cases: [Damage<'_>; 5] = [
        (&truncate, "cut short"),
        (&newer, "newer than this release"),
        (&other, "not a delivery log"),
        (&garbage, "not a usable SQLite database"),
        (&scribbled, "damaged"),
    ];
    for (damage, expected) in cases {
        let directory = tempdir().unwrap();
        filled(directory.path()).await;
        let path = directory.path().join("deliveries.db");
        damage(&path);
        let before = fs::read(&path).unwrap();
        let reason = refused(directory.path()).await;
        assert!(reason.contains(expected), "{expected}: {reason}");
        assert!(fs::read(&path).unwrap() == before, "{expected}: it was written to");
    }
}

#[tokio::test]
async fn a_log_is_open_once() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), Options::default()).await;
    assert!(refused(directory.path()).await.contains("in use"));
    log.close().await;
    open(directory.path(), Options::default()).await;
}

#[tokio::test]
async fn a_backup_is_restored_with_its_cursor_and_higher_positions() {
    let (directory, backups) = (tempdir().unwrap(), tempdir().unwrap());
    filled(directory.path()).await;
    let log = open(directory.path(), Options::default()).await;
    let (copy, restored) = (backups.path().join("copy"), backups.path().join("restored"));
    log.backup_to(&copy).await.unwrap();
    log.accept("hub", 6, vec![message("uid", None, "later")]).await.unwrap();
    restore(&copy, &restored).unwrap();
    assert!(restore(&copy, &restored).unwrap_err().to_string().contains("exists"));
    let again = open(&restored, Options::default()).await;
    assert_eq!((again.cursor("hub"), again.stats("uid").unwrap().pending), (Some(5), 500));
    assert!(again.head() > log.head());
    assert_eq!(again.accept("hub", 6, vec![message("uid", None, "later")]).await, Ok(1));
}
