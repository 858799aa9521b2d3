//! What the log looks like to machines.

use std::sync::{Arc, Mutex};

use serde_json::json;
use tracing::{
    Event, Id, Metadata, Subscriber,
    span::{Attributes, Record},
    subscriber::Interest,
};

use crate::{
    receiver::{Receiver, answer},
    world::{World, push},
};

/// Notes each place that logs, with how many fields named `message` it has; records nothing.
#[derive(Clone, Default)]
struct Places(Arc<Mutex<Vec<(String, usize)>>>);

impl Subscriber for Places {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.target().starts_with("roadstead_agent") {
            let messages = metadata.fields().iter().filter(|field| field.name() == "message").count();
            self.0.lock().unwrap().push((metadata.name().to_string(), messages));
        }
        Interest::never()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_line_has_the_key_message_twice() {
    let places = Places::default();
    tracing::subscriber::set_global_default(places.clone()).unwrap();
    let world = World::start().await;
    let receiver = Receiver::start().await;
    let mut codes = [200].into_iter();
    receiver.answers(move |_| answer(codes.next().unwrap_or(500), ""));
    let agent = world.agent().await;
    world.trigger("both", json!({"forward": {"url": receiver.url()}, "retry": {"attempts": 1}})).await;
    world.trigger("wrong", json!({"forward": {"url": receiver.url()}, "filter": "1 +"})).await;
    world.watching("both").await;
    world.deliver(push("good", "octo/shop")).await;
    world.deliver(push("bad", "octo/shop")).await;
    let both = |t: &roadstead_api::Trigger| t.status.as_ref().is_some_and(|s| s.succeeded == 1 && s.dead_letters == 1);
    world.status("both", "done and given up", both).await;
    agent.shutdown().await;
    let places = places.0.lock().unwrap();
    assert!(places.iter().any(|(name, _)| name.contains("runner/note.rs")), "{places:?}");
    let twice: Vec<_> = places.iter().filter(|(_, messages)| *messages > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}
