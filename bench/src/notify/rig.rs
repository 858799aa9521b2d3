//! A queue over a log on disk, with webhooks that are posted to a receiver, signed, through the guarded client.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::Request;
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use ring::hmac;
use roadstead_api::event::ImageChange;
use roadstead_notify::{
    delivery::{Attempt, Event, Message, NewMessage, Verdict},
    log::{DeliveryLog, Options as LogOptions},
    metrics::Metrics,
    queue::{Deliver, Handle, Limits, Options, Runner},
};
use roadstead_outbound::guard;
use roadstead_reconcile::Targets;

use super::{
    CONCURRENCY,
    receiver::{HANG, NAME, Receiver},
};
use crate::platform::{KEY, scratch};

/// A running queue. Its directory goes with it.
pub struct Rig {
    /// The log.
    pub log: Arc<DeliveryLog>,
    handle: Handle,
    _dir: tempfile::TempDir,
}

impl Rig {
    /// Starts a queue for webhooks of these uids; those that begin with `hang` are posted where nothing answers.
    pub async fn start(receiver: &Receiver, uids: &[String]) -> Result<Self> {
        let dir = tempfile::tempdir_in(scratch())?;
        let log = DeliveryLog::open(dir.path(), LogOptions::default()).await?;
        let handle = Runner::start(
            log.clone(),
            Arc::new(Poster::new(receiver)?),
            Options::default(),
            Metrics::new(&mut Registry::default()),
        );
        for uid in uids {
            log.register(uid, "bench", uid).await?;
            handle.configure(uid, Some(Limits { concurrency: CONCURRENCY, rate: None, suspended: false }));
        }
        Ok(Self { log, handle, _dir: dir })
    }

    /// Ends it.
    pub async fn stop(self) {
        self.handle.shutdown(Duration::from_secs(1)).await;
        self.log.close().await;
    }
}

/// Messages about one event for webhooks of these uids, in order by repository.
pub fn messages<'a>(n: u64, uids: impl IntoIterator<Item = &'a String>) -> Vec<NewMessage> {
    let repository = format!("team/app-{}", n % 200);
    let image = ImageChange {
        registry: "registry.example.com".into(),
        repository: repository.clone(),
        tag: format!("v{n}"),
        digest: format!("sha256:{n:064x}"),
        action: "push".into(),
        actor: "bench".into(),
    };
    let event = Arc::new(Event {
        id: format!("event-{n}"),
        kind: "push".into(),
        image,
        at: Timestamp::now(),
        reconciled: false,
        origin: "registry".into(),
    });
    let message =
        |uid: &String| NewMessage { webhook: uid.clone(), key: Some(repository.clone()), event: event.clone() };
    uids.into_iter().map(message).collect()
}

/// The request for a message: its body, signed as Standard Webhooks has it.
pub fn request(url: &str, key: &hmac::Key, message: &str, name: &str, body: &Bytes) -> Result<Request<Bytes>> {
    let timestamp = Timestamp::now().as_second();
    let mut context = hmac::Context::with_key(key);
    context.update(format!("{message}.{timestamp}.").as_bytes());
    context.update(body);
    let signature = format!("v1,{}", STANDARD.encode(context.sign()));
    Ok(Request::post(url)
        .header("content-type", "application/json")
        .header("webhook-id", message)
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", signature)
        .header(NAME, name)
        .body(body.clone())?)
}

/// The body of a message.
pub fn body(event: &str, image: &ImageChange, at: Timestamp) -> Bytes {
    let data =
        serde_json::json!({"type": "image.push", "timestamp": at.to_string(), "data": {"id": event, "image": image}});
    data.to_string().into()
}

/// The signing key of all webhooks.
pub fn key() -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, KEY)
}

struct Poster {
    client: guard::Client,
    key: hmac::Key,
    base: String,
}

impl Poster {
    fn new(receiver: &Receiver) -> Result<Self> {
        let options = guard::Options { max_idle_per_host: 256, ..guard::Options::new(Targets::with_loopback()) };
        Ok(Self { client: guard::Client::new(options)?, key: key(), base: format!("http://{}", receiver.address) })
    }

    async fn post(&self, message: &Message) -> Result<u16> {
        let path = if message.webhook.starts_with("hang") { HANG } else { "/" };
        let event = &message.event;
        let body = body(&event.id, &event.image, event.at);
        let name = format!("{}/{}", event.id, message.webhook);
        let request = request(&format!("{}{path}", self.base), &self.key, &message.id, &name, &body)?;
        let limits =
            guard::Limits { deadline: Duration::from_secs(15), max_body: 1024, on_oversize: guard::Oversize::Truncate };
        Ok(self.client.send(request, limits).await?.status.as_u16())
    }
}

#[async_trait]
impl Deliver for Poster {
    async fn deliver(&self, message: &Message) -> Attempt {
        let (at, started) = (Timestamp::now(), Instant::now());
        let (status, error) = match self.post(message).await {
            Ok(status) => (Some(status), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let verdict = match status {
            Some(200..300) => Verdict::Delivered,
            _ => Verdict::Retry { after: None },
        };
        Attempt { at, duration: started.elapsed(), status, error, snippet: String::new(), verdict }
    }
}
