//! An HTTP server that writes down what it gets and answers as told.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{rt::TokioIo, server::conn::auto};
use tokio::{net::TcpListener, sync::Semaphore, task::AbortHandle};

/// One request.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    /// Value of a header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Id of the event, as the tests send it.
    pub fn id(&self) -> String {
        self.header("x-github-delivery").to_string()
    }
}

type Answer = Box<dyn FnMut(&Received) -> Response<Full<Bytes>> + Send>;

struct State {
    received: Mutex<Vec<Received>>,
    connections: Mutex<usize>,
    answer: Mutex<Answer>,
    /// While it has no permits, answers wait.
    gate: Semaphore,
}

/// A running receiver.
pub struct Receiver {
    pub address: SocketAddr,
    state: Arc<State>,
    task: AbortHandle,
}

/// An answer with a body.
pub fn answer(code: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder().status(code).body(Full::new(body.into())).unwrap()
}

impl Receiver {
    /// Answers 200 until told otherwise.
    pub async fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// The same on a listener.
    pub fn on(listener: TcpListener) -> Self {
        let state = Arc::new(State {
            received: Mutex::default(),
            connections: Mutex::default(),
            answer: Mutex::new(Box::new(|_| answer(200, "thanks"))),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
        });
        let address = listener.local_addr().unwrap();
        let shared = state.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                *shared.connections.lock().unwrap() += 1;
                let state = shared.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| take(state.clone(), request));
                    let executor = hyper_util::rt::TokioExecutor::new();
                    let _ = auto::Builder::new(executor).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, state, task: task.abort_handle() }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook?a=b", self.address)
    }

    /// How requests are answered from now on.
    pub fn answers(&self, answer: impl FnMut(&Received) -> Response<Full<Bytes>> + Send + 'static) {
        *self.state.answer.lock().unwrap() = Box::new(answer);
    }

    /// Lets every answer wait until [`open`](Self::open).
    pub fn close(&self) {
        self.state.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub fn open(&self) {
        self.state.gate.add_permits(Semaphore::MAX_PERMITS);
    }

    pub fn received(&self) -> Vec<Received> {
        self.state.received.lock().unwrap().clone()
    }

    /// Ids in the order of arrival.
    pub fn ids(&self) -> Vec<String> {
        self.received().iter().map(Received::id).collect()
    }

    pub fn connections(&self) -> usize {
        *self.state.connections.lock().unwrap()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Ok(answer(400, "")) };
    let path = parts.uri.path_and_query().map(|path| path.to_string()).unwrap_or_default();
    let received = Received { method: parts.method, path, headers: parts.headers, body: body.to_bytes() };
    state.received.lock().unwrap().push(received.clone());
    drop(state.gate.acquire().await);
    let answer = (state.answer.lock().unwrap())(&received);
    Ok(answer)
}
