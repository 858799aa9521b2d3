//! Connections: TLS and plain HTTP on one port, both HTTP versions, deadlines, caps, new certificates, shutdown.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use roadstead_kubewire::server::{Options, TlsConfig, Transport, serve, server_config, tls_config};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use crate::plane::Plane;

/// A listener on a free port, its certificate, and what ends it.
pub struct Harbour {
    pub plane: Plane,
    pub address: SocketAddr,
    pub certificate: CertificateDer<'static>,
    pub config: TlsConfig,
    pub done: JoinHandle<()>,
}

fn certificate() -> (CertificateDer<'static>, rustls::ServerConfig) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let certificate = made.cert.der().clone();
    (certificate.clone(), server_config(vec![certificate], key).unwrap())
}

impl Harbour {
    pub async fn open(options: Options) -> Self {
        let plane = Plane::new();
        let (certificate, config) = certificate();
        let config = tls_config(config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let transport = Transport::Both(config.clone());
        let done = tokio::spawn(serve(listener, transport, options, plane.service.clone(), plane.shutdown.clone()));
        Self { plane, address, certificate, config, done }
    }

    async fn tls(
        &self,
        trusted: &CertificateDer<'static>,
        alpn: &[u8],
    ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

fn readyz(token: Option<&str>) -> Request<Empty<Bytes>> {
    let mut request = Request::get("/readyz").header("host", "localhost");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(Empty::new()).unwrap()
}

/// Sends a plain request as written and reads until the server closes.
async fn raw(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.expect("the server closes").unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn one_port_speaks_tls_and_plain_http_in_both_versions() {
    let harbour = Harbour::open(Options::default()).await;
    let plain = raw(harbour.address, "GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(plain.starts_with("HTTP/1.1 200 OK") && plain.ends_with("ok"), "{plain}");
    let head = raw(harbour.address, "HEAD /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(head.contains("content-length: 2\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    // Credentials over plain HTTP are the authenticator's to refuse: it is told how the connection is.
    let token = "GET /readyz HTTP/1.1\r\nhost: x\r\nauthorization: Bearer admin\r\nconnection: close\r\n\r\n";
    assert!(raw(harbour.address, token).await.starts_with("HTTP/1.1 401"));

    let stream = harbour.tls(&harbour.certificate, b"http/1.1").await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let answer = sender.send_request(readyz(Some("admin"))).await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_11));

    let stream = harbour.tls(&harbour.certificate, b"h2").await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let answer = sender.send_request(readyz(Some("admin"))).await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
    // HTTP/2 without TLS, by prior knowledge.
    let stream = TcpStream::connect(harbour.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(sender.send_request(readyz(None)).await.unwrap().version(), Version::HTTP_2);
    // The first byte of a request alone says nothing yet.
    let mut slow = TcpStream::connect(harbour.address).await.unwrap();
    slow.set_nodelay(true).unwrap();
    for part in ["P", "UT /readyz HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"] {
        slow.write_all(part.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 405");
    let record = harbour.plane.records.wait_for(|record| record.user.as_ref().is_some_and(|u| u.name == "admin")).await;
    assert_eq!(record.peer.map(|peer| peer.ip()), Some(harbour.address.ip()));
    assert_eq!(record.user.unwrap().groups, ["system:authenticated"]);
}

#[tokio::test]
async fn a_new_certificate_serves_new_connections() {
    let harbour = Harbour::open(Options::default()).await;
    let (renewed, config) = certificate();
    assert!(harbour.tls(&renewed, b"h2").await.is_err());
    harbour.config.store(Arc::new(config));
    assert!(harbour.tls(&renewed, b"h2").await.is_ok());
    assert!(harbour.tls(&harbour.certificate, b"h2").await.is_err());
}

#[tokio::test]
async fn silent_and_slow_connections_are_closed() {
    let options = Options {
        header_read: Duration::from_millis(100),
        handshake: Duration::from_millis(100),
        ..Options::default()
    };
    let harbour = Harbour::open(options).await;
    for opening in ["", "P", "GET /readyz HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n", "\u{16}\u{3}\u{1}"] {
        let answer = raw(harbour.address, opening).await;
        assert!(!answer.contains("200"), "{opening:?}: {answer}");
    }
}

#[tokio::test]
async fn a_large_head_is_refused() {
    let harbour = Harbour::open(Options { header_bytes: 8 << 10, ..Options::default() }).await;
    let head = format!("GET /readyz HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n", "x".repeat(9 << 10));
    assert!(raw(harbour.address, &head).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let harbour = Harbour::open(Options { connections: 1, ..Options::default() }).await;
    let mut first = TcpStream::connect(harbour.address).await.unwrap();
    first.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(first.read_u8().await.unwrap(), b'H');
    let refused = raw(harbour.address, "GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: 1"), "{refused}");
    drop(first);
    let close = "GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    timeout(Duration::from_secs(5), async { while !raw(harbour.address, close).await.starts_with("HTTP/1.1 200") {} })
        .await
        .expect("the place becomes free again");
}

#[tokio::test]
async fn shutdown_lets_requests_finish_and_ends_watches() {
    let harbour = Harbour::open(Options::default()).await;
    let stream = harbour.tls(&harbour.certificate, b"http/1.1").await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let watch = Request::get("/apis/harbour.test/v1/namespaces/default/ships?watch=true").header("host", "x");
    let watch = watch.header("authorization", "Bearer reader").body(Empty::<Bytes>::new()).unwrap();
    // Headers come at once, though there is no event.
    let answer = timeout(Duration::from_secs(5), sender.send_request(watch)).await.unwrap().unwrap();
    harbour.plane.shutdown.cancel();
    let rest = timeout(Duration::from_secs(5), answer.into_body().collect()).await.unwrap().unwrap();
    assert_eq!(rest.to_bytes().len(), 0);
    timeout(Duration::from_secs(5), harbour.done).await.expect("the server ends").unwrap();
    assert!(TcpStream::connect(harbour.address).await.is_err());
}

#[tokio::test]
async fn an_upload_that_never_ends_is_cut() {
    let harbour = Harbour::open(Options::default()).await;
    let path = "/apis/harbour.test/v1/namespaces/default/ships";
    let stream = harbour.tls(&harbour.certificate, b"http/1.1").await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer admin\r\ntransfer-encoding: chunked\r\n\r\n");
    write.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let upload = tokio::spawn(async move { while write.write_all(chunk.as_bytes()).await.is_ok() {} });
    let mut first = [0; 12];
    timeout(Duration::from_secs(10), read.read_exact(&mut first)).await.expect("an answer").unwrap();
    assert_eq!(&first, b"HTTP/1.1 413");
    upload.abort();
}
