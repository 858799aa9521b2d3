//! One connection: from the first byte to the last response.
//!
//! In: an accepted socket. Out: requests to the handler, each with its origin. What is spoken (TLS, HTTP/1.1, HTTP/2) is found out by
//! looking at the first bytes without taking them; who is slow is cut off at each stage.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::FutureExt;
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::auth::Origin;

use super::{Handler, Options, Transport, origin, stall::Stall, tls};

/// How long a connection that is new at shutdown is given to send its request.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// What all connections of a listener have in common.
pub(super) struct Shared<H> {
    transport: Transport,
    protocols: Protocols,
    handler: H,
    handshake: Duration,
    header_read: Duration,
    write_stall: Duration,
    /// No new requests.
    shutdown: CancellationToken,
    /// No more patience.
    pub kill: CancellationToken,
}

/// What a connection speaks. Found out by looking at its first bytes without taking them: hyper's own detection takes them, and then
/// reads the first head into a buffer twice as large, which every idle watch would keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
    /// Only the first bytes of what may become either; hyper waits for more.
    Unclear,
}

/// hyper set up for each protocol.
struct Protocols {
    http1: auto::Builder<TokioExecutor>,
    http2: auto::Builder<TokioExecutor>,
    either: auto::Builder<TokioExecutor>,
}

impl Protocols {
    fn new(options: &Options) -> Self {
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(options.header_read)
            .max_buf_size(options.header_bytes.max(8 << 10));
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(options.streams)
            .max_header_list_size(u32::try_from(options.header_bytes).unwrap_or(u32::MAX))
            // Requests are small; what is sent is bounded by the client's windows.
            .initial_stream_window_size(64 << 10)
            .initial_connection_window_size(256 << 10)
            .max_send_buf_size(64 << 10)
            .keep_alive_interval(options.ping_every)
            .keep_alive_timeout(options.ping_every);
        Self { http1: http.clone().http1_only(), http2: http.clone().http2_only(), either: http }
    }

    fn of(&self, protocol: Protocol) -> &auto::Builder<TokioExecutor> {
        match protocol {
            Protocol::Http1 => &self.http1,
            Protocol::Http2 => &self.http2,
            Protocol::Unclear => &self.either,
        }
    }
}

impl Protocol {
    /// From the first bytes of a plain connection.
    fn of(first: &[u8]) -> Self {
        const PREFACE: &[u8] = b"PRI";
        match first {
            first if first.starts_with(PREFACE) => Protocol::Http2,
            first if PREFACE.starts_with(first) => Protocol::Unclear,
            _ => Protocol::Http1,
        }
    }

    /// From what was agreed on in the handshake.
    fn negotiated(alpn: Option<&[u8]>) -> Self {
        match alpn {
            Some(b"h2") => Protocol::Http2,
            Some(b"http/1.1") => Protocol::Http1,
            _ => Protocol::Unclear,
        }
    }
}

impl<H: Handler> Shared<H> {
    pub fn new(transport: Transport, options: &Options, handler: H, shutdown: CancellationToken) -> Self {
        Self {
            transport,
            protocols: Protocols::new(options),
            handler,
            handshake: options.handshake,
            header_read: options.header_read,
            write_stall: options.write_stall,
            shutdown,
            kill: CancellationToken::new(),
        }
    }
}

/// Serves a connection on tasks of its own. `slot` is held as long as the connection is.
pub(super) fn spawn<H: Handler>(
    shared: Arc<Shared<H>>,
    tracker: &TaskTracker,
    stream: TcpStream,
    peer: SocketAddr,
    slot: OwnedSemaphorePermit,
) {
    // Without Nagle's delay events leave at once; keep-alive finds peers that vanished while a watch was idle.
    let keep_alive = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(20));
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&keep_alive);
    let tracker_of_task = tracker.clone();
    tracker.spawn(async move {
        let mut first = [0; 3];
        let Ok(Ok(len)) = timeout(shared.header_read, stream.peek(&mut first)).await else { return };
        let first = &first[..len];
        let stream = Stall::new(stream, shared.write_stall);
        let config = match &shared.transport {
            Transport::Plain => None,
            Transport::Tls(config) => Some(config),
            Transport::Both(config) => Some(config).filter(|_| first.first() == Some(&tls::HANDSHAKE)),
        };
        let Some(config) = config else {
            tracker_of_task.spawn(serve(shared, stream, Protocol::of(first), origin(peer, false), slot));
            return;
        };
        let accept = TlsAcceptor::from(config.load_full()).accept(stream);
        match timeout(shared.handshake, accept).await {
            Ok(Ok(stream)) => {
                let session = stream.get_ref().1;
                let protocol = Protocol::negotiated(session.alpn_protocol());
                let certificates = session.peer_certificates().map(Arc::from).unwrap_or_default();
                let origin = Origin { certificates, ..origin(peer, true) };
                // On a task of its own: this one is as large as the handshake, and a connection may stay for an hour.
                tracker_of_task.spawn(serve(shared, stream, protocol, origin, slot));
            }
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
        }
    });
}

/// Speaks HTTP until the connection ends.
async fn serve<H: Handler>(
    shared: Arc<Shared<H>>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    protocol: Protocol,
    origin: Origin,
    slot: OwnedSemaphorePermit,
) {
    let peer = origin.peer;
    let used = Arc::new(AtomicBool::new(false));
    let service = service_fn({
        let (shared, used) = (shared.clone(), used.clone());
        move |request: Request<Incoming>| {
            used.store(true, Relaxed);
            let answer = shared.handler.call(request, origin.clone());
            answer.map(Ok::<_, Infallible>)
        }
    });
    let mut connection = pin!(shared.protocols.of(protocol).serve_connection(TokioIo::new(stream), service));
    // HTTP's own deadline for heads starts only once the version is known; this one starts at once.
    let first_request = tokio::time::sleep(shared.header_read);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shared.kill.cancelled() => return,
        () = shared.shutdown.cancelled() => {
            // Who has just connected is about to send, and would see the connection close instead of an answer.
            tokio::select! {
                _ = connection.as_mut() => return,
                () = shared.kill.cancelled() => return,
                () = used_within(FIRST_REQUEST, &used) => {}
            }
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection.as_mut() => result,
                () = shared.kill.cancelled() => return,
            }
        }
        () = unused_after(first_request, &used) => return,
    };
    if let Err(error) = result {
        tracing::debug!(?peer, %error, "connection ended");
    }
    drop(slot);
}

/// Resolves when the connection has been used, or `time` is over.
async fn used_within(time: Duration, used: &AtomicBool) {
    let _ = timeout(time, async {
        while !used.load(Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Resolves when `time` is over and the connection has not been used yet.
async fn unused_after(time: tokio::time::Sleep, used: &AtomicBool) {
    time.await;
    if used.load(Relaxed) {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_protocol() {
        for (first, wanted) in [
            (&b"PRI"[..], Protocol::Http2),
            (b"PR", Protocol::Unclear),
            (b"P", Protocol::Unclear),
            (b"", Protocol::Unclear),
            (b"PUT", Protocol::Http1),
            (b"PO", Protocol::Http1),
            (b"GET", Protocol::Http1),
        ] {
            assert_eq!(Protocol::of(first), wanted, "{first:?}");
        }
    }
}
