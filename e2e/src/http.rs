//! Plain HTTP requests, exactly as a test wants them, and raw connections for those that no client would send.

use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an answer may take; longer than any deadline of a server.
const TIMEOUT: Duration = Duration::from_secs(60);

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as text.
    pub fn text(&self) -> Result<String> {
        Ok(String::from_utf8(self.body.to_vec())?)
    }
}

/// A header's name and value.
pub type Header = (String, String);

/// POST over a new connection. It is not kept: a test that restarts the server must not meet an old one.
pub async fn post(url: &str, headers: &[Header], body: impl Into<Bytes>) -> Result<Answer> {
    Sender::new(0).send(Method::POST, url, headers, body.into()).await
}

/// GET, likewise.
pub async fn get(url: &str) -> Result<Answer> {
    Sender::new(0).send(Method::GET, url, &[], Bytes::new()).await
}

/// A client that keeps its connections, for tests that send very much.
#[derive(Clone)]
pub struct Sender(Client<HttpConnector, Full<Bytes>>);

impl Sender {
    /// Keeps up to `connections` idle ones.
    pub fn new(connections: usize) -> Sender {
        Sender(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(connections).build_http())
    }

    /// POST.
    pub async fn post(&self, url: &str, headers: &[Header], body: impl Into<Bytes>) -> Result<Answer> {
        self.send(Method::POST, url, headers, body.into()).await
    }

    async fn send(&self, method: Method, url: &str, headers: &[Header], body: Bytes) -> Result<Answer> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = async {
            let answer = self.0.request(request.body(Full::new(body))?).await?;
            let (parts, body) = answer.into_parts();
            let body = body.collect().await?.to_bytes();
            anyhow::Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
        };
        let answer = tokio::time::timeout(TIMEOUT, answer).await.with_context(|| format!("no answer from {url}"))?;
        answer.with_context(|| url.to_string())
    }
}

/// Sends bytes as they are, then `more` again and again until the server answers or hangs up (or nothing happens for too long); gives
/// what it answered, which may be nothing.
pub async fn raw(address: &str, first: &[u8], more: Option<&[u8]>) -> Result<String> {
    let stream = TcpStream::connect(address).await?;
    let (mut read, mut write) = stream.into_split();
    let mut answer = Vec::new();
    let first = first.to_vec();
    let more = more.map(<[u8]>::to_vec);
    let sender = tokio::spawn(async move {
        // A server that has seen enough resets the connection; that is what the test is about.
        if write.write_all(&first).await.is_err() {
            return;
        }
        while let Some(more) = &more {
            if write.write_all(more).await.is_err() {
                return;
            }
        }
        // Keep the connection open: the server, not the client, has to end it.
        std::future::pending::<()>().await;
    });
    let reading = async {
        let mut chunk = [0; 4096];
        loop {
            match read.read(&mut chunk).await {
                Ok(0) | Err(_) => break,
                Ok(length) => answer.extend_from_slice(&chunk[..length]),
            }
            if answer.windows(4).any(|window| window == b"\r\n\r\n") {
                break;
            }
        }
    };
    let ended = tokio::time::timeout(TIMEOUT, reading).await;
    sender.abort();
    ended.context("the server neither answered nor closed the connection")?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Status code of a raw answer.
pub fn raw_status(answer: &str) -> Option<u16> {
    answer.split(' ').nth(1)?.parse().ok()
}
