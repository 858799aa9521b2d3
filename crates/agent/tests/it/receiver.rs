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
use rustls::pki_types::PrivateKeyDer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
    task::AbortHandle,
};
use tokio_rustls::TlsAcceptor;

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

    /// The same over TLS; answers its certificate in PEM too, which nobody trusts.
    pub async fn start_tls() -> (Self, String) {
        let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_string()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        (Self::with(listener, Some(TlsAcceptor::from(Arc::new(config)))), certified.cert.pem())
    }

    /// The same on a listener.
    pub fn on(listener: TcpListener) -> Self {
        Self::with(listener, None)
    }

    fn with(listener: TcpListener, tls: Option<TlsAcceptor>) -> Self {
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
                let (state, tls) = (shared.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(state, stream).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(state, stream).await;
                            }
                        }
                    }
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

async fn serve(state: Arc<State>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let service = service_fn(move |request| take(state.clone(), request));
    let executor = hyper_util::rt::TokioExecutor::new();
    let _ = auto::Builder::new(executor).serve_connection(TokioIo::new(stream), service).await;
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
