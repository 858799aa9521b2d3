//! The load generator: signed GitHub push deliveries over keep-alive HTTP/1.1 connections, written by hand so that it costs
//! as little of the shared cores as it can.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use ring::hmac;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep_until,
};

use crate::report::Samples;

/// Where to post, and what.
#[derive(Clone)]
pub struct Target {
    /// Address.
    pub address: SocketAddr,
    /// Path of the hook.
    pub path: String,
    body: Arc<Vec<u8>>,
    signature: String,
}

impl Target {
    /// Deliveries of `size` bytes, signed with `key`.
    pub fn new(address: SocketAddr, path: impl Into<String>, key: &[u8], size: usize) -> Self {
        let body = push_payload(size);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &body);
        let signature = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { address, path: path.into(), body: Arc::new(body), signature }
    }

    fn head(&self, id: &str) -> String {
        format!(
            "POST {} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\nx-github-event: push\r\n\
             x-github-delivery: {id}\r\nx-hub-signature-256: sha256={}\r\ncontent-length: {}\r\n\r\n",
            self.path,
            self.signature,
            self.body.len()
        )
    }
}

/// A push payload padded to `size` bytes, with the fields that are normalised up front, as GitHub has them.
fn push_payload(size: usize) -> Vec<u8> {
    let zeros = "0".repeat(40);
    let head = format!(
        r#"{{"ref":"refs/heads/main","before":"{zeros}","after":"{}","repository":{{"full_name":"bench/shop","html_url":"https://git.example.com/bench/shop"}},"pusher":{{"name":"bench"}},"commits":[{{"id":"{}","message":"bench","author":{{"name":"bench"}}}}],"padding":""#,
        "1".repeat(40),
        "1".repeat(40)
    );
    let padding = size.saturating_sub(head.len() + 2);
    let mut body = head.into_bytes();
    body.extend(std::iter::repeat_n(b'x', padding));
    body.extend(b"\"}");
    body
}

/// One keep-alive connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("can't connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    /// Posts one delivery and waits for its answer; the status.
    pub async fn post(&mut self, target: &Target, id: &str) -> Result<u16> {
        let mut request = target.head(id).into_bytes();
        request.extend_from_slice(&target.body);
        self.send(&request).await
    }

    /// Sends a whole request and waits for its answer; the status.
    pub async fn send(&mut self, request: &[u8]) -> Result<u16> {
        self.stream.write_all(request).await?;
        self.answer().await
    }

    async fn answer(&mut self) -> Result<u16> {
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the server closed the connection");
            }
            let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(&self.buffer[..end])?;
            let status: u16 = head.get(9..12).context("no status line")?.parse()?;
            let length = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .map_or(Ok(0), |(_, value)| value.trim().parse::<usize>())?;
            while self.buffer.len() < end + 4 + length {
                if self.stream.read_buf(&mut self.buffer).await? == 0 {
                    bail!("the server closed the connection");
                }
            }
            return Ok(status);
        }
    }
}

/// What a run came to.
pub struct Outcome {
    /// Latency of each delivery; in the open loop from when it was due.
    pub samples: Samples,
    /// Deliveries a second.
    pub rate: f64,
    /// Deliveries that were not answered 2xx.
    pub refused: u64,
}

/// As fast as `connections` can: each posts the next when the last is answered.
pub async fn closed_loop(target: &Target, connections: usize, length: Duration, prefix: &str) -> Result<Outcome> {
    let started = Instant::now();
    let tasks = (0..connections).map(|worker| {
        let (target, prefix) = (target.clone(), format!("{prefix}-{worker}"));
        tokio::spawn(async move {
            let mut connection = Connection::open(target.address).await?;
            let (mut samples, mut refused) = (Vec::new(), 0);
            let mut n = 0u64;
            while started.elapsed() < length {
                let sent = Instant::now();
                let status = connection.post(&target, &format!("{prefix}-{n}")).await?;
                samples.push(sent.elapsed());
                refused += u64::from(!(200..300).contains(&status));
                n += 1;
            }
            anyhow::Ok((samples, refused))
        })
    });
    collect(futures::future::join_all(tasks).await, started)
}

/// At `rate` a second whatever the answers take: deliveries are due by the clock, and their latency counts from then.
pub async fn open_loop(
    target: &Target,
    connections: usize,
    rate: f64,
    length: Duration,
    prefix: &str,
) -> Result<Outcome> {
    let started = Instant::now();
    let total = (rate * length.as_secs_f64()) as u64;
    let next = Arc::new(AtomicU64::new(0));
    let tasks = (0..connections).map(|_| {
        let (target, prefix, next) = (target.clone(), prefix.to_string(), next.clone());
        tokio::spawn(async move {
            let mut connection = Connection::open(target.address).await?;
            let (mut samples, mut refused) = (Vec::new(), 0);
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= total {
                    return anyhow::Ok((samples, refused));
                }
                let due = started + Duration::from_secs_f64(n as f64 / rate);
                sleep_until(due.into()).await;
                // The timer wakes up to a millisecond late; that is the generator's lateness, not the server's.
                let sent = Instant::now().min(due + Duration::from_millis(2)).max(due);
                let status = connection.post(&target, &format!("{prefix}-{n}")).await?;
                samples.push(sent.elapsed());
                refused += u64::from(!(200..300).contains(&status));
            }
        })
    });
    collect(futures::future::join_all(tasks).await, started)
}

type Finished = Result<Result<(Vec<Duration>, u64)>, tokio::task::JoinError>;

fn collect(finished: Vec<Finished>, started: Instant) -> Result<Outcome> {
    let elapsed = started.elapsed().as_secs_f64();
    let (mut all, mut refused) = (Vec::new(), 0);
    for task in finished {
        let (samples, n) = task??;
        all.extend(samples);
        refused += n;
    }
    let rate = all.len() as f64 / elapsed;
    Ok(Outcome { samples: Samples::new(all), rate, refused })
}
