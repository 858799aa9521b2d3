//! A thousand webhooks of which a hundred never answer: what the others notice of it.

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

const HEALTHY: usize = 900;
const HANGING: usize = 100;
/// Events a second; each is told to two healthy webhooks and to one of the hundred.
const RATE: f64 = 200.0;

/// Measures without and with those that hang.
pub async fn run(seconds: u64, report: &mut Report) -> Result<()> {
    let without = healthy(seconds, "calm").await?;
    let with = healthy(seconds, "hang").await?;
    let ratio = with.at(0.99).as_secs_f64() / without.at(0.99).as_secs_f64().max(1e-9);
    report.add(
        format!(
            "{} webhooks of which {HANGING} hang: accepted to receiver of the healthy, {RATE:.0} events/s",
            HEALTHY + HANGING
        ),
        format!("{}, p99 ratio {ratio:.2} ({} arrived)", with.summary(), with.len()),
        format!("none hang: {} ({} arrived)", without.summary(), without.len()),
        "p99 within 1.5x",
    );
    Ok(())
}

/// What the healthy ones see beside a hundred others of this name.
async fn healthy(seconds: u64, others: &str) -> Result<Samples> {
    let healthy: Vec<String> = (0..HEALTHY).map(|n| format!("webhook-{n}")).collect();
    let others: Vec<String> = (0..HANGING).map(|n| format!("{others}-{n}")).collect();
    let all: Vec<String> = healthy.iter().chain(&others).cloned().collect();
    let receiver = Receiver::start().await?;
    let rig = Rig::start(&receiver, &all).await?;
    let begun = Instant::now() + Duration::from_millis(50);
    let mut sent: HashMap<String, Instant> = HashMap::new();
    let mut accepting = tokio::task::JoinSet::new();
    for n in 0..(RATE * seconds as f64) as u64 {
        sleep_until((begun + Duration::from_secs_f64(n as f64 / RATE)).into()).await;
        let at = n as usize * 2;
        let told = [&healthy[at % HEALTHY], &healthy[(at + 1) % HEALTHY]];
        let other = &others[n as usize % HANGING];
        let batch = messages(n, told.into_iter().chain([other]));
        sent.extend(told.map(|uid| (format!("event-{n}/{uid}"), Instant::now())));
        let log = rig.log.clone();
        accepting.spawn(async move { log.accept("hub", n + 1, batch).await });
    }
    while let Some(accepted) = accepting.join_next().await {
        accepted??;
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    while receiver.arrivals().keys().filter(|name| sent.contains_key(*name)).count() < sent.len()
        && Instant::now() < deadline
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let arrivals = receiver.arrivals().clone();
    let took = sent.iter().filter_map(|(name, at)| Some(arrivals.get(name)?.saturating_duration_since(*at)));
    let samples = Samples::new(took.collect());
    rig.stop().await;
    Ok(samples)
}
