//! Cursors when the scope changes, and batches that are wider than a transaction.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use jiff::Timestamp;
use roadstead_api::{RegistryWebhookSpec, event::ImageChange};
use serde_json::json;
use tempfile::tempdir;

use super::*;
use crate::{
    log::{
        Options,
        tests::support::{open, until},
    },
    matching::Wants,
    queue::Limits,
    source::Follow,
    table::Webhook,
};

/// A source that tells one batch.
struct Once {
    head: u64,
    batch: Mutex<Option<Batch>>,
}

impl Once {
    fn empty(head: u64) -> Self {
        Self { head, batch: Mutex::default() }
    }
}

impl Source for Once {
    fn head(&self) -> u64 {
        self.head
    }

    fn follow(&self, _: u64) -> Box<dyn Follow> {
        Box::new(Batches(self.batch.lock().unwrap().take()))
    }
}

struct Batches(Option<Batch>);

#[async_trait]
impl Follow for Batches {
    async fn next(&mut self) -> Result<Batch, SourceError> {
        match self.0.take() {
            Some(batch) => Ok(batch),
            None => std::future::pending().await,
        }
    }
}

fn known(cursors: &[(&str, u64)]) -> BTreeMap<String, u64> {
    cursors.iter().map(|(name, position)| (name.to_string(), *position)).collect()
}

#[test]
fn a_scope_that_changes_passes_nothing_over_and_leaves_nothing_behind() {
    let (set, gone) = (|name: &str, to| (name.to_string(), Some(to)), |name: &str| (name.to_string(), None));
    for (what, before, parts, expected) in [
        ("the first start", vec![], vec!["hub"], vec![set("hub", 50)]),
        ("again", vec![("hub", 7)], vec!["hub"], vec![]),
        (
            "named to all: where the last one stands",
            vec![("hub/a", 10), ("hub/b", 15)],
            vec!["hub"],
            vec![set("hub", 10), gone("hub/a"), gone("hub/b")],
        ),
        (
            "all to named",
            vec![("hub", 20)],
            vec!["hub/a", "hub/b"],
            vec![set("hub/a", 20), set("hub/b", 20), gone("hub")],
        ),
        ("one more", vec![("hub/a", 10)], vec!["hub/a", "hub/b"], vec![set("hub/b", 10)]),
        ("one less", vec![("hub/a", 10), ("hub/b", 15)], vec!["hub/b"], vec![gone("hub/a")]),
        ("the event log is new", vec![("hub", 70)], vec!["hub"], vec![set("hub", 0)]),
        ("and the scope too", vec![("hub/a", 70)], vec!["hub"], vec![set("hub", 0), gone("hub/a")]),
    ] {
        let parts: Vec<String> = parts.into_iter().map(Into::into).collect();
        assert_eq!(cursors(&known(&before), &parts, 50), expected, "{what}");
    }
}

#[tokio::test]
async fn cursors_of_another_scope_are_gone_for_good() {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), Options::default()).await;
    for (cursor, position) in [("hub/a", 10), ("hub/b", 15), ("hubbub", 3)] {
        log.accept(cursor, position, Vec::new()).await.unwrap();
    }
    begin(&log, &Once::empty(20), &Namespaces::default()).await.unwrap();
    log.close().await;
    let log = open(directory.path(), Options::default()).await;
    let expected = known(&[("hub", 10), ("hubbub", 3)]);
    assert_eq!(log.cursors().into_iter().collect::<BTreeMap<_, _>>(), expected);
}

fn change(position: u64) -> Change {
    Change {
        position,
        namespace: "default".into(),
        endpoint: "registry".into(),
        id: format!("event-{position}"),
        at: Timestamp::now(),
        image: ImageChange { repository: "team/shop".into(), action: "push".into(), ..ImageChange::default() },
        verified: true,
        reconciled: false,
    }
}

#[tokio::test]
async fn a_wide_batch_is_queued_in_several_transactions() {
    const WEBHOOKS: usize = 1500;
    let directory = tempdir().unwrap();
    let commits = Arc::new(AtomicUsize::new(0));
    let counted = commits.clone();
    let on_commit = Arc::new(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let log = open(directory.path(), Options { on_commit: Some(on_commit), ..Options::default() }).await;
    let spec: RegistryWebhookSpec = serde_json::from_value(json!({
        "url": "https://receiver.example.com",
        "source": {"endpoint": "registry"},
        "secretRef": {"name": "client", "key": "secret"},
    }))
    .unwrap();
    let table = Table::default();
    let names: Vec<String> = (0..WEBHOOKS).map(|n| format!("w{n}")).collect();
    futures::future::try_join_all(names.iter().map(|name| log.register(name, "default", name))).await.unwrap();
    for name in &names {
        let webhook = Webhook {
            uid: name.clone(),
            namespace: "default".into(),
            name: name.clone(),
            wants: Some(Wants::compile("default", &spec).unwrap()),
            route: None,
            limits: Limits { concurrency: 1, rate: None, suspended: false },
        };
        table.put(name, Some(Arc::new(webhook)));
    }
    let batch = Batch { changes: (1..=3).map(|n| change(n * 10)).collect(), through: 35 };
    let source = Arc::new(Once { head: 35, batch: Mutex::new(Some(batch)) });
    let before = commits.load(Ordering::SeqCst);
    let (_known, is_known) = watch::channel(Known::from([None]));
    let metrics = Metrics::new(&mut prometheus_client::registry::Registry::default());
    let feed = Feed { log: log.clone(), source, table, part: None, known: is_known, metrics };
    let stop = CancellationToken::new();
    let running = tokio::spawn(feed.run(stop.clone()));
    until("all of it is queued", async || log.cursor(ALL) == Some(35)).await;
    assert_eq!(log.totals().pending, 3 * WEBHOOKS as u64);
    assert_eq!(commits.load(Ordering::SeqCst) - before, 3, "4500 messages, at most 2000 at once");
    stop.cancel();
    running.await.unwrap();
}
