//! An agent inside of the hub's process: each trigger sees what a subscriber of its namespace would.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PostParams},
};
use roadstead_agent::{HubAccess, Options};
use roadstead_api::{WebhookEndpoint, names::ANNOTATION_REPLAY};
use roadstead_hub::log::Stream;
use serde_json::{Value, json};

use crate::{
    receiver::{Receiver, answer},
    world::{World, condition, message, object, push, start, until},
};

const UNAVAILABLE: Option<(&str, &str)> = Some(("False", "EndpointUnavailable"));

/// An agent that reaches the hub with all rights.
fn embedded(world: &World) -> Options {
    let mut options = world.options();
    options.hubs = [("main".into(), HubAccess::Client { client: world.hub.handle().client(), identity: None })].into();
    options.recheck = Duration::from_millis(50);
    options
}

/// Endpoint `secret` of namespace `team-b`, which lists nobody.
async fn foreign(world: &World) -> (Api<WebhookEndpoint>, Stream) {
    let client = world.hub.handle().client();
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "team-b"}})).unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    let api: Api<WebhookEndpoint> = Api::namespaced(client, "team-b");
    let endpoint: WebhookEndpoint = object(json!({"metadata": {"name": "secret"}, "spec": {"provider": "github"}}));
    let uid = api.create(&PostParams::default(), &endpoint).await.unwrap().uid().unwrap();
    (api, Stream { namespace: "team-b".into(), name: "secret".into(), uid })
}

async fn list(api: &Api<WebhookEndpoint>, namespaces: &[&str]) {
    let listed: Vec<Value> = namespaces.iter().map(|name| json!({"namespace": name})).collect();
    let patch = Patch::Merge(json!({"spec": {"allowSubscribersFrom": listed}}));
    api.patch("secret", &Default::default(), &patch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_sees_an_endpoint_of_another_namespace_only_while_that_allows_it() {
    let world = World::start().await;
    let (endpoints, stream) = foreign(&world).await;
    let receiver = Receiver::start().await;
    receiver.answers(|_| answer(500, ""));
    let agent = start(embedded(&world)).await;
    let fields = |name: &str| {
        json!({"endpoint": {"namespace": "team-b", "name": name}, "forward": {"url": receiver.url()},
               "retry": {"attempts": 1}, "start": "earliest"})
    };
    world.deliver_to(&stream, push("a", "octo/shop")).await;
    world.trigger("peek", fields("secret")).await;
    world.trigger("guess", fields("nothing")).await;
    let refused = |trigger: &_| condition(trigger, "Ready") == UNAVAILABLE;
    let peek = world.status("peek", "refused", refused).await;
    let guess = world.status("guess", "refused", refused).await;
    assert_eq!(message(&peek, "Ready").replace("secret", "nothing"), message(&guess, "Ready"));
    assert!(receiver.ids().is_empty());

    list(&endpoints, &["default"]).await;
    world.watching("peek").await;
    world.status("peek", "given up", |t| t.status.as_ref().is_some_and(|s| s.dead_letters == 1)).await;
    assert_eq!(receiver.ids(), ["a"]);

    // Taken back: the open watch ends, and what it gave up on is not read again.
    receiver.answers(|_| answer(200, ""));
    list(&endpoints, &[]).await;
    world.status("peek", "refused again", refused).await;
    world.deliver_to(&stream, push("b", "octo/shop")).await;
    let letter = world.letters().list(&ListParams::default()).await.unwrap().items.remove(0).name_any();
    let patch = Patch::Merge(json!({"metadata": {"annotations": {ANNOTATION_REPLAY: "now"}}}));
    world.letters().patch(&letter, &Default::default(), &patch).await.unwrap();
    let status = until("told", async || {
        world.letters().get(&letter).await.unwrap().status.filter(|status| !status.conditions.is_empty())
    })
    .await;
    assert_eq!(status.conditions[0].reason, "EndpointUnavailable");
    assert_eq!(receiver.ids(), ["a"]);

    list(&endpoints, &["default"]).await;
    until("b arrives: nothing was lost", async || (receiver.ids() == ["a", "b"]).then_some(())).await;
    agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_allows_other_namespaces_shows_every_endpoint_and_any_shows_its_own() {
    let world = World::start().await;
    foreign(&world).await;
    let receiver = Receiver::start().await;
    let agent = start(embedded(&world)).await;
    let forward = json!({"url": receiver.url()});
    world.trigger("own", json!({"forward": forward})).await;
    world.watching("own").await;
    agent.shutdown().await;
    let agent = start(Options { allow_cross_namespace: true, ..embedded(&world) }).await;
    world.trigger("wide", json!({"endpoint": {"namespace": "team-b", "name": "secret"}, "forward": forward})).await;
    world.watching("wide").await;
    agent.shutdown().await;
}
