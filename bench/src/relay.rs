//! From the POST to the trigger's action: hub, log, watch, agent, forward, over one agent at a steady 500 a second.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use kube::{Api, api::PostParams};
use roadstead_api::Trigger;
use serde_json::json;
use tokio::{net::TcpListener, time::sleep_until};

use crate::{
    load::{Connection, Target},
    platform::{KEY, Platform},
    report::{Report, Samples},
};

/// Deliveries a second.
const RATE: f64 = 500.0;
/// Connections that post them.
const CONNECTIONS: usize = 16;

type Times = Arc<Mutex<HashMap<String, Instant>>>;

/// Measures with `orderBy: none`, so that one agent's own concurrency counts, and with the default order.
pub async fn run(binary: &Path, seconds: u64, report: &mut Report) -> Result<()> {
    for (order, target) in [("none", "p50 < 3 ms, p99 < 15 ms"), ("repository", "-")] {
        let received = Times::default();
        let receiver = receive(received.clone()).await?;
        let platform = Platform::start(binary, &[]).await?;
        let path = platform.endpoint("bench").await?;
        let triggers: Api<Trigger> = Api::namespaced(platform.client().await?, "default");
        let trigger = json!({"apiVersion": "roadstead.dev/v1alpha1", "kind": "Trigger", "metadata": {"name": "bench"}, "spec": {
            "endpoint": {"name": "bench"}, "forward": {"url": format!("http://{receiver}/")}, "orderBy": order, "start": "earliest",
        }});
        triggers.create(&PostParams::default(), &serde_json::from_value(trigger)?).await?;
        let hooks = Target::new(platform.hub, path, KEY, 8 << 10);
        first(&hooks, &received).await?;
        let sent = post(&hooks, Duration::from_secs(seconds)).await?;
        let samples = latencies(&sent, &received).await?;
        report.add(
            format!("POST sent to forwarded, {RATE:.0}/s, orderBy {order}"),
            format!("{} ({} of {} arrived)", samples.summary(), samples.len(), sent.len()),
            "-",
            target,
        );
    }
    Ok(())
}

/// A receiver that notes when each delivery arrives.
async fn receive(times: Times) -> Result<SocketAddr> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let times = times.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| note(request, times.clone()));
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(address)
}

async fn note(request: Request<Incoming>, times: Times) -> Result<Response<Empty<Bytes>>> {
    let at = Instant::now();
    let id = request.headers().get("x-github-delivery").and_then(|v| v.to_str().ok()).unwrap_or_default().to_string();
    request.into_body().collect().await?;
    if let Ok(mut times) = times.lock() {
        times.entry(id).or_insert(at);
    }
    Ok(Response::new(Empty::new()))
}

/// Waits until the trigger acts at all.
async fn first(target: &Target, received: &Times) -> Result<()> {
    Connection::open(target.address).await?.post(target, "first").await?;
    let deadline = Instant::now() + Duration::from_secs(15);
    while !received.lock().is_ok_and(|times| times.contains_key("first")) {
        anyhow::ensure!(Instant::now() < deadline, "the trigger did not act within 15 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn post(target: &Target, length: Duration) -> Result<HashMap<String, Instant>> {
    let started = Instant::now() + Duration::from_millis(50);
    let total = (RATE * length.as_secs_f64()) as usize;
    let workers = (0..CONNECTIONS).map(|worker| {
        let target = target.clone();
        tokio::spawn(async move {
            let mut connection = Connection::open(target.address).await?;
            let mut sent = Vec::new();
            for n in (worker..total).step_by(CONNECTIONS) {
                sleep_until((started + Duration::from_secs_f64(n as f64 / RATE)).into()).await;
                let id = format!("relay-{n}");
                sent.push((id.clone(), Instant::now()));
                connection.post(&target, &id).await?;
            }
            anyhow::Ok(sent)
        })
    });
    let mut all = HashMap::new();
    for worker in futures::future::join_all(workers).await {
        all.extend(worker??);
    }
    Ok(all)
}

async fn latencies(sent: &HashMap<String, Instant>, received: &Times) -> Result<Samples> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let arrived = || received.lock().map(|times| times.keys().filter(|id| sent.contains_key(*id)).count()).unwrap_or(0);
    while arrived() < sent.len() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let times = received.lock().ok().context("the receiver died")?;
    let took = sent.iter().filter_map(|(id, sent)| Some(times.get(id)?.duration_since(*sent)));
    Ok(Samples::new(took.collect()))
}
