//! A receiver that follows a script, and options without long waits.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;

pub use crate::log::tests::support::{all, message, open, until};
use crate::{
    delivery::{Attempt, Message, Verdict},
    log::{DeliveryLog, tests::support::attempt},
    metrics::Metrics,
    queue::{Deliver, Handle, Limits, Options, Runner, Schedule},
};

/// What the receiver does with a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Act {
    Answer(Verdict),
    /// Takes it, and never answers.
    Hang,
    /// Takes it, and answers this after a time.
    After(Duration, Verdict),
    Panic,
}

pub const OK: Act = Act::Answer(Verdict::Delivered);
pub const FAIL: Act = Act::Answer(Verdict::Retry { after: None });

/// What the receiver does with the n-th attempt (from 0) of an event.
type Script = Box<dyn Fn(&Message, u32) -> Act + Send + Sync>;

/// What was received.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    pub webhook: String,
    pub event: String,
    pub id: String,
    pub at: tokio::time::Instant,
}

/// A receiver.
pub struct Scripted {
    script: Script,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    received: Vec<Received>,
    tries: HashMap<String, u32>,
    flying: HashMap<String, usize>,
    most: HashMap<String, usize>,
}

impl Scripted {
    pub fn new(script: impl Fn(&Message, u32) -> Act + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { script: Box::new(script), inner: Mutex::default() })
    }

    pub fn received(&self) -> Vec<Received> {
        self.inner.lock().unwrap().received.clone()
    }

    /// Event ids in the order received.
    pub fn events(&self) -> Vec<String> {
        self.received().into_iter().map(|received| received.event).collect()
    }

    /// Most requests at the same time of a webhook.
    pub fn most(&self, webhook: &str) -> usize {
        self.inner.lock().unwrap().most.get(webhook).copied().unwrap_or(0)
    }
}

#[async_trait]
impl Deliver for Scripted {
    async fn deliver(&self, message: &Message) -> Attempt {
        let act = {
            let mut inner = self.inner.lock().unwrap();
            let webhook = message.webhook.clone();
            inner.received.push(Received {
                webhook: webhook.clone(),
                event: message.event.id.clone(),
                id: message.id.clone(),
                at: tokio::time::Instant::now(),
            });
            let flying = inner.flying.entry(webhook.clone()).or_default();
            *flying += 1;
            let flying = *flying;
            let most = inner.most.entry(webhook).or_default();
            *most = flying.max(*most);
            let tries = inner.tries.entry(message.id.clone()).or_default();
            *tries += 1;
            let tries = *tries - 1;
            drop(inner);
            (self.script)(message, tries)
        };
        let verdict = match act {
            Act::Answer(verdict) => {
                tokio::task::yield_now().await;
                verdict
            }
            Act::After(pause, verdict) => {
                tokio::time::sleep(pause).await;
                verdict
            }
            Act::Hang => std::future::pending().await,
            Act::Panic => panic!("as the script says"),
        };
        *self.inner.lock().unwrap().flying.entry(message.webhook.clone()).or_default() -= 1;
        attempt(verdict)
    }
}

/// Options with short pauses.
pub fn quick() -> Options {
    Options {
        schedule: Schedule([1, 2, 4, 8].map(Duration::from_millis).into()),
        breaker_pause: Duration::from_millis(2),
        breaker_longest: Duration::from_millis(20),
        throttle_longest: Duration::from_millis(20),
        slow_after: Duration::from_millis(50),
        ..Options::default()
    }
}

pub const LIMITS: Limits = Limits { concurrency: 8, rate: None, suspended: false };

/// Starts a runner that sends for all webhooks of the log.
pub fn start(log: &Arc<DeliveryLog>, deliver: &Arc<Scripted>, options: Options) -> Handle {
    let metrics = Metrics::new(&mut prometheus_client::registry::Registry::default());
    let handle = Runner::start(log.clone(), deliver.clone(), options, metrics);
    for stats in log.webhooks() {
        handle.configure(&stats.uid, Some(LIMITS));
    }
    handle
}

/// Waits until nothing is pending.
pub async fn drained(log: &DeliveryLog) {
    until("nothing is pending", async || log.totals().pending == 0).await;
}
