//! Files that cannot be trusted are refused with the reason, and stay as they are.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rusqlite::Connection;
use tempfile::{TempDir, tempdir};

use super::support::*;
use crate::log::{LocalLog, Log, LogError};

/// A closed log with several segments.
async fn filled() -> TempDir {
    let directory = tempdir().unwrap();
    let log = open(&directory, small()).await;
    for n in 0..150 {
        append(&log, &stream("shop"), &format!("{n}")).await;
    }
    until("sealed segments", async || directory.path().join("ids-00000002.db").exists()).await;
    log.close().await;
    directory
}

async fn refused(directory: &TempDir) -> (PathBuf, String) {
    match LocalLog::open(directory.path(), small()).await {
        Err(LogError::Unusable { path, reason }) => (path, reason),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("the log opened"),
    }
}

fn last_segment(directory: &Path) -> String {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("segment-") && name.ends_with(".db")).max().unwrap()
}

#[tokio::test]
async fn damaged_and_newer_files_are_refused_with_the_reason() {
    let active = {
        let directory = filled().await;
        last_segment(directory.path())
    };
    let truncate = |path: &Path| {
        let file = fs::File::options().write(true).open(path).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length - 4096).unwrap();
    };
    let newer = |path: &Path| Connection::open(path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let other = |path: &Path| Connection::open(path).unwrap().pragma_update(None, "application_id", 7).unwrap();
    let garbage =
        |path: &Path| fs::write(path, "not a database, but long enough to have a header".repeat(200)).unwrap();
    type Damage<'a> = (&'a str, &'a dyn Fn(&Path), &'a str);
    let cases: [Damage<'_>; 4] = [
        ("truncated", &truncate, "cut short"),
        ("newer", &newer, "newer than this release"),
        ("of another program", &other, "event log"),
        ("garbage", &garbage, "not a usable SQLite database"),
    ];
    for name in ["catalogue.db", "segment-00000001.db", &active, "ids-00000001.db"] {
        for (what, damage, expected) in &cases {
            let directory = filled().await;
            let path = directory.path().join(name);
            damage(&path);
            let before = fs::read(&path).unwrap();
            let (refused, reason) = refused(&directory).await;
            assert!(reason.contains(expected), "{name} {what}: {reason}");
            assert_eq!(refused, path, "{what}: {reason}");
            assert!(fs::read(&path).unwrap() == before, "{name} {what} was written to");
        }
    }
}

#[tokio::test]
async fn a_missing_catalogue_is_not_replaced_by_an_empty_one() {
    let directory = filled().await;
    fs::remove_file(directory.path().join("catalogue.db")).unwrap();
    let (_, reason) = refused(&directory).await;
    assert!(reason.contains("missing"), "{reason}");
}

#[tokio::test]
async fn lost_id_files_are_made_again() {
    let directory = filled().await;
    fs::remove_file(directory.path().join("ids-00000001.db")).unwrap();
    let log = open(&directory, small()).await;
    let again = log.append(&stream("shop"), vec![draft("3")]).await.unwrap();
    assert_eq!(again, [crate::log::Outcome::Duplicate { sequence: 4 }]);
    until("the file is made again", async || directory.path().join("ids-00000001.db").exists()).await;
}
