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

/// Serves until `stop`; `ready` decides `/readyz`.
pub fn serve(
    listener: TcpListener,
    metrics: Registry,
    ready: impl Fn() -> bool + Send + Sync + 'static,
    stop: CancellationToken,
) {
    let shared = Arc::new((metrics, ready));
    let handler = move |request: Request<Incoming>, _: Origin| {
        let shared = shared.clone();
        async move { answer(request.method(), request.uri().path(), &shared.0, &shared.1) }
    };
    tokio::spawn(server::serve(listener, Transport::Plain, server::Options::default(), handler, stop));
}

fn answer(method: &Method, path: &str, metrics: &Registry, ready: &dyn Fn() -> bool) -> Response<Body> {
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
        "/livez" | "/healthz" => text(StatusCode::OK, "ok\n", PLAIN),
        "/readyz" if ready() => text(StatusCode::OK, "ok\n", PLAIN),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "starting or stopping\n", PLAIN),
        _ => text(StatusCode::NOT_FOUND, "served here: /metrics /healthz /livez /readyz\n", PLAIN),
    }
}

const PLAIN: &str = "text/plain; charset=utf-8";

fn text(status: StatusCode, text: impl Into<Bytes>, kind: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
