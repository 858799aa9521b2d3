//! Signed deliveries, as the senders make them.
//!
//! GitHub: `X-Hub-Signature-256: sha256=<hex HMAC-SHA-256 of the body>` (docs.github.com, "Validating webhook deliveries").
//! Standard Webhooks: by the `standardwebhooks` crate, which shares no code with the hub.

use anyhow::Result;
use jiff::Timestamp;
use ring::hmac;
use standardwebhooks::Webhook;

use crate::http::Header;

/// Headers of a GitHub delivery without signature.
pub fn github_unsigned(event: &str, delivery: &str) -> Vec<Header> {
    headers(&[
        ("content-type", "application/json"),
        ("user-agent", "GitHub-Hookshot/0000000"),
        ("x-github-event", event),
        ("x-github-delivery", delivery),
        ("x-github-hook-id", "1"),
    ])
}

/// Headers of a signed GitHub delivery.
pub fn github(secret: &str, event: &str, delivery: &str, body: &[u8]) -> Vec<Header> {
    let mut headers = github_unsigned(event, delivery);
    headers.push(("x-hub-signature-256".into(), github_signature(secret, body)));
    headers
}

/// `sha256=<hex>`.
pub fn github_signature(secret: &str, body: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body);
    format!("sha256={}", tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// Headers of a Standard Webhooks delivery at a time; `secret` with its prefix `whsec_`.
pub fn standard(secret: &str, id: &str, at: Timestamp, body: &[u8]) -> Result<Vec<Header>> {
    let signature = Webhook::new(secret)?.sign(id, at.as_second(), body)?;
    Ok(headers(&[
        ("content-type", "application/json"),
        ("webhook-id", id),
        ("webhook-timestamp", &at.as_second().to_string()),
        ("webhook-signature", &signature),
    ]))
}

fn headers(pairs: &[(&str, &str)]) -> Vec<Header> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}
