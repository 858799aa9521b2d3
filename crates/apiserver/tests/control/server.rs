//! The control plane as a library: CRDs, kube-rs in process, restarts.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Namespace, Secret},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    core::{DynamicObject, GroupVersionKind},
    discovery::{ApiResource, Discovery},
    runtime::{Controller, controller::Action, watcher},
};
use roadstead_apiserver::{Options, Server};
use serde_json::{Value, json};

use crate::plane::{PATIENCE, until};

fn on_disk(dir: &Path) -> Options {
    Options { data_dir: Some(dir.into()), crds: roadstead_api::crds(), ..Options::default() }
}

fn widgets(plural: &str, kind: &str) -> CustomResourceDefinition {
    serde_json::from_value(json!({
    "metadata": {"name": format!("{plural}.example.com")},
    "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": {"plural": plural, "kind": kind, "shortNames": ["w"]},
        "versions": [{
            "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
            "selectableFields": [{"jsonPath": ".spec.colour"}],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "required": ["size"], "properties": {
                    "size": {"type": "integer", "minimum": 1}, "colour": {"type": "string", "default": "red"}}},
                "status": {"type": "object", "properties": {"seen": {"type": "integer"}}}}}},
        }]}}))
    .unwrap()
}

fn widget_kind(version: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", version, "Widget"))
}

fn widget(name: &str, size: i64) -> DynamicObject {
    DynamicObject::new(name, &widget_kind("v1")).data(json!({"spec": {"size": size}}))
}

#[tokio::test]
async fn a_new_kind_can_be_used_at_once() {
    let server = Server::open(Options::default()).await.unwrap();
    let client = server.handle().client();
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    crds.create(&PostParams::default(), &widgets("widgets", "Widget")).await.unwrap();
    let api: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &widget_kind("v1"));
    let made = api.create(&PostParams::default(), &widget("a", 1)).await.unwrap();
    assert_eq!((&made.data["spec"]["colour"], made.metadata.generation), (&json!("red"), Some(1)));
    let error = api.create(&PostParams::default(), &widget("b", 0)).await.unwrap_err();
    assert!(error.to_string().contains("spec.size"), "{error}");
    let mut unknown = widget("c", 2);
    unknown.data["spec"]["flavour"] = json!("sweet");
    let kept = api.create(&PostParams::default(), &unknown).await.unwrap();
    assert_eq!(kept.data["spec"].get("flavour"), None);
    let red = api.list(&ListParams::default().fields("spec.colour=red")).await.unwrap();
    assert_eq!(red.items.len(), 2);
    until("it is established", async || {
        let crd = crds.get("widgets.example.com").await.unwrap();
        let conditions = crd.status?.conditions?;
        conditions.iter().any(|c| c.type_ == "Established" && c.status == "True").then_some(())
    })
    .await;
    let discovery = Discovery::new(client).run().await.unwrap();
    assert!(discovery.resolve_gvk(&GroupVersionKind::gvk("example.com", "v1", "Widget")).is_some());
    server.shutdown().await;
}

#[tokio::test]
async fn names_are_first_come_first_served_and_free_again_after_deletion() {
    let server = Server::open(Options::default()).await.unwrap();
    let client = server.handle().client();
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    crds.create(&PostParams::default(), &widgets("widgets", "Widget")).await.unwrap();
    crds.create(&PostParams::default(), &widgets("wodgets", "Wodget")).await.unwrap();
    let accepted = async |name: &str, wanted: &str| {
        until("names are judged", async || {
            let conditions = crds.get(name).await.unwrap().status?.conditions?;
            conditions.iter().any(|c| c.type_ == "NamesAccepted" && c.status == wanted).then_some(())
        })
        .await;
    };
    accepted("widgets.example.com", "True").await;
    accepted("wodgets.example.com", "False").await;
    let api: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &widget_kind("v1"));
    let mut held = widget("held", 1);
    held.metadata.finalizers = Some(vec!["example.com/hold".into()]);
    api.create(&PostParams::default(), &held).await.unwrap();
    let mut watch = api.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    assert!(matches!(watch.try_next().await.unwrap(), Some(WatchEvent::Added(_))));
    crds.delete("widgets.example.com", &DeleteParams::default()).await.unwrap();
    let refused = api.create(&PostParams::default(), &widget("late", 1)).await.unwrap_err();
    assert!(refused.to_string().contains("terminating"), "{refused}");
    until("the object is marked", async || api.get("held").await.unwrap().metadata.deletion_timestamp.map(drop)).await;
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("held", &PatchParams::default(), &free).await.unwrap();
    until("the definition is gone", async || {
        crds.get_opt("widgets.example.com").await.unwrap().is_none().then_some(())
    })
    .await;
    accepted("wodgets.example.com", "True").await;
    let rest: Vec<_> = tokio::time::timeout(PATIENCE, watch.collect()).await.expect("watches of a gone kind end");
    assert!(rest.iter().flatten().any(|event| matches!(event, WatchEvent::Deleted(_))), "{rest:?}");
    assert!(api.list(&ListParams::default()).await.is_err());
    server.shutdown().await;
}

#[tokio::test]
async fn versions_come_and_go_while_objects_stay() {
    let server =
        Server::open(Options { crds: vec![widgets("widgets", "Widget")], ..Options::default() }).await.unwrap();
    let client = server.handle().client();
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let old: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &widget_kind("v1"));
    old.create(&PostParams::default(), &widget("a", 1)).await.unwrap();
    let mut crd = crds.get("widgets.example.com").await.unwrap();
    let mut next = crd.spec.versions[0].clone();
    crd.spec.versions[0].storage = false;
    next.name = "v2".into();
    crd.spec.versions.push(next);
    let mut crd = crds.replace("widgets.example.com", &PostParams::default(), &crd).await.unwrap();
    assert_eq!(crd.status.as_ref().unwrap().stored_versions.as_ref().unwrap(), &["v1", "v2"]);
    let new: Api<DynamicObject> = Api::default_namespaced_with(client, &widget_kind("v2"));
    let shown = new.get("a").await.unwrap();
    assert_eq!(shown.types.unwrap().api_version, "example.com/v2");
    crd.spec.versions[0].served = false;
    crds.replace("widgets.example.com", &PostParams::default(), &crd).await.unwrap();
    assert!(old.get("a").await.is_err());
    assert!(new.get("a").await.is_ok());
    server.shutdown().await;
}

#[tokio::test]
async fn everything_is_there_after_a_restart_and_watches_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(on_disk(dir.path())).await.unwrap();
    let api: Api<ConfigMap> = Api::default_namespaced(server.handle().client());
    let with = |name: &str| ConfigMap {
        metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() },
        ..ConfigMap::default()
    };
    let first = api.create(&PostParams::default(), &with("a")).await.unwrap();
    api.create(&PostParams::default(), &with("b")).await.unwrap();
    api.delete("a", &DeleteParams::default()).await.unwrap();
    let second = Server::open(on_disk(dir.path())).await.err().expect("one process at a time").to_string();
    assert!(second.contains("in use by another process"), "{second}");
    let before = server.handle().store().state().version;
    server.shutdown().await;

    let server = Server::open(on_disk(dir.path())).await.unwrap();
    assert_eq!(server.handle().store().state().version, before, "opening again writes nothing");
    let api: Api<ConfigMap> = Api::default_namespaced(server.handle().client());
    let from = first.resource_version().unwrap();
    let events = api.watch(&WatchParams::default(), &from).await.unwrap().take(2).try_collect::<Vec<_>>();
    let events = tokio::time::timeout(PATIENCE, events).await.unwrap().unwrap();
    assert!(matches!(&events[0], WatchEvent::Added(b) if b.name_any() == "b"), "{events:?}");
    assert!(matches!(&events[1], WatchEvent::Deleted(a) if a.name_any() == "a"), "{events:?}");
    server.shutdown().await;
}

#[tokio::test]
async fn a_kube_rs_controller_runs_in_process() {
    let server =
        Server::open(Options { crds: vec![widgets("widgets", "Widget")], ..Options::default() }).await.unwrap();
    let client = server.handle().client();
    let kind = widget_kind("v1");
    let api: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &kind);
    let context = Arc::new(api.clone());
    let reconcile = async |object: Arc<DynamicObject>, api: Arc<Api<DynamicObject>>| {
        let status = Patch::Merge(json!({"status": {"seen": object.data["spec"]["size"]}}));
        api.patch_status(&object.name_any(), &PatchParams::default(), &status).await?;
        Ok::<_, kube::Error>(Action::await_change())
    };
    let controller = Controller::new_with(api.clone(), watcher::Config::default(), kind).run(
        reconcile,
        |_, _, _| Action::requeue(Duration::from_millis(100)),
        context,
    );
    let running = tokio::spawn(controller.for_each(|_| std::future::ready(())));
    for n in 1..=20 {
        api.create(&PostParams::default(), &widget(&format!("w{n}"), n)).await.unwrap();
    }
    until("all have been seen", async || {
        let all = api.list(&ListParams::default()).await.unwrap();
        all.iter().all(|w| w.data["status"]["seen"] == w.data["spec"]["size"]).then_some(())
    })
    .await;
    running.abort();
    server.shutdown().await;
}

#[tokio::test]
async fn watchers_of_kube_rs_see_every_state() {
    for strategy in [
        watcher::Config::default(),
        watcher::Config::default().streaming_lists(),
        watcher::Config::default().page_size(3),
    ] {
        let server = Server::open(Options::default()).await.unwrap();
        let api: Api<Secret> = Api::default_namespaced(server.handle().client());
        let secret = |n: usize| Secret {
            metadata: ObjectMeta { name: Some(format!("s{n}")), ..ObjectMeta::default() },
            string_data: Some(BTreeMap::from([("k".to_string(), n.to_string())])),
            ..Secret::default()
        };
        for n in 0..10 {
            api.create(&PostParams::default(), &secret(n)).await.unwrap();
        }
        let mut events = watcher(api.clone(), strategy).boxed();
        let (mut seen, mut ready) = (Vec::new(), false);
        let work = async {
            while seen.len() < 12 {
                match events.try_next().await.unwrap().unwrap() {
                    watcher::Event::InitApply(secret) | watcher::Event::Apply(secret) => seen.push(secret.name_any()),
                    watcher::Event::InitDone => {
                        ready = true;
                        api.create(&PostParams::default(), &secret(10)).await.unwrap();
                        api.delete("s3", &DeleteParams::default()).await.unwrap();
                    }
                    watcher::Event::Delete(secret) => seen.push(format!("-{}", secret.name_any())),
                    watcher::Event::Init => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, work).await.unwrap();
        assert!(ready);
        assert_eq!(seen[10..], ["s10", "-s3"]);
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_works_with_the_written_kubeconfig() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(on_disk(dir.path())).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.handle().serve(listener, None).unwrap();
    let path = server.handle().write_kubeconfig(address).unwrap().unwrap();
    let run = async |arguments: &[&str]| {
        let (output, text) = crate::plane::kubectl(&path, arguments).await;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        text
    };
    let file = dir.path().join("object.yaml");
    std::fs::write(&file, "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: Yg==}\n").unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(run(&["apply", "-f", file]).await, "secret/s created\n");
    assert_eq!(run(&["apply", "-f", file]).await, "secret/s unchanged\n");
    assert_eq!(run(&["label", "secret", "s", "x=y"]).await, "secret/s labeled\n");
    assert_eq!(run(&["get", "secrets", "-l", "x=y", "-o", "name"]).await, "secret/s\n");
    assert!(run(&["api-resources", "--api-group=roadstead.dev"]).await.contains("webhookendpoints"));
    assert!(run(&["explain", "webhookendpoints.spec.provider"]).await.contains("FIELD"));
    let hook =
        "apiVersion: roadstead.dev/v1alpha1\nkind: WebhookEndpoint\nmetadata: {name: h}\nspec: {provider: github}\n";
    std::fs::write(file, hook).unwrap();
    assert_eq!(run(&["apply", "-f", file]).await, "webhookendpoint.roadstead.dev/h created\n");
    assert!(run(&["get", "hook"]).await.contains("github"));
    assert_eq!(run(&["create", "deployment", "d", "--image=x"]).await, "deployment.apps/d created\n");
    assert_eq!(run(&["scale", "deployment", "d", "--replicas=3"]).await, "deployment.apps/d scaled\n");
    assert_eq!(run(&["get", "deployment", "d", "-o", "jsonpath={.spec.replicas}"]).await, "3");
    run(&["delete", "secret,hook,deployment", "--all"]).await;
    server.shutdown().await;
}

#[tokio::test]
async fn namespaces_exist_from_the_start() {
    let server = Server::open(Options::default()).await.unwrap();
    let api: Api<Namespace> = Api::all(server.handle().client());
    for name in ["default", "kube-system"] {
        assert_eq!(api.get(name).await.unwrap().status.unwrap().phase.as_deref(), Some("Active"));
    }
    let value: Value = serde_json::to_value(api.list(&ListParams::default()).await.unwrap()).unwrap();
    assert!(value["metadata"]["resourceVersion"].is_string());
    server.shutdown().await;
}

#[tokio::test]
async fn a_backup_comes_back_elsewhere_with_its_key_alone() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let key = here.path().join("elsewhere.key");
    let open = async |dir: &Path| {
        let key_file = Some(key.clone());
        Server::open(Options { data_dir: Some(dir.into()), key_file, ..Options::default() }).await
    };
    let server = open(&here.path().join("data")).await.unwrap();
    let secrets: Api<Secret> = Api::default_namespaced(server.handle().client());
    let secret = Secret {
        metadata: ObjectMeta { name: Some("s".into()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([("word".to_string(), ByteString(b"sesame".to_vec()))])),
        ..Secret::default()
    };
    let old = secrets.create(&PostParams::default(), &secret).await.unwrap().resource_version().unwrap();
    let copy = here.path().join("copy");
    server.handle().backup(&copy).unwrap();
    server.shutdown().await;

    let target = there.path().join("data");
    let without_key = roadstead_apiserver::restore(&copy, &target, None).unwrap_err().to_string();
    assert!(without_key.contains("secrets.key"), "{without_key}");
    roadstead_apiserver::restore(&copy, &target, Some(&key)).unwrap();
    let server = open(&target).await.unwrap();
    let secrets: Api<Secret> = Api::default_namespaced(server.handle().client());
    assert_eq!(secrets.get("s").await.unwrap().data.unwrap()["word"].0, b"sesame");
    let events: Vec<_> = secrets.watch(&WatchParams::default(), &old).await.unwrap().try_collect().await.unwrap();
    assert!(matches!(&events[..], [WatchEvent::Error(status)] if status.code == 410), "{events:?}");
    let mode =
        |path: &Path| std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions()) & 0o777;
    assert_eq!(
        (mode(&target), mode(&target.join("store.db")), mode(&target.join("pki/ca.key"))),
        (0o700, 0o600, 0o600)
    );
    server.shutdown().await;
}
