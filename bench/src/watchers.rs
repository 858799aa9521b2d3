//! Watchers as a subscriber's client would open them, written by hand: thousands fit beside the server that they watch.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use anyhow::{Context, Result, bail};
use kube::{Api, Client, api::PostParams};
use ring::digest::{SHA256, digest};
use roadstead_api::Subscriber;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};
use tokio_rustls::TlsConnector;

/// Token of the benchmarks' subscriber; the hub it opens lives for a minute on loopback.
const TOKEN: &str = "rsub_0000000000000000000000000000000000000000000";

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// How to open watches.
#[derive(Clone)]
pub struct Opener {
    address: SocketAddr,
    tls: Option<TlsConnector>,
}

/// Registers the subscriber for `endpoint`.
pub async fn subscribe(client: &Client, endpoint: &str) -> Result<()> {
    let hash: String = digest(&SHA256, TOKEN.as_bytes()).as_ref().iter().map(|b| format!("{b:02x}")).collect();
    let spec = json!({"endpoints": [{"name": endpoint}], "tokens": [{"sha256": hash}]});
    let object = json!({"apiVersion": "roadstead.dev/v1alpha1", "kind": "Subscriber", "metadata": {"name": "bench"}, "spec": spec});
    let api: Api<Subscriber> = Api::namespaced(client.clone(), "default");
    api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    Ok(())
}

impl Opener {
    /// Watches over plain HTTP; the hub must trust loopback as a proxy.
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }

    /// Watches over TLS; the certificate is checked against the CA in `pem`.
    pub fn tls(address: SocketAddr, pem: &[u8]) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { address, tls: Some(TlsConnector::from(Arc::new(config))) })
    }

    /// Opens a watch of `endpoint` from `version` on; it is open when this returns.
    pub async fn open(&self, endpoint: &str, version: &str) -> Result<Watch> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let mut stream: Box<dyn Stream> = match &self.tls {
            Some(tls) => Box::new(tls.connect("127.0.0.1".try_into()?, stream).await?),
            None => Box::new(stream),
        };
        let request = format!(
            "GET /apis/log.roadstead.dev/v1alpha1/namespaces/default/webhookevents?watch=1&resourceVersion={version}\
             &fieldSelector=spec.endpoint%3D{endpoint}&timeoutSeconds=3600 HTTP/1.1\r\nhost: bench\r\n\
             authorization: Bearer {TOKEN}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut watch = Watch { stream, buffer: Vec::with_capacity(1024) };
        watch.head().await?;
        Ok(watch)
    }
}

/// An open watch.
pub struct Watch {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

impl Watch {
    async fn head(&mut self) -> Result<()> {
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the hub closed the watch");
            }
            if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                let head = std::str::from_utf8(&self.buffer[..end])?.to_string();
                if !head.starts_with("HTTP/1.1 200") {
                    bail!("the hub refused the watch: {}", head.lines().next().unwrap_or_default());
                }
                self.buffer.drain(..end + 4);
                return Ok(());
            }
        }
    }

    /// Reads until `events` more events have come, however they are cut into chunks.
    pub async fn read_events(&mut self, events: usize) -> Result<()> {
        const MARK: &[u8] = b"{\"type\":\"ADDED\"";
        let mut seen = 0;
        loop {
            let mut at = 0;
            while let Some(found) = find(&self.buffer[at..], MARK) {
                seen += 1;
                at += found + MARK.len();
            }
            // What could be the beginning of a mark stays.
            let keep = self.buffer.len().saturating_sub(at).min(MARK.len() - 1);
            self.buffer.drain(..self.buffer.len() - keep);
            if seen >= events {
                return Ok(());
            }
            if self.stream.read_buf(&mut self.buffer).await.context("the watch broke off")? == 0 {
                bail!("the hub closed the watch");
            }
        }
    }

    /// Tells the time of each event until the hub closes the watch. The buffer is given back in between, so that thousands of
    /// watches cost this process little.
    pub fn report(mut self, times: mpsc::UnboundedSender<Instant>) {
        tokio::spawn(async move {
            while self.read_events(1).await.is_ok() {
                let _ = times.send(Instant::now());
            }
        });
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
