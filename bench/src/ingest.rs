//! Durable, signed deliveries, beside the bare loop.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    load::{Target, closed_loop, open_loop},
    platform::{KEY, Platform, scratch},
    report::{Report, ms},
};

/// Connections of the closed loop.
const CONNECTIONS: usize = 64;
/// Rate of the open loop.
const OPEN_RATE: f64 = 5000.0;

/// Measures 2, 8 and 200 KiB closed loop, and 8 KiB open loop.
pub async fn run(binary: &Path, seconds: u64, report: &mut Report) -> Result<()> {
    let length = Duration::from_secs(seconds);
    for (size, target) in [(2 << 10, "-"), (8 << 10, ">= 0.5 of the bare loop"), (200 << 10, "-")] {
        let bare = Bare::start()?;
        let yardstick = closed_loop(&bare.target(size), CONNECTIONS, length, "bare").await?;
        drop(bare);
        let platform = Platform::start(binary, &[]).await?;
        let path = platform.endpoint("bench").await?;
        let measured = closed_loop(&Target::new(platform.hub, path, KEY, size), CONNECTIONS, length, "hub").await?;
        report.add(
            format!("durable ingest, {} KiB, {CONNECTIONS} connections", size >> 10),
            format!(
                "{:.0}/s, p99 {}, ratio {:.2}{}",
                measured.rate,
                ms(measured.samples.at(0.99)),
                measured.rate / yardstick.rate,
                refused(measured.refused)
            ),
            format!("bare loop {:.0}/s, p99 {}", yardstick.rate, ms(yardstick.samples.at(0.99))),
            target,
        );
    }
    let size = 8 << 10;
    let bare = Bare::start()?;
    let yardstick = open_loop(&bare.target(size), CONNECTIONS, OPEN_RATE, length, "bare").await?;
    drop(bare);
    let platform = Platform::start(binary, &[]).await?;
    let path = platform.endpoint("bench").await?;
    let measured =
        open_loop(&Target::new(platform.hub, path, KEY, size), CONNECTIONS, OPEN_RATE, length, "hub").await?;
    report.add(
        format!("durable ingest, 8 KiB, open loop at {OPEN_RATE:.0}/s"),
        format!("{} at {:.0}/s{}", measured.samples.summary(), measured.rate, refused(measured.refused)),
        format!("bare loop {}", yardstick.samples.summary()),
        "p99 < 5 ms",
    );
    Ok(())
}

fn refused(n: u64) -> String {
    if n == 0 { String::new() } else { format!(", {n} NOT accepted") }
}

/// The bare loop as a process of its own.
struct Bare {
    child: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Bare {
    fn start() -> Result<Self> {
        let dir = tempfile::tempdir_in(scratch())?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("bare")
            .args([std::ffi::OsStr::new("--file"), dir.path().join("bare.db").as_os_str()])
            .args(["--key", std::str::from_utf8(KEY)?])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        Ok(Self { child, address: line.trim().parse()?, _dir: dir })
    }

    fn target(&self, size: usize) -> Target {
        Target::new(self.address, "/", KEY, size)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
