//! The admin listener: `/metrics`, `/healthz`, `/livez`, `/readyz`. Bound to loopback unless told otherwise.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use prometheus_client::{encoding::text::encode, registry::Registry};
use roadstead_kubewire::{
    auth::Origin,
    body::Body,
    server::{self, Transport},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// One question, answered now. Errors: what is wrong, for people.
type Probe = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What the probes ask.
pub struct Probes {
    alive: Probe,
    ready: Probe,
}

impl Probes {
    /// Alive as long as it answers; ready when `ready` says so.
    pub fn ready(ready: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self::new(|| Ok(()), ready)
    }

    /// `alive` decides `/healthz` and `/livez`, `ready` decides `/readyz`.
    pub fn new(
        alive: impl Fn() -> Result<(), String> + Send + Sync + 'static,
        ready: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self { alive: Box::new(alive), ready: Box::new(ready) }
    }
}

/// Serves until `stop`.
pub fn serve(listener: TcpListener, metrics: Registry, probes: Probes, stop: CancellationToken) {
    let shared = Arc::new((metrics, probes));
    let handler = move |request: Request<Incoming>, _: Origin| {
        let shared = shared.clone();
        async move { answer(request.method(), request.uri().path(), &shared.0, &shared.1) }
    };
    tokio::spawn(server::serve(listener, Transport::Plain, server::Options::default(), handler, stop));
}

fn answer(method: &Method, path: &str, metrics: &Registry, probes: &Probes) -> Response<Body> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n", PLAIN);
    }
    match path {
        "/metrics" => {
            let mut page = String::new();
            match encode(&mut page, metrics) {
                Ok(()) => text(StatusCode::OK, page, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
                Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics can't be written\n", PLAIN),
            }
        }
        "/livez" | "/healthz" => probed((probes.alive)()),
        "/readyz" => probed((probes.ready)()),
        _ => text(StatusCode::NOT_FOUND, "served here: /metrics /healthz /livez /readyz\n", PLAIN),
    }
}

fn probed(result: Result<(), String>) -> Response<Body> {
    match result {
        Ok(()) => text(StatusCode::OK, "ok\n", PLAIN),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"), PLAIN),
    }
}

const PLAIN: &str = "text/plain; charset=utf-8";

fn text(status: StatusCode, text: impl Into<Bytes>, kind: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
