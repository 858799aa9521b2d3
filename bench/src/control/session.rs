//! How the benchmarks speak to an API server: HTTP/1.1 over TLS, one connection for each client, no more machinery than that.

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use kube::{
    Config,
    client::ConfigExt,
    config::{KubeConfigOptions, Kubeconfig},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where an API server is, and as whom to speak to it.
#[derive(Clone)]
pub struct Access {
    address: SocketAddr,
    tls: TlsConnector,
    bearer: Option<String>,
}

impl Access {
    /// As a kubeconfig says.
    pub async fn of_kubeconfig(file: &Path) -> Result<Self> {
        let kubeconfig = Kubeconfig::read_from(file)?;
        let user = serde_json::to_value(kubeconfig.auth_infos.first().and_then(|named| named.auth_info.as_ref()))?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let authority = config.cluster_url.authority().context("a kubeconfig without an address")?;
        let tls = TlsConnector::from(Arc::new(config.rustls_client_config()?));
        Ok(Self {
            address: authority.as_str().parse()?,
            tls,
            bearer: user["token"].as_str().map(|token| format!("Bearer {token}")),
        })
    }

    /// With a bearer token; the server's certificate is checked against `roots`.
    pub fn of_token(address: SocketAddr, roots: &Path, token: &str) -> Result<Self> {
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(roots)? {
            store.add(certificate?)?;
        }
        let config = ClientConfig::builder().with_root_certificates(store).with_no_client_auth();
        Ok(Self { address, tls: TlsConnector::from(Arc::new(config)), bearer: Some(format!("Bearer {token}")) })
    }

    /// Opens a connection.
    pub async fn open(&self) -> Result<Session> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(ServerName::from(self.address.ip()), stream).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Session { sender, bearer: self.bearer.clone() })
    }
}

/// A connection that is kept.
pub struct Session {
    sender: http1::SendRequest<Full<Bytes>>,
    bearer: Option<String>,
}

impl Session {
    /// Sends a request; its status and the body as it comes.
    pub async fn begin(&mut self, method: Method, path: &str, body: Bytes) -> Result<(u16, Incoming)> {
        let mut request = Request::builder().method(method).uri(path).header("host", "bench");
        request = request.header("content-type", "application/json").header("accept", "application/json");
        if let Some(bearer) = &self.bearer {
            request = request.header("authorization", bearer);
        }
        self.sender.ready().await?;
        let answer = self.sender.send_request(request.body(Full::new(body))?).await?;
        Ok((answer.status().as_u16(), answer.into_body()))
    }

    /// Sends a request and takes the whole answer, which must be 2xx.
    pub async fn ask(&mut self, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        let (status, body) = self.begin(method, path, body).await?;
        let bytes = body.collect().await?.to_bytes();
        ensure!((200..300).contains(&status), "{path}: {status}: {}", String::from_utf8_lossy(&bytes));
        Ok(bytes)
    }
}
