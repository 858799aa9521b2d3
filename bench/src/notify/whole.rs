//! The whole way: a registry posts to the hub, and every registered webhook is told. Signed, durable on both sides.

use std::{
    collections::HashMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, api::PostParams};
use roadstead_api::RegistryWebhook;
use serde_json::json;
use tokio::time::sleep_until;

use super::{latency::arrived, receiver::Receiver};
use crate::{
    load::Connection,
    platform::{KEY, Platform},
    report::{Report, Samples},
};

const WEBHOOKS: usize = 10;
/// Events a second, and connections that post them.
const RATE: f64 = 200.0;
const CONNECTIONS: usize = 8;
/// `whsec_` and 32 bytes.
const SIGNING: &str = "whsec_YmVuY2gtc2lnbmluZy1rZXktb2YtMzItYnl0ZXMtb2s=";

/// Measures.
pub async fn run(binary: &Path, seconds: u64, report: &mut Report) -> Result<()> {
    let receiver = Receiver::start().await?;
    let platform = Platform::start(binary, &[]).await?;
    let path = platform.endpoint_for("registry", "distribution").await?;
    register(&platform, &receiver).await?;
    let begun = Instant::now() + Duration::from_millis(50);
    let total = (RATE * seconds as f64) as usize;
    let workers = (0..CONNECTIONS).map(|worker| {
        let (address, path) = (platform.hub, path.clone());
        tokio::spawn(async move {
            let mut connection = Connection::open(address).await?;
            let mut sent = Vec::new();
            for n in (worker..total).step_by(CONNECTIONS) {
                sleep_until((begun + Duration::from_secs_f64(n as f64 / RATE)).into()).await;
                sent.push((n, Instant::now()));
                let status = connection.send(&notification(&path, n)).await?;
                ensure!((200..300).contains(&status), "the hub answered {status}");
            }
            anyhow::Ok(sent)
        })
    });
    let mut sent: HashMap<String, Instant> = HashMap::new();
    for worker in futures::future::join_all(workers.collect::<Vec<_>>()).await {
        for (n, at) in worker?? {
            sent.extend((0..WEBHOOKS).map(|webhook| (format!("v{n}/w{webhook}"), at)));
        }
    }
    // Beside these each webhook was sent a test.
    arrived(&receiver, sent.len() + WEBHOOKS, Duration::from_secs(20)).await;
    let arrivals = receiver.arrivals().clone();
    let took = sent.iter().filter_map(|(name, at)| Some(arrivals.get(name)?.saturating_duration_since(*at)));
    let samples = Samples::new(took.collect());
    report.add(
        format!("registry's POST to receiver, {RATE:.0} events/s to {WEBHOOKS} webhooks each"),
        format!("{} ({} of {} arrived)", samples.summary(), samples.len(), sent.len()),
        "-",
        "p50 < 5 ms, p99 < 25 ms",
    );
    Ok(())
}

/// Registers the webhooks, each with a path of its own, and waits until each has had its test.
async fn register(platform: &Platform, receiver: &Receiver) -> Result<()> {
    let client = platform.client().await?;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "default");
    let secret = json!({"metadata": {"name": "signing"}, "stringData": {"secret": SIGNING}});
    secrets.create(&PostParams::default(), &serde_json::from_value(secret)?).await?;
    let webhooks: Api<RegistryWebhook> = Api::namespaced(client, "default");
    for n in 0..WEBHOOKS {
        let webhook = json!({
            "apiVersion": "roadstead.dev/v1alpha1", "kind": "RegistryWebhook", "metadata": {"name": format!("w{n}")},
            "spec": {
                "source": {"endpoint": "registry"}, "url": format!("http://{}/w{n}", receiver.address),
                "secretRef": {"name": "signing", "key": "secret"},
            },
        });
        webhooks.create(&PostParams::default(), &serde_json::from_value(webhook)?).await?;
    }
    arrived(receiver, WEBHOOKS, Duration::from_secs(30)).await;
    ensure!(receiver.arrivals().len() >= WEBHOOKS, "the webhooks were not ready within 30 s");
    Ok(())
}

/// What CNCF Distribution posts for a push.
fn notification(path: &str, n: usize) -> Vec<u8> {
    let body = json!({"events": [{
        "id": format!("event-{n}"), "timestamp": "2026-11-20T09:00:00Z", "action": "push",
        "target": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "repository": format!("team/app-{}", n % 200),
            "tag": format!("v{n}"), "digest": format!("sha256:{n:064x}"),
        },
        "request": {"host": "registry.example.com"},
    }]})
    .to_string();
    format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {}\r\n\
         content-type: application/vnd.docker.distribution.events.v2+json\r\ncontent-length: {}\r\n\r\n{body}",
        String::from_utf8_lossy(KEY),
        body.len()
    )
    .into_bytes()
}
