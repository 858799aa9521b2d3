//! From the acceptance of an event to each of its receivers, at a steady rate.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::time::sleep_until;

use super::{
    receiver::Receiver,
    rig::{Rig, messages},
};
use crate::report::{Report, Samples};

/// Events a second.
const RATE: f64 = 200.0;
/// Webhooks that are told of each.
const WEBHOOKS: usize = 10;

/// Measures.
pub async fn run(seconds: u64, report: &mut Report) -> Result<()> {
    let uids: Vec<String> = (0..WEBHOOKS).map(|n| format!("webhook-{n}")).collect();
    let receiver = Receiver::start().await?;
    let rig = Rig::start(&receiver, &uids).await?;
    let begun = Instant::now() + Duration::from_millis(50);
    let mut sent: HashMap<String, Instant> = HashMap::new();
    let mut accepting = tokio::task::JoinSet::new();
    for n in 0..(RATE * seconds as f64) as u64 {
        sleep_until((begun + Duration::from_secs_f64(n as f64 / RATE)).into()).await;
        let batch = messages(n, &uids);
        sent.extend(uids.iter().map(|uid| (format!("event-{n}/{uid}"), Instant::now())));
        let log = rig.log.clone();
        accepting.spawn(async move { log.accept("hub", n + 1, batch).await });
    }
    while let Some(accepted) = accepting.join_next().await {
        accepted??;
    }
    arrived(&receiver, sent.len(), Duration::from_secs(30)).await;
    let arrivals = receiver.arrivals().clone();
    let took = sent.iter().filter_map(|(name, at)| Some(arrivals.get(name)?.saturating_duration_since(*at)));
    let samples = Samples::new(took.collect());
    report.add(
        format!("image event accepted to receiver, {RATE:.0} events/s to {WEBHOOKS} webhooks each"),
        format!("{} ({} of {} arrived)", samples.summary(), samples.len(), sent.len()),
        "-",
        "p50 < 5 ms, p99 < 25 ms",
    );
    rig.stop().await;
    Ok(())
}

/// Waits until so many messages have arrived, or no longer.
pub async fn arrived(receiver: &Receiver, count: usize, patience: Duration) {
    let deadline = Instant::now() + patience;
    while receiver.arrivals().len() < count && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
