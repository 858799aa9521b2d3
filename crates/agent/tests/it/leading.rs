//! An agent that leads: what becomes of its work when it no longer does.

use roadstead_agent::{Agent, Metrics};
use roadstead_api::Trigger;
use roadstead_reconcile::Lead;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    receiver::Receiver,
    world::{PATIENCE, World, push, until},
};

fn at(sequence: u64) -> impl FnMut(&Trigger) -> bool {
    move |trigger| trigger.status.as_ref().is_some_and(|status| status.sequence == sequence)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_lease_abandons_what_is_under_way_and_a_successor_does_it() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    world.trigger("once", json!({"forward": {"url": receiver.url()}, "start": "earliest"})).await;
    let lost = CancellationToken::new();
    let lead = Lead::until(lost.clone(), CancellationToken::new());
    let first = Agent::lead(world.options(), Metrics::default(), lead).await.unwrap();
    world.deliver(push("1", "octo/a")).await;
    world.status("once", "the first is done", at(1)).await;
    receiver.close();
    world.deliver(push("2", "octo/a")).await;
    until("the second is under way", async || receiver.ids().contains(&"2".to_string()).then_some(())).await;
    lost.cancel();
    tokio::time::timeout(PATIENCE, first.stopped()).await.expect("it ends without waiting for the answer");
    receiver.open();
    world.deliver(push("3", "octo/a")).await;
    let before = world.triggers().get("once").await.unwrap();
    assert!(at(1)(&before), "the first agent writes nothing any more");
    let second = world.agent().await;
    world.status("once", "all are done", at(3)).await;
    assert_eq!(receiver.ids(), ["1", "2", "2", "3"], "what was abandoned is repeated, and only that");
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_asked_to_stop_finishes_while_it_still_leads() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    world.trigger("tidy", json!({"forward": {"url": receiver.url()}, "start": "earliest"})).await;
    let stopping = CancellationToken::new();
    let lead = Lead::until(CancellationToken::new(), stopping.clone());
    let agent = Agent::lead(world.options(), Metrics::default(), lead).await.unwrap();
    receiver.close();
    world.deliver(push("1", "octo/a")).await;
    until("it is under way", async || (receiver.ids().len() == 1).then_some(())).await;
    stopping.cancel();
    receiver.open();
    tokio::time::timeout(PATIENCE, agent.stopped()).await.unwrap();
    assert!(at(1)(&world.triggers().get("tidy").await.unwrap()));
}
