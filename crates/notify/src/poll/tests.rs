//! Polling a server that answers as a registry does, into a real delivery log.

use std::collections::BTreeMap;

use roadstead_api::registry_webhook::Source;
use roadstead_outbound::registry::Access;
use roadstead_reconcile::Targets;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::{
    log::{Options, Place, Selection},
    matching::Wants,
    queue::Limits,
    table::Webhook,
};

const UID: &str = "uid";

/// A repository of this name makes the registry refuse its catalog.
const CLOSED: &str = "closed";

/// Repositories, and their tags with a digit for the digest.
type Content = Arc<Mutex<BTreeMap<String, BTreeMap<String, u8>>>>;

fn digest(digit: u8) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

/// Status, one header and body for a request.
fn answer(content: &Content, path: &str) -> (u16, String, String) {
    let content = content.lock().unwrap();
    let path = path.split('?').next().unwrap().trim_start_matches("/v2/");
    if path.is_empty() {
        return (200, String::new(), "{}".into());
    }
    if path == "_catalog" && content.contains_key(CLOSED) {
        return (401, String::new(), String::new());
    }
    if path == "_catalog" {
        let names: Vec<_> = content.keys().collect();
        return (200, String::new(), serde_json::json!({"repositories": names}).to_string());
    }
    if let Some(repository) = path.strip_suffix("/tags/list") {
        return match content.get(repository) {
            Some(tags) => {
                (200, String::new(), serde_json::json!({"tags": tags.keys().collect::<Vec<_>>()}).to_string())
            }
            None => (404, String::new(), String::new()),
        };
    }
    let found = path.split_once("/manifests/").and_then(|(name, tag)| content.get(name)?.get(tag));
    match found {
        Some(digit) => (200, format!("docker-content-digest: {}\r\n", digest(*digit)), String::new()),
        None => (404, String::new(), String::new()),
    }
}

async fn serve(mut stream: TcpStream, content: Content) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if !stream.read(&mut byte).await.is_ok_and(|read| read == 1) {
            return;
        }
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let (status, header, body) = answer(&content, head.split(' ').nth(1).unwrap());
    let length = body.len();
    let text = format!("HTTP/1.1 {status} x\r\n{header}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
    let _ = stream.write_all(text.as_bytes()).await;
}

struct World {
    content: Content,
    task: Task,
    directory: tempfile::TempDir,
}

impl World {
    async fn new(change: impl FnOnce(&mut RegistryWebhookSpec)) -> World {
        let (content, listener) = (Content::default(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = content.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, served.clone()));
            }
        });
        let repositories = vec!["team/*".to_owned()];
        let poll = Poll { url: url.clone(), repositories, interval: "5m".into(), secret_ref: None, ca_ref: None };
        let mut spec = RegistryWebhookSpec {
            source: Source { endpoint: None, poll: Some(poll.clone()) },
            ..RegistryWebhookSpec::default()
        };
        change(&mut spec);
        let table = Table::default();
        let wants = Some(Wants::compile("default", &spec).unwrap());
        let (namespace, name) = ("default".to_owned(), "client".to_owned());
        let limits = Limits { concurrency: 1, rate: None, suspended: true };
        let webhook = Webhook { uid: UID.into(), namespace, name, wants, route: None, limits };
        table.put(UID, Some(Arc::new(webhook)));
        let access = Access { url: &url, credentials: None, ca: None, targets: Targets::with_loopback() };
        let registry = Registry::new(access).unwrap();
        let polled = Polled::new(UID, &spec, &poll, Duration::from_secs(300), registry, Vec::new()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let log = DeliveryLog::open(&directory.path().join("log"), Options::default()).await.unwrap();
        log.register(UID, "default", "client").await.unwrap();
        let poller = Poller {
            log,
            tags: TagStore::open(&directory.path().join("tags.db")).unwrap(),
            table,
            tell: Arc::new(|_, _| ()),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            running: Running::default(),
        };
        World { content, task: Task { poller, uid: UID.into(), polled: Arc::new(polled) }, directory }
    }

    fn push(&self, repository: &str, tag: &str, digit: u8) {
        self.content.lock().unwrap().entry(repository.into()).or_default().insert(tag.into(), digit);
    }

    async fn poll(&self) -> Result<Walked, Trouble> {
        self.task.poll(&mut String::new()).await
    }

    /// Another spec, as the controller makes it known.
    fn respec(&mut self, change: impl FnOnce(&mut RegistryWebhookSpec)) {
        let polled = &self.task.polled;
        let repositories = vec!["team/*".to_owned()];
        let poll =
            Poll { url: polled.url.clone(), repositories, interval: "5m".into(), secret_ref: None, ca_ref: None };
        let source = Source { endpoint: None, poll: Some(poll.clone()) };
        let mut spec = RegistryWebhookSpec { source, ..RegistryWebhookSpec::default() };
        change(&mut spec);
        self.want(Wants::compile("default", &spec).ok());
        let registry = polled.registry.clone();
        self.task.polled = Arc::new(Polled::new(UID, &spec, &poll, polled.every, registry, Vec::new()).unwrap());
    }

    fn want(&self, wants: Option<Wants>) {
        let webhook = self.task.poller.table.get(UID).unwrap();
        self.task.poller.table.put(UID, Some(Arc::new(Webhook { wants, ..(*webhook).clone() })));
    }

    async fn sources(&self) -> usize {
        self.task.poller.tags.sources().await.unwrap().len()
    }

    /// What is queued: kind, image, and the digest's digit.
    async fn queued(&self) -> Vec<String> {
        let page = self.task.poller.log.page(&Selection::default(), Place::default(), 100).await.unwrap();
        let told = page.deliveries.into_iter().map(|delivery| {
            let event = delivery.message.event;
            assert!(event.reconciled && event.origin == self.task.polled.url, "{event:?}");
            let image = &event.image;
            format!("{} {}:{} {}", event.kind, image.repository, image.tag, &image.digest[7..8])
        });
        told.collect()
    }
}

#[tokio::test]
async fn what_changes_after_first_contact_is_queued_once() {
    let world = World::new(|_| ()).await;
    world.push("team/shop", "v1", 1);
    world.push("team/shop", "v2", 2);
    world.push("other/app", "v1", 1);
    for _ in 0..2 {
        assert_eq!(world.poll().await.unwrap().announced, 0);
    }
    assert!(world.queued().await.is_empty());

    world.push("team/shop", "v1", 3);
    world.push("team/new", "v1", 4);
    world.push("other/app", "v1", 5);
    world.content.lock().unwrap().get_mut("team/shop").unwrap().remove("v2");
    for announced in [3, 0] {
        assert_eq!(world.poll().await.unwrap().announced, announced);
    }
    let expected = ["push team/new:v1 4", "push team/shop:v1 3", "delete team/shop:v2 2"];
    assert_eq!(world.queued().await, expected);
}

#[tokio::test]
async fn a_crash_between_queueing_and_knowing_queues_nothing_twice() {
    let world = World::new(|_| ()).await;
    world.push("team/shop", "v1", 1);
    world.poll().await.unwrap();
    // A copy of what is known, as it is before: what a crash leaves behind.
    let before = world.directory.path().join("before.db");
    let copy = rusqlite::Connection::open(world.directory.path().join("tags.db")).unwrap();
    copy.execute("VACUUM INTO ?1", [before.to_str().unwrap()]).unwrap();
    world.push("team/shop", "v1", 2);
    assert_eq!(world.poll().await.unwrap().announced, 1);
    let World { content, mut task, directory } = world;
    task.poller.tags = TagStore::open(&before).unwrap();
    let world = World { content, task, directory };
    assert_eq!(world.poll().await.unwrap().announced, 1, "it is found again");
    assert_eq!(world.queued().await, ["push team/shop:v1 2"]);
    // The same digest later is another change.
    for digit in [1, 2] {
        world.push("team/shop", "v1", digit);
        world.poll().await.unwrap();
    }
    assert_eq!(world.queued().await, ["push team/shop:v1 2", "push team/shop:v1 1", "push team/shop:v1 2"]);
}

#[tokio::test]
async fn filters_hold_for_what_is_polled_too() {
    let world = World::new(|spec| {
        spec.tags = vec!["v*".into()];
        spec.events = vec!["push".into()];
    })
    .await;
    world.push("team/shop", "v1", 1);
    world.poll().await.unwrap();
    world.push("team/shop", "v2", 2);
    world.push("team/shop", "latest", 2);
    world.content.lock().unwrap().get_mut("team/shop").unwrap().remove("v1");
    world.poll().await.unwrap();
    assert_eq!(world.queued().await, ["push team/shop:v2 2"]);
}

#[tokio::test]
async fn an_address_without_a_registry_takes_nothing_for_gone() {
    let world = World::new(|_| ()).await;
    world.push("team/shop", "v1", 1);
    world.poll().await.unwrap();
    let nobody = World::new(|_| ()).await;
    let url = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let access =
        Access { url: &format!("http://{url}"), credentials: None, ca: None, targets: Targets::with_loopback() };
    let registry = Registry::new(access).unwrap();
    let Polled { source, scope, .. } = &*world.task.polled;
    let outcome = walk(&registry, &world.task.poller.tags, source, scope, &mut String::new(), &nobody.task).await;
    assert!(matches!(outcome, Err(Obstacle::Registry(RegistryError::Unreachable(_)))), "{outcome:?}");
    assert!(world.queued().await.is_empty() && nobody.queued().await.is_empty());
}

#[tokio::test]
async fn wildcards_without_a_catalog_are_no_success() {
    let world = World::new(|_| ()).await;
    world.push("team/shop", "v1", 1);
    let said = async || reachable(world.poll().await, world.task.polled.globs);
    assert_eq!(said().await, Ok("1 repositories compared".into()));
    world.push(CLOSED, "v1", 1);
    let (reason, message) = said().await.unwrap_err();
    assert!(reason == "CatalogRefused" && message.ends_with("1 repositories compared"), "{message}");
    assert_eq!(reachable(world.poll().await, false), Ok("1 repositories compared".into()), "names need none");
}

#[tokio::test]
async fn nothing_is_taken_over_while_nobody_knows_what_is_wanted() {
    let world = World::new(|_| ()).await;
    let wants = world.task.poller.table.get(UID).unwrap().wants.clone();
    world.want(None);
    world.push("team/shop", "v1", 1);
    let outcome = reachable(world.poll().await, true);
    assert_eq!(outcome.unwrap_err().0, "InvalidFilter");
    assert_eq!(world.sources().await, 0);
    world.want(wants);
    assert_eq!(world.poll().await.unwrap().announced, 0, "it was there at first contact");
}

#[tokio::test]
async fn going_back_to_an_earlier_spec_begins_anew() {
    let mut world = World::new(|_| ()).await;
    world.push("team/shop", "v1", 1);
    world.poll().await.unwrap();
    world.respec(|spec| spec.tags = vec!["w*".into()]);
    world.poll().await.unwrap();
    assert_eq!(world.sources().await, 1, "what was known under the earlier spec is forgotten");
    for digit in 2..5 {
        world.push("team/shop", &format!("v{digit}"), digit);
    }
    world.respec(|_| ());
    assert_eq!(world.poll().await.unwrap().announced, 0);
    world.push("team/shop", "v1", 9);
    assert_eq!(world.poll().await.unwrap().announced, 1);
    assert_eq!(world.queued().await, ["push team/shop:v1 9"]);
}

/// Another filter is published a moment before another task begins: the one that still runs must not take all that now passes for news.
#[tokio::test]
async fn a_filter_that_comes_before_its_task_floods_nobody() {
    let world = World::new(|spec| spec.tags = vec!["v*".into()]).await;
    for tag in ["v1", "w1", "w2"] {
        world.push("team/shop", tag, 1);
    }
    world.poll().await.unwrap();
    let spec = RegistryWebhookSpec { tags: vec!["w*".into()], ..RegistryWebhookSpec::default() };
    world.want(Some(Wants::compile("default", &spec).unwrap()));
    world.poll().await.unwrap();
    assert!(world.queued().await.is_empty(), "{:?}", world.queued().await);
}

#[tokio::test]
async fn a_webhook_that_polls_no_more_is_forgotten_and_one_that_cannot_is_not() {
    let world = World::new(|_| ()).await;
    world.push("team/shop", "v1", 1);
    world.poll().await.unwrap();
    let poller = &world.task.poller;
    poller.configure(UID, Some(world.task.polled.clone()));
    poller.pause(UID);
    assert!(poller.polled(UID).is_none() && world.sources().await == 1);
    poller.configure(UID, None);
    poller.tasks.close();
    tokio::time::timeout(Duration::from_secs(30), poller.tasks.wait()).await.unwrap();
    assert_eq!(world.sources().await, 0);
}

#[tokio::test]
async fn polling_goes_on_after_a_panic() {
    let mut world = World::new(|_| ()).await;
    let (told, mut reports) = tokio::sync::mpsc::unbounded_channel();
    let first = std::sync::atomic::AtomicBool::new(true);
    world.task.poller.tell = Arc::new(move |_, report| {
        assert!(!first.swap(false, std::sync::atomic::Ordering::SeqCst), "the first report is not taken");
        told.send(report).unwrap();
    });
    world.task.poller.configure(UID, Some(world.task.polled.clone()));
    let report = tokio::time::timeout(Duration::from_secs(60), reports.recv()).await.unwrap().unwrap();
    assert!(report.reachable.is_ok(), "{report:?}");
    world.task.poller.stop.cancel();
}
