//! As many messages as go through: durable before they are sent and their outcome after, beside the bare loop. Whether every one arrived
//! is checked on both sides, by the receiver's list and by the log's counters.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{
    CONCURRENCY, bare,
    latency::arrived,
    receiver::Receiver,
    rig::{Rig, messages},
};
use crate::report::Report;

const WEBHOOKS: usize = 10;
/// Events accepted at once, and messages that may wait before more are.
const BATCH: u64 = 20;
const WAITING: u64 = 2000;

/// Measures.
pub async fn run(seconds: u64, report: &mut Report) -> Result<()> {
    let length = Duration::from_secs(seconds);
    let receiver = Receiver::start().await?;
    let bare = bare::run(&receiver, WEBHOOKS * CONCURRENCY as usize, length).await?;
    let uids: Vec<String> = (0..WEBHOOKS).map(|n| format!("webhook-{n}")).collect();
    let receiver = Receiver::start().await?;
    let rig = Rig::start(&receiver, &uids).await?;
    let (begun, mut events) = (Instant::now(), 0);
    while begun.elapsed() < length {
        if rig.log.totals().pending > WAITING {
            tokio::time::sleep(Duration::from_millis(2)).await;
            continue;
        }
        let batch = (events..events + BATCH).flat_map(|n| messages(n, &uids)).collect();
        events += BATCH;
        rig.log.accept("hub", events, batch).await?;
    }
    while rig.log.totals().pending > 0 && begun.elapsed() < length * 4 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let took = begun.elapsed();
    let accepted = events as usize * WEBHOOKS;
    arrived(&receiver, accepted, Duration::from_secs(1)).await;
    let delivered: u64 = rig.log.webhooks().iter().map(|stats| stats.delivered).sum();
    let rate = delivered as f64 / took.as_secs_f64();
    report.add(
        format!("messages to {WEBHOOKS} webhooks on this machine, in order by repository, durable before and after"),
        format!(
            "{rate:.0}/s, ratio {:.2}; {accepted} accepted, {delivered} recorded, {} ids arrived",
            rate / bare,
            receiver.arrivals().len()
        ),
        format!("bare loop that signs, posts and records {bare:.0}/s"),
        ">= 0.33 of the bare loop, every id arrived",
    );
    rig.stop().await;
    Ok(())
}
