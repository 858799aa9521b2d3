//! The git host of the tour: signs and posts push deliveries as GitHub does.

use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use ring::hmac;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde_json::json;

/// Posts to one hook.
pub(super) struct Sender {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: Uri,
    key: hmac::Key,
}

impl Sender {
    /// Posts to `url`, trusting the CA in `ca_pem`, signing with `key`.
    pub(super) fn new(url: &str, ca_pem: &str, key: &[u8]) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, url: url.parse()?, key: hmac::Key::new(hmac::HMAC_SHA256, key) })
    }

    /// Delivers commit `n`, signed; how it was answered.
    pub(super) async fn push(&self, n: usize) -> Result<String> {
        let body = payload(n);
        let tag = hmac::sign(&self.key, &body);
        self.post(n, body, tag.as_ref()).await
    }

    /// Delivers commit `n` with a signature by another key.
    pub(super) async fn forge(&self, n: usize) -> Result<String> {
        let body = payload(n);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"a guess"), &body);
        self.post(n, body, tag.as_ref()).await
    }

    async fn post(&self, n: usize, body: Bytes, tag: &[u8]) -> Result<String> {
        let signature: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
        let request = Request::post(self.url.clone())
            .header("content-type", "application/json")
            .header("x-github-event", "push")
            .header("x-github-delivery", delivery_id(n))
            .header("x-hub-signature-256", format!("sha256={signature}"))
            .body(Full::new(body))?;
        let response = self.client.request(request).await.context("can't post to the hub")?;
        let status = response.status();
        let text = response.into_body().collect().await?.to_bytes();
        Ok(format!("{} {}", status.as_u16(), String::from_utf8_lossy(&text)))
    }
}

/// Id of the delivery of commit `n`.
fn delivery_id(n: usize) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

/// GitHub's push payload, in the fields that the normalised event is made from.
fn payload(n: usize) -> Bytes {
    let commit = |n: usize| format!("{n:040x}");
    let body = json!({
        "ref": "refs/heads/main", "before": commit(n - 1), "after": commit(n),
        "repository": {"full_name": "octo/shop", "html_url": "https://github.example.com/octo/shop"},
        "pusher": {"name": "octo"},
        "commits": [{"id": commit(n), "message": format!("Change number {n}"), "author": {"name": "octo"}}],
    });
    Bytes::from(body.to_string())
}

/// Which commit a push payload is about.
pub(super) fn commit_of(body: &[u8]) -> Option<usize> {
    let payload: serde_json::Value = serde_json::from_slice(body).ok()?;
    usize::from_str_radix(payload["after"].as_str()?, 16).ok()
}

/// Whether a request carries a good signature: what a real receiver behind the agent would check for itself.
pub(super) fn is_signed(headers: &http::HeaderMap, body: &[u8], key: &[u8]) -> bool {
    let header = headers.get("x-hub-signature-256").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let tag: Vec<u8> = header
        .trim_start_matches("sha256=")
        .as_bytes()
        .chunks(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), body, &tag).is_ok()
}
