//! What the tests share: a log in a temporary directory, drafts, and readers that collect.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use roadstead_api::{endpoint::Provider, event::Header};
use tempfile::TempDir;

use crate::log::{
    Draft, Endpoints, Follow, Limit, LocalLog, Log, LogError, Options, Outcome, Record, Selection, Stream,
};

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Options with small segments and quick retention.
pub fn small() -> Options {
    Options {
        segment_bytes: 128 << 10,
        ring_bytes: 16 << 10,
        retention_interval: Duration::from_millis(20),
        shortest_segment: Duration::from_millis(1),
        ..Options::default()
    }
}

pub async fn open(directory: &TempDir, options: Options) -> Arc<LocalLog> {
    LocalLog::open(directory.path(), options).await.unwrap()
}

pub fn stream(name: &str) -> Stream {
    Stream { namespace: "default".into(), name: name.into(), uid: format!("uid-of-{name}") }
}

pub fn draft(id: &str) -> Draft {
    draft_of(id, Bytes::from(format!("{{\"id\":\"{id}\"}}")))
}

pub fn draft_of(id: &str, body: Bytes) -> Draft {
    Draft {
        id: id.into(),
        dedupe: true,
        kind: "push".into(),
        provider: Provider::Github,
        received_at: jiff::Timestamp::now(),
        verified: true,
        reconciled: false,
        git: None,
        image: None,
        method: "POST".into(),
        headers: vec![Header { name: "content-type".into(), value: "application/json".into() }],
        body,
    }
}

/// Appends one event; its sequence.
pub async fn append(log: &LocalLog, stream: &Stream, id: &str) -> u64 {
    match log.append(stream, vec![draft(id)]).await.unwrap()[..] {
        [Outcome::Recorded { sequence, .. }] => sequence,
        ref other => panic!("{other:?}"),
    }
}

pub fn all() -> Selection {
    Selection::of(Endpoints::All)
}

pub fn only(names: &[&str]) -> Selection {
    Selection::of(Endpoints::Named(names.iter().map(|name| ("default".into(), (*name).into())).collect()))
}

/// Everything that is retained, page by page.
pub async fn read_all(log: &LocalLog, selection: &Selection, after: u64) -> Vec<Arc<Record>> {
    let (head, mut at, mut found) = (log.head(), after, Vec::new());
    while at < head {
        let page = log.read(selection, at, head, Limit { events: 7, bytes: 1 << 20 }).await.unwrap();
        assert!(page.through > at, "a page must move on");
        at = page.through;
        found.extend(page.records);
    }
    found
}

/// The next `count` events of a follower.
pub async fn take(follow: &mut Box<dyn Follow>, count: usize) -> Result<Vec<Arc<Record>>, LogError> {
    let mut found = Vec::new();
    while found.len() < count {
        found.extend(tokio::time::timeout(PATIENCE, follow.next()).await.expect("events in time")?);
    }
    Ok(found)
}

pub fn ids(records: &[Arc<Record>]) -> Vec<String> {
    records.iter().map(|record| record.id.to_string()).collect()
}

/// Polls until `done`, or fails.
pub async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !done().await {
        assert!(tokio::time::Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
