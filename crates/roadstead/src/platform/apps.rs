//! The listeners for applications. No application can be deployed yet, so no host is known: every request is answered 404, as
//! an ingress without routes does.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use roadstead_kubewire::{
    auth::Origin,
    body::Body,
    server::{self, TlsConfig, Transport},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves both until `stop`.
pub(super) fn serve(http: TcpListener, https: TcpListener, tls: TlsConfig, stop: &CancellationToken) {
    for (listener, transport) in [(http, Transport::Plain), (https, Transport::Tls(tls))] {
        tokio::spawn(server::serve(listener, transport, server::Options::default(), unknown, stop.clone()));
    }
}

async fn unknown(_: Request<Incoming>, _: Origin) -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::from_static(b"no application has this host\n")));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}
