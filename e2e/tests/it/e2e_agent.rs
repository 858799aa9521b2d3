//! An agent that dials out: away, killed, cut off, and doubled. At least once, in order, nothing forgotten.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{Patch, PatchParams};
use roadstead_api::TriggerSpec;
use roadstead_e2e::cut::Cable;
use roadstead_e2e::endpoint::SECRET;
use roadstead_e2e::http::Sender;
use roadstead_e2e::receiver::Received;
use roadstead_e2e::wait::within;
use roadstead_e2e::{Agent, Hook, Kubectl, Platform, Receiver, Result, ensure, eventually, sign, trigger};
use serde_json::json;

/// Deliveries at the same time.
const AT_ONCE: usize = 16;

/// A push to one repository.
const BODY: &[u8] = br#"{"repository":{"full_name":"octo/shop"}}"#;

/// Posts one delivery for each number, whose id it is.
async fn deliver(hook: &Hook, numbers: std::ops::Range<usize>) -> Result<()> {
    let sender = Sender::new(AT_ONCE);
    let posts = numbers.map(|number| {
        let (sender, headers) = (sender.clone(), sign::github(SECRET, "push", &number.to_string(), BODY));
        async move { sender.post(&hook.url, &headers, BODY).await }
    });
    let mut answers = futures::stream::iter(posts).buffered(AT_ONCE);
    while let Some(answer) = answers.next().await {
        let answer = answer?;
        ensure!(answer.is_success(), "{answer:?}");
    }
    Ok(())
}

/// Ends the agent as a service manager does.
async fn stop(agent: &mut Agent) -> Result<()> {
    agent.process().signal("TERM")?;
    eventually("the agent ends", async || agent.process().ended()).await?;
    Ok(())
}

fn subscribe(up: &Platform, name: &str) -> Result<String> {
    up.cli(&["subscriber", "add", name, "--endpoint", &format!("{}/shop", up.namespace())])
}

/// First arrivals, which must be the log's order; repeats are allowed, gaps are not.
async fn check_order(hook: &Hook, received: &[Received]) -> Result<()> {
    let mut seen = BTreeSet::new();
    let firsts: Vec<&str> =
        received.iter().map(|request| request.header("x-github-delivery")).filter(|id| seen.insert(*id)).collect();
    let events = hook.events().await?;
    let logged: Vec<&str> = events.iter().map(|event| event.spec.id.as_str()).collect();
    ensure!(firsts == logged, "arrived {firsts:?}, logged {logged:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_was_away_catches_up_in_order_and_only_once() -> Result<()> {
    const MISSED: usize = 2000;
    let up = Platform::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    let receiver = Receiver::start().await?;
    let mut agent = Agent::start(&subscribe(&up, "edge")?).await?;
    let client = agent.client().await?;
    trigger::create(&client, "relay", trigger::forward(&hook, &receiver.url("/"))).await?;
    deliver(&hook, 0..10).await?;
    trigger::done(&client, "relay", 10).await?;
    stop(&mut agent).await?;
    deliver(&hook, 10..MISSED).await?;
    agent.start_again().await?;
    let received = receiver.wait_for(MISSED).await?;
    check_order(&hook, &received).await?;
    ensure!(received.len() == MISSED, "{} requests", received.len());
    let status = trigger::done(&agent.client().await?, "relay", MISSED as u64).await?;
    ensure!(status.missed == 0 && status.dead_letters == 0, "{status:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_killed_between_action_and_position_forgets_nothing() -> Result<()> {
    const ALL: usize = 300;
    let up = Platform::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    let receiver = Receiver::start().await?;
    let mut agent = Agent::start(&subscribe(&up, "edge")?).await?;
    trigger::create(&agent.client().await?, "relay", trigger::forward(&hook, &receiver.url("/"))).await?;
    deliver(&hook, 0..ALL).await?;
    for stop in [20, 80, 160] {
        receiver.wait_for(stop).await?;
        agent.kill()?;
        agent.start_again().await?;
    }
    trigger::done(&agent.client().await?, "relay", ALL as u64).await?;
    check_order(&hook, &receiver.received()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_that_hangs_when_the_agent_dies_is_done_again() -> Result<()> {
    let up = Platform::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    let receiver = Receiver::start().await?;
    let mut agent = Agent::start(&subscribe(&up, "edge")?).await?;
    trigger::create(&agent.client().await?, "relay", trigger::forward(&hook, &receiver.url("/"))).await?;
    receiver.close();
    deliver(&hook, 0..1).await?;
    receiver.wait_for(1).await?;
    agent.kill()?;
    receiver.open();
    agent.start_again().await?;
    let received = receiver.wait_for(2).await?;
    ensure!(received.iter().all(|request| request.header("x-github-delivery") == "0"));
    trigger::done(&agent.client().await?, "relay", 1).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_restarts_and_a_cut_cable_are_survived() -> Result<()> {
    let mut up = Platform::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    let receiver = Receiver::start().await?;
    let cable = Cable::to(up.hub()).await?;
    let kubeconfig = subscribe(&up, "edge")?.replace(up.hub(), cable.address());
    let agent = Agent::start(&kubeconfig).await?;
    let client = agent.client().await?;
    trigger::create(&client, "relay", trigger::forward(&hook, &receiver.url("/"))).await?;
    deliver(&hook, 0..20).await?;
    receiver.wait_for(20).await?;
    up.crash().await?;
    deliver(&hook, 20..40).await?;
    receiver.wait_for(40).await?;
    cable.cut();
    deliver(&hook, 40..60).await?;
    cable.mend();
    receiver.wait_for(60).await?;
    trigger::done(&client, "relay", 60).await?;
    check_order(&hook, &receiver.received()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_agents_with_one_identity_each_act_on_everything() -> Result<()> {
    let up = Platform::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    let kubeconfig = subscribe(&up, "twins")?;
    let mut twins = Vec::new();
    for _ in 0..2 {
        let (agent, receiver) = (Agent::start(&kubeconfig).await?, Receiver::start().await?);
        trigger::create(&agent.client().await?, "relay", trigger::forward(&hook, &receiver.url("/"))).await?;
        twins.push((agent, receiver));
    }
    deliver(&hook, 0..50).await?;
    for (agent, receiver) in &twins {
        receiver.wait_for(50).await?;
        trigger::done(&agent.client().await?, "relay", 50).await?;
        check_order(&hook, &receiver.received()).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_away_for_100_000_events_reads_them_all_and_acts_on_those_it_wants() -> Result<()> {
    const MISSED: usize = 100_000;
    const WANTED: usize = MISSED / 1000;
    let up = Platform::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    let receiver = Receiver::start().await?;
    let mut agent = Agent::start(&subscribe(&up, "edge")?).await?;
    let spec =
        TriggerSpec { filter: Some("event.id.endsWith('000')".into()), ..trigger::forward(&hook, &receiver.url("/")) };
    trigger::create(&agent.client().await?, "relay", spec).await?;
    stop(&mut agent).await?;
    deliver(&hook, 1..MISSED + 1).await?;
    agent.start_again().await?;
    let client = agent.client().await?;
    let status = within(Duration::from_secs(300), "all are done", async || {
        let status = trigger::status(&client, "relay").await?;
        ensure!(status.sequence == MISSED as u64, "{status:?}");
        Ok(Some(status))
    })
    .await?;
    ensure!(status.missed == 0 && status.succeeded == WANTED as u64, "{status:?}");
    ensure!(status.skipped == (MISSED - WANTED) as u64, "{status:?}");
    ensure!(receiver.count() == WANTED, "{} requests", receiver.count());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_whose_events_were_removed_is_told_how_many() -> Result<()> {
    const KEPT: usize = 50;
    const ALL: usize = 500;
    let up = Platform::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    let patch = Patch::Merge(json!({"spec": {"retention": {"events": KEPT}}}));
    hook.api().patch("shop", &PatchParams::default(), &patch).await?;
    let receiver = Receiver::start().await?;
    let mut agent = Agent::start(&subscribe(&up, "edge")?).await?;
    trigger::create(&agent.client().await?, "relay", trigger::forward(&hook, &receiver.url("/"))).await?;
    deliver(&hook, 0..10).await?;
    trigger::done(&agent.client().await?, "relay", 10).await?;
    stop(&mut agent).await?;
    deliver(&hook, 10..ALL).await?;
    within(Duration::from_secs(120), "old events are removed", async || {
        Ok((hook.events().await?.len() == KEPT).then_some(()))
    })
    .await?;
    agent.start_again().await?;
    let client = agent.client().await?;
    let status = trigger::done(&client, "relay", ALL as u64).await?;
    ensure!(status.missed == (ALL - KEPT - 10) as u64, "{status:?}");
    ensure!(status.conditions.iter().any(|condition| condition.type_ == "EventsMissed" && condition.status == "True"));
    ensure!(receiver.count() == 10 + KEPT, "{} requests", receiver.count());
    let told = Kubectl::new(&agent.kubeconfig())?.run("get events -o jsonpath={.items[*].message}")?;
    ensure!(told.contains(&(ALL - KEPT - 10).to_string()), "{told}");
    Ok(())
}
