//! The admin listener: `/metrics`, `/healthz`, `/livez`, `/readyz`. Bound to loopback unless told otherwise.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use prometheus_client::{encoding::text::encode, registry::Registry};
use roadstead_apiserver::Handle;
use roadstead_kubewire::{
    auth::Origin,
    body::Body,
    server::{self, Transport},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves until `stop`.
pub(super) fn serve(listener: TcpListener, metrics: Arc<Registry>, handle: Handle, stop: CancellationToken) {
    let handler = move |request: Request<Incoming>, _: Origin| {
        let (metrics, handle) = (metrics.clone(), handle.clone());
        async move { answer(request.method(), request.uri().path(), &metrics, &handle) }
    };
    tokio::spawn(server::serve(listener, Transport::Plain, server::Options::default(), handler, stop));
}

fn answer(method: &Method, path: &str, metrics: &Registry, handle: &Handle) -> Response<Body> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n".into(), "text/plain");
    }
    match path {
        "/metrics" => {
            let mut page = String::new();
            match encode(&mut page, metrics) {
                Ok(()) => text(StatusCode::OK, page, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
                Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics can't be written\n".into(), "text/plain"),
            }
        }
        "/livez" | "/healthz" => text(StatusCode::OK, "ok\n".into(), "text/plain"),
        "/readyz" => match handle.ready() {
            Ok(()) => text(StatusCode::OK, "ok\n".into(), "text/plain"),
            Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n"), "text/plain"),
        },
        _ => text(StatusCode::NOT_FOUND, "served here: /metrics /healthz /livez /readyz\n".into(), "text/plain"),
    }
}

fn text(status: StatusCode, text: String, kind: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}
