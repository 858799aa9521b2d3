//! Verifies each delivery, and runs a command with the image that was pushed.
//!
//!     WEBHOOK_SECRET=whsec_... cargo run --example receiver -- 8000 ./roll-out.sh

use std::{collections::HashSet, env::args, process::Command, sync::Mutex};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Response, body::Bytes, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use standardwebhooks::Webhook;

/// In production: kept on disk, for as long as messages may be repeated.
static DONE: Mutex<Option<HashSet<String>>> = Mutex::new(None);

async fn handle(request: Request<Incoming>) -> anyhow::Result<u16> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, 65536).collect().await.map_err(anyhow::Error::from_boxed)?.to_bytes();
    if Webhook::new(&std::env::var("WEBHOOK_SECRET")?)?.verify(&body, &head.headers).is_err() {
        return Ok(401);
    }
    let message: serde_json::Value = serde_json::from_slice(&body)?;
    // The same message may come again, with the same id.
    let id = head.headers["webhook-id"].to_str()?.to_string();
    let known = DONE.lock().is_ok_and(|done| done.as_ref().is_some_and(|done| done.contains(&id)));
    if message["type"] == "image.push" && !known {
        let reference = message["data"]["reference"].as_str().unwrap_or_default();
        let command: Vec<String> = args().skip(2).collect();
        if !Command::new(&command[0]).args(&command[1..]).arg(reference).status()?.success() {
            return Ok(500); // It is sent again.
        }
        DONE.lock().map(|mut done| done.get_or_insert_default().insert(id)).ok();
    }
    Ok(204)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let port: u16 = args().nth(1).unwrap_or_default().parse()?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let service = service_fn(|request| async {
            let status = handle(request).await.unwrap_or(400);
            Response::builder().status(status).body(Full::<Bytes>::default())
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}
