//! Benchmarks: the platform under load, beside a bare loop in the same run.
//!
//! In: a release build of `roadstead`. Out: a Markdown table with figures, ratios, the machine and the command. Nothing here
//! asserts a time: figures are for reading, tests are elsewhere. The load comes from this process over loopback, so it shares
//! the cores with what it measures; both sides of a ratio pay the same.

mod bare;
mod catchup;
mod control;
mod fanout;
mod ingest;
mod load;
mod machine;
mod notify;
mod platform;
mod relay;
mod report;
mod startup;
mod watchers;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Roadstead beside a bare loop.
#[derive(Parser)]
struct Cli {
    /// The `roadstead` binary to measure.
    #[arg(long, global = true, default_value = "target/release/roadstead")]
    binary: PathBuf,
    /// Directory with `etcd` and `kube-apiserver`, to measure the embedded control plane beside them.
    #[arg(long, global = true, value_name = "DIR")]
    kubernetes: Option<PathBuf>,
    /// Seconds for each figure.
    #[arg(long, global = true, default_value_t = 10)]
    seconds: u64,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// Everything below, as one table.
    All,
    /// Durable, signed deliveries: rate and latency, at 2, 8 and 200 KiB.
    Ingest,
    /// From the POST to the trigger's action, through one agent.
    Relay,
    /// One event to 5,000 watchers: latency and memory.
    Fanout,
    /// Reading 100,000 events back.
    Catchup,
    /// Start on an empty directory, and idle memory.
    Startup,
    /// The embedded control plane beside a real kube-apiserver.
    Control,
    /// Registry webhooks: from acceptance to the receiver, throughput beside a bare loop, isolation, memory.
    Notify {
        /// Messages that wait, for the figures of memory and start.
        #[arg(long, default_value_t = 1_000_000)]
        pending: u64,
    },
    /// A queue with messages that wait: started by `notify`.
    #[command(hide = true)]
    Pending {
        /// Directory of the log.
        #[arg(long)]
        dir: PathBuf,
        /// Messages to queue first.
        #[arg(long)]
        fill: u64,
    },
    /// The bare loop itself: started by the other benchmarks.
    #[command(hide = true)]
    Bare {
        /// SQLite file.
        #[arg(long)]
        file: PathBuf,
        /// HMAC key.
        #[arg(long)]
        key: String,
    },
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if let Some(What::Bare { file, key }) = &cli.what {
            return bare::serve(file, key.as_bytes()).await;
        }
        if let Some(What::Pending { dir, fill }) = &cli.what {
            return notify::pending(dir, *fill).await;
        }
        let mut report = report::Report::default();
        let what = cli.what.unwrap_or(What::All);
        let all = matches!(what, What::All);
        if all || matches!(what, What::Startup) {
            startup::run(&cli.binary, &mut report).await?;
        }
        if all || matches!(what, What::Control) {
            match &cli.kubernetes {
                Some(kubernetes) => control::run(&cli.binary, kubernetes, cli.seconds, &mut report).await?,
                None => {
                    anyhow::bail!("--kubernetes says where etcd and kube-apiserver are; `cargo xtask bench` gives it")
                }
            }
        }
        if all || matches!(what, What::Ingest) {
            ingest::run(&cli.binary, cli.seconds, &mut report).await?;
        }
        if all || matches!(what, What::Relay) {
            relay::run(&cli.binary, cli.seconds, &mut report).await?;
        }
        if all || matches!(what, What::Fanout) {
            fanout::run(&cli.binary, &mut report).await?;
        }
        if all || matches!(what, What::Catchup) {
            catchup::run(&cli.binary, &mut report).await?;
        }
        if all || matches!(what, What::Notify { .. }) {
            let pending = if let What::Notify { pending } = what { pending } else { 1_000_000 };
            notify::run(&cli.binary, cli.seconds, pending, &mut report).await?;
        }
        println!("{}", report.markdown(&machine::describe()));
        Ok(())
    })
}
