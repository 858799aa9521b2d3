//! One delivery: `POST /hooks/<id>` in, a durable event and a 2xx out.
//!
//! The order is the point: look the endpoint up, bound the body, read it, verify the raw bytes, and only then parse; decide
//! what is kept; append; and answer 2xx after the log says that it is on disk. Every refusal has its status: 404 no such URL,
//! 401 not verified, 413 and 431 too large, 408 too slow, 429 too often, 503 with `Retry-After` for everything that the
//! sender should try again.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use jiff::Timestamp;
use roadstead_api::endpoint::Provider;
use roadstead_outbound::registry::Confirmation;
use serde_json::json;
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    endpoint::{Counted, Endpoint, Endpoints, Gate, Unknown},
    incoming::{Incoming, recorded_headers},
    journal::{Journal, RecordError, key, micros},
    limits::Offenders,
    log::{Draft, LogError, Outcome},
    metrics::Verdict,
    providers::{self, Change, Reading},
    verify::Policy,
};

/// How long a body may take.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// Bodies in memory at once, in KiB: beyond it deliveries are answered 503.
const BODY_BUDGET_KIB: u32 = 256 << 10;
/// Room for a body before its first byte, and how it grows, in bytes.
const FIRST_ROOM: u64 = 64 << 10;
const GROWTH: u64 = 256 << 10;
/// How long a sender may be silent within a body.
const SILENCE: Duration = Duration::from_secs(5);
/// How long confirming at a registry may take: Distribution gives up on a receiver after a second.
const CONFIRM_DEADLINE: Duration = Duration::from_millis(700);

/// Takes deliveries. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    inner: Arc<Inner>,
}

struct Inner {
    endpoints: Endpoints,
    journal: Journal,
    offenders: Offenders,
    budget: Semaphore,
}

/// A refusal: status, what the sender is told, and when it may come again.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    message: String,
    retry_after: Option<u32>,
    verdict: Verdict,
}

impl Refusal {
    fn new(status: StatusCode, verdict: Verdict, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), retry_after: None, verdict }
    }

    fn later(status: StatusCode, verdict: Verdict, message: impl Into<String>, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..Self::new(status, verdict, message) }
    }
}

/// What a good delivery is answered.
struct Receipt {
    status: StatusCode,
    text: String,
    verdict: Verdict,
}

impl Ingest {
    /// Takes deliveries for `endpoints`.
    pub(crate) fn new(endpoints: Endpoints, journal: Journal) -> Self {
        // An address may get 20 signatures wrong at once and one every two seconds after that.
        let offenders = Offenders::new(0.5, 20.0);
        let budget = Semaphore::new(BODY_BUDGET_KIB as usize);
        Self { inner: Arc::new(Inner { endpoints, journal, offenders, budget }) }
    }

    /// Answers a request to `/hooks/<hook_id>` from `source`.
    pub async fn handle<B>(&self, hook_id: &str, request: Request<B>, source: IpAddr) -> Response<Bytes>
    where
        B: HttpBody<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        let started = Instant::now();
        let inner = &*self.inner;
        let endpoint = inner.endpoints.by_hook(hook_id);
        let provider = endpoint.as_ref().ok().map(|endpoint| endpoint.provider);
        if let (Some(Provider::Cloudevents), &Method::OPTIONS) = (provider, request.method())
            && let Some(headers) = providers::handshake(request.headers())
        {
            let mut response = answer(StatusCode::OK, String::new(), None);
            response.headers_mut().extend(headers);
            return response;
        }
        let result = match &endpoint {
            Ok(endpoint) => inner.deliver(endpoint, request, source).await,
            Err(why) => inner.unknown(*why, source),
        };
        let (response, verdict) = match result {
            Ok(receipt) => (answer(receipt.status, receipt.text, None), receipt.verdict),
            Err(refusal) => {
                if let Ok(endpoint) = &endpoint {
                    endpoint.live.count(Counted::Rejected, 1);
                    inner.journal.touch(endpoint);
                    tracing::info!(
                        endpoint = %key(endpoint), %source, status = refusal.status.as_u16(), reason = refusal.message,
                        "delivery refused"
                    );
                }
                let body = json!({"error": refusal.message}).to_string();
                (answer(refusal.status, body, refusal.retry_after), refusal.verdict)
            }
        };
        inner.journal.metrics().delivery(provider, verdict, started.elapsed());
        response
    }
}

impl Inner {
    /// Nobody's URL: the same answer whatever the method, and it counts as a failed guess. While not all endpoints are known the
    /// sender is told to come again, because one that is told 404 does not.
    fn unknown(&self, why: Unknown, source: IpAddr) -> Result<Receipt, Refusal> {
        self.admit(source)?;
        if why == Unknown::NotYet {
            let message = "not all endpoints are known yet";
            return Err(Refusal::later(StatusCode::SERVICE_UNAVAILABLE, Verdict::Closed, message, 1));
        }
        self.offenders.failed(source, Instant::now());
        Err(Refusal::new(StatusCode::NOT_FOUND, Verdict::Unknown, "no webhook endpoint has this URL"))
    }

    fn admit(&self, source: IpAddr) -> Result<(), Refusal> {
        self.offenders.check(source, Instant::now()).map_err(|seconds| {
            let message = "too many deliveries from this address did not verify";
            Refusal::later(StatusCode::TOO_MANY_REQUESTS, Verdict::Limited, message, seconds)
        })
    }

    async fn deliver<B>(
        &self,
        endpoint: &Arc<Endpoint>,
        request: Request<B>,
        source: IpAddr,
    ) -> Result<Receipt, Refusal>
    where
        B: HttpBody<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        let policy = match &endpoint.gate {
            Gate::Open(policy) => policy,
            Gate::Closed { reason, .. } => {
                let message = format!("the endpoint takes no deliveries at present ({reason})");
                return Err(Refusal::later(StatusCode::SERVICE_UNAVAILABLE, Verdict::Closed, message, 60));
            }
        };
        let (parts, body) = request.into_parts();
        if parts.method != Method::POST {
            let message = "webhooks are posted: use POST";
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, Verdict::Malformed, message));
        }
        // Without proof the address is all there is to go by; with it, a good delivery must not suffer for the bad ones that
        // others send from the same address, which may be a provider's.
        if !policy.proves() {
            self.admit(source)?;
        }
        let (body, _room) = self.read(&parts.headers, body, endpoint.max_body).await?;
        let received_at = Timestamp::now();
        let incoming =
            Incoming { method: &parts.method, headers: &parts.headers, query: parts.uri.query(), body: &body };
        let verified = policy.verify(&incoming, received_at).or_else(|rejection| {
            self.admit(source)?;
            self.offenders.failed(source, Instant::now());
            Err(Refusal::new(rejection.status(), Verdict::Unverified, rejection.to_string()))
        })?;
        if let Some(bucket) = &endpoint.bucket {
            bucket.take(Instant::now()).map_err(|seconds| {
                let message = "the endpoint's rate limit is reached";
                Refusal::later(StatusCode::TOO_MANY_REQUESTS, Verdict::Limited, message, seconds)
            })?;
        }
        self.record(endpoint, policy, &incoming, verified.proven(), received_at).await
    }

    /// Reads the body, never more than `cap` bytes and never more than there is room for. The permit holds the room.
    async fn read<B>(
        &self,
        headers: &HeaderMap,
        mut body: B,
        cap: u64,
    ) -> Result<(Bytes, tokio::sync::SemaphorePermit<'_>), Refusal>
    where
        B: HttpBody<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        let too_large = || {
            let message = format!("the body is larger than this endpoint takes ({cap} bytes)");
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, Verdict::TooLarge, message)
        };
        let declared =
            headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
        if declared.is_some_and(|length| length > cap) {
            return Err(too_large());
        }
        let kib = |bytes: u64| u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).max(1);
        let crowded = || {
            let message = "too many deliveries are being read at once";
            Refusal::later(StatusCode::SERVICE_UNAVAILABLE, Verdict::Overloaded, message, 1)
        };
        // What was only announced takes no room: else a few senders that announce much and send nothing would fill it.
        let first_room = declared.unwrap_or(FIRST_ROOM).min(FIRST_ROOM);
        let mut room = self.budget.try_acquire_many(kib(first_room)).map_err(|_| crowded())?;
        let mut first: Option<Bytes> = None;
        let mut rest = BytesMut::new();
        let mut length: u64 = 0;
        let reading = async {
            while let Some(frame) = next_frame(&mut body).await? {
                let frame = frame.map_err(|_| {
                    Refusal::new(
                        StatusCode::BAD_REQUEST,
                        Verdict::Malformed,
                        "the connection broke off within the body",
                    )
                })?;
                let Ok(data) = frame.into_data() else { continue };
                length += data.len() as u64;
                if length > cap {
                    return Err(too_large());
                }
                let held = room.num_permits() as u64 * 1024;
                if length > held {
                    // The room grows as the body does.
                    let more = self.budget.try_acquire_many(kib((length - held).max(GROWTH))).map_err(|_| crowded())?;
                    room.merge(more);
                }
                // Most bodies come in one piece: then nothing is copied.
                match &first {
                    None => first = Some(data),
                    Some(head) => {
                        if rest.is_empty() {
                            rest.reserve(usize::try_from(declared.unwrap_or(length * 2)).unwrap_or(0).min(1 << 20));
                            rest.extend_from_slice(head);
                        }
                        rest.extend_from_slice(&data);
                    }
                }
            }
            Ok(())
        };
        timeout(BODY_DEADLINE, reading).await.map_err(|_| {
            let message = format!("the body did not arrive within {} s", BODY_DEADLINE.as_secs());
            Refusal::new(StatusCode::REQUEST_TIMEOUT, Verdict::Malformed, message)
        })??;
        let whole = if rest.is_empty() { first.unwrap_or_default() } else { rest.freeze() };
        Ok((whole, room))
    }

    /// Decides what of a verified delivery is kept, appends it, and answers once it is durable.
    async fn record(
        &self,
        endpoint: &Arc<Endpoint>,
        policy: &Policy,
        incoming: &Incoming<'_>,
        verified: bool,
        received_at: Timestamp,
    ) -> Result<Receipt, Refusal> {
        let Reading { ping, changes, instance, malformed } =
            providers::read(endpoint.provider, policy.settings(), incoming);
        if let Some(problem) = &malformed {
            tracing::debug!(endpoint = %key(endpoint), problem, "recorded without normalised fields");
        }
        if let Some(instance) = instance.filter(|_| verified) {
            endpoint.live.healing.instance(&instance);
        }
        if ping {
            endpoint.live.tail().last_ping = Some(micros(received_at));
        }
        let headers = recorded_headers(incoming.headers, policy);
        let mut drafts = Vec::with_capacity(changes.len());
        let mut filtered = 0;
        for change in self.completed(endpoint, named(endpoint, changes)).await {
            let (change, confirmed) = self.confirm(endpoint, change, verified).await;
            let verified = verified || confirmed;
            let draft = Draft {
                dedupe: change.id.is_some(),
                id: change.id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
                kind: change.kind,
                provider: endpoint.provider,
                received_at,
                verified,
                reconciled: false,
                git: change.git,
                image: change.image,
                method: incoming.method.to_string(),
                headers: headers.clone(),
                body: incoming.body.clone(),
            };
            match self.journal.wanted(endpoint, &draft) {
                true => drafts.push(draft),
                false => filtered += 1,
            }
        }
        if filtered > 0 {
            endpoint.live.count(Counted::Filtered, filtered);
        }
        if drafts.is_empty() {
            self.journal.touch(endpoint);
            let text = if ping { "pong" } else { "filtered" };
            let verdict = if ping { Verdict::Ping } else { Verdict::Filtered };
            return Ok(Receipt { status: StatusCode::OK, text: json!({"result": text}).to_string(), verdict });
        }
        self.append(endpoint, drafts).await
    }

    /// A registry tells a deleted manifest by digest alone: each tag that it is known to have had becomes a change.
    async fn completed(&self, endpoint: &Endpoint, mut changes: Vec<Change>) -> Vec<Change> {
        if !endpoint.provider.is_registry() {
            return changes;
        }
        for change in &mut changes {
            // Told again, its tags are no longer known; the first of the events that it became then tells that it is known.
            if let Some(id) = &change.id
                && change.image.as_ref().is_some_and(|image| image.action == "delete")
            {
                let first = format!("{id}/0");
                if matches!(
                    self.journal.log().find(&endpoint.stream.namespace, &endpoint.stream.name, &first).await,
                    Ok(Some(_))
                ) {
                    change.id = Some(first);
                    return changes;
                }
            }
        }
        endpoint.live.tags().fill(changes)
    }

    /// Asks the registry about a hint, which everything from an unproven sender is; whether it confirmed.
    async fn confirm(&self, endpoint: &Endpoint, change: Change, verified: bool) -> (Change, bool) {
        let (Some(registry), true) = (&endpoint.registry, change.hint || !verified) else { return (change, false) };
        let Some(image) = &change.image else { return (change, false) };
        match timeout(CONFIRM_DEADLINE, registry.confirm(image)).await {
            Ok(Ok(Confirmation::Confirmed(image))) => (Change { image: Some(image), ..change }, true),
            Ok(Ok(Confirmation::Denied | Confirmation::NotConfirmable)) => (change, false),
            Ok(Err(error)) => {
                tracing::warn!(endpoint = %key(endpoint), %error, "the registry did not confirm; recorded as not verified");
                (change, false)
            }
            Err(_) => {
                tracing::warn!(endpoint = %key(endpoint), "the registry did not answer in time; recorded as not verified");
                (change, false)
            }
        }
    }

    async fn append(&self, endpoint: &Endpoint, drafts: Vec<Draft>) -> Result<Receipt, Refusal> {
        let unavailable = |verdict, message: &str, seconds| {
            Refusal::later(StatusCode::SERVICE_UNAVAILABLE, verdict, message.to_string(), seconds)
        };
        let outcomes = match self.journal.append(endpoint, drafts).await {
            Ok(outcomes) => outcomes,
            Err(RecordError::Log(LogError::Full(_))) => {
                return Err(unavailable(Verdict::Full, "the hub's storage is full", 30));
            }
            Err(RecordError::Log(LogError::Overloaded)) => {
                return Err(unavailable(Verdict::Overloaded, "the hub is overloaded", 1));
            }
            Err(RecordError::Log(error)) => {
                tracing::error!(endpoint = %key(endpoint), %error, "failed to record a delivery");
                return Err(unavailable(Verdict::Failed, "the delivery could not be recorded", 5));
            }
            Err(RecordError::Late) => {
                return Err(unavailable(Verdict::Overloaded, "recording the delivery took too long", 5));
            }
        };
        let (mut sequence, mut new) = (0, false);
        for outcome in outcomes {
            match outcome {
                Outcome::Recorded { sequence: recorded, .. } => (sequence, new) = (recorded, true),
                Outcome::Duplicate { sequence: known } => sequence = sequence.max(known),
            }
        }
        let (text, verdict, status) = match new {
            true => ("recorded", Verdict::Accepted, StatusCode::ACCEPTED),
            false => ("duplicate", Verdict::Duplicate, StatusCode::OK),
        };
        Ok(Receipt { status, text: json!({"result": text, "sequence": sequence}).to_string(), verdict })
    }
}

/// The next piece of a body; a sender that falls silent is cut off long before the whole body is late.
async fn next_frame<B>(body: &mut B) -> Result<Option<Result<http_body::Frame<Bytes>, B::Error>>, Refusal>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    timeout(SILENCE, body.frame()).await.map_err(|_| {
        let message = format!("nothing of the body arrived for {} s", SILENCE.as_secs());
        Refusal::new(StatusCode::REQUEST_TIMEOUT, Verdict::Malformed, message)
    })
}

fn answer(status: StatusCode, body: String, retry_after: Option<u32>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Zot tells no registry, and an image without one is Docker Hub's to everybody who pulls it: it is of the registry that the endpoint
/// configures.
fn named(endpoint: &Endpoint, mut changes: Vec<Change>) -> Vec<Change> {
    if let Some(registry) = &endpoint.registry {
        let images = changes.iter_mut().filter_map(|change| change.image.as_mut());
        images
            .filter(|image| image.registry.is_empty())
            .for_each(|image| registry.host().clone_into(&mut image.registry));
    }
    changes
}
