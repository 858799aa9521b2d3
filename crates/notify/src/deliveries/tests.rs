//! The resource over a real log: get, pages, selectors, and watches that resume.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use roadstead_kubewire::{
    Context, Key, ListOptions, Resource, WatchOptions, WatchStream, selector::FieldSelector, watch::EventKind,
};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use super::DeliveriesResource;
use crate::log::{Decision, DeliveryLog, Options, tests::support::*};

async fn filled() -> (TempDir, Arc<DeliveryLog>, DeliveriesResource) {
    let directory = tempdir().unwrap();
    let log = open(directory.path(), Options::default()).await;
    log.register("uid", "default", "client").await.unwrap();
    log.register("other", "team-b", "client").await.unwrap();
    let batch = (0..5).map(|n| message("uid", None, &format!("{n}"))).chain([message("other", None, "0")]);
    log.accept("hub", 1, batch.collect()).await.unwrap();
    record(&log, 2, Decision::Delivered).await;
    record(&log, 3, Decision::DeadLetter).await;
    (directory, log.clone(), DeliveriesResource::new(log))
}

fn context() -> Context {
    Context::default()
}

fn by(path: &str, value: &str) -> FieldSelector {
    FieldSelector(vec![(path.into(), value.into(), true)])
}

fn name_of(object: &[u8]) -> String {
    let object: Value = serde_json::from_slice(object).unwrap();
    let (namespace, name) = (object["metadata"]["namespace"].as_str(), object["metadata"]["name"].as_str());
    format!("{}/{}", namespace.unwrap(), name.unwrap().trim_start_matches("client-").trim_start_matches('0'))
}

async fn names(resource: &DeliveriesResource, namespace: Option<&str>, fields: FieldSelector) -> Vec<String> {
    let mut options = ListOptions { fields, limit: 2, ..ListOptions::default() };
    let mut found = Vec::new();
    loop {
        let page = resource.list(&context(), namespace, &options).await.unwrap();
        assert!(page.items.len() <= 2);
        found.extend(page.items.iter().map(|item| name_of(item)));
        match page.continue_token {
            Some(token) => options.continue_token = Some(token),
            None => return found,
        }
    }
}

#[tokio::test]
async fn objects_tell_the_message_and_its_attempts() {
    let (_directory, _log, resource) = filled().await;
    let key = Key::new("default", "client-00000000000000000002");
    let object: Value = serde_json::from_slice(&resource.get(&context(), &key).await.unwrap()).unwrap();
    assert_eq!(object["apiVersion"], "log.roadstead.dev/v1alpha1");
    assert_eq!(object["spec"]["event"], "1");
    assert_eq!(object["spec"]["image"]["repository"], "team/shop");
    assert_eq!(object["status"]["state"], "Delivered");
    assert_eq!(object["status"]["attempts"][0]["status"], 204);
    for name in ["client-00000000000000000099", "client-2", "nonsense"] {
        assert!(resource.get(&context(), &Key::new("default", name)).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn lists_are_paged_and_selected() {
    let (_directory, _log, resource) = filled().await;
    let everything = FieldSelector::default;
    assert_eq!(names(&resource, Some("team-b"), everything()).await, ["team-b/1"]);
    assert_eq!(names(&resource, None, everything()).await.len(), 6);
    let cases = [
        (by("status.state", "Pending"), vec!["default/1", "default/4", "default/5"]),
        (by("status.state", "DeadLetter"), vec!["default/3"]),
        (by("status.state", "Nonsense"), vec![]),
        (by("spec.event", "4"), vec!["default/5"]),
        (by("spec.webhook", "another"), vec![]),
        (by("metadata.name", "client-00000000000000000003"), vec!["default/3"]),
    ];
    for (fields, expected) in cases {
        assert_eq!(names(&resource, Some("default"), fields.clone()).await, expected, "{fields:?}");
    }
    let mut options = ListOptions { continue_token: Some("foreign".into()), ..ListOptions::default() };
    assert!(resource.list(&context(), None, &options).await.is_err());
    options.continue_token = None;
}

async fn take(stream: &mut WatchStream, count: usize) -> Vec<(EventKind, String)> {
    let mut found = Vec::new();
    while found.len() < count {
        let event = tokio::time::timeout(Duration::from_secs(30), stream.next()).await.unwrap().unwrap();
        let name = if event.kind == EventKind::Error { String::new() } else { name_of(&event.object) };
        found.push((event.kind, name));
    }
    found
}

#[tokio::test]
async fn watches_tell_what_exists_and_every_later_change() {
    let (_directory, log, resource) = filled().await;
    let options = WatchOptions::default();
    let mut stream = resource.watch(&context(), Some("default"), &options).await.unwrap();
    let existing = take(&mut stream, 5).await;
    assert!(existing.iter().all(|(kind, _)| *kind == EventKind::Added));
    let position = log.head();
    log.accept("hub", 2, vec![message("uid", None, "new"), message("other", None, "new")]).await.unwrap();
    assert_eq!(take(&mut stream, 1).await, [(EventKind::Added, "default/6".into())]);
    record(&log, 6, Decision::Delivered).await;
    assert_eq!(take(&mut stream, 1).await, [(EventKind::Modified, "default/6".into())]);
    // From a position: what changed since, each message once, as it is now.
    let options = WatchOptions { resource_version: position.to_string(), ..WatchOptions::default() };
    let mut stream = resource.watch(&context(), Some("default"), &options).await.unwrap();
    assert_eq!(take(&mut stream, 1).await, [(EventKind::Added, "default/6".into())]);
    // One that leaves the selection is told as gone.
    let options = WatchOptions { fields: by("status.state", "Pending"), ..options };
    let mut stream = resource.watch(&context(), Some("default"), &options).await.unwrap();
    record(&log, 1, Decision::Delivered).await;
    assert_eq!(take(&mut stream, 1).await, [(EventKind::Deleted, "default/1".into())]);
}

#[tokio::test]
async fn a_watch_from_before_what_is_remembered_is_told_so() {
    let (directory, log, _) = filled().await;
    let head = log.head();
    log.close().await;
    let log = open(directory.path(), Options::default()).await;
    let resource = DeliveriesResource::new(log.clone());
    let options = WatchOptions { resource_version: (head - 1).to_string(), ..WatchOptions::default() };
    let mut stream = resource.watch(&context(), None, &options).await.unwrap();
    log.accept("hub", 2, vec![message("uid", None, "new")]).await.unwrap();
    assert_eq!(take(&mut stream, 1).await, [(EventKind::Error, String::new())]);
    assert!(stream.next().await.is_none(), "it ends");
    let options = WatchOptions { resource_version: (head + 100).to_string(), ..options };
    assert!(resource.watch(&context(), None, &options).await.is_err(), "of the future");
}
