//! Connections: accepts them, tells TLS from plain HTTP, speaks HTTP/1.1 and HTTP/2, and hands each request to a handler.
//!
//! Generic over the handler, so that a listener may serve more than the Kubernetes API (the hub has its hooks beside the gateway).
//! Every step before a request has a deadline, the number of connections is capped, and buffers start small: an idle watch holds one
//! connection for an hour, thousands of them at a time.

mod connection;
mod stall;
mod tls;

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use tls::{TlsConfig, TlsError, clients_proven, load_config, server_config, tls_config};

use crate::{auth::Origin, body::Body};

/// How a listener speaks.
#[derive(Clone)]
pub enum Transport {
    /// Plain HTTP.
    Plain,
    /// TLS.
    Tls(TlsConfig),
    /// Both on one port, told apart by the first byte: 0x16 begins a TLS handshake.
    Both(TlsConfig),
}

/// What one connection may cost.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of a request's head; more is 431. At least 8 KiB. Default 64 KiB.
    pub header_bytes: usize,
    /// How long a request's head may take, and how long a connection may idle between requests. Default 10 s.
    pub header_read: Duration,
    /// How long the TLS handshake may take. Default 10 s.
    pub handshake: Duration,
    /// How long a client may leave what was sent to it unread. Default 60 s.
    pub write_stall: Duration,
    /// Connections at a time; one more is told 503. Default 20,000.
    pub connections: usize,
    /// HTTP/2 streams per connection. Default 512.
    pub streams: u32,
    /// How often an HTTP/2 connection is pinged. Default 30 s.
    pub ping_every: Duration,
    /// How long requests may take to finish at shutdown before their connections are cut. Default 20 s.
    pub drain: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            header_bytes: 64 << 10,
            header_read: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            write_stall: Duration::from_secs(60),
            connections: 20_000,
            streams: 512,
            ping_every: Duration::from_secs(30),
            drain: Duration::from_secs(20),
        }
    }
}

/// Answers one request; the future is a box, so that a connection does not keep room for it while a response streams. Implemented by closures `Fn(Request<Incoming>, Origin) -> impl Future<Output = Response<Body>>`.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Answers.
    fn call(&self, request: Request<Incoming>, origin: Origin) -> BoxFuture<'static, Response<Body>>;
}

impl<F, R> Handler for F
where
    F: Fn(Request<Incoming>, Origin) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    fn call(&self, request: Request<Incoming>, origin: Origin) -> BoxFuture<'static, Response<Body>> {
        Box::pin(self(request, origin))
    }
}

impl Handler for crate::service::ApiService {
    fn call(&self, request: Request<Incoming>, origin: Origin) -> BoxFuture<'static, Response<Body>> {
        let service = self.clone();
        Box::pin(async move { service.handle(request, origin).await })
    }
}

/// Connections that are told 503 at a time, and for how long at most; others over the cap are just closed.
const REFUSALS: (usize, Duration) = (64, Duration::from_secs(1));

/// Accepts connections until `shutdown`, then lets requests finish for [`Options::drain`] and returns. Streams do not end by
/// themselves: give the same token to [`Builder::shutdown`](crate::service::Builder::shutdown).
pub async fn serve(
    listener: TcpListener,
    transport: Transport,
    options: Options,
    handler: impl Handler,
    shutdown: CancellationToken,
) {
    let shared = Arc::new(connection::Shared::new(transport, &options, handler, shutdown.clone()));
    let slots = Arc::new(Semaphore::new(options.connections));
    let refusals = Arc::new(Semaphore::new(REFUSALS.0));
    let tracker = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        match slots.clone().try_acquire_owned() {
            Ok(slot) => connection::spawn(shared.clone(), &tracker, stream, peer, slot),
            Err(_) => {
                tracing::warn!(%peer, "connection refused: too many connections");
                if let Ok(slot) = refusals.clone().try_acquire_owned() {
                    tracker.spawn(async move {
                        let _ = tokio::time::timeout(REFUSALS.1, refuse(stream)).await;
                        drop(slot);
                    });
                }
            }
        }
    }
    // Whoever is connected already, as the kernel sees it, is answered; closing the socket would reset them.
    while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        let Ok(slot) = slots.clone().try_acquire_owned() else { break };
        connection::spawn(shared.clone(), &tracker, stream, peer, slot);
    }
    drop(listener);
    tracker.close();
    if tokio::time::timeout(options.drain, tracker.wait()).await.is_err() {
        tracing::warn!(connections = tracker.len(), "cutting connections that did not finish in time");
        shared.kill.cancel();
        tracker.wait().await;
    }
}

/// A connection that went away before it was accepted is nothing; without file handles, waiting is all that helps.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if !matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        tracing::error!(%error, "cannot accept connections");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Tells a plain HTTP client to come back later. A TLS client just sees the end.
async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut first = [0];
    stream.peek(&mut first).await?;
    if first[0] == tls::HANDSHAKE {
        return Ok(());
    }
    let answer = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // Closing with unread bytes would reset the connection before the answer is read.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Who is at the other end.
fn origin(peer: SocketAddr, secure: bool) -> Origin {
    Origin { peer: Some(peer), secure, ..Origin::default() }
}
