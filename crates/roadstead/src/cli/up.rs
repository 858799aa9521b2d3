//! `roadstead up`: everything on this machine.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Result;
use roadstead_agent::Pattern;
use roadstead_reconcile::targets::Cidr;

use super::roles;
use crate::{
    demo,
    platform::{self, DataDir, Platform},
    telemetry::{self, LogFormat},
};

/// Arguments of `up`.
#[derive(clap::Args)]
pub struct Args {
    /// Where everything is kept [default: roadstead in the user's data directory].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Public listener: webhooks and subscribers; TLS and plain HTTP on one port.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7080")]
    hub_listen: SocketAddr,
    /// Metrics and health.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7081")]
    admin_listen: SocketAddr,
    /// Kubernetes API, TLS.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6443")]
    api_listen: SocketAddr,
    /// Applications, plain HTTP.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    http_listen: SocketAddr,
    /// Applications, TLS.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443")]
    https_listen: SocketAddr,
    /// Base of webhook URLs and of subscribers' kubeconfigs, as senders see it [default: the bound https address].
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Proxy whose X-Forwarded-For counts and that may pass tokens over plain HTTP; repeatable.
    #[arg(long = "trusted-proxy", value_name = "CIDR")]
    trusted_proxies: Vec<Cidr>,
    /// Private addresses that registry webhooks and registry checks may reach; repeatable [default: none; loopback while bound to loopback].
    #[arg(long = "allow-target", value_name = "CIDR")]
    allow_targets: Vec<Cidr>,
    /// Where triggers may forward to: [scheme://]host[:port], *.suffix or loopback; repeatable [default: loopback].
    #[arg(long = "allow-forward", value_name = "PATTERN")]
    allow_forward: Vec<Pattern>,
    /// Certificate of the public listener, PEM; read again when it changes.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Key that Secrets are encrypted with; may live on other storage than the data [default: in the data directory].
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Most bytes that the event log may take, e.g. 20Gi; beyond it deliveries are answered 503.
    #[arg(long, value_name = "QUANTITY", value_parser = roles::quantity)]
    log_quota: Option<u64>,
    /// Most bytes that the log of deliveries to registry webhooks may take; beyond it new messages wait in the event log.
    #[arg(long, value_name = "QUANTITY", value_parser = roles::quantity, default_value = "4Gi")]
    delivery_quota: u64,
    /// Play the tour, then stay up to be looked at.
    #[arg(long)]
    demo: bool,
    /// Form of the log on stderr.
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
}

/// Runs until SIGINT or SIGTERM.
pub fn run(args: Args) -> Result<()> {
    telemetry::init(args.log_format, if args.demo { "error" } else { "info" });
    roles::runtime()?.block_on(serve(args))
}

async fn serve(args: Args) -> Result<()> {
    let demo = args.demo;
    let platform = Platform::start(args.options()?).await?;
    let addresses = platform.addresses();
    eprintln!("roadstead is up");
    eprintln!("  webhooks and subscribers  https://{} (and plain http)", addresses.hub);
    eprintln!("  Kubernetes API            https://{}", addresses.api);
    eprintln!("  metrics                   http://{}/metrics", addresses.admin);
    eprintln!("  export KUBECONFIG={}", platform.data_dir().join("kubeconfig").display());
    let mut edges = Vec::new();
    if demo {
        let dir = platform.data_dir().join("demo");
        std::fs::create_dir_all(&dir)?;
        edges = demo::play(&platform, &dir).await?;
        eprintln!("\nThe tour is over and everything is still up. Look at it with");
        eprintln!("  export KUBECONFIG={}", platform.data_dir().join("kubeconfig").display());
        eprintln!("  kubectl get webhookendpoints,subscribers,webhookevents");
        eprintln!("Ctrl-C ends it.");
    }
    roles::until_told_to_stop(std::future::pending(), async move {
        for edge in &mut edges {
            edge.stop().await;
        }
        platform.stop().await;
    })
    .await
}

impl Args {
    fn options(self) -> Result<platform::Options> {
        Ok(platform::Options {
            data_dir: self.data_dir.map_or_else(DataDir::default_path, Ok)?,
            hub_listen: self.hub_listen,
            admin_listen: self.admin_listen,
            api_listen: self.api_listen,
            http_listen: self.http_listen,
            https_listen: self.https_listen,
            public_url: self.public_url,
            trusted_proxies: self.trusted_proxies,
            allow_targets: self.allow_targets,
            tls: self.tls_cert.zip(self.tls_key),
            key_file: self.key_file,
            log_quota: self.log_quota,
            delivery_quota: self.delivery_quota,
            allow_forward: self.allow_forward,
        })
    }
}
