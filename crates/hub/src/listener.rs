//! The public listener: `/hooks/<id>` for senders, the gateway for subscribers, `/readyz`, and nothing else.
//!
//! TLS and plain HTTP share one port. What the sender's address is, and whether a token may be shown on this connection, is
//! decided here once, because only here it is known which proxy stands in between.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use roadstead_kubewire::{auth::Origin, body::Body, service::ApiService};
use roadstead_reconcile::targets::Cidr;

use crate::{ingest::Ingest, readiness::Readiness, source::source};

/// Routes requests of the public listener.
#[derive(Clone)]
pub struct PublicRoutes {
    inner: Arc<Inner>,
}

struct Inner {
    ingest: Ingest,
    gateway: ApiService,
    trusted: Vec<Cidr>,
    readiness: Readiness,
}

impl PublicRoutes {
    /// Routes to `ingest` and `gateway`; `trusted` are the proxies in front.
    pub fn new(ingest: Ingest, gateway: ApiService, trusted: Vec<Cidr>, readiness: Readiness) -> Self {
        Self { inner: Arc::new(Inner { ingest, gateway, trusted, readiness }) }
    }

    /// Answers one request. A hub that is leaving tells clients not to come again on the same connection, so that none sends a
    /// delivery into one that is being closed.
    pub async fn handle(&self, request: Request<Incoming>, origin: Origin) -> Response<Body> {
        let reusable = request.version() <= Version::HTTP_11;
        let mut response = self.route(request, origin).await;
        if reusable && self.inner.readiness.is_held() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn route(&self, request: Request<Incoming>, mut origin: Origin) -> Response<Body> {
        let Some(peer) = origin.peer else { return text(StatusCode::BAD_REQUEST, "no peer address") };
        let (sender, secure) = source(peer, origin.secure, request.headers(), &self.inner.trusted);
        let path = request.uri().path();
        let readiness = &self.inner.readiness;
        if let Some(id) = path.strip_prefix("/hooks/") {
            let id = id.to_string();
            return self.inner.ingest.handle(&id, request, sender).await.map(Body::from);
        }
        if matches!(path, "/readyz" | "/livez" | "/healthz") {
            return match readiness.check() {
                Err(reason) if path == "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, &reason),
                _ => text(StatusCode::OK, "ok"),
            };
        }
        origin.secure = secure;
        self.inner.gateway.handle(request, origin).await
    }
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::from(format!("{text}\n"))));
    *response.status_mut() = status;
    response
}
