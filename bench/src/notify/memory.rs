//! Memory while very many messages wait, and how long a start over them takes until the first is sent. Each in a process of its own.

use std::{
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use prometheus_client::registry::Registry;
use roadstead_notify::{
    delivery::{Attempt, Message},
    log::{DeliveryLog, Options as LogOptions},
    metrics::Metrics,
    queue::{Deliver, Limits, Options, Runner},
};
use tokio::sync::Notify;

use super::{CONCURRENCY, rig::messages};
use crate::{
    machine,
    platform::scratch,
    report::{Report, ms},
};

const WEBHOOKS: u64 = 100;

/// Measures with so many messages.
pub fn run(waiting: u64, report: &mut Report) -> Result<()> {
    let dir = tempfile::tempdir_in(scratch())?;
    let (filled, _) = child(dir.path(), waiting)?;
    let (opened, first) = child(dir.path(), 0)?;
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    report.add(
        format!("most memory of a process with {waiting} messages waiting, for {WEBHOOKS} webhooks that hang"),
        format!("{} while they are accepted, {} after a restart", mib(filled), mib(opened)),
        "-",
        "< 200 MB with 1,000,000",
    );
    report.add(format!("start with {waiting} messages waiting, to the first request"), ms(first), "-", "-");
    Ok(())
}

/// Runs [`pending`] as a process; its most memory, and the time until the first request.
fn child(dir: &Path, fill: u64) -> Result<(u64, Duration)> {
    let output = Command::new(std::env::current_exe()?)
        .arg("pending")
        .arg("--dir")
        .arg(dir)
        .args(["--fill", &fill.to_string()])
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let (peak, micros) = text.trim().split_once(' ').context("two numbers")?;
    Ok((peak.parse()?, Duration::from_micros(micros.parse()?)))
}

/// Opens a log, queues messages, lets a runner hang over them, and prints the most memory and the time from the opening to the first
/// request, in microseconds.
pub async fn pending(dir: &Path, fill: u64) -> Result<()> {
    let begun = Instant::now();
    let log = DeliveryLog::open(dir, LogOptions::default()).await?;
    let called = Arc::new(Notify::new());
    let deliver = Arc::new(Hang { called: called.clone() });
    let handle = Runner::start(log.clone(), deliver, Options::default(), Metrics::new(&mut Registry::default()));
    let uids: Vec<String> = (0..WEBHOOKS).map(|n| format!("webhook-{n}")).collect();
    for uid in &uids {
        log.register(uid, "bench", uid).await?;
        handle.configure(uid, Some(Limits { concurrency: CONCURRENCY, rate: None, suspended: false }));
    }
    let events = fill / WEBHOOKS;
    for n in (0..events).step_by(10) {
        let batch = (n..(n + 10).min(events)).flat_map(|n| messages(n, &uids)).collect();
        log.accept("hub", n + 1, batch).await?;
    }
    tokio::time::timeout(Duration::from_secs(60), called.notified()).await.context("nothing was sent")?;
    let first = begun.elapsed();
    // What the start still has to read is part of it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    println!("{} {}", machine::own_peak(), first.as_micros());
    Ok(())
}

struct Hang {
    called: Arc<Notify>,
}

#[async_trait]
impl Deliver for Hang {
    async fn deliver(&self, _: &Message) -> Attempt {
        self.called.notify_one();
        std::future::pending().await
    }
}
