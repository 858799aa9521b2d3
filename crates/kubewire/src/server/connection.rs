//! One connection: from the first byte to the last response.

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

use super::{Handler, Options, Transport, origin, stall::Stall, tls};

/// What all connections of a listener have in common.
pub(super) struct Shared<H> {
    transport: Transport,
    http: auto::Builder<TokioExecutor>,
    handler: H,
    handshake: Duration,
    header_read: Duration,
    write_stall: Duration,
    /// No new requests.
    shutdown: CancellationToken,
    /// No more patience.
    pub kill: CancellationToken,
}

impl<H: Handler> Shared<H> {
    pub fn new(transport: Transport, options: &Options, handler: H, shutdown: CancellationToken) -> Self {
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
        Self {
            transport,
            http,
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
        let config = match &shared.transport {
            Transport::Plain => None,
            Transport::Tls(config) => Some(config),
            Transport::Both(config) => match timeout(shared.header_read, begins_with_handshake(&stream)).await {
                Ok(Ok(true)) => Some(config),
                Ok(Ok(false)) => None,
                _ => return,
            },
        };
        let Some(config) = config else {
            let stream = Stall::new(stream, shared.write_stall);
            tracker_of_task.spawn(serve(shared, stream, peer, false, slot));
            return;
        };
        let stream = Stall::new(stream, shared.write_stall);
        let accept = TlsAcceptor::from(config.load_full()).accept(stream);
        match timeout(shared.handshake, accept).await {
            // On a task of its own: this one is as large as the handshake, and a connection may stay for an hour.
            Ok(Ok(stream)) => drop(tracker_of_task.spawn(serve(shared, stream, peer, true, slot))),
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
        }
    });
}

async fn begins_with_handshake(stream: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0];
    stream.peek(&mut first).await?;
    Ok(first[0] == tls::HANDSHAKE)
}

/// Speaks HTTP until the connection ends.
async fn serve<H: Handler>(
    shared: Arc<Shared<H>>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    secure: bool,
    slot: OwnedSemaphorePermit,
) {
    let used = Arc::new(AtomicBool::new(false));
    let service = service_fn({
        let (shared, used) = (shared.clone(), used.clone());
        move |request: Request<Incoming>| {
            used.store(true, Relaxed);
            let answer = shared.handler.call(request, origin(peer, secure));
            answer.map(Ok::<_, Infallible>)
        }
    });
    let mut connection = pin!(shared.http.serve_connection(TokioIo::new(stream), service));
    // HTTP's own deadline for heads starts only once the version is known; this one starts at once.
    let first_request = tokio::time::sleep(shared.header_read);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shared.kill.cancelled() => return,
        () = shared.shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection.as_mut() => result,
                () = shared.kill.cancelled() => return,
            }
        }
        () = unused_after(first_request, &used) => return,
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "connection ended");
    }
    drop(slot);
}

/// Resolves when `time` is over and the connection has not been used yet.
async fn unused_after(time: tokio::time::Sleep, used: &AtomicBool) {
    time.await;
    if used.load(Relaxed) {
        std::future::pending::<()>().await;
    }
}
