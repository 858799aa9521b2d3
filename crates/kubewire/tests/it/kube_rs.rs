//! kube-rs as the client, in process: the same code that controllers run on a cluster.

use futures::{StreamExt, TryStreamExt};
use kube::{
    Api, Client, ResourceExt,
    api::{
        ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
        WatchEvent, WatchParams,
    },
    discovery::Discovery,
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;

use crate::plane::Plane;

pub fn ships(client: Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("harbour.test", "v1", "Ship");
    Api::default_namespaced_with(client, &ApiResource::from_gvk_with_plural(&kind, "ships"))
}

pub fn ship(name: &str, cargo: &str) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "harbour.test/v1", "kind": "Ship", "metadata": {"name": name, "labels": {"cargo": cargo}},
        "spec": {"cargo": cargo, "crew": 3},
    }))
    .unwrap()
}

#[tokio::test]
async fn objects_live_their_life() {
    let plane = Plane::new();
    let api = ships(plane.client());
    let made = api.create(&PostParams::default(), &ship("aurora", "tea")).await.unwrap();
    assert_eq!(made.uid().as_deref(), Some("uid-aurora"));
    assert_eq!(api.get("aurora").await.unwrap().data["spec"]["cargo"], "tea");
    let patch = json!({"spec": {"cargo": "salt"}});
    let patched = api.patch("aurora", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    assert_eq!(patched.data["spec"], json!({"cargo": "salt", "crew": 3}));
    let applied = api.patch("boreal", &PatchParams::apply("me"), &Patch::Apply(&ship("boreal", "ice"))).await.unwrap();
    assert_eq!(applied.name_any(), "boreal");
    let patch = Patch::Merge(json!({"status": {"anchored": true}}));
    let anchored = api.patch_status("boreal", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(anchored.data["status"]["anchored"], true);
    let by_label = api.list(&ListParams::default().labels("cargo in (ice)")).await.unwrap();
    assert_eq!(by_label.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["boreal"]);
    let by_field = api.list(&ListParams::default().fields("spec.cargo=salt")).await.unwrap();
    assert_eq!(by_field.items.len(), 1);
    let page = api.list(&ListParams::default().limit(1)).await.unwrap();
    assert_eq!((page.metadata.continue_.as_deref(), page.metadata.remaining_item_count), (Some("1"), Some(1)));
    let metadata = api.list_metadata(&ListParams::default()).await.unwrap();
    assert_eq!(metadata.items.len(), 2);
    api.delete("aurora", &DeleteParams::background()).await.unwrap();
    let gone = api.get("aurora").await.unwrap_err();
    assert!(matches!(gone, kube::Error::Api(status) if status.code == 404 && status.reason == "NotFound"));
    api.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 0);
}

#[tokio::test]
async fn watches_see_every_change() {
    let plane = Plane::new();
    let api = ships(plane.client());
    let mut events = api.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    for name in ["a", "b"] {
        api.create(&PostParams::default(), &ship(name, "tea")).await.unwrap();
    }
    api.delete("a", &DeleteParams::default()).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.push(match events.try_next().await.unwrap().unwrap() {
            WatchEvent::Added(ship) => format!("+{}", ship.name_any()),
            WatchEvent::Deleted(ship) => format!("-{}", ship.name_any()),
            other => format!("{other:?}"),
        });
    }
    assert_eq!(seen, ["+a", "+b", "-a"]);
}

#[tokio::test]
async fn watchers_of_both_kinds_start() {
    let plane = Plane::new();
    let api = ships(plane.client());
    api.create(&PostParams::default(), &ship("a", "tea")).await.unwrap();
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let mut events = watcher(api.clone(), config).applied_objects().boxed();
        assert_eq!(events.try_next().await.unwrap().unwrap().name_any(), "a");
    }
}

#[tokio::test]
async fn discovery_of_both_kinds_finds_everything() {
    let plane = Plane::new();
    for aggregated in [false, true] {
        let discovery = Discovery::new(plane.client());
        let discovery = if aggregated { discovery.run_aggregated().await } else { discovery.run().await }.unwrap();
        let kind = GroupVersionKind::gvk("harbour.test", "v1", "Ship");
        let (resource, capabilities) = discovery.resolve_gvk(&kind).unwrap();
        assert_eq!(resource.plural, "ships");
        assert!(capabilities.supports_operation("watch"));
        assert!(discovery.resolve_gvk(&GroupVersionKind::gvk("", "v1", "Secret")).is_some());
    }
    assert_eq!(plane.client().apiserver_version().await.unwrap().major, "1");
}
