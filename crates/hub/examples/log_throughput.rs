//! A quick look at the log's speed on this machine: `cargo run --release -p roadstead-hub --example log_throughput [SECONDS]`.
//!
//! Appends of 8 KiB in a closed loop (64 callers) and an open loop (5,000/s), the catching up of everything from the start, and one
//! event to 5,000 followers of one endpoint. Figures are for orientation; `bench/` compares with a bare loop.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use roadstead_api::{endpoint::Provider, event::Header};
use roadstead_hub::log::{Draft, Endpoints, LocalLog, Log, LogError, Options, Selection, Stream};

const BODY: usize = 8 << 10;
const CALLERS: usize = 64;
const FOLLOWERS: usize = 5_000;

#[tokio::main]
async fn main() -> Result<(), LogError> {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(5);
    let duration = Duration::from_secs(seconds);
    let directory = std::env::temp_dir().join(format!("log-throughput-{}", std::process::id()));
    let result = run(&directory, duration).await;
    // What is left over is only a temporary directory.
    let _ = std::fs::remove_dir_all(&directory);
    result
}

async fn run(directory: &Path, duration: Duration) -> Result<(), LogError> {
    let log = LocalLog::open(directory, Options::default()).await?;
    closed_loop(&log, duration).await;
    open_loop(&log, duration, 5_000).await;
    catch_up(&log).await?;
    fan_out(&log).await?;
    log.close().await;
    let started = Instant::now();
    let log = LocalLog::open(directory, Options::default()).await?;
    println!("reopen         {:?} with {} events", started.elapsed(), log.head());
    log.close().await;
    Ok(())
}

fn stream(name: &str) -> Stream {
    Stream { namespace: "default".into(), name: name.into(), uid: name.into() }
}

fn draft(id: String) -> Draft {
    let header = |name: &str| Header { name: name.into(), value: "application/json, as headers are".into() };
    Draft {
        id,
        dedupe: true,
        kind: "push".into(),
        provider: Provider::Github,
        received_at: jiff::Timestamp::now(),
        verified: true,
        reconciled: false,
        git: None,
        image: None,
        method: "POST".into(),
        headers: ["accept", "content-type", "user-agent", "x-github-event", "x-github-delivery"].map(header).into(),
        body: Bytes::from(vec![b'x'; BODY]),
    }
}

async fn timed(log: &LocalLog, id: String, times: &Mutex<Vec<Duration>>) {
    let started = Instant::now();
    if log.append(&stream("shop"), vec![draft(id)]).await.is_ok()
        && let Ok(mut times) = times.lock()
    {
        times.push(started.elapsed());
    }
}

fn report(what: &str, started: Instant, times: &Mutex<Vec<Duration>>) {
    let Ok(mut times) = times.lock() else { return };
    times.sort_unstable();
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or_default();
    let rate = times.len() as f64 / started.elapsed().as_secs_f64();
    println!("{what} {rate:.0}/s, p50 {:?}, p99 {:?}, p99.9 {:?}", at(0.5), at(0.99), at(0.999));
}

async fn closed_loop(log: &Arc<LocalLog>, duration: Duration) {
    let (started, times) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
    let callers = (0..CALLERS).map(|caller| {
        let (log, times) = (log.clone(), times.clone());
        tokio::spawn(async move {
            for n in 0.. {
                if started.elapsed() > duration {
                    break;
                }
                timed(&log, format!("closed-{caller}-{n}"), &times).await;
            }
        })
    });
    futures::future::join_all(callers).await;
    report("closed loop   ", started, &times);
}

async fn open_loop(log: &Arc<LocalLog>, duration: Duration, rate: u32) {
    let (started, times) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
    let total = rate * u32::try_from(duration.as_secs()).unwrap_or(1);
    let mut tasks = Vec::new();
    for n in 0..total {
        tokio::time::sleep_until((started + Duration::from_secs(1) * n / rate).into()).await;
        let (log, times) = (log.clone(), times.clone());
        tasks.push(tokio::spawn(async move { timed(&log, format!("open-{n}"), &times).await }));
    }
    futures::future::join_all(tasks).await;
    report("open loop     ", started, &times);
}

async fn catch_up(log: &Arc<LocalLog>) -> Result<(), LogError> {
    let started = Instant::now();
    let named = Endpoints::Named(vec![("default".into(), "shop".into())]);
    let mut follow = log.follow(Selection::of(named), 1);
    let (mut events, mut bytes) = (0, 0);
    while follow.position() < log.head() {
        for record in follow.next().await? {
            events += 1;
            bytes += record.frame().line.len();
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("catch-up       {:.0} events/s, {:.0} MB/s", f64::from(events) / seconds, bytes as f64 / seconds / 1e6);
    Ok(())
}

/// Resident memory of this process, in KiB. Source: proc(5).
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

async fn fan_out(log: &Arc<LocalLog>) -> Result<(), LogError> {
    let before = resident();
    let times = Arc::new(Mutex::new(Vec::new()));
    let start = Arc::new(Mutex::new(Instant::now()));
    let followers: Vec<_> = (0..FOLLOWERS)
        .map(|_| {
            let named = Endpoints::Named(vec![("default".into(), "fan".into())]);
            let mut follow = log.follow(Selection::of(named), log.head());
            let (start, times) = (start.clone(), times.clone());
            tokio::spawn(async move {
                let records = follow.next().await;
                if let (Ok(_), Ok(start), Ok(mut times)) = (records, start.lock(), times.lock()) {
                    times.push(start.elapsed());
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    println!("follower       {} bytes each", resident().saturating_sub(before) * 1024 / FOLLOWERS);
    if let Ok(mut start) = start.lock() {
        *start = Instant::now();
    }
    let started = Instant::now();
    log.append(&stream("fan"), vec![draft("one".into())]).await?;
    let acknowledged = started.elapsed();
    futures::future::join_all(followers).await;
    report("event to all  ", started, &times);
    println!("               acknowledged after {acknowledged:?}");
    Ok(())
}
