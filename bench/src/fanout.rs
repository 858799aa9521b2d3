//! One event to 5,000 watchers of one endpoint: how long until all have it, and what a watcher costs.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio::{sync::mpsc, time::timeout};

use crate::{
    load::{Connection, Target},
    machine::resident,
    platform::{KEY, Platform},
    report::{Report, Samples, ms},
    watchers::{Opener, subscribe},
};

/// Watchers.
const WATCHERS: usize = 5000;
/// Watchers that read nothing, while the others are measured again.
const STALLED: usize = 50;
/// Events sent one after the other.
const EVENTS: usize = 20;

/// Measures plain watchers, then a tenth as many over TLS for their memory.
pub async fn run(binary: &Path, report: &mut Report) -> Result<()> {
    let platform = Platform::start(binary, &["--trusted-proxy", "127.0.0.1"]).await?;
    let path = platform.endpoint("bench").await?;
    subscribe(&platform.client().await?, "bench").await?;
    let target = Target::new(platform.hub, path, KEY, 2 << 10);
    let plain = Opener::plain(platform.hub);
    wait_for_subscriber(&plain).await?;

    let before = resident(platform.pid());
    let (times, mut seen) = mpsc::unbounded_channel();
    for _ in 0..WATCHERS {
        plain.open("bench", "").await?.report(times.clone());
    }
    let per_watch = resident(platform.pid()).saturating_sub(before) as f64 / WATCHERS as f64 / 1024.0;
    let (each, all) = spread(&target, &mut seen, "fan").await?;
    let peak = resident(platform.pid()).saturating_sub(before) as f64 / WATCHERS as f64 / 1024.0;
    report.add(
        format!("one 2 KiB event to {WATCHERS} watchers"),
        format!(
            "median {}, p99 {}, all within {} (median of {EVENTS} events)",
            ms(each.at(0.5)),
            ms(each.at(0.99)),
            ms(all.at(0.5))
        ),
        "-",
        "median < 100 ms",
    );
    report.add(
        "memory of a watcher, plain",
        format!("{per_watch:.1} KiB idle, {peak:.1} KiB after {EVENTS} events"),
        "kube-apiserver 28 KiB (measured elsewhere)",
        "<= 25 KiB",
    );

    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        stalled.push(plain.open("bench", "").await?);
    }
    let (each, all) = spread(&target, &mut seen, "stall").await?;
    report.add(
        format!("the same beside {STALLED} watchers that read nothing"),
        format!("median {}, all within {}", ms(each.at(0.5)), ms(all.at(0.5))),
        "-",
        "a stalled watcher delays nobody",
    );
    drop(stalled);

    let count = WATCHERS / 10;
    let opener = Opener::tls(platform.hub, &ca(&platform)?)?;
    let before = resident(platform.pid());
    let mut open = Vec::new();
    for _ in 0..count {
        open.push(opener.open("bench", "").await?);
    }
    let per_watch = resident(platform.pid()).saturating_sub(before) as f64 / count as f64 / 1024.0;
    report.add(format!("memory of a watcher, TLS ({count} of them)"), format!("{per_watch:.1} KiB"), "-", "-");
    Ok(())
}

/// The CA that the hub's certificate is from, out of the administrator's kubeconfig.
fn ca(platform: &Platform) -> Result<Vec<u8>> {
    let kubeconfig = kube::config::Kubeconfig::read_from(platform.kubeconfig())?;
    let cluster = kubeconfig.clusters.first().and_then(|named| named.cluster.clone()).context("no cluster")?;
    let data = cluster.certificate_authority_data.context("no CA in the kubeconfig")?;
    let pem: k8s_openapi::ByteString = serde_json::from_value(data.into())?;
    Ok(pem.0)
}

/// Waits until the hub knows the subscriber.
async fn wait_for_subscriber(opener: &Opener) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match opener.open("bench", "").await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Posts events one by one; latency of each watcher, and of the last one, from when the POST was sent.
async fn spread(
    target: &Target,
    seen: &mut mpsc::UnboundedReceiver<Instant>,
    prefix: &str,
) -> Result<(Samples, Samples)> {
    let mut connection = Connection::open(target.address).await?;
    let (mut each, mut last) = (Vec::new(), Vec::new());
    for n in 0..EVENTS {
        let sent = Instant::now();
        connection.post(target, &format!("{prefix}-{n}")).await?;
        let mut slowest = Duration::ZERO;
        for _ in 0..WATCHERS {
            let at = timeout(Duration::from_secs(10), seen.recv()).await.context("not all watchers got the event")?;
            let took = at.context("no watchers")?.duration_since(sent);
            slowest = slowest.max(took);
            each.push(took);
        }
        last.push(slowest);
    }
    Ok((Samples::new(each), Samples::new(last)))
}
