//! What is asked of an API server, whichever it is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;
use tokio::{sync::mpsc, task::JoinSet};

use super::session::{Access, Session};
use crate::report::Samples;

const NAMESPACES: &str = "/api/v1/namespaces";

/// What was measured on one server.
pub struct Figures {
    /// Creates a second, one writer.
    pub creates_1: f64,
    /// Creates a second, 64 writers.
    pub creates_64: f64,
    /// From sending a create to its event, one watcher.
    pub watch_1: Duration,
    /// The same, each of 1,000 watchers.
    pub watch_1000: Duration,
    /// The same, the last of 1,000 watchers.
    pub watch_last: Duration,
    /// One list of 10,000 objects, whole.
    pub list: Duration,
    /// One deletecollection of 5,000 objects.
    pub delete: Duration,
    /// Resident bytes with 30,000 objects more than at first.
    pub full: u64,
}

/// Measures everything. `memory` tells the resident bytes of the server.
pub async fn measure(access: &Access, length: Duration, memory: impl Fn() -> u64) -> Result<Figures> {
    for namespace in ["watch-1", "watch-1000", "list", "delete", "one", "many", "full"] {
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        access.open().await?.ask(Method::POST, NAMESPACES, body.to_string().into()).await?;
    }
    let watch_1 = watch(access, "watch-1", 1, 300).await?.0;
    let (watch_1000, watch_last) = watch(access, "watch-1000", 1000, 20).await?;
    fill(access, "list", 10_000).await?;
    fill(access, "delete", 5_000).await?;
    let mut session = access.open().await?;
    let list = timed(&mut session, Method::GET, "list").await?;
    let delete = timed(&mut session, Method::DELETE, "delete").await?;
    fill(access, "full", 20_000).await?;
    let full = memory();
    let creates_1 = creates(access, "one", 1, length).await?;
    let creates_64 = creates(access, "many", 64, length).await?;
    Ok(Figures { creates_1, creates_64, watch_1, watch_1000, watch_last, list, delete, full })
}

fn config_maps(namespace: &str) -> String {
    format!("{NAMESPACES}/{namespace}/configmaps")
}

fn config_map(name: &str) -> Bytes {
    let data = json!({"value": "x".repeat(1024)});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}).to_string().into()
}

/// As fast as `writers` can, each creating the next when the last is answered.
async fn creates(access: &Access, namespace: &str, writers: usize, length: Duration) -> Result<f64> {
    let sessions = try_join_all((0..writers).map(|_| access.open())).await?;
    let started = Instant::now();
    let counts = try_join_all(sessions.into_iter().enumerate().map(|(writer, mut session)| {
        let path = config_maps(namespace);
        tokio::spawn(async move {
            let mut n = 0u64;
            while started.elapsed() < length {
                session.ask(Method::POST, &path, config_map(&format!("{writer}-{n}"))).await?;
                n += 1;
            }
            anyhow::Ok(n)
        })
    }))
    .await?;
    let total = counts.into_iter().sum::<Result<u64>>()?;
    Ok(total as f64 / started.elapsed().as_secs_f64())
}

/// Creates `count` objects with 16 writers.
async fn fill(access: &Access, namespace: &str, count: u64) -> Result<()> {
    let next = Arc::new(AtomicU64::new(0));
    let writers = (0..16).map(|_| async {
        let mut session = access.open().await?;
        let path = config_maps(namespace);
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= count {
                return anyhow::Ok(());
            }
            session.ask(Method::POST, &path, config_map(&format!("n-{n}"))).await?;
        }
    });
    try_join_all(writers).await?;
    Ok(())
}

/// From the request to the last byte of the answer.
async fn timed(session: &mut Session, method: Method, namespace: &str) -> Result<Duration> {
    let started = Instant::now();
    session.ask(method, &config_maps(namespace), Bytes::new()).await?;
    Ok(started.elapsed())
}

/// Creates `count` objects one after the other, each when all watchers have seen the one before; the median over all watchers, and
/// the median of the last watcher's time.
async fn watch(access: &Access, namespace: &str, watchers: usize, count: usize) -> Result<(Duration, Duration)> {
    let mut session = access.open().await?;
    let path = config_maps(namespace);
    let list = session.ask(Method::GET, &path, Bytes::new()).await?;
    let list: serde_json::Value = serde_json::from_slice(&list)?;
    let version = list["metadata"]["resourceVersion"].as_str().context("a list without a version")?;
    // Not what a control plane puts into each namespace by itself.
    let own = "fieldSelector=metadata.name%21%3Dkube-root-ca.crt";
    let watch = format!("{path}?watch=1&resourceVersion={version}&timeoutSeconds=600&{own}");
    let (times, mut seen) = mpsc::unbounded_channel();
    // Ended with it: what is measured next has no watchers.
    let mut reports = JoinSet::new();
    for _ in 0..watchers {
        let mut session = access.open().await?;
        let (status, body) = session.begin(Method::GET, &watch, Bytes::new()).await?;
        ensure!(status == 200, "the watch was answered {status}");
        reports.spawn(report(session, body, times.clone()));
    }
    let (mut each, mut last) = (Vec::new(), Vec::new());
    for n in 0..count {
        let started = Instant::now();
        session.ask(Method::POST, &path, config_map(&format!("n-{n}"))).await?;
        let mut slowest = Duration::ZERO;
        for _ in 0..watchers {
            let patience = Duration::from_secs(30);
            let at: Instant = tokio::time::timeout(patience, seen.recv()).await?.context("all watchers are gone")?;
            let took = at - started;
            each.push(took);
            slowest = slowest.max(took);
        }
        last.push(slowest);
    }
    Ok((Samples::new(each).at(0.5), Samples::new(last).at(0.5)))
}

/// Tells the time of each event: they are lines.
async fn report(session: Session, mut body: Incoming, times: mpsc::UnboundedSender<Instant>) {
    while let Some(Ok(frame)) = body.frame().await {
        let lines = frame.data_ref().map_or(0, |data| data.iter().filter(|byte| **byte == b'\n').count());
        for _ in 0..lines {
            let _ = times.send(Instant::now());
        }
    }
    drop(session);
}
