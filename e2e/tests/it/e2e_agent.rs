//! An agent that dials out: away, killed, cut off, and doubled. At least once, in order, nothing forgotten.

use std::collections::BTreeSet;

use futures::StreamExt;
use roadstead_e2e::cut::Cable;
use roadstead_e2e::receiver::Received;
use roadstead_e2e::{Agent, Hook, Receiver, Result, Up, ensure, trigger};

/// Deliveries at the same time.
const AT_ONCE: usize = 16;

/// Posts deliveries `from..to`, of one repository, in this order if `AT_ONCE` allows.
async fn deliver(hook: &Hook, numbers: std::ops::Range<usize>) -> Result<()> {
    let posts = numbers.map(|number| {
        let hook = hook.clone();
        async move { hook.deliver("push", &number.to_string(), br#"{"repository":{"full_name":"octo/shop"}}"#).await }
    });
    let mut answers = futures::stream::iter(posts).buffered(AT_ONCE);
    while let Some(answer) = answers.next().await {
        let answer = answer?;
        ensure!(answer.is_success(), "{answer:?}");
    }
    Ok(())
}

fn subscribe(up: &Up, name: &str) -> Result<String> {
    up.cli(&["subscriber", "add", name, "--endpoint", "default/shop"])
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
    let up = Up::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    let receiver = Receiver::start().await?;
    let mut agent = Agent::start(&subscribe(&up, "edge")?).await?;
    let client = agent.client().await?;
    trigger::create(&client, "relay", trigger::forward("shop", &receiver.url("/"))).await?;
    deliver(&hook, 0..10).await?;
    trigger::done(&client, "relay", 10).await?;
    agent.process().signal("TERM")?;
    roadstead_e2e::eventually("the agent ends", async || Ok(agent.process().ended()?)).await?;
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
    let up = Up::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    let receiver = Receiver::start().await?;
    let mut agent = Agent::start(&subscribe(&up, "edge")?).await?;
    trigger::create(&agent.client().await?, "relay", trigger::forward("shop", &receiver.url("/"))).await?;
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
    let up = Up::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    let receiver = Receiver::start().await?;
    let mut agent = Agent::start(&subscribe(&up, "edge")?).await?;
    trigger::create(&agent.client().await?, "relay", trigger::forward("shop", &receiver.url("/"))).await?;
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
    let mut up = Up::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    let receiver = Receiver::start().await?;
    let cable = Cable::to(&up.addresses().hub).await?;
    let kubeconfig = subscribe(&up, "edge")?.replace(&up.addresses().hub, cable.address());
    let agent = Agent::start(&kubeconfig).await?;
    let client = agent.client().await?;
    trigger::create(&client, "relay", trigger::forward("shop", &receiver.url("/"))).await?;
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
    let up = Up::start().await?;
    let hook = Hook::github(&up, "shop").await?;
    let kubeconfig = subscribe(&up, "twins")?;
    let mut twins = Vec::new();
    for _ in 0..2 {
        let (agent, receiver) = (Agent::start(&kubeconfig).await?, Receiver::start().await?);
        trigger::create(&agent.client().await?, "relay", trigger::forward("shop", &receiver.url("/"))).await?;
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
