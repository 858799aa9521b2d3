//! The bare loop: signs, posts, and records what was answered, one fsync for all that waits. No queue, no order, no retries.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use jiff::Timestamp;
use roadstead_api::event::ImageChange;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    receiver::Receiver,
    rig::{body, key, request},
};
use crate::platform::scratch;

type Record = (String, u16, oneshot::Sender<()>);

/// Runs `workers` for so long; messages a second.
pub async fn run(receiver: &Receiver, workers: usize, length: Duration) -> Result<f64> {
    let dir = tempfile::tempdir_in(scratch())?;
    let (records, written) = mpsc::sync_channel::<Record>(1024);
    let path = dir.path().join("bare.db");
    let writer = std::thread::spawn(move || write(&path, &written));
    let next = Arc::new(AtomicU64::new(0));
    let (begun, url) = (Instant::now(), format!("http://{}/", receiver.address));
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(256).build_http();
    let loops = (0..workers).map(|_| {
        let (next, records, client, url, key) = (next.clone(), records.clone(), client.clone(), url.clone(), key());
        tokio::spawn(async move {
            while begun.elapsed() < length {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let image =
                    ImageChange { repository: "team/app".into(), tag: format!("v{n}"), ..ImageChange::default() };
                let (id, name) = (format!("msg_{n}"), format!("bare-{n}/bare"));
                let body = body(&name, &image, Timestamp::now());
                let request = request(&url, &key, &id, &name, &body)?.map(Full::new);
                let response = client.request(request).await?;
                let status = response.status().as_u16();
                response.into_body().collect().await?;
                let (done, durable) = oneshot::channel();
                records.send((id, status, done)).ok().context("the writer ended")?;
                durable.await?;
            }
            anyhow::Ok(())
        })
    });
    for done in futures::future::join_all(loops.collect::<Vec<_>>()).await {
        done??;
    }
    let rate = next.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    drop(records);
    writer.join().ok().context("the writer died")??;
    Ok(rate)
}

fn write(file: &Path, records: &mpsc::Receiver<Record>) -> Result<()> {
    let db = Connection::open(file)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.execute("CREATE TABLE sent (id TEXT, status INTEGER)", ())?;
    while let Ok(first) = records.recv() {
        let mut batch = vec![first];
        batch.extend(records.try_iter().take(255));
        let transaction = db.unchecked_transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO sent VALUES (?1, ?2)")?;
            for (id, status, _) in &batch {
                insert.execute((id, status))?;
            }
        }
        transaction.commit()?;
        for (.., done) in batch {
            let _ = done.send(());
        }
    }
    Ok(())
}
