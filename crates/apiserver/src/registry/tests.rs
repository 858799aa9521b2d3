//! A registry over a store in memory.

use roadstead_kubewire::{ResourceInfo, Subresource, Verb};

use super::*;
use crate::{registry::names::NameRule, schema::Schema};

/// A custom kind with a status.
pub(crate) fn thing() -> Kind {
    let status = Subresource {
        name: "status".into(),
        kind: "Thing".into(),
        group_version: None,
        verbs: vec![Verb::Get, Verb::Patch, Verb::Update],
    };
    Kind {
        info: ResourceInfo {
            group: "example.com".into(),
            version: "v1".into(),
            kind: "Thing".into(),
            list_kind: "ThingList".into(),
            plural: "things".into(),
            singular: "thing".into(),
            namespaced: true,
            subresources: vec![status],
            selectable_fields: vec![".spec.size".into()],
            ..ResourceInfo::default()
        },
        schema: KindSchema::Custom(
            Schema::compile(
                &json!({"type": "object", "properties": {
            "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
                "size": {"type": "integer"}, "shape": {"type": "string", "default": "round"}}},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}),
                &serde_json::Map::new(),
            )
            .unwrap(),
        ),
        resource: resource_name("example.com", "things"),
        since: 0,
        names: NameRule::Subdomain,
        counts_generation: true,
        blind_update: false,
        update_creates: false,
        returns_deleted: false,
        scale: Some(scale::Paths::workload()),
        hooks: Box::new(Plain),
    }
}

use futures::StreamExt;
use roadstead_kubewire::{
    EventKind,
    options::{Propagation, VersionMatch},
    selector::{FieldSelector, LabelSelector, Requirement},
};
use serde_json::json;

use crate::store::{Bounds, Draft, Expect, Options, Write};

async fn things(history: Bounds) -> (Store, Arc<Registry>) {
    let store = Store::open(&Options { files: None, history }).unwrap();
    for (name, deleted) in [("default", None), ("other", None), ("dying", Some("2026-01-01T00:00:00Z"))] {
        let namespace = json!({"metadata": {"name": name, "deletionTimestamp": deleted}});
        let action = crate::store::Action::Put(Draft::new(&namespace));
        let key = Key::new("", name);
        store
            .write(Write { resource: "namespaces".into(), key, expect: Expect::Absent, guard: None, action })
            .await
            .unwrap();
    }
    (store.clone(), Registry::new(thing(), store))
}

/// No particular behaviour.
struct Plain;

impl Hooks for Plain {}

fn payload(value: &Value) -> Payload {
    Payload { bytes: value.to_string().into(), ..Payload::default() }
}

fn sent(name: &str, size: u32) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": name, "labels": {"size": size.to_string()}},
           "spec": {"size": size}})
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

pub(crate) struct Client(pub Arc<Registry>);

impl Client {
    pub async fn create(&self, value: Value) -> ApiResult<Value> {
        let options = WriteOptions::default();
        self.0.create(&Context::default(), Some("default"), payload(&value), &options).await.map(|w| json(&w.json))
    }

    async fn update(&self, sub: Option<&str>, value: &Value) -> ApiResult<Value> {
        let key = Key::new("default", value["metadata"]["name"].as_str().unwrap());
        let options = WriteOptions::default();
        self.0.update(&Context::default(), &key, sub, payload(value), &options).await.map(|w| json(&w.json))
    }

    async fn merge(&self, name: &str, sub: Option<&str>, patch: Value) -> ApiResult<Value> {
        let key = Key::new("default", name);
        let options = WriteOptions::default();
        let (cx, patch) = (Context::default(), payload(&patch));
        self.0.patch(&cx, &key, sub, PatchKind::Merge, patch, &options).await.map(|w| json(&w.json))
    }

    async fn delete(&self, name: &str, options: DeleteOptions) -> ApiResult<Value> {
        let key = Key::new("default", name);
        self.0.delete(&Context::default(), &key, &options).await.map(|w| json(&w.json))
    }

    pub async fn get(&self, name: &str) -> ApiResult<Value> {
        self.0.get(&Context::default(), &Key::new("default", name)).await.map(|b| json(&b))
    }

    async fn list(&self, options: ListOptions) -> ApiResult<List> {
        self.0.list(&Context::default(), None, &options).await
    }

    async fn watch(&self, options: WatchOptions) -> WatchStream {
        self.0.watch(&Context::default(), None, &options).await.unwrap()
    }
}

pub(crate) async fn client() -> Client {
    Client(things(Bounds::default()).await.1)
}

fn names(list: &List) -> Vec<String> {
    list.items.iter().map(|item| json(item)["metadata"]["name"].as_str().unwrap().to_string()).collect()
}

#[tokio::test]
async fn an_object_lives_its_life() {
    let client = client().await;
    let created = client.create(sent("x", 1)).await.unwrap();
    assert_eq!(created["metadata"]["generation"], 1);
    assert_eq!(created["metadata"]["namespace"], "default");
    assert_eq!(client.create(sent("x", 1)).await.unwrap_err().reason, "AlreadyExists");
    assert_eq!(client.get("x").await.unwrap(), created);

    let mut next = created.clone();
    next["spec"]["size"] = json!(2);
    next["status"] = json!({"ignored": true});
    let updated = client.update(None, &next).await.unwrap();
    assert_eq!((&updated["metadata"]["generation"], &updated["status"]), (&json!(2), &Value::Null));
    assert_eq!(client.update(None, &next).await.unwrap_err().reason, "Conflict");
    assert_eq!(client.update(None, &updated).await.unwrap(), updated, "what changes nothing is not written");

    let patched =
        client.merge("x", Some("status"), json!({"status": {"ok": true}, "spec": {"size": 9}})).await.unwrap();
    assert_eq!((&patched["status"]["ok"], &patched["spec"]["size"]), (&json!(true), &json!(2)));
    assert_eq!(patched["metadata"]["generation"], 2);
    let stale = json!({"metadata": {"resourceVersion": created["metadata"]["resourceVersion"]}});
    assert_eq!(client.merge("x", None, stale).await.unwrap_err().reason, "Conflict");

    let status = client.delete("x", DeleteOptions::default()).await.unwrap();
    assert_eq!((&status["status"], &status["details"]["uid"]), (&json!("Success"), &created["metadata"]["uid"]));
    assert_eq!(client.get("x").await.unwrap_err().code, 404);
    assert_eq!(client.merge("x", None, json!({})).await.unwrap_err().code, 404);
}

#[tokio::test]
async fn names_are_generated_and_namespaces_must_be_alive() {
    let client = client().await;
    let mut generated = sent("", 1);
    generated["metadata"]["generateName"] = json!("x-");
    let (one, two) = (client.create(generated.clone()).await.unwrap(), client.create(generated).await.unwrap());
    assert!(one["metadata"]["name"].as_str().unwrap().starts_with("x-"));
    assert_ne!(one["metadata"]["name"], two["metadata"]["name"]);
    assert_eq!(client.create(sent("", 1)).await.unwrap_err().reason, "Invalid");
    for (namespace, code) in [("missing", 404), ("dying", 403), ("other", 0)] {
        let (cx, options) = (Context::default(), WriteOptions::default());
        let made = client.0.create(&cx, Some(namespace), payload(&sent("x", 1)), &options);
        assert_eq!(made.await.err().map_or(0, |error| error.code), code, "{namespace}");
    }
}

#[tokio::test]
async fn finalizers_hold_an_object_until_the_last_is_gone() {
    let client = client().await;
    let mut held = sent("x", 1);
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    client.create(held).await.unwrap();
    let options = DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
    let marked = client.delete("x", options).await.unwrap();
    assert_eq!(marked["metadata"]["finalizers"], json!(["example.com/hold", "foregroundDeletion"]));
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    let left = client.merge("x", None, json!({"metadata": {"finalizers": ["foregroundDeletion"]}})).await.unwrap();
    assert_eq!(client.delete("x", DeleteOptions::default()).await.unwrap(), left, "deleting again changes nothing");
    client.merge("x", None, json!({"metadata": {"finalizers": null}})).await.unwrap();
    assert_eq!(client.get("x").await.unwrap_err().code, 404);
}

#[tokio::test]
async fn dry_runs_decide_everything_and_store_nothing() {
    let client = client().await;
    let options = WriteOptions { dry_run: true, ..WriteOptions::default() };
    let (cx, key) = (Context::default(), Key::new("default", "x"));
    let made = client.0.create(&cx, Some("default"), payload(&sent("x", 1)), &options).await.unwrap();
    assert!(json(&made.json)["metadata"]["uid"].is_string());
    assert_eq!(client.get("x").await.unwrap_err().code, 404);
    let live = client.create(sent("x", 1)).await.unwrap();
    let again = client.0.create(&cx, Some("default"), payload(&sent("x", 1)), &options).await.unwrap_err();
    assert_eq!(again.reason, "AlreadyExists");
    let patch = payload(&json!({"spec": {"size": 5}}));
    let patched = client.0.patch(&cx, &key, None, PatchKind::Merge, patch, &options).await.unwrap();
    assert_eq!(json(&patched.json)["spec"]["size"], 5);
    client.delete("x", DeleteOptions { dry_run: true, ..DeleteOptions::default() }).await.unwrap();
    assert_eq!(client.get("x").await.unwrap(), live);
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let client = client().await;
    let mut large = sent("x", 1);
    large["spec"]["text"] = json!("x".repeat(write::OBJECT_MAX));
    assert_eq!(client.create(large).await.unwrap_err().code, 413);
}

#[tokio::test]
async fn patches_without_a_version_all_land() {
    let client = Arc::new(client().await);
    client.create(sent("x", 0)).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..8 {
        let client = client.clone();
        tasks.spawn(async move { client.merge("x", None, json!({"spec": {format!("f{n}"): n}})).await.unwrap() });
    }
    tasks.join_all().await;
    let spec = client.get("x").await.unwrap()["spec"].clone();
    assert!((0..8).all(|n| spec[format!("f{n}")] == n), "{spec}");
}

#[tokio::test]
async fn pages_show_one_version_while_others_write() {
    let client = client().await;
    for n in 0..10 {
        client.create(sent(&format!("x{n}"), n)).await.unwrap();
    }
    let first = client.list(ListOptions { limit: 4, ..ListOptions::default() }).await.unwrap();
    assert_eq!((names(&first).join(" "), first.remaining), ("x0 x1 x2 x3".into(), Some(6)));
    client.delete("x5", DeleteOptions::default()).await.unwrap();
    client.create(sent("x55", 1)).await.unwrap();
    client.merge("x6", None, json!({"spec": {"size": 99}})).await.unwrap();
    let next = ListOptions { limit: 5, continue_token: first.continue_token, ..ListOptions::default() };
    let second = client.list(next.clone()).await.unwrap();
    assert_eq!(names(&second).join(" "), "x4 x5 x6 x7 x8");
    assert_eq!(json(&second.items[2])["spec"]["size"], 6);
    assert_eq!(second.resource_version, first.resource_version);
    let third = client.list(ListOptions { continue_token: second.continue_token, ..next }).await.unwrap();
    assert_eq!((names(&third).join(" "), third.continue_token), ("x9".into(), None));
    // The first page of a version is of that version without being said so.
    let old = ListOptions { resource_version: first.resource_version.clone(), limit: 7, ..ListOptions::default() };
    assert_eq!(names(&client.list(old).await.unwrap()).join(" "), "x0 x1 x2 x3 x4 x5 x6");
    let exact = ListOptions {
        resource_version: first.resource_version,
        version_match: VersionMatch::Exact,
        labels: LabelSelector(vec![Requirement::In("size".into(), vec!["5".into()])]),
        ..ListOptions::default()
    };
    assert_eq!(names(&client.list(exact).await.unwrap()).join(" "), "x5");
}

#[tokio::test]
async fn old_tokens_and_future_versions_are_told_so() {
    let (_, registry) = things(Bounds { changes: 2, bytes: 1 << 20 }).await;
    let client = Client(registry);
    for n in 0..3 {
        client.create(sent(&format!("x{n}"), n)).await.unwrap();
    }
    let first = client.list(ListOptions { limit: 1, ..ListOptions::default() }).await.unwrap();
    for n in 3..6 {
        client.create(sent(&format!("x{n}"), n)).await.unwrap();
    }
    let late = ListOptions { continue_token: first.continue_token, ..ListOptions::default() };
    assert_eq!(client.list(late).await.unwrap_err().code, 410);
    tokio::time::pause();
    let future = ListOptions { resource_version: "1000".into(), ..ListOptions::default() };
    let error = client.list(future).await.unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (504, "Too large resource version: 1000, current: 9"));
    for version in ["1", "1000"] {
        let options = WatchOptions { resource_version: version.into(), ..WatchOptions::default() };
        let events: Vec<_> = client.watch(options).await.collect().await;
        assert_eq!((events.len(), json(&events[0].object)["code"].clone()), (1, json!(410)));
    }
}

async fn seen(stream: &mut WatchStream, count: usize) -> Vec<String> {
    let take = stream.take(count).map(|event| {
        let object = json(&event.object);
        format!("{} {}", event.kind.as_str(), object["metadata"]["name"].as_str().unwrap_or_default())
    });
    tokio::time::timeout(std::time::Duration::from_secs(10), take.collect()).await.unwrap()
}

#[tokio::test]
async fn watches_see_what_enters_and_leaves_their_selection() {
    let client = client().await;
    client.create(sent("a", 1)).await.unwrap();
    client.create(sent("b", 2)).await.unwrap();
    let by_label = LabelSelector(vec![Requirement::In("size".into(), vec!["1".into()])]);
    let by_field = FieldSelector(vec![("spec.size".into(), "1".into(), true)]);
    let mut all = client.watch(WatchOptions::default()).await;
    let mut labels = client.watch(WatchOptions { labels: by_label, ..WatchOptions::default() }).await;
    let mut fields = client.watch(WatchOptions { fields: by_field, ..WatchOptions::default() }).await;
    assert_eq!(seen(&mut all, 2).await, ["ADDED a", "ADDED b"]);
    let resize = |size: u32| json!({"metadata": {"labels": {"size": size.to_string()}}, "spec": {"size": size}});
    client.merge("b", None, resize(1)).await.unwrap();
    client.merge("a", None, resize(3)).await.unwrap();
    client.merge("b", None, json!({"metadata": {"labels": {"more": "yes"}}})).await.unwrap();
    client.delete("b", DeleteOptions::default()).await.unwrap();
    client.delete("a", DeleteOptions::default()).await.unwrap();
    let expected = ["ADDED a", "ADDED b", "DELETED a", "MODIFIED b", "DELETED b"];
    assert_eq!(seen(&mut labels, 5).await, expected);
    assert_eq!(seen(&mut fields, 5).await, expected);
    assert_eq!(seen(&mut all, 5).await, ["MODIFIED b", "MODIFIED a", "MODIFIED b", "DELETED b", "DELETED a"]);
}

#[tokio::test(start_paused = true)]
async fn streaming_lists_end_with_a_bookmark_and_more_come_each_minute() {
    let client = client().await;
    client.create(sent("a", 1)).await.unwrap();
    let options = WatchOptions {
        send_initial_events: Some(true),
        version_match: VersionMatch::NotOlderThan,
        bookmarks: true,
        ..WatchOptions::default()
    };
    let mut stream = client.watch(options).await;
    assert_eq!(stream.next().await.unwrap().kind, EventKind::Added);
    let end = stream.next().await.unwrap();
    assert_eq!(json(&end.object)["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    client
        .0
        .store
        .write(crate::store::Write {
            resource: "others".into(),
            key: Key::new("", "o"),
            expect: Expect::Absent,
            guard: None,
            action: crate::store::Action::Put(Draft::new(&json!({"metadata": {}}))),
        })
        .await
        .unwrap();
    let bookmark = stream.next().await.unwrap();
    assert_eq!(bookmark.kind, EventKind::Bookmark);
    assert_eq!(json(&bookmark.object)["metadata"]["resourceVersion"], "5", "other resources' writes count");
    client.0.retire();
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn another_version_shows_the_same_objects_by_its_own_name() {
    let client = client().await;
    let mut kind = thing();
    kind.info.version = "v2".into();
    let newer = Client(Registry::new(kind, client.0.store.clone()));
    let mut stream = newer.watch(WatchOptions::default()).await;
    let made = client.create(sent("x", 1)).await.unwrap();
    let shown = newer.get("x").await.unwrap();
    assert_eq!((&shown["apiVersion"], &shown["metadata"]), (&json!("example.com/v2"), &made["metadata"]));
    assert_eq!(json(&stream.next().await.unwrap().object), shown);
    assert_eq!(json(&newer.list(ListOptions::default()).await.unwrap().items[0]), shown);
    let updated = newer.merge("x", None, json!({"spec": {"size": 7}})).await.unwrap();
    assert_eq!(updated["apiVersion"], "example.com/v2");
    assert_eq!(client.get("x").await.unwrap()["apiVersion"], "example.com/v1");
}

#[tokio::test]
async fn a_collection_is_deleted_as_selected() {
    let client = client().await;
    for n in 0..4 {
        client.create(sent(&format!("x{n}"), n % 2)).await.unwrap();
    }
    let labels = LabelSelector(vec![Requirement::In("size".into(), vec!["1".into()])]);
    let options = ListOptions { labels, ..ListOptions::default() };
    let (cx, delete) = (Context::default(), DeleteOptions::default());
    let deleted = client.0.delete_collection(&cx, Some("default"), &options, &delete).await.unwrap();
    assert_eq!(json(&deleted.json)["items"].as_array().unwrap().len(), 2);
    assert_eq!(names(&client.list(ListOptions::default()).await.unwrap()).join(" "), "x0 x2");
}

#[tokio::test]
async fn a_watcher_that_does_not_read_delays_nobody() {
    let (_, registry) = things(Bounds { changes: 10, bytes: 1 << 20 }).await;
    let client = Client(registry);
    let mut slow = client.watch(WatchOptions::default()).await;
    let mut quick = client.watch(WatchOptions::default()).await;
    client.create(sent("x", 0)).await.unwrap();
    assert_eq!(seen(&mut slow, 1).await, ["ADDED x"]);
    assert_eq!(seen(&mut quick, 1).await, ["ADDED x"]);
    for n in 1..100 {
        client.merge("x", None, json!({"spec": {"size": n}})).await.unwrap();
        assert_eq!(seen(&mut quick, 1).await, ["MODIFIED x"]);
    }
    let rest: Vec<_> = slow.collect().await;
    assert_eq!((rest.len(), json(&rest[0].object)["reason"].clone()), (1, json!("Expired")));
}
