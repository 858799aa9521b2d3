//! A control plane that misbehaves as told: a proxy before a real one that goes away, answers late, ends watches, says 410, 409 or
//! 403, or loses an answer after the request took effect. It remembers every request, so that a test can tell a hot loop.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyDataStream, BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use kube::{
    Client, Config,
    client::Body,
    config::{AuthInfo, Cluster, KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
};

/// What goes wrong; several may at once. The default is nothing.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Every connection is closed, and no new one answered.
    pub gone: bool,
    /// Every answer waits that long.
    pub late: Duration,
    /// Watches end, cleanly, after that long.
    pub watches_end: Option<Duration>,
    /// Every nth watch is answered 410: by turns as a status and as an event of the stream.
    pub expired: Option<u64>,
    /// Every nth update, patch and delete is answered 409, and not done.
    pub conflict: Option<u64>,
    /// Every nth write is done, but its answer is lost with the connection.
    pub lost: Option<u64>,
    /// Requests of this method and plural name are answered 403.
    pub forbidden: Option<(Method, &'static str)>,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// When.
    pub at: Instant,
    /// `GET`, `PATCH` and so on, or `WATCH`.
    pub verb: String,
    /// The path without its query.
    pub path: String,
}

/// The proxy; ends when dropped.
pub struct Faulty {
    address: String,
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    upstream: Client,
    faults: watch::Sender<Faults>,
    asked: Mutex<Vec<Asked>>,
    refused: Mutex<Vec<Instant>>,
    watches: AtomicU64,
    updates: AtomicU64,
    writes: AtomicU64,
}

type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

impl Faulty {
    /// Before the control plane of a kubeconfig. Whoever asks asks as himself: the proxy passes tokens on and has none.
    pub async fn before(kubeconfig: &Path) -> Result<Faulty> {
        let mut anonymous = Kubeconfig::read_from(kubeconfig)?;
        anonymous.auth_infos.iter_mut().for_each(|named| named.auth_info = Some(AuthInfo::default()));
        let config = Config::from_custom_kubeconfig(anonymous, &KubeConfigOptions::default()).await?;
        let upstream = Client::try_from(config)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let shared = Arc::new(Shared {
            upstream,
            faults: watch::Sender::default(),
            asked: Mutex::default(),
            refused: Mutex::default(),
            watches: AtomicU64::default(),
            updates: AtomicU64::default(),
            writes: AtomicU64::default(),
        });
        let task = tokio::spawn(accept(listener, shared.clone())).abort_handle();
        Ok(Faulty { address, shared, task })
    }

    /// Makes a kubeconfig with a token lead here.
    pub fn divert(&self, kubeconfig: &Path) -> Result<()> {
        let mut changed = Kubeconfig::read_from(kubeconfig)?;
        for cluster in changed.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
            *cluster = Cluster { server: Some(format!("http://{}", self.address)), ..Cluster::default() };
        }
        std::fs::write(kubeconfig, serde_json::to_vec(&changed)?)?;
        Ok(())
    }

    /// From now on, this goes wrong and nothing else.
    pub fn set(&self, faults: Faults) {
        self.shared.faults.send_replace(faults);
    }

    /// All requests since `when`.
    pub fn asked_since(&self, when: Instant) -> Vec<Asked> {
        lock(&self.shared.asked).iter().filter(|asked| asked.at >= when).cloned().collect()
    }

    /// When connections were refused since `when`, because it was gone.
    pub fn refused_since(&self, when: Instant) -> Vec<Instant> {
        lock(&self.shared.refused).iter().filter(|at| **at >= when).copied().collect()
    }

    /// How often each request was made since `when`, the most frequent first: what a failed assertion shows.
    pub fn profile_since(&self, when: Instant) -> String {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for asked in self.asked_since(when) {
            *counts.entry(format!("{} {}", asked.verb, asked.path)).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts.iter().map(|(request, count)| format!("{count:6} {request}\n")).collect()
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.task.abort();
        self.set(Faults { gone: true, ..Faults::default() });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(stream, shared.clone()));
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let mut faults = shared.faults.subscribe();
    if faults.borrow().gone {
        lock(&shared.refused).push(Instant::now());
        return;
    }
    let service = service_fn(|request| handle(request, shared.clone()));
    tokio::select! {
        // A client may hang up, and a lost answer ends the connection: both are meant.
        _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service) => {}
        _ = faults.wait_for(|faults| faults.gone) => {}
    }
}

async fn handle(request: Request<Incoming>, shared: Arc<Shared>) -> io::Result<Answer> {
    let faults = shared.faults.borrow().clone();
    let is_watch = request
        .uri()
        .query()
        .is_some_and(|query| query.split('&').any(|part| matches!(part, "watch=1" | "watch=true")));
    let (method, path) = (request.method().clone(), request.uri().path().to_string());
    let verb = if is_watch { "WATCH".to_string() } else { method.to_string() };
    lock(&shared.asked).push(Asked { at: Instant::now(), verb, path: path.clone() });
    tokio::time::sleep(faults.late).await;

    if let Some((forbidden, plural)) = &faults.forbidden
        && *forbidden == method
        && path.split('/').any(|part| part == *plural)
    {
        let message = format!("{plural} is forbidden: User \"faulty\" cannot {method} resource \"{plural}\"");
        return Ok(refuse(StatusCode::FORBIDDEN, "Forbidden", &message));
    }
    if is_watch && is_nth(&shared.watches, faults.expired) {
        let message = "too old resource version";
        if shared.watches.load(Relaxed).is_multiple_of(2) {
            return Ok(refuse(StatusCode::GONE, "Expired", message));
        }
        let event = json!({"type": "ERROR", "object": status(StatusCode::GONE, "Expired", message)});
        return Ok(answer(StatusCode::OK, format!("{event}\n")));
    }
    let changes = matches!(method, Method::PUT | Method::PATCH | Method::DELETE);
    if changes && is_nth(&shared.updates, faults.conflict) {
        let message = "the object has been modified; please apply your changes to the latest version and try again";
        return Ok(refuse(StatusCode::CONFLICT, "Conflict", message));
    }
    let loses = (changes || method == Method::POST) && is_nth(&shared.writes, faults.lost);
    let forwarded = forward(request, &shared.upstream).await?;
    if loses {
        return Err(io::Error::other("the answer is lost"));
    }
    Ok(match faults.watches_end.filter(|_| is_watch) {
        Some(after) => forwarded.map(|body| {
            let end = Box::pin(tokio::time::sleep(after));
            let frames = BodyDataStream::new(body).map(|data| data.map(Frame::data)).take_until(end);
            StreamBody::new(frames).boxed_unsync()
        }),
        None => forwarded,
    })
}

/// Whether this is the nth of its kind.
fn is_nth(count: &AtomicU64, nth: Option<u64>) -> bool {
    nth.is_some_and(|nth| (count.fetch_add(1, Relaxed) + 1).is_multiple_of(nth))
}

async fn forward(request: Request<Incoming>, upstream: &Client) -> io::Result<Answer> {
    let (mut head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    // Of the connection that it came on, not of the one that it goes on with.
    for name in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH] {
        head.headers.remove(name);
    }
    let request = Request::from_parts(head, Body::from(body.to_vec()));
    let answer = upstream.send(request).await.map_err(io::Error::other)?;
    let (mut head, body) = answer.into_parts();
    for name in [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        head.headers.remove(name);
    }
    Ok(Response::from_parts(head, body.map_err(io::Error::other).boxed_unsync()))
}

fn status(code: StatusCode, reason: &str, message: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code.as_u16(),
    })
}

fn refuse(code: StatusCode, reason: &str, message: &str) -> Answer {
    answer(code, status(code, reason, message).to_string())
}

fn answer(code: StatusCode, body: String) -> Answer {
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = code;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    answer
}
