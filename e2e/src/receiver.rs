//! A real HTTP server that remembers every request as it came and answers as it is told.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::wait::eventually;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// `POST` and the like.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, byte for byte.
    pub body: Bytes,
}

impl Received {
    /// A header as text; empty if missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// The server; ends when dropped.
pub struct Receiver {
    address: String,
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    received: Mutex<Vec<Received>>,
    script: Mutex<VecDeque<u16>>,
    default: Mutex<u16>,
    /// Closed gate: requests are remembered but not answered.
    gate: Semaphore,
}

/// Permits of an open gate.
const OPEN: usize = 1 << 20;

impl Receiver {
    /// Listens on a free port of the loopback address and answers 200.
    pub async fn start() -> Result<Receiver> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let shared = Arc::new(Shared {
            received: Mutex::default(),
            script: Mutex::default(),
            default: Mutex::new(200),
            gate: Semaphore::new(OPEN),
        });
        let task = tokio::spawn(serve(listener, shared.clone())).abort_handle();
        Ok(Receiver { address, shared, task })
    }

    /// `http://127.0.0.1:PORT` and a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers these statuses, one each, to the next requests.
    pub fn answer_next(&self, statuses: &[u16]) {
        lock(&self.shared.script).extend(statuses);
    }

    /// Answers this status from now on, when no script is left.
    pub fn answer_always(&self, status: u16) {
        *lock(&self.shared.default) = status;
    }

    /// From now on remembers requests without answering them, until [`Receiver::open`].
    pub fn close(&self) {
        self.shared.gate.forget_permits(OPEN);
    }

    /// Answers all that wait, and all that come.
    pub fn open(&self) {
        self.shared.gate.add_permits(OPEN - self.shared.gate.available_permits());
    }

    /// All requests so far, in the order of their arrival.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared.received).clone()
    }

    /// How many requests there were.
    pub fn count(&self) -> usize {
        lock(&self.shared.received).len()
    }

    /// Waits until there were at least `count`, and gives all.
    pub async fn wait_for(&self, count: usize) -> Result<Vec<Received>> {
        let what = format!("{count} requests have arrived at {}", self.address);
        eventually(&what, async || {
            anyhow::ensure!(self.count() >= count, "there were {}", self.count());
            Ok(Some(self.received()))
        })
        .await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, shared.clone()));
            // A client that hangs up is no concern of the receiver.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    // Half a body is not a request that arrived.
    let Ok(body) = body.collect().await else {
        return Ok(status(400));
    };
    lock(&shared.received).push(Received {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        headers: parts.headers,
        body: body.to_bytes(),
    });
    let _open = shared.gate.acquire().await;
    let scripted = lock(&shared.script).pop_front();
    Ok(status(scripted.unwrap_or(*lock(&shared.default))))
}

fn status(code: u16) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// A panic of another test's task must not hide what was received.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
