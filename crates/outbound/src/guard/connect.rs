//! Connections that only go where they may: resolve, judge every address, dial a judged one.
//!
//! The address that was judged is the one that is dialled. TLS still verifies the name. A host with several addresses is tried as RFC
//! 8305 has it: the families in turn, each attempt a quarter of a second after the last, the first that answers wins; so a receiver
//! that only has IPv6 works, and a dead first address costs 250 ms.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use roadstead_reconcile::Targets;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tower::Service;

use super::error::Error;
use super::resolve::Resolve;

/// How long an attempt has before the next address is tried beside it (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);
/// Most addresses that are tried; all are judged.
const MAX_ATTEMPTS: usize = 8;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Connecting<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Connects, TLS included, within a deadline.
#[derive(Clone)]
pub(super) struct Connector {
    https: HttpsConnector<Dialer>,
    patience: Duration,
}

impl Connector {
    pub(super) fn new(tls: ClientConfig, targets: Targets, resolver: Arc<dyn Resolve>, patience: Duration) -> Self {
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(Dialer { targets: Arc::new(targets), resolver });
        Connector { https, patience }
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Connecting<Self::Response, BoxError>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = timeout(self.patience, self.https.call(uri));
        Box::pin(async move { connecting.await.map_err(|_| Error::Timeout)? })
    }
}

/// Connects to judged addresses only.
#[derive(Clone)]
struct Dialer {
    targets: Arc<Targets>,
    resolver: Arc<dyn Resolve>,
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<TcpStream>;
    type Error = Error;
    type Future = Connecting<Self::Response, Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move {
            let addresses = dialer.judged(&uri).await?;
            let stream = race(addresses).await?;
            // Without it small requests would wait for acknowledgements; a socket that refuses it still works.
            let _ = stream.set_nodelay(true);
            Ok(TokioIo::new(stream))
        })
    }
}

impl Dialer {
    /// The addresses to try, in this order; each may be dialled.
    async fn judged(&self, uri: &Uri) -> Result<Vec<SocketAddr>, Error> {
        let host = uri.host().ok_or(Error::BadUrl("it has no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => self.resolver.resolve(host).await.map_err(|_| Error::NoSuchHost)?,
        };
        // One bad address spoils the name: whoever controls it tries to be both.
        if addresses.iter().any(|address| !self.targets.permits(*address)) {
            return Err(Error::Forbidden);
        }
        Ok(in_turn(addresses).into_iter().take(MAX_ATTEMPTS).map(|address| SocketAddr::new(address, port)).collect())
    }
}

/// The families in turn, beginning with that of the first address; within each the order stays.
fn in_turn(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let first_is_v6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (first, second): (Vec<IpAddr>, Vec<IpAddr>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::with_capacity(first.len() + second.len());
    loop {
        let before = ordered.len();
        ordered.extend(first.next());
        ordered.extend(second.next());
        if ordered.len() == before {
            return ordered;
        }
    }
}

/// The first connection that comes about; if none does, the last reason.
async fn race(addresses: Vec<SocketAddr>) -> Result<TcpStream, Error> {
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = Error::NoSuchHost;
    loop {
        match waiting.next() {
            Some(address) => attempts.push(TcpStream::connect(address)),
            None if attempts.is_empty() => return Err(last),
            None => {}
        }
        tokio::select! {
            Some(attempt) = attempts.next() => match attempt {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Error::of_io(&error),
            },
            () = sleep(HEAD_START), if waiting.len() > 0 => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        for (given, expected) in [
            (vec!["2001:db8::1", "2001:db8::2", "192.0.2.1"], vec!["2001:db8::1", "192.0.2.1", "2001:db8::2"]),
            (
                vec!["192.0.2.1", "192.0.2.2", "2001:db8::1", "192.0.2.3"],
                vec!["192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.3"],
            ),
            (vec!["192.0.2.1"], vec!["192.0.2.1"]),
            (vec![], vec![]),
        ] {
            let parse = |list: Vec<&str>| list.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
            assert_eq!(in_turn(parse(given)), parse(expected));
        }
    }
}
