//! A subscriber that was away for 100,000 events reads them back.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    load::{Connection, Target},
    platform::{KEY, Platform},
    report::Report,
    watchers::{Opener, subscribe},
};

/// Events to catch up with.
const EVENTS: usize = 100_000;
/// Connections that post them.
const CONNECTIONS: usize = 64;

/// Posts the events, restarts nothing, and reads them through the gateway from the beginning.
pub async fn run(binary: &Path, report: &mut Report) -> Result<()> {
    let platform = Platform::start(binary, &["--trusted-proxy", "127.0.0.1"]).await?;
    let path = platform.endpoint("bench").await?;
    subscribe(&platform.client().await?, "bench").await?;
    let target = Target::new(platform.hub, path, KEY, 2 << 10);
    let workers = (0..CONNECTIONS).map(|worker| {
        let target = target.clone();
        tokio::spawn(async move {
            let mut connection = Connection::open(target.address).await?;
            for n in (worker..EVENTS).step_by(CONNECTIONS) {
                let status = connection.post(&target, &format!("catchup-{n}")).await?;
                anyhow::ensure!((200..300).contains(&status), "a delivery was answered {status}");
            }
            anyhow::Ok(())
        })
    });
    for worker in futures::future::join_all(workers).await {
        worker??;
    }
    let opener = Opener::plain(platform.hub);
    let started = Instant::now();
    let mut watch = opener.open("bench", "0").await?;
    tokio::time::timeout(Duration::from_secs(120), watch.read_events(EVENTS)).await??;
    let rate = EVENTS as f64 / started.elapsed().as_secs_f64();
    report.add(
        format!("catching up {EVENTS} events of 2 KiB, one watcher"),
        format!("{rate:.0}/s"),
        "-",
        ">= 20,000/s",
    );
    Ok(())
}
