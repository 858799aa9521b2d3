//! Dead letters: made once, counted, bounded, replayed.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    ResourceExt,
    api::{ListParams, Patch},
};
use roadstead_api::{
    DeadLetter, Trigger, WebhookEndpoint,
    names::{ANNOTATION_EVENT, ANNOTATION_REPLAY},
};
use roadstead_hub::log::Log;
use serde_json::json;

use crate::{
    receiver::{Receiver, answer},
    world::{World, create, push, start, until},
};

fn dead(count: u64) -> impl FnMut(&Trigger) -> bool {
    move |trigger| trigger.status.as_ref().is_some_and(|status| status.dead_letters == count)
}

async fn letters(world: &World) -> Vec<DeadLetter> {
    world.letters().list(&ListParams::default()).await.unwrap().items
}

async fn replay(world: &World, name: &str, value: &str) {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {ANNOTATION_REPLAY: value}}}));
    world.letters().patch(name, &Default::default(), &patch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_succeeds_removes_the_letter_and_one_that_fails_says_so() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    receiver.answers(|_| answer(500, "not now"));
    let agent = world.agent().await;
    world.trigger("fails", json!({"forward": {"url": receiver.url()}, "retry": {"attempts": 2}})).await;
    world.watching("fails").await;
    world.deliver(push("a", "octo/shop")).await;
    world.status("fails", "one", dead(1)).await;
    let letter = letters(&world).await.remove(0);
    assert_eq!((letter.spec.event_id.as_str(), letter.spec.trigger.as_str()), ("a", "fails"));
    assert_eq!(letter.annotations()[ANNOTATION_EVENT], "a");
    assert_eq!(letter.spec.subject, "octo/shop refs/heads/main");
    assert!(world.told().await.iter().any(|(reason, _)| reason == "DeadLetter"));

    let name = letter.name_any();
    replay(&world, &name, "1").await;
    let status = until("the replay fails", async || {
        world.letters().get(&name).await.unwrap().status.filter(|status| status.observed_replay.as_deref() == Some("1"))
    })
    .await;
    assert_eq!((status.conditions[0].type_.as_str(), status.conditions[0].reason.as_str()), ("Replayed", "Failed"));
    assert!(status.conditions[0].message.contains("not now"));

    receiver.answers(|_| answer(200, ""));
    replay(&world, &name, "2").await;
    until("the letter goes", async || letters(&world).await.is_empty().then_some(())).await;
    world.status("fails", "none", dead(0)).await;
    assert_eq!(receiver.ids(), ["a", "a", "a", "a"]);
    agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_of_an_event_that_is_gone_says_so() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    receiver.answers(|_| answer(500, ""));
    let agent = world.agent().await;
    world.trigger("fails", json!({"forward": {"url": receiver.url()}, "retry": {"attempts": 1}})).await;
    world.watching("fails").await;
    world.deliver(push("a", "octo/shop")).await;
    world.status("fails", "one", dead(1)).await;
    let name = letters(&world).await[0].name_any();
    world.deliver(push("b", "octo/shop")).await;
    world.status("fails", "two", dead(2)).await;
    world.retain(1).await;
    world.removed(1).await;
    replay(&world, &name, "now").await;
    let status = until("told", async || {
        world.letters().get(&name).await.unwrap().status.filter(|status| !status.conditions.is_empty())
    })
    .await;
    assert_eq!(status.conditions[0].reason, "EventGone");
    agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_does_not_act_on_the_event_that_has_the_name_now() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    receiver.answers(|_| answer(500, ""));
    let agent = world.agent().await;
    world.trigger("fails", json!({"forward": {"url": receiver.url()}, "retry": {"attempts": 1}})).await;
    world.watching("fails").await;
    world.deliver(push("a", "octo/shop")).await;
    world.status("fails", "one", dead(1)).await;
    let letter = letters(&world).await.remove(0);
    // The endpoint is deleted and made again: its first event is named as the first one was.
    world.log.drop_stream(&world.stream).await.unwrap();
    world.api::<WebhookEndpoint>(&world.hub).delete("shop", &Default::default()).await.unwrap();
    let stream = world.endpoint("shop").await;
    receiver.answers(|_| answer(200, ""));
    world.deliver_to(&stream, push("b", "octo/shop")).await;
    assert_eq!(&*world.log.get("default", "shop", 1).await.unwrap().unwrap().id, "b");
    until("b arrives", async || (receiver.ids() == ["a", "b"]).then_some(())).await;
    replay(&world, &letter.name_any(), "now").await;
    let status = until("told", async || {
        world.letters().get(&letter.name_any()).await.unwrap().status.filter(|status| !status.conditions.is_empty())
    })
    .await;
    assert_eq!(status.conditions[0].reason, "EventGone");
    assert_eq!(receiver.ids(), ["a", "b"]);
    agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_keeps_so_many_letters_and_tells_how_many_it_dropped() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    receiver.answers(|_| answer(500, ""));
    let mut options = world.options();
    options.dead_letters = 3;
    let agent = start(options).await;
    world.trigger("fails", json!({"forward": {"url": receiver.url()}, "retry": {"attempts": 1}})).await;
    world.watching("fails").await;
    for n in 0..5 {
        world.deliver(push(&n.to_string(), "octo/shop")).await;
    }
    let dropped = |t: &Trigger| t.status.as_ref().is_some_and(|s| s.dead_letters_dropped == 2 && s.dead_letters == 3);
    world.status("fails", "two dropped", dropped).await;
    let mut left: Vec<String> = letters(&world).await.into_iter().map(|letter| letter.spec.event_id).collect();
    left.sort();
    assert_eq!(left, ["2", "3", "4"]);
    // They go with their trigger.
    world.triggers().delete("fails", &Default::default()).await.unwrap();
    until("none", async || letters(&world).await.is_empty().then_some(())).await;
    agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_does_what_the_trigger_does_now() {
    let world = World::start().await;
    let agent = world.agent().await;
    let annotate = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "sync", "annotation": "a"});
    world.trigger("later", json!({"annotate": annotate, "retry": {"attempts": 1}})).await;
    world.watching("later").await;
    world.deliver(push("a", "octo/shop")).await;
    world.status("later", "one", dead(1)).await;
    world.permit().await;
    create::<ConfigMap>(&world.own.handle().client(), json!({"metadata": {"name": "sync"}})).await;
    replay(&world, &letters(&world).await[0].name_any(), "now").await;
    until("the letter goes", async || letters(&world).await.is_empty().then_some(())).await;
    let object = world.api::<ConfigMap>(&world.own).get("sync").await.unwrap();
    assert_eq!(object.annotations()[ANNOTATION_EVENT], "a");
    agent.shutdown().await;
}
