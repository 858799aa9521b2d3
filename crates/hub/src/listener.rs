//! The public listener: `/hooks/<id>` for senders, the gateway for subscribers, `/readyz`, and nothing else.
//!
//! TLS and plain HTTP share one port. What the sender's address is, and whether a token may be shown on this connection, is
//! decided here once, because only here it is known which proxy stands in between.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use roadstead_kubewire::{auth::Origin, body::Body, service::ApiService};
use roadstead_reconcile::targets::Cidr;

use crate::{ingest::Ingest, source::source};

/// Routes requests of the public listener.
#[derive(Clone)]
pub struct PublicRoutes {
    inner: Arc<Inner>,
}

struct Inner {
    ingest: Ingest,
    gateway: ApiService,
    trusted: Vec<Cidr>,
    ready: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
}

impl PublicRoutes {
    /// Routes to `ingest` and `gateway`; `ready` says why not, if not.
    pub fn new(
        ingest: Ingest,
        gateway: ApiService,
        trusted: Vec<Cidr>,
        ready: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self { inner: Arc::new(Inner { ingest, gateway, trusted, ready: Box::new(ready) }) }
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request<Incoming>, mut origin: Origin) -> Response<Body> {
        let Some(peer) = origin.peer else { return text(StatusCode::BAD_REQUEST, "no peer address") };
        let (sender, secure) = source(peer, origin.secure, request.headers(), &self.inner.trusted);
        let path = request.uri().path();
        if let Some(id) = path.strip_prefix("/hooks/") {
            let id = id.to_string();
            return self.inner.ingest.handle(&id, request, sender).await.map(Body::from);
        }
        if matches!(path, "/readyz" | "/livez" | "/healthz") {
            return match (self.inner.ready)() {
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
