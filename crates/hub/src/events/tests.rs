//! The resource over a real log: list, watch, scope, expiry.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use http::Request;
use roadstead_api::endpoint::Provider;
use roadstead_kubewire::{
    ApiResult, ApiService, Attributes, Authenticator, Authorizer, Catalog, Context, Decision, EventKind, Key,
    ListOptions, Origin, Resource, User, WatchEvent, WatchOptions, WatchStream,
    selector::{FieldSelector, LabelSelector, Requirement},
};
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::log::{Draft, LocalLog, Log, Options, Retention, Stream};

const PATIENCE: Duration = Duration::from_secs(30);

struct Fixture {
    _directory: TempDir,
    log: Arc<LocalLog>,
    events: EventsResource,
    cx: Context,
}

async fn fixture(scope: Scope) -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { retention_interval: Duration::from_millis(10), ..Options::default() };
    let log = LocalLog::open(directory.path(), options).await.unwrap();
    let events = EventsResource::scoped(log.clone(), Arc::new(move |_: &User| scope.clone()));
    Fixture { _directory: directory, log, events, cx: Context::new(User::system(), "test") }
}

fn stream(namespace: &str, name: &str) -> Stream {
    Stream { namespace: namespace.into(), name: name.into(), uid: format!("{namespace}/{name}") }
}

impl Fixture {
    async fn append(&self, namespace: &str, name: &str, id: &str) {
        let draft = Draft {
            id: id.into(),
            dedupe: true,
            kind: if id.contains("pull") { "pull_request" } else { "push" }.into(),
            provider: Provider::Github,
            received_at: jiff::Timestamp::now(),
            verified: true,
            reconciled: false,
            git: None,
            image: None,
            method: "POST".into(),
            headers: vec![roadstead_api::event::Header { name: "content-type".into(), value: "text/plain".into() }],
            body: Bytes::from(format!("body of {id}")),
        };
        self.log.append(&stream(namespace, name), vec![draft]).await.unwrap();
    }

    async fn list(&self, namespace: Option<&str>, options: ListOptions) -> Vec<String> {
        let list = self.events.list(&self.cx, namespace, &options).await.unwrap();
        list.items.iter().map(|item| spec_id(item)).collect()
    }

    async fn watch(&self, namespace: Option<&str>, options: WatchOptions) -> WatchStream {
        self.events.watch(&self.cx, namespace, &options).await.unwrap()
    }
}

fn spec_id(object: &[u8]) -> String {
    let value: Value = serde_json::from_slice(object).unwrap();
    value["spec"]["id"].as_str().unwrap_or("?").to_string()
}

async fn next(watch: &mut WatchStream) -> WatchEvent {
    tokio::time::timeout(PATIENCE, watch.next()).await.expect("an event in time").expect("an open watch")
}

fn field(path: &str, value: &str) -> FieldSelector {
    FieldSelector(vec![(path.into(), value.into(), true)])
}

fn from(version: impl ToString) -> WatchOptions {
    WatchOptions { resource_version: version.to_string(), ..WatchOptions::default() }
}

#[tokio::test]
async fn lists_are_selected_and_paged_at_one_snapshot() {
    let f = fixture(Scope::Everything).await;
    for id in ["a1", "a2-pull", "a3"] {
        f.append("default", "a", id).await;
    }
    f.append("default", "b", "b1").await;
    f.append("other", "a", "o1").await;
    let all = ListOptions::default;
    assert_eq!(f.list(None, all()).await, ["a1", "a2-pull", "a3", "b1", "o1"]);
    assert_eq!(f.list(Some("default"), all()).await, ["a1", "a2-pull", "a3", "b1"]);
    let by = |fields| ListOptions { fields, ..all() };
    assert_eq!(f.list(Some("default"), by(field("spec.endpoint", "b"))).await, ["b1"]);
    assert_eq!(f.list(None, by(field("spec.endpoint", "a"))).await, ["a1", "a2-pull", "a3", "o1"]);
    assert_eq!(f.list(None, by(field("spec.type", "pull_request"))).await, ["a2-pull"]);
    assert_eq!(f.list(None, by(field("spec.id", "a3"))).await, ["a3"]);
    assert_eq!(f.list(Some("default"), by(field("metadata.name", "a-00000000000000000002"))).await, ["a2-pull"]);
    assert_eq!(f.list(None, by(field("metadata.namespace", "other"))).await, ["o1"]);
    let labels = LabelSelector(vec![Requirement::In("roadstead.dev/type".into(), vec!["push".into()])]);
    assert_eq!(f.list(Some("default"), ListOptions { labels, ..all() }).await, ["a1", "a3", "b1"]);

    let (mut found, mut token) = (Vec::new(), None);
    loop {
        let options = ListOptions { limit: 2, continue_token: token, ..all() };
        let page = f.events.list(&f.cx, None, &options).await.unwrap();
        assert!(page.items.len() <= 2);
        found.extend(page.items.iter().map(|item| spec_id(item)));
        f.append("default", "late", &format!("late-{}", found.len())).await;
        token = page.continue_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(found, ["a1", "a2-pull", "a3", "b1", "o1"], "what came later is not of the snapshot");
}

#[tokio::test]
async fn a_watch_begins_where_it_is_told() {
    let f = fixture(Scope::Everything).await;
    for id in ["1", "2", "3"] {
        f.append("default", "a", id).await;
    }
    let after_first = f.log.get("default", "a", 1).await.unwrap().unwrap().position;
    let mut existing = f.watch(None, from("")).await;
    let mut zero = f.watch(Some("default"), from(0)).await;
    let mut resumed = f.watch(None, from(after_first)).await;
    let marked = WatchOptions { send_initial_events: Some(true), bookmarks: true, ..WatchOptions::default() };
    let mut marked = f.watch(None, marked).await;
    let mut live = f.watch(None, WatchOptions { send_initial_events: Some(false), ..WatchOptions::default() }).await;
    f.append("default", "a", "4").await;
    for (what, watch, expected) in [
        ("existing", &mut existing, vec!["1", "2", "3", "4"]),
        ("zero", &mut zero, vec!["1", "2", "3", "4"]),
        ("resumed", &mut resumed, vec!["2", "3", "4"]),
        ("marked", &mut marked, vec!["1", "2", "3", "end", "4"]),
        ("live", &mut live, vec!["4"]),
    ] {
        for id in expected {
            let event = next(watch).await;
            match event.kind {
                EventKind::Bookmark => assert_eq!(id, "end", "{what}"),
                _ => assert_eq!((event.kind, spec_id(&event.object)), (EventKind::Added, id.into()), "{what}"),
            }
        }
        assert!(watch.next().now_or_never().is_none(), "{what} has no more");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_watch_gets_bookmarks_that_move_with_the_log() {
    let f = fixture(Scope::Everything).await;
    let options = WatchOptions { bookmarks: true, fields: field("spec.endpoint", "quiet"), ..from("") };
    let mut watch = f.watch(Some("default"), options).await;
    let mut last = 0;
    for n in 0..3 {
        f.append("default", "busy", &n.to_string()).await;
        let started = tokio::time::Instant::now();
        let event = next(&mut watch).await;
        assert!(started.elapsed() <= Duration::from_secs(30));
        let object: Value = serde_json::from_slice(&event.object).unwrap();
        assert_eq!((event.kind, &object["kind"]), (EventKind::Bookmark, &Value::from("WebhookEvent")));
        let version: u64 = object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        assert!(version > last);
        last = version;
    }
}

#[tokio::test]
async fn what_retention_removed_is_told_and_the_watch_ends() {
    let f = fixture(Scope::Everything).await;
    f.append("default", "other", "kept").await;
    for id in ["1", "2", "3", "4", "5"] {
        f.append("default", "a", id).await;
    }
    let seen = f.log.get("default", "a", 2).await.unwrap().unwrap().position;
    let keep_one = Retention { events: Some(1), ..Retention::default() };
    f.log.retain(&stream("default", "a"), keep_one).await.unwrap();
    let removed = async {
        while f.log.stats(&stream("default", "a")).unwrap().first < 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, removed).await.expect("in vain: four are removed");
    let mut watch = f.watch(None, from(seen)).await;
    let event = next(&mut watch).await;
    let status: Value = serde_json::from_slice(&event.object).unwrap();
    assert_eq!((event.kind, &status["code"], &status["reason"]), (EventKind::Error, &410.into(), &"Expired".into()));
    let message = status["message"].as_str().unwrap();
    assert!(message.contains("2 events of endpoint default/a missed"), "{message}");
    assert!(message.contains("first retained sequence is 5"), "{message}");
    assert!(watch.next().await.is_none());
    // Others are not concerned.
    let mut other = f.watch(Some("default"), WatchOptions { fields: field("spec.endpoint", "other"), ..from(1) }).await;
    assert_eq!(spec_id(&next(&mut other).await.object), "kept");
    let all = f.list(None, ListOptions::default()).await;
    assert_eq!(all, ["kept", "5"]);
}

#[tokio::test]
async fn outside_the_scope_nothing_exists() {
    let f = fixture(Scope::Endpoints(vec![("default".into(), "mine".into())])).await;
    f.append("default", "theirs", "secret").await;
    f.append("default", "mine", "m1").await;
    f.append("other", "mine", "secret-too").await;
    let name = |endpoint: &str| Key::new("default", format!("{endpoint}-00000000000000000001"));
    assert_eq!(spec_id(&f.events.get(&f.cx, &name("mine")).await.unwrap()), "m1");
    let missing = f.events.get(&f.cx, &Key::new("default", "mine-00000000000000000009")).await.unwrap_err();
    let hidden = f.events.get(&f.cx, &name("theirs")).await.unwrap_err();
    assert_eq!((hidden.code, hidden.reason), (missing.code, missing.reason));
    let parts = Request::new(()).into_parts().0;
    let body = f.events.connect(&f.cx, &name("theirs"), "body", &parts).await.unwrap();
    assert_eq!(body.unwrap_err().code, 404);
    for namespace in [None, Some("default")] {
        assert_eq!(f.list(namespace, ListOptions::default()).await, ["m1"]);
        let theirs = ListOptions { fields: field("spec.endpoint", "theirs"), ..ListOptions::default() };
        assert!(f.list(namespace, theirs).await.is_empty());
    }
    assert!(f.list(Some("other"), ListOptions::default()).await.is_empty());
    let mut watch = f.watch(None, from("")).await;
    let mut hidden = f.watch(None, WatchOptions { fields: field("spec.endpoint", "theirs"), ..from("") }).await;
    f.append("default", "theirs", "secret-2").await;
    f.append("default", "mine", "m2").await;
    assert_eq!(spec_id(&next(&mut watch).await.object), "m1");
    assert_eq!(spec_id(&next(&mut watch).await.object), "m2");
    assert!(hidden.next().now_or_never().is_none());
}

#[tokio::test]
async fn the_body_comes_as_it_was_sent() {
    let f = fixture(Scope::Everything).await;
    f.append("default", "a", "1").await;
    let parts = Request::new(()).into_parts().0;
    let key = Key::new("default", "a-00000000000000000001");
    let response = f.events.connect(&f.cx, &key, "body", &parts).await.unwrap().unwrap();
    assert_eq!(response.body(), "body of 1");
    assert_eq!(
        (&response.headers()["content-type"], &response.headers()["x-roadstead-event-id"]),
        (&"text/plain".parse().unwrap(), &"1".parse().unwrap())
    );
    assert!(f.events.connect(&f.cx, &key, "status", &parts).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn versions_that_cannot_be_are_refused() {
    let f = fixture(Scope::Everything).await;
    f.append("default", "a", "1").await;
    let future = (f.log.head() + 10).to_string();
    assert_eq!(f.events.watch(&f.cx, None, &from(&future)).await.err().unwrap().code, 504);
    assert_eq!(f.events.watch(&f.cx, None, &from("x")).await.err().unwrap().code, 400);
    let options = ListOptions { resource_version: future, ..ListOptions::default() };
    assert_eq!(f.events.list(&f.cx, None, &options).await.err().unwrap().code, 504);
    let beyond =
        ListOptions { continue_token: Some("MTowOjE4NDQ2NzQ0MDczNzA5NTUxNjE1".into()), ..ListOptions::default() };
    let page = f.events.list(&f.cx, None, &beyond).await.unwrap();
    assert_eq!((page.items.len(), page.continue_token), (1, None), "a made-up token ends at the head");
    let options = ListOptions { continue_token: Some("x".into()), ..ListOptions::default() };
    assert_eq!(f.events.list(&f.cx, None, &options).await.err().unwrap().code, 400);
}

#[tokio::test]
async fn writes_are_refused() {
    let f = fixture(Scope::Everything).await;
    let error = f.events.create(&f.cx, Some("default"), Default::default(), &Default::default()).await.unwrap_err();
    assert_eq!(error.code, 405);
}

/// Lets in whoever is in this process.
struct Everybody;

#[async_trait::async_trait]
impl Authenticator for Everybody {
    async fn authenticate(&self, _: &http::request::Parts, _: &Origin) -> ApiResult<Option<User>> {
        Ok(None)
    }
}

#[async_trait::async_trait]
impl Authorizer for Everybody {
    async fn authorize(&self, _: &User, _: &Attributes) -> Decision {
        Decision::Allow
    }
}

#[tokio::test]
async fn the_table_shows_how_old_an_event_is() {
    let f = fixture(Scope::Everything).await;
    f.append("default", "shop", "a").await;
    let catalog = Catalog::new(vec![Arc::new(f.events)]);
    let service = ApiService::builder(catalog, Arc::new(Everybody), Arc::new(Everybody)).build();
    let request = Request::get("/apis/log.roadstead.dev/v1alpha1/namespaces/default/webhookevents")
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(http_body_util::Empty::<Bytes>::new())
        .unwrap();
    let response = tower::ServiceExt::oneshot(service.in_process(User::system()), request).await.unwrap();
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    let table: Value = serde_json::from_slice(&body).unwrap();
    let columns = table["columnDefinitions"].as_array().expect("columns");
    let age = columns.iter().position(|column| column["name"] == "Age").expect("a column Age");
    let shown = table["rows"][0]["cells"][age].as_str().expect("an age");
    assert!(shown.starts_with(|c: char| c.is_ascii_digit()), "{shown}");
}
