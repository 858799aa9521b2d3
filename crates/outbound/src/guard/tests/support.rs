//! What the tests share: name servers that say what they are told, raw servers, and a TLS server that counts.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use roadstead_reconcile::Targets;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::guard::{Answer, Client, Error, Limits, Options, Oversize, Resolve};

/// Far longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const LIMITS: Limits = Limits { deadline: PATIENCE, max_body: 1024, on_oversize: Oversize::Fail };

/// Answers of a name server, one for each question; the last one stays.
pub struct Names(Mutex<VecDeque<Vec<IpAddr>>>);

impl Names {
    pub fn new(answers: &[&[&str]]) -> Arc<Names> {
        let parse = |answer: &&[&str]| answer.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(Names(Mutex::new(answers.iter().map(parse).collect())))
    }
}

#[async_trait]
impl Resolve for Names {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let mut answers = self.0.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        answer.filter(|addresses| !addresses.is_empty()).ok_or_else(|| io::Error::other("no such name"))
    }
}

/// A client that may reach loopback.
pub fn client() -> Client {
    Client::new(Options::new(Targets::with_loopback())).unwrap()
}

/// A client with names of its own.
pub fn client_with(names: Arc<Names>, ca: Option<&str>) -> Client {
    let options = Options { ca: ca.map(str::as_bytes), ..Options::new(Targets::with_loopback()) };
    Client::with_resolver(options, names).unwrap()
}

pub async fn get(client: &Client, url: &str, limits: Limits) -> Result<Answer, Error> {
    client.send(Request::get(url).body(Bytes::new()).unwrap(), limits).await
}

/// A server that reads one request of each connection and then does as it is told. Counts connections.
pub async fn raw<F>(
    bind: &str,
    behave: impl Fn(TcpStream) -> F + Send + Sync + 'static,
) -> (SocketAddr, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(bind).await.unwrap();
    let (address, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = connections.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            tokio::spawn(behave(stream));
        }
    });
    (address, connections)
}

/// A server that says this and closes.
pub async fn saying(text: &'static str) -> String {
    let (address, _) = raw("127.0.0.1:0", move |mut stream| async move {
        let _ = stream.write_all(text.as_bytes()).await;
    })
    .await;
    format!("http://{address}/")
}

/// Certificates for `localhost` and their authority.
pub struct Identity {
    pub ca: String,
    certificate: rcgen::Certificate,
    key: rcgen::KeyPair,
}

impl Identity {
    /// `expired`: of last century.
    pub fn new(expired: bool) -> Identity {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = params.self_signed(&ca_key).unwrap();
        let issuer = rcgen::Issuer::new(params, ca_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        if expired {
            params.not_before = rcgen::date_time_ymd(1998, 1, 1);
            params.not_after = rcgen::date_time_ymd(1999, 1, 1);
        }
        Identity { ca: ca.pem(), certificate: params.signed_by(&key, &issuer).unwrap(), key }
    }
}

/// What a TLS server has seen.
#[derive(Debug, Default)]
pub struct Counts {
    pub connections: AtomicUsize,
    pub resumed: AtomicUsize,
    pub requests: AtomicUsize,
    pub http2: AtomicUsize,
}

impl Counts {
    pub fn all(&self) -> [usize; 4] {
        [&self.connections, &self.resumed, &self.requests, &self.http2].map(|count| count.load(Ordering::SeqCst))
    }
}

/// A TLS server on loopback; `close`: after each answer.
pub async fn tls(identity: &Identity, alpn: &[&str], close: bool) -> (String, Arc<Counts>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(identity.key.serialize_der());
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate.der().clone()], key.into())
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let (acceptor, counts) = (TlsAcceptor::from(Arc::new(config)), Arc::<Counts>::default());
    let seen = counts.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, seen) = (acceptor.clone(), seen.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                seen.connections.fetch_add(1, Ordering::SeqCst);
                if stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed) {
                    seen.resumed.fetch_add(1, Ordering::SeqCst);
                }
                let service = service_fn(move |request: Request<Incoming>| {
                    seen.requests.fetch_add(1, Ordering::SeqCst);
                    if request.version() == http::Version::HTTP_2 {
                        seen.http2.fetch_add(1, Ordering::SeqCst);
                    }
                    let mut response = Response::new(Full::new(Bytes::from_static(b"hello")));
                    if close {
                        response.headers_mut().insert("connection", http::HeaderValue::from_static("close"));
                    }
                    async move { Ok::<_, Infallible>(response) }
                });
                let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (format!("https://localhost:{port}/"), counts)
}
