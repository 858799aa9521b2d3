//! One HTTP client for every URL that comes from a manifest.
//!
//! In: a request and its [`Limits`]. Out: an [`Answer`] whose body is capped, or an [`Error`] that tells the class of the failure and
//! nothing about the network behind it.
//!
//! What it guarantees, whoever wrote the URL or runs the server:
//! - Every name is resolved here, every address is judged by [`Targets`], and exactly a judged address is dialled (`connect`). A name
//!   that answers differently the next moment gains nothing: each new connection is judged anew.
//! - No redirect is followed. A 3xx is an answer like any other.
//! - Name, connection and TLS handshake have a deadline of their own, and the whole exchange has one.
//! - At most `max_body` bytes of the answer and 64 KiB of its headers are read; the connection of an answer that has more is dropped.
//! - Connections are kept and used again, at most `max_idle_per_host` idle ones to each host and none longer than `idle_timeout`; TLS
//!   sessions too, so that a new connection to a known host costs no full handshake. HTTP/2 where the server offers it.
//!
//! `http://` is taken as well: receivers within a private network often have nothing else. Everybody on the way can then read and
//! change what is sent; a signature still shows the change.
//!
//! How many exchanges run at once is the caller's decision.

mod connect;
mod error;
mod resolve;
mod retry_after;
#[cfg(test)]
mod tests;
mod tls;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use roadstead_reconcile::Targets;
use tokio::time::{Instant, timeout_at};

use self::connect::Connector;
pub use self::error::Error;
pub use self::resolve::{Resolve, SystemResolver};
pub use self::retry_after::retry_after;

/// Most bytes of an answer's head.
const MAX_HEAD: u32 = 64 << 10;
/// HTTP/2 has all exchanges of a host on one connection: one that died silently is noticed after these.
const PING: Duration = Duration::from_secs(5);

/// How a client is to behave.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// Addresses that may be reached.
    pub targets: Targets,
    /// Certificates to trust instead of the machine's, PEM.
    pub ca: Option<&'a [u8]>,
    /// Idle connections kept open to one host. Default 64, as many requests as one webhook may have under way: with fewer kept, a busy
    /// receiver would see a new connection for most requests.
    pub max_idle_per_host: usize,
    /// How long an idle connection is kept. Default 60 s.
    pub idle_timeout: Duration,
    /// How long name, connection and TLS handshake may take together. Default 5 s.
    pub connect_timeout: Duration,
}

impl Options<'_> {
    /// The defaults, for these targets.
    pub fn new(targets: Targets) -> Self {
        Options {
            targets,
            ca: None,
            max_idle_per_host: 64,
            idle_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(5),
        }
    }
}

/// What one exchange may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For all of it, from the name to the last byte of the answer.
    pub deadline: Duration,
    /// Most bytes of the answer's body.
    pub max_body: usize,
    /// What a larger body is.
    pub on_oversize: Oversize,
}

/// What an answer's body is that is larger than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oversize {
    /// Of no interest beyond the cap: the status counts. The same goes for a body that breaks off or is not complete by the deadline.
    Truncate,
    /// A failure: half an answer is none.
    Fail,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status, any: 3xx is not followed.
    pub status: StatusCode,
    /// Headers of the answer.
    pub headers: HeaderMap,
    /// The body, at most `max_body` bytes.
    pub body: Bytes,
    /// Whether the body is not all there; only with [`Oversize::Truncate`].
    pub truncated: bool,
    /// How long the exchange took.
    pub elapsed: Duration,
}

/// The client. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    http: legacy::Client<Connector, Full<Bytes>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// A client that asks the system for names.
    ///
    /// # Errors
    /// `BadCa`: the given certificates, or the machine's, cannot be used.
    pub fn new(options: Options<'_>) -> Result<Client, Error> {
        Client::with_resolver(options, Arc::new(SystemResolver::default()))
    }

    /// A client that asks `resolver` for names.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn with_resolver(options: Options<'_>, resolver: Arc<dyn Resolve>) -> Result<Client, Error> {
        let connector = Connector::new(tls::config(options.ca)?, options.targets, resolver, options.connect_timeout);
        let http = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(options.idle_timeout)
            .pool_max_idle_per_host(options.max_idle_per_host)
            .http1_max_buf_size(MAX_HEAD as usize)
            .http2_max_header_list_size(MAX_HEAD)
            .http2_keep_alive_interval(PING)
            .http2_keep_alive_timeout(PING)
            .build(connector);
        Ok(Client { http })
    }

    /// Sends a request and reads the answer, whatever its status.
    ///
    /// # Errors
    /// There was no answer, or one that is not complete where it must be. The request may have been carried out all the same, unless
    /// the error says that no connection was made.
    pub async fn send(&self, request: Request<Bytes>, limits: Limits) -> Result<Answer, Error> {
        check(request.uri())?;
        let started = Instant::now();
        let deadline = started + limits.deadline;
        let asking = timeout_at(deadline, self.http.request(request.map(Full::new)));
        let response = asking.await.map_err(|_| Error::Timeout)?.map_err(|error| Error::of(&error))?;
        let (head, body) = response.into_parts();
        let mut read = BytesMut::new();
        let outcome = timeout_at(deadline, collect(body, limits.max_body, &mut read)).await;
        let complete = match outcome.unwrap_or(Err(Error::Timeout)) {
            Ok(()) => true,
            Err(_) if limits.on_oversize == Oversize::Truncate => false,
            Err(error) => return Err(error),
        };
        let (status, headers, body) = (head.status, head.headers, read.freeze());
        Ok(Answer { status, headers, body, truncated: !complete, elapsed: started.elapsed() })
    }
}

/// Reads up to `cap` bytes. The body is dropped with the future: a connection with more to come is then closed.
async fn collect(mut body: Incoming, cap: usize, into: &mut BytesMut) -> Result<(), Error> {
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| Error::of(&error))?.into_data() else { continue };
        let room = cap - into.len();
        into.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Err(Error::TooLarge(cap));
        }
    }
    Ok(())
}

/// Reads a URL that requests may go to: `https://` or `http://`, a host, and nobody's password.
///
/// # Errors
/// `BadUrl` says what is wrong with it.
pub fn url(text: &str) -> Result<Uri, Error> {
    let uri = text.parse().map_err(|_| Error::BadUrl("it is not a URL"))?;
    check(&uri)?;
    Ok(uri)
}

fn check(uri: &Uri) -> Result<(), Error> {
    if !matches!(uri.scheme_str(), Some("https" | "http")) {
        return Err(Error::BadUrl("it must begin with https:// or http://"));
    }
    let authority = uri.authority().ok_or(Error::BadUrl("it has no host"))?;
    if authority.as_str().contains('@') {
        return Err(Error::BadUrl("it must not carry a user or password"));
    }
    if authority.host().is_empty() {
        return Err(Error::BadUrl("it has no host"));
    }
    Ok(())
}
