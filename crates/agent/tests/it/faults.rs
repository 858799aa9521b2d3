//! What may go wrong: kill -9, lost connections, a hub that restarts, forgets or begins anew, two agents with one identity.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use roadstead_agent::HubAccess;
use roadstead_api::{Subscriber, Trigger};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{
    receiver::Receiver,
    world::{Killable, World, condition, message, push, start, until},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_action_and_position_every_event_is_acted_on_in_order() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    world.trigger("survives", json!({"forward": {"url": receiver.url()}, "start": "earliest"})).await;
    let mut sent = 0;
    for life in 0..5 {
        let agent = Killable::start(world.options());
        for _ in 0..40 {
            world.deliver(push(&format!("{sent:04}"), &format!("octo/{}", sent % 3))).await;
            sent += 1;
        }
        // Killed in the middle: some are done and not persisted, some have been sent and not answered.
        let enough = life * 40 + 20;
        until("half of them", async || {
            let seen: HashSet<String> = receiver.ids().into_iter().collect();
            (seen.len() >= enough).then_some(())
        })
        .await;
        agent.kill();
    }
    let agent = world.agent().await;
    let done = |t: &Trigger| t.status.as_ref().is_some_and(|s| s.sequence == 200 && s.lag == 0);
    let trigger = world.status("survives", "all done", done).await;
    assert_eq!(condition(&trigger, "EventsMissed"), None);
    assert_eq!(trigger.status.unwrap().missed, 0);
    let ids = receiver.ids();
    for repository in 0..3 {
        // Each event's first arrival is after the first arrival of all before it.
        let mut first: Vec<&String> = Vec::new();
        for id in ids.iter().filter(|id| id.parse::<usize>().unwrap() % 3 == repository) {
            if !first.contains(&id) {
                first.push(id);
            }
        }
        assert!(first.is_sorted(), "{first:?}");
    }
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 200);
    agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_in_good_order_nothing_is_repeated() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    world.trigger("tidy", json!({"forward": {"url": receiver.url()}, "start": "earliest"})).await;
    let mut sent = 0;
    for _ in 0..4 {
        let agent = world.agent().await;
        for _ in 0..30 {
            world.deliver(push(&sent.to_string(), &format!("octo/{}", sent % 5))).await;
            sent += 1;
        }
        until("some", async || (receiver.ids().len() + 20 >= sent).then_some(())).await;
        agent.shutdown().await;
    }
    let agent = world.agent().await;
    let done = |t: &Trigger| t.status.as_ref().is_some_and(|s| s.sequence == 120 && s.lag == 0);
    let trigger = world.status("tidy", "all done", done).await;
    assert_eq!(trigger.status.unwrap().succeeded, 120);
    let ids = receiver.ids();
    assert_eq!((ids.len(), ids.iter().collect::<HashSet<_>>().len()), (120, 120));
    agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_were_removed_are_counted_and_told() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    world.trigger("away", json!({"forward": {"url": receiver.url()}})).await;
    let agent = world.agent().await;
    world.watching("away").await;
    world.deliver(push("0", "octo/shop")).await;
    until("the first", async || (receiver.ids().len() == 1).then_some(())).await;
    agent.shutdown().await;
    for n in 1..=20 {
        world.deliver(push(&n.to_string(), "octo/shop")).await;
    }
    world.retain(5).await;
    world.removed(16).await;
    let agent = world.agent().await;
    let trigger = world.status("away", "missed", |t| t.status.as_ref().is_some_and(|s| s.missed == 15)).await;
    assert_eq!(condition(&trigger, "EventsMissed"), Some(("True", "Removed")));
    assert!(message(&trigger, "EventsMissed").contains("15 events"), "{}", message(&trigger, "EventsMissed"));
    assert!(message(&trigger, "EventsMissed").contains("sequences 2 to 16"));
    let done = |t: &Trigger| t.status.as_ref().is_some_and(|s| s.sequence == 21 && s.lag == 0);
    let trigger = world.status("away", "the rest", done).await;
    assert_eq!(condition(&trigger, "Ready"), Some(("True", "Watching")));
    assert_eq!(receiver.ids(), ["0", "16", "17", "18", "19", "20"]);
    until("the Event", async || {
        world
            .told()
            .await
            .iter()
            .any(|(reason, text)| reason == "EventsMissed" && text.contains("15 events"))
            .then_some(())
    })
    .await;
    agent.shutdown().await;
}

/// A TCP proxy whose connections can be cut, and which can be closed for a while.
struct Proxy {
    address: SocketAddr,
    open: Arc<Mutex<bool>>,
    connections: Arc<Mutex<JoinSet<()>>>,
}

impl Proxy {
    async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (open, connections) = (Arc::new(Mutex::new(true)), Arc::new(Mutex::new(JoinSet::new())));
        let proxy =
            Self { address: listener.local_addr().unwrap(), open: open.clone(), connections: connections.clone() };
        tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                if *open.lock().unwrap() {
                    connections.lock().unwrap().spawn(async move {
                        let mut far = TcpStream::connect(to).await.unwrap();
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    });
                }
            }
        });
        proxy
    }

    fn cut(&self) {
        *self.connections.lock().unwrap() = JoinSet::new();
    }

    fn set_open(&self, open: bool) {
        *self.open.lock().unwrap() = open;
        self.cut();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_lose_and_repeat_nothing() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    let proxy = Proxy::start(world.serve_hub(None).await).await;
    let mut options = world.options();
    options.hubs = [("main".to_string(), world.access(proxy.address).await)].into();
    let agent = start(options).await;
    world.trigger("cut", json!({"forward": {"url": receiver.url()}})).await;
    world.watching("cut").await;
    for n in 0..30 {
        if n % 10 == 5 {
            proxy.cut();
        }
        world.deliver(push(&n.to_string(), "octo/shop")).await;
    }
    until("all", async || (receiver.ids().len() >= 30).then_some(())).await;
    proxy.set_open(false);
    world.status("cut", "told", |t| condition(t, "Ready") == Some(("False", "HubUnreachable"))).await;
    world.deliver(push("30", "octo/shop")).await;
    proxy.set_open(true);
    until("the last", async || receiver.ids().contains(&"30".to_string()).then_some(())).await;
    world.watching("cut").await;
    assert_eq!(receiver.ids(), (0..=30).map(|n| n.to_string()).collect::<Vec<_>>());
    agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_restarts_is_found_again() {
    let mut world = World::start().await;
    let receiver = Receiver::start().await;
    let address = world.serve_hub(None).await;
    let mut options = world.options();
    options.hubs = [("main".to_string(), HubAccess::Kubeconfig(world.kubeconfig()))].into();
    let agent = start(options).await;
    world.trigger("loyal", json!({"forward": {"url": receiver.url()}})).await;
    world.watching("loyal").await;
    for life in 0..3 {
        world.deliver(push(&format!("{life}-before"), "octo/shop")).await;
        world.stop_hub().await;
        world.status("loyal", "told", |t| condition(t, "Ready") == Some(("False", "HubUnreachable"))).await;
        if life == 1 {
            // A new token: the agent is refused with the old one, and reads its kubeconfig again.
            std::fs::remove_file(world.kubeconfig()).unwrap();
        }
        world.start_hub().await;
        world.deliver(push(&format!("{life}-after"), "octo/shop")).await;
        world.serve_hub(Some(address)).await;
        world.watching("loyal").await;
    }
    let all = ["0-before", "0-after", "1-before", "1-after", "2-before", "2-after"];
    until("all, once", async || (receiver.ids() == all).then_some(())).await;
    let trigger = world.triggers().get("loyal").await.unwrap();
    assert_eq!(condition(&trigger, "EventsMissed"), None);
    agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_was_away_for_many_events_catches_up() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    world.trigger("late", json!({"forward": {"url": receiver.url()}, "filter": "event.id == 'wanted'"})).await;
    let agent = world.agent().await;
    world.watching("late").await;
    agent.shutdown().await;
    // Enough for many pages, windows and segments.
    let drafts: Vec<_> = (0..20_000).map(|n| push(&n.to_string(), "octo/shop")).collect();
    for chunk in drafts.chunks(1000) {
        world.deliver_all(chunk.to_vec()).await;
    }
    world.deliver(push("wanted", "octo/shop")).await;
    let agent = world.agent().await;
    let done = |t: &Trigger| t.status.as_ref().is_some_and(|s| s.sequence == 20_001 && s.lag == 0);
    let trigger = world.status("late", "caught up", done).await;
    let status = trigger.status.unwrap();
    assert_eq!((status.skipped, status.succeeded, status.missed), (20_000, 1, 0));
    assert_eq!(receiver.ids(), ["wanted"]);
    agent.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_agents_with_one_identity_both_act_and_say_so() {
    let world = World::start().await;
    let other = World::start().await;
    let (here, there) = (Receiver::start().await, Receiver::start().await);
    world.trigger("shared", json!({"forward": {"url": here.url()}})).await;
    other.trigger("shared", json!({"forward": {"url": there.url()}})).await;
    let first = world.agent().await;
    // The second has a control plane of its own, and the first one's kubeconfig.
    let mut options = other.options();
    options.hubs = world.options().hubs;
    let second = start(options).await;
    world.watching("shared").await;
    other.watching("shared").await;
    let say = |t: &Trigger| condition(t, "SharedIdentity") == Some(("True", "AnotherAgent"));
    let mut sent = 0;
    let deadline = tokio::time::Instant::now() + crate::world::PATIENCE;
    // Each report tells of the other: there are reports while positions move.
    loop {
        world.deliver(push(&sent.to_string(), "octo/shop")).await;
        sent += 1;
        let both = (world.triggers().get("shared").await.unwrap(), other.triggers().get("shared").await.unwrap());
        if say(&both.0) && say(&both.1) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "in vain: both say so");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    until("both act", async || (here.ids().len() == sent && there.ids().len() == sent).then_some(())).await;
    let agents = world.api::<Subscriber>(&world.hub).get("edge").await.unwrap().status.unwrap().agents;
    assert_eq!(agents.len(), 2);
    first.shutdown().await;
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_whose_log_begins_anew_is_followed_from_its_first_event() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    let agent = world.agent().await;
    world.trigger("anew", json!({"forward": {"url": receiver.url()}})).await;
    world.watching("anew").await;
    for n in 0..10 {
        world.deliver(push(&n.to_string(), "octo/shop")).await;
    }
    world.status("anew", "ten", |t| t.status.as_ref().is_some_and(|s| s.sequence == 10)).await;
    agent.shutdown().await;
    // Another hub under the same name, with a log of its own.
    let fresh = World::start().await;
    fresh.deliver(push("fresh", "octo/shop")).await;
    let mut options = world.options();
    options.hubs = fresh.options().hubs;
    let agent = start(options).await;
    until("the fresh one", async || receiver.ids().contains(&"fresh".to_string()).then_some(())).await;
    let trigger = world.status("anew", "told", |t| condition(t, "EventsMissed") == Some(("True", "LogReplaced"))).await;
    assert_eq!(trigger.status.unwrap().missed, 0, "nobody knows how many");
    agent.shutdown().await;
}
