//! annotate, setImage and run against a real control plane with its access control.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace},
    rbac::v1::ClusterRoleBinding,
};
use kube::{Api, ResourceExt, api::PostParams};
use roadstead_api::{
    Trigger, WebhookEndpoint,
    names::{ANNOTATION_EVENT, LABEL_TRIGGER},
};
use roadstead_hub::log::Log;
use serde_json::{Value, json};

use crate::world::{World, create, image, push, start, until};

fn succeeded(count: u64) -> impl FnMut(&Trigger) -> bool {
    move |trigger| trigger.status.as_ref().is_some_and(|status| status.succeeded == count)
}

fn skipped(count: u64) -> impl FnMut(&Trigger) -> bool {
    move |trigger| trigger.status.as_ref().is_some_and(|status| status.skipped == count)
}

fn last(trigger: &Trigger) -> &str {
    trigger.status.as_ref().and_then(|status| status.last_result.as_ref()).map_or("", |result| &result.message)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_annotation_is_written_as_the_service_account() {
    let world = World::start().await;
    let own = world.own.handle().client();
    create::<ConfigMap>(&own, json!({"metadata": {"name": "sync"}})).await;
    let agent = world.agent().await;
    let annotate = json!({"preset": "flux", "apiVersion": "v1", "kind": "ConfigMap", "name": "sync"});
    let retry = json!({"attempts": 1000, "timeout": "1h"});
    // Refusals are given up soon; an expectation of many attempts shows that three are all.
    world.trigger("poke", json!({"annotate": annotate, "retry": retry})).await;
    world.watching("poke").await;
    world.deliver(push("before", "octo/shop")).await;
    let trigger = world.status("poke", "dead", |t| t.status.as_ref().is_some_and(|s| s.dead_letters == 1)).await;
    assert_eq!(trigger.status.as_ref().unwrap().failed, 3);
    assert!(last(&trigger).contains("system:serviceaccount:default:default"), "{}", last(&trigger));
    world.permit().await;
    world.deliver(push("after", "octo/shop")).await;
    world.status("poke", "done", succeeded(1)).await;
    let object = Api::<ConfigMap>::namespaced(own, "default").get("sync").await.unwrap();
    assert_eq!(object.annotations()[ANNOTATION_EVENT], "after");
    assert!(object.annotations()["reconcile.fluxcd.io/requestedAt"].ends_with(" after"));
    agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_told_clearly() {
    let world = World::start().await;
    world.permit().await;
    let agent = world.agent().await;
    for (name, annotate, said) in [
        (
            "object",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "none", "annotation": "a"}),
            "\"none\" not found",
        ),
        ("kind", json!({"preset": "argocd", "name": "shop"}), "argoproj.io/v1alpha1 Application"),
        (
            "scope",
            json!({"apiVersion": "v1", "kind": "Namespace", "name": "default", "annotation": "a"}),
            "--allow-cross-namespace",
        ),
    ] {
        world.trigger(name, json!({"annotate": annotate, "retry": {"attempts": 1}})).await;
        world.watching(name).await;
        world.deliver(push(name, "octo/shop")).await;
        let trigger = world.status(name, "failed", |t| t.status.as_ref().is_some_and(|s| s.failed > 0)).await;
        assert!(last(&trigger).contains(said), "{}", last(&trigger));
        world.triggers().delete(name, &Default::default()).await.unwrap();
    }
    agent.shutdown().await;
}

fn deployment(image: &str) -> Value {
    let pod = json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {
            "containers": [{"name": "sidecar", "image": "r.io/proxy:1"}, {"name": "web", "image": image}],
            "initContainers": [{"name": "init", "image": "r.io:5000/team/shop:v1"}],
        },
    });
    json!({"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": pod}})
}

/// Images of containers `sidecar`, `web` and `init`.
async fn images(api: &Api<Deployment>) -> [String; 3] {
    let spec = api.get("web").await.unwrap().spec.unwrap().template.spec.unwrap();
    let all: Vec<_> = spec.containers.into_iter().chain(spec.init_containers.unwrap_or_default()).collect();
    ["sidecar", "web", "init"].map(|name| all.iter().find(|c| c.name == name).unwrap().image.clone().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_follow_their_policies() {
    let world = World::start().await;
    world.permit().await;
    let own = world.own.handle().client();
    create::<Deployment>(&own, deployment("r.io:5000/team/shop:v1.2.0")).await;
    let api: Api<Deployment> = Api::namespaced(own, "default");
    let agent = world.agent().await;
    let set =
        |container: &str, policy: Value| json!({"setImage": {"name": "web", "container": container, "policy": policy}});
    world.trigger("semver", set("web", json!({"semver": ">=1.2 <2"}))).await;
    world.trigger("digest", set("init", json!({"digest": "latest"}))).await;
    world.watching("semver").await;
    world.watching("digest").await;

    world.deliver(image("1", "team/shop", "v1.3.0", "sha256:aa")).await;
    world.status("semver", "up", succeeded(1)).await;
    world.deliver(image("2", "team/shop", "v1.2.9", "sha256:bb")).await;
    world.deliver(image("3", "team/shop", "v2.0.0", "sha256:cc")).await;
    // Another repository's event would not wait for these.
    world.status("semver", "left alone", skipped(2)).await;
    world.deliver(image("4", "team/other", "v1.9.0", "sha256:dd")).await;
    let trigger = world.status("semver", "left alone", skipped(3)).await;
    assert!(
        last(&trigger).contains("the event is about team/other, the container runs team/shop"),
        "{}",
        last(&trigger)
    );
    world.deliver(image("5", "team/shop", "latest", "sha256:ee")).await;
    world.status("digest", "pinned", succeeded(1)).await;
    let expected = ["r.io/proxy:1", "r.io:5000/team/shop:v1.3.0", "r.io:5000/team/shop@sha256:ee"];
    assert_eq!(images(&api).await, expected);
    let object = api.get("web").await.unwrap();
    assert_eq!(object.annotations()[ANNOTATION_EVENT], "5");
    assert_eq!(object.metadata.generation, Some(3), "nothing is written that is there already");
    agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_comes_again_does_not_turn_a_newer_image_back() {
    let world = World::start().await;
    world.permit().await;
    let own = world.own.handle().client();
    create::<Deployment>(&own, deployment("r.io/team/shop:v0")).await;
    let api: Api<Deployment> = Api::namespaced(own, "default");
    let agent = world.agent().await;
    let set = json!({"setImage": {"name": "web", "container": "web", "policy": {"glob": "v*"}}, "start": "earliest"});
    world.trigger("glob", set.clone()).await;
    for tag in ["v1", "v2"] {
        world.deliver(image(tag, "team/shop", tag, "")).await;
    }
    world.status("glob", "both", succeeded(2)).await;
    assert_eq!(images(&api).await[1], "r.io/team/shop:v2");
    // Another trigger of the same endpoint sees the events from the start: as after a crash.
    world.trigger("glob-again", set).await;
    let trigger = world.status("glob-again", "both again", skipped(2)).await;
    assert_eq!(trigger.status.unwrap().succeeded, 0);
    assert_eq!(images(&api).await[1], "r.io/team/shop:v2");
    assert_eq!(api.get("web").await.unwrap().metadata.generation, Some(3));
    // The endpoint is made anew: its sequences begin with 1 again, and its events are later ones all the same.
    world.log.drop_stream(&world.stream).await.unwrap();
    world.api::<WebhookEndpoint>(&world.hub).delete("shop", &Default::default()).await.unwrap();
    let stream = world.endpoint("shop").await;
    world.deliver_to(&stream, image("v3", "team/shop", "v3", "")).await;
    until("the image is set", async || (images(&api).await[1] == "r.io/team/shop:v3").then_some(())).await;
    agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_is_created_once_for_each_event() {
    let world = World::start().await;
    world.permit().await;
    let agent = world.agent().await;
    let template = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"generateName": "build-", "annotations": {"for": "${event.git.repository}"}},
        "data": {"commit": "${event.git.after}", "what": "build ${event.git.repository} at ${event.git.ref}"},
    });
    let run = json!({"run": {"template": template}, "start": "earliest"});
    world.trigger("build", run.clone()).await;
    for id in ["a", "b"] {
        world.deliver(push(id, "octo/shop")).await;
    }
    world.status("build", "both", succeeded(2)).await;
    let api: Api<ConfigMap> = Api::namespaced(world.own.handle().client(), "default");
    let mine = kube::api::ListParams::default().labels(&format!("{LABEL_TRIGGER}=build"));
    let made = api.list(&mine).await.unwrap().items;
    assert_eq!(made.len(), 2);
    for object in &made {
        assert!(object.name_any().starts_with("build-"), "{}", object.name_any());
        assert_eq!(object.annotations()["for"], "octo/shop");
        assert_eq!(object.data.as_ref().unwrap()["what"], "build octo/shop at refs/heads/main");
        assert_eq!(object.data.as_ref().unwrap()["commit"], "0123456789");
    }
    // The same trigger from the start again: as after a crash before its first status.
    world.triggers().delete("build", &Default::default()).await.unwrap();
    until("gone", async || world.triggers().get_opt("build").await.unwrap().is_none().then_some(())).await;
    world.trigger("build", run).await;
    let trigger = world.status("build", "both again", succeeded(2)).await;
    assert!(last(&trigger).contains("exists already"), "{}", last(&trigger));
    assert_eq!(api.list(&mine).await.unwrap().items.len(), 2);
    agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_may_allow_other_namespaces_and_the_account_still_needs_the_right() {
    let world = World::start().await;
    let own = world.own.handle().client();
    let mut options = world.options();
    options.allow_cross_namespace = true;
    let agent = start(options).await;
    let annotate = json!({"apiVersion": "v1", "kind": "Namespace", "name": "kube-system", "annotation": "a"});
    world.trigger("wide", json!({"annotate": annotate, "retry": {"attempts": 1}})).await;
    world.watching("wide").await;
    world.permit().await;
    world.deliver(push("a", "octo/shop")).await;
    let dead = |t: &Trigger| t.status.as_ref().is_some_and(|s| s.dead_letters == 1);
    let trigger = world.status("wide", "dead", dead).await;
    assert!(last(&trigger).contains("forbidden"), "{}", last(&trigger));
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "wide"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
    }))
    .unwrap();
    Api::all(own.clone()).create(&PostParams::default(), &binding).await.unwrap();
    world.deliver(push("b", "octo/shop")).await;
    world.status("wide", "done", succeeded(1)).await;
    let namespace = Api::<Namespace>::all(own).get("kube-system").await.unwrap();
    assert_eq!(namespace.annotations()[ANNOTATION_EVENT], "b");
    agent.shutdown().await;
}
