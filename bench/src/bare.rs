//! The bare loop: an HTTP handler that verifies the HMAC and appends to SQLite with group commit, and nothing else. It is the
//! most that the same parts can do on the same machine, and so the yardstick.

use std::{net::SocketAddr, path::Path, sync::mpsc, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use ring::hmac;
use rusqlite::Connection;
use tokio::{net::TcpListener, sync::oneshot};

struct Append {
    id: String,
    body: Bytes,
    done: oneshot::Sender<()>,
}

/// Serves on a free port, which is printed, until killed.
pub async fn serve(file: &Path, key: &[u8]) -> Result<()> {
    let (queue, appends) = mpsc::sync_channel::<Append>(1024);
    let path = file.to_path_buf();
    std::thread::spawn(move || write(&path, &appends));
    let checkpoints = file.to_path_buf();
    std::thread::spawn(move || checkpoint(&checkpoints));
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (queue, key) = (queue.clone(), key.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| handle(request, queue.clone(), key.clone()));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn handle(
    request: Request<Incoming>,
    queue: mpsc::SyncSender<Append>,
    key: hmac::Key,
) -> Result<Response<Full<Bytes>>> {
    let header =
        |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_string();
    let (id, signature) = (header("x-github-delivery"), header("x-hub-signature-256"));
    let body = request.into_body().collect().await?.to_bytes();
    let tag: Vec<u8> = signature
        .trim_start_matches("sha256=")
        .as_bytes()
        .chunks(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    let mut response = Response::new(Full::default());
    if hmac::verify(&key, &body, &tag).is_err() {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        return Ok(response);
    }
    let (done, durable) = oneshot::channel();
    queue.try_send(Append { id, body, done }).ok().context("the queue is full")?;
    durable.await?;
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

fn open(file: &Path) -> Result<Connection> {
    let db = Connection::open(file)?;
    db.busy_timeout(Duration::from_secs(5))?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "wal_autocheckpoint", 0)?;
    Ok(db)
}

fn write(file: &Path, appends: &mpsc::Receiver<Append>) -> Result<()> {
    let db = open(file)?;
    db.execute("CREATE TABLE IF NOT EXISTS log (n INTEGER PRIMARY KEY, id TEXT, body BLOB)", ())?;
    while let Ok(first) = appends.recv() {
        let mut batch = vec![first];
        batch.extend(appends.try_iter().take(255));
        let transaction = db.unchecked_transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO log (id, body) VALUES (?1, ?2)")?;
            for append in &batch {
                insert.execute((&append.id, &append.body[..]))?;
            }
        }
        transaction.commit()?;
        for append in batch {
            let _ = append.done.send(());
        }
    }
    Ok(())
}

/// Checkpoints beside the writer, as the platform does: in it they would stall every commit.
fn checkpoint(file: &Path) -> Result<()> {
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let db = open(file)?;
        let _: (i64, i64, i64) =
            db.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    }
}
