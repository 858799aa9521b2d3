//! One request from its head to its answer: route, authenticate, authorise, dispatch, negotiate.
//!
//! [`ApiService::handle`] never fails and never panics: whatever goes wrong becomes a `Status`. It is the same for connections (through
//! [`server`](crate::server)) and in process (through [`InProcess`]). Order matters and is fixed: nothing is read of a body before
//! its sender may do what it asks for, and nobody learns whether something exists before that either.

mod access;
mod dispatch;
mod documents;
mod in_process;
mod payload;
mod respond;
mod scale;
mod watching;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt;
use http::{Request, Response, header, request::Parts};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use in_process::InProcess;

use crate::{
    auth::{Authenticator, Authorizer, Origin, User},
    body::Body,
    catalog::Catalog,
    error::{ApiError, ApiResult},
    health::{AlwaysHealthy, Health},
    observe::{Observer, Record, Recorder},
    openapi::Hashes,
    query::Query,
    route::Route,
};

/// Any error of a transport.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request body of whatever transport.
pub(crate) type Upload = UnsyncBoxBody<Bytes, BoxError>;

/// What one request may cost.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a request body; more is 413. Default 3 MiB.
    pub body_bytes: usize,
    /// How long a request body may take to arrive. Default 30 s.
    pub body_read: Duration,
    /// How long a resource may take to answer; more is 504. Watches are exempt once they stream. Default 60 s.
    pub request: Duration,
    /// Requests in work at a time; more is 429. Streaming watches don't count. Default 1,000.
    pub in_flight: usize,
    /// Answers of at least this many bytes are compressed for clients that take gzip. Default 128 KiB.
    pub gzip_from: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 3 << 20,
            body_read: Duration::from_secs(30),
            request: Duration::from_secs(60),
            in_flight: 1000,
            gzip_from: 128 << 10,
        }
    }
}

/// Serves the Kubernetes API of a catalog. Cheap to clone.
#[derive(Clone)]
pub struct ApiService {
    inner: Arc<Inner>,
}

struct Inner {
    catalog: Catalog,
    authenticator: Arc<dyn Authenticator>,
    authorizer: Arc<dyn Authorizer>,
    observer: Option<Arc<dyn Observer>>,
    health: Arc<dyn Health>,
    limits: Limits,
    version: Value,
    address: String,
    shutdown: CancellationToken,
    in_flight: Semaphore,
    openapi: Hashes,
    aggregated: bool,
}

/// Sets up an [`ApiService`].
pub struct Builder {
    inner: Inner,
}

impl Builder {
    /// Who is told about finished requests. Default nobody.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.inner.observer = Some(observer);
        self
    }

    /// What `/healthz`, `/livez` and `/readyz` ask. Default: always healthy.
    #[must_use]
    pub fn health(mut self, health: Arc<dyn Health>) -> Self {
        self.inner.health = health;
        self
    }

    /// What one request may cost.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.inner.in_flight = Semaphore::new(limits.in_flight);
        self.inner.limits = limits;
        self
    }

    /// `gitVersion` of `/version`, e.g. `v1.34.0+roadstead-0.1.0`: the Kubernetes version whose API is served.
    #[must_use]
    pub fn version(mut self, git_version: &str) -> Self {
        self.inner.version = version_info(git_version);
        self
    }

    /// `host:port` under which clients reach the service, for discovery.
    #[must_use]
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.inner.address = address.into();
        self
    }

    /// Ends all watches when cancelled.
    #[must_use]
    pub fn shutdown(mut self, token: CancellationToken) -> Self {
        self.inner.shutdown = token;
        self
    }

    /// Behind a kube-aggregator, which keeps asking for `/openapi/v2` until it gets one: answers it with an empty document. Clients
    /// read `/openapi/v3`, which has everything; definitions here could clash with those of the cluster.
    #[must_use]
    pub fn aggregated(mut self) -> Self {
        self.inner.aggregated = true;
        self
    }

    /// The service.
    pub fn build(self) -> ApiService {
        ApiService { inner: Arc::new(self.inner) }
    }
}

impl ApiService {
    /// A service of the resources in `catalog`, for those whom `authenticator` knows and `authorizer` lets.
    pub fn builder(
        catalog: Catalog,
        authenticator: Arc<dyn Authenticator>,
        authorizer: Arc<dyn Authorizer>,
    ) -> Builder {
        let limits = Limits::default();
        Builder {
            inner: Inner {
                catalog,
                authenticator,
                authorizer,
                observer: None,
                health: Arc::new(AlwaysHealthy),
                version: version_info("v1.34.0+roadstead"),
                address: String::new(),
                shutdown: CancellationToken::new(),
                in_flight: Semaphore::new(limits.in_flight),
                limits,
                openapi: Hashes::default(),
                aggregated: false,
            },
        }
    }

    /// This service as a transport for clients in the same process, which act as `user`:
    /// `kube::Client::new(service.in_process(User::system()), "default")`.
    pub fn in_process(&self, user: User) -> InProcess {
        InProcess::new(self.clone(), user)
    }

    /// Answers one request.
    pub async fn handle<B>(&self, request: Request<B>, origin: Origin) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        let body = body.map_err(Into::into).boxed_unsync();
        self.answer(parts, body, origin).await
    }

    async fn answer(&self, mut parts: Parts, body: Upload, origin: Origin) -> Response<Body> {
        let request_id = Uuid::new_v4().to_string();
        let mut recorder = Some(Recorder::new(self.inner.observer.clone(), first_record(&request_id, &parts, &origin)));
        let pretty = respond::wants_pretty(&parts);
        let gzip = crate::accept::gzip(&parts.headers);
        let work = Box::pin(self.inner.serve(&mut parts, body, origin, &mut recorder));
        let result = AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
            tracing::error!(
                request_id,
                panic = panic_text(panic.as_ref()),
                path = parts.uri.path(),
                "request panicked"
            );
            Err(ApiError::internal(format!("an internal error occurred; the log has it under request {request_id}")))
        });
        let answered = result.unwrap_or_else(|error| {
            if error.code >= 500 {
                tracing::warn!(request_id, code = error.code, error = error.message, "request failed");
            }
            respond::error(&error, parts.version)
        });
        let mut response = respond::finish(answered, &request_id, pretty);
        if let Some(mut recorder) = recorder {
            recorder.record.code = response.status().as_u16();
            recorder.record.bytes = response.body().len().unwrap_or(0);
        }
        if gzip && response.body().len().is_some_and(|len| len >= self.inner.limits.gzip_from) {
            response = respond::compress(response);
        }
        response
    }
}

impl Inner {
    async fn serve(
        self: &Arc<Self>,
        parts: &mut Parts,
        body: Upload,
        origin: Origin,
        recorder: &mut Option<Recorder>,
    ) -> ApiResult<Response<Body>> {
        let route = Route::parse(parts.uri.path())?;
        let query = Query::parse(parts.uri.query())?;
        let caller = self.identify(parts, &origin).await?;
        if let Some(recorder) = recorder {
            recorder.record.user = Some(caller.user.clone());
            recorder.record.impersonator = caller.impersonated.then(|| caller.authenticated.clone());
        }
        // Credentials have done their work; no handler gets to see them.
        access::strip_credentials(&mut parts.headers);
        match route {
            Route::Resource(target) => self.objects(parts, &query, body, target, caller, recorder).await,
            other => self.document(parts, &query, other, caller, recorder).await,
        }
    }

    /// Waits for a resource's answer, but not forever. Errors: 504.
    async fn in_time<T>(&self, work: impl Future<Output = ApiResult<T>>) -> ApiResult<T> {
        tokio::time::timeout(self.limits.request, work).await.unwrap_or_else(|_| {
            Err(ApiError::new(
                http::StatusCode::GATEWAY_TIMEOUT,
                "Timeout",
                "Timeout: request did not complete within the allotted timeout",
            ))
        })
    }
}

fn first_record(request_id: &str, parts: &Parts, origin: &Origin) -> Record {
    let user_agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("");
    Record {
        request_id: request_id.into(),
        received: Timestamp::now(),
        method: parts.method.to_string(),
        attributes: crate::auth::Attributes { path: parts.uri.path().into(), ..Default::default() },
        peer: origin.peer,
        user_agent: user_agent.chars().take(128).collect(),
        ..Record::default()
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown")
}

fn version_info(git_version: &str) -> Value {
    let mut numbers = git_version.trim_start_matches('v').split(['.', '+', '-']);
    let major = numbers.next().unwrap_or("1");
    let minor = numbers.next().unwrap_or("0");
    json!({
        "major": major, "minor": minor, "gitVersion": git_version, "gitCommit": "", "gitTreeState": "", "buildDate": "",
        "goVersion": "", "compiler": "rustc", "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}
