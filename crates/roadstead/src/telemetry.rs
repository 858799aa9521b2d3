//! Logs: structured, on stderr, one line each.
//!
//! People get readable lines on a terminal; everything else gets JSON (`--log-format` decides otherwise). `RUST_LOG` sets
//! levels. Secrets, tokens and bodies are never given to the log, so nothing needs to be filtered here.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// Form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Readable lines.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging. Without `RUST_LOG`, `level` and above of our own are shown, and warnings of others.
pub fn init(format: LogFormat, level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        let rooms = [
            "roadstead",
            "roadstead_hub",
            "roadstead_agent",
            "roadstead_apiserver",
            "roadstead_kubewire",
            "roadstead_reconcile",
        ];
        let ours: Vec<String> = rooms.iter().map(|room| format!("{room}={level}")).collect();
        // What a watch meets is told by who watches.
        EnvFilter::new(format!("warn,kube_runtime::watcher=error,{}", ours.join(",")))
    });
    let json = match format {
        LogFormat::Auto => !std::io::stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let registry = tracing_subscriber::registry().with(filter);
    // A second subscriber in one process (tests) is no reason to stop.
    let _ = if json {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).try_init()
    } else {
        registry.with(fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr)).try_init()
    };
}
