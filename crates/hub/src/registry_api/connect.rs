//! Connections that only go where they may: resolve, judge every address, dial a judged one.
//!
//! The address that was judged is the one that is dialled, so a name that answers differently the next moment gains nothing. TLS
//! still verifies the name. Connections are pooled by name; each new one is judged anew.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::Empty;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use roadstead_reconcile::Targets;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tower::Service;

use super::RegistryError;

/// Deadline of one attempt to connect.
const CONNECT: Duration = Duration::from_secs(5);

/// Connections kept open to one host, and for how long.
const IDLE_CONNECTIONS: usize = 4;
const IDLE: Duration = Duration::from_secs(30);

/// An HTTP client that is bound to [`Targets`].
pub(super) type Client = legacy::Client<HttpsConnector<Guarded>, Empty<Bytes>>;

/// A client that trusts the given certificates, or the machine's.
pub(super) fn client(ca: Option<&[u8]>, targets: Targets) -> Result<Client, RegistryError> {
    let bad = |error: &dyn std::fmt::Display| RegistryError::BadCa(error.to_string());
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(&error))?;
    let builder = match ca {
        None => builder.with_native_roots().map_err(|error| bad(&error))?,
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.add(certificate.map_err(|error| bad(&error))?).map_err(|error| bad(&error))?;
            }
            if roots.is_empty() {
                return Err(bad(&"the Secret has no certificate"));
            }
            builder.with_root_certificates(roots)
        }
    };
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(builder.with_no_client_auth())
        .https_or_http()
        .enable_http1()
        .wrap_connector(Guarded(Arc::new(targets)));
    Ok(legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .build(connector))
}

/// Why a request failed, without addresses of the private network's making: the innermost cause.
pub(super) fn reason(error: &legacy::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string().chars().take(200).collect()
}

/// Connects to judged addresses only.
#[derive(Clone, Debug)]
pub(super) struct Guarded(Arc<Targets>);

impl Service<Uri> for Guarded {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<TcpStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let targets = self.0.clone();
        Box::pin(async move {
            let connecting = connect(&targets, &uri);
            tokio::time::timeout(CONNECT, connecting).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
        })
    }
}

async fn connect(targets: &Targets, uri: &Uri) -> io::Result<TokioIo<TcpStream>> {
    let host = uri.host().ok_or_else(|| io::Error::other("the address has no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let addresses: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => tokio::net::lookup_host((host, port)).await?.collect(),
    };
    // One bad address spoils the name: whoever controls it tries to be both.
    if addresses.iter().any(|address| !targets.permits(address.ip())) {
        return Err(io::Error::other("the host is at an address that --allow-target does not allow"));
    }
    let mut last = io::Error::other("the host has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(TokioIo::new(stream));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
