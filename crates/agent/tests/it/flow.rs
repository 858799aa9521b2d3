//! Events flow: start, filter, order, back-pressure, what the hub and the status are told.

use prometheus_client::{encoding::text::encode, registry::Registry};
use roadstead_agent::{Agent, plan::Limits};
use roadstead_api::Subscriber;
use roadstead_hub::log::Draft;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    receiver::Receiver,
    world::{World, condition, push, start, until},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_trigger_starts_now_or_with_the_first_event() {
    let world = World::start().await;
    let (now, earliest) = (Receiver::start().await, Receiver::start().await);
    for id in ["a", "b"] {
        world.deliver(push(id, "octo/shop")).await;
    }
    let agent = world.agent().await;
    world.trigger("now", json!({"forward": {"url": now.url()}})).await;
    world.trigger("earliest", json!({"forward": {"url": earliest.url()}, "start": "earliest"})).await;
    world.watching("now").await;
    world.watching("earliest").await;
    let last = world.deliver(push("c", "octo/shop")).await;
    until("all", async || (earliest.ids() == ["a", "b", "c"] && now.ids() == ["c"]).then_some(())).await;
    let position = last.to_string();
    for name in ["now", "earliest"] {
        let done = |status: &roadstead_api::TriggerStatus| status.position.as_deref() == Some(&position);
        let trigger = world.status(name, "position", |trigger| trigger.status.as_ref().is_some_and(done)).await;
        let status = trigger.status.unwrap();
        assert_eq!((status.sequence, status.lag, status.failed, status.missed), (3, 0, 0, 0), "{name}");
        assert_eq!(status.source.as_deref(), Some("main/default/shop"));
        let result = status.last_result.unwrap();
        assert!(result.success && result.event == "c", "{result:?}");
    }
    agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_decides_and_one_that_fails_loses_nothing() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    let agent = world.agent().await;
    let filter = r#"event.git.repository == "octo/shop" && event.git.commits[int(event.id)].id == """#;
    let fields = json!({"forward": {"url": receiver.url()}, "filter": filter});
    world.trigger("picky", fields).await;
    world.watching("picky").await;
    world.deliver(push("1", "octo/other")).await;
    world.deliver(push("0", "octo/shop")).await;
    let trigger =
        world.status("picky", "dead letter", |t| t.status.as_ref().is_some_and(|s| s.dead_letters == 1)).await;
    assert_eq!(trigger.status.unwrap().skipped, 1);
    assert_eq!(receiver.ids().len(), 0);
    let letters = world.letters().list(&Default::default()).await.unwrap();
    assert!(letters.items[0].spec.reason.contains("filter"), "{}", letters.items[0].spec.reason);
    agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_that_cannot_work_says_why() {
    let world = World::start().await;
    let agent = world.agent().await;
    let cases = [
        ("filter", json!({"forward": {"url": "http://127.0.0.1/"}, "filter": "event.nothing"}), "InvalidFilter"),
        ("target", json!({"forward": {"url": "http://10.0.0.1/"}}), "ForwardNotAllowed"),
        (
            "hub",
            json!({"endpoint": {"hub": "x", "name": "shop"}, "forward": {"url": "http://127.0.0.1/"}}),
            "UnknownHub",
        ),
        ("suspend", json!({"forward": {"url": "http://127.0.0.1/"}, "suspend": true}), "Suspended"),
        ("timeout", json!({"forward": {"url": "http://127.0.0.1/", "timeout": "soon"}}), "InvalidSpec"),
        ("cross", json!({"annotate": {"preset": "argocd", "name": "x", "namespace": "y"}}), "CrossNamespaceNotAllowed"),
        (
            "missing",
            json!({"endpoint": {"name": "nowhere"}, "forward": {"url": "http://127.0.0.1/"}}),
            "EndpointNotFound",
        ),
    ];
    for (name, fields, _) in &cases {
        world.trigger(name, fields.clone()).await;
    }
    for (name, _, reason) in &cases {
        world.status(name, reason, |trigger| condition(trigger, "Ready") == Some(("False", reason))).await;
    }
    // What was missing comes: it works without anybody's help. What was wrong is corrected: likewise.
    world.endpoint("nowhere").await;
    world.watching("missing").await;
    let fix = kube::api::Patch::Merge(json!({"spec": {"suspend": false}}));
    world.triggers().patch("suspend", &Default::default(), &fix).await.unwrap();
    let trigger = world.watching("suspend").await;
    assert_eq!(trigger.status.unwrap().observed_generation, trigger.metadata.generation);
    agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_a_repository_keep_their_order_and_a_failing_one_holds_only_its_own() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    receiver.answers(|request| crate::receiver::answer(if request.id().starts_with("bad") { 503 } else { 200 }, ""));
    let agent = world.agent().await;
    let retry = json!({"attempts": 1000, "timeout": "1h"});
    world.trigger("ordered", json!({"forward": {"url": receiver.url()}, "retry": retry})).await;
    world.watching("ordered").await;
    for n in 0..20 {
        for repository in ["bad", "good", "fine"] {
            world.deliver(push(&format!("{repository}-{n:02}"), repository)).await;
        }
    }
    let of = |prefix: &str| -> Vec<String> { receiver.ids().into_iter().filter(|id| id.starts_with(prefix)).collect() };
    let expected = |prefix: &str| -> Vec<String> { (0..20).map(|n| format!("{prefix}-{n:02}")).collect() };
    until("the others are done", async || (of("good").len() == 20 && of("fine").len() == 20).then_some(())).await;
    assert_eq!((of("good"), of("fine")), (expected("good"), expected("fine")));
    assert!(of("bad").iter().all(|id| id == "bad-00"), "only the head is tried");
    let trigger = world.status("ordered", "lag", |t| t.status.as_ref().is_some_and(|s| s.lag == 20)).await;
    assert!(trigger.status.unwrap().done_ahead.is_some());
    receiver.answers(|_| crate::receiver::answer(200, ""));
    until("the held ones follow", async || of("bad-19").first().cloned()).await;
    let mut bad = of("bad");
    bad.dedup();
    assert_eq!(bad, expected("bad"));
    agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_into_memory_is_read_again_when_its_turn_comes() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    receiver.answers(|_| crate::receiver::answer(503, ""));
    let mut options = world.options();
    options.limits = Limits { window: 4, ..Limits::default() };
    let agent = start(options).await;
    let retry = json!({"attempts": 1000, "timeout": "1h"});
    world.trigger("small", json!({"forward": {"url": receiver.url()}, "retry": retry})).await;
    world.watching("small").await;
    let sizes = [10, 60_000, 200_000];
    for n in 0..30 {
        let body = vec![n as u8; sizes[n % 3]].into();
        world.deliver(Draft { body, ..push(&n.to_string(), "octo/shop") }).await;
    }
    // All are known, though only four fit.
    world.status("small", "lag", |t| t.status.as_ref().is_some_and(|s| s.lag == 30)).await;
    receiver.answers(|_| crate::receiver::answer(200, ""));
    world.status("small", "done", |t| t.status.as_ref().is_some_and(|s| s.succeeded == 30)).await;
    let mut received = receiver.received();
    received.dedup_by_key(|request| request.id());
    assert_eq!(received.len(), 30);
    for (n, request) in received.iter().enumerate() {
        assert_eq!(request.body, vec![n as u8; sizes[n % 3]], "{n}");
    }
    agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_trigger_waits_for_another() {
    let world = World::start().await;
    let (stuck, free) = (Receiver::start().await, Receiver::start().await);
    stuck.close();
    let agent = world.agent().await;
    world.trigger("stuck", json!({"forward": {"url": stuck.url(), "timeout": "10m"}})).await;
    world.trigger("free", json!({"forward": {"url": free.url()}})).await;
    world.watching("stuck").await;
    world.watching("free").await;
    for n in 0..600 {
        world.deliver(push(&n.to_string(), &format!("octo/{n}"))).await;
    }
    until("the free one", async || (free.ids().len() == 600).then_some(())).await;
    assert!(stuck.ids().len() <= 8, "its own concurrency");
    stuck.open();
    until("the other one", async || (stuck.ids().len() == 600).then_some(())).await;
    agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hub_is_told_how_far_the_agent_is() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    let mut registry = Registry::default();
    let agent = Agent::start(world.options(), &mut registry, CancellationToken::new()).await.unwrap();
    world.trigger("reported", json!({"forward": {"url": receiver.url()}})).await;
    world.watching("reported").await;
    world.deliver(push("a", "octo/shop")).await;
    let api = world.api::<Subscriber>(&world.hub);
    let status = until("the report", async || {
        let status = api.get("edge").await.ok()?.status?;
        status.positions.iter().any(|position| position.sequence == 1 && position.lag == 0).then_some(status)
    })
    .await;
    assert_eq!(status.positions[0].endpoint, "default/shop");
    assert_eq!(status.agent_version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(status.agents.len(), 1);
    let mut metrics = String::new();
    encode(&mut metrics, &registry).unwrap();
    for line in [
        "roadstead_agent_triggers 1",
        r#"roadstead_trigger_results_total{namespace="default",trigger="reported",outcome="succeeded"} 1"#,
        r#"roadstead_trigger_lag_events{namespace="default",trigger="reported"} 0"#,
        r#"roadstead_trigger_delay_seconds_count{namespace="default",trigger="reported"} 1"#,
    ] {
        assert!(metrics.lines().any(|written| written == line), "{line} is not in:\n{metrics}");
    }
    agent.shutdown().await;
    let status = api.get("edge").await.unwrap().status.unwrap();
    assert!(status.agents.is_empty(), "it has left");
    assert_eq!(status.positions[0].sequence, 1, "what it has done stays told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_made_anew_under_its_name_starts_as_new() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    let agent = world.agent().await;
    let fields = json!({"forward": {"url": receiver.url()}});
    world.trigger("again", fields.clone()).await;
    world.watching("again").await;
    world.deliver(push("a", "octo/shop")).await;
    until("the first", async || (receiver.ids() == ["a"]).then_some(())).await;
    world.triggers().delete("again", &Default::default()).await.unwrap();
    world.deliver(push("b", "octo/shop")).await;
    world.trigger("again", fields).await;
    world.watching("again").await;
    world.deliver(push("c", "octo/shop")).await;
    until("the third", async || receiver.ids().contains(&"c".to_string()).then_some(())).await;
    assert_eq!(receiver.ids(), ["a", "c"]);
    agent.shutdown().await;
}
