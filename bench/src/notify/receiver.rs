//! The receiver: notes when each message first arrives, or never answers.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Arrivals by what the header [`NAME`] says.
type Arrivals = Arc<Mutex<HashMap<String, Instant>>>;

/// Header that names a message for the benchmark: `<event>/<webhook>`. Without it the tag and the path do.
pub const NAME: &str = "x-bench-message";
/// Path on which nothing is ever answered.
pub const HANG: &str = "/hang";

/// A receiver on a free port, until the process ends.
#[derive(Clone)]
pub struct Receiver {
    /// Where it listens.
    pub address: SocketAddr,
    arrivals: Arrivals,
}

impl Receiver {
    /// Starts one.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let receiver = Self { address: listener.local_addr()?, arrivals: Arrivals::default() };
        let arrivals = receiver.arrivals.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let arrivals = arrivals.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| note(request, arrivals.clone()));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(receiver)
    }

    /// What arrived, and when first.
    pub fn arrivals(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tag that a message's body tells.
fn tag(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(body.pointer("/data/tag").or(body.pointer("/data/image/tag"))?.as_str()?.to_string())
}

async fn note(request: Request<Incoming>, arrivals: Arrivals) -> Result<Response<Empty<Bytes>>> {
    let at = Instant::now();
    if request.uri().path() == HANG {
        std::future::pending::<()>().await;
    }
    let path = request.uri().path().to_string();
    let name = request.headers().get(NAME).and_then(|value| value.to_str().ok()).map(str::to_string);
    let body = request.into_body().collect().await?.to_bytes();
    let name = name.unwrap_or_else(|| format!("{}{path}", tag(&body).unwrap_or_default()));
    arrivals.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_insert(at);
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}
